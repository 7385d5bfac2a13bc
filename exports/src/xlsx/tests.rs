use std::io::Read;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use calamine::{Data, Range, Reader, Xlsx as Opened, open_workbook_from_rs};

use super::*;

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).expect("a batch")
}

fn bytes(batches: &[RecordBatch]) -> Vec<u8> {
    let mut xlsx = Xlsx::new(&batches[0].schema()).expect("a workbook");
    for batch in batches {
        xlsx.write(batch).expect("written");
    }
    let mut bytes = Vec::new();
    let mut file = xlsx.finish().expect("finished");
    file.read_to_end(&mut bytes).expect("read");
    bytes
}

fn sheet(batches: &[RecordBatch]) -> Range<Data> {
    let cursor = std::io::Cursor::new(bytes(batches));
    let mut opened: Opened<_> = open_workbook_from_rs(cursor).expect("a workbook");
    opened.worksheet_range("Sheet1").expect("a sheet")
}

fn cell(range: &Range<Data>, row: u32, column: u32) -> Data {
    range.get_value((row, column)).cloned().unwrap_or_default()
}

#[test]
fn cells_are_of_excels_own_types() {
    let money = Decimal128Array::from(vec![Some(150_050), None]);
    let times = TimestampMicrosecondArray::from(vec![1_769_847_300_500_000, 0]);
    let rows = batch(vec![
        ("id", Arc::new(Int64Array::from(vec![Some(-7), None]))),
        (
            "prime",
            Arc::new(money.with_precision_and_scale(12, 2).expect("cents")),
        ),
        ("km", Arc::new(Float64Array::from(vec![1.5, f64::NAN]))),
        ("ok", Arc::new(BooleanArray::from(vec![Some(true), None]))),
        (
            "né",
            Arc::new(Date32Array::from(vec![Some(20_484), Some(-40_000)])),
        ),
        ("quand", Arc::new(times.with_timezone("UTC"))),
        (
            "bu",
            Arc::new(StringArray::from(vec![Some("R&D <é>"), Some("")])),
        ),
    ]);
    let range = sheet(&[rows]);
    assert_eq!(cell(&range, 0, 1), Data::String("prime".to_owned()));
    assert_eq!(cell(&range, 1, 0), Data::Float(-7.0));
    assert_eq!(cell(&range, 1, 1), Data::Float(1500.5));
    assert_eq!(cell(&range, 1, 2), Data::Float(1.5));
    assert_eq!(cell(&range, 1, 3), Data::Bool(true));
    let moment = |row, column| match cell(&range, row, column) {
        Data::DateTime(moment) => moment.as_f64(),
        other => panic!("{other:?} is no date"),
    };
    assert_eq!(moment(1, 4), 46_053.0);
    assert!((moment(1, 5) - 46_053.343_755_787).abs() < 1e-8);
    assert_eq!(cell(&range, 1, 6), Data::String("R&D <é>".to_owned()));
    for column in [0, 1, 3, 6] {
        assert_eq!(cell(&range, 2, column), Data::Empty, "{column}");
    }
    assert_eq!(cell(&range, 2, 2), Data::String("NaN".to_owned()));
    assert_eq!(
        cell(&range, 2, 4),
        Data::String("1860-06-26".to_owned()),
        "Excel has no day before 1900"
    );
}

#[test]
fn digits_that_excel_would_drop_stay_as_text() {
    let exact = Decimal128Array::from(vec![999_999_999_999_999, 1_234_567_890_123_456_789]);
    let rows = batch(vec![
        (
            "d",
            Arc::new(exact.with_precision_and_scale(38, 2).expect("cents")),
        ),
        ("n", Arc::new(Int64Array::from(vec![0, i64::MAX]))),
    ]);
    let range = sheet(&[rows]);
    assert_eq!(cell(&range, 1, 0), Data::Float(9_999_999_999_999.99));
    let text = |text: &str| Data::String(text.to_owned());
    assert_eq!(cell(&range, 2, 0), text("12345678901234567.89"));
    assert_eq!(cell(&range, 2, 1), text("9223372036854775807"));
}

#[test]
fn no_text_is_a_formula() {
    let hostile = ["=1+1", "+33", "-1", "@x", "\t=1", "_x0041_", "a\u{1}b"];
    let rows = batch(vec![(
        "=cmd()",
        Arc::new(StringArray::from(hostile.to_vec())),
    )]);
    let bytes = bytes(std::slice::from_ref(&rows));
    let mut opened: Opened<_> =
        open_workbook_from_rs(std::io::Cursor::new(bytes)).expect("a workbook");
    let formulas = opened.worksheet_formula("Sheet1").expect("a sheet");
    assert_eq!(formulas.used_cells().count(), 0);
    let range = sheet(&[rows]);
    assert_eq!(cell(&range, 0, 0), Data::String("=cmd()".to_owned()));
    for (row, text) in (1..).zip(&hostile[..5]) {
        assert_eq!(cell(&range, row, 0), Data::String((*text).to_owned()));
    }
}

#[test]
fn a_sheet_is_full_at_excels_limits_and_says_so() {
    let long = "é".repeat(LONGEST_TEXT);
    let rows = |text: &str| batch(vec![("t", Arc::new(StringArray::from(vec![text])))]);
    let range = sheet(&[rows(&long)]);
    assert_eq!(cell(&range, 1, 0), Data::String(long.clone()));
    let mut xlsx = Xlsx::new(&rows("").schema()).expect("a workbook");
    let error = xlsx.write(&rows(&(long + "x"))).expect_err("too long");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.to_string().contains("32767 letters"), "{error}");

    let schema = rows("").schema();
    let mut xlsx = Xlsx::new(&schema).expect("a workbook");
    xlsx.rows = MOST_ROWS - 1;
    xlsx.write(&rows("the last")).expect("one is left");
    let error = xlsx.write(&rows("x")).expect_err("full");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
    assert!(error.to_string().contains("1048575"), "{error}");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("CSV")));
}

#[test]
fn many_rows_are_written_and_read_back() {
    let ids = |from: i64| {
        let ids = Int64Array::from_iter_values(from..from + 10_000);
        batch(vec![("id", Arc::new(ids))])
    };
    let batches: Vec<RecordBatch> = (0..5).map(|part| ids(part * 10_000)).collect();
    let range = sheet(&batches);
    assert_eq!(range.height(), 50_001);
    assert_eq!(cell(&range, 50_000, 0), Data::Float(49_999.0));
}
