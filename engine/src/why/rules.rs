//! The rules of a table, judged on one row of it.

use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use datafusion::catalog::{MemTable, TableProvider};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;

use super::Asked;
use crate::error::{Error, ErrorKind, Result};
use crate::project::{self, OnViolation, SqlFile};
use crate::refresh::now;

/// A rule of the table, judged on this row.
#[derive(Debug)]
pub struct RuleVerdict {
    pub name: String,
    pub definition: String,
    pub action: OnViolation,
    pub verdict: Verdict,
}

/// What a rule says of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Holds,
    Broken,
    /// The rule gives no answer on it, as where it divides by zero.
    NotComputable,
    NoRow,
    /// The rule is about the whole table, and no row breaks it by itself.
    WholeTable,
}

impl Verdict {
    /// Whether the rule holds, where that can be said.
    pub fn holds(self) -> Option<bool> {
        match self {
            Self::Holds => Some(true),
            Self::Broken => Some(false),
            Self::NotComputable | Self::NoRow | Self::WholeTable => None,
        }
    }
}

impl Asked<'_> {
    pub(super) async fn rules(
        &self,
        file: &SqlFile,
        row: Option<&RecordBatch>,
    ) -> Result<Vec<RuleVerdict>> {
        let mut verdicts = Vec::new();
        for expect in &file.directives.expects {
            let verdict = match row {
                _ if !expect.is_about_rows() => Verdict::WholeTable,
                None => Verdict::NoRow,
                Some(row) => {
                    let one = MemTable::try_new(row.schema(), vec![vec![row.clone()]])?;
                    let table: Arc<dyn TableProvider> = Arc::new(one);
                    let context = self.sessions.context([(file.name.clone(), table)])?;
                    let count = project::count(expect, &file.name)?;
                    match counted(&context, count, self.at(&file.name)).await {
                        Ok(0) => Verdict::Holds,
                        Ok(_) => Verdict::Broken,
                        Err(_) => Verdict::NotComputable,
                    }
                }
            };
            verdicts.push(RuleVerdict {
                name: expect.name.clone(),
                definition: expect.rule.to_string(),
                action: expect.on_violation,
                verdict,
            });
        }
        Ok(verdicts)
    }
}

async fn counted(context: &SessionContext, statement: Statement, at: DateTime<Utc>) -> Result<i64> {
    let plan = context.state().statement_to_plan(statement).await?;
    let plan = now::bind(plan, at)?;
    let batches = context.execute_logical_plan(plan).await?.collect().await?;
    let first = batches.iter().find(|batch| batch.num_rows() == 1);
    let violations = first.and_then(|batch| {
        let column = batch.column(0).as_primitive_opt::<Int64Type>()?;
        Some(column.value(0))
    });
    violations.ok_or_else(|| Error::new(ErrorKind::Internal, "a rule's count gave no number"))
}
