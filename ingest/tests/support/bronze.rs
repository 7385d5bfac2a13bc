//! Bronze tables as any Delta client sees them: the log's JSON and the Parquet files, without the engine.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) partition: i64,
    pub(crate) offset: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Option<String>,
    pub(crate) op: Option<String>,
    pub(crate) generation: Option<i64>,
    pub(crate) source_lsn: Option<i64>,
    pub(crate) error: Option<String>,
}

/// All rows of `bronze.<table>`, by partition and offset; none while there is no table.
pub(crate) fn rows(lake: &Path, table: &str) -> Vec<Row> {
    let directory = lake.join("bronze").join(table);
    let mut rows = Vec::new();
    for action in log(&directory) {
        assert!(action.get("remove").is_none(), "bronze is append-only");
        if let Some(path) = action.pointer("/add/path").and_then(Value::as_str) {
            let file = File::open(directory.join(path)).expect("a data file");
            let batches = ParquetRecordBatchReaderBuilder::try_new(file)
                .expect("Parquet")
                .build()
                .expect("a reader");
            for batch in batches {
                rows.extend(rows_of(&batch.expect("a batch")));
            }
        }
    }
    rows.sort();
    rows
}

/// The next offset of each partition, keyed by the transaction's id.
pub(crate) fn offsets(lake: &Path, table: &str) -> BTreeMap<String, i64> {
    let directory = lake.join("bronze").join(table);
    log(&directory)
        .iter()
        .filter_map(|action| {
            let id = action.pointer("/txn/appId")?.as_str()?.to_owned();
            if !id.starts_with("ingest/") {
                return None;
            }
            Some((id, action.pointer("/txn/version")?.as_i64()?))
        })
        .collect()
}

fn log(table: &Path) -> Vec<Value> {
    let Ok(entries) = fs::read_dir(table.join("_delta_log")) else {
        return Vec::new();
    };
    let mut commits: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .collect();
    commits.sort();
    let mut actions = Vec::new();
    for commit in commits {
        let text = fs::read_to_string(commit).expect("a commit");
        let lines = text.lines().filter(|line| !line.is_empty());
        actions.extend(lines.map(|line| serde_json::from_str(line).expect("JSON")));
    }
    actions
}

fn rows_of(batch: &RecordBatch) -> Vec<Row> {
    let number = |column: &str, row: usize| {
        let column = arrow::compute::cast(&batch[column], &arrow::datatypes::DataType::Int64)
            .expect("a number");
        let column = column.as_primitive::<Int64Type>();
        column.is_valid(row).then(|| column.value(row))
    };
    let bytes = |column: &str, row: usize| {
        let column = batch[column].as_binary::<i32>();
        column.is_valid(row).then(|| column.value(row).to_vec())
    };
    let text = |column: &str, row: usize| {
        let column = batch[column].as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    (0..batch.num_rows())
        .map(|row| Row {
            partition: number("_partition", row).expect("never null"),
            offset: number("_offset", row).expect("never null"),
            key: bytes("key", row),
            value: bytes("value", row),
            headers: text("headers", row),
            op: text("op", row),
            generation: number("generation", row),
            source_lsn: number("source_lsn", row),
            error: text("error", row),
        })
        .collect()
}
