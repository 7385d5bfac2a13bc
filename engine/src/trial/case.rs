use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use sql_files::TableName;
use sqlparser::ast::Query;
use sqlparser::tokenizer::Span;

use super::Bench;
use super::difference;
use super::events::{self, Event};
use super::needs::{self, stand_in};
use super::report::{CaseReport, Failure};
use super::rows::{Writer, fitted, texts};
use super::world::World;
use crate::epoch::{Freshness, Manifest};
use crate::error::Error;
use crate::project::{
    Action, Case, Diagnostic, Moment, Outcome, Rows, RuleName, SqlFile, Step, Trial,
};

/// Columns of a quarantine table beside those of its table.
const QUARANTINE_COLUMNS: [&str; 2] = ["rule", "reason"];

/// Takes the steps of one case until one fails.
pub(super) async fn run(bench: Arc<Bench>, trial: Arc<Trial>, index: usize) -> CaseReport {
    let started = Instant::now();
    let case = &trial.cases[index];
    let failure = match Box::pin(steps(&bench, &trial, case)).await {
        Ok(()) => None,
        Err(failure) => Some(*failure),
    };
    CaseReport {
        table: trial.table.to_string(),
        case: case.name.clone().unwrap_or_default(),
        file: trial.shown_path.clone(),
        line: case.span.start.line,
        seconds: started.elapsed().as_secs_f64(),
        failure,
    }
}

type Outcomes<T = ()> = Result<T, Box<Failure>>;

async fn steps(bench: &Bench, trial: &Trial, case: &Case) -> Outcomes {
    let broken = |error: Error| Box::new(broke(case.span, &error));
    let lock = bench.checked.lock.render().map_err(broken)?;
    let texts = needs::texts(&bench.checked, trial, case, &lock);
    let mut run = Run {
        world: World::open(bench, &texts).await.map_err(broken)?,
        writer: Writer::new(&bench.sessions).map_err(broken)?,
        bench,
        trial,
        clock: None,
        last_lsn: 0,
        epoch: None,
        told_held: false,
    };
    for step in &case.steps {
        run.step(step).await?;
    }
    Ok(())
}

struct Run<'a> {
    bench: &'a Bench,
    trial: &'a Trial,
    world: World,
    writer: Writer,
    /// What the test last set.
    clock: Option<DateTime<Utc>>,
    last_lsn: i64,
    /// The epoch of all steps so far; None when one came since.
    epoch: Option<Arc<Manifest>>,
    /// Whether the test knows that the table is held in this epoch.
    told_held: bool,
}

