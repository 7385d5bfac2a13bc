use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, BooleanBuilder, StringArray, StringBuilder,
};
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use datafusion::sql::parser::Statement as PlannerStatement;
use sha2::{Digest, Sha256};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::columns::{FoldColumns, column, with_columns};
use super::evaluator::{is_of_one, may_be_of_one};
use super::slot::{Slot, SlotPlan};
use crate::error::{Error, ErrorKind, Result};
use crate::hidden::{DELETED, DROPPED, EVALUATION, REASON, RULE, WITHOUT_KEY};
use crate::project::{Expect, OnViolation, Rule, SqlFile};
use crate::session::{Sessions, one_partition};

/// Begins the reason of a row on which a rule, not the query, cannot be computed.
const RULE_FAILED: &str = "a rule cannot be computed: ";

/// Says of current rows which rule keeps them out: the first QUARANTINE rule that they break, or else the first DROP
/// rule.
pub(super) struct Verdicts {
    rules: Vec<Expect>,
    plan: Option<SlotPlan>,
}

impl Verdicts {
    pub(super) async fn new(
        sessions: &Sessions,
        file: &SqlFile,
        columns: &FoldColumns,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        let rules = keeping_out(file);
        if rules.is_empty() {
            return Ok(Self { rules, plan: None });
        }
        let slot = Slot::new(columns.stored.clone());
        let table = Arc::new(slot.clone());
        let context = one_partition(&sessions.context([(file.name.clone(), table as _)])?);
        let statement = statement(file, &rules)?;
        let plan = SlotPlan::new(&slot, &context, &statement, now).await?;
        Ok(Self {
            rules,
            plan: Some(plan),
        })
    }

