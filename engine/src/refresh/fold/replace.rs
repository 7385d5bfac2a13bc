use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, AsArray, BooleanArray, StringArray};
use arrow::compute::filter_record_batch;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use datafusion::execution::SendableRecordBatchStream;
use deltalake_core::kernel::Add;
use futures::StreamExt;

use super::columns::{FoldColumns, column};
use super::complete::StoredRow;
use super::events::Folding;
use super::kept::Kept;
use super::keys::{Keys, Place};
use super::spill::Buckets;
use super::verdict::Verdicts;
use super::winners::{Key, Winners};
use super::{Extent, candidate};
use crate::delta::{Change, DataFile, TableLayout};
use crate::error::Result;
use crate::hidden::{DROPPED, KEPT, REASON, RULE};
use crate::lake::Lake;
use crate::pinned::PinnedTable;
use crate::refresh::Refresher;
use crate::refresh::build::Candidate;
use crate::refresh::progress::{Progress, Step};

/// Files below this size are small; many of them are merged with the next change.
const SMALL_FILE_BYTES: u64 = 8 << 20;

/// Small files a table may have before they are merged.
const SMALL_FILES: usize = 16;

impl Refresher {
    /// Replaces the rows of the winners' keys: writes the winners, rewrites the files that held an older row of one of
    /// them, or a row that is gone or judged differently, and leaves every other file as it is. None where the winners do
    /// not fit into memory once they have what their events left out.
    pub(super) async fn replace_keys(
        &mut self,
        folding: &Folding<'_>,
        layout: TableLayout,
        mut winners: Winners,
        verdicts: &Verdicts,
        extent: Extent,
    ) -> Result<Option<Candidate>> {
        let file = folding.file;
        let all = self.writer_of(&file.name, &layout).await?.files()?;
        winners.drop_emptied();
        if winners.is_empty() && extent.is_of_winners() {
            return Ok(Some(candidate(all, None, layout)));
        }
        let mut rewritten = BTreeSet::new();
        let mut stored = HashMap::new();
        if extent == Extent::Everything {
            rewritten.extend(all.iter().map(|file| file.path.clone()));
        } else {
            let range = key_range(&winners)?;
            let emptied = winners.emptied().cloned().filter(|_| extent.is_emptied());
            for candidate in &all {
                let met = may_hold(candidate, &layout, range) || emptied.is_some();
                if !met && !extent.is_rejudged() {
                    continue;
                }
                let mut rows = self.stored_rows(folding, &layout, candidate).await?;
                while let Some(batch) = rows.next().await {
                    let batch = batch?;
                    let mut meeting = Meeting {
                        winners: &mut winners,
                        emptied: emptied.as_ref(),
                        stored: &mut stored,
                    };
                    let goes = met && meeting.meet(&batch, &candidate.path)?;
                    let differs = extent.is_rejudged() && differs(&batch, verdicts).await?;
                    if goes || differs {
                        rewritten.insert(candidate.path.clone());
                    }
                }
            }
        }
        let fits = self.complete(folding, &mut winners, stored, &mut rewritten);
        if !fits.await? {
            return Ok(None);
        }
        if !winners.is_empty() && extent != Extent::Everything {
            rewritten.extend(too_many_small(&all));
        }
        if winners.is_empty() && rewritten.is_empty() {
            return Ok(Some(candidate(all, None, layout)));
        }

        let mut staged = self.writer_of(&file.name, &layout).await?.stage(&layout);
        if extent != Extent::Everything {
            for file in all.iter().filter(|file| rewritten.contains(&file.path)) {
                let mut rows = self.stored_rows(folding, &layout, file).await?;
                while let Some(batch) = rows.next().await {
                    let rest = without(&batch?, &winners)?;
                    let rest = match extent.is_rejudged() {
                        true => verdicts.judge(&rest).await?,
                        false => rest,
                    };
                    staged.write(&rest).await?;
                }
            }
        }
        for batch in winners.rows() {
            staged.write(&verdicts.judge(&batch?).await?).await?;
        }
        let adds = staged.finish().await?;
        let change = self
            .change(folding, &layout, adds, |path| rewritten.contains(path))
            .await?;
        let mut files: Vec<DataFile> = change.adds.iter().map(DataFile::from).collect();
        files.extend(
            all.into_iter()
                .filter(|file| !rewritten.contains(&file.path)),
        );
        Ok(Some(candidate(files, Some(change), layout)))
    }

