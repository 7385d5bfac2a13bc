use std::collections::BTreeMap;

use changes::{ChangeEvent, Clock, Error, KafkaConfig, Op, Result};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};
use tracing::info;

use super::employee::Employee;
use super::workbook::Workbook;
use crate::changelog::{Row, Rows};
use crate::commute::{self, Communes, Flag};
use crate::diff::{RowChange, diff};
use crate::lsn::LsnAllocator;
use crate::publisher::Publisher;
use crate::topics::SourceTopic;

/// Share of the known employees that an import deletes without asking, at most.
const MAX_DELETED_SHARE: f64 = 0.10;

#[derive(Debug, Clone, Copy, Default)]
pub struct ImportOptions {
    /// Delete employees, or declared sports of those who stay, even when they are more than 10 % of those known.
    pub yes: bool,
    /// Publish nothing; the report says what would be.
    pub dry_run: bool,
}

/// How many rows of a table were created, updated, deleted or left alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableChanges {
    pub created: usize,
    pub updated: usize,
    pub deleted: usize,
    pub unchanged: usize,
}

/// What an import changed, or would change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportReport {
    pub employees: TableChanges,
    pub declared_sports: TableChanges,
    pub commute_distances: TableChanges,
    /// Employees who are no longer in the workbook.
    pub deleted_employees: Vec<i64>,
    /// Employees who stay, and whose declared sport is no longer in the workbook.
    pub deleted_sports: Vec<i64>,
    /// Employees whose distance could not be estimated, and why.
    pub flagged: Vec<(i64, Flag)>,
    /// Rows of the sports workbook whose employee is in no row of the other; they are left out.
    pub sports_without_employee: usize,
    /// Changes published, or written to the database; 0 in a dry run.
    pub published: usize,
}

impl ImportReport {
    pub fn changes(&self) -> usize {
        [self.employees, self.declared_sports, self.commute_distances]
            .iter()
            .map(|table| table.created + table.updated + table.deleted)
            .sum()
    }
}

/// Publishes what differs between the workbook and the topics. The topics must exist: see [`crate::topics::ensure`].
pub async fn import(
    kafka: &KafkaConfig,
    allocator: &LsnAllocator,
    workbook: Workbook,
    options: ImportOptions,
    clock: Clock,
) -> Result<ImportReport> {
    let topics = [
        SourceTopic::employees(kafka)?,
        SourceTopic::declared_sports(kafka)?,
        SourceTopic::commute_distances(kafka)?,
    ];
    let known = Known {
        employees: Rows::read(kafka, &topics[0]).await?,
        declared_sports: Rows::read(kafka, &topics[1]).await?,
        commute_distances: Rows::read(kafka, &topics[2]).await?,
    };
    let now = clock();
    let plan = plan(&known, &workbook, now);
    let mut report = plan.report;
    if options.dry_run {
        return Ok(report);
    }
    if !options.yes {
        refuse_mass_deletion(&report, &known)?;
    }
    if report.changes() == 0 {
        return Ok(report);
    }
    allocator.rise_above(known.last_lsn()).await?;
    let publisher = Publisher::connect(kafka)?;
    // Employees last: the next import compares with them, so that it does again what a crash cut off here.
    for (topic, changes) in topics.iter().zip(plan.changes).rev() {
        let count = u32::try_from(changes.len()).unwrap_or(u32::MAX);
        let first_lsn = allocator.reserve(count).await?;
        let events: Vec<ChangeEvent> = changes
            .into_iter()
            .zip(first_lsn..)
            .map(|(change, lsn)| change.event(topic.key_column, lsn, now.timestamp_micros()))
            .collect();
        publisher.publish(topic, &events, None).await?;
        report.published += events.len();
    }
    info!(published = report.published, "imported the HR workbook");
    Ok(report)
}

/// What the topics, or the database, say before the import.
#[derive(Default)]
pub(super) struct Known {
    pub(super) employees: Rows,
    pub(super) declared_sports: Rows,
    pub(super) commute_distances: Rows,
}

impl Known {
    fn last_lsn(&self) -> i64 {
        [
            &self.employees,
            &self.declared_sports,
            &self.commute_distances,
        ]
        .iter()
        .map(|rows| rows.last_lsn)
        .max()
        .unwrap_or(0)
    }
}

pub(super) struct Plan {
    /// Of employees, declared sports and commute distances, in this order.
    pub(super) changes: [Vec<RowChange>; 3],
    pub(super) report: ImportReport,
}

