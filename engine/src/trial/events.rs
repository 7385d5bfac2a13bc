//! Change events of a test, as the rows that ingest would make of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Date32Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Date32Type, Field, Int32Type, Int64Type, Schema};
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value};
use sqlparser::tokenizer::Span;

use super::rows::{fitted, texts};
use crate::bronze;
use crate::error::Result;
use crate::project::{BronzeSource, Diagnostic, Source, suggest};

/// One message, and what ingest reads out of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) key: Option<String>,
    pub(super) value: Option<String>,
    pub(super) op: Option<String>,
    pub(super) generation: i64,
    pub(super) lsn: Option<i64>,
    pub(super) ts_ms: Option<i64>,
    pub(super) partition: i32,
    pub(super) error: Option<String>,
}

/// The events that a test writes as rows of `op, key, before, after, lsn, ...`; every column may be left out.
pub(super) fn written(
    source: Source<'_>,
    at: Span,
    rows: &RecordBatch,
    bronze: Option<&BronzeSource>,
    last_lsn: &mut i64,
) -> Result<Vec<Event>, Diagnostic> {
    let columns = Schema::new(vec![
        Field::new("op", DataType::Utf8, true),
        Field::new("key", DataType::Utf8, true),
        Field::new("before", DataType::Utf8, true),
        Field::new("after", DataType::Utf8, true),
        Field::new("lsn", DataType::Int64, true),
        Field::new("ts_ms", DataType::Int64, true),
        Field::new("generation", DataType::Int64, true),
        Field::new("partition", DataType::Int32, true),
        Field::new("value", DataType::Utf8, true),
        Field::new("error", DataType::Utf8, true),
    ]);
    let rows = fitted(source, at, rows, &columns)?;
    let text = |name: &str, row: usize| {
        let column = rows.column_by_name(name)?.as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let number = |name: &str, row: usize| {
        let column = rows.column_by_name(name)?.as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let mut events = Vec::with_capacity(rows.num_rows());
    for row in 0..rows.num_rows() {
        *last_lsn += 1;
        let image = |name: &str| match text(name, row) {
            Some(json) => image(source, at, name, &json, bronze).map(|image| Some((json, image))),
            None => Ok(None),
        };
        let (before, after) = (image("before")?, image("after")?);
        let lsn = match rows.column_by_name("lsn") {
            Some(_) => number("lsn", row),
            None => Some(*last_lsn),
        };
        let partition = rows.column_by_name("partition");
        let partition = partition.map(|column| column.as_primitive::<Int32Type>());
        let raw = text("value", row);
        let op = text("op", row).or_else(|| match (&before, &after) {
            _ if raw.is_some() => None,
            (None, None) => None,
            (None, Some(_)) => Some("c".to_owned()),
            (Some(_), Some(_)) => Some("u".to_owned()),
            (Some(_), None) => Some("d".to_owned()),
        });
        let ts_ms = number("ts_ms", row);
        let about = after.as_ref().or(before.as_ref());
        let key = text("key", row).or_else(|| key_of(&about?.1, bronze));
        let value = raw.or_else(|| {
            let before = before.as_ref().map(|(json, _)| json.as_str());
            let after = after.as_ref().map(|(json, _)| json.as_str());
            Some(envelope(op.as_deref()?, before, after, lsn, ts_ms))
        });
        events.push(Event {
            key,
            value,
            op,
            generation: number("generation", row).unwrap_or(0),
            lsn,
            ts_ms,
            partition: partition.map_or(0, |partition| partition.value(row)),
            error: text("error", row),
        });
    }
    Ok(events)
}

/// Rows of a table given directly, as events whose fields are its columns.
pub(super) fn stand_ins(
    rows: &RecordBatch,
    op: &str,
    generation: i64,
    lsn: i64,
) -> Result<Vec<Event>> {
    let columns = rows.columns().iter().map(|column| texts(column));
    let columns: Vec<Vec<Option<String>>> = columns.collect::<Result<_>>()?;
    let schema = rows.schema();
    let events = (0..rows.num_rows()).map(|row| {
        let fields = schema.fields().iter().zip(&columns);
        let image: Map<String, Value> = fields
            .map(|(field, cells)| (field.name().clone(), cells[row].clone().into()))
            .collect();
        let image = Value::Object(image).to_string();
        let (before, after) = match op {
            "d" => (Some(image.as_str()), None),
            _ => (None, Some(image.as_str())),
        };
        Event {
            value: Some(envelope(op, before, after, Some(lsn), None)),
            op: Some(op.to_owned()),
            generation,
            lsn: Some(lsn),
            ..Event::default()
        }
    });
    Ok(events.collect())
}

/// Marks a generation of rows that may have none.
pub(super) fn marker(generation: i64) -> Event {
    Event {
        op: Some("m".to_owned()),
        value: Some(envelope("m", None, None, None, None)),
        generation,
        ..Event::default()
    }
}

/// The events as bronze holds them, from the next offset of each partition on, which moves.
pub(super) fn bronze_rows(
    events: &[Event],
    next: &mut BTreeMap<i32, i64>,
    now: DateTime<Utc>,
) -> Result<RecordBatch> {
    let offsets: Int64Array = events
        .iter()
        .map(|event| {
            let next = next.entry(event.partition).or_insert(0);
            *next += 1;
            Some(*next - 1)
        })
        .collect();
    let count = events.len();
    let instant = || {
        let micros = vec![now.timestamp_micros(); count];
        TimestampMicrosecondArray::from(micros).with_timezone("UTC")
    };
    let day = Date32Type::from_naive_date(now.date_naive());
    let bytes = |of: fn(&Event) -> &Option<String>| {
        let cells = events
            .iter()
            .map(|event| of(event).as_ref().map(String::as_bytes));
        cells.collect::<BinaryArray>()
    };
    let text = |of: fn(&Event) -> &Option<String>| {
        let cells = events.iter().map(|event| of(event).as_deref());
        cells.collect::<StringArray>()
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(
            events
                .iter()
                .map(|event| Some(event.partition))
                .collect::<Int32Array>(),
        ),
        Arc::new(offsets),
        Arc::new(instant()),
        Arc::new(instant()),
        Arc::new(Date32Array::from(vec![day; count])),
        Arc::new(bytes(|event| &event.key)),
        Arc::new(bytes(|event| &event.value)),
        Arc::new(StringArray::from(vec![None::<&str>; count])),
        Arc::new(text(|event| &event.op)),
        Arc::new(
            events
                .iter()
                .map(|event| Some(event.generation))
                .collect::<Int64Array>(),
        ),
        Arc::new(events.iter().map(|event| event.lsn).collect::<Int64Array>()),
        Arc::new(
            events
                .iter()
                .map(|event| event.ts_ms)
                .collect::<Int64Array>(),
        ),
        Arc::new(text(|event| &event.error)),
    ];
    Ok(RecordBatch::try_new(bronze::schema(), columns)?)
}

/// As Debezium writes it without schemas; the images stand in it as the test has them.
fn envelope(
    op: &str,
    before: Option<&str>,
    after: Option<&str>,
    lsn: Option<i64>,
    ts_ms: Option<i64>,
) -> String {
    let number = |number: Option<i64>| number.map_or("null".to_owned(), |n| n.to_string());
    let (lsn, ts_ms) = (number(lsn), number(ts_ms));
    let (before, after) = (before.unwrap_or("null"), after.unwrap_or("null"));
    let op = Value::from(op);
    format!(
        r#"{{"before":{before},"after":{after},"source":{{"lsn":{lsn},"ts_ms":{ts_ms}}},"op":{op},"ts_ms":{ts_ms}}}"#
    )
}

/// The row of an image; one with a field that the source does not have is a mistake.
fn image(
    source: Source<'_>,
    at: Span,
    name: &str,
    json: &str,
    bronze: Option<&BronzeSource>,
) -> Result<Map<String, Value>, Diagnostic> {
    let image = match serde_json::from_str(json) {
        Ok(Value::Object(image)) => image,
        Ok(_) | Err(_) => {
            let shown: String = json.chars().take(60).collect();
            return Err(source
                .at(at, format!("\"{name}\" is no JSON object: {shown}"))
                .hint("Write it as: SELECT '{\"id\":1,\"nom\":\"Durand\"}' AS after;"));
        }
    };
    let known = bronze.filter(|bronze| !bronze.fields.is_empty());
    let strange = known.and_then(|known| {
        image
            .keys()
            .find(|field| !known.fields.contains_key(*field))
            .map(|field| (field, known.fields.keys().map(String::as_str)))
    });
    match strange {
        Some((field, fields)) => {
            let hint = suggest(field, "Fields are", fields);
            let problem = source.at(at, format!("rows of the source have no field \"{field}\""));
            Err(problem.maybe_hint(hint))
        }
        None => Ok(image),
    }
}

fn key_of(image: &Map<String, Value>, bronze: Option<&BronzeSource>) -> Option<String> {
    let fields = &bronze?.key;
    let key: Map<String, Value> = fields
        .iter()
        .map(|field| (field.clone(), image.get(field).cloned().unwrap_or_default()))
        .collect();
    (!key.is_empty()).then(|| Value::Object(key).to_string())
}