    /// Builds the whole table from divided events, and from its stored rows unless all is built anew.
    pub(super) async fn replace_all(
        &mut self,
        folding: &Folding<'_>,
        layout: TableLayout,
        mut buckets: Buckets,
        verdicts: &Verdicts,
        extent: Extent,
    ) -> Result<Candidate> {
        let name = &folding.file.name;
        if extent != Extent::Everything {
            for file in self.writer_of(name, &layout).await?.files()? {
                let mut rows = self.stored_rows(folding, &layout, &file).await?;
                while let Some(batch) = rows.next().await {
                    buckets.push(FoldColumns::widened(&batch?, &folding.columns.event)?)?;
                }
            }
        }
        let (mut rows, count) = self
            .fold_divided(folding, buckets.finish()?, verdicts)
            .await?;
        let mut progress = Progress::new(name, Step::WriteRows, count);
        let mut staged = self.writer_of(name, &layout).await?.stage(&layout);
        while let Some(batch) = rows.next().await {
            let batch = batch?;
            staged.write(&batch).await?;
            progress.add(batch.num_rows() as u64);
        }
        let adds = staged.finish().await?;
        let change = self.change(folding, &layout, adds, |_| true).await?;
        let files = change.adds.iter().map(DataFile::from).collect();
        Ok(candidate(files, Some(change), layout))
    }

    async fn change(
        &mut self,
        folding: &Folding<'_>,
        layout: &TableLayout,
        adds: Vec<Add>,
        removed: impl Fn(&str) -> bool,
    ) -> Result<Change> {
        let table = self.writer_of(&folding.file.name, layout).await?;
        let schema_changed = table.schema()?.fields() != layout.schema.fields();
        Ok(Change {
            removes: table.removes(removed)?,
            schema: schema_changed.then(|| layout.schema.clone()),
            adds,
            ..Change::default()
        })
    }

    pub(super) async fn stored_rows(
        &self,
        folding: &Folding<'_>,
        layout: &TableLayout,
        file: &DataFile,
    ) -> Result<SendableRecordBatchStream> {
        let path = Lake::table_path(&folding.file.name);
        let rows = self.lake.batch_rows(&path, std::slice::from_ref(file));
        let sessions = self.sessions.of_batches(rows.await);
        let stored = PinnedTable::of_files(
            &self.lake,
            &path,
            layout.schema.clone(),
            Vec::new(),
            vec![file.clone()],
        );
        let frame = sessions.context([])?.read_table(Arc::new(stored))?;
        Ok(frame.execute_stream().await?)
    }
}

/// Stored rows beside the events that come to their keys.
struct Meeting<'a> {
    winners: &'a mut Winners,
    /// Set when rows before it go in this turn.
    emptied: Option<&'a Place>,
    stored: &'a mut HashMap<Key, StoredRow>,
}

impl Meeting<'_> {
    /// Whether a row of the batch must go. Rows that need a look at older events are put aside.
    fn meet(&mut self, batch: &RecordBatch, file: &str) -> Result<bool> {
        let keys = self.winners.reader().read(batch)?;
        let kept: &StringArray = column(batch, KEPT)?;
        let mut goes = false;
        for row in 0..batch.num_rows() {
            let (key, place) = (keys.key(row), keys.place(row));
            if self.emptied.is_some_and(|emptied| place <= emptied.bytes()) {
                goes = true;
                continue;
            }
            let kept = match kept.is_valid(row) {
                true => Kept::parse(kept.value(row))?,
                false => Kept::default(),
            };
            let is_cut = self.emptied.is_some_and(|place| kept.reaches_before(place));
            let is_open =
                self.winners.is_incomplete(key) || (!kept.is_empty() && self.winners.holds(key));
            if is_cut || is_open {
                let row = StoredRow {
                    file: file.to_owned(),
                    place: place.into(),
                    kept,
                };
                self.stored.insert(key.into(), row);
            } else {
                goes |= self.winners.meets_stored(key, place);
            }
        }
        Ok(goes)
    }
}

/// Whether the rules say something else about a stored row than it says itself.
async fn differs(batch: &RecordBatch, verdicts: &Verdicts) -> Result<bool> {
    let judged = verdicts.judge(batch).await?;
    let same = |name| judged.column_by_name(name) == batch.column_by_name(name);
    Ok(!same(RULE) || !same(REASON) || !same(DROPPED))
}

/// The stored rows whose key no winner has and that no event emptied away.
fn without(batch: &RecordBatch, winners: &Winners) -> Result<RecordBatch> {
    let keys = winners.reader().read(batch)?;
    let emptied = winners.emptied();
    let stays = |keys: &Keys, row| {
        let is_gone = emptied.is_some_and(|emptied| keys.place(row) <= emptied.bytes());
        !is_gone && !winners.holds(keys.key(row))
    };
    let kept: BooleanArray = (0..batch.num_rows())
        .map(|row| Some(stays(&keys, row)))
        .collect();
    Ok(filter_record_batch(batch, &kept)?)
}

/// Least and greatest first key column of the winners, where it is a BIGINT.
fn key_range(winners: &Winners) -> Result<Option<(i64, i64)>> {
    let mut range: Option<(i64, i64)> = None;
    for batch in winners.rows() {
        let batch = batch?;
        let Some(column) = winners
            .first_key_of(&batch)
            .as_primitive_opt::<Int64Type>()
            .cloned()
        else {
            return Ok(None);
        };
        for value in column.iter().flatten() {
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
