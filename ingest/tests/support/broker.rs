use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use changes::{KafkaConfig, Purpose};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::util::Timeout;
use rdkafka::{Offset, TopicPartitionList};
use sources::broker::{self, BrokerConfig};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{clock, in_time};

/// The embedded broker on a port of its own.
pub(crate) struct Broker {
    pub(crate) kafka: KafkaConfig,
    address: SocketAddr,
    path: PathBuf,
    shutdown: CancellationToken,
    task: JoinHandle<changes::Result<()>>,
    producer: FutureProducer,
}

/// A message to send.
#[derive(Default)]
pub(crate) struct Sent<'a> {
    pub(crate) partition: i32,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(&'a str, Option<&'a [u8]>)],
}

impl Broker {
    pub(crate) async fn start(path: &Path) -> Self {
        Self::start_at(path, SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    async fn start_at(path: &Path, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let kafka = KafkaConfig::default().with_brokers(address.to_string());
        let shutdown = CancellationToken::new();
        let config = BrokerConfig {
            path: path.to_owned(),
            ..BrokerConfig::default()
        };
        let task = tokio::spawn(broker::serve(listener, config, clock(), shutdown.clone()));
        let producer = kafka
            .client(&Purpose::Produce)
            .create()
            .expect("a producer");
        Self {
            kafka,
            address,
            path: path.to_owned(),
            shutdown,
            task,
            producer,
        }
    }

    /// Stops the broker and starts it again where its clients look for it.
    pub(crate) async fn restart(self) -> Self {
        let (path, address) = (self.path.clone(), self.address);
        self.stop().await;
        Self::start_at(&path, address).await
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.expect("no panic").expect("a clean end");
    }

    pub(crate) async fn create(&self, topic: &str, partitions: i32) {
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let created = self
            .admin()
            .create_topics([&topic], &AdminOptions::new())
            .await
            .expect("an answer");
        for topic in created {
            topic.expect("created");
        }
    }

    /// Gives a topic more partitions.
    pub(crate) async fn grow(&self, topic: &str, partitions: usize) {
        let grown = self
            .admin()
            .create_partitions(
                &[NewPartitions::new(topic, partitions)],
                &AdminOptions::new(),
            )
            .await
            .expect("an answer");
        for topic in grown {
            topic.expect("grown");
        }
    }

    pub(crate) async fn delete(&self, topic: &str) {
        let deleted = self
            .admin()
            .delete_topics(&[topic], &AdminOptions::new())
            .await
            .expect("an answer");
        for topic in deleted {
            topic.expect("deleted");
        }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.kafka
            .client(&Purpose::Administer)
            .create()
            .expect("an admin client")
    }

    /// Sends one message and waits for the acknowledgement.
    pub(crate) async fn send(&self, topic: &str, message: Sent<'_>) {
        let mut record: FutureRecord<'_, [u8], [u8]> =
            FutureRecord::to(topic).partition(message.partition);
        record.key = message.key;
        record.payload = message.value;
        if !message.headers.is_empty() {
            let headers = message
                .headers
                .iter()
                .fold(OwnedHeaders::new(), |headers, (key, value)| {
                    headers.insert(Header { key, value: *value })
                });
            record = record.headers(headers);
        }
        in_time(
            "an acknowledgement",
            self.producer.send(record, Timeout::Never),
        )
        .await
        .expect("acknowledged");
    }

    /// Sends envelopes of the rows `ids`, all in flight at once.
    pub(crate) async fn send_rows(&self, topic: &str, partition: i32, ids: std::ops::Range<i64>) {
        let sends = ids.map(|id| async move {
            let value = super::envelope(id);
            let message = Sent {
                partition,
                value: Some(&value),
                ..Sent::default()
            };
            self.send(topic, message).await;
        });
        futures::future::join_all(sends).await;
    }

    /// The offset that ingest's group shows for a partition.
    pub(crate) async fn group_offset(&self, topic: &str, partition: i32) -> Option<i64> {
        let consumer: BaseConsumer = self
            .kafka
            .client(&Purpose::Consume)
            .create()
            .expect("a consumer");
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        tokio::task::spawn_blocking(move || {
            let committed = consumer
                .committed_offsets(list, std::time::Duration::from_secs(30))
                .expect("an answer");
            match committed.elements().first()?.offset() {
                Offset::Offset(next) => Some(next),
                _ => None,
            }
        })
        .await
        .expect("no panic")
    }
}
