use std::time::Duration;

use changes::TopicPattern;
use engine::{Error, ErrorKind, Result, UpkeepConfig};
use serde::Deserialize;

use crate::error::from_changes;
use crate::quantity;

/// A flush larger than this would not fit Arrow's 32-bit offsets with room to spare.
const LARGEST_FLUSH: usize = 512 << 20;

/// `[ingest]` of the configuration: which topics become bronze tables, and how often.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IngestConfig {
    /// Topics to read: whole names, or prefixes that end in one `*`.
    pub topics: Vec<String>,
    /// Bytes of a table's messages that make one commit at the latest.
    #[serde(deserialize_with = "quantity::bytes")]
    pub flush_bytes: usize,
    /// Messages of a table that make one commit at the latest.
    pub flush_rows: usize,
    /// Age of a table's oldest uncommitted message at which it is committed.
    #[serde(deserialize_with = "quantity::duration")]
    pub flush_interval: Duration,
    /// Bytes of messages held in memory, being written included, above which nothing more is read.
    #[serde(deserialize_with = "quantity::bytes")]
    pub max_buffered_bytes: usize,
    /// Time between two looks for new topics and partitions.
    #[serde(deserialize_with = "quantity::duration")]
    pub discovery_interval: Duration,
    /// Where a topic is begun that bronze holds nothing of.
    pub start: Start,
    /// Topics that start again at their earliest message where the stored offset lies outside the topic, or is of another
    /// Kafka cluster.
    pub from_earliest: Vec<String>,
    /// Topics that start again at their earliest message whatever is stored, once: told by who starts.
    #[serde(skip)]
    pub anew: Vec<String>,
    /// The section `[upkeep]`.
    #[serde(skip)]
    pub upkeep: UpkeepConfig,
}

/// Which message of a topic is its first in bronze.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    #[default]
    Earliest,
    /// The next to come: whatever the topic holds already is left out.
    Latest,
}

impl Default for IngestConfig {
    fn default() -> Self {
        Self {
            topics: vec!["sportsdata.*".to_owned()],
            flush_bytes: 32 << 20,
            flush_rows: 100_000,
            flush_interval: Duration::from_millis(500),
            max_buffered_bytes: 64 << 20,
            discovery_interval: Duration::from_secs(1),
            start: Start::Earliest,
            from_earliest: Vec::new(),
            anew: Vec::new(),
            upkeep: UpkeepConfig::default(),
        }
    }
}

impl IngestConfig {
    pub fn validate(&self) -> Result<()> {
        self.patterns()?;
        if self.topics.is_empty() {
            return Err(invalid("ingest.topics is empty")
                .hint("Name a topic, or a prefix such as \"sportsdata.*\"."));
        }
        if self.flush_bytes == 0 || self.flush_bytes > LARGEST_FLUSH {
            return Err(invalid("ingest.flush_bytes is out of range")
                .hint("Choose between 1B and 512MiB; 32MiB suits most tables."));
        }
        if self.flush_rows == 0 {
            return Err(invalid("ingest.flush_rows is 0").hint("Choose at least 1."));
        }
        if self.max_buffered_bytes < self.flush_bytes {
            return Err(
                invalid("ingest.max_buffered_bytes is smaller than ingest.flush_bytes")
                    .hint("Twice ingest.flush_bytes lets reading and writing overlap."),
            );
        }
        if self.discovery_interval.is_zero() {
            return Err(invalid("ingest.discovery_interval is 0").hint("Choose at least 1ms."));
        }
        Ok(())
    }

    pub(crate) fn patterns(&self) -> Result<Vec<TopicPattern>> {
        self.topics
            .iter()
            .map(|text| text.parse().map_err(from_changes))
            .collect()
    }
}

fn invalid(message: &str) -> Error {
    Error::new(ErrorKind::InvalidRequest, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<IngestConfig, serde_json::Error> {
        serde_json::from_str(json)
    }

    #[test]
    fn sizes_and_durations_are_written_as_people_write_them() {
        let config = parse(
            r#"{"flush_bytes": "4 MiB", "max_buffered_bytes": 9000000, "flush_interval": "250ms", "discovery_interval": "1m"}"#,
        )
        .expect("valid");
        assert_eq!(config.flush_bytes, 4 << 20);
        assert_eq!(config.max_buffered_bytes, 9_000_000);
        assert_eq!(config.flush_interval, Duration::from_millis(250));
        assert_eq!(config.discovery_interval, Duration::from_secs(60));
        config.validate().expect("consistent");
    }

    #[test]
    fn what_is_no_quantity_or_no_key_is_refused() {
        for json in [
            r#"{"flush_interval": 500}"#,
            r#"{"flush_interval": "soon"}"#,
            r#"{"flush_bytes": "-1MiB"}"#,
            r#"{"flush_bytes": "99999999999GiB"}"#,
            r#"{"flush_byte": 1}"#,
        ] {
            assert!(parse(json).is_err(), "{json}");
        }
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        for json in [
            r#"{"topics": []}"#,
            r#"{"topics": ["*"]}"#,
            r#"{"flush_bytes": "1GiB", "max_buffered_bytes": "2GiB"}"#,
            r#"{"flush_rows": 0}"#,
            r#"{"max_buffered_bytes": "1MiB"}"#,
            r#"{"discovery_interval": "0s"}"#,
        ] {
            let config = parse(json).expect("well formed");
            let error = config.validate().expect_err(json);
            assert_eq!(error.kind(), ErrorKind::InvalidRequest, "{json}");
        }
    }
}
