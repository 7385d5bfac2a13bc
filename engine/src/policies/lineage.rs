//! Which columns of its inputs each column of a query is computed from.
//!
//! Values and the conditions inside expressions count; what WHERE, HAVING and joins decide about whole rows does not.

use std::collections::BTreeSet;

use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::error::Result as DataFusionResult;
use datafusion::logical_expr::{Distinct, Expr, JoinType, LogicalPlan};
use sql_files::{DEFAULT_SCHEMA, TableName};

/// A column of a table.
pub(crate) type Origin = (TableName, String);

/// For each column of a plan's result, in order, what it is computed from.
pub(crate) fn origins(plan: &LogicalPlan) -> DataFusionResult<Vec<BTreeSet<Origin>>> {
    match plan {
        LogicalPlan::TableScan(scan) => Ok(match table(&scan.table_name) {
            Some(name) => of_table(&name, &scan.projected_schema),
            None => nothing(plan),
        }),
        // A view stands in its plan under its name.
        LogicalPlan::SubqueryAlias(alias) if alias.alias.schema().is_some() => {
            Ok(match table(&alias.alias) {
                Some(name) => of_table(&name, &alias.schema),
                None => everything(plan)?,
            })
        }
        LogicalPlan::SubqueryAlias(alias) => origins(&alias.input),
        LogicalPlan::Filter(filter) => origins(&filter.input),
        LogicalPlan::Sort(sort) => origins(&sort.input),
        LogicalPlan::Limit(limit) => origins(&limit.input),
        LogicalPlan::Repartition(repartition) => origins(&repartition.input),
        LogicalPlan::Distinct(Distinct::All(input)) => origins(input),
        LogicalPlan::Projection(projection) => computed(&projection.expr, &projection.input),
        LogicalPlan::Window(window) => {
            let mut columns = origins(&window.input)?;
            columns.extend(computed(&window.window_expr, &window.input)?);
            Ok(columns)
        }
        LogicalPlan::Aggregate(aggregate) => {
            let exprs: Vec<Expr> = aggregate
                .group_expr
                .iter()
                .chain(&aggregate.aggr_expr)
                .cloned()
                .collect();
            let columns = computed(&exprs, &aggregate.input)?;
            // Grouping sets are one expression of many columns.
            match columns.len() == aggregate.schema.fields().len() {
                true => Ok(columns),
                false => everything(plan),
            }
        }
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                let mut columns = origins(&join.left)?;
                columns.extend(origins(&join.right)?);
                Ok(columns)
            }
            JoinType::LeftSemi | JoinType::LeftAnti => origins(&join.left),
            JoinType::RightSemi | JoinType::RightAnti => origins(&join.right),
            _ => everything(plan),
        },
        LogicalPlan::Union(union) => {
            let mut columns = nothing(plan);
            for input in &union.inputs {
                for (column, more) in columns.iter_mut().zip(origins(input)?) {
                    column.extend(more);
                }
            }
            Ok(columns)
        }
        LogicalPlan::Values(values) => {
            let mut found = BTreeSet::new();
            for expr in values.values.iter().flatten() {
                found.extend(of_subqueries(expr)?);
            }
            Ok(vec![found; plan.schema().fields().len()])
        }
        LogicalPlan::EmptyRelation(_) => Ok(nothing(plan)),
        _ => everything(plan),
    }
}

fn table(reference: &TableReference) -> Option<TableName> {
    let schema = reference.schema().unwrap_or(DEFAULT_SCHEMA);
    TableName::new(schema, reference.table()).ok()
}

fn of_table(name: &TableName, schema: &DFSchema) -> Vec<BTreeSet<Origin>> {
    let origin = |column: &String| BTreeSet::from([(name.clone(), column.clone())]);
    let fields = schema.fields().iter();
    fields.map(|field| origin(field.name())).collect()
}

fn nothing(plan: &LogicalPlan) -> Vec<BTreeSet<Origin>> {
    vec![BTreeSet::new(); plan.schema().fields().len()]
}

/// Where no more is known, each column is computed from all that goes in.
fn everything(plan: &LogicalPlan) -> DataFusionResult<Vec<BTreeSet<Origin>>> {
    let mut all = BTreeSet::new();
    for input in plan.inputs() {
        all.extend(origins(input)?.into_iter().flatten());
    }
    for expr in plan.expressions() {
        all.extend(of_subqueries(&expr)?);
    }
    Ok(vec![all; plan.schema().fields().len()])
}

fn computed(exprs: &[Expr], input: &LogicalPlan) -> DataFusionResult<Vec<BTreeSet<Origin>>> {
    let inputs = origins(input)?;
    let schema = input.schema();
    exprs
        .iter()
        .map(|expr| {
            let mut found = of_subqueries(expr)?;
            let outer = outer_columns(expr)?;
            for column in expr.column_refs().into_iter().chain(&outer) {
                match schema.maybe_index_of_column(column) {
                    Some(index) => found.extend(inputs[index].iter().cloned()),
                    None => found.extend(inputs.iter().flatten().cloned()),
                }
            }
            Ok(found)
        })
        .collect()
}

/// Columns of the enclosing query that subqueries of an expression read.
fn outer_columns(expr: &Expr) -> DataFusionResult<Vec<Column>> {
    let mut columns = Vec::new();
    each_subquery(expr, |outer, _| {
        columns.extend(outer.iter().filter_map(|expr| match expr {
            Expr::OuterReferenceColumn(_, column) => Some(column.clone()),
            _ => None,
        }));
        Ok(())
    })?;
    Ok(columns)
}

/// What the subqueries of an expression read.
fn of_subqueries(expr: &Expr) -> DataFusionResult<BTreeSet<Origin>> {
    let mut found = BTreeSet::new();
    each_subquery(expr, |_, plan| {
        found.extend(origins(plan)?.into_iter().flatten());
        Ok(())
    })?;
    Ok(found)
}

fn each_subquery(
    expr: &Expr,
    mut visit: impl FnMut(&[Expr], &LogicalPlan) -> DataFusionResult<()>,
) -> DataFusionResult<()> {
    expr.apply(|expr| {
        let subquery = match expr {
            Expr::ScalarSubquery(subquery) => Some(subquery),
            Expr::Exists(exists) => Some(&exists.subquery),
            Expr::InSubquery(membership) => Some(&membership.subquery),
            Expr::SetComparison(comparison) => Some(&comparison.subquery),
            _ => None,
        };
        if let Some(subquery) = subquery {
            visit(&subquery.outer_ref_columns, &subquery.subquery)?;
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}
