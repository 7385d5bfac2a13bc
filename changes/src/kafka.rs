mod diagnosis;
mod release;
mod security;

use std::path::PathBuf;

use rdkafka::ClientConfig;
use serde::Deserialize;

pub use self::diagnosis::{diagnose, kafka_release};
pub use self::security::{Compression, Mechanism, Security};
use crate::error::{Error, Result};
use crate::secret::Secret;

/// `[kafka]` of the configuration: where the topics are.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KafkaConfig {
    /// `embedded`, or `host:port,host:port`.
    pub brokers: String,
    /// First part of the names of the topics that the embedded sources write.
    pub prefix: String,
    /// What the brokers' listener speaks.
    pub security: Security,
    /// How the password is proven.
    pub sasl_mechanism: Mechanism,
    pub username: String,
    /// From the environment alone.
    pub password: Secret,
    /// File whose first line is the password.
    pub password_file: PathBuf,
    /// Certificates of the authorities to trust, PEM; empty = those of the machine.
    pub ca_file: PathBuf,
    /// Our certificate and its key, PEM.
    pub certificate_file: PathBuf,
    pub key_file: PathBuf,
    /// From the environment alone.
    pub key_password: Secret,
    /// File whose first line is the key's password.
    pub key_password_file: PathBuf,
    /// How what is written is compressed.
    pub compression: Compression,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "embedded".to_owned(),
            prefix: "sportsdata".to_owned(),
            security: Security::default(),
            sasl_mechanism: Mechanism::default(),
            username: String::new(),
            password: Secret::default(),
            password_file: PathBuf::new(),
            ca_file: PathBuf::new(),
            certificate_file: PathBuf::new(),
            key_file: PathBuf::new(),
            key_password: Secret::default(),
            key_password_file: PathBuf::new(),
            compression: Compression::default(),
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
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

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
        security::check(self)
    }

    /// Refuses passwords in the text of a configuration file, which is read by many and kept in version control.
    pub fn check_file(&self) -> Result<()> {
        for (key, secret) in [
            ("password", &self.password),
            ("key_password", &self.key_password),
        ] {
            if !secret.is_empty() {
                let variable = format!("SPORTLAKE__KAFKA__{}", key.to_uppercase());
                let message = format!("kafka.{key} is written in the configuration");
                return Err(Error::invalid(message).hint(format!(
                    "Give it in the environment, as {variable}, or name a file whose first line it is in kafka.{key}_file."
                )));
            }
        }
        Ok(())
    }

    /// This configuration with its passwords read from their files. Every file that is named must be there.
    pub fn with_secrets(&self) -> Result<Self> {
        security::files_are_there(self)?;
        Ok(Self {
            password: security::secret("password_file", &self.password, &self.password_file)?,
            password_file: PathBuf::new(),
            key_password: security::secret(
                "key_password_file",
                &self.key_password,
                &self.key_password_file,
            )?,
            key_password_file: PathBuf::new(),
            ..self.clone()
        })
    }

    /// The one place where rdkafka's settings are chosen.
    pub fn client(&self, purpose: &Purpose) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", &self.brokers)
            .set("client.id", "sportlake")
            .set("message.max.bytes", MAX_MESSAGE_BYTES.to_string())
            .set("reconnect.backoff.max.ms", "2000");
        security::apply(self, &mut client);
        match purpose {
            Purpose::Produce => client
                .set("enable.idempotence", "true")
                // As Java's producers, Kafka Connect's among them: a key stays in its partition whoever writes it.
                .set("partitioner", "murmur2_random")
                .set("linger.ms", "5")
                .set("compression.codec", self.compression.name())
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
                .set("fetch.max.bytes", MAX_MESSAGE_BYTES.to_string())
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

#[cfg(test)]
mod tests;
