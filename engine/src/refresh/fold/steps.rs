use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, new_null_array};
use arrow::compute::{concat, filter, filter_record_batch};
use arrow::datatypes::SchemaRef;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::streaming::StreamingTableExec;

use crate::error::{Error, ErrorKind, Result};

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

/// What came of rows.
pub(super) struct Computed {
    pub(super) rows: RecordBatch,
    /// What is wrong with the rows that could not be computed, by their position among those put in.
    pub(super) failed: BTreeMap<usize, Error>,
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

    pub(super) fn run(&self, rows: &RecordBatch) -> Result<Computed> {
        let mut rows = rows.clone();
        let mut origins: Vec<usize> = (0..rows.num_rows()).collect();
        let mut failed = BTreeMap::new();
        for step in &self.0 {
            let mut failing = BTreeMap::new();
            let kept: Option<BooleanArray>;
            (rows, kept) = match step {
                Step::Columns(columns) => (rows.project(columns)?, None),
                Step::Filter(predicate) => {
                    let kept = each(predicate, &rows, 0, &mut failing)?;
                    let kept = kept.as_boolean_opt().ok_or_else(|| {
                        Error::new(ErrorKind::Internal, "a filter is no condition")
                    })?;
                    (filter_record_batch(&rows, kept)?, Some(kept.clone()))
                }
                Step::Compute { columns, schema } => {
                    let columns = columns.iter();
                    let mut columns = columns
                        .map(|column| each(column, &rows, 0, &mut failing))
                        .collect::<Result<Vec<_>>>()?;
                    let kept = (!failing.is_empty()).then(|| {
                        let rows = 0..rows.num_rows();
                        BooleanArray::from_iter(rows.map(|row| Some(!failing.contains_key(&row))))
                    });
                    if let Some(kept) = &kept {
                        for column in &mut columns {
                            *column = filter(column, kept)?;
                        }
                    }
                    let count = rows.num_rows() - failing.len();
                    let count = RecordBatchOptions::new().with_row_count(Some(count));
                    let rows = RecordBatch::try_new_with_options(schema.clone(), columns, &count)?;
                    (rows, kept)
                }
            };
            failed.extend(
                failing
                    .into_iter()
                    .map(|(row, error)| (origins[row], error)),
            );
            if let Some(kept) = kept {
                let mut kept = kept.iter();
                origins.retain(|_| kept.next().flatten() == Some(true));
            }
        }
        Ok(Computed { rows, failed })
    }
}

/// The values of an expression, NULL for the rows that it cannot be computed for: `failing` says what is wrong with them,
/// unless an expression before has said it.
fn each(
    expression: &Arc<dyn PhysicalExpr>,
    rows: &RecordBatch,
    from: usize,
    failing: &mut BTreeMap<usize, Error>,
) -> Result<ArrayRef> {
    let count = rows.num_rows();
    let values = expression.evaluate(rows);
    let error = match values.and_then(|values| values.into_array(count)) {
        Ok(values) => return Ok(values),
        Err(error) => Error::from(error),
    };
    if error.kind() != ErrorKind::InvalidRequest || count == 0 {
        return Err(error);
    }
    if count == 1 {
        failing.entry(from).or_insert(error);
        let of = expression.data_type(rows.schema_ref())?;
        return Ok(new_null_array(&of, 1));
    }
    let half = count / 2;
    let first = each(expression, &rows.slice(0, half), from, failing)?;
    let rest = rows.slice(half, count - half);
    let rest = each(expression, &rest, from + half, failing)?;
    Ok(concat(&[&first, &rest])?)
}
