use std::collections::BTreeMap;
use std::ops::ControlFlow;

use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::common::ScalarValue;
use datafusion::sql::parser::Statement as PlannerStatement;
use sqlparser::ast::{
    Expr, Ident, ObjectName, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
    visit_expressions,
};

use super::kept_out::Over;
use super::{Asked, predicate};
use crate::error::Result;
use crate::project::SqlFile;
use crate::refresh::now;

/// Begins the names under which parts of formulas are selected.
const PART: &str = "__part_";

/// Parts of all formulas of a table that are evaluated at most.
const MAX_PARTS: usize = 200;

/// How one column comes about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Formula {
    pub column: String,
    /// The expression of the file.
    pub expression: String,
    /// The columns it reads, with their values for this row.
    pub parts: Vec<Part>,
}

/// A column that a formula reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub column: String,
    /// None where the row is not there, or the query has no single row at this point.
    pub value: Option<String>,
    /// How the column comes about in turn, when a WITH query of the file computes it.
    pub expression: Option<String>,
}

impl Asked<'_> {
    /// The formulas of a table's columns; those that only copy a column are left out.
    pub(super) async fn formulas(
        &self,
        file: &SqlFile,
        key: &[(String, ScalarValue)],
    ) -> Vec<Formula> {
        let mut formulas = written(&file.query);
        let mut parts: Vec<Expr> = Vec::new();
        for (_, read) in &formulas {
            for part in read {
                if !parts.contains(part) && parts.len() < MAX_PARTS {
                    parts.push(part.clone());
                }
            }
        }
        // Without values the formulas still say how the row comes about.
        let values = self.values(file, key, &parts).await.unwrap_or_default();
        for (formula, read) in &mut formulas {
            for part in read.iter() {
                let column = part.to_string();
                formula.parts.push(Part {
                    value: values.get(&column).cloned(),
                    expression: within(&file.query, part),
                    column,
                });
            }
        }
        formulas.into_iter().map(|(formula, _)| formula).collect()
    }

    /// Values of columns below the file's SELECT list, in the row with this key.
    async fn values(
        &self,
        file: &SqlFile,
        key: &[(String, ScalarValue)],
        parts: &[Expr],
    ) -> Result<BTreeMap<String, String>> {
        let mut query = file.query.as_ref().clone();
        let SetExpr::Select(select) = query.body.as_mut() else {
            return Ok(BTreeMap::new());
        };
        let has_groups =
            select.group_by != sqlparser::ast::GroupByExpr::Expressions(vec![], vec![]);
        if parts.is_empty()
            || file.directives.cdc.is_some()
            || select.distinct.is_some()
            || has_groups
        {
            return Ok(BTreeMap::new());
        }
        for (index, part) in parts.iter().enumerate() {
            select.projection.push(SelectItem::ExprWithAlias {
                expr: part.clone(),
                alias: Ident::new(format!("{PART}{index}")),
            });
        }
        let statement = Statement::Query(Box::new(query));
        let context = self.inputs_of(file, Over::Public, None)?;
        let plan = context
            .state()
            .statement_to_plan(PlannerStatement::Statement(Box::new(statement)))
            .await?;
        let plan = now::bind(plan, self.at(&file.name))?;
        let frame = context.execute_logical_plan(plan).await?;
        let rows = frame.filter(predicate(key))?.limit(0, Some(2))?;
        let rows = rows.collect().await?;
        let mut rows = rows.iter().filter(|batch| batch.num_rows() > 0);
        match (rows.next(), rows.next()) {
            (Some(row), None) if row.num_rows() == 1 => texts(row, parts),
            _ => Ok(BTreeMap::new()),
        }
    }
}

fn texts(row: &RecordBatch, parts: &[Expr]) -> Result<BTreeMap<String, String>> {
    let options = FormatOptions::default().with_null("NULL");
    let mut values = BTreeMap::new();
    for (index, part) in parts.iter().enumerate() {
        if let Some(column) = row.column_by_name(&format!("{PART}{index}")) {
            let formatter = ArrayFormatter::try_new(column, &options)?;
            values.insert(part.to_string(), formatter.value(0).to_string());
        }
    }
    Ok(values)
}

/// The computed columns of a query, each with the columns it reads.
fn written(query: &Query) -> Vec<(Formula, Vec<Expr>)> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return Vec::new();
    };
    let mut formulas = Vec::new();
    for item in &select.projection {
        let SelectItem::ExprWithAlias { expr, alias } = item else {
            continue;
        };
        formulas.push((
            Formula {
                column: alias.value.clone(),
                expression: expr.to_string(),
                parts: Vec::new(),
            },
            columns_of(expr),
        ));
    }
    formulas
}

/// The columns that an expression reads, in order. Those of subqueries belong to them.
fn columns_of(expr: &Expr) -> Vec<Expr> {
    let mut columns = Vec::new();
    let _ = visit_expressions(expr, |expr| {
        match expr {
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                return ControlFlow::Break(());
            }
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) if !columns.contains(expr) => {
                columns.push(expr.clone());
            }
            _ => {}
        }
        ControlFlow::Continue(())
    });
    columns
}

/// The expression of a WITH query behind `alias.column`.
fn within(query: &Query, part: &Expr) -> Option<String> {
    let Expr::CompoundIdentifier(parts) = part else {
        return None;
    };
    let [alias, column] = parts.as_slice() else {
        return None;
    };
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let name = table_of(select, alias)?;
    let with = query.with.as_ref()?;
    let cte = with
        .cte_tables
        .iter()
        .find(|cte| name.to_string() == cte.alias.name.value)?;
    let SetExpr::Select(select) = cte.query.body.as_ref() else {
        return None;
    };
    select.projection.iter().find_map(|item| match item {
        SelectItem::ExprWithAlias { expr, alias } if alias.value == column.value => {
            Some(expr.to_string())
        }
        _ => None,
    })
}

/// The table that a FROM clause calls so.
fn table_of<'a>(select: &'a Select, wanted: &Ident) -> Option<&'a ObjectName> {
    let factors = select.from.iter().flat_map(|from| {
        let joined = from.joins.iter().map(|join| &join.relation);
        std::iter::once(&from.relation).chain(joined)
    });
    for factor in factors {
        if let TableFactor::Table { name, alias, .. } = factor {
            let called = match alias {
                Some(alias) => alias.name.value.clone(),
                None => name.to_string(),
            };
            if called == wanted.value {
                return Some(name);
            }
        }
    }
    None
}
