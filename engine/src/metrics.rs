//! What refresh tells the meters, once per epoch.

use std::sync::LazyLock;
use std::time::Duration;

use chrono::{DateTime, Utc};
use opentelemetry::metrics::{Counter, Gauge, Histogram};
use opentelemetry::{KeyValue, global};
use sql_files::TableName;

use crate::age::Age;
use crate::epoch::{Freshness, Manifest};
use crate::freshness::Way;
use crate::upkeep::Chore;

const TABLE: &str = "table";
const RULE: &str = "rule";
const STAGE: &str = "stage";

/// Seconds; an epoch of live data takes a tenth of a second, a first build minutes.
const EPOCH_SECONDS: [f64; 11] = [
    0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0,
];

/// Seconds; live data is on its way for one or two, a first load may be a year old.
const FRESHNESS_SECONDS: [f64; 12] = [
    0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 300.0, 3600.0, 86_400.0,
];

struct Instruments {
    epochs: Counter<u64>,
    seconds: Histogram<f64>,
    newest: Gauge<u64>,
    rows: Gauge<u64>,
    held: Gauge<u64>,
    violations: Gauge<u64>,
    kept_out: Gauge<u64>,
    behind: Gauge<f64>,
    late: Gauge<u64>,
    table_seconds: Histogram<f64>,
    table_rows_written: Counter<u64>,
    table_bytes_written: Counter<u64>,
    freshness: Histogram<f64>,
    slowest: Counter<u64>,
    epochs_kept: Gauge<u64>,
    tidied: Counter<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = global::meter("refresh");
    Instruments {
        epochs: meter
            .u64_counter("refresh_epochs")
            .with_description("Epochs published")
            .build(),
        seconds: meter
            .f64_histogram("refresh_epoch_seconds")
            .with_description("Time from the look at bronze to the manifest")
            .with_boundaries(EPOCH_SECONDS.to_vec())
            .build(),
        newest: meter
            .u64_gauge("refresh_newest_epoch")
            .with_description("Number of the newest epoch")
            .build(),
        rows: meter
            .u64_gauge("refresh_table_rows")
            .with_description("Rows that readers see in a table")
            .build(),
        held: meter
            .u64_gauge("refresh_table_held")
            .with_description("1 for a table kept at its last good version")
            .build(),
        violations: meter
            .u64_gauge("refresh_rule_violations")
            .with_description("Rows that break a rule, or 1 for a table that does")
            .build(),
        kept_out: meter
            .u64_gauge("refresh_rule_kept_out")
            .with_description("Rows that a rule keeps out of its table")
            .build(),
        behind: meter
            .f64_gauge("refresh_table_behind_seconds")
            .with_description("Age of the oldest message in bronze that a table does not show")
            .build(),
        late: meter
            .u64_gauge("refresh_table_late")
            .with_description("1 for a table older than its @fresh allows")
            .build(),
        table_seconds: meter
            .f64_histogram("refresh_table_seconds")
            .with_description("Time to make a version of a table")
            .with_boundaries(EPOCH_SECONDS.to_vec())
            .build(),
        table_rows_written: meter
            .u64_counter("refresh_table_written_rows")
            .with_description("Rows written to a table, those only moved to another file included")
            .build(),
        table_bytes_written: meter
            .u64_counter("refresh_table_written_bytes")
            .with_description("Bytes of data files written to a table")
            .build(),
        freshness: meter
            .f64_histogram("refresh_freshness_seconds")
            .with_description("Time on the way of the oldest change in an epoch: from the source's commit to bronze, from bronze to readers, and both")
            .with_boundaries(FRESHNESS_SECONDS.to_vec())
            .build(),
        slowest: meter
            .u64_counter("refresh_slowest_stage")
            .with_description("Epochs by the stage that took most of the way of their oldest change")
            .build(),
        epochs_kept: meter
            .u64_gauge("upkeep_epochs_kept")
            .with_description("Epochs that can be read")
            .build(),
        tidied: meter
            .u64_counter("upkeep_files")
            .with_description("Files that upkeep removed or merged")
            .build(),
    }
});

pub(crate) fn observe_epoch(manifest: &Manifest, elapsed: Duration) {
    let instruments = &*INSTRUMENTS;
    instruments.epochs.add(1, &[]);
    instruments.seconds.record(elapsed.as_secs_f64(), &[]);
    instruments.newest.record(manifest.epoch, &[]);
    for (name, table) in &manifest.tables {
        let label = [KeyValue::new(TABLE, name.to_string())];
        if let Some(rows) = table.rows {
            instruments.rows.record(rows, &label);
        }
        let held = u64::from(table.state == Freshness::Held);
        instruments.held.record(held, &label);
        if let Some(work) = table
            .work
            .as_ref()
            .filter(|_| table.since == manifest.epoch)
        {
            let taken = Duration::from_millis(work.milliseconds);
            instruments
                .table_seconds
                .record(taken.as_secs_f64(), &label);
            instruments.table_rows_written.add(work.rows, &label);
            instruments.table_bytes_written.add(work.bytes, &label);
        }
        for (rule, counted) in &table.rules {
            let labels = [
                KeyValue::new(TABLE, name.to_string()),
                KeyValue::new(RULE, rule.clone()),
            ];
            instruments.violations.record(counted.violations, &labels);
            instruments.kept_out.record(counted.kept_out, &labels);
        }
    }
}

/// How long the oldest change that an epoch brings of a bronze table was on its way.
pub(crate) fn observe_freshness(name: &TableName, way: &Way) {
    let instruments = &*INSTRUMENTS;
    let stages = [("to bronze", way.to_bronze), ("to readers", way.to_readers)];
    let total = way.to_bronze + way.to_readers;
    for (stage, taken) in stages.into_iter().chain([("total", total)]) {
        let labels = [
            KeyValue::new(TABLE, name.to_string()),
            KeyValue::new(STAGE, stage),
        ];
        instruments.freshness.record(taken.as_secs_f64(), &labels);
    }
    if let Some((slowest, _)) = stages.into_iter().max_by_key(|(_, taken)| *taken) {
        instruments.slowest.add(1, &[KeyValue::new(STAGE, slowest)]);
    }
}

pub(crate) fn observe_age(name: &TableName, age: &Age, now: DateTime<Utc>) {
    let instruments = &*INSTRUMENTS;
    let label = [KeyValue::new(TABLE, name.to_string())];
    #[expect(
        clippy::cast_precision_loss,
        reason = "an age needs no more digits than a double has"
    )]
    let seconds = age.behind(now).num_milliseconds() as f64 / 1000.0;
    instruments.behind.record(seconds, &label);
    if age.limit.is_some() {
        instruments.late.record(u64::from(age.is_late(now)), &label);
    }
}

pub(crate) fn observe_epochs_kept(count: usize) {
    INSTRUMENTS.epochs_kept.record(count as u64, &[]);
}

pub(crate) fn observe_upkeep(chores: &[Chore]) {
    for chore in chores {
        let labels = [
            KeyValue::new(TABLE, chore.target.clone()),
            KeyValue::new("task", chore.task.as_str()),
        ];
        INSTRUMENTS.tidied.add(chore.files, &labels);
    }
}
