//! librdkafka clients with the project's own settings.

use std::time::Duration;

use changes::{KafkaConfig, Purpose};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::message::{BorrowedMessage, OwnedMessage};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn settings(address: &str, purpose: &Purpose) -> ClientConfig {
    KafkaConfig::default().with_brokers(address).client(purpose)
}

pub(crate) fn admin(address: &str) -> AdminClient<DefaultClientContext> {
    settings(address, &Purpose::Administer)
        .create()
        .expect("an admin client")
}

pub(crate) fn producer(address: &str) -> FutureProducer {
    settings(address, &Purpose::Produce)
        .create()
        .expect("a producer")
}

/// Reads from `offset` on in each of the partitions.
pub(crate) fn reader(
    address: &str,
    topic: &str,
    partitions: i32,
    offset: Offset,
) -> StreamConsumer {
    let consumer: StreamConsumer = settings(address, &Purpose::Consume)
        .create()
        .expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment
            .add_partition_offset(topic, partition, offset)
            .expect("an offset");
    }
    consumer.assign(&assignment).expect("assigned");
    consumer
}

/// Reads as a member of a group.
pub(crate) fn member(address: &str, group: &str, topic: &str) -> StreamConsumer {
    let consumer: StreamConsumer = settings(address, &Purpose::Consume)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        .set("enable.partition.eof", "false")
        .set("session.timeout.ms", "6000")
        .set("heartbeat.interval.ms", "200")
        .create()
        .expect("a consumer");
    consumer.subscribe(&[topic]).expect("subscribed");
    consumer
}

pub(crate) async fn create_topic(address: &str, topic: &str, partitions: i32) {
    let admin = admin(address);
    let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
    let created = admin
        .create_topics([&new], &AdminOptions::new())
        .await
        .expect("an answer");
    assert_eq!(created, [Ok(topic.to_owned())]);
}

/// Produces one message and returns its offset.
pub(crate) async fn send(
    producer: &FutureProducer,
    topic: &str,
    partition: i32,
    value: &str,
) -> i64 {
    let record: FutureRecord<'_, str, str> =
        FutureRecord::to(topic).partition(partition).payload(value);
    let delivery = producer.send(record, PATIENCE).await.expect("delivered");
    assert_eq!(delivery.partition, partition);
    delivery.offset
}

pub(crate) async fn next(consumer: &StreamConsumer) -> OwnedMessage {
    take(consumer).await.detach()
}

pub(crate) async fn take(consumer: &StreamConsumer) -> BorrowedMessage<'_> {
    loop {
        let message = tokio::time::timeout(PATIENCE, consumer.recv())
            .await
            .expect("in time");
        match message {
            Ok(message) => return message,
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => {}
            Err(error) => unreachable!("not consumed: {error}"),
        }
    }
}

/// Everything in the topic, until each partition's end was reached.
pub(crate) async fn read_all(address: &str, topic: &str, partitions: i32) -> Vec<OwnedMessage> {
    let consumer = reader(address, topic, partitions, Offset::Beginning);
    let mut messages = Vec::new();
    let mut ended = 0;
    while ended < partitions {
        match tokio::time::timeout(PATIENCE, consumer.recv())
            .await
            .expect("in time")
        {
            Ok(message) => messages.push(message.detach()),
            Err(rdkafka::error::KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => unreachable!("not consumed: {error}"),
        }
    }
    messages
}
