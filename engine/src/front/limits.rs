//! TOP and FETCH as LIMIT.

use sqlparser::ast::{Expr, LimitClause, Query, Select, SetExpr, TopQuantity, Value};

use crate::error::{Error, ErrorKind, Result};

pub(super) fn rewrite(query: &mut Query) -> Result<()> {
    if let Some(fetch) = query.fetch.take() {
        if fetch.with_ties || fetch.percent {
            return Err(unsupported("FETCH"));
        }
        limit(query, fetch.quantity.unwrap_or_else(|| number(1)), "FETCH")?;
    }
    match query.body.as_mut() {
        SetExpr::Select(select) => {
            if let Some(rows) = top(select)? {
                limit(query, rows, "TOP")?;
            }
            Ok(())
        }
        other => nest_tops(other),
    }
}

/// A part of a UNION with a TOP is a query of its own.
fn nest_tops(part: &mut SetExpr) -> Result<()> {
    match part {
        SetExpr::SetOperation { left, right, .. } => {
            nest_tops(left)?;
            nest_tops(right)
        }
        SetExpr::Select(select) => {
            let Some(rows) = top(select)? else {
                return Ok(());
            };
            let body = std::mem::replace(
                part,
                SetExpr::Query(Box::new(of(SetExpr::Values(sqlparser::ast::Values {
                    explicit_row: false,
                    value_keyword: false,
                    rows: Vec::new(),
                })))),
            );
            let mut query = of(body);
            limit(&mut query, rows, "TOP")?;
            *part = SetExpr::Query(Box::new(query));
            Ok(())
        }
        _ => Ok(()),
    }
}

fn of(body: SetExpr) -> Query {
    Query {
        with: None,
        body: Box::new(body),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

fn top(select: &mut Select) -> Result<Option<Expr>> {
    let Some(top) = select.top.take() else {
        return Ok(None);
    };
    if top.with_ties || top.percent {
        return Err(unsupported("TOP"));
    }
    Ok(Some(match top.quantity {
        Some(TopQuantity::Constant(rows)) => number(rows),
        Some(TopQuantity::Expr(rows)) => rows,
        None => number(1),
    }))
}

fn limit(query: &mut Query, rows: Expr, word: &str) -> Result<()> {
    let offset = match query.limit_clause.take() {
        None => None,
        Some(LimitClause::LimitOffset {
            limit: None,
            offset,
            limit_by,
        }) if limit_by.is_empty() => offset,
        Some(_) => {
            return Err(
                Error::invalid(format!("the query has both LIMIT and {word}"))
                    .hint("Keep one of them."),
            );
        }
    };
    query.limit_clause = Some(LimitClause::LimitOffset {
        limit: Some(rows),
        offset,
        limit_by: Vec::new(),
    });
    Ok(())
}

fn number(number: u64) -> Expr {
    Expr::value(Value::Number(number.to_string(), false))
}

fn unsupported(word: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("{word} with PERCENT or TIES is not supported"),
    )
    .hint("Use rank() or row_number() over the order, and filter on it.")
}
