//! What the topics hold, as bronze has it, beside what `sources.lock` says.
//!
//! Only the newest events of each table are looked at, so that it costs the same on any history.

mod drift;
mod shape;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, AsArray};
use arrow::record_batch::RecordBatch;
use datafusion::logical_expr::{ident, lit};

pub use self::drift::{Drift, DriftChange, drift};
pub use self::shape::Shape;
use sql_files::TableName;

use crate::bronze;
use crate::delta::{DataFile, Table};
use crate::error::Result;
use crate::lake::Lake;
use crate::pinned::PinnedTable;
use crate::project::{BronzeSource, SourcesLock};
use crate::session::{Sessions, SourceConfig};

/// Newest events looked at of each table.
const EVENTS: usize = 100;

/// Rows in which they are looked for: some are deletes or no envelopes.
const ROWS: u64 = 1_000;

/// Data files that these may be in.
const FILES: usize = 256;

/// Memory for finding them.
const MEMORY: usize = 256 << 20;

/// What the newest events of every bronze table look like; tables without one are left out.
pub async fn survey(lake: &Lake, source: &SourceConfig) -> Result<BTreeMap<String, Shape>> {
    let sessions = Sessions::new(source.zone()?, MEMORY)?.reading(lake);
    let mut shapes = BTreeMap::new();
    for name in bronze::names(lake)? {
        let path = Lake::table_path(&name);
        let Some(table) = Table::open(lake, &path, None).await? else {
            continue;
        };
        let files = newest(table.files()?);
        let events = events(lake, &sessions, &name, files).await?;
        if let Some(shape) = Shape::of(&events) {
            shapes.insert(name.name().to_owned(), shape);
        }
    }
    Ok(shapes)
}

/// The lock with what was seen. What it says of a field is kept as long as the events agree with it: JSON alone does
/// not tell a date from a number.
pub fn updated(lock: &SourcesLock, seen: &BTreeMap<String, Shape>) -> SourcesLock {
    let mut updated = lock.clone();
    for (table, shape) in seen {
        let known = lock.bronze.get(table);
        let fields = shape.fields(known.map(|known| &known.fields));
        let source = BronzeSource {
            topic: match known {
                Some(known) => known.topic.clone(),
                None => shape.topic().unwrap_or(table).to_owned(),
            },
            key: match shape.key() {
                [] => known.map(|known| known.key.clone()).unwrap_or_default(),
                key => key.to_vec(),
            },
            fields,
        };
        updated.bronze.insert(table.clone(), source);
    }
    updated
}

/// Key and value of one event.
#[derive(Debug, Clone)]
struct Event {
    key: Vec<u8>,
    value: Vec<u8>,
}

/// The files with the newest rows.
fn newest(mut files: Vec<DataFile>) -> Vec<DataFile> {
    let ingested = |file: &DataFile| {
        let stats: serde_json::Value =
            serde_json::from_str(file.stats.as_deref().unwrap_or_default()).unwrap_or_default();
        let last = stats.pointer("/maxValues/_ingested_at");
        last.and_then(|last| last.as_str())
            .unwrap_or_default()
            .to_owned()
    };
    files.sort_by_cached_key(|file| std::cmp::Reverse(ingested(file)));
    files.truncate(FILES);
    let mut rows = 0;
    files.retain(|file| {
        let is_needed = rows < ROWS;
        rows += file.rows.unwrap_or(ROWS);
        is_needed
    });
    files
}

/// The newest events that have a row after them, newest first.
async fn events(
    lake: &Lake,
    sessions: &Sessions,
    name: &TableName,
    files: Vec<DataFile>,
) -> Result<Vec<Event>> {
    let stored = PinnedTable::of_files(
        lake,
        &Lake::table_path(name),
        bronze::schema(),
        bronze::layout().partition_columns,
        files,
    );
    let operations = ["c", "u", "r"].map(lit).to_vec();
    let place = ["_ingested_at", "_offset", "_partition"];
    let newest_first = place
        .map(|column| ident(column).sort(false, false))
        .to_vec();
    let rows = sessions
        .context([])?
        .read_table(Arc::new(stored))?
        .filter(
            ident("error")
                .is_null()
                .and(ident("op").in_list(operations, false)),
        )?
        .sort(newest_first)?
        .limit(0, Some(EVENTS))?
        .select(vec![ident("key"), ident("value")])?;
    let batches = rows.collect().await?;
    Ok(batches.iter().flat_map(read).collect())
}

fn read(batch: &RecordBatch) -> Vec<Event> {
    let (keys, values) = (batch.column(0), batch.column(1));
    let (Some(keys), Some(values)) = (keys.as_binary_opt::<i32>(), values.as_binary_opt::<i32>())
    else {
        return Vec::new();
    };
    let bytes = |array: &arrow::array::BinaryArray, row: usize| match array.is_valid(row) {
        true => array.value(row).to_vec(),
        false => Vec::new(),
    };
    (0..batch.num_rows())
        .map(|row| Event {
            key: bytes(keys, row),
            value: bytes(values, row),
        })
        .collect()
}
