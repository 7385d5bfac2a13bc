//! What the capture tells the meters, once per look at the slot and once per commit.

use std::sync::LazyLock;

use opentelemetry::metrics::{Counter, Gauge};
use opentelemetry::{KeyValue, global};

struct Instruments {
    events: Counter<u64>,
    unreadable: Counter<u64>,
    lag: Gauge<u64>,
    retained: Gauge<u64>,
    connected: Gauge<u64>,
    skipped: Gauge<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = global::meter("cdc");
    Instruments {
        events: meter
            .u64_counter("cdc_events")
            .with_description("Change events handed to Kafka")
            .build(),
        unreadable: meter
            .u64_counter("cdc_unreadable_values")
            .with_description("Values written as null because their text is none of their type")
            .build(),
        lag: meter
            .u64_gauge("cdc_slot_lag_bytes")
            .with_description("Bytes of PostgreSQL's log that Kafka has not acknowledged yet")
            .build(),
        retained: meter
            .u64_gauge("cdc_slot_retained_bytes")
            .with_description("Bytes of PostgreSQL's log that the slot keeps on its disk")
            .build(),
        connected: meter
            .u64_gauge("cdc_connected")
            .with_description("Whether changes are being received")
            .build(),
        skipped: meter
            .u64_gauge("cdc_skipped_tables")
            .with_description("Tables of the publication that cannot be captured as they are")
            .build(),
    }
});

pub(super) fn wrote(events: u64, table: &str) {
    INSTRUMENTS
        .events
        .add(events, &[KeyValue::new("table", table.to_owned())]);
}

pub(super) fn could_not_read(values: u64, table: &str) {
    INSTRUMENTS
        .unreadable
        .add(values, &[KeyValue::new("table", table.to_owned())]);
}

pub(super) fn slot_lags(slot: &str, lag: u64, retained: u64) {
    let slot = [KeyValue::new("slot", slot.to_owned())];
    INSTRUMENTS.lag.record(lag, &slot);
    INSTRUMENTS.retained.record(retained, &slot);
}

pub(super) fn is_connected(slot: &str, connected: bool) {
    INSTRUMENTS.connected.record(
        u64::from(connected),
        &[KeyValue::new("slot", slot.to_owned())],
    );
}

pub(super) fn skips(slot: &str, tables: usize) {
    INSTRUMENTS
        .skipped
        .record(tables as u64, &[KeyValue::new("slot", slot.to_owned())]);
}
