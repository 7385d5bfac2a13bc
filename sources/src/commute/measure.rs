use changes::{ChangeEvent, Clock, Error, ErrorKind, KafkaConfig, Result};
use serde_json::Value;
use tracing::info;

use super::config::{CommuteConfig, Key};
use super::provider::Provider;
use super::survey::Survey;
use crate::changelog::{Row, Rows};
use crate::diff::{RowChange, diff};
use crate::lsn::LsnAllocator;
use crate::publisher::Publisher;
use crate::topics::SourceTopic;

#[derive(Debug, Clone, Copy, Default)]
pub struct MeasureOptions {
    /// Ask nobody and publish nothing; the report says what would be.
    pub dry_run: bool,
    /// Ask again about addresses that a provider had no way for.
    pub retry_flagged: bool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    pub done: usize,
    pub total: usize,
}

/// One employee whose distance changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    pub employee_id: i64,
    pub distance_m: Option<f64>,
    pub source: String,
    pub flag: Option<String>,
}

#[derive(Debug, Default)]
pub struct MeasureReport {
    pub changed: Vec<Measured>,
    pub unchanged: usize,
    pub deleted: usize,
    /// Addresses and modes that the provider was asked about, or would be in a dry run.
    pub asked: usize,
    /// Employees whom nobody answered for, and why: what was measured before counts, or the estimate.
    pub unanswered: Vec<(i64, String)>,
    /// Why not everybody was measured, where somebody has to act.
    pub stopped: Option<Error>,
}

/// Measures what is not known yet, and publishes what differs from the topic. The topics must exist, but for a dry run.
pub async fn measure(
    kafka: &KafkaConfig,
    allocator: &LsnAllocator,
    config: &CommuteConfig,
    key: Option<Key>,
    options: MeasureOptions,
    clock: Clock,
    tell: impl Fn(Progress),
) -> Result<MeasureReport> {
    let provider = prepared(config, key, options)?;
    let employees = Rows::read(kafka, &SourceTopic::employees(kafka)?).await?;
    let topic = SourceTopic::commute_distances(kafka)?;
    let known = Rows::read(kafka, &topic).await?;
    if employees.rows.is_empty() {
        return Err(nobody());
    }
    let survey = Survey::made(
        config,
        provider.as_ref(),
        options,
        &employees,
        &known.rows,
        &clock,
        tell,
    )
    .await?;
    let now = clock();
    let after = survey.rows(&known.rows, now);
    let changes = diff(&known.rows, &after);
    let report = told(survey.report, &changes, after.len());
    if options.dry_run || changes.is_empty() {
        return Ok(report);
    }
    allocator
        .rise_above(known.last_lsn.max(employees.last_lsn))
        .await?;
    let count = u32::try_from(changes.len()).unwrap_or(u32::MAX);
    let first = allocator.reserve(count).await?;
    let events: Vec<ChangeEvent> = changes
        .into_iter()
        .zip(first..)
        .map(|(change, lsn)| change.event(topic.key_column, lsn, now.timestamp_micros()))
        .collect();
    Publisher::connect(kafka)?
        .publish(&topic, &events, None)
        .await?;
    info!(published = events.len(), "published commute distances");
    Ok(report)
}

/// Who is asked: nobody in a dry run, and nobody for estimates.
pub(super) fn prepared(
    config: &CommuteConfig,
    key: Option<Key>,
    options: MeasureOptions,
) -> Result<Option<Provider>> {
    config.validate()?;
    match options.dry_run {
        true => Ok(None),
        false => Provider::new(config, key),
    }
}

pub(super) fn nobody() -> Error {
    Error::new(ErrorKind::NotFound, "there are no employees yet")
        .hint("Bring them in with `sportlake hr import` first.")
}

/// The report with what changes, of so many rows in all.
pub(super) fn told(mut report: MeasureReport, changes: &[RowChange], rows: usize) -> MeasureReport {
    for change in changes {
        match &change.after {
            Some(row) => report.changed.push(measured(change.key, row)),
            None => report.deleted += 1,
        }
    }
    report.unchanged = rows - report.changed.len();
    report
}

fn measured(employee_id: i64, row: &Row) -> Measured {
    let text = |column: &str| row.get(column).and_then(Value::as_str).map(str::to_owned);
    Measured {
        employee_id,
        distance_m: row.get("distance_m").and_then(Value::as_f64),
        source: text("source").unwrap_or_default(),
        flag: text("flag"),
    }
}
