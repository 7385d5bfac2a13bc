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
                Err((error, _)) => return Err(not_delivered(topic, error)),
            }
        }
    }
}

async fn acknowledged(topic: &SourceTopic, delivery: DeliveryFuture) -> Result<()> {
    match delivery.await {
        Ok(Ok(_)) => Ok(()),
        // The message itself stays out of the error: it holds personal data.
        Ok(Err((error, _message))) => Err(not_delivered(topic, error)),
        Err(_) => Err(not_delivered(topic, KafkaError::Canceled)),
    }
}

fn not_delivered(topic: &SourceTopic, error: KafkaError) -> Error {
    let message = format!("could not deliver a change event to \"{}\"", topic.topic);
    Error::new(ErrorKind::Unavailable, message)
        .hint("Check that the brokers at kafka.brokers are reachable.")
        .caused_by(error)
}
