//! Folding what does not fit into memory: events go to files by a hash of their key, each file is folded by itself,
//! and the sorted results are merged.

use std::collections::HashMap;
use std::hash::Hasher;
use std::sync::Arc;

use arrow::array::{Array, RecordBatch, StringArray, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, UnboundedMemoryPool};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::execution::{SendableRecordBatchStream, SpillFile};
use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr, expressions::Column};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, SpillMetrics};
use datafusion::physical_plan::sorts::streaming_merge::StreamingMergeBuilder;
use datafusion::physical_plan::{EmptyRecordBatchStream, SpillManager};
use futures::StreamExt;

use super::columns::{FoldColumns, column};
use super::complete::Patched;
use super::events::Folding;
use super::kept::{Kept, Telling, add, resolve};
use super::keys::{KeyReader, Place};
use super::verdict::Verdicts;
use super::winners::{Key, Winners};
use crate::error::{Error, ErrorKind, Result};
use crate::hidden::KEPT;
use crate::refresh::Refresher;
use crate::refresh::progress::{Progress, Step};
use crate::width::{bytes_of, rows_of};

/// Files that events are divided among, hence how much larger than memory a fold may be.
const BUCKETS: usize = 64;

/// Rows of a batch in a sorted file, and about its bytes: one of each file is in memory while they are merged.
const RUN_ROWS: usize = 1_024;
const RUN_BYTES: usize = 1 << 20;

/// Bytes of events that are divided in one go.
const DIVIDED_BYTES: usize = 16 << 20;

/// One call for each batch, and one without to end the file.
type Append = dyn FnMut(Option<&RecordBatch>) -> Result<Option<Arc<dyn SpillFile>>> + Send;

/// A spill file being written; its own type has no public name.
struct SpillWriter(Box<Append>);

impl SpillWriter {
    fn new(spills: &SpillManager, what: &str) -> Result<Self> {
        let mut file = spills.create_in_progress_file(what)?;
        Ok(Self(Box::new(move |batch| match batch {
            Some(batch) => {
                file.append_batch(batch)?;
                Ok(None)
            }
            None => Ok(file.finish()?),
        })))
    }

    fn append(&mut self, batch: &RecordBatch) -> Result<()> {
        (self.0)(Some(batch)).map(|_| ())
    }

    /// The file, unless nothing was written to it.
    fn finish(mut self) -> Result<Option<Arc<dyn SpillFile>>> {
        (self.0)(None)
    }
}

/// The events of a fold, divided by key.
pub(super) struct Buckets {
    reader: KeyReader,
    spills: Arc<SpillManager>,
    files: Vec<SpillWriter>,
    pending: Vec<RecordBatch>,
    pending_bytes: usize,
    events: u64,
    emptied: Option<Place>,
}

impl Buckets {
    pub(super) fn new(columns: &FoldColumns, runtime: &Arc<RuntimeEnv>) -> Result<Self> {
        let metrics = SpillMetrics::new(&ExecutionPlanMetricsSet::new(), 0);
        let spills = SpillManager::new(runtime.clone(), metrics, columns.event.clone());
        let files = (0..BUCKETS)
            .map(|_| SpillWriter::new(&spills, "events of a fold"))
            .collect::<Result<_>>()?;
        Ok(Self {
            reader: KeyReader::new(columns.clone())?,
            spills: Arc::new(spills),
            files,
            pending: Vec::new(),
            pending_bytes: 0,
            events: 0,
            emptied: None,
        })
    }

    pub(super) fn empty_before(&mut self, place: Place) {
        if self.emptied.as_ref() < Some(&place) {
            self.emptied = Some(place);
        }
    }

    pub(super) fn emptied(&self) -> Option<&Place> {
        self.emptied.as_ref()
    }

    /// Takes in events, or stored rows in their form.
    pub(super) fn push(&mut self, events: RecordBatch) -> Result<()> {
        self.pending_bytes += events.get_array_memory_size();
        self.pending.push(events);
        if self.pending_bytes < DIVIDED_BYTES {
            return Ok(());
        }
        self.divide()
    }

    fn divide(&mut self) -> Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        let schema = &self.reader.columns().event;
        let events = concat_batches(schema, &pending)?;
        self.events += events.num_rows() as u64;
        drop(pending);
        let keys = self.reader.read(&events)?;
        let mut rows: Vec<Vec<u32>> = vec![Vec::new(); BUCKETS];
        for (row, at) in (0..events.num_rows()).zip(0u32..) {
            if keys.truncates(row) {
                self.empty_before(keys.place(row).into());
            } else {
                rows[bucket(keys.key(row))].push(at);
            }
        }
        for (rows, file) in rows.into_iter().zip(&mut self.files) {
            if !rows.is_empty() {
                let rows = take_record_batch(&events, &UInt32Array::from(rows))?;
                file.append(&rows)?;
            }
        }
        Ok(())
    }

    /// Divides what is pending, so that `emptied` is what all events say.
    pub(super) fn flush(&mut self) -> Result<()> {
        match self.pending.is_empty() {
            true => Ok(()),
            false => self.divide(),
        }
    }

    /// The divided events, file by file.
    pub(super) fn finish(mut self) -> Result<Divided> {
        self.flush()?;
        let mut files = Vec::new();
        for file in self.files {
            files.extend(file.finish()?);
        }
        Ok(Divided {
            spills: self.spills,
            files,
            events: self.events,
            emptied: self.emptied,
        })
    }
}

