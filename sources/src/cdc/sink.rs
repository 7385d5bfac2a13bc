use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use changes::{Error, GENERATION_HEADER, KafkaConfig, Purpose, Result};
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use tokio::sync::Notify;

use super::traces::Publish;
use crate::postgres::Lsn;
use crate::publisher::{not_delivered, too_large, too_large_for_brokers};

/// Writes messages to Kafka, and knows up to which position all of them are acknowledged.
pub(super) struct Sink {
    producer: ThreadedProducer<Deliveries>,
    generation: Option<String>,
}

/// A message to send.
pub(super) struct Outgoing<'a> {
    pub(super) topic: &'a str,
    pub(super) key: &'a [u8],
    pub(super) value: Option<&'a [u8]>,
    pub(super) header: Option<(&'static str, &'a [u8])>,
}

impl Sink {
    pub(super) fn connect(kafka: &KafkaConfig, generation: u64) -> Result<Self> {
        let producer = kafka
            .client(&Purpose::Produce)
            .create_with_context(Deliveries::default())
            .map_err(|error| {
                Error::invalid("could not set up a Kafka producer").caused_by(error)
            })?;
        Ok(Self {
            producer,
            generation: (generation > 0).then(|| generation.to_string()),
        })
    }

    /// Hands a message over; false when there is no room for it yet.
    pub(super) fn try_send(&self, message: &Outgoing<'_>) -> Result<bool> {
        let deliveries = self.producer.context();
        let group = deliveries.begin()?;
        let mut record =
            BaseRecord::<[u8], [u8], usize>::with_opaque_to(message.topic, group).key(message.key);
        if let Some(value) = message.value {
            record = record.payload(value);
        }
        if message.header.is_some() || self.generation.is_some() {
            let mut headers = OwnedHeaders::new();
            if let Some((key, value)) = message.header {
                headers = headers.insert(Header {
                    key,
                    value: Some(value),
                });
            }
            if let Some(generation) = &self.generation {
                let (key, value) = (GENERATION_HEADER, Some(generation));
                headers = headers.insert(Header { key, value });
            }
            record = record.headers(headers);
        }
        match self.producer.send(record) {
            Ok(()) => Ok(true),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), _)) => {
                deliveries.take_back(group);
                Ok(false)
            }
            Err((error, _)) => {
                deliveries.take_back(group);
                let bytes = message.key.len() + message.value.map_or(0, <[u8]>::len);
                Err(match error.rdkafka_error_code() {
                    Some(RDKafkaErrorCode::MessageSizeTooLarge) => too_large(message.topic, bytes),
                    _ => not_delivered(message.topic, error),
                })
            }
        }
    }

    /// Waits until something was acknowledged, or was not, at most a second: a caller has others to answer.
    pub(super) async fn room(&self) {
        const AT_MOST: Duration = Duration::from_secs(1);
        let freed = self.producer.context().shared.freed.notified();
        let _ = tokio::time::timeout(AT_MOST, freed).await;
    }

    /// Everything sent so far stands for the source's log up to the position.
    pub(super) fn reach(&self, position: Lsn) {
        self.producer.context().reach(position);
    }

    /// The position before which everything is acknowledged, where it moved.
    pub(super) fn safe(&self) -> Result<Option<Lsn>> {
        self.producer.context().safe()
    }

    /// Whether nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.producer
            .context()
            .shared
            .state
            .lock()
            .groups
            .iter()
            .all(|group| group.pending == 0)
    }

    /// Waits for every acknowledgement.
    pub(super) async fn drain(&self) -> Result<Option<Lsn>> {
        let mut reached = None;
        loop {
            reached = self.safe()?.or(reached);
            if self.is_idle() {
                let safe = self.safe()?.or(reached);
                self.producer.context().settle();
                return Ok(safe);
            }
            self.room().await;
        }
    }
}

/// What is not delivered yet is sent again by whoever goes on.
impl Drop for Sink {
    fn drop(&mut self) {
        self.producer
            .purge(PurgeConfig::default().queue().inflight());
    }
}

/// Counts what is on its way, in groups of one commit each.
#[derive(Default)]
struct Deliveries {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<Groups>,
    freed: Notify,
}

#[derive(Default)]
struct Groups {
    groups: VecDeque<Group>,
    /// The number of the first of them.
    first: usize,
    failed: Option<Failed>,
}

/// A message that the brokers did not take.
struct Failed {
    topic: String,
    bytes: usize,
    error: KafkaError,
}

impl Failed {
    fn explained(&self) -> Error {
        match self.error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                too_large_for_brokers(&self.topic, self.bytes, self.error.clone())
            }
            _ => not_delivered(&self.topic, self.error.clone()),
        }
    }
}

#[derive(Default)]
struct Group {
    pending: usize,
    /// The position that it reaches; none while it still grows.
    reaches: Option<Lsn>,
    /// None before the first message.
    publish: Option<Publish>,
}

impl Groups {
    fn count_off(&mut self, group: usize) {
        let at = group.wrapping_sub(self.first);
        if let Some(group) = self.groups.get_mut(at) {
            group.pending = group.pending.saturating_sub(1);
        }
    }
}

