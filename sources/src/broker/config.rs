use std::path::PathBuf;

use changes::{Error, Result};
use serde::Deserialize;

/// `[broker]` of the configuration: the Kafka-protocol broker that runs inside the process.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerConfig {
    /// Directory that holds the topics; one broker at a time may have it open.
    pub path: PathBuf,
    /// Address that Kafka clients connect to.
    pub listen: String,
    /// `host:port` told to clients; empty tells each client the address that it reached.
    pub advertised: String,
    /// Creates an unknown topic when a producer asks for it; otherwise only an administrator creates topics.
    pub auto_create_topics: bool,
    /// Partitions of a topic whose creator names no number.
    pub default_partitions: i32,
    /// Bytes kept for each partition before its oldest segments go; 0 keeps everything.
    pub retention_bytes: u64,
    /// Size at which a segment file is closed and the next one begun.
    pub segment_bytes: u64,
    /// Largest record batch accepted; a message of 10 MB and its overhead fit the default.
    pub max_batch_bytes: usize,
    /// Largest request accepted; a longer one closes the connection before anything is allocated.
    pub max_request_bytes: usize,
    /// Largest fetch response, except that one batch always passes.
    pub max_fetch_bytes: usize,
    /// Bytes that all requests being read may hold together; as many again for responses being written.
    pub max_inflight_bytes: usize,
    /// Client connections open at the same time.
    pub max_connections: usize,
    /// Partitions of all topics together; each keeps a file open.
    pub max_partitions: usize,
    /// Consumer groups known at the same time.
    pub max_groups: usize,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from("./data/broker"),
            listen: "127.0.0.1:9092".to_owned(),
            advertised: String::new(),
            auto_create_topics: false,
            default_partitions: 1,
            retention_bytes: 0,
            segment_bytes: 128 * MIB as u64,
            max_batch_bytes: 17 * MIB,
            max_request_bytes: 64 * MIB,
            max_fetch_bytes: 8 * MIB,
            max_inflight_bytes: 128 * MIB,
            max_connections: 256,
            max_partitions: 500,
            max_groups: 1000,
        }
    }
}

impl BrokerConfig {
    pub fn validate(&self) -> Result<()> {
        require(
            self.max_batch_bytes >= 1024 && self.max_batch_bytes <= GIB,
            "broker.max_batch_bytes",
            "between 1 KiB and 1 GiB",
        )?;
        require(
            self.max_request_bytes >= self.max_batch_bytes && self.max_request_bytes <= GIB,
            "broker.max_request_bytes",
            "at least broker.max_batch_bytes and at most 1 GiB",
        )?;
        require(
            self.max_inflight_bytes >= self.max_request_bytes.max(self.max_fetch_bytes)
                && self.max_inflight_bytes <= 64 * GIB,
            "broker.max_inflight_bytes",
            "at least the largest request and the largest fetch response",
        )?;
        require(
            self.segment_bytes >= 1024 && self.segment_bytes <= GIB as u64,
            "broker.segment_bytes",
            "between 1 KiB and 1 GiB",
        )?;
        require(
            self.default_partitions >= 1,
            "broker.default_partitions",
            "at least 1",
        )?;
        require(
            self.max_connections >= 1 && self.max_connections <= 100_000,
            "broker.max_connections",
            "between 1 and 100000",
        )?;
        if !self.advertised.is_empty() {
            self.advertised_address()?;
        }
        Ok(())
    }

    /// Host and port of `advertised`, if it is set.
    pub(super) fn advertised_address(&self) -> Result<Option<(String, u16)>> {
        if self.advertised.is_empty() {
            return Ok(None);
        }
        let parsed = self
            .advertised
            .rsplit_once(':')
            .and_then(|(host, port)| Some((host.to_owned(), port.parse::<u16>().ok()?)))
            .filter(|(host, _)| !host.is_empty());
        match parsed {
            Some(address) => Ok(Some(address)),
            None => Err(Error::invalid(format!(
                "broker.advertised {:?} is not host:port",
                self.advertised
            ))
            .hint("Write for example \"kafka.example.org:9092\", or leave it empty.")),
        }
    }
}

const MIB: usize = 1024 * 1024;
const GIB: usize = 1024 * MIB;

fn require(holds: bool, key: &str, expected: &str) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::invalid(format!("{key} is out of range"))
        .hint(format!("Choose a value {expected}.")))
}
