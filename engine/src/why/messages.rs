use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, Int64Array, StringArray, UInt64Array, new_null_array,
};
use arrow::compute::{concat_batches, take};
use arrow::datatypes::{DataType, Field, Int32Type, Int64Type, Schema, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use datafusion::catalog::TableProvider;
use datafusion::common::ScalarValue;
use datafusion::datasource::{ViewTable, provider_as_source};
use datafusion::logical_expr::{
    Expr, LogicalPlanBuilder, Operator, binary_expr, cast, col, ident, lit,
};
use sql_files::TableName;

use super::{Asked, among};
use crate::error::Result;
use crate::hidden::{DELETED, HIDDEN, KEPT, OFFSET, PARTITION, RULE, TIMESTAMP};
use crate::reader::stored_table;
use crate::refresh::taken;

impl Asked<'_> {
    /// The messages that the rows with these keys of a `@cdc` table stand on: the key, `topic`, `partition`, `offset`,
    /// `time`, `op`, `source_lsn`, and whether the row is `deleted` or kept out by a `rule`. A row that has `fields` from
    /// older messages, because its last one left them out, has a line for each of those. None for other tables.
    pub(super) async fn messages(
        &self,
        table: &TableName,
        keys: &[Vec<ScalarValue>],
    ) -> Result<Option<RecordBatch>> {
        let Some(source) = self.source(table)? else {
            return Ok(None);
        };
        let key = &self.manifest.table(table)?.key;
        let rows = self.places(table, among(key, keys.to_vec())).await?;
        // Bronze only grows, and keeps its old versions for a while only.
        let bronze = self.manifest.tables.get(source);
        let (Some(bronze), Some(wanted)) = (bronze, coordinates(&rows)) else {
            return Ok(None);
        };
        let bronze = self.public(source, bronze.version)?;
        let topic = self.topic(source);
        let found = self.found(bronze.clone(), wanted).await?;
        let last = joined(&topic, &rows, &found, true)?;
        let Some(given) = given(&rows)? else {
            return Ok(Some(last));
        };
        let file = self.project.project.file(table);
        let cdc = file.and_then(|file| file.directives.cdc.as_ref());
        let sequence = cdc.into_iter().flat_map(|cdc| &cdc.sequence);
        let sequence: Vec<&str> = sequence.map(|column| column.name.as_str()).collect();
        let Some(wanted) = given.wanted(&sequence) else {
            return Ok(Some(last));
        };
        let found = self.found(bronze, wanted).await?;
        let older = joined(&topic, &given.places, &found, false)?;
        Ok(Some(together(&last, &older, given.fields)?))
    }

    /// The bronze table that a `@cdc` table folds; none of other tables.
    pub(super) fn source(&self, table: &TableName) -> Result<Option<&TableName>> {
        let state = self.manifest.table(table)?;
        let checked = self.project.tables.get(table);
        let source = checked.and_then(|checked| checked.inputs.iter().find(|i| i.is_bronze()));
        Ok(source.filter(|_| state.schema.field_with_name(PARTITION).is_ok()))
    }

    /// Where some rows stand.
    async fn places(&self, table: &TableName, wanted: Expr) -> Result<RecordBatch> {
        let state = self.manifest.table(table)?;
        let stored = stored_table(self.lake, self.snapshots, table, state);
        let mut columns: Vec<Expr> = state.key.iter().map(ident).collect();
        columns.extend([
            col(PARTITION).alias("partition"),
            col(OFFSET).alias("offset"),
            col(TIMESTAMP),
            col(KEPT),
            col(DELETED).alias("deleted"),
            col(RULE).alias("rule"),
        ]);
        let frame = self.sessions.context([])?.read_table(Arc::new(stored))?;
        let rows = frame.filter(wanted)?.select(columns)?;
        let schema = Arc::new(rows.schema().as_arrow().clone());
        Ok(concat_batches(&schema, &rows.collect().await?)?)
    }

    /// The messages that an expression selects.
    async fn found(&self, bronze: Arc<dyn TableProvider>, wanted: Expr) -> Result<RecordBatch> {
        let bronze = self.sessions.context([])?.read_table(bronze)?;
        // A dead letter that was taken in again has the coordinates of the event that it became.
        let wanted = wanted.and(col("error").is_null());
        let bronze = bronze.filter(wanted)?.select(vec![
            col("_partition"),
            col("_offset"),
            col("_timestamp").alias("time"),
            col("op"),
            col("source_lsn"),
        ])?;
        let schema = Arc::new(bronze.schema().as_arrow().clone());
        Ok(concat_batches(&schema, &bronze.collect().await?)?)
    }

    /// The messages of some rows, as bronze has them.
    pub(super) async fn last_messages(
        &self,
        table: &TableName,
        source: &TableName,
        wanted: Expr,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        let places = self.places(table, wanted).await?;
        let bronze = self.manifest.tables.get(source);
        let (Some(bronze), Some(wanted)) = (bronze, coordinates(&places)) else {
            return Ok(None);
        };
        let bronze = provider_as_source(Arc::new(self.stored(source, bronze.version)?));
        let messages = LogicalPlanBuilder::scan("messages", bronze, None)?
            .filter(wanted.and(col("error").is_null()))?
            .build()?;
        Ok(Some(Arc::new(ViewTable::new(messages, None))))
    }

    fn topic(&self, bronze: &TableName) -> String {
        let source = self.lock.bronze.get(bronze.name());
        source.map_or_else(|| bronze.to_string(), |source| source.topic.clone())
    }
}

