//! Trials: tests of a table in SQL, `tests/<layer>/<table>.sql` of the project's folder.

mod load;
mod reading;

use std::time::Duration;

use chrono::{DateTime, Utc};
use sql_files::{Diagnostic, Source, TableName};
use sqlparser::ast::Query;
use sqlparser::tokenizer::Span;

/// The tests of one table.
#[derive(Debug, Clone)]
pub(crate) struct Trial {
    pub(crate) table: TableName,
    /// The path a person sees.
    pub(crate) shown_path: String,
    pub(crate) text: String,
    pub(crate) cases: Vec<Case>,
}

/// All trials of a project, and what is wrong with those that cannot be read.
#[derive(Debug, Default)]
pub(crate) struct Trials {
    pub(crate) files: Vec<Trial>,
    pub(crate) problems: Vec<Diagnostic>,
}

/// Steps on a lake of their own, in their order.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// None where a file is one case.
    pub(crate) name: Option<String>,
    pub(crate) span: Span,
    pub(crate) steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub(crate) struct Step {
    /// The directive's place.
    pub(crate) span: Span,
    pub(crate) action: Action,
}

#[derive(Debug, Clone)]
pub(crate) enum Action {
    /// Sets the clock.
    Now(Moment),
    /// Rows of an input. A table without a key holds these and no others from here on.
    Given(Rows),
    /// Rows that replace those of their keys; for bronze, more events.
    Change(Rows),
    /// Keys whose rows go.
    Delete(Rows),
    Expect(Outcome),
}

#[derive(Debug, Clone)]
pub(crate) struct Rows {
    pub(crate) table: TableName,
    pub(crate) table_span: Span,
    pub(crate) query: Box<Query>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    At(DateTime<Utc>),
    Later(Duration),
}

/// What a table must be after all that stands above.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// None for no rows.
    Rows(Option<Box<Query>>),
    Quarantine(Option<Box<Query>>),
    Held(Option<RuleName>),
    Warned(RuleName, u64),
}

#[derive(Debug, Clone)]
pub(crate) struct RuleName {
    pub(crate) name: String,
    pub(crate) span: Span,
}

impl Trial {
    pub(crate) fn source(&self) -> Source<'_> {
        Source {
            path: &self.shown_path,
            text: &self.text,
        }
    }
}
