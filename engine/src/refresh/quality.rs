//! `quality.results`: every check made, written within the epoch that made it.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int64Array, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use datafusion::logical_expr::lit;
use datafusion::prelude::col;
use datafusion::scalar::ScalarValue;
use futures::StreamExt;
use sql_files::TableName;

use super::Refresher;
use super::rules::Check;
use crate::delta::{Change, DataFile, TableLayout};
use crate::epoch::{Intent, Manifest, TableState};
use crate::error::Result;
use crate::lake::Lake;
use crate::pinned::PinnedTable;

const DESCRIPTION: &str = "Every check of a rule, by epoch.";

/// Files of one size class a table may have before they become one of the next.
const FILES_OF_A_CLASS: usize = 16;

/// Bytes of the largest file of the lowest class; each class is as many times larger as it may have files.
const SMALLEST_CLASS: u64 = 32 << 10;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("epoch", DataType::Int64),
        field("checked_at", instant),
        field("table_name", DataType::Utf8),
        field("rule", DataType::Utf8),
        field("definition", DataType::Utf8),
        field("action", DataType::Utf8),
        field("violations", DataType::Int64),
        field("rows", DataType::Int64),
        field("outcome", DataType::Utf8),
    ]))
});

/// The columns of `quality.results`.
pub(crate) fn results_schema() -> SchemaRef {
    SCHEMA.clone()
}

/// The checks of an epoch, by table.
pub(super) type Checks = BTreeMap<TableName, Vec<Check>>;

impl Refresher {
    /// Adds the epoch's checks to `quality.results`, and that to the epoch. An epoch that checked nothing adds nothing.
    pub(super) async fn record_checks(
        &mut self,
        intent: &Intent,
        next: &mut Manifest,
        checks: &Checks,
    ) -> Result<()> {
        if checks.values().all(Vec::is_empty) {
            return Ok(());
        }
        let name = TableName::quality_results();
        let layout = layout();
        if !self.committed(intent, &name, &layout).await? {
            let change = self.with_results(intent, &name, &layout, checks).await?;
            self.commit_change(intent, &name, &layout, change).await?;
        }
        let table = self.writer_of(&name, &layout).await?;
        let version = table.version();
        let rows = table.files()?.iter().map(|file| file.rows).sum();
        let path = Lake::table_path(&name);
        let state = TableState {
            rows,
            description: Some(DESCRIPTION.to_owned()),
            computed_at: Some(intent.now),
            ..TableState::new(path, version, layout.schema, intent.epoch)
        };
        next.tables.insert(name, state);
        Ok(())
    }

    /// One more file; where that makes too many of a size, those are merged and results past their time left out.
    async fn with_results(
        &mut self,
        intent: &Intent,
        name: &TableName,
        layout: &TableLayout,
        checks: &Checks,
    ) -> Result<Change> {
        let keep = i64::from(self.config.keep_checks_days);
        let oldest = intent.now - chrono::Duration::days(keep);
        let path = Lake::table_path(name);
        let table = self.writer_of(name, layout).await?;
        let merged = crowded(table.files()?);
        let removes = table.removes(|path| merged.iter().any(|file| file.path == path))?;
        let mut staged = table.stage(layout);
        if !merged.is_empty() {
            let schema = layout.schema.clone();
            let stored = PinnedTable::of_files(&self.lake, &path, schema, Vec::new(), merged);
            let kept = col("checked_at").gt_eq(lit(instant(oldest)));
            let frame = self.sessions.context([])?.read_table(Arc::new(stored))?;
            let mut rows = frame.filter(kept)?.execute_stream().await?;
            while let Some(batch) = rows.next().await {
                staged.write(&batch?).await?;
            }
        }
        staged.write(&batch(intent, checks)?).await?;
        Ok(Change {
            adds: staged.finish().await?,
            removes,
            ..Change::default()
        })
    }
}

fn instant(time: DateTime<Utc>) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(time.timestamp_micros()), Some("UTC".into()))
}

/// The files of the lowest class that has too many.
fn crowded(files: Vec<DataFile>) -> Vec<DataFile> {
    let mut classes: BTreeMap<u32, Vec<DataFile>> = BTreeMap::new();
    for file in files {
        let class = (file.bytes / SMALLEST_CLASS)
            .checked_ilog(FILES_OF_A_CLASS as u64)
            .map_or(0, |class| class + 1);
        classes.entry(class).or_default().push(file);
    }
    let crowded = classes
        .into_values()
        .find(|files| files.len() >= FILES_OF_A_CLASS);
    crowded.unwrap_or_default()
}

fn layout() -> TableLayout {
    TableLayout {
        schema: SCHEMA.clone(),
        partition_columns: Vec::new(),
        stats_columns: vec!["epoch".to_owned(), "checked_at".to_owned()],
    }
}

fn batch(intent: &Intent, checks: &Checks) -> Result<RecordBatch> {
    let all: Vec<(&TableName, &Check)> = checks
        .iter()
        .flat_map(|(name, checks)| checks.iter().map(move |check| (name, check)))
        .collect();
    let count = all.len();
    let text = |value: fn(&Check) -> &str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(
            all.iter().map(|(_, check)| value(check)),
        ))
    };
    let number = |value: fn(&Check) -> Option<u64>| -> ArrayRef {
        let numbers = all.iter().map(|(_, check)| value(check));
        let signed = numbers.map(|number| number.map(|n| i64::try_from(n).unwrap_or(i64::MAX)));
        Arc::new(signed.collect::<Int64Array>())
    };
    let epoch = i64::try_from(intent.epoch).unwrap_or(i64::MAX);
    let checked_at = TimestampMicrosecondArray::from(vec![intent.now.timestamp_micros(); count]);
    let tables = all.iter().map(|(name, _)| name.to_string());
    Ok(RecordBatch::try_new(
        SCHEMA.clone(),
        vec![
            Arc::new(Int64Array::from(vec![epoch; count])),
            Arc::new(checked_at.with_timezone("UTC")),
            Arc::new(StringArray::from_iter_values(tables)),
            text(|check| &check.rule),
            text(|check| &check.definition),
            text(|check| &check.action),
            number(|check| check.violations),
            number(|check| check.rows),
            text(|check| check.outcome.as_str()),
        ],
    )?)
}
