//! A real Kafka, and what it has that the embedded broker has not: transactions, compaction, a controller.

use std::time::Duration;

use changes::{KafkaConfig, Purpose, Secret, Security};
use engine::ErrorKind;
use ingest::IngestConfig;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};

use crate::java::{RealKafka, jars};
use crate::secured::Secured;
use crate::support::{Ingest, TestLake, envelope, offsets, quick, rows};

const PATIENCE: Duration = Duration::from_secs(60);
const FIRST: &str = "sportsdata.public.first";

async fn create(kafka: &KafkaConfig, name: &str, partitions: i32, settings: &[(&str, &str)]) {
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let topic = settings
        .iter()
        .fold(topic, |topic, (key, value)| topic.set(key, value));
    let created = admin(kafka)
        .create_topics([&topic], &AdminOptions::new())
        .await;
    for topic in created.expect("an answer") {
        topic.expect("created");
    }
}

fn admin(kafka: &KafkaConfig) -> AdminClient<DefaultClientContext> {
    kafka
        .client(&Purpose::Administer)
        .create()
        .expect("a client")
}

/// Sends envelopes of the rows, keyed by their id modulo `keys`, and waits until they are acknowledged.
fn send(kafka: &KafkaConfig, topic: &str, partition: i32, ids: std::ops::Range<i64>, keys: i64) {
    let producer: BaseProducer = kafka
        .client(&Purpose::Produce)
        .create()
        .expect("a producer");
    hand_over(&producer, topic, partition, ids, keys);
    producer.flush(PATIENCE).expect("acknowledged");
}

fn hand_over(
    producer: &BaseProducer,
    topic: &str,
    partition: i32,
    ids: std::ops::Range<i64>,
    keys: i64,
) {
    for id in ids {
        let (key, value) = ((id % keys).to_string(), envelope(id));
        let record = BaseRecord::to(topic)
            .partition(partition)
            .key(&key)
            .payload(&value);
        producer.send(record).expect("a queue");
    }
}

