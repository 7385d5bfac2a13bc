mod roomy;

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use arrow::util::display::FormatOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{ParamValues, ScalarValue};
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{LogicalPlan, lit};
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::{SQLOptions, SessionContext};
use futures::StreamExt;
use sql_files::table_name::SYSTEM;

use crate::error::{Error, Result};
use crate::front::{self, Read};
use crate::functions::room;
use crate::information_schema::INFORMATION_SCHEMA;
use crate::memory::{self, Memory, StatementMemory};
use crate::nearest;
use crate::pins::Reads;

/// Schemas of small tables that are made as they are read.
const BROWSED: [&str; 2] = [INFORMATION_SCHEMA, SYSTEM];

/// The rows of a statement, as they come.
pub type BatchStream = SendableRecordBatchStream;

/// One planned reading statement.
#[derive(Clone)]
pub struct Statement {
    context: SessionContext,
    plan: LogicalPlan,
    schema: SchemaRef,
    parameters: SchemaRef,
    /// The epochs that it reads, which stay readable while it runs.
    reads: Option<Reads>,
    memory: Memory,
}

impl Statement {
    /// Plans what was read, in a context that has every table it names, to run in a share of `memory`.
    pub(crate) async fn plan(context: &SessionContext, read: Read, memory: Memory) -> Result<Self> {
        let state = context.state();
        let plan = match state.statement_to_plan(read.statement).await {
            Ok(plan) => plan,
            Err(error) => return Err(with_nearest(context, error)),
        };
        SQLOptions::new()
            .with_allow_ddl(false)
            .with_allow_dml(false)
            .with_allow_statements(false)
            .verify_plan(&plan)
            .map_err(|_| front::read_only())?;
        Ok(Self {
            context: context.clone(),
            schema: wire_schema(plan.schema().as_arrow())?,
            parameters: parameters(&plan, read.questions)?,
            reads: None,
            memory,
            plan,
        })
    }

    /// The same statement, said to read epochs.
    pub(crate) fn reading(self, reads: Reads) -> Self {
        Self {
            reads: Some(reads),
            ..self
        }
    }

    /// The schema of every batch that `execute` yields: no view types, no dictionaries, every field nullable.
    pub fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// Whether it reads nothing but catalogs and what the server tells of itself, and so is over soon.
    pub fn only_browses(&self) -> bool {
        let mut browses = true;
        let walked = self.plan.apply_with_subqueries(|node| {
            match node {
                LogicalPlan::TableScan(scan) => {
                    let schema = scan.table_name.schema();
                    browses &= schema.is_some_and(|name| BROWSED.contains(&name));
                }
                LogicalPlan::Join(_) | LogicalPlan::RecursiveQuery(_) | LogicalPlan::Unnest(_) => {
                    browses = false;
                }
                LogicalPlan::Filter(filter) if filter.predicate == lit(false) => {
                    return Ok(TreeNodeRecursion::Jump);
                }
                _ => {}
            }
            Ok(match browses {
                true => TreeNodeRecursion::Continue,
                false => TreeNodeRecursion::Stop,
            })
        });
        browses && walked.is_ok()
    }

    /// One nullable field a placeholder, in ordinal order.
    pub fn parameters(&self) -> SchemaRef {
        self.parameters.clone()
    }

    /// Gives the placeholders their values: one row, in ordinal order.
    ///
    /// # Errors
    /// `InvalidRequest` when the row has another shape, or a value cannot be cast.
    pub fn bind(self, row: &RecordBatch) -> Result<Self> {
        let expected = self.parameters.fields().len();
        if row.num_rows() != 1 || row.num_columns() != expected {
            return Err(Error::invalid(format!(
                "the statement takes one row of {expected} parameters, {} rows of {} came",
                row.num_rows(),
                row.num_columns()
            )));
        }
        let mut values = Vec::with_capacity(expected);
        for (field, column) in self.parameters.fields().iter().zip(row.columns()) {
            let column = match field.data_type() {
                DataType::Null => column.clone(),
                wanted => cast(column, wanted)?,
            };
            let value = ScalarValue::try_from_array(&column, 0)?;
            values.push((field.name().trim_start_matches('$').to_owned(), value));
        }
        let plan = self.plan.with_param_values(ParamValues::from(values))?;
        Ok(Self {
            schema: wire_schema(plan.schema().as_arrow())?,
            plan,
            ..self
        })
    }

    /// Runs the statement; batches come as they are asked for.
    pub async fn execute(self) -> Result<SendableRecordBatchStream> {
        let memory = self.memory.share();
        self.execute_within(&memory).await
    }