/// Older messages that give fields to rows.
struct Given {
    /// In the columns of the rows' own places.
    places: RecordBatch,
    /// What each gives.
    fields: StringArray,
    /// Their places in the order of events: the sequence, offset, partition.
    parts: Vec<Vec<Option<i64>>>,
}

impl Given {
    /// Selects them: by coordinates alone another cluster may have others.
    fn wanted(&self, sequence: &[&str]) -> Option<Expr> {
        let each = self.parts.iter().map(|parts| {
            let columns = sequence.iter().copied().chain(["_offset", "_partition"]);
            let same = columns.zip(parts).map(|(column, part)| {
                let column = cast(ident(column), DataType::Int64);
                binary_expr(
                    column,
                    Operator::IsNotDistinctFrom,
                    lit(ScalarValue::Int64(*part)),
                )
            });
            same.reduce(Expr::and)
        });
        each.flatten().reduce(Expr::or)
    }
}

/// What rows have from older messages; none where no row has.
fn given(rows: &RecordBatch) -> Result<Option<Given>> {
    let kept = rows
        .column_by_name(KEPT)
        .map(|kept| kept.as_string::<i32>());
    let (mut of_row, mut fields, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for (row, kept) in (0u64..).zip(kept.into_iter().flatten()) {
        for taken in kept.map(taken).transpose()?.unwrap_or_default() {
            let given: Vec<String> = taken.fields.into_iter().collect();
            of_row.push(row);
            fields.push(given.join(", "));
            parts.push(taken.place);
        }
    }
    if parts.is_empty() {
        return Ok(None);
    }
    let from_end = |place: &[Option<i64>], nth: usize| place.iter().rev().nth(nth).copied()?;
    let partitions: Int32Array = parts
        .iter()
        .map(|place| from_end(place, 0).and_then(|part| i32::try_from(part).ok()))
        .collect();
    let offsets: Int64Array = parts.iter().map(|place| from_end(place, 1)).collect();
    let of_row = UInt64Array::from(of_row);
    let columns = rows.schema_ref().fields().iter().zip(rows.columns());
    let columns = columns.map(|(field, column)| -> Result<ArrayRef> {
        Ok(match field.name().as_str() {
            "partition" => Arc::new(partitions.clone()),
            "offset" => Arc::new(offsets.clone()),
            "deleted" | "rule" | TIMESTAMP => new_null_array(field.data_type(), parts.len()),
            _ => take(column, &of_row, None)?,
        })
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(Some(Given {
        places: RecordBatch::try_new(rows.schema(), columns)?,
        fields: fields.into_iter().map(Some).collect(),
        parts,
    }))
}

/// The last messages of rows and the older ones, with what these give.
fn together(last: &RecordBatch, older: &RecordBatch, fields: StringArray) -> Result<RecordBatch> {
    let none: ArrayRef = new_null_array(&DataType::Utf8, last.num_rows());
    let with = |rows: &RecordBatch, given: ArrayRef| -> Result<RecordBatch> {
        let mut columns: Vec<(String, ArrayRef)> = Vec::new();
        for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
            columns.push((field.name().clone(), column.clone()));
        }
        columns.push(("fields".to_owned(), given));
        let columns = columns
            .into_iter()
            .map(|(name, column)| (name, column, true));
        Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
    };
    let (last, older) = (with(last, none)?, with(older, Arc::new(fields))?);
    Ok(concat_batches(&last.schema(), [&last, &older])?)
}

/// Selects the messages at these places.
fn coordinates(places: &RecordBatch) -> Option<Expr> {
    let partitions = places.column_by_name("partition")?;
    let offsets = places.column_by_name("offset")?;
    let partitions = partitions.as_primitive::<Int32Type>().iter();
    let places = partitions.zip(offsets.as_primitive::<Int64Type>());
    let each = places.filter_map(|place| match place {
        (Some(partition), Some(offset)) => Some(
            col("_partition")
                .eq(lit(partition))
                .and(col("_offset").eq(lit(offset))),
        ),
        _ => None,
    });
    each.reduce(Expr::or)
}

/// One row a place, with what bronze says of the message there. Another cluster has messages of the same coordinates:
/// where the times of the places are known, they tell.
fn joined(
    topic: &str,
    places: &RecordBatch,
    found: &RecordBatch,
    by_time: bool,
) -> Result<RecordBatch> {
    let topics: StringArray = std::iter::repeat_n(Some(topic), places.num_rows()).collect();
    let mut fields: Vec<Arc<Field>> = vec![Arc::new(Field::new("topic", DataType::Utf8, false))];
    let mut columns: Vec<ArrayRef> = vec![Arc::new(topics)];
    let schema = places.schema();
    let told = schema.fields().iter().zip(places.columns());
    for (field, column) in told.filter(|(field, _)| !field.name().starts_with(HIDDEN)) {
        fields.push(field.clone());
        columns.push(column.clone());
    }
    let of = |batch: &RecordBatch, partition: &str, offset: &str, time: &str, row: usize| {
        let partitions = batch.column_by_name(partition)?.as_primitive::<Int32Type>();
        let offsets = batch.column_by_name(offset)?.as_primitive::<Int64Type>();
        let times = batch.column_by_name(time)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let is_known = by_time && times.is_valid(row);
        let time = is_known.then(|| times.value(row));
        Some((partitions.value(row), offsets.value(row), time))
    };
    let by_place: HashMap<_, _> = (0..found.num_rows())
        .filter_map(|row| Some((of(found, "_partition", "_offset", "time", row)?, row)))
        .collect();
    let rows: UInt64Array = (0..places.num_rows())
        .map(|row| {
            let place = of(places, "partition", "offset", TIMESTAMP, row)?;
            by_place.get(&place).map(|row| *row as u64)
        })
        .collect();
    for name in ["time", "op", "source_lsn"] {
        if let Some(column) = found.column_by_name(name) {
            fields.push(Arc::new(Field::new(name, column.data_type().clone(), true)));
            columns.push(take(column, &rows, None)?);
        }
    }
    Ok(RecordBatch::try_new(
        Arc::new(Schema::new(fields)),
        columns,
    )?)
}
