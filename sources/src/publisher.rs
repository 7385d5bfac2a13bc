use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use changes::{ChangeEvent, Error, ErrorKind, KafkaConfig, MAX_MESSAGE_BYTES, Op, Purpose, Result};
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ProducerContext, ThreadedProducer};
use tokio::sync::Notify;

use crate::topics::SourceTopic;

/// Messages sent and not yet acknowledged, at most.
const MAX_IN_FLIGHT: usize = 50_000;

/// Acknowledgements between two looks of whoever waits for them.
const TELL_EVERY: usize = 1024;

/// Writes change events: in order within a partition, and every one of them acknowledged or an error.
pub struct Publisher {
    producer: ThreadedProducer<Deliveries>,
    deliveries: Deliveries,
}

/// One message to send.
#[derive(Clone, Copy)]
pub(crate) struct Outgoing<'a> {
    pub(crate) key: &'a [u8],
    /// None for a tombstone.
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: Option<&'a OwnedHeaders>,
}

impl Publisher {
    pub fn connect(kafka: &KafkaConfig) -> Result<Self> {
        let deliveries = Deliveries::default();
        let producer = kafka
            .client(&Purpose::Produce)
            .create_with_context(deliveries.clone())
            .map_err(|error| {
                Error::invalid("could not set up a Kafka producer").caused_by(error)
            })?;
        Ok(Self {
            producer,
            deliveries,
        })
    }

    /// Publishes the events, each with the header when there is one; a delete is followed by its tombstone.
    ///
    /// Returns when the broker has acknowledged all of them. After an error, some may have been written.
    pub async fn publish(
        &self,
        topic: &SourceTopic,
        events: &[ChangeEvent],
        header: Option<(&str, &str)>,
    ) -> Result<()> {
        let headers = header.map(|(key, value)| headers(key, value));
        for event in events {
            let (key, value) = (event.key_bytes(), event.value_bytes(&topic.table));
            let message = Outgoing {
                key: &key,
                value: Some(&value),
                headers: headers.as_ref(),
            };
            self.send(topic, message).await?;
            if event.op == Op::Delete {
                let tombstone = Outgoing {
                    value: None,
                    ..message
                };
                self.send(topic, tombstone).await?;
            }
        }
        self.settled(topic).await
    }

    /// Hands a message over, which waits while too many are on their way.
    pub(crate) async fn send(&self, topic: &SourceTopic, message: Outgoing<'_>) -> Result<()> {
        if self.in_flight() >= MAX_IN_FLIGHT {
            self.deliveries.at_most(MAX_IN_FLIGHT / 2).await;
        }
        while !self.offer(topic, message)? {
            self.deliveries.at_most(self.in_flight() / 2).await;
        }
        Ok(())
    }

    /// Whether the client took the message; it does not while its queue is full.
    fn offer(&self, topic: &SourceTopic, message: Outgoing<'_>) -> Result<bool> {
        let mut record = BaseRecord::to(topic.topic.as_str()).key(message.key);
        if let Some(value) = message.value {
            record = record.payload(value);
        }
        if let Some(headers) = message.headers {
            record = record.headers(headers.clone());
        }
        let before = self.deliveries.0.in_flight.fetch_add(1, Ordering::AcqRel);
        let Err((error, _)) = self.producer.send(record) else {
            return Ok(true);
        };
        self.deliveries.0.in_flight.fetch_sub(1, Ordering::AcqRel);
        let is_full = KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) == error;
        if is_full && before > 0 {
            return Ok(false);
        }
        Err(not_delivered(topic.topic.as_str(), error))
    }

    /// Waits until every message is acknowledged; the first failure since the last call, if there was one.
    pub(crate) async fn settled(&self, topic: &SourceTopic) -> Result<()> {
        self.deliveries.at_most(0).await;
        self.failure(topic)
    }

    /// The first failure since the last call, if there was one.
    pub(crate) fn failure(&self, topic: &SourceTopic) -> Result<()> {
        match self.deliveries.0.failed.lock().take() {
            None => Ok(()),
            Some(error) => Err(not_delivered(topic.topic.as_str(), error)),
        }
    }

    /// Messages that the broker acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.deliveries.0.acknowledged.load(Ordering::Relaxed)
    }

    /// Messages handed over and not acknowledged.
    pub(crate) fn in_flight(&self) -> usize {
        self.deliveries.0.in_flight.load(Ordering::Acquire)
    }
}

pub(crate) fn headers(key: &str, value: &str) -> OwnedHeaders {
    let value = Some(value);
    OwnedHeaders::new().insert(Header { key, value })
}

/// What the broker answered.
#[derive(Clone, Default)]
struct Deliveries(Arc<Answers>);

#[derive(Default)]
struct Answers {
    in_flight: AtomicUsize,
    acknowledged: AtomicU64,
    failed: Mutex<Option<KafkaError>>,
    fewer: Notify,
}

impl Deliveries {
    /// Waits until no more than so many messages are in flight, or a few fewer.
    async fn at_most(&self, count: usize) {
        loop {
            let fewer = self.0.fewer.notified();
            tokio::pin!(fewer);
            fewer.as_mut().enable();
            if self.0.in_flight.load(Ordering::Acquire) <= count {
                return;
            }
            fewer.await;
        }
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => {
                self.0.acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            // The message itself stays out of the error: it holds personal data.
            Err((error, _message)) => {
                self.0.failed.lock().get_or_insert_with(|| error.clone());
            }
        }
        let left = self.0.in_flight.fetch_sub(1, Ordering::AcqRel) - 1;
        if left.is_multiple_of(TELL_EVERY) {
            self.0.fewer.notify_waiters();
        }
    }
}

/// A change that is larger than a message of ours may be, whatever the brokers take.
pub(crate) fn too_large(topic: &str, bytes: usize) -> Error {
    Error::invalid(format!(
        "a change for \"{topic}\" has {bytes} bytes as a message, and one may have {MAX_MESSAGE_BYTES}"
    ))
    .hint(
        "The log keeps the row as it was at the change: publish fewer columns of its table (ALTER PUBLICATION .. SET TABLE \
         t (column, ..)) or make the row smaller, then run sportlake cdc --new-generation.",
    )
}

/// A change that is larger than the brokers take.
pub(crate) fn too_large_for_brokers(topic: &str, bytes: usize, error: KafkaError) -> Error {
    Error::invalid(format!(
        "the brokers take no message of {bytes} bytes into \"{topic}\""
    ))
    .hint("Raise max.message.bytes of the topic, or message.max.bytes of the brokers, above that, and start again.")
    .caused_by(error)
}

/// The message itself stays out of the error: it holds personal data.
pub(crate) fn not_delivered(topic: &str, error: KafkaError) -> Error {
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
            "Create the topic: sportlake topics create, or cdc.create_topics = true for those of the capture.",
        ),
        Some(RDKafkaErrorCode::InvalidRecord) => (
            ErrorKind::InvalidRequest,
            "The brokers take no such message: look at the topic's message.timestamp.before.max.ms and message.timestamp.after.max.ms, and at the brokers' log.",
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
