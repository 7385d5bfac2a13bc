use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use datafusion::catalog::{Session, TableProvider};
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::execution_plan::reset_plan_states;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use datafusion::physical_plan::{ExecutionPlan, collect};
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement;
use futures::stream;
use parking_lot::Mutex;

use super::steps::Steps;
use crate::error::{Error, Result};
use crate::refresh::now;

/// A table whose rows are one batch that is put in before each run of a plan over it.
#[derive(Clone)]
pub(super) struct Slot {
    schema: SchemaRef,
    rows: Arc<Mutex<Option<RecordBatch>>>,
    read: Arc<Mutex<Vec<usize>>>,
}

impl Slot {
    pub(super) fn new(schema: SchemaRef) -> Self {
        Self {
            schema,
            rows: Arc::default(),
            read: Arc::default(),
        }
    }

    pub(super) fn columns(&self) -> &SchemaRef {
        &self.schema
    }

    /// The columns that plans over it read, by position.
    pub(super) fn columns_read(&self) -> Vec<usize> {
        let mut read = self.read.lock().clone();
        read.sort_unstable();
        read.dedup();
        read
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Slot")
    }
}

impl PartitionStream for Slot {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = self.rows.lock().clone().map(Ok);
        Box::pin(RecordBatchStreamAdapter::new(
            self.schema.clone(),
            stream::iter(rows),
        ))
    }
}

#[async_trait]
impl TableProvider for Slot {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        _: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        self.read.lock().extend(projection.unwrap_or(&all));
        Ok(Arc::new(StreamingTableExec::try_new(
            self.schema.clone(),
            vec![Arc::new(self.clone())],
            projection,
            [],
            false,
            limit,
        )?))
    }
}

/// A statement planned once over a slot, and run batch by batch.
pub(super) struct SlotPlan {
    slot: Slot,
    context: SessionContext,
    plan: Arc<dyn ExecutionPlan>,
    /// The same, for a plan that is no more than these.
    steps: Option<Steps>,
}

impl SlotPlan {
    /// Plans a statement whose tables are those of `context`, the slot among them.
    pub(super) async fn new(
        slot: &Slot,
        context: &SessionContext,
        statement: &Statement,
        at: DateTime<Utc>,
    ) -> Result<Self> {
        let state = context.state();
        let plan = state.statement_to_plan(statement.clone()).await?;
        let plan = now::bind(plan, at)?;
        let plan = state.create_physical_plan(&plan).await?;
        Ok(Self {
            slot: slot.clone(),
            context: context.clone(),
            steps: Steps::of(&plan),
            plan,
        })
    }

    /// The rows that can be computed and those that cannot, where a row that fails does not fail all of them.
    pub(super) async fn run_each(
        &self,
        rows: &RecordBatch,
    ) -> Result<(Vec<RecordBatch>, BTreeMap<usize, Error>)> {
        if let Some(steps) = &self.steps {
            let computed = steps.run(rows)?;
            return Ok((vec![computed.rows], computed.failed));
        }
        *self.slot.rows.lock() = Some(rows.clone());
        let plan = reset_plan_states(self.plan.clone())?;
        let result = collect(plan, self.context.task_ctx()).await;
        *self.slot.rows.lock() = None;
        Ok((result?, BTreeMap::new()))
    }

    pub(super) async fn run(&self, rows: &RecordBatch) -> Result<Vec<RecordBatch>> {
        let (rows, mut failed) = self.run_each(rows).await?;
        match failed.pop_first() {
            Some((_, error)) => Err(error),
            None => Ok(rows),
        }
    }
}