    /// Names the rules, so that a change of them is noticed.
    pub(super) fn fingerprint(file: &SqlFile) -> String {
        let mut hash = Sha256::new();
        for expect in keeping_out(file) {
            let Expect {
                name,
                rule,
                on_violation,
                ..
            } = expect;
            hash.update(format!("{name}: {rule} {on_violation}\n"));
        }
        hash.finalize()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    /// The rows with this verdict on them. Rows that the query could not be computed for stay kept out.
    pub(super) async fn judge(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let known: &StringArray = column(rows, RULE)?;
        let reasons: &StringArray = column(rows, REASON)?;
        let dropped: &BooleanArray = column(rows, DROPPED)?;
        let deleted: &BooleanArray = column(rows, DELETED)?;
        let verdicts = self.verdicts(&without_rules(rows)?).await?;
        let mut rule = StringBuilder::new();
        let mut reason = StringBuilder::new();
        let mut drop = BooleanBuilder::new();
        for (row, verdict) in verdicts.into_iter().enumerate() {
            let stays = known.is_valid(row) && is_final(known.value(row), reasons, row);
            let is_deleted = deleted.is_valid(row) && deleted.value(row);
            match verdict {
                _ if stays => {
                    rule.append_value(known.value(row));
                    reason.append_option(reasons.is_valid(row).then(|| reasons.value(row)));
                    drop.append_option(dropped.is_valid(row).then(|| dropped.value(row)));
                }
                Verdict::Bad(index) if !is_deleted => {
                    let expect = &self.rules[index];
                    rule.append_value(&expect.name);
                    reason.append_value(format!("{} is not true", expect.rule));
                    drop.append_value(expect.on_violation == OnViolation::Drop);
                }
                Verdict::Unknown(text) if !is_deleted => {
                    rule.append_value(EVALUATION);
                    reason.append_value(format!("{RULE_FAILED}{text}"));
                    drop.append_null();
                }
                _ => {
                    rule.append_null();
                    reason.append_null();
                    drop.append_null();
                }
            }
        }
        with_columns(
            rows,
            vec![
                (RULE, Arc::new(rule.finish())),
                (REASON, Arc::new(reason.finish())),
                (DROPPED, Arc::new(drop.finish())),
            ],
        )
    }

    async fn verdicts(&self, rows: &RecordBatch) -> Result<Vec<Verdict>> {
        let Some(plan) = &self.plan else {
            return Ok((0..rows.num_rows()).map(|_| Verdict::Good).collect());
        };
        let mut verdicts = Vec::with_capacity(rows.num_rows());
        let mut pending = vec![rows.clone()];
        while let Some(rows) = pending.pop() {
            let count = rows.num_rows();
            match plan.run_each(&rows).await {
                Ok((batches, failed)) => {
                    let judged: usize = batches.iter().map(RecordBatch::num_rows).sum();
                    if judged + failed.len() != count {
                        return Err(Error::new(
                            ErrorKind::Internal,
                            "a rule did not judge each row once",
                        ));
                    }
                    let broken = batches.iter().flat_map(|batch| {
                        let broken = batch.column(0).as_primitive::<Int64Type>();
                        broken.iter()
                    });
                    let mut judged = broken.map(|broken| match broken {
                        None => Verdict::Good,
                        Some(rule) => Verdict::Bad(usize::try_from(rule).unwrap_or(0)),
                    });
                    let mut failed = failed.into_iter().peekable();
                    verdicts.extend((0..count).filter_map(|row| {
                        match failed.next_if(|(at, _)| *at == row) {
                            Some((_, error)) => Some(Verdict::Unknown(error.to_string())),
                            None => judged.next(),
                        }
                    }));
                }
                Err(error) if !may_be_of_one(&error) => return Err(error),
                Err(error) if count <= 1 && !is_of_one(&error) => return Err(error),
                Err(error) if count <= 1 => verdicts.push(Verdict::Unknown(error.to_string())),
                Err(_) => {
                    pending.push(rows.slice(count / 2, count - count / 2));
                    pending.push(rows.slice(0, count / 2));
                }
            }
        }
        Ok(verdicts)
    }
}

enum Verdict {
    Good,
    /// Broken, by the rule's position.
    Bad(usize),
    /// A rule cannot be computed.
    Unknown(String),
}

/// Whether a row is kept out for what no rule decides.
fn is_final(rule: &str, reasons: &StringArray, row: usize) -> bool {
    let of_a_rule = reasons.is_valid(row) && reasons.value(row).starts_with(RULE_FAILED);
    rule == WITHOUT_KEY || (rule == EVALUATION && !of_a_rule)
}

/// The rows as the rules see them: none decided yet but those that no rule decides.
fn without_rules(rows: &RecordBatch) -> Result<RecordBatch> {
    let known: &StringArray = column(rows, RULE)?;
    let reasons: &StringArray = column(rows, REASON)?;
    let open = known.iter().enumerate();
    let open: StringArray = open
        .map(|(row, rule)| rule.filter(|rule| is_final(rule, reasons, row)))
        .collect();
    with_columns(rows, vec![(RULE, Arc::new(open) as ArrayRef)])
}

/// The rules that keep rows out, in the order in which they are asked.
fn keeping_out(file: &SqlFile) -> Vec<Expect> {
    let of = |action: OnViolation| {
        let expects = file.directives.expects.iter();
        expects.filter(move |expect| expect.on_violation == action && expect.is_about_rows())
    };
    of(OnViolation::Quarantine)
        .chain(of(OnViolation::Drop))
        .cloned()
        .collect()
}

fn statement(file: &SqlFile, rules: &[Expect]) -> Result<PlannerStatement> {
    let mut cases = String::new();
    for (index, expect) in rules.iter().enumerate() {
        if let Rule::Row(rule) = &expect.rule {
            cases.push_str(&format!(" WHEN ({rule}) IS NOT TRUE THEN {index}"));
        }
    }
    let sql = format!(
        "SELECT CAST(CASE WHEN \"{DELETED}\" OR \"{RULE}\" IS NOT NULL THEN NULL{cases} END AS BIGINT) AS broken \
         FROM \"{}\".\"{}\"",
        file.name.schema(),
        file.name.name()
    );
    let statement = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(&sql)
        .and_then(|mut parser| parser.parse_statement())
        .map_err(|source| {
            Error::new(ErrorKind::Internal, "a rule does not read back").caused_by(source)
        })?;
    Ok(PlannerStatement::Statement(Box::new(statement)))
}
