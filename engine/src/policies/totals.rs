//! Totals over enough persons: the query of `CREATE TOTALS` with the conditions that keep small groups back.

use sql_files::policies::{NamedTable, Totals};
use sql_files::syntax::normal;
use sql_files::{DEFAULT_SCHEMA, TableName};
use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, Query,
    Select, SelectItem, SetExpr, Spanned, TableFactor,
};
use sqlparser::tokenizer::Span;

const AGGREGATES: [&str; 3] = ["count", "sum", "avg"];

/// What is wrong with a query, where, and what to write instead.
pub(super) type Refused = (Span, String, &'static str);

/// The one table that the query reads.
pub(super) fn source(totals: &Totals) -> Result<NamedTable, Refused> {
    let refused = |span: Span| {
        let message = "totals are made of one table".to_owned();
        (
            span,
            message,
            "Read one table, with no join, WITH, UNION, LIMIT or subquery.",
        )
    };
    let query = &totals.query;
    let Some(select) = select(query) else {
        return Err(refused(totals.span));
    };
    let [from] = select.from.as_slice() else {
        return Err(refused(totals.span));
    };
    let TableFactor::Table { name, .. } = &from.relation else {
        return Err(refused(totals.span));
    };
    let plain = query.with.is_none()
        && query.order_by.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && from.joins.is_empty()
        && select.distinct.is_none()
        && select.having.is_none()
        && select.qualify.is_none()
        && select.selection.is_none();
    let parts: Vec<String> = name
        .0
        .iter()
        .filter_map(|part| part.as_ident().map(normal))
        .collect();
    let table = match parts.as_slice() {
        [table] => TableName::new(DEFAULT_SCHEMA, table),
        [schema, table] => TableName::new(schema, table),
        _ => return Err(refused(name.span())),
    };
    match (plain, table) {
        (true, Ok(table)) => Ok(NamedTable {
            name: table,
            span: name.span(),
        }),
        (true, Err(error)) => Err((name.span(), error.message, "Write it as gold.eligibilites.")),
        (false, _) => Err((
            totals.span,
            "totals are SELECT, FROM and GROUP BY, and no more".to_owned(),
            "Leave the rows to CREATE POLICY: a WHERE or HAVING makes groups that can be subtracted.",
        )),
    }
}

/// The query that keeps back groups of fewer persons, and each total that fewer persons contribute to.
pub(super) fn guarded(totals: &Totals) -> Result<Query, Refused> {
    source(totals)?;
    let mut query = totals.query.clone();
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Err((totals.span, "totals are one SELECT".to_owned(), ""));
    };
    let groups = groups(select, totals.span)?;
    for item in &mut select.projection {
        let (expr, alias) = match item {
            SelectItem::UnnamedExpr(expr) => (expr.clone(), None),
            SelectItem::ExprWithAlias { expr, alias } => (expr.clone(), Some(alias.clone())),
            _ => {
                let message = "totals name each of their columns".to_owned();
                return Err((
                    item.span(),
                    message,
                    "Write the columns of GROUP BY, and count, sum or avg.",
                ));
            }
        };
        if groups.contains(&expr) {
            continue;
        }
        let Expr::Function(call) = &expr else {
            return Err(no_total(&expr));
        };
        let Some(measured) = measured(call) else {
            return Err(no_total(&expr));
        };
        let Some(alias) = alias else {
            return Err((
                expr.span(),
                "this total has no name".to_owned(),
                "Give it one with AS.",
            ));
        };
        if let Some(column) = measured {
            let enough = enough(totals, Some((column, call)));
            let guarded = format!("CASE WHEN {enough} THEN {call} END");
            let expr = expression(&guarded).ok_or_else(|| no_total(&expr))?;
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
    select.having = expression(&enough(totals, None));
    Ok(query)
}

/// Whether enough persons are in a group, or contribute to a sum or an average of it: nothing is no contribution.
fn enough(totals: &Totals, measured: Option<(&Ident, &Function)>) -> String {
    let person = Ident::with_quote('"', &totals.person.name);
    let contribute = match measured {
        Some((column, call)) if normal(&Ident::new(call.name.to_string())) != "count" => {
            format!(" FILTER (WHERE {column} <> 0)")
        }
        Some((column, _)) => format!(" FILTER (WHERE {column} IS NOT NULL)"),
        None => String::new(),
    };
    format!(
        "count(DISTINCT {person}){contribute} >= {}",
        totals.at_least
    )
}

fn expression(text: &str) -> Option<Expr> {
    let start = sqlparser::tokenizer::Location::new(1, 1);
    let tokens = sql_files::syntax::tokenize(text, start).ok()?;
    sql_files::syntax::parser(tokens).parse_expr().ok()
}

fn groups(select: &Select, span: Span) -> Result<Vec<Expr>, Refused> {
    match &select.group_by {
        GroupByExpr::Expressions(columns, modifiers) if modifiers.is_empty() => {
            for column in columns {
                if !matches!(column, Expr::Identifier(_)) {
                    let message = "totals are grouped by columns".to_owned();
                    return Err((column.span(), message, "Compute the group in a gold table."));
                }
            }
            Ok(columns.clone())
        }
        _ => Err((
            span,
            "totals are grouped by columns".to_owned(),
            "Write GROUP BY a, b.",
        )),
    }
}

/// The column that a total is of; `Some(None)` for `count(*)`, `None` for what is no total.
fn measured(call: &Function) -> Option<Option<&Ident>> {
    let name = call.name.to_string().to_lowercase();
    let FunctionArguments::List(list) = &call.args else {
        return None;
    };
    let plain = AGGREGATES.contains(&name.as_str())
        && call.filter.is_none()
        && call.over.is_none()
        && call.within_group.is_empty()
        && list.duplicate_treatment.is_none()
        && list.clauses.is_empty();
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Wildcard)] if plain && name == "count" => Some(None),
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(column)))] if plain => {
            Some(Some(column))
        }
        _ => None,
    }
}

fn no_total(expr: &Expr) -> Refused {
    let message = format!("\"{expr}\" is neither a group nor a total");
    (
        expr.span(),
        message,
        "A total is count(*), count, sum or avg of one column.",
    )
}

fn select(query: &Query) -> Option<&Select> {
    match query.body.as_ref() {
        SetExpr::Select(select) => Some(select),
        _ => None,
    }
}

/// The table's own name, for queries that were checked.
pub(super) fn reads(totals: &Totals) -> Option<TableName> {
    source(totals).ok().map(|table| table.name)
}
