use std::ops::ControlFlow;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, SchemaRef, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::DataFusionError;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as PlannerStatement;
use sql_files::{CATALOG, TableName};
use sqlparser::ast::{Expr, Query, Statement, visit_expressions};

use super::lock::SourcesLock;
use crate::bronze;
use crate::error::Result;
use crate::functions::Image;
use crate::session::{Sessions, bronze_view};

/// Plans queries over tables that have columns and no rows.
pub(super) struct Planner {
    state: SessionState,
    bronze_columns: SchemaRef,
}

impl Planner {
    /// A planner with the functions and settings of `sessions`, over the bronze tables of `lock`.
    pub(super) fn new(sessions: &Sessions, lock: &SourcesLock) -> Result<Self> {
        let stored = Arc::new(EmptyTable::new(bronze::schema()));
        let events = bronze_view(stored, Image::After)?;
        let tables: Vec<(TableName, Arc<dyn TableProvider>)> = lock
            .bronze
            .keys()
            .filter_map(|table| TableName::new("bronze", table).ok())
            .map(|name| (name, Arc::clone(&events)))
            .collect();
        Ok(Self {
            state: sessions.context(tables)?.state(),
            bronze_columns: events.schema(),
        })
    }

    pub(super) fn state(&self) -> &SessionState {
        &self.state
    }

    /// Columns of every bronze table, as queries see them.
    pub(super) fn bronze_columns(&self) -> SchemaRef {
        Arc::clone(&self.bronze_columns)
    }

    /// Makes a table known to the queries planned from here on.
    pub(super) fn add(&self, name: &TableName, columns: SchemaRef) -> Result<()> {
        let catalog = self.state.catalog_list().catalog(CATALOG);
        if let Some(layer) = catalog.and_then(|catalog| catalog.schema(name.schema())) {
            layer.register_table(name.name().to_owned(), Arc::new(EmptyTable::new(columns)))?;
        }
        Ok(())
    }

    /// The plan, checked as far as it can be without running it.
    pub(super) async fn plan(&self, query: Query) -> Result<LogicalPlan, DataFusionError> {
        let subqueries = has_subqueries(&query);
        let statement = Statement::Query(Box::new(query));
        let statement = PlannerStatement::Statement(Box::new(statement));
        self.plan_statement(statement, subqueries).await
    }

    pub(super) async fn plan_statement(
        &self,
        statement: PlannerStatement,
        subqueries: bool,
    ) -> Result<LogicalPlan, DataFusionError> {
        let plan = self.state.statement_to_plan(statement).await?;
        if subqueries {
            // Only the optimizer tells whether a correlated subquery can run.
            self.state.optimize(&plan)?;
        } else {
            let options = self.state.config_options();
            let analyzer = self.state.analyzer();
            analyzer.execute_and_check(plan.clone(), options, |_, _| {})?;
        }
        Ok(plan)
    }
}

fn has_subqueries(query: &Query) -> bool {
    let found = visit_expressions(query, |expr| match expr {
        Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// The type that a column of `data_type` has once it is stored in a Delta table, if it can be.
pub fn stored_type(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Dictionary(_, values) => stored_type(values)?,
        DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32 => data_type.clone(),
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 | DataType::UInt64 => DataType::Int64,
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        // Tables hold instants; a time without a zone is read as UTC.
        DataType::Timestamp(..) => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
            if *scale >= 0 =>
        {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            let item_type = stored_type(item.data_type())?;
            DataType::List(Arc::new(item.as_ref().clone().with_data_type(item_type)))
        }
        DataType::Struct(fields) => {
            let fields: Option<Vec<Field>> = fields
                .iter()
                .map(|field| {
                    let data_type = stored_type(field.data_type())?;
                    Some(field.as_ref().clone().with_data_type(data_type))
                })
                .collect();
            DataType::Struct(fields?.into())
        }
        _ => return None,
    })
}