impl Run<'_> {
    async fn step(&mut self, step: &Step) -> Outcomes {
        if let Action::Expect(outcome) = &step.action {
            let epoch = match &self.epoch {
                Some(epoch) => Arc::clone(epoch),
                None => {
                    let turn = self.world.turn().await;
                    let epoch = turn.map_err(|error| Box::new(broke(step.span, &error)))?;
                    self.epoch = Some(Arc::clone(&epoch));
                    self.told_held = false;
                    epoch
                }
            };
            return self.expect(step.span, &epoch, outcome).await;
        }
        self.epoch = None;
        match &step.action {
            Action::Now(moment) => self.set_clock(step.span, *moment),
            Action::Given(rows) | Action::Change(rows) => self.give(step.span, rows, "c").await,
            Action::Delete(rows) => self.give(step.span, rows, "d").await,
            Action::Expect(_) => Ok(()),
        }
    }

    fn set_clock(&mut self, span: Span, moment: Moment) -> Outcomes {
        let now = self.world.now();
        let next = match moment {
            Moment::At(at) => Some(at),
            Moment::Later(later) => chrono::Duration::from_std(later)
                .ok()
                .and_then(|later| now.checked_add_signed(later)),
        };
        let Some(next) = next.filter(|next| self.clock.is_none_or(|last| *next >= last)) else {
            let message = format!("the clock stands at {} and only goes on", now.to_rfc3339());
            return Err(Box::new(Failure::new(span.start.line, message)));
        };
        self.clock = Some(next);
        self.world.set_clock(next);
        Ok(())
    }

    async fn give(&mut self, span: Span, rows: &Rows, op: &str) -> Outcomes {
        let source = self.trial.source();
        let at = rows.table_span;
        let written = self
            .writer
            .rows(source, &rows.query, at, self.world.now())
            .await
            .map_err(mistake)?;
        let (bronze, events) = if rows.table.is_bronze() {
            let known = self.bench.checked.lock.bronze.get(rows.table.name());
            let events = events::written(source, at, &written, known, &mut self.last_lsn);
            (rows.table.name().to_owned(), events.map_err(mistake)?)
        } else {
            let events = self.stand_ins(at, &rows.table, &written, op)?;
            (stand_in(&rows.table), events)
        };
        if events.is_empty() {
            return Ok(());
        }
        let appended = self.world.append(&bronze, &events).await;
        appended.map_err(|error| Box::new(broke(span, &error)))
    }

    fn stand_ins(
        &mut self,
        at: Span,
        table: &TableName,
        written: &RecordBatch,
        op: &str,
    ) -> Outcomes<Vec<Event>> {
        let source = self.trial.source();
        let wrong = |message: String| mistake(source.at(at, message));
        let checked = &self.bench.checked;
        let (Some(known), Some(file)) = (checked.tables.get(table), checked.project.file(table))
        else {
            return Err(wrong(format!("there is no table {table}")));
        };
        let rows = fitted(source, at, written, &known.schema).map_err(mistake)?;
        check_key(file, &rows).map_err(wrong)?;
        self.last_lsn += 1;
        let lsn = self.last_lsn;
        let without_key = file.directives.key.is_empty();
        let generation = if without_key { lsn } else { 0 };
        let events = events::stand_ins(&rows, op, generation, lsn);
        let mut events = events.map_err(|error| Box::new(broke(at, &error)))?;
        if without_key {
            events.push(events::marker(generation));
        }
        Ok(events)
    }

    async fn expect(&mut self, span: Span, epoch: &Arc<Manifest>, outcome: &Outcome) -> Outcomes {
        let table = &self.trial.table;
        let visible = match self.bench.checked.tables.get(table) {
            Some(known) => Arc::clone(&known.schema),
            None => return Ok(()),
        };
        match outcome {
            Outcome::Rows(query) => {
                if !self.told_held
                    && let Some(reason) = held(epoch, table)
                {
                    return Err(Box::new(is_held(span, epoch, table, &reason)));
                }
                self.compare(span, epoch, table, &visible, query.as_deref())
                    .await
            }
            Outcome::Quarantine(query) => {
                let name = format!("{}__quarantine", table.name());
                let quarantine = TableName::new(table.schema(), &name);
                let quarantine =
                    quarantine.map_err(|error| Box::new(broke(span, &error.into())))?;
                let mut fields: Vec<Arc<Field>> = visible.fields().iter().cloned().collect();
                fields.extend(
                    QUARANTINE_COLUMNS.map(|name| Arc::new(Field::new(name, DataType::Utf8, true))),
                );
                let schema = Arc::new(Schema::new(fields));
                self.compare(span, epoch, &quarantine, &schema, query.as_deref())
                    .await
            }
            Outcome::Held(rule) => {
                self.told_held = true;
                expect_held(span, epoch, table, rule.as_ref())
            }
            Outcome::Warned(rule, count) => expect_warned(span, epoch, table, rule, *count),
        }
    }

    /// Compares the columns that the test names; where it expects no rows, all of them.
    async fn compare(
        &self,
        span: Span,
        epoch: &Arc<Manifest>,
        table: &TableName,
        schema: &SchemaRef,
        query: Option<&Query>,
    ) -> Outcomes {
        let source = self.trial.source();
        let expected = match query {
            Some(query) => {
                let written = self.writer.rows(source, query, span, self.world.now());
                let written = written.await.map_err(mistake)?;
                fitted(source, span, &written, schema).map_err(mistake)?
            }
            None => RecordBatch::new_empty(Arc::clone(schema)),
        };
        let broken = |error: Error| Box::new(broke(span, &error));
        let fields = expected.schema();
        let columns: Vec<&str> = fields.fields().iter().map(|f| f.name().as_str()).collect();
        let found = self.world.rows(epoch, table, &columns).await;
        // A table without quarantined rows may have no quarantine.
        let found = found
            .map_err(broken)?
            .unwrap_or_else(|| RecordBatch::new_empty(Arc::clone(&fields)));
        let key = self.bench.checked.project.file(&self.trial.table);
        let key: Vec<String> = key
            .into_iter()
            .flat_map(|file| &file.directives.key)
            .map(|column| column.name.clone())
            .collect();
        match difference::between(&expected, &found, &key).map_err(broken)? {
            None => Ok(()),
            Some(difference) => {
                let message = format!("{table} is not as expected");
                let mut failure = Failure::new(span.start.line, message);
                failure.difference = Some(difference);
                Err(Box::new(failure))
            }
        }
    }
}

