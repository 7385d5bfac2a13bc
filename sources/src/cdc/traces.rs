//! What the capture tells of its way into Kafka: counts and positions, never a row.

use tracing::field::Empty;
use tracing::{Span, info_span};

use crate::postgres::Lsn;

/// The target by which the process knows the spans that it sends.
const TARGET: &str = "trace";

/// The messages of one commit, or of one table's first load, from the first that is sent to the last that is acknowledged.
pub(super) struct Publish {
    span: Span,
    messages: u64,
    is_acknowledged: bool,
}

impl Publish {
    pub(super) fn begin() -> Self {
        let span = info_span!(
            target: TARGET,
            parent: None,
            "cdc.publish",
            messages = Empty,
            lsn = Empty,
            otel.kind = "producer",
            otel.status_code = Empty,
        );
        Self {
            span,
            messages: 0,
            is_acknowledged: false,
        }
    }

    pub(super) fn count(&mut self) {
        self.messages += 1;
    }

    /// Everything is in Kafka, up to a position of the source's log where it stands for one.
    pub(super) fn acknowledged(mut self, position: Option<Lsn>) {
        self.is_acknowledged = true;
        if let Some(position) = position {
            self.span.record("lsn", position.0);
        }
    }
}

impl Drop for Publish {
    fn drop(&mut self) {
        self.span.record("messages", self.messages);
        if !self.is_acknowledged {
            self.span.record("otel.status_code", "ERROR");
        }
    }
}
