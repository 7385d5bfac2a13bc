//! What ingest tells the meters, once per commit and once per look at the broker.

use std::sync::LazyLock;
use std::time::Duration;

use opentelemetry::metrics::{Counter, Gauge, Histogram};
use opentelemetry::{KeyValue, global};

const TABLE: &str = "table";
const TOPIC: &str = "topic";
const PARTITION: &str = "partition";

/// Seconds; a commit of live data takes tens of milliseconds, one of 32 MiB a second.
const FLUSH_SECONDS: [f64; 10] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

struct Instruments {
    events: Counter<u64>,
    bytes: Counter<u64>,
    poison: Counter<u64>,
    commits: Counter<u64>,
    flush: Histogram<f64>,
    lag: Gauge<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = global::meter("ingest");
    Instruments {
        events: meter
            .u64_counter("ingest_events")
            .with_description("Messages committed to bronze")
            .build(),
        bytes: meter
            .u64_counter("ingest_bytes")
            .with_description("Bytes of the messages committed to bronze")
            .build(),
        poison: meter
            .u64_counter("ingest_poison_events")
            .with_description("Messages committed to bronze that are no envelope")
            .build(),
        commits: meter
            .u64_counter("ingest_commits")
            .with_description("Commits to bronze tables")
            .build(),
        flush: meter
            .f64_histogram("ingest_flush_seconds")
            .with_description("Time from a full buffer to its commit")
            .with_boundaries(FLUSH_SECONDS.to_vec())
            .build(),
        lag: meter
            .u64_gauge("ingest_lag_events")
            .with_description("Offsets between the end of a partition and its bronze table")
            .build(),
    }
});

/// One commit to a bronze table.
pub(crate) struct Committed<'a> {
    pub(crate) table: &'a str,
    pub(crate) rows: u64,
    pub(crate) bytes: usize,
    pub(crate) poison: usize,
    pub(crate) elapsed: Duration,
}

pub(crate) fn observe_commit(committed: &Committed<'_>) {
    let labels = [KeyValue::new(TABLE, committed.table.to_owned())];
    INSTRUMENTS.events.add(committed.rows, &labels);
    INSTRUMENTS.bytes.add(committed.bytes as u64, &labels);
    INSTRUMENTS.poison.add(committed.poison as u64, &labels);
    INSTRUMENTS.commits.add(1, &labels);
    INSTRUMENTS
        .flush
        .record(committed.elapsed.as_secs_f64(), &labels);
}

pub(crate) fn observe_lag(topic: &str, partition: i32, offsets: u64) {
    let labels = [
        KeyValue::new(TOPIC, topic.to_owned()),
        KeyValue::new(PARTITION, i64::from(partition)),
    ];
    INSTRUMENTS.lag.record(offsets, &labels);
}