pub(super) fn plan(known: &Known, workbook: &Workbook, now: DateTime<Utc>) -> Plan {
    let employees: BTreeMap<i64, Row> = workbook
        .employees
        .iter()
        .map(|employee| (employee.id, employee.row()))
        .collect();
    let mut report = ImportReport::default();

    let mut declared_sports = match &workbook.sports {
        Some(sports) => sports
            .iter()
            .map(|(id, sport)| (*id, sport_row(*id, sport)))
            .collect(),
        None => known.declared_sports.rows.clone(),
    };
    let declared = declared_sports.len();
    declared_sports.retain(|id, _| employees.contains_key(id));
    if workbook.sports.is_some() {
        report.sports_without_employee = declared - declared_sports.len();
    }

    let mut commute_distances = BTreeMap::new();
    for employee in &workbook.employees {
        let (row, flag) = commute_row(known, employee, &employees[&employee.id], now);
        commute_distances.insert(employee.id, row);
        report.flagged.extend(flag.map(|flag| (employee.id, flag)));
    }

    let changes = [
        diff(&known.employees.rows, &employees),
        diff(&known.declared_sports.rows, &declared_sports),
        diff(&known.commute_distances.rows, &commute_distances),
    ];
    report.employees = count(&changes[0], employees.len());
    report.declared_sports = count(&changes[1], declared_sports.len());
    report.commute_distances = count(&changes[2], commute_distances.len());
    report.deleted_employees = deleted(&changes[0]);
    report.deleted_sports = deleted(&changes[1]);
    report
        .deleted_sports
        .retain(|id| employees.contains_key(id));
    Plan { changes, report }
}

fn sport_row(id: i64, sport: &str) -> Row {
    [("employee_id", json!(id)), ("sport", json!(sport))]
        .into_iter()
        .map(|(column, value)| (column.to_owned(), value))
        .collect()
}

/// The known distance when it still holds, else a new estimate.
fn commute_row(
    known: &Known,
    employee: &Employee,
    row: &Row,
    now: DateTime<Utc>,
) -> (Row, Option<Flag>) {
    let estimate = commute::estimate(Communes::bundled(), employee.adresse.as_deref());
    let estimated: Row = [
        ("employee_id", json!(employee.id)),
        ("moyen_deplacement", json!(employee.moyen_deplacement)),
        ("distance_m", json!(estimate.distance_m)),
        ("source", json!(commute::SOURCE)),
        ("flag", json!(estimate.flag.map(Flag::as_str))),
        (
            "computed_at",
            json!(now.to_rfc3339_opts(SecondsFormat::Micros, true)),
        ),
    ]
    .into_iter()
    .map(|(column, value)| (column.to_owned(), value))
    .collect();
    let Some(last) = known.commute_distances.rows.get(&employee.id) else {
        return (estimated, estimate.flag);
    };
    let same = |columns: &[&str], one: Option<&Row>, other: &Row| {
        let get = |row: &Row, column| row.get(column).cloned().unwrap_or(Value::Null);
        one.is_some_and(|one| columns.iter().all(|c| get(one, *c) == get(other, *c)))
    };
    let lives_as_before = same(
        &["adresse", "moyen_deplacement"],
        known.employees.rows.get(&employee.id),
        row,
    );
    // A distance that somebody measured outlives our estimate for as long as nobody moves.
    if lives_as_before && last.get("source") != Some(&json!(commute::SOURCE)) {
        return (last.clone(), None);
    }
    let compared = ["moyen_deplacement", "distance_m", "source", "flag"];
    if same(&compared, Some(last), &estimated) {
        return (last.clone(), estimate.flag);
    }
    (estimated, estimate.flag)
}

fn deleted(changes: &[RowChange]) -> Vec<i64> {
    let deleted = changes.iter().filter(|change| change.op() == Op::Delete);
    deleted.map(|change| change.key).collect()
}

fn count(changes: &[RowChange], rows: usize) -> TableChanges {
    let of = |op| changes.iter().filter(|change| change.op() == op).count();
    let (created, updated, deleted) = (of(Op::Create), of(Op::Update), of(Op::Delete));
    TableChanges {
        created,
        updated,
        deleted,
        unchanged: rows - created - updated,
    }
}

/// A workbook that was filtered, or whose sheet was cut off, looks like one whose people are gone.
pub(super) fn refuse_mass_deletion(report: &ImportReport, known: &Known) -> Result<()> {
    refuse_share(
        report.deleted_employees.len(),
        known.employees.rows.len(),
        "known employees",
        "who would be deleted",
    )?;
    refuse_share(
        report.deleted_sports.len(),
        known.declared_sports.rows.len(),
        "declared sports",
        "which would be deleted although their employees stay",
    )
}

#[expect(clippy::cast_precision_loss, reason = "counts of employees are small")]
fn refuse_share(deleted: usize, known: usize, what: &str, consequence: &str) -> Result<()> {
    let share = deleted as f64 / known.max(1) as f64;
    if share <= MAX_DELETED_SHARE {
        return Ok(());
    }
    let percent = share * 100.0;
    Err(Error::invalid(format!(
        "the workbook lacks {deleted} of {known} {what} ({percent:.1} %), {consequence}"
    ))
    .hint("See who with --dry-run; if it is right, import again with --yes."))
}

#[cfg(test)]
mod tests;
