//! Changes on their way to the topic, where some are sent twice, some come late, and some are followed by rubbish.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::Write as _;

use changes::{Change, Op, Result};
use rand::Rng;
use rand::rngs::SmallRng;
use rdkafka::message::OwnedHeaders;

use super::activity::Activity;
use super::chaos::Chaos;
use super::garble::garble;
use super::resume::{HEADER, Mark};
use super::roster::{Stream, rng};
use crate::publisher::{Outgoing, Publisher, headers};
use crate::topics::SourceTopic;

/// Changes that pass before one that is held is sent, at most.
const LONGEST_DELAY: u64 = 200;

/// What was written wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mishaps {
    /// Changes sent a second time.
    pub duplicates: u64,
    /// Changes sent after later ones.
    pub late: u64,
    /// Messages that are no change events.
    pub malformed: u64,
}

pub(super) struct Courier {
    publisher: Publisher,
    topic: SourceTopic,
    chaos: Chaos,
    rng: SmallRng,
    mark: Option<OwnedHeaders>,
    /// Changes handed in.
    count: u64,
    held: BinaryHeap<Reverse<Held>>,
    mishaps: Mishaps,
    key: Vec<u8>,
    value: Vec<u8>,
    rubbish: Vec<u8>,
}

/// A change that is sent when so many have been handed in.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Held {
    due: u64,
    number: u64,
    key: Vec<u8>,
    value: Vec<u8>,
    is_delete: bool,
}

impl Courier {
    pub(super) fn new(publisher: Publisher, topic: SourceTopic, chaos: Chaos, seed: u64) -> Self {
        Self {
            publisher,
            topic,
            chaos,
            rng: rng(seed, 0, Stream::Chaos),
            mark: None,
            count: 0,
            held: BinaryHeap::new(),
            mishaps: Mishaps::default(),
            key: Vec::new(),
            value: Vec::new(),
            rubbish: Vec::new(),
        }
    }

    /// What the messages that follow say of the generator.
    pub(super) fn set_mark(&mut self, mark: &Mark) {
        self.mark = Some(headers(HEADER, &mark.text()));
    }

    /// The order of its draws is that of the changes, however they come in batches.
    pub(super) async fn send(&mut self, change: Change<'_, Activity>) -> Result<()> {
        let Some(row) = change.after.or(change.before) else {
            return Ok(());
        };
        self.key.clear();
        self.value.clear();
        // Memory takes what is written to it.
        let _ = write!(self.key, r#"{{"id":{}}}"#, row.id);
        change.write(&self.topic.table, &mut self.value);
        self.count += 1;
        self.release(self.count).await?;
        let is_delete = change.op == Op::Delete;
        if self.chaos.late.draws(&mut self.rng) {
            self.mishaps.late += 1;
            self.hold(is_delete);
        } else {
            self.deliver(&self.key, &self.value, is_delete).await?;
        }
        if self.chaos.duplicates.draws(&mut self.rng) {
            self.mishaps.duplicates += 1;
            self.hold(is_delete);
        }
        if self.chaos.malformed.draws(&mut self.rng) {
            self.mishaps.malformed += 1;
            self.rubbish.clear();
            garble(&self.value, &mut self.rng, &mut self.rubbish);
            self.post(&self.key, Some(&self.rubbish)).await?;
        }
        Ok(())
    }

    /// Sends what is still held, and waits until the broker has acknowledged everything.
    pub(super) async fn settle(&mut self) -> Result<()> {
        self.release(u64::MAX).await?;
        self.publisher.settled(&self.topic).await
    }

    /// The first failure since the last look.
    pub(super) fn failure(&self) -> Result<()> {
        self.publisher.failure(&self.topic)
    }

    pub(super) fn mishaps(&self) -> Mishaps {
        self.mishaps
    }

    /// Messages that the broker acknowledged.
    pub(super) fn acknowledged(&self) -> u64 {
        self.publisher.acknowledged()
    }

    /// Messages that the broker did not acknowledge yet, those that are held included.
    pub(super) fn outstanding(&self) -> usize {
        self.publisher.in_flight() + self.held.len()
    }

    fn hold(&mut self, is_delete: bool) {
        self.held.push(Reverse(Held {
            due: self.count + self.rng.random_range(1..=LONGEST_DELAY),
            number: self.count,
            key: self.key.clone(),
            value: self.value.clone(),
            is_delete,
        }));
    }

    async fn release(&mut self, due: u64) -> Result<()> {
        while self
            .held
            .peek()
            .is_some_and(|Reverse(held)| held.due <= due)
        {
            let Some(Reverse(held)) = self.held.pop() else {
                break;
            };
            self.deliver(&held.key, &held.value, held.is_delete).await?;
        }
        Ok(())
    }

    /// A delete is followed by its tombstone.
    async fn deliver(&self, key: &[u8], value: &[u8], is_delete: bool) -> Result<()> {
        self.post(key, Some(value)).await?;
        if is_delete {
            self.post(key, None).await?;
        }
        Ok(())
    }

    async fn post(&self, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        let message = Outgoing {
            key,
            value,
            headers: self.mark.as_ref(),
        };
        self.publisher.send(&self.topic, message).await
    }
}
