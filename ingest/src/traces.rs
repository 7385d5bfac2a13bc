//! What ingest tells of a commit to bronze: counts, never a message.

use tracing::field::Empty;
use tracing::{Span, info_span};

/// The target by which the process knows the spans that it sends.
const TARGET: &str = "trace";

/// One cut on its way into its table, however often it is tried.
pub(crate) fn commit(table: &str, rows: u64, bytes: usize, poison: usize) -> Span {
    info_span!(
        target: TARGET,
        "ingest.commit",
        table,
        rows,
        bytes,
        poison,
        attempts = Empty,
        otel.status_code = Empty,
    )
}

pub(crate) fn attempts(attempts: u64) {
    Span::current().record("attempts", attempts);
}

pub(crate) fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}
