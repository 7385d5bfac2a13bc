//! What the notifier tells of a call of Slack: how many activities and what became of it, never a text or a name.

use tracing::field::Empty;
use tracing::{Span, info_span};

use crate::slack::Verdict;

/// The target by which the process knows the spans that it sends.
const TARGET: &str = "trace";

pub(crate) fn call(activities: usize) -> Span {
    info_span!(
        target: TARGET,
        "notify.call",
        activities,
        outcome = Empty,
        reason = Empty,
        otel.kind = "client",
        otel.status_code = Empty,
    )
}

pub(crate) fn answered(span: &Span, verdict: &Verdict) {
    let outcome = match verdict {
        Verdict::Posted => "posted",
        Verdict::Retry { .. } => "again",
        Verdict::Dead(_) => "dead",
        Verdict::Stop(_) => "refused",
    };
    span.record("outcome", outcome);
    if let Verdict::Retry { reason, .. } = verdict {
        span.record("reason", reason);
    }
    if !matches!(verdict, Verdict::Posted) {
        span.record("otel.status_code", "ERROR");
    }
}
