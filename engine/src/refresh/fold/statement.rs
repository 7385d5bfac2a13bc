use datafusion::sql::parser::Statement as PlannerStatement;
use sqlparser::ast::{CastKind, DataType as SqlType, Expr, Ident, SelectItem, SetExpr, Statement};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::columns::{FoldColumns, TRUNCATES, UNAVAILABLE};
use crate::error::{Error, ErrorKind, Result};
use crate::functions::UNAVAILABLE_FIELDS;
use crate::hidden::{DELETED, OFFSET, PARTITION, SEQUENCE, TIMESTAMP};
use crate::project::{Cdc, SqlFile};

/// A file's SELECT over every event, with the event's place and what it does; then, for an event that it cannot be
/// computed for, ever less of it.
#[derive(Debug, Clone)]
pub(super) struct FoldStatements {
    pub(super) whole: PlannerStatement,
    /// Key, place and whether the row is gone; key and place; place alone; coordinates alone.
    pub(super) parts: Vec<PlannerStatement>,
}

impl FoldStatements {
    /// A row that the SELECT's WHERE leaves out is gone too: it may have been in the table before this event.
    pub(super) fn new(file: &SqlFile, cdc: &Cdc, columns: &FoldColumns) -> Result<Self> {
        let whole = whole(file, cdc)?;
        let keys = columns.key_names();
        let sequences: Vec<&str> = columns
            .sequence
            .iter()
            .map(|index| columns.stored.field(*index).name().as_str())
            .collect();
        let always = [PARTITION, OFFSET, TIMESTAMP, TRUNCATES];
        let with_place = [sequences.as_slice(), &always].concat();
        let with_key = [keys.as_slice(), &with_place, &[UNAVAILABLE]].concat();
        let with_end = [with_key.as_slice(), &[DELETED]].concat();
        let parts = [with_end, with_key, with_place, always.to_vec()]
            .iter()
            .map(|columns| part(&whole, columns))
            .collect::<Result<_>>()?;
        Ok(Self { whole, parts })
    }
}

fn part(whole: &PlannerStatement, columns: &[&str]) -> Result<PlannerStatement> {
    let names: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
    let sql = format!("SELECT {} FROM ({whole}) AS folded", names.join(", "));
    let statement = Parser::new(&PostgreSqlDialect {})
        .try_with_sql(&sql)
        .and_then(|mut parser| parser.parse_statement())
        .map_err(unreadable)?;
    Ok(PlannerStatement::Statement(Box::new(statement)))
}

fn whole(file: &SqlFile, cdc: &Cdc) -> Result<PlannerStatement> {
    let mut query = file.query.as_ref().clone();
    let unsupported = || {
        Error::new(
            ErrorKind::Unsupported,
            format!("the @cdc table \"{}\" is not one plain SELECT", file.name),
        )
        .hint("A @cdc file reads one bronze table with WHERE, without DISTINCT, GROUP BY or LIMIT.")
    };
    if query.with.is_some() || query.limit_clause.is_some() || query.order_by.is_some() {
        return Err(unsupported());
    }
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Err(unsupported());
    };
    if select.distinct.is_some() || select.having.is_some() {
        return Err(unsupported());
    }
    let events = crate::project::bronze_alias(file);
    let of_event = |name: &str| match &events {
        Some(alias) => format!("{}.{}", quoted(alias), quoted(name)),
        None => quoted(name),
    };
    let gone = match &cdc.delete_when {
        Some(condition) => format!("(({condition}) IS TRUE)"),
        None => "FALSE".to_owned(),
    };
    let gone = match select.selection.take() {
        Some(kept) => format!("{gone} OR (({kept}) IS NOT TRUE)"),
        None => gone,
    };
    for (index, column) in cdc.sequence.iter().enumerate() {
        let place = Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(expression(&of_event(&column.name))?),
            data_type: SqlType::BigInt(None),
            array: false,
            format: None,
        };
        let name = format!("{SEQUENCE}{index}");
        select.projection.push(named(place, &name));
    }
    let (op, error, value) = (of_event("op"), of_event("error"), of_event("value"));
    for (sql, name) in [
        (gone, DELETED),
        (of_event("_partition"), PARTITION),
        (of_event("_offset"), OFFSET),
        (of_event("_timestamp"), TIMESTAMP),
        (format!("{UNAVAILABLE_FIELDS}({value})"), UNAVAILABLE),
        (format!("{op} = 't'"), TRUNCATES),
    ] {
        select.projection.push(named(expression(&sql)?, name));
    }
    let rows = format!("{op} IN ('c', 'u', 'd', 'r', 't') AND {error} IS NULL");
    select.selection = Some(expression(&rows)?);
    Ok(PlannerStatement::Statement(Box::new(Statement::Query(
        Box::new(query),
    ))))
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn named(expr: Expr, alias: &str) -> SelectItem {
    SelectItem::ExprWithAlias {
        expr,
        alias: Ident::new(alias),
    }
}

fn expression(sql: &str) -> Result<Expr> {
    Parser::new(&PostgreSqlDialect {})
        .try_with_sql(sql)
        .and_then(|mut parser| parser.parse_expr())
        .map_err(unreadable)
}

fn unreadable(source: sqlparser::parser::ParserError) -> Error {
    Error::new(ErrorKind::Internal, "a fold's SQL does not read back").caused_by(source)
}
