//! Which rows of its inputs a row of a query's result was made from.
//!
//! The query is planned with the key's predicate on top, and DataFusion's own rule moves it down to the scans. Each
//! scan then carries a struct of its row upwards through joins, filters and projections, as far as the row keeps its
//! identity: to the result, or to the first aggregate, window or set operation. What arrives there has contributed; but
//! a window that ranks leaves each row what it is.
//! An aggregate carries its groups on in the same way, and only the rows of those that arrive are looked for below it.

use std::fmt;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::compute::concat_batches;
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, JoinType, ScalarValue, TableReference};
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::Result as DataFusionResult;
use datafusion::functions::core::expr_fn::named_struct;
use datafusion::logical_expr::{
    Aggregate, Expr, LogicalPlan, LogicalPlanBuilder, Operator, TableProviderFilterPushDown,
    TableType, binary_expr, lit,
};
use datafusion::optimizer::Optimizer;
use datafusion::optimizer::decorrelate_predicate_subquery::DecorrelatePredicateSubquery;
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::scalar_subquery_to_join::ScalarSubqueryToJoin;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use sql_files::{DEFAULT_SCHEMA, TableName};

use super::kept_out::Over;
use super::{Asked, MAX_ROWS};
use crate::bronze;
use crate::error::{ErrorKind, Result};
use crate::project::{self, SqlFile};
use crate::refresh::now;
use crate::session::public_views;

/// Begins the name of the column that carries a scan's row upwards.
const CARRIED: &str = "__row_";

/// Rows of one input that contributed, one more than are shown when there are more.
pub(super) struct Contribution {
    pub(super) table: TableName,
    pub(super) rows: RecordBatch,
}

impl Asked<'_> {
    /// The rows of its inputs from which the wanted rows of a table were made; of a `@cdc` table those that its messages
    /// look up.
    pub(super) async fn contributions(
        &self,
        table: &TableName,
        wanted: Expr,
        over: Over,
    ) -> Result<Vec<Contribution>> {
        let Some(file) = self.project.project.file(table) else {
            return Ok(Vec::new());
        };
        if file.directives.cdc.is_some() {
            return match self.looked_up(file, wanted, over).await {
                // Its row is kept aside for that, or what it looks up by was left out of its message.
                Err(error) if error.kind() == ErrorKind::InvalidRequest => Ok(Vec::new()),
                looked_up => looked_up,
            };
        }
        let context = self.inputs_of(file, over, None)?;
        self.traced(file, &context, wanted).await
    }

    async fn looked_up(
        &self,
        file: &SqlFile,
        wanted: Expr,
        over: Over,
    ) -> Result<Vec<Contribution>> {
        let table = &file.name;
        let Some(source) = self.source(table)? else {
            return Ok(Vec::new());
        };
        if project::inputs(file).iter().all(|input| input == source) {
            return Ok(Vec::new());
        }
        let messages = self.last_messages(table, source, wanted.clone()).await?;
        let Some(messages) = messages else {
            return Ok(Vec::new());
        };
        let context = self.inputs_of(file, over, Some((source, messages)))?;
        let mut looked_up = self.traced(file, &context, wanted).await?;
        looked_up.retain(|contribution| !contribution.table.is_bronze());
        Ok(looked_up)
    }

    async fn traced(
        &self,
        file: &SqlFile,
        context: &SessionContext,
        wanted: Expr,
    ) -> Result<Vec<Contribution>> {
        let plan = context
            .state()
            .statement_to_plan(project::planned(file.statement()))
            .await?;
        let plan = now::bind(plan, self.at(&file.name))?;
        let mut waiting = vec![restricted(context, plan, wanted)?];
        let mut contributions = Vec::new();
        while let Some(plan) = waiting.pop() {
            let mut trace = Trace::default();
            let traced = trace.plan(&plan)?;
            trace.arrive(traced);
            for arrived in trace.arrived {
                let rows = arrived.rows(context).await?;
                match arrived.origin {
                    Origin::Table(table) => contributions.push(Contribution { table, rows }),
                    Origin::Groups(aggregate) => {
                        let input = aggregate.input.as_ref().clone();
                        let wanted = groups(&aggregate.group_expr, &rows)?;
                        waiting.push(restricted(context, input, wanted)?);
                    }
                }
            }
        }
        Ok(contributions)
    }

    /// A session that sees a table's inputs at the versions it was made from, as its query saw them; one of them may be
    /// only a part of it.
    pub(super) fn inputs_of(
        &self,
        file: &SqlFile,
        over: Over,
        part: Option<(&TableName, Arc<dyn TableProvider>)>,
    ) -> Result<SessionContext> {
        let read = &self.manifest.table(&file.name)?.inputs;
        let mut tables = Vec::new();
        for input in project::inputs(file) {
            // A table that is held since an edit was made from others than its file reads.
            let served = self.manifest.tables.get(&input);
            let version = served.map(|state| read.get(&input).copied().unwrap_or(state.version));
            let part = part.as_ref().filter(|(name, _)| **name == input);
            let stored: Arc<dyn TableProvider> = match (part, version) {
                (Some((_, part)), _) => part.clone(),
                (None, Some(version)) => Arc::new(self.stored(&input, version)?),
                (None, None) if input.is_bronze() => Arc::new(EmptyTable::new(bronze::schema())),
                (None, None) => continue,
            };
            let mut views = public_views(&input, stored.clone())?;
            if over == Over::KeptOut
                && let Some((_, rows)) = views.first_mut()
            {
                *rows = self.with_kept_out(&input, stored, rows.clone())?;
            }
            let whole = views.into_iter().map(|(name, view)| {
                let whole: Arc<dyn TableProvider> = Arc::new(Whole(view));
                (name, whole)
            });
            tables.extend(whole);
        }
        self.sessions.context(tables)
    }
}