    /// The same, in memory that the caller watches. It is given back as the stream ends or is dropped.
    pub async fn execute_within(
        self,
        memory: &StatementMemory,
    ) -> Result<SendableRecordBatchStream> {
        if !self.parameters.fields().is_empty() && has_placeholders(&self.plan)? {
            return Err(Error::invalid(format!(
                "the statement has {} parameters without a value",
                self.parameters.fields().len()
            )));
        }
        let state = self.context.state();
        let held = self.reads.map(|reads| reads.hold());
        let explain = move |error| match (memory::exhausted(&error), &held) {
            (Some(exhausted), _) => DataFusionError::External(Box::new(exhausted)),
            (None, Some(held)) => held.explain(error),
            (None, None) => error,
        };
        let optimized = room::limited(|| state.optimize(&self.plan)).map_err(&explain)?;
        let planner = state.query_planner();
        let physical = planner.create_physical_plan(&optimized, &state).await;
        let physical = yielding(roomy::limited(physical.map_err(&explain)?)?)?;
        let environment = memory.environment(state.runtime_env())?;
        let task = Arc::new(TaskContext::from(&state).with_runtime(environment));
        let stream = execute_stream(physical, task).map_err(&explain)?;
        let schema = self.schema;
        let aligned = {
            let schema = schema.clone();
            stream.map(move |batch| align(&batch.map_err(&explain)?, &schema))
        };
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, aligned)))
    }
}

/// A join may make millions of batches from one of its input without a pause, in which nothing could stop it.
/// DataFusion itself only makes the leaves and exchanges of a plan pause.
fn yielding(plan: Arc<dyn ExecutionPlan>) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
    plan.transform_up(|node| {
        let multiplies = node.name().ends_with("JoinExec") || node.name() == "UnnestExec";
        Ok(if multiplies {
            Transformed::yes(Arc::new(CooperativeExec::new(node)) as Arc<dyn ExecutionPlan>)
        } else {
            Transformed::no(node)
        })
    })
    .data()
}

fn parameters(plan: &LogicalPlan, questions: usize) -> Result<SchemaRef> {
    let types = plan.get_parameter_types()?;
    let mut highest = questions;
    for name in types.keys() {
        let ordinal: usize = name
            .trim_start_matches('$')
            .parse()
            .ok()
            .filter(|ordinal| (1..=1000).contains(ordinal))
            .ok_or_else(|| {
                Error::invalid(format!("the parameter \"{name}\" is not numbered"))
                    .hint("Write ? or $1, $2 and so on, up to $1000.")
            })?;
        highest = highest.max(ordinal);
    }
    let fields: Vec<Field> = (1..=highest)
        .map(|ordinal| {
            let name = format!("${ordinal}");
            let data_type = types.get(&name).cloned().flatten();
            let data_type = data_type.unwrap_or(DataType::Utf8);
            Field::new(name, wire_type(&data_type), true)
        })
        .collect();
    Ok(Arc::new(Schema::new(fields)))
}

fn has_placeholders(plan: &LogicalPlan) -> Result<bool> {
    Ok(!plan.get_parameter_names()?.is_empty())
}

/// The types that every client reads; names are kept, fields are nullable, metadata is dropped.
fn wire_schema(schema: &Schema) -> Result<SchemaRef> {
    let fields: Vec<Field> = schema
        .fields()
        .iter()
        .map(|field| Field::new(field.name(), wire_type(field.data_type()), true))
        .collect();
    Ok(Arc::new(Schema::new(fields)))
}

pub(crate) fn wire_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary | DataType::FixedSizeBinary(_) => {
            DataType::Binary
        }
        DataType::Dictionary(_, value) => wire_type(value),
        DataType::RunEndEncoded(_, values) => wire_type(values.data_type()),
        DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale) => {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Decimal256(precision, scale) => {
            DataType::Decimal128((*precision).min(DECIMAL128_MAX_PRECISION), *scale)
        }
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::Timestamp(_, Some(_)) => {
            DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
        }
        DataType::Date64 => DataType::Date32,
        DataType::UInt64 => DataType::Int64,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt16 | DataType::UInt8 => DataType::Int32,
        DataType::Float16 => DataType::Float32,
        DataType::Interval(_) | DataType::Union(..) => DataType::Utf8,
        DataType::LargeList(field) | DataType::ListView(field) | DataType::LargeListView(field) => {
            DataType::List(wire_field(field))
        }
        DataType::List(field) => DataType::List(wire_field(field)),
        DataType::FixedSizeList(field, _) => DataType::List(wire_field(field)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(wire_field).collect()),
        other => other.clone(),
    }
}

fn wire_field(field: &Arc<Field>) -> Arc<Field> {
    Arc::new(Field::new(field.name(), wire_type(field.data_type()), true))
}

/// A value that the other type cannot hold is an error, never a NULL.
const STRICT: CastOptions<'static> = CastOptions {
    safe: false,
    format_options: FormatOptions::new(),
};

/// A batch with exactly the given schema.
pub(crate) fn align(batch: &RecordBatch, schema: &SchemaRef) -> DataFusionResult<RecordBatch> {
    let columns: DataFusionResult<Vec<ArrayRef>> = batch
        .columns()
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| {
            if column.data_type() == field.data_type() {
                Ok(column.clone())
            } else {
                cast_with_options(column, field.data_type(), &STRICT).map_err(DataFusionError::from)
            }
        })
        .collect();
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        schema.clone(),
        columns?,
        &options,
    )?)
}

/// A planning error with the nearest name as hint, where a name was not found.
fn with_nearest(context: &SessionContext, error: DataFusionError) -> Error {
    let hint = nearest::hint(context, &error);
    let error = Error::from(error);
    match hint {
        Some(hint) => error.hint(hint),
        None => error,
    }
}
