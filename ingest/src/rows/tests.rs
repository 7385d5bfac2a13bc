use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Date32Type, Int32Type, Int64Type, TimestampMicrosecondType};
use chrono::{DateTime, Utc};
use proptest::prelude::*;

use engine::bronze::Lineage;

use super::*;

fn message(value: Option<&[u8]>) -> Message<'_> {
    Message {
        partition: 2,
        offset: 40,
        timestamp_ms: Some(1_700_000_000_123),
        key: Some(b"{\"id\":1}"),
        value,
        headers: MessageHeaders::default(),
    }
}

fn noon() -> DateTime<Utc> {
    "2026-03-01T12:00:00.000001Z".parse().expect("a time")
}

fn rows(messages: &[Message<'_>]) -> RecordBatch {
    let mut builder = RowBuilder::with_capacity(1, 1);
    let mut lineage = Lineage::default();
    for message in messages {
        builder.push(message, &mut lineage, None, noon());
    }
    builder.finish().expect("columns fit the schema")
}

#[track_caller]
fn check(value: Option<&[u8]>, op: Option<&str>, error: Option<&str>) {
    let batch = rows(&[message(value)]);
    let text = |column: &str| {
        let column = batch[column].as_string::<i32>();
        column.is_valid(0).then(|| column.value(0).to_owned())
    };
    assert_eq!(text("op").as_deref(), op);
    assert_eq!(text("error").as_deref(), error);
    let stored = batch["value"].as_binary::<i32>();
    assert_eq!(stored.is_valid(0).then(|| stored.value(0)), value);
}

#[test]
fn an_envelope_shows_its_operation() {
    check(
        Some(br#"{"op":"c","before":null,"after":{}}"#),
        Some("c"),
        None,
    );
    check(Some(br#"{"op":"d","before":{"id":1}}"#), Some("d"), None);
    check(Some(br#"{"op":"t"}"#), Some("t"), None);
    check(
        Some(br#"{"schema":{},"payload":{"op":"r","after":{}}}"#),
        Some("r"),
        None,
    );
}

#[test]
fn a_tombstone_has_neither_operation_nor_error() {
    check(None, None, None);
}

#[test]
fn what_is_no_envelope_is_kept_with_an_error() {
    check(Some(b""), None, Some("empty value"));
    check(Some(b" \n"), None, Some("empty value"));
    check(Some(b"[1]"), None, Some("not a JSON object"));
    check(Some(b"{}"), None, Some("no op"));
    check(Some(br#"{"op":"x"}"#), None, Some("unknown op"));
    check(
        Some(br#"{"op":"c","after":3}"#),
        None,
        Some("after is neither an object nor null"),
    );
    check(Some(&[0, 0xff]), None, Some("not JSON: not UTF-8"));
}

#[test]
fn the_error_of_poison_does_not_quote_it() {
    let batch = rows(&[message(Some(b"{\"op\":\"c\",\"nom\":Durand}"))]);
    let error = batch["error"].as_string::<i32>().value(0);
    assert!(error.starts_with("not JSON"), "{error}");
    assert!(!error.contains("Durand"), "{error}");
}

#[test]
fn coordinates_times_and_source_are_columns() {
    let mut first = message(Some(
        br#"{"op":"u","after":{},"source":{"lsn":77,"ts_ms":1700000000001}}"#,
    ));
    first.headers.generation = 3;
    let batch = rows(&[first, message(None)]);
    assert_eq!(batch["_partition"].as_primitive::<Int32Type>().value(0), 2);
    assert_eq!(batch["_offset"].as_primitive::<Int64Type>().value(0), 40);
    let sent = batch["_timestamp"].as_primitive::<TimestampMicrosecondType>();
    assert_eq!(sent.value(0), 1_700_000_000_123_000);
    let ingested = batch["_ingested_at"].as_primitive::<TimestampMicrosecondType>();
    assert_eq!(ingested.value(0), noon().timestamp_micros());
    let date = batch["_date"].as_primitive::<Date32Type>();
    assert_eq!(
        date.value_as_date(0).map(|day| day.to_string()).as_deref(),
        Some("2026-03-01")
    );
    let generation = batch["generation"].as_primitive::<Int64Type>();
    assert_eq!((generation.value(0), generation.value(1)), (3, 3));
    let lsn = batch["source_lsn"].as_primitive::<Int64Type>();
    assert_eq!((lsn.value(0), lsn.is_null(1)), (77, true));
    let committed = batch["source_ts_ms"].as_primitive::<Int64Type>();
    assert_eq!(committed.value(0), 1_700_000_000_001);
}

#[test]
fn a_time_no_client_can_show_is_left_out() {
    for timestamp_ms in [
        None,
        Some(i64::MAX),
        Some(i64::MIN),
        Some(253_402_300_800_000),
    ] {
        let batch = rows(&[Message {
            timestamp_ms,
            ..message(None)
        }]);
        assert!(batch["_timestamp"].is_null(0), "{timestamp_ms:?}");
    }
}

#[test]
fn ten_megabytes_are_one_row() {
    let large = vec![b'x'; 10_000_000];
    let batch = rows(&[message(Some(&large))]);
    assert_eq!(
        batch["value"].as_binary::<i32>().value(0).len(),
        large.len()
    );
}

proptest! {
    #[test]
    fn any_message_is_one_row(
        partition: i32,
        offset: i64,
        timestamp_ms: Option<i64>,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        names in proptest::collection::vec((".*", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..8))), 0..3),
    ) {
        let headers = MessageHeaders::from_pairs(
            names.iter().map(|(name, value)| (name.as_str(), value.as_deref())),
        );
        let batch = rows(&[Message {
            partition,
            offset,
            timestamp_ms,
            key: key.as_deref(),
            value: value.as_deref(),
            headers,
        }]);
        prop_assert_eq!(batch.num_rows(), 1);
        let stored = batch["value"].as_binary::<i32>();
        prop_assert_eq!(stored.is_valid(0).then(|| stored.value(0)), value.as_deref());
    }

    #[test]
    fn text_close_to_an_envelope_is_one_row(value in r#"[ ]?\{?("(op|after|schema|payload)":("c"|"x"|\{\}|null|3|\{"op":"c"\}),?){0,4}\}?"#) {
        prop_assert_eq!(rows(&[message(Some(value.as_bytes()))]).num_rows(), 1);
    }
}