/// The plan with a predicate over its result, moved as far down as it goes.
fn restricted(
    context: &SessionContext,
    plan: LogicalPlan,
    wanted: Expr,
) -> DataFusionResult<LogicalPlan> {
    let plan = LogicalPlanBuilder::from(plan).filter(wanted)?.build()?;
    let state = context.state();
    let plan = state
        .analyzer()
        .execute_and_check(plan, state.config_options(), |_, _| {})?;
    let optimizer = Optimizer::with_rules(vec![
        Arc::new(DecorrelatePredicateSubquery::new()),
        Arc::new(ScalarSubqueryToJoin::new()),
        Arc::new(EliminateCrossJoin::new()),
        Arc::new(ExtractEquijoinPredicate::new()),
        Arc::new(PushDownFilter::new()),
    ]);
    optimizer.optimize(plan, &state, |_, _| {})
}

/// Selects the rows of some groups.
fn groups(expressions: &[Expr], rows: &RecordBatch) -> DataFusionResult<Expr> {
    let mut wanted: Option<Expr> = None;
    for row in 0..rows.num_rows() {
        let mut group: Option<Expr> = None;
        for (expression, column) in expressions.iter().zip(rows.columns()) {
            let value = lit(ScalarValue::try_from_array(column, row)?);
            let same = binary_expr(
                expression.clone().unalias(),
                Operator::IsNotDistinctFrom,
                value,
            );
            group = Some(match group {
                Some(others) => others.and(same),
                None => same,
            });
        }
        wanted = match (wanted, group) {
            (Some(others), Some(group)) => Some(others.or(group)),
            (others, group) => others.or(group),
        };
    }
    Ok(wanted.unwrap_or_else(|| lit(false)))
}

/// What a carried row is one of.
#[derive(Clone)]
enum Origin {
    Table(TableName),
    Groups(Box<Aggregate>),
}

/// Rows of one origin, at the last place where they are themselves.
struct Arrived {
    origin: Origin,
    plan: LogicalPlan,
    column: Column,
}