/// Events in files, all of a key in the same one.
pub(super) struct Divided {
    spills: Arc<SpillManager>,
    files: Vec<Arc<dyn SpillFile>>,
    events: u64,
    emptied: Option<Place>,
}

impl Refresher {
    /// Folds divided events file by file; the table's rows in the order of the key, and how many they are.
    pub(super) async fn fold_divided(
        &self,
        folding: &Folding<'_>,
        divided: Divided,
        verdicts: &Verdicts,
    ) -> Result<(SendableRecordBatchStream, u64)> {
        let stored = &folding.columns.stored;
        let runtime = self.sessions.context([])?.runtime_env();
        let metrics = ExecutionPlanMetricsSet::new();
        let runs = SpillManager::new(
            runtime.clone(),
            SpillMetrics::new(&metrics, 0),
            stored.clone(),
        );
        let mut sorted = Vec::with_capacity(divided.files.len());
        let mut widest = 0;
        let Divided {
            spills,
            files,
            events,
            emptied,
        } = divided;
        let mut progress = Progress::new(&folding.file.name, Step::FoldEvents, events);
        let mut count = 0;
        for file in files {
            let mut winners = Winners::new(folding.columns.clone())?;
            if let Some(emptied) = &emptied {
                winners.empty_before(emptied.clone());
            }
            let mut events = spills.read_spill_as_stream(file.clone(), None)?;
            while let Some(batch) = events.next().await {
                let batch = batch?;
                winners.push(&batch)?;
                progress.add(batch.num_rows() as u64);
            }
            winners.drop_emptied();
            let tellings = tellings(&spills, &file, &winners).await?;
            self.complete_divided(folding, &mut winners, tellings)
                .await?;
            let mut run = SpillWriter::new(&runs, "rows of a fold")?;
            for rows in winners.rows() {
                let rows = verdicts.judge(&rows?).await?;
                count += rows.num_rows() as u64;
                let of_row = bytes_of(&rows) / rows.num_rows().max(1);
                widest = widest.max(of_row);
                let run_rows = (RUN_BYTES / of_row.max(1)).clamp(1, RUN_ROWS);
                for from in (0..rows.num_rows()).step_by(run_rows) {
                    run.append(&rows.slice(from, run_rows.min(rows.num_rows() - from)))?;
                }
            }
            if let Some(run) = run.finish()? {
                sorted.push(runs.read_spill_as_stream_unbuffered(run, None)?);
            }
        }
        if sorted.is_empty() {
            return Ok((Box::pin(EmptyRecordBatchStream::new(stored.clone())), 0));
        }
        let order = folding.columns.key.iter().map(|index| {
            let name = stored.field(*index).name();
            PhysicalSortExpr::new_default(Arc::new(Column::new(name, *index)))
        });
        let order = LexOrdering::new(order)
            .ok_or_else(|| Error::new(ErrorKind::Internal, "a fold has no key"))?;
        // One batch of each file at most.
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let merge = StreamingMergeBuilder::new()
            .with_streams(sorted)
            .with_schema(stored.clone())
            .with_expressions(&order)
            .with_metrics(BaselineMetrics::new(&metrics, 0))
            .with_batch_size(rows_of(widest as u64))
            .with_reservation(MemoryConsumer::new("fold").register(&pool));
        Ok((merge.build()?, count))
    }

    async fn complete_divided(
        &self,
        folding: &Folding<'_>,
        winners: &mut Winners,
        tellings: HashMap<Key, Tellings>,
    ) -> Result<()> {
        let mut patched = Vec::new();
        for (_, Tellings { events, stored }) in tellings {
            let decided = resolve(events, winners.emptied());
            if let Some((last, kept)) = decided
                && !kept.is_empty()
                && stored.as_ref() != Some(&(last.place.clone(), kept.clone()))
            {
                patched.push(Patched { last, kept });
            }
        }
        self.patch_all(folding, winners, &patched, usize::MAX)
            .await
            .map(|_| ())
    }
}

/// What the events of a key tell, and the stored row among them.
#[derive(Default)]
struct Tellings {
    events: Vec<Telling>,
    stored: Option<(Place, Kept)>,
}

/// What is told about the keys that have events with fields left out, or rows made from several.
async fn tellings(
    spills: &SpillManager,
    file: &Arc<dyn SpillFile>,
    winners: &Winners,
) -> Result<HashMap<Key, Tellings>> {
    let keys = winners.incomplete().filter(|key| winners.holds(key));
    let mut told: HashMap<Key, Tellings> =
        keys.map(|key| (key.clone(), Tellings::default())).collect();
    if told.is_empty() {
        return Ok(told);
    }
    let mut events = spills.read_spill_as_stream(file.clone(), None)?;
    while let Some(batch) = events.next().await {
        let batch = batch?;
        let keys = winners.reader().read(&batch)?;
        let kept: &StringArray = column(&batch, KEPT)?;
        for row in 0..batch.num_rows() {
            let Some(told) = told.get_mut(keys.key(row)) else {
                continue;
            };
            if kept.is_valid(row) {
                let kept = Kept::parse(kept.value(row))?;
                told.events.extend(kept.tellings(keys.place(row)));
                told.stored = Some((keys.place(row).into(), kept));
            } else {
                let telling = Telling::new(keys.place(row), keys.unavailable(row))?;
                add(&mut told.events, telling);
            }
        }
    }
    Ok(told)
}

fn bucket(key: &[u8]) -> usize {
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write(key);
    usize::try_from(hasher.finish() % BUCKETS as u64).unwrap_or(0)
}
