//! The barrier: a table as somebody sees it, whose rows and columns are decided below a node that nothing of the
//! statement crosses.
//!
//! To the logical optimizer it is a table without a plan of its own, to the physical one a leaf without inputs,
//! statistics or filters. So no predicate, no limit and no projection of a statement meets a row or a value that the
//! policies keep back, and no plan shown has a word of what is below.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::datasource::TableProvider;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, TableProviderFilterPushDown, TableType, ident,
};
use datafusion::physical_expr::{EquivalenceProperties, Partitioning, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{
    Boundedness, EmissionType, ReplaceChildrenOptions, reset_plan_states,
};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, PlanProperties,
};
use futures::StreamExt;
use sql_files::TableName;

use crate::error::{Error, ErrorKind};
use crate::masked::masked;
use crate::memory;

/// A table as somebody sees it.
pub(crate) struct GuardedTable {
    name: TableName,
    kind: TableType,
    schema: SchemaRef,
    /// Gives exactly the rows and columns that are seen.
    rows: LogicalPlan,
    /// Where every row of the table is seen, the columns that are seen as they are: a condition on these alone can
    /// tell nothing new, whatever it does.
    open: BTreeSet<String>,
}

impl GuardedTable {
    pub(crate) fn new(
        name: TableName,
        kind: TableType,
        rows: LogicalPlan,
        open: BTreeSet<String>,
    ) -> Self {
        let fields: Vec<Field> = rows
            .schema()
            .fields()
            .iter()
            .map(|field| Field::new(field.name(), field.data_type().clone(), true))
            .collect();
        Self {
            name,
            kind,
            schema: Arc::new(Schema::new(fields)),
            rows,
            open,
        }
    }

    /// Whether all that is below the barrier is seen above it.
    fn is_open(&self) -> bool {
        let mut columns = self.schema.fields().iter();
        columns.all(|column| self.open.contains(column.name()))
    }

    fn told(&self, error: DataFusionError) -> DataFusionError {
        told(&self.name, self.is_open(), error)
    }

    fn may_cross(&self, filter: &Expr) -> bool {
        let columns = filter.column_refs();
        !columns.is_empty()
            && !filter.is_volatile()
            && !holds_a_query(filter)
            && columns
                .iter()
                .all(|column| self.open.contains(&column.name))
    }
}

impl fmt::Debug for GuardedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuardedTable({})", self.name)
    }
}

#[async_trait]
impl TableProvider for GuardedTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        self.kind
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let crossing = filters.iter().map(|filter| match self.may_cross(filter) {
            true => TableProviderFilterPushDown::Inexact,
            false => TableProviderFilterPushDown::Unsupported,
        });
        Ok(crossing.collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = match projection {
            Some(indices) => Arc::new(self.schema.project(indices)?),
            None => self.schema.clone(),
        };
        let crossing = filters.iter().filter(|filter| self.may_cross(filter));
        let mut rows = LogicalPlanBuilder::from(self.rows.clone());
        if let Some(condition) = conjunction(crossing.cloned()) {
            rows = rows.filter(condition)?;
        }
        // Rows without a column are counted by one that is dropped again.
        let fields = match schema.fields().is_empty() {
            true => self.schema.fields().iter().take(1),
            false => schema.fields().iter().take(usize::MAX),
        };
        rows = rows.project(fields.map(|field| ident(field.name())))?;
        if filters.is_empty() && limit.is_some() {
            rows = rows.limit(0, limit)?;
        }
        let inner = state.create_physical_plan(&rows.build()?).await;
        let inner = inner.map_err(|error| self.told(error))?;
        let guarded = GuardedExec::new(self.name.clone(), inner, schema, self.is_open());
        Ok(Arc::new(guarded))
    }
}

/// Reads a table below the barrier.
struct GuardedExec {
    name: TableName,
    is_open: bool,
    inner: Arc<dyn ExecutionPlan>,
    properties: Arc<PlanProperties>,
}

impl GuardedExec {
    fn new(
        name: TableName,
        inner: Arc<dyn ExecutionPlan>,
        schema: SchemaRef,
        is_open: bool,
    ) -> Self {
        let partitions = inner.output_partitioning().partition_count();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            name,
            is_open,
            inner,
            properties: Arc::new(properties),
        }
    }
}

impl fmt::Debug for GuardedExec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GuardedExec({})", self.name)
    }
}

impl DisplayAs for GuardedExec {
    fn fmt_as(&self, format: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match format {
            DisplayFormatType::TreeRender => write!(f, "table={}", self.name),
            _ => write!(f, "GuardedExec: table={}", self.name),
        }
    }
}

impl ExecutionPlan for GuardedExec {
    fn name(&self) -> &'static str {
        "GuardedExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn reset_state(self: Arc<Self>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(Arc::new(Self {
            name: self.name.clone(),
            is_open: self.is_open,
            inner: reset_plan_states(self.inner.clone())?,
            properties: self.properties.clone(),
        }))
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let schema = self.schema();
        let (name, is_open) = (self.name.clone(), self.is_open);
        let seen = schema.clone();
        let rows = self.inner.execute(partition, context);
        let rows = rows.map_err(|error| told(&name, is_open, error))?;
        let rows = rows.map(move |batch| {
            let batch = batch.map_err(|error| told(&name, is_open, error))?;
            let columns = batch.columns().iter().take(seen.fields().len());
            let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
            let columns = columns.cloned().collect();
            Ok(RecordBatch::try_new_with_options(
                seen.clone(),
                columns,
                &options,
            )?)
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
    }
}

fn holds_a_query(expr: &Expr) -> bool {
    let found = expr.exists(|expr| {
        Ok(matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::Exists(_)
                | Expr::InSubquery(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
                | Expr::Placeholder(_)
        ))
    });
    found.unwrap_or(true)
}

/// What is told of an error below the barrier: neither what was computed there nor on which value. Where nothing is kept
/// back, a mistake of the statement's own conditions is told as it is.
fn told(name: &TableName, is_open: bool, error: DataFusionError) -> DataFusionError {
    if let Some(exhausted) = memory::exhausted(&error) {
        return DataFusionError::External(Box::new(exhausted));
    }
    let error = Error::from(error);
    if is_open && error.kind() == ErrorKind::InvalidRequest {
        return DataFusionError::External(Box::new(error));
    }
    tracing::error!(table = %name, error = masked(&error.to_string()), "a table cannot be read for a role");
    let told = Error::new(ErrorKind::Unavailable, format!("\"{name}\" cannot be read"))
        .hint("Whoever runs the server finds the reason in its log.");
    DataFusionError::External(Box::new(told))
}