impl Arrived {
    async fn rows(&self, context: &SessionContext) -> Result<RecordBatch> {
        let carried = Expr::Column(self.column.clone());
        let plan = LogicalPlanBuilder::from(self.plan.clone())
            .filter(carried.clone().is_not_null())?
            .project([carried.alias("carried")])?
            .distinct()?
            .limit(0, Some(MAX_ROWS + 1))?
            .build()?;
        let schema = row_schema(&plan);
        let batches = context.execute_logical_plan(plan).await?.collect().await?;
        let rows: Vec<RecordBatch> = batches
            .iter()
            .filter_map(|batch| batch.column(0).as_struct_opt())
            .map(RecordBatch::from)
            .collect();
        Ok(concat_batches(&schema, &rows)?)
    }
}

fn row_schema(plan: &LogicalPlan) -> SchemaRef {
    let fields = plan.schema().fields().first();
    match fields.map(|field| field.data_type()) {
        Some(DataType::Struct(fields)) => Arc::new(Schema::new(fields.clone())),
        _ => Arc::new(Schema::empty()),
    }
}

/// A plan that carries rows of its scans, and where.
struct Traced {
    plan: LogicalPlan,
    carried: Vec<(Origin, Column)>,
}

#[derive(Default)]
struct Trace {
    origins: usize,
    arrived: Vec<Arrived>,
}

