//! What refresh tells of an epoch while it is made: names of tables and counts, never a value.

use sql_files::TableName;
use tracing::field::{Empty, debug};
use tracing::{Span, info_span};

use crate::epoch::Work;
use crate::error::Error;

/// The target by which the process knows the spans that it sends.
const TARGET: &str = "trace";

/// One epoch, from its intent to its manifest.
pub(crate) fn epoch(epoch: u64) -> Span {
    info_span!(
        target: TARGET,
        "refresh.epoch",
        epoch,
        tables = Empty,
        outcome = Empty,
        otel.status_code = Empty,
    )
}

/// One table of it that is made anew.
pub(crate) fn table(epoch: u64, table: &TableName) -> Span {
    info_span!(
        target: TARGET,
        "refresh.table",
        epoch,
        table = %table,
        rows = Empty,
        rows_written = Empty,
        bytes_written = Empty,
        outcome = Empty,
        otel.status_code = Empty,
    )
}

/// The manifest, which makes the epoch what readers see.
pub(crate) fn publish(epoch: u64) -> Span {
    info_span!(target: TARGET, "refresh.publish", epoch)
}

pub(crate) fn ended(span: &Span, outcome: &'static str) {
    span.record("outcome", outcome);
}

/// The next version of a table, with the rows that readers see where they were counted.
pub(crate) fn made(span: &Span, rows: Option<u64>) {
    ended(span, "made");
    if let Some(rows) = rows {
        span.record("rows", rows);
    }
}

pub(crate) fn wrote(span: &Span, work: &Work) {
    span.record("rows_written", work.rows);
    span.record("bytes_written", work.bytes);
}

/// The kind alone: a message may quote a value.
pub(crate) fn failed(span: &Span, error: &Error) {
    span.record("outcome", debug(error.kind()));
    span.record("otel.status_code", "ERROR");
}
