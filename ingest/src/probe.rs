//! Whether a topic is still the one that a table was filled from: offsets alone do not tell one that was made again.

use std::time::{Duration, Instant};

use changes::{Envelope, KafkaConfig, Purpose, Topic};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message as _, Offset, TopicPartitionList};

/// Patience with the brokers; without an answer nothing is said.
const ANSWER: Duration = Duration::from_secs(3);

/// The last message of a partition that a table has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Last {
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    /// The newest time of a change that was read up to it, milliseconds since 1970.
    pub(crate) time_ms: i64,
}

/// The first of them where the topic has a change by now that was made after all that was read.
pub(crate) fn another(kafka: &KafkaConfig, topic: &Topic, read: &[Last]) -> Option<Last> {
    if read.is_empty() {
        return None;
    }
    let mut client = kafka.client(&Purpose::Consume);
    // Of each partition one message is wanted.
    client.set("queued.min.messages", "1");
    let consumer: BaseConsumer = client.create().ok()?;
    let mut list = TopicPartitionList::new();
    for last in read {
        let at = Offset::Offset(last.offset);
        list.add_partition_offset(topic.as_str(), last.partition, at)
            .ok()?;
    }
    consumer.assign(&list).ok()?;
    let mut waiting: Vec<Last> = read.to_vec();
    let began = Instant::now();
    while !waiting.is_empty() && began.elapsed() < ANSWER {
        let answered = match consumer.poll(ANSWER)? {
            Ok(message) => {
                let last = waiting
                    .iter()
                    .find(|last| last.partition == message.partition());
                // What stands at the offset was compacted away, or is a marker, where another one comes.
                let is_it = |last: &&Last| last.offset == message.offset();
                let later = last.filter(is_it).filter(|last| {
                    made_at(message.payload()).is_some_and(|made| made > last.time_ms)
                });
                if let Some(last) = later {
                    return Some(*last);
                }
                message.partition()
            }
            Err(KafkaError::PartitionEOF(partition)) => partition,
            Err(_) => return None,
        };
        waiting.retain(|last| last.partition != answered);
    }
    None
}

fn made_at(message: Option<&[u8]>) -> Option<i64> {
    Envelope::parse(message?).ok()?.source_ts_ms
}
