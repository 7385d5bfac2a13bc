use std::collections::BTreeMap;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use chrono::{DateTime, Utc};
use datafusion::logical_expr::{ident, lit};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;

use super::now;
use crate::error::{Error, ErrorKind, Result};
use crate::hidden;
use crate::name::TableName;
use crate::project::{Expect, OnViolation, SqlFile};

/// A share of bad rows counts from this many rows on; below, one bad row of a few would be a large share.
const ROWS_FOR_A_SHARE: i64 = 20;

/// What the rules of a table say about its candidate.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// Rows that readers would see.
    pub(super) rows: u64,
    /// Violations of rules that only warn.
    pub(super) warnings: BTreeMap<String, u64>,
    /// Why the candidate must not be committed.
    pub(super) failure: Option<String>,
}

/// The name under which a session that judges a `@cdc` table sees every current row of it, also those that a rule
/// keeps out, with that rule in `__rule`.
pub(super) fn current_of(name: &TableName) -> Result<TableName> {
    TableName::new(name.schema(), &format!("{}__current", name.name()))
}

/// Checks every rule over the one table that the session sees.
pub(super) async fn judge(
    context: &SessionContext,
    file: &SqlFile,
    now: DateTime<Utc>,
) -> Result<Verdict> {
    let rows = context
        .table(format!("{}.{}", file.name.schema(), file.name.name()))
        .await?
        .count()
        .await?;
    let mut verdict = Verdict {
        rows: rows as u64,
        ..Verdict::default()
    };
    if file.directives.cdc.is_some() {
        verdict.warnings = without_rule(context, file).await?;
    }
    for expect in &file.directives.expects {
        let (violations, rows) = count(context, expect.count(&file.name)?, now).await?;
        if violations == 0 {
            continue;
        }
        if fails(expect, violations, rows) {
            verdict.failure.get_or_insert_with(|| {
                format!(
                    "rule \"{}\" is broken by {violations} of {rows} rows",
                    expect.name
                )
            });
        }
        let violations = u64::try_from(violations).unwrap_or(0);
        verdict.warnings.insert(expect.name.clone(), violations);
    }
    Ok(verdict)
}

/// Rows that are kept out for what no rule of the file says, by what it is.
async fn without_rule(context: &SessionContext, file: &SqlFile) -> Result<BTreeMap<String, u64>> {
    let current = current_of(&file.name)?;
    let mut kept_out = BTreeMap::new();
    for rule in [hidden::EVALUATION, hidden::WITHOUT_KEY] {
        let rows = context
            .table(format!("{}.{}", current.schema(), current.name()))
            .await?
            .filter(ident(hidden::RULE).eq(lit(rule)))?
            .count()
            .await?;
        if rows > 0 {
            kept_out.insert(rule.to_owned(), rows as u64);
        }
    }
    Ok(kept_out)
}

fn fails(expect: &Expect, violations: i64, rows: i64) -> bool {
    if expect.on_violation == OnViolation::Fail {
        return true;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "a share of rows in per cent needs no more digits"
    )]
    let over = |limit: f64| violations as f64 * 100.0 > limit * rows as f64;
    rows >= ROWS_FOR_A_SHARE && expect.fail_over_percent.is_some_and(over)
}

async fn count(
    context: &SessionContext,
    statement: Statement,
    at: DateTime<Utc>,
) -> Result<(i64, i64)> {
    let plan = context.state().statement_to_plan(statement).await?;
    let plan = now::bind(plan, at)?;
    let batches = context.execute_logical_plan(plan).await?.collect().await?;
    let row = batches.iter().find(|batch| batch.num_rows() == 1);
    let numbers = row.and_then(|row| {
        let violations = row.column(0).as_primitive_opt::<Int64Type>()?;
        let rows = row.column(1).as_primitive_opt::<Int64Type>()?;
        Some((violations.value(0), rows.value(0)))
    });
    numbers.ok_or_else(|| Error::new(ErrorKind::Internal, "a rule's count gave no numbers"))
}
