//! What is told of an export: its table, format and counts; never a row.

use engine::{Error, ErrorKind, TableName};
use tracing::field::{Empty, debug};
use tracing::{Span, info_span};

/// The target by which the process knows the spans that it sends.
const TARGET: &str = "trace";

/// An export from its request to its last byte, in which the statement that it asks is a child.
pub(crate) struct Export {
    span: Span,
    bytes: u64,
    outcome: Option<Outcome>,
}

enum Outcome {
    Whole,
    Failed(ErrorKind),
}

impl Export {
    pub(crate) fn begin(table: &TableName, format: &'static str) -> Self {
        let span = info_span!(
            target: TARGET,
            "export",
            table = %table,
            format,
            bytes = Empty,
            outcome = Empty,
            otel.kind = "server",
            otel.status_code = Empty,
        );
        Self {
            span,
            bytes: 0,
            outcome: None,
        }
    }

    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    pub(crate) fn whole(&mut self) {
        self.outcome = Some(Outcome::Whole);
    }

    /// The kind alone: a message may quote a value.
    pub(crate) fn failed(&mut self, error: &Error) {
        self.outcome = Some(Outcome::Failed(error.kind()));
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        self.span.record("bytes", self.bytes);
        match self.outcome {
            Some(Outcome::Whole) => self.span.record("outcome", "whole"),
            // Whoever asked went away, or did not read.
            None => self.span.record("outcome", "abandoned"),
            Some(Outcome::Failed(kind)) => {
                self.span.record("otel.status_code", "ERROR");
                self.span.record("outcome", debug(kind))
            }
        };
    }
}
