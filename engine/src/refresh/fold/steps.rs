use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::streaming::StreamingTableExec;

/// A plan that only filters and computes rows, as a list of steps: run on a few rows, a plan costs more than its rows.
pub(super) struct Steps(Vec<Step>);

enum Step {
    Columns(Vec<usize>),
    Filter(Arc<dyn PhysicalExpr>),
    Compute {
        columns: Vec<Arc<dyn PhysicalExpr>>,
        schema: SchemaRef,
    },
}

impl Steps {
    /// The steps of a plan over one slot; none where it does anything else.
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>) -> Option<Self> {
        let mut steps = Vec::new();
        let mut next = plan.clone();
        loop {
            let input = if let Some(compute) = next.downcast_ref::<ProjectionExec>() {
                steps.push(Step::Compute {
                    columns: compute.expr().iter().map(|e| e.expr.clone()).collect(),
                    schema: compute.schema(),
                });
                compute.input().clone()
            } else if let Some(filter) = next.downcast_ref::<FilterExec>() {
                if filter.fetch().is_some() {
                    return None;
                }
                let columns = filter.projection().as_ref();
                steps.extend(columns.map(|columns| Step::Columns(columns.to_vec())));
                steps.push(Step::Filter(filter.predicate().clone()));
                filter.input().clone()
            } else if next.downcast_ref::<CooperativeExec>().is_some() {
                next.children().first().map(|input| Arc::clone(input))?
            } else if let Some(slot) = next.downcast_ref::<StreamingTableExec>() {
                let columns = slot.projection().as_ref();
                steps.extend(columns.map(|columns| Step::Columns(columns.to_vec())));
                steps.reverse();
                return Some(Self(steps));
            } else {
                return None;
            };
            next = input;
        }
    }

    pub(super) fn run(&self, rows: &RecordBatch) -> Result<RecordBatch> {
        let mut rows = rows.clone();
        for step in &self.0 {
            rows = match step {
                Step::Columns(columns) => rows.project(columns)?,
                Step::Filter(predicate) => {
                    let kept = predicate.evaluate(&rows)?.into_array(rows.num_rows())?;
                    let kept = kept.as_boolean_opt().ok_or_else(|| {
                        DataFusionError::Internal("a filter is no condition".to_owned())
                    })?;
                    filter_record_batch(&rows, kept)?
                }
                Step::Compute { columns, schema } => {
                    let columns = columns
                        .iter()
                        .map(|column| column.evaluate(&rows)?.into_array(rows.num_rows()))
                        .collect::<Result<Vec<_>>>()?;
                    let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
                    RecordBatch::try_new_with_options(schema.clone(), columns, &count)?
                }
            };
        }
        Ok(rows)
    }
}
