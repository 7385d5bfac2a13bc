//! The same topics on another cluster: offsets of one say nothing about the other.

use engine::ErrorKind;
use ingest::{IngestConfig, Start};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use changes::{KafkaConfig, Purpose};

use crate::support::{Broker, Ingest, TestLake, envelope, in_time, offsets, quick, rows};

const TOPIC: &str = "sportsdata.public.employees";

/// Brokers with an id that is not the embedded broker's.
struct Elsewhere {
    cluster: MockCluster<'static, DefaultProducerContext>,
    kafka: KafkaConfig,
}

impl Elsewhere {
    fn start() -> Self {
        let cluster = MockCluster::new(1).expect("brokers");
        let kafka = KafkaConfig::default().with_brokers(cluster.bootstrap_servers());
        Self { cluster, kafka }
    }

    fn send_rows(&self, ids: std::ops::Range<i64>) {
        let producer: ThreadedProducer<DefaultProducerContext> = self
            .kafka
            .client(&Purpose::Produce)
            .create()
            .expect("a producer");
        for id in ids {
            let value = envelope(id);
            let record = BaseRecord::<[u8], [u8]>::to(TOPIC).partition(0);
            producer.send(record.payload(&value)).expect("taken");
        }
        producer
            .flush(std::time::Duration::from_secs(60))
            .expect("acknowledged");
    }
}

fn again() -> IngestConfig {
    IngestConfig {
        from_earliest: vec![TOPIC.to_owned()],
        ..quick()
    }
}

/// Ten rows of the embedded broker, in the last of so many partitions.
async fn ten_of_the_embedded_broker(lake: &TestLake, partitions: i32) {
    let broker = Broker::start(&lake.broker_path()).await;
    broker.create(TOPIC, partitions).await;
    broker.send_rows(TOPIC, partitions - 1, 0..10).await;
    let ingest = Ingest::start(&broker.kafka, lake, quick()).await;
    ingest.until("employees", 10).await;
    ingest.stop().await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_of_another_cluster_skip_nothing() {
    let lake = TestLake::new();
    ten_of_the_embedded_broker(&lake, 1).await;

    let company = Elsewhere::start();
    company.cluster.create_topic(TOPIC, 1, 1).expect("a topic");
    // The stored offset lies within this topic too.
    company.send_rows(100..125);
    let ingest = Ingest::start(&company.kafka, &lake, quick()).await;
    let error = ingest.ended().await.expect_err("another cluster's");
    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
    let hint = error.hint_text().expect("a hint");
    assert!(
        hint.contains(&format!("sportlake ingest --from-earliest {TOPIC}")),
        "{hint}"
    );

    let ingest = Ingest::start(&company.kafka, &lake, again()).await;
    ingest.until("employees", 10 + 25).await;
    ingest.stop().await;
    company.send_rows(125..130);
    // Told once is enough, and told again changes nothing.
    for config in [again(), quick()] {
        let ingest = Ingest::start(&company.kafka, &lake, config).await;
        ingest.until("employees", 10 + 30).await;
        ingest.stop().await;
    }
    assert_eq!(rows(&lake.path(), "employees").len(), 40);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_of_fewer_partitions_wins_over_all_of_those_before() {
    let lake = TestLake::new();
    ten_of_the_embedded_broker(&lake, 4).await;

    let company = Elsewhere::start();
    company.cluster.create_topic(TOPIC, 1, 1).expect("a topic");
    company.send_rows(0..5);
    let ingest = Ingest::start(&company.kafka, &lake, again()).await;
    ingest.until("employees", 15).await;
    ingest.stop().await;
    let found = rows(&lake.path(), "employees");
    let of_partition = |partition| {
        let rows = found.iter().filter(move |row| row.partition == partition);
        rows.filter_map(|row| row.generation).collect::<Vec<_>>()
    };
    assert_eq!(of_partition(3), [0; 10]);
    assert_eq!(of_partition(0), [1; 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_may_begin_with_what_comes() {
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    broker.create(TOPIC, 2).await;
    broker.send_rows(TOPIC, 0, 0..10).await;
    let from_now = || IngestConfig {
        start: Start::Latest,
        ..quick()
    };
    let ingest = Ingest::start(&broker.kafka, &lake, from_now()).await;
    // Both partitions have begun, the empty one too, before anything is read.
    in_time("offsets", async {
        while !lake.path().join("bronze/employees").exists()
            || offsets(&lake.path(), "employees").len() < 2
        {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    })
    .await;
    ingest.stop().await;

    broker.send_rows(TOPIC, 0, 10..13).await;
    broker.send_rows(TOPIC, 1, 20..22).await;
    let ingest = Ingest::start(&broker.kafka, &lake, from_now()).await;
    ingest.until("employees", 5).await;
    broker.grow(TOPIC, 3).await;
    let broker = broker.restart().await;
    broker.send_rows(TOPIC, 2, 30..34).await;
    ingest.until("employees", 9).await;
    let later = "sportsdata.public.declared_sports";
    broker.create(later, 1).await;
    broker.send_rows(later, 0, 0..3).await;
    ingest.until("declared_sports", 3).await;
    ingest.stop().await;
    let mut found: Vec<(i64, i64)> = rows(&lake.path(), "employees")
        .iter()
        .map(|row| (row.partition, row.offset))
        .collect();
    found.sort_unstable();
    let expected = [
        (0, 10),
        (0, 11),
        (0, 12),
        (1, 0),
        (1, 1),
        (2, 0),
        (2, 1),
        (2, 2),
        (2, 3),
    ];
    assert_eq!(found, expected);
    broker.stop().await;
}
