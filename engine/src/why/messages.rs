use std::sync::Arc;

use arrow::array::{Array, AsArray, StringArray};
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::{Expr, col, ident, lit};
use sql_files::TableName;

use super::{Asked, among};
use crate::error::Result;
use crate::hidden::{DELETED, OFFSET, PARTITION, RULE, TIMESTAMP};
use crate::reader::stored_table;

impl Asked<'_> {
    /// The messages that the rows with these keys of a `@cdc` table stand on: the key, `topic`, `partition`, `offset`,
    /// `time`, `op`, `source_lsn`, and whether the row is `deleted` or kept out by a `rule`. None for other tables.
    pub(super) async fn messages(
        &self,
        table: &TableName,
        keys: &[Vec<ScalarValue>],
    ) -> Result<Option<RecordBatch>> {
        let state = self.manifest.table(table)?;
        let source = self
            .project
            .tables
            .get(table)
            .and_then(|checked| checked.inputs.iter().find(|input| input.is_bronze()));
        let (Some(source), Ok(_)) = (source, state.schema.field_with_name(PARTITION)) else {
            return Ok(None);
        };
        let stored = stored_table(self.lake, self.snapshots, table, state);
        let mut columns: Vec<Expr> = state.key.iter().map(ident).collect();
        columns.extend([
            col(PARTITION).alias("partition"),
            col(OFFSET).alias("offset"),
            col(TIMESTAMP),
            col(DELETED).alias("deleted"),
            col(RULE).alias("rule"),
        ]);
        let frame = self.sessions.context([])?.read_table(Arc::new(stored))?;
        let rows = frame
            .filter(among(&state.key, keys.to_vec()))?
            .select(columns)?;
        let places = rows.clone().collect().await?;
        // Bronze only grows, and keeps its old versions for a while only.
        let bronze = self.manifest.tables.get(source);
        let (Some(bronze), Some(wanted)) = (bronze, coordinates(&places)) else {
            return Ok(None);
        };
        let bronze = self
            .sessions
            .context([])?
            .read_table(self.public(source, bronze.version)?)?;
        // A dead letter that was taken in again has the coordinates of the event that it became.
        let wanted = wanted.and(col("error").is_null());
        let bronze = bronze.filter(wanted)?.select(vec![
            col("_partition"),
            col("_offset"),
            col("_timestamp").alias("time"),
            col("op"),
            col("source_lsn"),
        ])?;
        let found = bronze.collect().await?;
        Ok(Some(joined(&self.topic(source), &places, &found)?))
    }

    fn topic(&self, bronze: &TableName) -> String {
        let source = self.lock.bronze.get(bronze.name());
        source.map_or_else(|| bronze.to_string(), |source| source.topic.clone())
    }
}

/// Selects the messages at these places.
fn coordinates(places: &[RecordBatch]) -> Option<Expr> {
    let mut wanted: Option<Expr> = None;
    for batch in places {
        let partition = batch
            .column_by_name("partition")?
            .as_primitive::<Int32Type>();
        let offset = batch.column_by_name("offset")?.as_primitive::<Int64Type>();
        for (partition, offset) in partition.iter().zip(offset) {
            let (Some(partition), Some(offset)) = (partition, offset) else {
                continue;
            };
            let one = col("_partition")
                .eq(lit(partition))
                .and(col("_offset").eq(lit(offset)));
            wanted = Some(match wanted {
                Some(others) => others.or(one),
                None => one,
            });
        }
    }
    wanted
}

/// One row a place, with what bronze says of the message there.
fn joined(topic: &str, places: &[RecordBatch], found: &[RecordBatch]) -> Result<RecordBatch> {
    let Some(first) = places.first() else {
        return Ok(RecordBatch::new_empty(Arc::new(Schema::empty())));
    };
    let places = concat_batches(&first.schema(), places)?;
    let topics: StringArray = std::iter::repeat_n(Some(topic), places.num_rows()).collect();
    let mut fields: Vec<Arc<Field>> = vec![Arc::new(Field::new("topic", DataType::Utf8, false))];
    let mut columns: Vec<arrow::array::ArrayRef> = vec![Arc::new(topics)];
    let schema = places.schema();
    let told = schema.fields().iter().zip(places.columns());
    for (field, column) in told.filter(|(field, _)| field.name() != TIMESTAMP) {
        fields.push(field.clone());
        columns.push(column.clone());
    }
    if let Some(schema) = found.first().map(RecordBatch::schema) {
        let found = concat_batches(&schema, found)?;
        // Another cluster has messages of the same coordinates.
        let of = |batch: &RecordBatch, partition: &str, offset: &str, time: &str, row: usize| {
            let partition = batch
                .column_by_name(partition)?
                .as_primitive::<Int32Type>()
                .value(row);
            let offset = batch
                .column_by_name(offset)?
                .as_primitive::<Int64Type>()
                .value(row);
            let times = batch.column_by_name(time)?;
            let times = times.as_primitive::<TimestampMicrosecondType>();
            let time = times.is_valid(row).then(|| times.value(row));
            Some((partition, offset, time))
        };
        let by_place: std::collections::HashMap<_, _> = (0..found.num_rows())
            .filter_map(|row| Some((of(&found, "_partition", "_offset", "time", row)?, row)))
            .collect();
        let rows: arrow::array::UInt64Array = (0..places.num_rows())
            .map(|row| {
                let place = of(&places, "partition", "offset", TIMESTAMP, row)?;
                by_place.get(&place).map(|row| *row as u64)
            })
            .collect();
        for name in ["time", "op", "source_lsn"] {
            if let Some(column) = found.column_by_name(name) {
                fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
                columns.push(arrow::compute::take(column, &rows, None)?);
            }
        }
    }
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}
