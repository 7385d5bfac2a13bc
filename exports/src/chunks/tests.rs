use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arrow::array::{ArrayRef, Int64Array, StringArray};
use futures::{TryStreamExt, stream};

use super::*;
use crate::format::CsvOptions;

const CSV: Format = Format::Csv(CsvOptions {
    bom: false,
    separator: crate::Separator::Comma,
    decimal_comma: false,
    spaced_times: false,
});

fn batch(from: i64) -> RecordBatch {
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + 3));
    RecordBatch::try_from_iter([("id", ids)]).expect("a batch")
}

fn batches(count: i64) -> impl Stream<Item = Result<RecordBatch>> + Send {
    stream::iter((0..count).map(|number| Ok(batch(number * 3))))
}

#[tokio::test]
async fn a_chunk_is_made_when_it_is_asked_for() {
    let taken = Arc::new(AtomicUsize::new(0));
    let counted = taken.clone();
    let batches = batches(100).inspect(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let mut chunks = Box::pin(chunks(batches, batch(0).schema(), CSV));
    let first = chunks.try_next().await.expect("made").expect("a chunk");
    assert_eq!(first, "id\r\n0\r\n1\r\n2\r\n");
    assert_eq!(taken.load(Ordering::Relaxed), 1);
    let rest: Vec<Bytes> = chunks.try_collect().await.expect("made");
    assert_eq!(rest.len(), 99);
    assert_eq!(rest.last().expect("a chunk"), "297\r\n298\r\n299\r\n");
}

#[tokio::test]
async fn every_format_makes_a_file_of_no_rows_and_of_some() {
    for format in [CSV, Format::Parquet, Format::Xlsx] {
        for count in [0, 3] {
            let chunks = chunks(batches(count), batch(0).schema(), format);
            let parts: Vec<Bytes> = chunks.try_collect().await.expect("made");
            let bytes = parts.concat();
            let magic: &[u8] = match format {
                Format::Csv(_) => b"id\r\n",
                Format::Parquet => b"PAR1",
                Format::Xlsx => b"PK\x03\x04",
            };
            assert!(bytes.starts_with(magic), "{format:?} of {count} batches");
            assert!(parts.iter().all(|part| !part.is_empty()));
        }
    }
}

#[tokio::test]
async fn what_no_sheet_holds_is_refused_before_the_first_byte() {
    let text = |text: String| -> Result<RecordBatch> {
        let array: ArrayRef = Arc::new(StringArray::from(vec![text]));
        Ok(RecordBatch::try_from_iter([("t", array)]).expect("a batch"))
    };
    let batches = stream::iter([text("x".to_owned()), text("x".repeat(40_000))]);
    let schema = text(String::new()).expect("a batch").schema();
    let mut chunks = Box::pin(chunks(batches, schema, Format::Xlsx));
    let error = chunks.try_next().await.expect_err("no chunk before it");
    assert_eq!(error.kind(), ErrorKind::ResourceExhausted);
}

#[tokio::test]
async fn a_fault_of_the_rows_ends_the_export_with_it() {
    let fault = || Error::new(ErrorKind::Unavailable, "the lake is away");
    let batches = stream::iter([Ok(batch(0)), Err(fault()), Ok(batch(3))]);
    let mut chunks = Box::pin(chunks(batches, batch(0).schema(), CSV));
    chunks.try_next().await.expect("made").expect("a chunk");
    let error = chunks.try_next().await.expect_err("the fault");
    assert_eq!(error.to_string(), "the lake is away");
}