impl Trace {
    fn plan(&mut self, plan: &LogicalPlan) -> DataFusionResult<Traced> {
        let mut within = Vec::new();
        plan.apply_subqueries(|subquery| {
            within.push(subquery.clone());
            Ok(datafusion::common::tree_node::TreeNodeRecursion::Jump)
        })?;
        for subquery in within {
            let traced = self.plan(&subquery)?;
            self.arrive(traced);
        }
        match plan {
            LogicalPlan::TableScan(scan) => self.scan(plan, &scan.table_name),
            LogicalPlan::Projection(_) => self.pass(plan, |expressions, carried| {
                expressions.extend(carried.iter().cloned().map(Expr::Column));
            }),
            LogicalPlan::Filter(_) | LogicalPlan::Repartition(_) => self.pass(plan, |_, _| {}),
            LogicalPlan::Window(window) if window.window_expr.iter().all(is_rank) => {
                self.pass(plan, |_, _| {})
            }
            LogicalPlan::Sort(sort) if sort.fetch.is_none() => self.pass(plan, |_, _| {}),
            LogicalPlan::SubqueryAlias(alias) => {
                let mut traced = self.pass(plan, |_, _| {})?;
                for (_, column) in &mut traced.carried {
                    *column = Column::new(Some(alias.alias.clone()), column.name.clone());
                }
                Ok(traced)
            }
            LogicalPlan::Aggregate(aggregate) if is_by_columns(aggregate) => {
                let groups = aggregate.group_expr.len();
                let identity = plan.schema().columns().into_iter().take(groups).collect();
                self.carrying(plan, Origin::Groups(Box::new(aggregate.clone())), identity)
            }
            LogicalPlan::Join(join) => match join.join_type {
                JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                    self.pass(plan, |_, _| {})
                }
                JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                    self.one_side(plan, &join.left, &join.right, true)
                }
                JoinType::RightSemi | JoinType::RightAnti | JoinType::RightMark => {
                    self.one_side(plan, &join.right, &join.left, false)
                }
            },
            _ => {
                for input in plan.inputs() {
                    let traced = self.plan(input)?;
                    self.arrive(traced);
                }
                Ok(Traced {
                    plan: plan.clone(),
                    carried: Vec::new(),
                })
            }
        }
    }

    fn scan(&mut self, plan: &LogicalPlan, name: &TableReference) -> DataFusionResult<Traced> {
        let schema = name.schema().unwrap_or(DEFAULT_SCHEMA);
        let Ok(table) = TableName::new(schema, name.table()) else {
            return Ok(Traced {
                plan: plan.clone(),
                carried: Vec::new(),
            });
        };
        let columns = plan.schema().columns();
        self.carrying(plan, Origin::Table(table), columns)
    }

    /// The plan with a struct of some of its columns, as which its rows are known above.
    fn carrying(
        &mut self,
        plan: &LogicalPlan,
        origin: Origin,
        identity: Vec<Column>,
    ) -> DataFusionResult<Traced> {
        let carried = format!("{CARRIED}{}", self.origins);
        self.origins += 1;
        let mut parts = Vec::with_capacity(2 * identity.len());
        for (index, column) in identity.into_iter().enumerate() {
            let name = match origin {
                Origin::Table(_) => column.name.clone(),
                Origin::Groups(_) => index.to_string(),
            };
            parts.extend([lit(name), Expr::Column(column)]);
        }
        let all = plan.schema().columns().into_iter().map(Expr::Column);
        let with_row = all.chain([named_struct(parts).alias(carried.as_str())]);
        Ok(Traced {
            plan: LogicalPlanBuilder::from(plan.clone())
                .project(with_row)?
                .build()?,
            carried: vec![(origin, Column::from_name(carried))],
        })
    }

    /// A node whose result still holds the rows of its inputs.
    fn pass(
        &mut self,
        plan: &LogicalPlan,
        adapt: impl FnOnce(&mut Vec<Expr>, &[Column]),
    ) -> DataFusionResult<Traced> {
        let mut inputs = Vec::new();
        let mut carried = Vec::new();
        for input in plan.inputs() {
            let traced = self.plan(input)?;
            inputs.push(traced.plan);
            carried.extend(traced.carried);
        }
        let columns: Vec<Column> = carried.iter().map(|(_, column)| column.clone()).collect();
        let mut expressions = plan.expressions();
        adapt(&mut expressions, &columns);
        Ok(Traced {
            plan: plan.with_new_exprs(expressions, inputs)?,
            carried,
        })
    }

    /// A join whose result holds the rows of one side only.
    fn one_side(
        &mut self,
        plan: &LogicalPlan,
        kept: &LogicalPlan,
        tested: &LogicalPlan,
        kept_is_left: bool,
    ) -> DataFusionResult<Traced> {
        let arriving = self.plan(tested)?;
        self.arrive(arriving);
        let kept = self.plan(kept)?;
        let inputs = match kept_is_left {
            true => vec![kept.plan, tested.clone()],
            false => vec![tested.clone(), kept.plan],
        };
        Ok(Traced {
            plan: plan.with_new_exprs(plan.expressions(), inputs)?,
            carried: kept.carried,
        })
    }

    /// What a plan carries goes no further.
    fn arrive(&mut self, traced: Traced) {
        for (origin, column) in traced.carried {
            self.arrived.push(Arrived {
                origin,
                plan: traced.plan.clone(),
                column,
            });
        }
    }
}

/// Whether a window only tells a row its place among the others.
fn is_rank(expression: &Expr) -> bool {
    const RANKS: [&str; 6] = [
        "row_number",
        "rank",
        "dense_rank",
        "percent_rank",
        "cume_dist",
        "ntile",
    ];
    match expression.clone().unalias() {
        Expr::WindowFunction(window) => RANKS.contains(&window.fun.name()),
        _ => false,
    }
}

/// Whether each row of the result stands for the rows of one group.
fn is_by_columns(aggregate: &Aggregate) -> bool {
    let by = &aggregate.group_expr;
    !by.is_empty() && !by.iter().any(|by| matches!(by, Expr::GroupingSet(_)))
}

/// A table that planning takes as one, whatever view it is made of.
struct Whole(Arc<dyn TableProvider>);

impl fmt::Debug for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Whole").finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for Whole {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        self.0.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.0.scan(state, projection, filters, limit).await
    }
}
