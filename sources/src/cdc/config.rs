use std::path::PathBuf;

use changes::{Error, Result};
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
        Ok(())
    }
}
