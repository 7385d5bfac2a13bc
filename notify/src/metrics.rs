//! What the notifier tells the meters, once per call and once per judgement.

use std::sync::LazyLock;

use opentelemetry::metrics::{Counter, Gauge, Histogram};
use opentelemetry::{KeyValue, global};

const KIND: &str = "kind";
const REASON: &str = "reason";

/// Seconds; a live activity takes some hundred milliseconds, one that waits its turn a second more.
const EVENT_TO_CALL_SECONDS: [f64; 10] = [0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 5.0, 30.0, 300.0, 3600.0];

struct Instruments {
    messages: Counter<u64>,
    activities: Counter<u64>,
    retries: Counter<u64>,
    in_doubt: Counter<u64>,
    dead: Counter<u64>,
    left_out: Counter<u64>,
    event_to_call: Histogram<f64>,
    waiting: Gauge<u64>,
    stopped: Gauge<u64>,
}

static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = global::meter("notify");
    Instruments {
        messages: meter
            .u64_counter("notify_messages")
            .with_description("Messages that Slack took, of one activity or digests of many")
            .build(),
        activities: meter
            .u64_counter("notify_activities")
            .with_description("Activities told")
            .build(),
        retries: meter
            .u64_counter("notify_retries")
            .with_description("Calls of Slack that failed and are made again")
            .build(),
        in_doubt: meter
            .u64_counter("notify_in_doubt")
            .with_description("Messages found at a start whose answer was not stored")
            .build(),
        dead: meter
            .u64_counter("notify_dead")
            .with_description("Messages that Slack will never take")
            .build(),
        left_out: meter
            .u64_counter("notify_left_out_events")
            .with_description("Events of activities that are not told")
            .build(),
        event_to_call: meter
            .f64_histogram("notify_event_to_call_seconds")
            .with_description(
                "Time from the commit of an activity at its source to the first call about it",
            )
            .with_boundaries(EVENT_TO_CALL_SECONDS.to_vec())
            .build(),
        waiting: meter
            .u64_gauge("notify_waiting")
            .with_description("Activities that wait to be told")
            .build(),
        stopped: meter
            .u64_gauge("notify_stopped")
            .with_description("1 when Slack refuses every message until somebody acts")
            .build(),
    }
});

/// Why an event is not told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeftOut {
    /// Before the end of the first load.
    Backfill,
    Snapshot,
    Old,
    OptedOut,
    /// Told already.
    Repeated,
    /// A change or a deletion.
    NotNew,
    /// No change event, or a row that is not whole.
    Unreadable,
}

impl LeftOut {
    fn as_str(self) -> &'static str {
        match self {
            Self::Backfill => "backfill",
            Self::Snapshot => "snapshot",
            Self::Old => "old",
            Self::OptedOut => "opted_out",
            Self::Repeated => "repeated",
            Self::NotNew => "not_new",
            Self::Unreadable => "unreadable",
        }
    }
}

pub(crate) fn observe_message(activities: usize) {
    let kind = if activities > 1 { "digest" } else { "activity" };
    INSTRUMENTS.messages.add(1, &[KeyValue::new(KIND, kind)]);
    INSTRUMENTS.activities.add(activities as u64, &[]);
    INSTRUMENTS.stopped.record(0, &[]);
}

pub(crate) fn observe_retry(reason: &'static str) {
    INSTRUMENTS.retries.add(1, &[KeyValue::new(REASON, reason)]);
}

pub(crate) fn observe_in_doubt() {
    INSTRUMENTS.in_doubt.add(1, &[]);
}

pub(crate) fn observe_dead() {
    INSTRUMENTS.dead.add(1, &[]);
}

pub(crate) fn observe_left_out(reason: LeftOut) {
    let labels = [KeyValue::new(REASON, reason.as_str())];
    INSTRUMENTS.left_out.add(1, &labels);
}

pub(crate) fn observe_call(seconds_since_event: f64) {
    INSTRUMENTS
        .event_to_call
        .record(seconds_since_event.max(0.0), &[]);
}

pub(crate) fn observe_waiting(activities: usize) {
    INSTRUMENTS.waiting.record(activities as u64, &[]);
}

pub(crate) fn observe_stopped() {
    INSTRUMENTS.stopped.record(1, &[]);
}