/// Every row needs its key, and no two rows of a step the same.
fn check_key(file: &SqlFile, rows: &RecordBatch) -> Result<(), String> {
    let table = &file.name;
    let mut columns = Vec::new();
    for column in &file.directives.key {
        let name = &column.name;
        let Some(cells) = rows.column_by_name(name) else {
            return Err(format!("rows of {table} need their key \"{name}\""));
        };
        if cells.null_count() > 0 {
            return Err(format!("the key \"{name}\" of {table} is NULL in a row"));
        }
        columns.push(texts(cells).map_err(|error| error.to_string())?);
    }
    let mut seen = BTreeSet::new();
    for row in 0..rows.num_rows() {
        let key: Vec<_> = columns.iter().map(|cells| cells[row].as_deref()).collect();
        if !columns.is_empty() && !seen.insert(key.clone()) {
            let key: Vec<&str> = key.into_iter().flatten().collect();
            return Err(format!(
                "two rows of {table} have the key {}",
                key.join(", ")
            ));
        }
    }
    Ok(())
}

/// Why a table is not at its newest, if it is not.
fn held(epoch: &Manifest, table: &TableName) -> Option<String> {
    if let Some(unbuilt) = epoch.unbuilt.get(table) {
        return Some(unbuilt.reason.clone());
    }
    let state = epoch.tables.get(table)?;
    (state.state == Freshness::Held).then(|| state.reason.clone().unwrap_or_default())
}

fn is_held(span: Span, epoch: &Manifest, table: &TableName, reason: &str) -> Failure {
    let mut message = format!("{table} is held: {reason}");
    for other in epoch.tables.keys().chain(epoch.unbuilt.keys()) {
        if other != table
            && let Some(reason) = held(epoch, other)
        {
            message.push_str(&format!("; {other} is held: {reason}"));
        }
    }
    let mut failure = Failure::new(span.start.line, message);
    failure.hint = Some("Put `-- @expected held` above where that is meant.".to_owned());
    failure
}

fn expect_held(
    span: Span,
    epoch: &Manifest,
    table: &TableName,
    rule: Option<&RuleName>,
) -> Outcomes {
    let failed = |message: String| Err(Box::new(Failure::new(span.start.line, message)));
    match (held(epoch, table), rule) {
        (None, _) => failed(format!("{table} is not held")),
        (Some(reason), Some(rule)) if !reason.contains(&format!("\"{}\"", rule.name)) => {
            let name = &rule.name;
            failed(format!("{table} is not held by \"{name}\", but: {reason}"))
        }
        (Some(_), _) => Ok(()),
    }
}

fn expect_warned(
    span: Span,
    epoch: &Manifest,
    table: &TableName,
    rule: &RuleName,
    count: u64,
) -> Outcomes {
    let state = epoch.tables.get(table);
    let found = state.and_then(|state| state.warnings.get(&rule.name));
    let found = found.copied().unwrap_or(0);
    if found == count {
        return Ok(());
    }
    let name = &rule.name;
    let message = format!("rule \"{name}\" of {table} is broken by {found} rows, not by {count}");
    Err(Box::new(Failure::new(span.start.line, message)))
}

/// Storage, or this program.
fn broke(span: Span, error: &Error) -> Failure {
    let mut failure = Failure::new(span.start.line, error.to_string());
    failure.hint = error.hint_text().map(str::to_owned);
    failure
}

/// The test itself is wrong.
fn mistake(problem: Diagnostic) -> Box<Failure> {
    let mut failure = Failure::new(u64::from(problem.line), problem.message);
    failure.hint = problem.hint;
    Box::new(failure)
}
