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
    /// Whether the topic lost its first messages.
    cut: bool,
}

/// What to do where there is no topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absent {
    Wait,
    Fail,
}

impl Follower {
    /// Waits for the topic to be there, unless that is an error; nothing when told to stop before.
    pub(crate) fn open(
        kafka: &KafkaConfig,
        topic: Topic,
        absent: Absent,
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
            cut: false,
        };
        let mut waiting = false;
        while !stop.is_cancelled() {
            match follower.partitions() {
                Ok(partitions) if !partitions.is_empty() => return Ok(Some(follower)),
                Ok(_) if absent == Absent::Fail => return Err(no_topic(&follower.topic)),
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
            self.cut |= low > 0;
            let (start, lost) = start(self.next.get(&partition).copied(), low, high);
            if let Some(lost) = lost {
                warn!(topic = name, partition, low, high, "{lost}");
            }
            list.add_partition_offset(name, partition, Offset::Offset(start))?;
            starts.insert(partition, start);
        }
        self.client().assign(&list)?;
        self.behind = starts.keys().copied().collect();
        self.next = starts;
        Ok(())
    }

    /// Whether Kafka's retention took messages from the beginning of the topic.
    pub(crate) fn is_cut(&self) -> bool {
        self.cut
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

/// The offset to read from, and what is lost when that is not the one that comes next.
fn start(next: Option<i64>, low: i64, high: i64) -> (i64, Option<String>) {
    let Some(next) = next else {
        return (low, None);
    };
    let lost = if next < low {
        format!(
            "Kafka's retention took {} messages that were not read, and what they told is lost: keep the topic longer",
            low - next
        )
    } else if next > high {
        format!(
            "the topic was made anew, and ends before offset {next}: it is read from its first message"
        )
    } else {
        return (next, None);
    };
    (low, Some(lost))
}

fn no_topic(topic: &Topic) -> Error {
    let message = format!("there is no topic \"{topic}\"");
    Error::new(ErrorKind::NotFound, message).hint(
        "Check kafka.prefix and kafka.brokers, or start what feeds the topic first; without --once it is waited for.",
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_retention_took_is_said_and_what_is_there_is_read() {
        assert_eq!(start(None, 5, 9), (5, None));
        for next in [5, 7, 9] {
            assert_eq!(start(Some(next), 5, 9), (next, None));
        }
        let (from, lost) = start(Some(2), 5, 9);
        assert_eq!(from, 5);
        assert!(lost.is_some_and(|lost| lost.contains("retention took 3 messages")));
        let (from, lost) = start(Some(10), 0, 9);
        assert_eq!(from, 0);
        assert!(lost.is_some_and(|lost| lost.contains("made anew")));
    }
}
