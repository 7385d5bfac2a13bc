//! The rows of a table computed in whole, each with what its row rules say, in one pass over the query.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StringArray, new_null_array};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Int64Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use datafusion::catalog::TableProvider;
use datafusion::datasource::ViewTable;
use datafusion::logical_expr::{Expr as LogicalExpr, LogicalPlan, LogicalPlanBuilder, cast};

use super::rules::Tally;
use super::{Refresher, now};
use crate::error::{Error, ErrorKind, Result};
use crate::project::{Expect, OnViolation, Rule, SqlFile, statement};
use crate::quarantine;
use crate::statement::align;

/// The rule that keeps a row out, by its place among those that can; NULL for a row of the table.
const RULE: &str = "__kept_out_by";

/// Begins the columns that say whether a row breaks one of the other rules.
const BROKEN: &str = "__broken_";

/// Tells the rows of a table from those that its rules keep out.
pub(super) struct JudgedRows {
    schema: SchemaRef,
    /// Rules that keep rows out: name, definition, and whether the rows are kept aside.
    keeping: Vec<(String, String, bool)>,
    watching: Vec<String>,
    quarantine: SchemaRef,
    pub(super) tally: Tally,
}

/// One batch, told apart.
pub(super) struct Judged {
    pub(super) rows: RecordBatch,
    /// What a quarantine keeps.
    pub(super) kept_aside: Option<RecordBatch>,
}

impl Refresher {
    /// The query's plan with its columns as the table stores them and the judgement behind them.
    pub(super) async fn judging(
        &self,
        file: &SqlFile,
        plan: LogicalPlan,
        schema: &SchemaRef,
        now: DateTime<Utc>,
    ) -> Result<(LogicalPlan, JudgedRows)> {
        let mut plan = stored_columns(plan, schema)?;
        let about_rows = |expect: &&Expect| expect.is_about_rows();
        let (mut keeping, watching): (Vec<&Expect>, Vec<&Expect>) = file
            .directives
            .expects
            .iter()
            .filter(about_rows)
            .partition(|expect| expect.on_violation.keeps_out());
        // A row that one rule keeps aside and another drops is kept aside.
        keeping.sort_by_key(|expect| expect.on_violation == OnViolation::Drop);
        if !keeping.is_empty() {
            let mut column = "CASE".to_owned();
            for (index, expect) in keeping.iter().enumerate() {
                column.push_str(&format!(" WHEN {} THEN {index}", broken(&expect.rule)));
            }
            column.push_str(&format!(" END AS \"{RULE}\""));
            plan = self.with_columns(file, plan, &[column], now).await?;
        }
        if !watching.is_empty() {
            let columns: Vec<String> = watching
                .iter()
                .enumerate()
                .map(|(index, expect)| {
                    let broken = broken(&expect.rule);
                    match keeping.is_empty() {
                        true => format!("{broken} AS \"{BROKEN}{index}\""),
                        // A row that is kept out is not asked a second time: the rule may be there to spare it that.
                        false => format!(
                            "CASE WHEN \"{RULE}\" IS NULL THEN {broken} ELSE FALSE END AS \"{BROKEN}{index}\""
                        ),
                    }
                })
                .collect();
            plan = self.with_columns(file, plan, &columns, now).await?;
        }
        let rows = JudgedRows {
            schema: schema.clone(),
            keeping: keeping
                .iter()
                .map(|expect| {
                    let aside = expect.on_violation == OnViolation::Quarantine;
                    (expect.name.clone(), expect.rule.to_string(), aside)
                })
                .collect(),
            watching: watching.iter().map(|expect| expect.name.clone()).collect(),
            quarantine: quarantine::schema(schema),
            tally: Tally::default(),
        };
        Ok((plan, rows))
    }

    /// `SELECT *, columns` over the plan, under the table's own name.
    async fn with_columns(
        &self,
        file: &SqlFile,
        plan: LogicalPlan,
        columns: &[String],
        now: DateTime<Utc>,
    ) -> Result<LogicalPlan> {
        let view: Arc<dyn TableProvider> = Arc::new(ViewTable::new(plan, None));
        let context = self.sessions.context([(file.name.clone(), view)])?;
        let sql = format!(
            "SELECT *, {} FROM \"{}\".\"{}\"",
            columns.join(", "),
            file.name.schema(),
            file.name.name()
        );
        let plan = context.state().statement_to_plan(statement(&sql)?).await?;
        Ok(now::bind(plan, now)?)
    }
}

