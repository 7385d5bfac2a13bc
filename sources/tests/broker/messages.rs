use std::time::Duration;

use changes::Purpose;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, FutureProducer, FutureRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::TestResult;
use crate::clients::{self, PATIENCE};
use crate::node::Node;

#[tokio::test(flavor = "multi_thread")]
async fn messages_come_back_as_they_were_sent() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    clients::create_topic(&node.address, "kinds", 1).await;
    let producer = clients::producer(&node.address);
    let headers = || {
        OwnedHeaders::new()
            .insert(Header {
                key: "a",
                value: Some("1"),
            })
            .insert(Header {
                key: "a",
                value: None::<&str>,
            })
    };
    let full = FutureRecord::to("kinds")
        .key("key")
        .payload("value")
        .headers(headers())
        .timestamp(42);
    producer
        .send(full, PATIENCE)
        .await
        .map_err(|(error, _)| error)?;
    let tombstone: FutureRecord<'_, str, str> = FutureRecord::to("kinds").key("key");
    producer
        .send(tombstone, PATIENCE)
        .await
        .map_err(|(error, _)| error)?;
    let empty: FutureRecord<'_, str, str> = FutureRecord::to("kinds").payload("");
    producer
        .send(empty, PATIENCE)
        .await
        .map_err(|(error, _)| error)?;

    let read = clients::read_all(&node.address, "kinds", 1).await;
    assert_eq!(read.len(), 3);
    assert_eq!(
        (read[0].key(), read[0].payload()),
        (Some(&b"key"[..]), Some(&b"value"[..]))
    );
    assert_eq!(read[0].timestamp().to_millis(), Some(42));
    let kept = read[0].headers().expect("headers");
    assert_eq!(kept.count(), 2);
    assert_eq!(kept.get(0).value, Some(&b"1"[..]));
    assert_eq!((kept.get(1).key, kept.get(1).value), ("a", None));
    assert_eq!(
        (read[1].key(), read[1].payload()),
        (Some(&b"key"[..]), None)
    );
    assert_eq!((read[2].key(), read[2].payload()), (None, Some(&b""[..])));
    node.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_partition_keeps_its_order_and_is_read_from_any_offset() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    clients::create_topic(&node.address, "ordered", 3).await;
    let producer = clients::producer(&node.address);
    let mut deliveries = Vec::new();
    for number in 0..3000_i32 {
        let value = number.to_string();
        let record: FutureRecord<'_, str, str> = FutureRecord::to("ordered")
            .partition(number % 3)
            .payload(&value);
        deliveries.push(producer.send_result(record).map_err(|(error, _)| error)?);
    }
    for (number, delivery) in deliveries.into_iter().enumerate() {
        let delivery = delivery.await?.map_err(|(error, _)| error)?;
        assert_eq!(delivery.offset, number as i64 / 3);
    }
    for message in clients::read_all(&node.address, "ordered", 3).await {
        let number = message.offset() * 3 + i64::from(message.partition());
        assert_eq!(message.payload(), Some(number.to_string().as_bytes()));
    }
    let consumer = clients::reader(&node.address, "ordered", 1, Offset::Offset(617));
    let message = clients::next(&consumer).await;
    assert_eq!(
        (message.offset(), message.payload()),
        (617, Some(&b"1851"[..]))
    );

    let beyond = clients::reader(&node.address, "ordered", 1, Offset::Offset(1001));
    let error = loop {
        match tokio::time::timeout(PATIENCE, beyond.recv()).await? {
            Ok(message) => unreachable!("read offset {}", message.offset()),
            Err(KafkaError::PartitionEOF(_)) => {}
            Err(error) => break error,
        }
    };
    assert_eq!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::AutoOffsetReset)
    );
    node.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_megabytes_pass_between_small_messages() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    clients::create_topic(&node.address, "large", 1).await;
    let producer = clients::producer(&node.address);
    let large = "x".repeat(10_000_000);
    for value in ["before", &large, "after"] {
        clients::send(&producer, "large", 0, value).await;
    }
    // Also by a client that asks for less than the message has.
    let consumer: StreamConsumer = clients::settings(&node.address, &Purpose::Consume)
        .set("fetch.message.max.bytes", "1000")
        .create()?;
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset("large", 0, Offset::Beginning)?;
    consumer.assign(&assignment)?;
    for expected in ["before", &large, "after"] {
        let message = clients::next(&consumer).await;
        assert!(
            message.payload() == Some(expected.as_bytes()),
            "{}",
            message.offset()
        );
    }
    let huge = "x".repeat(16_700_000);
    let record: FutureRecord<'_, str, str> = FutureRecord::to("large").payload(&huge);
    assert!(producer.send(record, PATIENCE).await.is_ok());
    node.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_batches_and_all_acknowledgements_pass() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    clients::create_topic(&node.address, "codecs", 1).await;
    let choices = [
        ("none", "0"),
        ("gzip", "1"),
        ("snappy", "all"),
        ("lz4", "all"),
        ("zstd", "all"),
    ];
    for (codec, acks) in choices {
        let producer: FutureProducer = clients::settings(&node.address, &Purpose::Produce)
            .set("enable.idempotence", "false")
            .set("acks", acks)
            .set("compression.codec", codec)
            .create()?;
        let value = codec.repeat(1000);
        let record: FutureRecord<'_, str, str> = FutureRecord::to("codecs").payload(&value);
        producer
            .send(record, PATIENCE)
            .await
            .map_err(|(error, _)| error)?;
    }
    let consumer = clients::reader(&node.address, "codecs", 1, Offset::Beginning);
    for (codec, _) in choices {
        let message = clients::next(&consumer).await;
        assert_eq!(message.payload(), Some(codec.repeat(1000).as_bytes()));
    }
    node.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_found_by_time() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    clients::create_topic(&node.address, "timed", 1).await;
    let producer = clients::producer(&node.address);
    let deliveries: Vec<_> = (0..100_i64)
        .map(|number| {
            let record: FutureRecord<'_, str, str> = FutureRecord::to("timed")
                .payload("x")
                .timestamp(1000 + number * 10);
            producer.send_result(record).expect("queued")
        })
        .collect();
    for delivery in deliveries {
        delivery.await?.map_err(|(error, _)| error)?;
    }
    let consumer: StreamConsumer = clients::settings(&node.address, &Purpose::Consume).create()?;
    for (timestamp, expected) in [
        (0, Offset::Offset(0)),
        (1495, Offset::Offset(50)),
        (1990, Offset::Offset(99)),
        (1991, Offset::End),
    ] {
        let mut times = TopicPartitionList::new();
        times.add_partition_offset("timed", 0, Offset::Offset(timestamp))?;
        let found = consumer.offsets_for_times(times, PATIENCE)?;
        assert_eq!(found.elements()[0].offset(), expected, "at {timestamp}");
    }
    assert_eq!(consumer.fetch_watermarks("timed", 0, PATIENCE)?, (0, 100));
    node.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_and_unknown_topics_are_refused() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    let transactional: BaseProducer = clients::settings(&node.address, &Purpose::Produce)
        .set("transactional.id", "payroll")
        .create()?;
    let refused = transactional
        .init_transactions(PATIENCE)
        .expect_err("refused");
    assert_eq!(
        refused.rdkafka_error_code(),
        Some(RDKafkaErrorCode::TransactionalIdAuthorizationFailed)
    );
    let producer: FutureProducer = clients::settings(&node.address, &Purpose::Produce)
        .set("topic.metadata.propagation.max.ms", "100")
        .set("message.timeout.ms", "2000")
        .create()?;
    let record: FutureRecord<'_, str, str> = FutureRecord::to("missing").payload("x");
    let (error, _) = producer
        .send(record, Duration::from_secs(5))
        .await
        .expect_err("refused");
    let code = error.rdkafka_error_code();
    assert!(
        matches!(
            code,
            Some(
                RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::MessageTimedOut
            )
        ),
        "{code:?}"
    );
    node.stop().await;
    Ok(())
}
