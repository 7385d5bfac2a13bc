use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use changes::{Error, ErrorKind, GENERATION_HEADER, KafkaConfig, Purpose, Result};
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Message as _, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use tokio::sync::Notify;

use crate::postgres::Lsn;

/// Writes messages to Kafka, and knows up to which position all of them are acknowledged.
pub(super) struct Sink {
    producer: ThreadedProducer<Deliveries>,
    generation: Option<String>,
}

/// A message to send.
pub(super) struct Outgoing<'a> {
    pub(super) topic: &'a str,
    pub(super) key: Option<&'a [u8]>,
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
        let mut record = BaseRecord::<[u8], [u8], usize>::with_opaque_to(message.topic, group);
        if let Some(key) = message.key {
            record = record.key(key);
        }
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
                deliveries.done(group, None);
                Ok(false)
            }
            Err((error, _)) => {
                deliveries.done(group, None);
                Err(not_delivered(message.topic, error))
            }
        }
    }

    /// Waits until something was acknowledged, or a moment.
    pub(super) async fn room(&self) {
        const A_MOMENT: Duration = Duration::from_millis(20);
        let freed = self.producer.context().shared.freed.notified();
        // The time is for what was freed just before.
        let _ = tokio::time::timeout(A_MOMENT, freed).await;
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
                return Ok(self.safe()?.or(reached));
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
    failed: Option<(String, KafkaError)>,
}

#[derive(Default)]
struct Group {
    pending: usize,
    /// The position that it reaches; none while it still grows.
    reaches: Option<Lsn>,
}

impl Deliveries {
    fn begin(&self) -> Result<usize> {
        let mut state = self.shared.state.lock();
        if let Some((topic, error)) = &state.failed {
            return Err(not_delivered(topic, error.clone()));
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
        }
        Ok(state.first + state.groups.len() - 1)
    }

    fn done(&self, group: usize, failed: Option<(String, KafkaError)>) {
        let mut state = self.shared.state.lock();
        state.failed = state.failed.take().or(failed);
        let at = group.wrapping_sub(state.first);
        if let Some(group) = state.groups.get_mut(at) {
            group.pending = group.pending.saturating_sub(1);
        }
        drop(state);
        self.shared.freed.notify_one();
    }

    fn reach(&self, position: Lsn) {
        let mut state = self.shared.state.lock();
        match state.groups.back_mut() {
            Some(group) if group.reaches.is_none() || group.pending == 0 => {
                group.reaches = Some(position)
            }
            _ => state.groups.push_back(Group {
                pending: 0,
                reaches: Some(position),
            }),
        }
    }

    fn safe(&self) -> Result<Option<Lsn>> {
        let mut state = self.shared.state.lock();
        if let Some((topic, error)) = &state.failed {
            return Err(not_delivered(topic, error.clone()));
        }
        let mut safe = None;
        while let Some(Group {
            pending: 0,
            reaches: Some(position),
        }) = state.groups.front()
        {
            safe = Some(*position);
            state.groups.pop_front();
            state.first += 1;
        }
        Ok(safe)
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, group: usize) {
        let failed = result
            .as_ref()
            .err()
            .map(|(error, message)| (message.topic().to_owned(), error.clone()));
        self.done(group, failed);
    }
}

/// The message itself stays out of the error: it holds personal data.
fn not_delivered(topic: &str, error: KafkaError) -> Error {
    let code = error.rdkafka_error_code();
    let (kind, hint) = match code {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => (
            ErrorKind::InvalidRequest,
            "Raise message.max.bytes of the brokers and max.message.bytes of the topic, or leave the large column out of the publication.",
        ),
        Some(
            RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed,
        ) => (
            ErrorKind::PermissionDenied,
            "Let this client write the topic.",
        ),
        Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => (
            ErrorKind::NotFound,
            "Create the topic, or set cdc.create_topics = true.",
        ),
        _ => (
            ErrorKind::Unavailable,
            "Check that the brokers at kafka.brokers are reachable.",
        ),
    };
    Error::new(
        kind,
        format!("could not deliver a change event to \"{topic}\""),
    )
    .hint(hint)
    .caused_by(error)
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn what_was_not_delivered_is_told() {
        let deliveries = Deliveries::default();
        let group = deliveries.begin().expect("ok");
        deliveries.reach(Lsn(10));
        let failure = KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut);
        deliveries.done(group, Some(("t".to_owned(), failure)));
        let error = deliveries.safe().expect_err("lost");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }
}
