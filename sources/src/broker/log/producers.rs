//! Sequence numbers of idempotent producers: a batch sent again is known and not stored twice.

use std::collections::{HashMap, VecDeque};

use kafka_protocol::ResponseError;
use serde::{Deserialize, Serialize};

use super::batch::BatchHeader;

/// Batches that a producer may have in flight, hence may send again.
const REMEMBERED_BATCHES: usize = 5;
/// Producers remembered for a partition; beyond it the one that wrote longest ago is forgotten.
const MAX_PRODUCERS: usize = 1000;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Producers {
    by_id: HashMap<i64, Producer>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Producer {
    epoch: i16,
    recent: VecDeque<RecentBatch>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct RecentBatch {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sequence {
    Next,
    /// Stored before, at this offset.
    Duplicate(i64),
}

impl Producers {
    /// Decides whether a batch is the next one, a repetition, or out of order.
    pub(crate) fn check(&self, batch: &BatchHeader) -> Result<Sequence, ResponseError> {
        if batch.producer_id < 0 {
            return Ok(Sequence::Next);
        }
        let Some(producer) = self.by_id.get(&batch.producer_id) else {
            return Ok(Sequence::Next);
        };
        if batch.producer_epoch < producer.epoch {
            return Err(ResponseError::InvalidProducerEpoch);
        }
        if batch.producer_epoch > producer.epoch {
            return match batch.base_sequence {
                0 => Ok(Sequence::Next),
                _ => Err(ResponseError::OutOfOrderSequenceNumber),
            };
        }
        let repeated = producer.recent.iter().find(|recent| {
            recent.first_sequence == batch.base_sequence
                && recent.last_sequence == batch.last_sequence()
        });
        if let Some(recent) = repeated {
            return Ok(Sequence::Duplicate(recent.base_offset));
        }
        let expected = producer
            .recent
            .back()
            .map_or(0, |last| last.last_sequence.checked_add(1).unwrap_or(0));
        if batch.base_sequence == expected {
            return Ok(Sequence::Next);
        }
        Err(ResponseError::OutOfOrderSequenceNumber)
    }

    /// Remembers a batch that is in the log at its base offset.
    pub(crate) fn record(&mut self, batch: &BatchHeader) {
        if batch.producer_id < 0 {
            return;
        }
        let producer = self.by_id.entry(batch.producer_id).or_insert(Producer {
            epoch: batch.producer_epoch,
            recent: VecDeque::new(),
        });
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.recent.clear();
        }
        if producer.recent.len() == REMEMBERED_BATCHES {
            producer.recent.pop_front();
        }
        producer.recent.push_back(RecentBatch {
            first_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset: batch.base_offset,
        });
        if self.by_id.len() > MAX_PRODUCERS {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self
            .by_id
            .iter()
            .min_by_key(|(_, producer)| producer.recent.back().map_or(0, |last| last.base_offset))
            .map(|(&id, _)| id);
        if let Some(id) = oldest {
            self.by_id.remove(&id);
        }
    }
}
