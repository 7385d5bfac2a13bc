//! What is told of a statement on its way: who asked, its number, its stages and counts; never its text or a value of it.

use std::collections::HashMap;

use engine::ErrorKind;
use opentelemetry::propagation::Extractor;
use opentelemetry::trace::TraceContextExt;
use opentelemetry::{Context, global};
use tonic::codegen::http::HeaderMap;
use tracing::field::{Empty, debug};
use tracing::{Span, info_span};

use crate::metrics::Outcome;
use crate::ticket::StatementTicket;

/// The target by which the process knows the spans that it sends.
const TARGET: &str = "trace";

/// W3C's header of a caller's trace, and the one thing of it that is read.
const PARENT: &str = "traceparent";

/// A caller's trace, which what it asks for continues. Nothing where the process sends no traces.
pub(crate) fn of_caller(headers: &HeaderMap) -> Context {
    global::get_text_map_propagator(|known| known.extract(&Sent(headers)))
}

struct Sent<'a>(&'a HeaderMap);

impl Extractor for Sent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        match key {
            PARENT => self.0.get(key)?.to_str().ok(),
            _ => None,
        }
    }

    fn keys(&self) -> Vec<&str> {
        vec![PARENT]
    }
}

/// A statement that is planned for the first time, before anybody fetches its rows.
pub(crate) fn prepare(user: &str) -> Span {
    info_span!(
        target: TARGET,
        "statement.prepare",
        user,
        statement = Empty,
        epoch = Empty,
        outcome = Empty,
        otel.kind = "server",
        otel.status_code = Empty,
    )
}

/// Notes the ticket in the span, and the span in the ticket: whoever fetches the rows continues its trace.
pub(crate) fn prepared(span: &Span, ticket: &mut StatementTicket) {
    span.record("statement", ticket.id);
    span.record("epoch", ticket.epoch);
    span.record("outcome", Outcome::Ok.label());
    if span.is_disabled() {
        return;
    }
    let mut carrier = HashMap::new();
    span.in_scope(|| {
        global::get_text_map_propagator(|known| known.inject(&mut carrier));
    });
    ticket.trace = carrier.remove(PARENT).unwrap_or_default();
}

/// The kind alone: a message may quote a value.
pub(crate) fn refused(span: &Span, error: ErrorKind) {
    span.record("outcome", debug(error));
    span.record("otel.status_code", "ERROR");
}

/// A statement that is executed, and the stage that it is in.
#[derive(Default)]
pub(crate) struct Stages(Option<Spans>);

struct Spans {
    statement: Span,
    stage: Span,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Plan,
    Queue,
    Run,
    Stream,
}

impl Stages {
    /// Begins with its plan, in the trace of whoever fetches the rows, or else in that of the ticket.
    pub(crate) fn begin(id: u64, user: &str, epoch: u64, ticket: &str) -> Self {
        let within = (!Context::current().span().span_context().is_valid()).then(|| {
            let carrier = HashMap::from([(PARENT.to_owned(), ticket.to_owned())]);
            global::get_text_map_propagator(|known| known.extract(&carrier)).attach()
        });
        let statement = info_span!(
            target: TARGET,
            "statement",
            statement = id,
            user,
            epoch,
            rows = Empty,
            bytes = Empty,
            outcome = Empty,
            error = Empty,
            otel.kind = "server",
            otel.status_code = Empty,
        );
        drop(within);
        if statement.is_disabled() {
            return Self(None);
        }
        let stage = span_of(Stage::Plan, &statement);
        Self(Some(Spans { statement, stage }))
    }

    /// The stage before ends where this one begins.
    pub(crate) fn enter(&mut self, stage: Stage) {
        if let Some(spans) = &mut self.0 {
            spans.stage = span_of(stage, &spans.statement);
        }
    }

    pub(crate) fn end(
        &mut self,
        outcome: Outcome,
        error: Option<ErrorKind>,
        rows: u64,
        bytes: u64,
    ) {
        let Some(Spans { statement, stage }) = self.0.take() else {
            return;
        };
        drop(stage);
        statement.record("rows", rows);
        statement.record("bytes", bytes);
        statement.record("outcome", outcome.label());
        if let Some(error) = error {
            statement.record("error", debug(error));
        }
        if outcome == Outcome::Failed {
            statement.record("otel.status_code", "ERROR");
        }
    }
}

fn span_of(stage: Stage, statement: &Span) -> Span {
    match stage {
        Stage::Plan => info_span!(target: TARGET, parent: statement, "statement.plan"),
        Stage::Queue => info_span!(target: TARGET, parent: statement, "statement.queue"),
        Stage::Run => info_span!(target: TARGET, parent: statement, "statement.run"),
        Stage::Stream => info_span!(target: TARGET, parent: statement, "statement.stream"),
    }
}
