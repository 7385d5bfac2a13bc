use std::collections::VecDeque;

use changes::{ChangeEvent, Error, ErrorKind, KafkaConfig, Op, Purpose, Result};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::future_producer::DeliveryFuture;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::topics::SourceTopic;

/// Messages sent and not yet acknowledged, at most.
const MAX_IN_FLIGHT: usize = 1000;

/// Writes change events: in order within a partition, and every one of them acknowledged or an error.
pub struct Publisher {
    producer: FutureProducer,
}

impl Publisher {
    pub fn connect(kafka: &KafkaConfig) -> Result<Self> {
        let producer = kafka.client(&Purpose::Produce).create().map_err(|error| {
            Error::invalid("could not set up a Kafka producer").caused_by(error)
        })?;
        Ok(Self { producer })
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
        let mut pending = VecDeque::new();
        for event in events {
            let key = event.key_bytes();
            let value = event.value_bytes(&topic.table);
            self.send(topic, &key, Some(&value), header, &mut pending)
                .await?;
            if event.op == Op::Delete {
                self.send(topic, &key, None, header, &mut pending).await?;
            }
        }
        while let Some(delivery) = pending.pop_front() {
            acknowledged(topic, delivery).await?;
        }
        Ok(())
    }

    async fn send(
        &self,
        topic: &SourceTopic,
        key: &[u8],
        value: Option<&[u8]>,
        header: Option<(&str, &str)>,
        pending: &mut VecDeque<DeliveryFuture>,
    ) -> Result<()> {
        if pending.len() >= MAX_IN_FLIGHT
            && let Some(oldest) = pending.pop_front()
        {
            acknowledged(topic, oldest).await?;
        }
        let mut record = FutureRecord::to(topic.topic.as_str()).key(key);
        if let Some(value) = value {
            record = record.payload(value);
        }
        if let Some((key, value)) = header {
            let value = Some(value);
            record = record.headers(OwnedHeaders::new().insert(Header { key, value }));
        }
        loop {
            match self.producer.send_result(record) {
                Ok(delivery) => {
                    pending.push_back(delivery);
                    return Ok(());
                }
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back))
                    if !pending.is_empty() =>
                {
                    record = back;
                    if let Some(oldest) = pending.pop_front() {
                        acknowledged(topic, oldest).await?;
                    }
                }
                Err((error, _)) => return Err(not_delivered(topic.topic.as_str(), error)),
            }
        }
    }
}

async fn acknowledged(topic: &SourceTopic, delivery: DeliveryFuture) -> Result<()> {
    match delivery.await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err((error, _message))) => Err(not_delivered(topic.topic.as_str(), error)),
        Err(_) => Err(not_delivered(topic.topic.as_str(), KafkaError::Canceled)),
    }
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
            "A compacted topic takes no message without a key, as that of a TRUNCATE: leave its cleanup.policy at delete, or set publish = 'insert, update, delete' for the publication.",
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
