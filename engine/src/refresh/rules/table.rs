use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use chrono::{DateTime, Utc};
use datafusion::prelude::SessionContext;

use super::super::Refresher;
use super::super::build::Candidate;
use super::super::now;
use super::outcome::RuleStates;
use crate::epoch::RuleState;
use crate::error::{Error, ErrorKind, Result};
use crate::project::{self, Expect, SqlFile};

impl Refresher {
    /// Counts the rules that are about a table as a whole.
    pub(super) async fn table_rules(
        &self,
        file: &SqlFile,
        candidate: &Candidate,
        now: DateTime<Utc>,
    ) -> Result<RuleStates> {
        let mut counted = RuleStates::new();
        let expects = file.directives.expects.iter();
        let about_table: Vec<&Expect> = expects.filter(|expect| !expect.is_about_rows()).collect();
        if about_table.is_empty() {
            return Ok(counted);
        }
        let context = self
            .context_of(file, &candidate.layout, candidate.files.clone())
            .await?;
        for expect in about_table {
            let violations = count(&context, file, expect, now)
                .await
                .map_err(|error| of_rule(expect, error))?;
            let state = RuleState {
                definition: expect.rule.to_string(),
                action: expect.action(),
                violations,
                kept_out: 0,
            };
            counted.insert(expect.name.clone(), state);
        }
        Ok(counted)
    }
}

fn of_rule(expect: &Expect, error: Error) -> Error {
    if error.kind() != ErrorKind::InvalidRequest {
        return error;
    }
    let message = format!("rule \"{}\" cannot be evaluated: {error}", expect.name);
    Error::new(error.kind(), message)
}

pub(crate) async fn count(
    context: &SessionContext,
    file: &SqlFile,
    expect: &Expect,
    at: DateTime<Utc>,
) -> Result<u64> {
    let statement = project::count(expect, &file.name)?;
    let plan = context.state().statement_to_plan(statement).await?;
    let plan = now::bind(plan, at)?;
    let batches = context.execute_logical_plan(plan).await?.collect().await?;
    let row = batches.iter().find(|batch| batch.num_rows() == 1);
    row.and_then(|row| Some(row.column(0).as_primitive_opt::<Int64Type>()?.value(0)))
        .and_then(|violations| u64::try_from(violations).ok())
        .ok_or_else(|| Error::new(ErrorKind::Internal, "a rule's count gave no number"))
}
