//! One topic, read from given offsets and then as it grows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use changes::{Error, ErrorKind, KafkaConfig, Purpose, Result, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// Longest wait for a message, hence the delay until the end is noticed.
const IDLE: Duration = Duration::from_millis(100);

/// Patience with the broker for one question.
const ANSWER: Duration = Duration::from_secs(3);

/// Pause while there is no topic, or no broker.
const PAUSE: Duration = Duration::from_millis(500);

/// Time between two looks for new partitions.
const LOOKS: Duration = Duration::from_secs(30);

/// What is heard of the topic.
pub(crate) enum Heard<'m> {
    Message(&'m BorrowedMessage<'m>),
    /// Every partition was read to its end.
    End,
}

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    On,
    Done,
}

pub(crate) struct Follower {
    /// Taken by drop alone.
    client: Option<Arc<BaseConsumer>>,
    topic: Topic,
    /// The next offset of each partition that is read.
    next: BTreeMap<i32, i64>,
    behind: BTreeSet<i32>,
    connected: bool,
}

impl Follower {
    /// Waits for the topic to be there; nothing when told to stop before.
    pub(crate) fn open(
        kafka: &KafkaConfig,
        topic: Topic,
        stop: &CancellationToken,
    ) -> Result<Option<Self>> {
        let consumer: BaseConsumer = kafka.client(&Purpose::Consume).create().map_err(|error| {
            Error::invalid("could not set up the Kafka client")
                .hint("Check the [kafka] section of the configuration.")
                .caused_by(error)
        })?;
        let follower = Self {
            client: Some(Arc::new(consumer)),
            topic,
            next: BTreeMap::new(),
            behind: BTreeSet::new(),
            connected: true,
        };
        let mut waiting = false;
        while !stop.is_cancelled() {
            match follower.partitions() {
                Ok(partitions) if !partitions.is_empty() => return Ok(Some(follower)),
                Ok(_) if !waiting => info!(topic = %follower.topic, "waits for the topic"),
                Err(error) if !waiting => {
                    let why = changes::diagnose(kafka);
                    let hint = why.as_ref().and_then(|why| why.hint_text());
                    let why = why.as_ref().map(ToString::to_string);
                    warn!(%error, why, hint, "waits for the brokers");
                }
                _ => {}
            }
            waiting = true;
            thread::sleep(PAUSE);
        }
        Ok(None)
    }

    /// Reads every partition from the offset given for it, and from its first where there is none. An offset that the
    /// topic does not have is one of a topic that was made anew: it is read from its first.
    pub(crate) fn start(
        &mut self,
        from: &BTreeMap<i32, i64>,
        stop: &CancellationToken,
    ) -> Result<()> {
        self.next.clone_from(from);
        let mut told = false;
        while !stop.is_cancelled() {
            match self.assign() {
                Ok(()) => return Ok(()),
                Err(error) if !told => warn!(%error, "waits for the brokers"),
                Err(_) => {}
            }
            told = true;
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    fn assign(&mut self) -> Result<(), KafkaError> {
        let name = self.topic.as_str();
        let mut list = TopicPartitionList::new();
        let mut starts = BTreeMap::new();
        for partition in self.partitions()? {
            let (low, high) = self.client().fetch_watermarks(name, partition, ANSWER)?;
            let start = match self.next.get(&partition) {
                Some(next) if (low..=high).contains(next) => *next,
                Some(next) => {
                    warn!(
                        topic = name,
                        partition,
                        offset = next,
                        low,
                        high,
                        "the topic does not hold what comes next: it is read from its first message"
                    );
                    low
                }
                None => low,
            };
            list.add_partition_offset(name, partition, Offset::Offset(start))?;
            starts.insert(partition, start);
        }
        self.client().assign(&list)?;
        self.behind = starts.keys().copied().collect();
        self.next = starts;
        Ok(())
    }

    /// Until told to stop, or until who hears is done. Blocks the calling thread.
    pub(crate) fn follow(
        &mut self,
        stop: &CancellationToken,
        mut hear: impl FnMut(Heard<'_>) -> Flow,
    ) -> Result<()> {
        let client = Arc::clone(self.client());
        let mut looked = Instant::now();
        while !stop.is_cancelled() {
            let flow = match client.poll(IDLE) {
                Some(Ok(message)) => {
                    self.noticed_connection(None);
                    self.next.insert(message.partition(), message.offset() + 1);
                    self.behind.insert(message.partition());
                    hear(Heard::Message(&message))
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    let was_behind = self.behind.remove(&partition);
                    match was_behind && self.behind.is_empty() {
                        true => hear(Heard::End),
                        false => Flow::On,
                    }
                }
                Some(Err(error)) => {
                    self.judge(error, stop)?;
                    Flow::On
                }
                None => Flow::On,
            };
            if flow == Flow::Done {
                return Ok(());
            }
            if looked.elapsed() >= LOOKS {
                looked = Instant::now();
                self.look_for_partitions();
            }
        }
        Ok(())
    }

    fn judge(&mut self, error: KafkaError, stop: &CancellationToken) -> Result<()> {
        match error {
            KafkaError::MessageConsumption(
                RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange,
            ) => {
                let next = self.next.clone();
                self.start(&next, stop)
            }
            KafkaError::MessageConsumptionFatal(_) => Err(Error::new(
                ErrorKind::Unavailable,
                "the Kafka client failed for good",
            )
            .caused_by(error)),
            other => {
                self.noticed_connection(Some(&other));
                Ok(())
            }
        }
    }

    /// Says once that the client is in trouble, and once that messages arrive again.
    fn noticed_connection(&mut self, error: Option<&KafkaError>) {
        if self.connected == error.is_none() {
            return;
        }
        self.connected = error.is_none();
        match error {
            Some(error) => {
                warn!(%error, topic = %self.topic, "reading is interrupted: it goes on by itself")
            }
            None => info!(topic = %self.topic, "reading goes on"),
        }
    }

    fn look_for_partitions(&mut self) {
        let Ok(partitions) = self.partitions() else {
            return;
        };
        if partitions
            .iter()
            .any(|partition| !self.next.contains_key(partition))
            && let Err(error) = self.assign()
        {
            warn!(%error, topic = %self.topic, "new partitions are not read yet");
        }
    }

    fn client(&self) -> &Arc<BaseConsumer> {
        self.client.as_ref().expect("taken by drop alone")
    }

    fn partitions(&self) -> Result<Vec<i32>, KafkaError> {
        let metadata = self.client().fetch_metadata(None, ANSWER)?;
        let found = metadata
            .topics()
            .iter()
            .find(|topic| topic.name() == self.topic.as_str() && topic.error().is_none());
        Ok(found.map_or(Vec::new(), |topic| {
            topic
                .partitions()
                .iter()
                .map(|partition| partition.id())
                .collect()
        }))
    }
}

/// Closing a client waits for the broker, which may be away for good: nobody waits for that.
impl Drop for Follower {
    fn drop(&mut self) {
        let client = self.client.take();
        let close = move || drop(client);
        drop(
            thread::Builder::new()
                .name("kafka-close".to_owned())
                .spawn(close),
        );
    }
}
