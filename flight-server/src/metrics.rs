//! What this crate measures, as OpenTelemetry instruments of the meter `flight`:
//!
//! | name | kind | labels |
//! |---|---|---|
//! | `flight_statements` | counter | `outcome`: ok, failed, cancelled, abandoned |
//! | `flight_statement_seconds` | histogram, seconds | `outcome` |
//! | `flight_statements_running` | up-down counter | |
//! | `flight_statements_queued` | up-down counter | |
//! | `flight_queue_seconds` | histogram, seconds | |
//! | `flight_memory_bytes` | gauge, bytes that running statements hold | |
//! | `flight_plans` | counter | `kept`: true where the plan of an earlier call was used |
//! | `flight_rows` | counter | |
//! | `flight_bytes` | counter, bytes of record batches | |
//! | `flight_calls` | counter | `call`: the RPC, or SignIn where that is refused, `code`: the gRPC code |
//! | `flight_sessions` | up-down counter | |

use std::sync::LazyLock;
use std::time::Duration;

use engine::Memory;
use opentelemetry::metrics::{Counter, Histogram, UpDownCounter};
use opentelemetry::{KeyValue, global};
use tonic::Code;

const OUTCOME: &str = "outcome";

/// How a statement's result stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    Failed,
    /// Somebody cancelled or killed it.
    Cancelled,
    /// The client went away before the last row.
    Abandoned,
}

impl Outcome {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Abandoned => "abandoned",
        }
    }
}

pub(crate) fn observe_statements_queued(change: i64) {
    INSTRUMENTS.queued.add(change, &[]);
}

pub(crate) fn observe_statement_started(waited: Duration) {
    INSTRUMENTS.waited.record(waited.as_secs_f64(), &[]);
    observe_statement_running(1);
}

pub(crate) fn observe_statement_running(change: i64) {
    INSTRUMENTS.running.add(change, &[]);
}

pub(crate) fn observe_plan(kept: bool) {
    INSTRUMENTS.plans.add(1, &[KeyValue::new("kept", kept)]);
}

/// Tells from here on how much memory statements hold.
pub(crate) fn observe_memory(memory: Memory) {
    let meter = global::meter("flight");
    meter
        .u64_observable_gauge("flight_memory_bytes")
        .with_description("Memory that running statements hold, bytes")
        .with_callback(move |told| told.observe(memory.reserved() as u64, &[]))
        .build();
}

pub(crate) fn observe_statement(outcome: Outcome, elapsed: Duration) {
    let labels = [KeyValue::new(OUTCOME, outcome.label())];
    INSTRUMENTS.statements.add(1, &labels);
    INSTRUMENTS.seconds.record(elapsed.as_secs_f64(), &labels);
}

pub(crate) fn observe_rows(rows: usize) {
    INSTRUMENTS.rows.add(rows as u64, &[]);
}

pub(crate) fn observe_bytes(bytes: usize) {
    INSTRUMENTS.bytes.add(bytes as u64, &[]);
}

pub(crate) fn observe_call(call: &'static str, code: Code) {
    let code = format!("{code:?}");
    let labels = [KeyValue::new("call", call), KeyValue::new("code", code)];
    INSTRUMENTS.calls.add(1, &labels);
}

pub(crate) fn observe_sessions(change: i64) {
    INSTRUMENTS.sessions.add(change, &[]);
}

struct Instruments {
    statements: Counter<u64>,
    seconds: Histogram<f64>,
    running: UpDownCounter<i64>,
    queued: UpDownCounter<i64>,
    waited: Histogram<f64>,
    plans: Counter<u64>,
    rows: Counter<u64>,
    bytes: Counter<u64>,
    calls: Counter<u64>,
    sessions: UpDownCounter<i64>,
}

/// Made on first use, which is after the process installed its meter provider.
static INSTRUMENTS: LazyLock<Instruments> = LazyLock::new(|| {
    let meter = global::meter("flight");
    Instruments {
        statements: meter
            .u64_counter("flight_statements")
            .with_description("Statements executed")
            .build(),
        seconds: meter
            .f64_histogram("flight_statement_seconds")
            .with_description("From its arrival to the last row taken by the client")
            .build(),
        running: meter
            .i64_up_down_counter("flight_statements_running")
            .with_description("Statements whose result is being read")
            .build(),
        queued: meter
            .i64_up_down_counter("flight_statements_queued")
            .with_description("Statements that wait for their turn")
            .build(),
        waited: meter
            .f64_histogram("flight_queue_seconds")
            .with_description("From a statement's arrival to its turn")
            .build(),
        plans: meter
            .u64_counter("flight_plans")
            .with_description("Plans looked for among those kept")
            .build(),
        rows: meter
            .u64_counter("flight_rows")
            .with_description("Rows sent")
            .build(),
        bytes: meter
            .u64_counter("flight_bytes")
            .with_description("Bytes of record batches sent")
            .build(),
        calls: meter
            .u64_counter("flight_calls")
            .with_description("Calls answered")
            .build(),
        sessions: meter
            .i64_up_down_counter("flight_sessions")
            .with_description("Sessions whose options are kept")
            .build(),
    }
});
