//! The one writer of a bronze table: a commit per cut, in the order of the cuts.

use std::sync::Arc;
use std::time::{Duration, Instant};

use changes::Topic;
use engine::bronze::{BronzeTable, Commit, PartitionOffset};
use engine::{Error, ErrorKind, Result, UpkeepConfig};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug, info, warn};

use crate::budget::Reserved;
use crate::buffer::Cut;
use crate::error::is_transient;
use crate::metrics::{self, Committed};
use crate::progress::Progress;
use crate::traces;
use crate::upkeep::Order;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Cuts that wait for a busy writer; the next one waits in the reader.
pub(crate) const QUEUED_CUTS: usize = 1;

/// A cut on its way to the table, with the memory it holds.
pub(crate) struct Flush {
    pub(crate) cut: Cut,
    pub(crate) reserved: Reserved,
    /// Told when the cut is committed.
    pub(crate) committed: Option<oneshot::Sender<()>>,
}

pub(crate) struct Writer {
    pub(crate) topic: Topic,
    pub(crate) table: BronzeTable,
    pub(crate) progress: Progress,
    /// Told after each commit.
    pub(crate) wake: Arc<Notify>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) upkeep: UpkeepConfig,
    /// Upkeep that a command asks for.
    pub(crate) orders: mpsc::Receiver<Order>,
}

impl Writer {
    /// Commits what arrives until the reader hangs up, and tidies up in between.
    pub(crate) async fn run(mut self, mut flushes: mpsc::Receiver<Flush>) -> Result<()> {
        let interval = Duration::from_secs(self.upkeep.interval_seconds.max(1));
        let mut next = tokio::time::Instant::now() + interval;
        loop {
            let flush = tokio::select! {
                flush = flushes.recv() => flush,
                Some(order) = self.orders.recv() => {
                    self.obey(order).await;
                    continue;
                }
                () = tokio::time::sleep_until(next), if self.upkeep.enabled => {
                    self.tidy_up().await;
                    next = tokio::time::Instant::now() + interval;
                    continue;
                }
            };
            let Some(mut flush) = flush else {
                return Ok(());
            };
            let started = Instant::now();
            let moves_offsets = !flush.cut.offsets.is_empty();
            let cut = &mut flush.cut;
            let span = traces::commit(self.topic.table(), rows(cut), cut.bytes, cut.poison);
            let committing = self.commit(cut).instrument(span.clone()).await;
            committing.inspect_err(|_| traces::failed(&span))?;
            drop(span);
            if moves_offsets {
                self.progress.advance(&self.topic, &flush.cut.offsets);
            }
            metrics::observe_commit(&Committed {
                table: self.topic.table(),
                rows: rows(&flush.cut),
                bytes: flush.cut.bytes,
                poison: flush.cut.poison,
                elapsed: started.elapsed(),
            });
            drop(flush.reserved);
            if let Some(committed) = flush.committed {
                // Whoever asked may have gone.
                let _ = committed.send(());
            }
            self.wake.notify_one();
        }
    }

    /// Commits a cut, again and again while the lake is away; once more, not longer, when told to stop.
    async fn commit(&mut self, cut: &mut Cut) -> Result<()> {
        let mut pause = FIRST_PAUSE;
        let mut failed = false;
        let mut attempts = 0;
        loop {
            attempts += 1;
            let last = self.shutdown.is_cancelled();
            match self.attempt(cut, failed).await {
                Ok(commit) => {
                    traces::attempts(attempts);
                    self.report(commit.as_ref(), cut, failed);
                    return Ok(());
                }
                Err(error) if is_transient(&error) && !(last && failed) => {
                    if !failed {
                        warn!(table = self.topic.table(), error = %error.with_causes(), "commit failed: trying again");
                    }
                    failed = true;
                }
                Err(error) => return Err(self.explain(error)),
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shutdown.cancelled() => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// None when an earlier attempt, whose answer was lost, did commit.
    async fn attempt(&mut self, cut: &mut Cut, failed: bool) -> Result<Option<Commit>> {
        if cut.offsets.is_empty() {
            cut.offsets.push(self.next_replay().await?);
        }
        let batches = cut.batches.clone();
        let appended = self
            .table
            .append_with(batches, &cut.offsets, &cut.lineages)
            .await;
        match appended {
            Err(error) if failed && error.kind() == ErrorKind::Conflict => {
                if self.holds(cut).await? {
                    Ok(None)
                } else {
                    Err(error)
                }
            }
            appended => appended.map(Some),
        }
    }

    async fn next_replay(&self) -> Result<PartitionOffset> {
        let (topic, partition) = (self.topic.to_string(), PartitionOffset::REPLAYS);
        let from = self.table.next_offset(&topic, partition).await?;
        Ok(PartitionOffset {
            topic,
            partition,
            from,
            next: from.unwrap_or(0).saturating_add(1),
        })
    }

    /// Whether the table already ends where this cut ends.
    async fn holds(&self, cut: &Cut) -> Result<bool> {
        for offset in &cut.offsets {
            let stored = self
                .table
                .next_offset(&offset.topic, offset.partition)
                .await?;
            if stored != Some(offset.next) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn report(&self, commit: Option<&Commit>, cut: &Cut, failed: bool) {
        let table = self.topic.table();
        if failed {
            info!(table, "commits again");
        }
        debug!(
            table,
            version = commit.map(|commit| commit.version),
            rows = rows(cut),
            bytes = cut.bytes,
            "committed"
        );
    }

    fn explain(&self, error: Error) -> Error {
        if error.kind() != ErrorKind::Conflict {
            return error;
        }
        Error::new(
            ErrorKind::Conflict,
            format!(
                "another writer moved the offsets of \"bronze.{}\"",
                self.topic.table()
            ),
        )
        .hint("Nothing was written twice. Leave one ingest running on this lake, then start again.")
        .caused_by(error)
    }
}

fn rows(cut: &Cut) -> u64 {
    cut.batches
        .iter()
        .map(|batch| batch.num_rows() as u64)
        .sum()
}
