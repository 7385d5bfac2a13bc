use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int64Array, ListArray,
    StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::Int32Type;

use super::*;
use crate::format::Separator;

fn csv(options: CsvOptions, columns: Vec<(&str, ArrayRef)>) -> String {
    let batch = RecordBatch::try_from_iter(columns).expect("a batch");
    let mut csv = Csv::new(&batch.schema(), options);
    let mut out = csv.write(&batch).expect("written");
    out.extend(csv.finish());
    String::from_utf8(out).expect("UTF-8")
}

fn text(values: &[Option<&str>]) -> ArrayRef {
    Arc::new(StringArray::from(values.to_vec()))
}

fn money(cents: &[Option<i128>]) -> ArrayRef {
    let array = Decimal128Array::from(cents.to_vec());
    Arc::new(array.with_precision_and_scale(12, 2).expect("cents"))
}

#[test]
fn a_row_is_a_line_that_programs_read() {
    let out = csv(
        CsvOptions::default(),
        vec![
            ("id", Arc::new(Int64Array::from(vec![Some(-7), None]))),
            ("bu", text(&[Some("R&D, \"Lattes\""), Some("")])),
            ("prime", money(&[Some(150_050), Some(-5)])),
            ("km", Arc::new(Float64Array::from(vec![1.5, -2.0]))),
            ("ok", Arc::new(BooleanArray::from(vec![Some(true), None]))),
            ("né", Arc::new(Date32Array::from(vec![Some(20_484), None]))),
        ],
    );
    let expected = "id,bu,prime,km,ok,né\r\n\
                    -7,\"R&D, \"\"Lattes\"\"\",1500.50,1.5,true,2026-01-31\r\n\
                    ,\"\",-0.05,-2.0,,\r\n";
    assert_eq!(out, expected);
}

#[test]
fn a_french_excel_finds_its_letters_columns_decimals_and_times() {
    let times = TimestampMicrosecondArray::from(vec![1_769_847_300_500_000]).with_timezone("UTC");
    let columns = || -> Vec<(&str, ArrayRef)> {
        vec![
            ("prime", money(&[Some(150_050)])),
            ("quand", Arc::new(times.clone())),
            ("bu", text(&[Some("1.5;x")])),
        ]
    };
    assert_eq!(
        csv(CsvOptions::excel_fr(), columns()),
        "\u{feff}prime;quand;bu\r\n1500,50;2026-01-31 08:15:00.500;\"1.5;x\"\r\n"
    );
    let plain = csv(CsvOptions::default(), columns());
    assert!(plain.contains("2026-01-31T08:15:00.500Z"), "{plain}");
    let commas = CsvOptions {
        decimal_comma: true,
        ..CsvOptions::default()
    };
    assert!(csv(commas, columns()).contains("\r\n\"1500,50\","));
    let tabs = CsvOptions {
        separator: Separator::Tab,
        ..CsvOptions::default()
    };
    assert!(csv(tabs, columns()).starts_with("prime\tquand\tbu\r\n1500.50\t"));
}

#[test]
fn no_text_is_a_formula_and_no_number_is_touched() {
    let hostile = [
        "=HYPERLINK(\"http://x\")",
        "+33 6",
        "-1",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "a;=1",
    ];
    let values: Vec<Option<&str>> = hostile.iter().copied().map(Some).collect();
    let numbers = Int64Array::from(vec![-1; hostile.len()]);
    let out = csv(
        CsvOptions::default(),
        vec![("=cmd()", text(&values)), ("n", Arc::new(numbers))],
    );
    let mut reader = ::csv::Reader::from_reader(out.as_bytes());
    assert_eq!(&reader.headers().expect("a header")[0], "'=cmd()");
    let read: Vec<_> = reader
        .records()
        .map(|record| record.expect("a record"))
        .collect();
    for (record, text) in read.iter().zip(hostile) {
        let armoured = match text {
            "a;=1" => "a;'=1".to_owned(),
            "\t=1" => "'\t'=1".to_owned(),
            "\r=1" => "'\r'=1".to_owned(),
            text => format!("'{text}"),
        };
        assert_eq!((&record[0], &record[1]), (armoured.as_str(), "-1"));
    }
    assert_eq!(read.len(), hostile.len());
    assert!(out.contains("\"a;'=1\""), "not two cells to a French Excel");
}

#[test]
fn whatever_a_text_holds_is_read_back() {
    let texts = [
        "",
        " ",
        "\"",
        "\"\"",
        "a\r\nb",
        "\n\n",
        ",",
        ";\t",
        "é\u{1f600}\u{0}",
        "'x",
    ];
    let values: Vec<Option<&str>> = texts.iter().copied().map(Some).collect();
    let out = csv(
        CsvOptions::default(),
        vec![("a", text(&values)), ("b", text(&values))],
    );
    let mut reader = ::csv::Reader::from_reader(out.as_bytes());
    let read: Vec<String> = reader
        .records()
        .map(|record| record.expect("a record")[1].to_owned())
        .collect();
    let expected: Vec<String> = texts
        .iter()
        .map(|text| match *text {
            "\n\n" => "'\n\n".to_owned(),
            text => text.to_owned(),
        })
        .collect();
    assert_eq!(read, expected);
}

#[test]
fn a_result_without_rows_has_a_header_and_lists_are_text() {
    let empty = Csv::new(
        &RecordBatch::try_from_iter(vec![("a", text(&[]))])
            .expect("a batch")
            .schema(),
        CsvOptions::default(),
    );
    assert_eq!(empty.finish(), b"a\r\n");
    let list = ListArray::from_iter_primitive::<Int32Type, _, _>([Some([Some(1), Some(2)])]);
    let out = csv(CsvOptions::default(), vec![("l", Arc::new(list))]);
    assert_eq!(out, "l\r\n\"[1, 2]\"\r\n");
    let lone = csv(CsvOptions::default(), vec![("a", text(&[None, Some("x")]))]);
    assert_eq!(lone, "a\r\n\"\"\r\nx\r\n");
}

#[test]
fn a_time_that_no_calendar_has_is_refused_without_showing_it() {
    let array = TimestampMicrosecondArray::from(vec![i64::MAX]);
    let batch =
        RecordBatch::try_from_iter(vec![("quand", Arc::new(array) as ArrayRef)]).expect("a batch");
    let refused = Csv::new(&batch.schema(), CsvOptions::default()).write(&batch);
    let error = refused.expect_err("no calendar");
    assert_eq!(
        error.to_string(),
        "a value of column \"quand\" cannot be written as CSV"
    );
    assert!(error.hint_text().is_some());
}
