use std::path::PathBuf;

use changes::{Error, KafkaConfig, Result};
use serde::Deserialize;

use super::kind::{Decimals, Times};

/// `[cdc]` of the configuration: how the changes of `source.postgres` are captured.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CdcConfig {
    /// Replication slot; made at the first start.
    pub slot: String,
    /// Publication whose tables are captured.
    pub publication: String,
    /// File that says which tables are loaded.
    pub state: PathBuf,
    /// Creates topics that do not exist, with the brokers' own number of partitions.
    pub create_topics: bool,
    /// Follows a delete with a message without value, as compacted topics need it.
    pub tombstones: bool,
    /// Writes Kafka Connect's schema into each message.
    pub schemas: bool,
    /// How NUMERIC is written.
    pub decimals: Decimals,
    /// How times without a zone are written.
    pub times: Times,
    /// Seconds between two looks at the publication and the slot.
    pub look_seconds: u64,
    /// Seconds that a slot may be in use by a connection that broke; more than the server's `wal_sender_timeout`.
    pub slot_wait_seconds: u64,
    /// Whether `up` captures.
    pub enabled: Enabled,
}

/// Whether `up` captures where `source.postgres` is set; `sportlake cdc` always does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Choice")]
pub enum Enabled {
    /// With the embedded broker, which nobody else fills.
    #[default]
    Auto,
    Always,
    Never,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "true, false or \"auto\"")]
enum Choice {
    Said(bool),
    Left(Word),
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Auto,
}

impl From<Choice> for Enabled {
    fn from(choice: Choice) -> Self {
        match choice {
            Choice::Said(true) => Self::Always,
            Choice::Said(false) => Self::Never,
            Choice::Left(Word::Auto) => Self::Auto,
        }
    }
}

impl Default for CdcConfig {
    fn default() -> Self {
        Self {
            slot: "sportlake".to_owned(),
            publication: "sportlake".to_owned(),
            state: PathBuf::from("./data/cdc.json"),
            create_topics: true,
            tombstones: true,
            schemas: false,
            decimals: Decimals::String,
            times: Times::Adaptive,
            look_seconds: 2,
            slot_wait_seconds: 75,
            enabled: Enabled::Auto,
        }
    }
}

impl CdcConfig {
    pub fn validate(&self) -> Result<()> {
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        if !(1..=63).contains(&self.slot.len()) || !self.slot.bytes().all(legal) {
            return Err(Error::invalid(format!("cdc.slot is \"{}\"", self.slot))
                .hint("Write at most 63 lower-case letters, digits and underscores."));
        }
        if self.publication.is_empty() {
            return Err(Error::invalid("cdc.publication is empty")
                .hint("Name the publication whose tables are captured."));
        }
        if !(1..=3600).contains(&self.look_seconds) {
            return Err(
                Error::invalid(format!("cdc.look_seconds is {}", self.look_seconds))
                    .hint("Write a number from 1 to 3600."),
            );
        }
        if self.slot_wait_seconds > 3600 {
            return Err(Error::invalid(format!(
                "cdc.slot_wait_seconds is {}",
                self.slot_wait_seconds
            ))
            .hint("Write a number up to 3600."));
        }
        Ok(())
    }

    /// Whether `up` captures a configured PostgreSQL.
    pub fn runs_in_up(&self, kafka: &KafkaConfig) -> bool {
        match self.enabled {
            Enabled::Auto => kafka.is_embedded(),
            Enabled::Always => true,
            Enabled::Never => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_captures_where_nobody_else_fills_the_topics() {
        let config = |text| toml::from_str::<CdcConfig>(text).expect("valid");
        let embedded = KafkaConfig::default();
        let brokers = embedded.with_brokers("kafka:9092");
        for (text, alone, beside) in [
            ("", true, false),
            ("enabled = \"auto\"", true, false),
            ("enabled = true", true, true),
            ("enabled = false", false, false),
        ] {
            assert_eq!(config(text).runs_in_up(&embedded), alone, "{text}");
            assert_eq!(config(text).runs_in_up(&brokers), beside, "{text}");
        }
        let error = toml::from_str::<CdcConfig>("enabled = \"maybe\"").expect_err("neither");
        assert!(error.message().contains("auto"), "{error}");
    }
}
