use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::datatypes::{DataType, Field};
use arrow_flight::decode::FlightRecordBatchStream;
use futures::TryStreamExt;
use futures::stream::iter;
use tonic::Code;

use super::*;

fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    let column: ArrayRef = Arc::new(Int64Array::from_iter_values(range));
    RecordBatch::try_from_iter([("n", column)]).expect("one column")
}

fn texts(lengths: &[usize]) -> RecordBatch {
    let column: ArrayRef = Arc::new(StringArray::from_iter_values(
        lengths.iter().map(|length| "x".repeat(*length)),
    ));
    RecordBatch::try_from_iter([("t", column)]).expect("one column")
}

async fn shaped(batches: Vec<RecordBatch>) -> Vec<RecordBatch> {
    let mut shaped = Shaped::new(iter(batches.into_iter().map(Ok::<_, Error>)));
    let mut all = Vec::new();
    while let Some(batch) = shaped.next().await {
        all.push(batch.expect("shapes"));
    }
    all
}

fn rows(batches: &[RecordBatch]) -> Vec<usize> {
    batches.iter().map(RecordBatch::num_rows).collect()
}

#[tokio::test]
async fn small_batches_are_joined_in_order() {
    let input = (0..100).map(|i| numbers(i * 10..i * 10 + 10)).collect();
    let output = shaped(input).await;
    assert_eq!(output, vec![numbers(0..1000)]);
}

#[tokio::test]
async fn joining_stops_at_the_target() {
    let input = (0..40).map(|i| numbers(i * 8192..(i + 1) * 8192)).collect();
    let output = shaped(input).await;
    assert_eq!(rows(&output), vec![65_536; 5]);
}

#[tokio::test]
async fn a_large_batch_is_cut_by_bytes() {
    let output = shaped(vec![numbers(0..1_000_000)]).await;
    assert!(output.len() > 3);
    assert_eq!(rows(&output).iter().sum::<usize>(), 1_000_000);
    for batch in &output {
        assert!(occupied_bytes(batch).expect("sized") <= MAX_BATCH_BYTES);
    }
}

#[tokio::test]
async fn rows_of_uneven_size_are_cut_by_what_they_take() {
    let mut lengths = vec![1; 5000];
    lengths[2500] = 10 * MAX_BATCH_BYTES;
    let output = shaped(vec![texts(&lengths)]).await;
    assert_eq!(rows(&output).iter().sum::<usize>(), 5000);
    for batch in &output {
        let fits = occupied_bytes(batch).expect("sized") <= MAX_BATCH_BYTES;
        assert!(fits || batch.num_rows() == 1);
    }
}

#[tokio::test]
async fn a_slice_of_a_large_buffer_is_small() {
    let slice = numbers(0..1_000_000).slice(500, 3);
    let output = shaped(vec![slice]).await;
    assert_eq!(output, vec![numbers(500..503)]);
}

#[tokio::test]
async fn rows_do_not_wait_for_a_slow_query() {
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    sender.send(Ok(numbers(0..3))).await.expect("room");
    let input = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let mut shaped = Shaped::<_>::new(input.map(|item: Result<RecordBatch, Error>| item).boxed());
    let first = shaped.next().await.expect("lingered").expect("rows");
    assert_eq!(first, numbers(0..3));
    drop(sender);
    assert!(shaped.next().await.is_none());
}

#[tokio::test]
async fn an_error_ends_the_stream_with_its_own_code() {
    let failing = iter([
        Ok(numbers(0..1)),
        Err(Error::invalid("divide by zero").hint("Use NULLIF.")),
    ]);
    let schema = wire_schema(&numbers(0..1).schema(), Profile::Arrow);
    let items: Vec<_> = encoded(schema, failing).collect().await;
    let last = items.into_iter().next_back().expect("an error");
    let status = encoding_status(last.expect_err("an error"));
    assert_eq!(status.code(), Code::InvalidArgument);
    assert_eq!(status.message(), "divide by zero\nhint: Use NULLIF.");
}

#[tokio::test]
async fn the_stream_has_exactly_the_announced_schema() {
    let column: ArrayRef = Arc::new(StringArray::from(vec![Some("a"), None]));
    let batch = RecordBatch::try_from_iter_with_nullable([("t", column, true)]).expect("column");
    let announced = wire_schema(&batch.schema(), Profile::Arrow);
    let messages = encoded(announced.clone(), iter([Ok::<_, Error>(batch.clone())]));
    let stream = FlightRecordBatchStream::new_from_flight_data(messages);
    let batches: Vec<RecordBatch> = stream.try_collect().await.expect("decodes");
    assert_eq!(batches[0].schema(), announced);
    assert_eq!(batches[0].columns(), batch.columns());
}

#[tokio::test]
async fn an_empty_result_still_has_its_schema() {
    let schema = wire_schema(
        &Schema::new(vec![Field::new("n", DataType::Int64, false)]),
        Profile::Arrow,
    );
    let nothing = iter(Vec::<Result<RecordBatch>>::new());
    let messages: Vec<_> = encoded(schema, nothing).collect().await;
    assert_eq!(messages.len(), 1);
}
