use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, Date32Builder, Int32Builder, Int64Builder, RecordBatch, StringBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::error::ArrowError;
use chrono::{DateTime, Utc};

use engine::bronze::Lineage;

use super::Message;
use crate::lineage::{Life, follow};

const DAY_US: i64 = 86_400_000_000;

/// The columns of bronze, filled row by row.
pub(crate) struct RowBuilder {
    partition: Int32Builder,
    offset: Int64Builder,
    timestamp: TimestampMicrosecondBuilder,
    ingested_at: TimestampMicrosecondBuilder,
    date: Date32Builder,
    key: BinaryBuilder,
    value: BinaryBuilder,
    headers: StringBuilder,
    op: StringBuilder,
    generation: Int64Builder,
    source_lsn: Int64Builder,
    source_ts_ms: Int64Builder,
    error: StringBuilder,
    rows: usize,
    weight: usize,
    poison: usize,
}

impl RowBuilder {
    /// Room for `rows` of `weight` bytes in all before anything is moved.
    pub(crate) fn with_capacity(rows: usize, weight: usize) -> Self {
        Self {
            partition: Int32Builder::with_capacity(rows),
            offset: Int64Builder::with_capacity(rows),
            timestamp: TimestampMicrosecondBuilder::with_capacity(rows).with_timezone("UTC"),
            ingested_at: TimestampMicrosecondBuilder::with_capacity(rows).with_timezone("UTC"),
            date: Date32Builder::with_capacity(rows),
            key: BinaryBuilder::with_capacity(rows, rows * 16),
            value: BinaryBuilder::with_capacity(rows, weight),
            headers: StringBuilder::with_capacity(rows, 0),
            op: StringBuilder::with_capacity(rows, rows),
            generation: Int64Builder::with_capacity(rows),
            source_lsn: Int64Builder::with_capacity(rows),
            source_ts_ms: Int64Builder::with_capacity(rows),
            error: StringBuilder::with_capacity(rows, 0),
            rows: 0,
            weight: 0,
            poison: 0,
        }
    }

    /// Adds a message of a partition with this lineage, and moves the lineage along; `latest` is the topic's latest life.
    pub(crate) fn push(
        &mut self,
        message: &Message<'_>,
        lineage: &mut Lineage,
        latest: Option<Life>,
        ingested_at: DateTime<Utc>,
    ) {
        let reading = message.read();
        let told = message.headers.generation;
        let generation = match &reading.origin {
            Some(origin) => follow(lineage, origin, told, latest),
            None => lineage.generation.max(told),
        };
        let ingested_us = ingested_at.timestamp_micros();
        self.partition.append_value(message.partition);
        self.offset.append_value(message.offset);
        self.timestamp.append_option(message.timestamp_us());
        self.ingested_at.append_value(ingested_us);
        self.date
            .append_value(i32::try_from(ingested_us.div_euclid(DAY_US)).unwrap_or(i32::MAX));
        self.key.append_option(message.key);
        self.value.append_option(message.value);
        self.headers.append_option(message.headers.json.as_deref());
        self.op.append_option(reading.op.map(changes::Op::as_str));
        self.generation.append_value(generation);
        self.source_lsn.append_option(reading.source_lsn);
        self.source_ts_ms.append_option(reading.source_ts_ms);
        self.poison += usize::from(reading.error.is_some());
        self.error.append_option(reading.error);
        self.rows += 1;
        self.weight += message.weight();
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn weight(&self) -> usize {
        self.weight
    }

    /// Rows whose message is no envelope.
    pub(crate) fn poison(&self) -> usize {
        self.poison
    }

    pub(crate) fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.partition.finish()),
            Arc::new(self.offset.finish()),
            Arc::new(self.timestamp.finish()),
            Arc::new(self.ingested_at.finish()),
            Arc::new(self.date.finish()),
            Arc::new(self.key.finish()),
            Arc::new(self.value.finish()),
            Arc::new(self.headers.finish()),
            Arc::new(self.op.finish()),
            Arc::new(self.generation.finish()),
            Arc::new(self.source_lsn.finish()),
            Arc::new(self.source_ts_ms.finish()),
            Arc::new(self.error.finish()),
        ];
        RecordBatch::try_new(engine::bronze::schema(), columns)
    }
}
