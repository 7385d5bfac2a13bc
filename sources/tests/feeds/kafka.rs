use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use changes::{Clock, KafkaConfig, Purpose};
use rdkafka::Message as _;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset;
use serde_json::Value;
use sources::broker::{Broker, BrokerConfig};
use sources::topics::{Override, TopicsConfig};
use sources::{LsnAllocator, topics};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A broker with the sources' topics, and what the sources need beside it.
pub(crate) struct Kafka {
    pub(crate) config: KafkaConfig,
    pub(crate) allocator: LsnAllocator,
    shutdown: CancellationToken,
    broker: JoinHandle<()>,
}

impl Kafka {
    pub(crate) async fn start(directory: &Path) -> Self {
        let broker = BrokerConfig {
            path: directory.join("broker"),
            ..BrokerConfig::default()
        };
        let broker = Broker::open(broker, clock()).expect("the directory opens");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        let broker = tokio::spawn(async move {
            broker.serve(listener, stop).await.expect("it serves");
        });
        let config = KafkaConfig::default().with_brokers(address.to_string());
        topics::ensure(&config, &TopicsConfig::default())
            .await
            .expect("topics");
        let allocator = LsnAllocator::open(&directory.join("lsn")).expect("opens");
        Self {
            config,
            allocator,
            shutdown,
            broker,
        }
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.broker.await.expect("it ends");
    }

    /// Every message of the table's topic.
    pub(crate) async fn messages(&self, table: &str) -> Vec<Message> {
        let raw = self.raw_messages(table).await;
        raw.into_iter().map(Message::from).collect()
    }

    /// The same, whatever it is.
    pub(crate) async fn raw_messages(&self, table: &str) -> Vec<RawMessage> {
        let config = self.config.clone();
        let topic = format!("{}.public.{table}", config.prefix);
        tokio::task::spawn_blocking(move || read(&config, &topic))
            .await
            .expect("read")
    }
}

/// The clock of these tests stands still.
pub(crate) fn clock() -> Clock {
    let now = chrono::DateTime::from_timestamp(1_795_540_000, 0).expect("a time");
    Arc::new(move || now)
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RawMessage {
    pub(crate) partition: i32,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
}

#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) partition: i32,
    pub(crate) key: Value,
    /// `Null` for a tombstone.
    pub(crate) value: Value,
}

impl From<RawMessage> for Message {
    fn from(raw: RawMessage) -> Self {
        Self {
            partition: raw.partition,
            key: json(raw.key.as_deref()),
            value: json(raw.value.as_deref()),
        }
    }
}

impl Message {
    pub(crate) fn op(&self) -> &str {
        self.value["op"].as_str().unwrap_or("tombstone")
    }

    pub(crate) fn id(&self) -> i64 {
        self.key["id"].as_i64().expect("an id")
    }

    pub(crate) fn lsn(&self) -> Option<i64> {
        self.value["source"]["lsn"].as_i64()
    }
}

fn read(config: &KafkaConfig, topic: &str) -> Vec<RawMessage> {
    let consumer: BaseConsumer = config
        .client(&Purpose::Consume)
        .create()
        .expect("a consumer");
    let metadata = consumer
        .fetch_metadata(Some(topic), Duration::from_secs(10))
        .expect("metadata");
    let partitions: Vec<i32> = metadata.topics()[0]
        .partitions()
        .iter()
        .map(|p| p.id())
        .collect();
    let mut assignment = TopicPartitionList::new();
    for partition in &partitions {
        assignment
            .add_partition_offset(topic, *partition, Offset::Beginning)
            .expect("added");
    }
    consumer.assign(&assignment).expect("assigned");
    let mut ended = 0;
    let mut messages = Vec::new();
    while ended < partitions.len() {
        match consumer
            .poll(Duration::from_secs(10))
            .expect("the broker answers")
        {
            Ok(message) => messages.push(RawMessage {
                partition: message.partition(),
                key: message.key().map(<[u8]>::to_vec),
                value: message.payload().map(<[u8]>::to_vec),
            }),
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => unreachable!("{error}"),
        }
    }
    messages
}

fn json(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Null, |bytes| {
        serde_json::from_slice(bytes).expect("JSON")
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_created_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let kafka = Kafka::start(directory.path()).await;
    topics::ensure(&kafka.config, &TopicsConfig::default())
        .await
        .expect("again");
    let activities = topics::SourceTopic::sport_activities(&kafka.config).expect("a topic");
    assert_eq!(
        activities.topic.as_str(),
        "sportsdata.public.sport_activities"
    );
    let consumer: BaseConsumer = kafka
        .config
        .client(&Purpose::Consume)
        .create()
        .expect("a consumer");
    let metadata = tokio::task::spawn_blocking(move || {
        consumer
            .fetch_metadata(None, Duration::from_secs(10))
            .expect("metadata")
    });
    let metadata = metadata.await.expect("fetched");
    let mut found: Vec<(&str, usize)> = metadata
        .topics()
        .iter()
        .map(|topic| (topic.name(), topic.partitions().len()))
        .collect();
    found.sort_unstable();
    let expected = [
        ("sportsdata.public.commute_distances", 1),
        ("sportsdata.public.declared_sports", 1),
        ("sportsdata.public.employees", 1),
        ("sportsdata.public.sport_activities", 3),
    ];
    assert_eq!(found, expected);
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_created_as_they_are_configured() {
    let directory = tempfile::tempdir().expect("a directory");
    let kafka = Kafka::start(directory.path()).await;
    let elsewhere = KafkaConfig {
        prefix: "elsewhere".to_owned(),
        ..kafka.config.clone()
    };
    let config = TopicsConfig {
        partitions: 2,
        overrides: [("other.public.topic".to_owned(), Override::default())].into(),
        ..TopicsConfig::default()
    };
    topics::ensure(&elsewhere, &config).await.expect("made");
    let made = topics::list(&elsewhere).await.expect("listed");
    let made: Vec<usize> = made
        .iter()
        .filter(|topic| !topic.topic.starts_with("sportsdata."))
        .map(|topic| topic.partitions)
        .collect();
    // The four of the sources, and no other that is configured.
    assert_eq!(made, [2; 4]);
    kafka.stop().await;
}
