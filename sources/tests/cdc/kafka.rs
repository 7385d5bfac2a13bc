use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use changes::{Clock, KafkaConfig, Purpose};
use rdkafka::Message as _;
use rdkafka::TopicPartitionList;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Headers as _;
use rdkafka::topic_partition_list::Offset;
use serde_json::Value;
use sources::broker::{Broker, BrokerConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(120);

/// The embedded broker, spoken to by real clients.
pub(crate) struct Kafka {
    pub(crate) config: KafkaConfig,
    shutdown: CancellationToken,
}

impl Kafka {
    pub(crate) async fn start(directory: &Path) -> Self {
        Self::start_at(directory, "127.0.0.1:0").await
    }

    pub(crate) async fn start_at(directory: &Path, listen: &str) -> Self {
        let broker = BrokerConfig {
            path: directory.join("broker"),
            ..BrokerConfig::default()
        };
        let broker = Broker::open(broker, clock()).expect("the directory opens");
        let listener = TcpListener::bind(listen).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let stop = shutdown.clone();
        tokio::spawn(async move { broker.serve(listener, stop).await });
        Self {
            config: KafkaConfig::default().with_brokers(address.to_string()),
            shutdown,
        }
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub(crate) fn clock() -> Clock {
    #[expect(clippy::disallowed_methods, reason = "the real clock, for latencies")]
    Arc::new(chrono::Utc::now)
}

#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) key: Value,
    /// `Null` for a tombstone.
    pub(crate) value: Value,
    pub(crate) headers: Vec<(String, String)>,
}

impl Message {
    pub(crate) fn op(&self) -> &str {
        self.value["op"].as_str().unwrap_or("tombstone")
    }

    pub(crate) fn lsn(&self) -> i64 {
        self.value["source"]["lsn"].as_i64().unwrap_or(0)
    }

    pub(crate) fn generation(&self) -> i64 {
        let header = self
            .headers
            .iter()
            .find(|(name, _)| name == changes::GENERATION_HEADER);
        header.map_or(0, |(_, value)| value.parse().expect("a number"))
    }
}

/// Waits until the topic's messages are as wanted; all of them, in order within a partition.
pub(crate) async fn messages(
    config: &KafkaConfig,
    table: &str,
    wanted: impl Fn(&[Message]) -> bool + Send + 'static,
) -> Vec<Message> {
    let (config, topic) = (config.clone(), format!("{}.public.{table}", config.prefix));
    tokio::task::spawn_blocking(move || {
        let started = Instant::now();
        loop {
            let found = read(&config, &topic);
            if wanted(&found) {
                return found;
            }
            assert!(started.elapsed() < PATIENCE, "not as wanted: {found:#?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    })
    .await
    .expect("read")
}

/// Every message that is there.
pub(crate) fn read(config: &KafkaConfig, topic: &str) -> Vec<Message> {
    let started = Instant::now();
    loop {
        // A client that asked a broker as it went may hear nothing more.
        if let Some(messages) = try_read(config, topic) {
            return messages;
        }
        assert!(started.elapsed() < PATIENCE, "the broker does not answer");
    }
}

fn try_read(config: &KafkaConfig, topic: &str) -> Option<Vec<Message>> {
    const SILENCE: Duration = Duration::from_secs(20);
    let consumer: BaseConsumer = config
        .client(&Purpose::Consume)
        .create()
        .expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE);
    let Ok(metadata) = metadata else {
        return Some(Vec::new());
    };
    let partitions: Vec<i32> = metadata.topics()[0]
        .partitions()
        .iter()
        .map(|p| p.id())
        .collect();
    let mut assignment = TopicPartitionList::new();
    for partition in &partitions {
        let added = assignment.add_partition_offset(topic, *partition, Offset::Beginning);
        added.expect("added");
    }
    consumer.assign(&assignment).expect("assigned");
    let mut ended = 0;
    let mut messages = Vec::new();
    while ended < partitions.len() {
        match consumer.poll(SILENCE)? {
            Ok(message) => messages.push(Message {
                key: json(message.key()),
                value: json(message.payload()),
                headers: message.headers().map_or_else(Vec::new, |headers| {
                    let text = |bytes: Option<&[u8]>| {
                        String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
                    };
                    headers
                        .iter()
                        .map(|header| (header.key.to_owned(), text(header.value)))
                        .collect()
                }),
            }),
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => unreachable!("{error}"),
        }
    }
    Some(messages)
}

/// How many messages were ever written to it.
pub(crate) fn end_of(config: &KafkaConfig, topic: &str) -> i64 {
    let consumer: BaseConsumer = config
        .client(&Purpose::Consume)
        .create()
        .expect("a consumer");
    let metadata = consumer
        .fetch_metadata(Some(topic), PATIENCE)
        .expect("an answer");
    let partitions = metadata.topics()[0].partitions().iter();
    let ends = partitions.map(|partition| {
        let (_, end) = consumer
            .fetch_watermarks(topic, partition.id(), PATIENCE)
            .expect("an answer");
        end
    });
    ends.sum()
}

fn json(bytes: Option<&[u8]>) -> Value {
    bytes.map_or(Value::Null, |bytes| {
        serde_json::from_slice(bytes).expect("JSON")
    })
}
