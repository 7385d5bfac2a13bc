//! One topic's messages between two commits.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use changes::Topic;
use chrono::{DateTime, Utc};
use engine::bronze::{Lineage, PartitionOffset};
use engine::{Error, ErrorKind, Result};

use crate::config::IngestConfig;
use crate::lineage::Life;
use crate::rows::{Message, RowBuilder};

/// A record batch is closed at this size, so that no array grows by copying itself over and over.
const BATCH_BYTES: usize = 8 << 20;
const BATCH_ROWS: usize = 16_384;

/// When a buffer is full or old enough to be committed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FlushPolicy {
    bytes: usize,
    rows: usize,
    age: Duration,
}

impl From<&IngestConfig> for FlushPolicy {
    fn from(config: &IngestConfig) -> Self {
        Self {
            bytes: config.flush_bytes,
            rows: config.flush_rows,
            age: config.flush_interval,
        }
    }
}

/// Rows and offsets that make one commit.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(crate) batches: Vec<RecordBatch>,
    pub(crate) offsets: Vec<PartitionOffset>,
    /// Of the partitions whose source moved on.
    pub(crate) lineages: Vec<(i32, Lineage)>,
    pub(crate) bytes: usize,
    pub(crate) poison: usize,
}

pub(crate) struct TopicBuffer {
    topic: Topic,
    policy: FlushPolicy,
    open: RowBuilder,
    closed: Vec<RecordBatch>,
    closed_rows: usize,
    closed_bytes: usize,
    closed_poison: usize,
    oldest: Option<Instant>,
    partitions: BTreeMap<i32, Position>,
    /// The latest life of the source that any partition saw begin.
    latest: Option<Life>,
}

#[derive(Debug, Clone, Copy)]
struct Position {
    /// Next offset as of the last cut; none before the first commit of a partition.
    cut: Option<i64>,
    next: i64,
    lineage: Lineage,
    /// The lineage as of the last cut.
    told: Lineage,
}

impl TopicBuffer {
    pub(crate) fn new(topic: Topic, policy: FlushPolicy) -> Self {
        Self {
            topic,
            policy,
            open: RowBuilder::with_capacity(0, 0),
            closed: Vec::new(),
            closed_rows: 0,
            closed_bytes: 0,
            closed_poison: 0,
            oldest: None,
            partitions: BTreeMap::new(),
            latest: None,
        }
    }

    pub(crate) fn topic(&self) -> &Topic {
        &self.topic
    }

    /// Starts a partition of a cluster at `next`, where `stored` and `lineage` are what the table holds for it.
    pub(crate) fn begin(
        &mut self,
        partition: i32,
        stored: Option<i64>,
        next: i64,
        lineage: Lineage,
        cluster: Option<i64>,
    ) {
        let position = Position {
            cut: stored,
            next,
            lineage: Lineage {
                cluster: cluster.or(lineage.cluster),
                ..lineage
            },
            told: lineage,
        };
        self.latest = Life::later(self.latest, Life::of(&lineage));
        self.partitions.insert(partition, position);
    }

    /// Takes one message; those of partitions that were not begun, or that were taken before, are left out.
    pub(crate) fn push(&mut self, message: &Message<'_>, ingested_at: DateTime<Utc>) -> Result<()> {
        let Some(position) = self.partitions.get_mut(&message.partition) else {
            return Ok(());
        };
        if message.offset < position.next {
            return Ok(());
        }
        position.next = message.offset + 1;
        let lineage = &mut position.lineage;
        self.open.push(message, lineage, self.latest, ingested_at);
        self.latest = Life::later(self.latest, Life::of(lineage));
        self.oldest.get_or_insert_with(Instant::now);
        if self.open.weight() >= BATCH_BYTES || self.open.rows() >= BATCH_ROWS {
            self.close_batch(BATCH_ROWS.min(self.open.rows()), BATCH_BYTES)?;
        }
        Ok(())
    }

    /// Moves past offsets that hold no message: transaction markers and what compaction removed.
    pub(crate) fn advance(&mut self, partition: i32, next: i64) {
        if let Some(position) = self.partitions.get_mut(&partition) {
            position.next = position.next.max(next);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.closed_bytes + self.open.weight()
    }

    fn rows(&self) -> usize {
        self.closed_rows + self.open.rows()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes() >= self.policy.bytes || self.rows() >= self.policy.rows
    }

    /// Time left until the oldest message must be committed; none while nothing is pending.
    pub(crate) fn due_in(&self) -> Option<Duration> {
        let oldest = self.oldest?;
        Some(self.policy.age.saturating_sub(oldest.elapsed()))
    }

    /// What is pending, offsets without rows included; the buffer goes on from there.
    pub(crate) fn cut(&mut self) -> Result<Option<Cut>> {
        let (rows, bytes) = (self.open.rows(), self.open.weight());
        self.close_batch(rows, bytes)?;
        self.oldest = None;
        let mut offsets = Vec::new();
        let mut lineages = Vec::new();
        for (partition, position) in &mut self.partitions {
            if position.cut != Some(position.next) && (position.cut.is_some() || position.next > 0)
            {
                offsets.push(PartitionOffset {
                    topic: self.topic.to_string(),
                    partition: *partition,
                    from: position.cut,
                    next: position.next,
                });
                position.cut = Some(position.next);
                if position.told != position.lineage {
                    position.told = position.lineage;
                    lineages.push((*partition, position.lineage));
                }
            }
        }
        if offsets.is_empty() {
            return Ok(None);
        }
        let cut = Cut {
            batches: std::mem::take(&mut self.closed),
            offsets,
            lineages,
            bytes: self.closed_bytes,
            poison: self.closed_poison,
        };
        (self.closed_rows, self.closed_bytes, self.closed_poison) = (0, 0, 0);
        Ok(Some(cut))
    }

    /// Closes the open batch and opens one with room for what is expected next.
    fn close_batch(&mut self, rows: usize, bytes: usize) -> Result<()> {
        if self.open.rows() == 0 {
            return Ok(());
        }
        let full = std::mem::replace(&mut self.open, RowBuilder::with_capacity(rows, bytes));
        self.closed_rows += full.rows();
        self.closed_bytes += full.weight();
        self.closed_poison += full.poison();
        let batch = full.finish().map_err(|error| {
            Error::new(
                ErrorKind::Internal,
                format!("could not build rows of \"bronze.{}\"", self.topic.table()),
            )
            .caused_by(error)
        })?;
        self.closed.push(batch);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