fn coordinates(lake: &TestLake, table: &str) -> Vec<(i64, i64)> {
    let rows = rows(&lake.path(), table);
    rows.iter().map(|row| (row.partition, row.offset)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_topics_and_the_broker_itself_come_and_go() {
    let Some(jars) = jars() else { return };
    let lake = TestLake::new();
    let folder = tempfile::tempdir().expect("a folder");
    let mut broker = RealKafka::start(&jars, folder.path()).await;
    let kafka = broker.config.clone();
    create(&kafka, FIRST, 1, &[]).await;
    send(&kafka, FIRST, 0, 0..3, 10);
    let ingest = Ingest::start(&kafka, &lake, quick()).await;
    ingest.until("first", 3).await;

    let more = [NewPartitions::new(FIRST, 3)];
    let grown = admin(&kafka)
        .create_partitions(&more, &AdminOptions::new())
        .await;
    assert!(grown.expect("an answer").iter().all(Result::is_ok));
    create(&kafka, "sportsdata.public.second", 2, &[]).await;
    send(&kafka, FIRST, 2, 3..5, 10);
    send(&kafka, "sportsdata.public.second", 1, 0..4, 10);
    ingest.until("first", 5).await;
    ingest.until("second", 4).await;

    broker.crash().await;
    send(&kafka, FIRST, 1, 5..9, 10);
    send(&kafka, FIRST, 0, 9..11, 10);
    ingest.until("first", 11).await;
    ingest.stop().await;
    let expected = [
        (0, 0),
        (0, 1),
        (0, 2),
        (0, 3),
        (0, 4),
        (1, 0),
        (1, 1),
        (1, 2),
        (1, 3),
        (2, 0),
        (2, 1),
    ];
    assert_eq!(coordinates(&lake, "first"), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn aborted_messages_and_holes_are_passed_over() {
    let Some(jars) = jars() else { return };
    let lake = TestLake::new();
    let folder = tempfile::tempdir().expect("a folder");
    let broker = RealKafka::start(&jars, folder.path()).await;
    let kafka = broker.config.clone();
    // Settings that make the cleaner come at once.
    let compacted = [
        ("cleanup.policy", "compact"),
        ("segment.ms", "100"),
        ("min.cleanable.dirty.ratio", "0.01"),
        ("max.compaction.lag.ms", "100"),
    ];
    create(&kafka, "sportsdata.public.kept", 1, &compacted).await;
    create(&kafka, "sportsdata.public.paid", 1, &[]).await;
    let kept = until_compacted(&kafka, "sportsdata.public.kept").await;
    let (sent, found) = (kept.len(), kept.clone());
    assert!(
        found.windows(2).any(|pair| pair[1] > pair[0] + 1),
        "no holes: {found:?}"
    );
    let ingest = Ingest::start(&kafka, &lake, quick()).await;
    ingest.until("kept", sent).await;

    let mut settings = kafka.client(&Purpose::Produce);
    settings.set("transactional.id", "payments");
    let config = kafka.clone();
    let paying = tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = settings.create().expect("a producer");
        producer.init_transactions(PATIENCE).expect("known");
        for (ids, commits) in [(0..3, false), (3..5, true), (5..9, false), (9..10, true)] {
            producer.begin_transaction().expect("begun");
            hand_over(&producer, "sportsdata.public.paid", 0, ids, 10);
            producer.flush(PATIENCE).expect("acknowledged");
            match commits {
                true => producer.commit_transaction(PATIENCE).expect("committed"),
                false => producer.abort_transaction(PATIENCE).expect("aborted"),
            }
        }
        end_of(&config, "sportsdata.public.paid")
    });
    let end = paying.await.expect("paid");
    ingest.until("paid", 3).await;
    // The marker of the last commit is passed over as well, once its end is seen.
    crate::support::in_time("the end", async {
        while offsets(&lake.path(), "paid").into_values().max() < Some(end - 1) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    ingest.stop().await;
    // 3 aborted and a marker, 2 committed and a marker, 4 aborted and a marker, 1 committed.
    assert_eq!(coordinates(&lake, "paid"), [(0, 4), (0, 5), (0, 12)]);
    let again = Ingest::start(&kafka, &lake, quick()).await;
    send(&kafka, "sportsdata.public.paid", 0, 10..11, 10);
    send(&kafka, "sportsdata.public.kept", 0, 900..901, 10_000);
    again.until("paid", 4).await;
    again.until("kept", sent + 1).await;
    again.stop().await;
}

fn end_of(kafka: &KafkaConfig, topic: &str) -> i64 {
    let consumer: BaseConsumer = kafka
        .client(&Purpose::Consume)
        .create()
        .expect("a consumer");
    consumer
        .fetch_watermarks(topic, 0, PATIENCE)
        .expect("an answer")
        .1
}

/// The offsets that are left of many messages of few keys.
async fn until_compacted(kafka: &KafkaConfig, topic: &'static str) -> Vec<i64> {
    let (kafka, config) = (kafka.clone(), kafka.clone());
    let compacting = tokio::task::spawn_blocking(move || {
        let began = std::time::Instant::now();
        // These keys come once, and stay.
        send(&kafka, topic, 0, 1000..1003, 10_000);
        let mut sent = 0;
        loop {
            send(&kafka, topic, 0, sent..sent + 20, 7);
            sent += 20;
            std::thread::sleep(Duration::from_millis(500));
            let left = offsets_of(&kafka, topic);
            if left.len() < usize::try_from(sent).expect("a count") {
                return left.len();
            }
            assert!(began.elapsed() < PATIENCE * 2, "it is not compacted");
        }
    });
    compacting.await.expect("compacted");
    // The cleaner comes no more, so that what is left stays.
    let stopped = AlterConfig::new(ResourceSpecifier::Topic(topic)).set("cleanup.policy", "delete");
    let altered = admin(&config)
        .alter_configs([&stopped], &AdminOptions::new())
        .await;
    assert!(altered.expect("an answer").iter().all(Result::is_ok));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let reading = tokio::task::spawn_blocking(move || offsets_of(&config, topic));
    reading.await.expect("read")
}

fn offsets_of(kafka: &KafkaConfig, topic: &str) -> Vec<i64> {
    use rdkafka::Message as _;
    let consumer: BaseConsumer = kafka
        .client(&Purpose::Consume)
        .create()
        .expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    assignment
        .add_partition_offset(topic, 0, Offset::Beginning)
        .expect("added");
    consumer.assign(&assignment).expect("assigned");
    let mut found = Vec::new();
    while let Ok(message) = consumer.poll(PATIENCE).expect("it answers") {
        found.push(message.offset());
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_let_in_is_told_and_who_is_reads() {
    let Some(jars) = jars() else { return };
    let lake = TestLake::new();
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Secured::start(&jars, folder.path()).await;
    let scram = broker.signed_in(Security::SaslSsl, changes::Mechanism::ScramSha256);
    create(&scram, FIRST, 1, &[]).await;
    send(&scram, FIRST, 0, 0..3, 10);
    let wrong = KafkaConfig {
        password: Secret::new("let me guess"),
        ..scram.clone()
    };
    let error = Ingest::start(&wrong, &lake, IngestConfig::default())
        .await
        .ended()
        .await;
    let error = error.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Unauthenticated);
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("kafka.username")),
        "{error:?}"
    );
    assert!(!format!("{error:?}").contains("guess"));
    let ingest = Ingest::start(&scram, &lake, quick()).await;
    ingest.until("first", 3).await;
    ingest.stop().await;
}