impl JudgedRows {
    /// Whether a rule keeps rows aside, so that the table has a quarantine.
    pub(super) fn has_quarantine(&self) -> bool {
        self.keeping.iter().any(|(.., aside)| *aside)
    }

    pub(super) fn tell_apart(&mut self, batch: &RecordBatch) -> Result<Judged> {
        let width = self.schema.fields().len();
        let visible: Vec<usize> = (0..width).collect();
        let all = align(&batch.project(&visible)?, &self.schema)?;
        let judged = match self.keeping.is_empty() {
            true => Judged {
                rows: all,
                kept_aside: None,
            },
            false => self.without_kept_out(&all, batch.column(width))?,
        };
        self.tally.see(count(judged.rows.num_rows()));
        let first = width + usize::from(!self.keeping.is_empty());
        for (index, name) in self.watching.iter().enumerate() {
            let broken = batch.column(first + index).as_boolean_opt();
            let broken = broken.ok_or_else(|| misshapen("a rule"))?;
            self.tally.violate(name, count(broken.true_count()));
        }
        Ok(judged)
    }

    fn without_kept_out(&mut self, all: &RecordBatch, rule: &ArrayRef) -> Result<Judged> {
        let rules = rule.as_primitive_opt::<Int64Type>();
        let rules = rules.ok_or_else(|| misshapen("what keeps a row out"))?;
        let of = |row: usize| {
            let index = rules.is_valid(row).then(|| rules.value(row))?;
            self.keeping.get(usize::try_from(index).ok()?)
        };
        let kept: BooleanArray = (0..rules.len())
            .map(|row| Some(of(row).is_none()))
            .collect();
        let aside: BooleanArray = (0..rules.len())
            .map(|row| Some(of(row).is_some_and(|(.., aside)| *aside)))
            .collect();
        let kept_aside = match aside.true_count() {
            0 => None,
            _ => {
                let chosen = || {
                    (0..rules.len())
                        .filter(|row| aside.value(*row))
                        .filter_map(of)
                };
                let names: StringArray = chosen().map(|(name, ..)| Some(name.as_str())).collect();
                let reasons: StringArray = chosen()
                    .map(|(_, definition, _)| Some(quarantine::reason(definition)))
                    .collect();
                let rows = filter_record_batch(all, &aside)?;
                Some(self.quarantined(&rows, names, reasons)?)
            }
        };
        for row in 0..rules.len() {
            if let Some((name, ..)) = of(row) {
                self.tally.keep_out(name, 1);
            }
        }
        Ok(Judged {
            rows: filter_record_batch(all, &kept)?,
            kept_aside,
        })
    }

    /// The rows as a quarantine has them; no event stands behind the rows of such a table.
    fn quarantined(
        &self,
        rows: &RecordBatch,
        names: StringArray,
        reasons: StringArray,
    ) -> Result<RecordBatch> {
        let mut columns = rows.columns().to_vec();
        columns.push(Arc::new(names));
        columns.push(Arc::new(reasons));
        for field in self.quarantine.fields().iter().skip(columns.len()) {
            columns.push(new_null_array(field.data_type(), rows.num_rows()));
        }
        Ok(RecordBatch::try_new(self.quarantine.clone(), columns)?)
    }
}

fn broken(rule: &Rule) -> String {
    format!("(({rule}) IS NOT TRUE)")
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

fn misshapen(what: &str) -> Error {
    Error::new(
        ErrorKind::Internal,
        format!("the column of {what} has another type"),
    )
}

/// The plan with each column cast to the type that the table stores: what cannot be is an error, as in any query.
fn stored_columns(plan: LogicalPlan, schema: &SchemaRef) -> Result<LogicalPlan> {
    let planned = plan.schema().clone();
    let columns = planned.columns().into_iter().zip(planned.fields().iter());
    let casts = columns
        .zip(schema.fields())
        .map(|((column, planned), stored)| {
            let expr = LogicalExpr::Column(column);
            match needs_cast(planned.data_type(), stored.data_type()) {
                true => cast(expr, stored.data_type().clone()).alias(stored.name()),
                false => expr.alias(stored.name()),
            }
        })
        .collect::<Vec<_>>();
    Ok(LogicalPlanBuilder::from(plan).project(casts)?.build()?)
}

/// Texts and dictionaries of any kind hold the same values; they are brought into form when they are written.
fn needs_cast(planned: &DataType, stored: &DataType) -> bool {
    planned != stored
        && !planned.is_nested()
        && !matches!(stored, DataType::Utf8 | DataType::Binary)
}