impl Deliveries {
    fn begin(&self) -> Result<usize> {
        let mut state = self.shared.state.lock();
        if let Some(failed) = &state.failed {
            return Err(failed.explained());
        }
        if state
            .groups
            .back()
            .is_none_or(|group| group.reaches.is_some())
        {
            state.groups.push_back(Group::default());
        }
        if let Some(group) = state.groups.back_mut() {
            group.pending += 1;
            group.publish.get_or_insert_with(Publish::begin).count();
        }
        Ok(state.first + state.groups.len() - 1)
    }

    fn done(&self, group: usize, failed: Option<Failed>) {
        let mut state = self.shared.state.lock();
        state.failed = state.failed.take().or(failed);
        state.count_off(group);
        drop(state);
        self.shared.freed.notify_one();
    }

    /// The message was not handed over after all, which frees nothing.
    fn take_back(&self, group: usize) {
        self.shared.state.lock().count_off(group);
    }

    fn reach(&self, position: Lsn) {
        let mut state = self.shared.state.lock();
        match state.groups.back_mut() {
            Some(group) if group.reaches.is_none() || group.pending == 0 => {
                group.reaches = Some(position)
            }
            _ => state.groups.push_back(Group {
                reaches: Some(position),
                ..Group::default()
            }),
        }
    }

    fn safe(&self) -> Result<Option<Lsn>> {
        let mut state = self.shared.state.lock();
        if let Some(failed) = &state.failed {
            return Err(failed.explained());
        }
        let mut safe = None;
        while let Some(Group {
            pending: 0,
            reaches: Some(position),
            publish,
        }) = state.groups.front_mut()
        {
            if let Some(publish) = publish.take() {
                publish.acknowledged(Some(*position));
            }
            safe = Some(*position);
            state.groups.pop_front();
            state.first += 1;
        }
        Ok(safe)
    }

    /// Everything that was sent is acknowledged, whether it stands for a position or not.
    fn settle(&self) {
        let mut state = self.shared.state.lock();
        for group in &mut state.groups {
            if let Some(publish) = group.publish.take() {
                publish.acknowledged(group.reaches);
            }
        }
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, group: usize) {
        let failed = result.as_ref().err().map(|(error, message)| Failed {
            topic: message.topic().to_owned(),
            bytes: message.key().map_or(0, <[u8]>::len) + message.payload().map_or(0, <[u8]>::len),
            error: error.clone(),
        });
        self.done(group, failed);
    }
}

#[cfg(test)]
mod tests {
    use changes::ErrorKind;

    use super::*;

    #[test]
    fn a_position_is_safe_once_all_before_it_is_acknowledged() {
        let deliveries = Deliveries::default();
        let (first, same) = (
            deliveries.begin().expect("ok"),
            deliveries.begin().expect("ok"),
        );
        assert_eq!(first, same);
        deliveries.reach(Lsn(10));
        let second = deliveries.begin().expect("ok");
        deliveries.reach(Lsn(20));
        deliveries.done(second, None);
        assert_eq!(deliveries.safe().expect("ok"), None);
        deliveries.done(first, None);
        assert_eq!(deliveries.safe().expect("ok"), None);
        deliveries.done(same, None);
        assert_eq!(deliveries.safe().expect("ok"), Some(Lsn(20)));
        deliveries.reach(Lsn(30));
        assert_eq!(deliveries.safe().expect("ok"), Some(Lsn(30)));
    }

    /// Nothing answers, so that nothing is delivered and a full queue stays full.
    #[tokio::test]
    async fn a_full_queue_is_waited_for() {
        let kafka = KafkaConfig::default().with_brokers("127.0.0.1:1");
        let sink = Sink::connect(&kafka, 0).expect("a producer");
        let value = vec![b'x'; 1 << 20];
        let message = Outgoing {
            topic: "t",
            key: b"k",
            value: Some(&value),
            header: None,
        };
        while sink.try_send(&message).expect("a queue") {}
        let mut tries = 0;
        let trying = async {
            while !sink.try_send(&message).expect("a queue") {
                tries += 1;
                sink.room().await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_millis(500), trying).await;
        assert!(ended.is_err(), "nothing was delivered");
        assert!(tries < 5, "it asked {tries} times");
    }

    #[test]
    fn what_was_not_delivered_is_told() {
        let deliveries = Deliveries::default();
        let group = deliveries.begin().expect("ok");
        deliveries.reach(Lsn(10));
        let failure = |code| Failed {
            topic: "t".to_owned(),
            bytes: 70_000,
            error: KafkaError::MessageProduction(code),
        };
        deliveries.done(group, Some(failure(RDKafkaErrorCode::MessageTimedOut)));
        let error = deliveries.safe().expect_err("lost");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let error = failure(RDKafkaErrorCode::MessageSizeTooLarge).explained();
        assert_eq!(error.kind(), ErrorKind::InvalidRequest);
        assert!(
            error.to_string().contains("70000 bytes into \"t\""),
            "{error}"
        );
    }
}
