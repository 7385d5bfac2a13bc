use std::sync::Arc;

use arrow::array::Array;
use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use datafusion::prelude::SessionContext;

use super::calendar::in_calendar;
use super::columns::{FoldColumns, kept_out};
use super::slot::{Slot, SlotPlan};
use super::statement::FoldStatements;
use crate::error::{Error, ErrorKind, Result};
use crate::functions;
use crate::hidden::{DELETED, EVALUATION};

/// Turns messages of bronze into events of a fold. An event that the query cannot be computed for is kept out with its
/// key and its place, or with as much of them as can be had.
pub(super) struct Evaluator {
    slot: Slot,
    context: SessionContext,
    statements: Arc<FoldStatements>,
    columns: FoldColumns,
    now: DateTime<Utc>,
    whole: SlotPlan,
    /// Planned when first needed.
    parts: Vec<SlotPlan>,
}

impl Evaluator {
    pub(super) async fn new(
        slot: Slot,
        context: SessionContext,
        statements: Arc<FoldStatements>,
        columns: FoldColumns,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        let whole = SlotPlan::new(&slot, &context, &statements.whole, now).await?;
        Ok(Self {
            slot,
            context,
            statements,
            columns,
            now,
            whole,
            parts: Vec::new(),
        })
    }

    /// Positions of the bronze columns that evaluating needs.
    pub(super) fn columns_read(&self) -> Vec<usize> {
        self.slot.columns_read()
    }

    /// The events of messages, of which columns that are not read may be missing.
    pub(super) async fn messages(&mut self, messages: &RecordBatch) -> Result<Vec<RecordBatch>> {
        let mut events = Vec::new();
        let mut pending = vec![FoldColumns::widened(messages, self.slot.columns())?];
        while let Some(messages) = pending.pop() {
            let rows = messages.num_rows();
            match self.whole.run_each(&messages).await {
                Ok((evaluated, failed)) => {
                    for batch in evaluated {
                        let event = FoldColumns::widened(&batch, &self.columns.event)?;
                        events.push(in_calendar(event, &self.columns.key)?);
                    }
                    let mut bad = Vec::new();
                    for (row, error) in failed {
                        bad.extend(self.bad(&messages.slice(row, 1), &error).await?);
                    }
                    if !bad.is_empty() {
                        events.push(concat_batches(&self.columns.event, &bad)?);
                    }
                }
                Err(error) if !may_be_of_one(&error) => return Err(error),
                Err(error) if rows <= 1 && !is_of_one(&error) => return Err(error),
                Err(error) if rows <= 1 => events.extend(self.bad(&messages, &error).await?),
                Err(_) => {
                    pending.push(messages.slice(rows / 2, rows - rows / 2));
                    pending.push(messages.slice(0, rows / 2));
                }
            }
        }
        Ok(events)
    }

    /// What can be had of one message whose SELECT fails: a delete needs no more than its key.
    async fn bad(&mut self, message: &RecordBatch, error: &Error) -> Result<Vec<RecordBatch>> {
        for index in 0..self.statements.parts.len() {
            if self.parts.len() == index {
                let statement = &self.statements.parts[index];
                let plan = SlotPlan::new(&self.slot, &self.context, statement, self.now).await?;
                self.parts.push(plan);
            }
            let evaluated = match self.parts[index].run(message).await {
                Ok(evaluated) => evaluated,
                Err(error) if is_of_one(&error) => continue,
                Err(error) => return Err(error),
            };
            let mut events = Vec::new();
            for batch in evaluated {
                let event = FoldColumns::widened(&batch, &self.columns.event)?;
                events.push(match is_deleted(&event) {
                    true => event,
                    false => kept_out(&event, EVALUATION, &error.to_string())?,
                });
            }
            return Ok(events);
        }
        Err(Error::new(
            ErrorKind::Internal,
            "the coordinates of a message cannot be read",
        ))
    }
}

/// Whether what went wrong with one row is about the row, and no other would do better.
pub(super) fn is_of_one(error: &Error) -> bool {
    error.kind() == ErrorKind::InvalidRequest || functions::is_too_large(error)
}

/// Whether some rows alone may be why many of them cannot be computed at once; fewer may need less memory, too.
pub(super) fn may_be_of_one(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::InvalidRequest | ErrorKind::ResourceExhausted
    )
}

fn is_deleted(event: &RecordBatch) -> bool {
    use arrow::array::AsArray;
    event
        .column_by_name(DELETED)
        .and_then(|column| column.as_boolean_opt().cloned())
        .is_some_and(|column| column.len() == 1 && column.is_valid(0) && column.value(0))
}
