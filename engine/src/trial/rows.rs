//! Rows that a test writes, as the columns of the table they are for.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef};
use arrow::compute::kernels::cmp::distinct;
use arrow::compute::{CastOptions, cast, cast_with_options, concat_batches};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{DateTime, Utc};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::physical_plan::execute_stream;
use datafusion::sql::parser::Statement as PlannerStatement;
use futures::StreamExt;
use sqlparser::ast::{Query, Statement};
use sqlparser::tokenizer::Span;

use crate::error::{Error, Result};
use crate::project::{Diagnostic, Source, locate, suggest};
use crate::refresh::now;
use crate::session::Sessions;

/// Rows of one step.
const MAX_ROWS: usize = 10_000;

/// Runs the SELECTs of tests, which read no table.
pub(super) struct Writer {
    state: SessionState,
}

impl Writer {
    pub(super) fn new(sessions: &Sessions) -> Result<Self> {
        let state = sessions.context([])?.state();
        let mut config = state.config().clone();
        // 1547.01 is meant as it is written.
        config.options_mut().sql_parser.parse_float_as_decimal = true;
        let state = SessionStateBuilder::new_from_existing(state)
            .with_config(config)
            .build();
        Ok(Self { state })
    }

    /// The rows of a query, or what is wrong with it.
    pub(super) async fn rows(
        &self,
        source: Source<'_>,
        query: &Query,
        at: Span,
        now: DateTime<Utc>,
    ) -> Result<RecordBatch, Diagnostic> {
        let failed = |error: Error| source.at(at, error.to_string());
        let statement = Statement::Query(Box::new(query.clone()));
        let statement = PlannerStatement::Statement(Box::new(statement));
        let plan = match self.state.statement_to_plan(statement).await {
            Ok(plan) => plan,
            Err(error) => {
                let mut problems = locate(error, source, at, &self.state);
                return Err(problems.swap_remove(0));
            }
        };
        let plan = now::bind(plan, now).map_err(|error| failed(error.into()))?;
        let physical = self.state.create_physical_plan(&plan).await;
        let physical = physical.map_err(|error| failed(error.into()))?;
        let schema = physical.schema();
        let stream = execute_stream(physical, self.state.task_ctx());
        let mut stream = stream.map_err(|error| failed(error.into()))?;
        let (mut batches, mut count) = (Vec::new(), 0);
        while let Some(batch) = stream.next().await {
            let batch = batch.map_err(|error| failed(error.into()))?;
            count += batch.num_rows();
            if count > MAX_ROWS {
                return Err(source.at(at, format!("a step has at most {MAX_ROWS} rows")));
            }
            batches.push(batch);
        }
        concat_batches(&schema, &batches).map_err(|error| failed(error.into()))
    }
}

/// The columns of `rows` as `table` has them; one that it does not have is a mistake.
pub(super) fn fitted(
    source: Source<'_>,
    at: Span,
    rows: &RecordBatch,
    table: &Schema,
) -> Result<RecordBatch, Diagnostic> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let name = field.name();
        let Some((_, known)) = table.column_with_name(name) else {
            let names = table.fields().iter().map(|field| field.name().as_str());
            let hint = suggest(name, "Columns are", names);
            let problem = source.at(at, format!("the table has no column \"{name}\""));
            return Err(problem.maybe_hint(hint));
        };
        let fitted = as_stored(column, known.data_type())
            .map_err(|why| source.at(at, format!("column \"{name}\": {why}")))?;
        fields.push(Field::new(name, known.data_type().clone(), true));
        columns.push(fitted);
    }
    let schema = Arc::new(Schema::new(fields));
    RecordBatch::try_new(schema, columns)
        .map_err(|error| source.at(at, Error::from(error).to_string()))
}

/// Values as a column of the table holds them. A value that it cannot hold as written is refused, not rounded.
fn as_stored(column: &ArrayRef, wanted: &DataType) -> Result<ArrayRef, String> {
    let strict = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let stored = cast_with_options(column, wanted, &strict)
        .map_err(|error| Error::from(error).to_string())?;
    if column.data_type().is_numeric() && wanted.is_numeric() && !wanted.is_floating() {
        let back = cast(&stored, column.data_type()).map_err(|error| error.to_string())?;
        let lost = distinct(&back, column).map_err(|error| error.to_string())?;
        if let Some(row) = lost.iter().position(|lost| lost == Some(true)) {
            let texts = texts(column).map_err(|error| error.to_string())?;
            let value = texts[row].clone().unwrap_or_default();
            return Err(format!("{value} is no {wanted}"));
        }
    }
    Ok(stored)
}

/// Each value as text; None for NULL.
pub(super) fn texts(column: &dyn Array) -> Result<Vec<Option<String>>> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column, &options)?;
    let cells = (0..column.len()).map(|row| match column.is_null(row) {
        true => Ok(None),
        false => formatter.value(row).try_to_string().map(Some),
    });
    Ok(cells.collect::<Result<_, _>>()?)
}

/// How SQL names the type; None for one that no text can be cast to.
pub(super) fn sql_type(data_type: &DataType) -> Option<String> {
    let name = match data_type {
        DataType::Boolean => "BOOLEAN",
        DataType::Int8 => "TINYINT",
        DataType::Int16 => "SMALLINT",
        DataType::Int32 => "INT",
        DataType::Int64 => "BIGINT",
        DataType::Float32 => "REAL",
        DataType::Float64 => "DOUBLE",
        DataType::Utf8 => "VARCHAR",
        DataType::Date32 => "DATE",
        DataType::Timestamp(..) => "TIMESTAMPTZ",
        DataType::Decimal128(precision, scale) => {
            return Some(format!("DECIMAL({precision}, {scale})"));
        }
        _ => return None,
    };
    Some(name.to_owned())
}
