mod broker;
mod bronze;
mod log;
mod pipeline;
pub(crate) mod segment;

pub(crate) use broker::{Broker, Sent};
pub(crate) use bronze::{Row, offsets, rows};
pub(crate) use log::{listen, warned};
pub(crate) use pipeline::{Ingest, TestLake, clock, quick};

use std::time::Duration;

/// Ends a test that hangs; no test depends on its length.
pub(crate) async fn in_time<T>(what: &str, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(120), work)
        .await
        .unwrap_or_else(|_| unreachable!("waited in vain: {what}"))
}

/// An envelope of the row `id`.
pub(crate) fn envelope(id: i64) -> Vec<u8> {
    format!(
        r#"{{"before":null,"after":{{"id":{id}}},"source":{{"lsn":{},"ts_ms":1700000000000}},"op":"c"}}"#,
        100 + id
    )
    .into_bytes()
}
