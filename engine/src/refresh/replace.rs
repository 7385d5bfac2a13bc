use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray, BooleanArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use super::Refresher;
use super::build::Candidate;
use super::winners::Winners;
use crate::delta::{Change, DataFile, TableLayout};
use crate::error::Result;
use crate::lake::Lake;
use crate::pinned::PinnedTable;
use crate::project::SqlFile;

/// Files below this size are small; many of them are merged with the next change.
const SMALL_FILE_BYTES: u64 = 8 << 20;

/// Small files a table may have before they are merged.
const SMALL_FILES: usize = 16;

impl Refresher {
    /// Replaces the rows of the winners' keys: writes the winners, rewrites the files that held an older row of one of
    /// them, and leaves every other file as it is.
    pub(super) async fn replace_keys(
        &mut self,
        file: &SqlFile,
        layout: TableLayout,
        mut winners: Winners,
        rebuild: bool,
    ) -> Result<Candidate> {
        let path = Lake::table_path(&file.name);
        let all = self.writer_of(&file.name, &layout).await?.files()?;
        let mut rewritten = BTreeSet::new();
        if rebuild {
            rewritten.extend(all.iter().map(|file| file.path.clone()));
        } else {
            let range = key_range(&winners)?;
            for candidate in all.iter().filter(|file| may_hold(file, &layout, range)) {
                let mut rows = self.scan(&path, &layout, candidate).await?;
                while let Some(batch) = rows.next().await {
                    let batch = batch?;
                    for (key, stored) in winners.reader().read(&batch)? {
                        if let Some(key) = key
                            && winners.meets_stored(&key, &stored)
                        {
                            rewritten.insert(candidate.path.clone());
                        }
                    }
                }
            }
            if !winners.is_empty() {
                rewritten.extend(too_many_small(&all));
            }
        }
        if winners.is_empty() && rewritten.is_empty() {
            return Ok(candidate(all, None, layout));
        }

        let mut staged = self.writer_of(&file.name, &layout).await?.stage(&layout);
        if !rebuild {
            for file in all.iter().filter(|file| rewritten.contains(&file.path)) {
                let mut rows = self.scan(&path, &layout, file).await?;
                while let Some(batch) = rows.next().await {
                    staged.write(&without(&batch?, &winners)?).await?;
                }
            }
        }
        for batch in winners.rows()? {
            staged.write(&batch).await?;
        }
        let adds = staged.finish().await?;
        let table = self.writer_of(&file.name, &layout).await?;
        let schema_changed = table.schema()?.fields() != layout.schema.fields();
        let change = Change {
            removes: table.removes(|path| rewritten.contains(path))?,
            schema: schema_changed.then(|| layout.schema.clone()),
            adds,
            ..Change::default()
        };
        let mut files: Vec<DataFile> = change.adds.iter().map(DataFile::from).collect();
        files.extend(
            all.into_iter()
                .filter(|file| !rewritten.contains(&file.path)),
        );
        Ok(candidate(files, Some(change), layout))
    }

    async fn scan(
        &self,
        path: &str,
        layout: &TableLayout,
        file: &DataFile,
    ) -> Result<SendableRecordBatchStream> {
        let stored = PinnedTable::of_files(
            &self.lake,
            path,
            layout.schema.clone(),
            Vec::new(),
            vec![file.clone()],
        );
        let frame = self.sessions.context([])?.read_table(Arc::new(stored))?;
        Ok(frame.execute_stream().await?)
    }
}

fn candidate(files: Vec<DataFile>, change: Option<Change>, layout: TableLayout) -> Candidate {
    Candidate {
        files,
        change,
        layout,
        digest: None,
        reads_clock: false,
        left_out: BTreeMap::new(),
    }
}

/// The stored rows whose key no winner has.
fn without(batch: &RecordBatch, winners: &Winners) -> Result<RecordBatch> {
    let keys = winners.reader().read(batch)?;
    let kept: BooleanArray = keys
        .into_iter()
        .map(|(key, _)| Some(key.is_none_or(|key| !winners.holds(&key))))
        .collect();
    Ok(filter_record_batch(batch, &kept)?)
}

/// Least and greatest first key column of the winners, where it is a BIGINT.
fn key_range(winners: &Winners) -> Result<Option<(i64, i64)>> {
    let mut range: Option<(i64, i64)> = None;
    for batch in winners.rows()? {
        let Some(column) = winners
            .first_key_of(&batch)
            .as_primitive_opt::<Int64Type>()
            .cloned()
        else {
            return Ok(None);
        };
        for row in 0..column.len() {
            let value = column.value(row);
            range = Some(match range {
                None => (value, value),
                Some((least, greatest)) => (least.min(value), greatest.max(value)),
            });
        }
    }
    Ok(range)
}

/// Whether a file's statistics allow it to hold a key of the range.
fn may_hold(file: &DataFile, layout: &TableLayout, range: Option<(i64, i64)>) -> bool {
    let (Some((least, greatest)), Some(stats)) = (range, &file.stats) else {
        return true;
    };
    let Some(column) = layout.stats_columns.first() else {
        return true;
    };
    let stats: serde_json::Value = serde_json::from_str(stats).unwrap_or_default();
    let bound = |side: &str| stats.get(side)?.get(column)?.as_i64();
    match (bound("minValues"), bound("maxValues")) {
        (Some(min), Some(max)) => min <= greatest && max >= least,
        _ => true,
    }
}

fn too_many_small(files: &[DataFile]) -> Vec<String> {
    let small: Vec<String> = files
        .iter()
        .filter(|file| file.bytes < SMALL_FILE_BYTES)
        .map(|file| file.path.clone())
        .collect();
    if small.len() > SMALL_FILES {
        small
    } else {
        Vec::new()
    }
}
