use rdkafka::ClientConfig;
use serde::Deserialize;

use crate::error::{Error, Result};

/// `[kafka]` of the configuration: where the topics are.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// `embedded`, or `host:port,host:port`.
    pub brokers: String,
    /// First part of the names of the topics that the embedded sources write.
    pub prefix: String,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "embedded".to_owned(),
            prefix: "sportsdata".to_owned(),
        }
    }
}

/// What a Kafka client is for; decides its settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purpose {
    /// Idempotent, every message acknowledged by the broker's log.
    Produce,
    /// Reads assigned partitions from given offsets; a stored offset outside the topic is an error.
    Consume,
    /// Creates and describes topics.
    Administer,
}

/// Largest message accepted anywhere: 16 MiB, above the 10 MB that sources may send.
const MAX_MESSAGE_BYTES: &str = "16777216";

impl KafkaConfig {
    pub fn is_embedded(&self) -> bool {
        self.brokers == "embedded"
    }

    /// This configuration with the address that the embedded broker listens on.
    #[must_use]
    pub fn with_brokers(&self, brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            ..self.clone()
        }
    }

    pub fn validate(&self) -> Result<()> {
        if self.brokers.trim().is_empty() {
            return Err(Error::invalid("kafka.brokers is empty")
                .hint("Write \"embedded\", or host:port of your brokers."));
        }
        Ok(())
    }

    /// The one place where rdkafka's settings are chosen.
    pub fn client(&self, purpose: &Purpose) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "sportlake")
            .set("message.max.bytes", MAX_MESSAGE_BYTES)
            .set("reconnect.backoff.max.ms", "2000");
        match purpose {
            Purpose::Produce => client
                .set("enable.idempotence", "true")
                .set("linger.ms", "5")
                .set("queue.buffering.max.kbytes", "65536")
                .set("message.timeout.ms", "60000"),
            Purpose::Consume => client
                .set("group.id", "sportlake-ingest")
                .set("enable.auto.commit", "false")
                .set("enable.auto.offset.store", "false")
                .set("enable.partition.eof", "true")
                .set("auto.offset.reset", "error")
                .set("isolation.level", "read_committed")
                .set("fetch.message.max.bytes", "4194304")
                .set("fetch.max.bytes", MAX_MESSAGE_BYTES)
                .set("receive.message.max.bytes", "100000000")
                .set("queued.max.messages.kbytes", "32768")
                // The default, a second, would leave a reader that empties a full queue faster than that waiting.
                .set("fetch.queue.backoff.ms", "10")
                .set("fetch.wait.max.ms", "100"),
            Purpose::Administer => &mut client,
        };
        client
    }
}
