use std::fmt;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};
use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Statement, visit_expressions,
};
use sqlparser::tokenizer::{Location, Span, Token};

use crate::cursor::Cursor;
use crate::diagnostic::Diagnostic;
use crate::directive::Column;
use crate::syntax::{self, SyntaxError, normal};
use crate::table_name::TableName;

/// A rule about a table, and what happens where it does not hold.
#[derive(Debug, Clone)]
pub struct Expect {
    pub name: String,
    pub rule: Rule,
    pub on_violation: OnViolation,
    /// Share of the table's rows that may violate the rule before the table is held.
    pub fail_over_percent: Option<f64>,
    pub span: Span,
}

#[derive(Debug, Clone)]
pub enum Rule {
    /// Holds for a row when it is TRUE; NULL violates, as FALSE does.
    Row(Expr),
    /// A condition with aggregates over the whole table.
    Table(Expr),
    /// No two rows agree in all of these columns.
    Unique(Vec<Column>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnViolation {
    Warn,
    Drop,
    Quarantine,
    Fail,
}

/// Names that stand beside the rules where a table's checks are told.
const RESERVED: [&str; 3] = ["evaluation", "without_key", "fresh"];

impl OnViolation {
    /// Whether rows that break the rule are no rows of the table.
    pub fn keeps_out(self) -> bool {
        matches!(self, Self::Drop | Self::Quarantine)
    }
}

impl Expect {
    /// A query of one row, `violations BIGINT, rows BIGINT`, over the table as it would be committed.
    pub fn count(&self, table: &TableName) -> Result<Statement, SyntaxError> {
        statement(&self.count_sql(table))
    }

    fn count_sql(&self, table: &TableName) -> String {
        let table = format!("\"{}\".\"{}\"", table.schema(), table.name());
        match &self.rule {
            Rule::Row(rule) => format!(
                "SELECT count(*) FILTER (WHERE ({rule}) IS NOT TRUE) AS violations, \
                 count(*) AS rows FROM {table}"
            ),
            Rule::Table(rule) => format!(
                "SELECT CAST(CASE WHEN {rule} THEN 0 ELSE 1 END AS BIGINT) AS violations, \
                 count(*) AS rows FROM {table}"
            ),
            Rule::Unique(columns) => format!(
                "SELECT CAST(coalesce(sum(n - 1), 0) AS BIGINT) AS violations, \
                 CAST(coalesce(sum(n), 0) AS BIGINT) AS rows \
                 FROM (SELECT count(*) AS n FROM {table} GROUP BY {}) AS groups",
                quoted(columns.iter().map(|column| column.name.as_str()))
            ),
        }
    }

    pub fn is_about_rows(&self) -> bool {
        matches!(self.rule, Rule::Row(_))
    }

    /// What happens on a violation, as its author wrote it.
    pub fn action(&self) -> String {
        match self.fail_over_percent {
            Some(percent) => format!("{}, FAIL OVER {percent}%", self.on_violation),
            None => self.on_violation.to_string(),
        }
    }
}

/// One statement, in the dialect of the project's files.
pub fn statement(sql: &str) -> Result<Statement, SyntaxError> {
    let tokens = syntax::tokenize(sql, Location::new(1, 1))?;
    Ok(syntax::parser(tokens).parse_statement()?)
}

/// The rule as its author would write it.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(rule) | Self::Table(rule) => write!(f, "{rule}"),
            Self::Unique(columns) => {
                let names: Vec<&str> = columns.iter().map(|c| c.name.as_str()).collect();
                write!(f, "unique({})", names.join(", "))
            }
        }
    }
}

impl fmt::Display for OnViolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warn => "WARN",
            Self::Drop => "DROP",
            Self::Quarantine => "QUARANTINE",
            Self::Fail => "FAIL",
        })
    }
}

/// `name: rule ON VIOLATION action [, FAIL OVER n%]`
pub fn parse(cursor: &mut Cursor<'_>) -> Result<Expect, Diagnostic> {
    let (name, span) = cursor.name("the rule's name")?;
    if !cursor.accept(&Token::Colon) {
        return Err(cursor.expected("\":\" behind the rule's name"));
    }
    let expression = cursor.expression("condition")?;
    let rule = rule(cursor, expression)?;
    cursor.words("ON VIOLATION")?;
    let on_violation = match cursor.one_of(&["WARN", "DROP", "QUARANTINE", "FAIL"])? {
        "DROP" => OnViolation::Drop,
        "QUARANTINE" => OnViolation::Quarantine,
        "FAIL" => OnViolation::Fail,
        _ => OnViolation::Warn,
    };
    let mut fail_over_percent = None;
    if cursor.accept(&Token::Comma) {
        cursor.words("FAIL OVER")?;
        fail_over_percent = Some(cursor.percent()?);
    }
    let expect = Expect {
        name,
        rule,
        on_violation,
        fail_over_percent,
        span,
    };
    match objection(&expect) {
        Some((message, hint)) => Err(cursor.at(span, message).hint(hint)),
        None => Ok(expect),
    }
}

fn objection(expect: &Expect) -> Option<(String, &'static str)> {
    let Expect {
        name, on_violation, ..
    } = expect;
    let about_rows = expect.is_about_rows();
    if RESERVED.contains(&name.as_str()) {
        return Some((
            format!("\"{name}\" is the name of a check that every table has"),
            "Give the rule another name.",
        ));
    }
    match on_violation {
        OnViolation::Drop | OnViolation::Quarantine if !about_rows => Some((
            format!("\"{name}\" is about the whole table and cannot {on_violation} single rows"),
            "Use ON VIOLATION WARN or ON VIOLATION FAIL.",
        )),
        OnViolation::Fail if expect.fail_over_percent.is_some() => Some((
            format!("\"{name}\" fails at the first violation already"),
            "Use ON VIOLATION WARN, FAIL OVER n%.",
        )),
        _ if expect.fail_over_percent.is_some() && !about_rows => Some((
            format!("\"{name}\" is about the whole table and has no share of rows"),
            "Leave FAIL OVER out.",
        )),
        _ => None,
    }
}

fn rule(cursor: &Cursor<'_>, expression: Expr) -> Result<Rule, Diagnostic> {
    if let Expr::Function(function) = &expression
        && is_unique(function)
    {
        return match unique_columns(function) {
            Some(columns) => Ok(Rule::Unique(columns)),
            None => Err(cursor
                .at_expression(&expression, "unique() takes column names".to_owned())
                .hint("Write it as: unique(employee_id)")),
        };
    }
    let (mut has_aggregate, mut nested_unique, mut beyond) = (false, None, None);
    let _ = visit_expressions(&expression, |inner| {
        match inner {
            Expr::Function(function) => {
                if is_unique(function) {
                    nested_unique = Some(inner.clone());
                }
                if function.over.is_some() {
                    beyond = Some((inner.clone(), "a window function"));
                }
                has_aggregate |= function.over.is_none() && is_aggregate(function);
            }
            Expr::Subquery(_) | Expr::InSubquery { .. } | Expr::Exists { .. } => {
                beyond.get_or_insert_with(|| (inner.clone(), "a subquery"));
            }
            _ => {}
        }
        ControlFlow::<()>::Continue(())
    });
    if let Some((inner, what)) = beyond {
        let message = format!("a rule reads its own table's columns, this is {what}");
        return Err(cursor
            .at_expression(&inner, message)
            .hint("Make it a column of the SELECT, and let the rule test that column."));
    }
    if let Some(unique) = nested_unique {
        return Err(cursor
            .at_expression(&unique, "unique() must be a rule of its own".to_owned())
            .hint("Put each of the two conditions into an @expect line."));
    }
    Ok(if has_aggregate {
        Rule::Table(expression)
    } else {
        Rule::Row(expression)
    })
}

fn is_unique(function: &Function) -> bool {
    function.name.to_string().eq_ignore_ascii_case("unique")
}

fn unique_columns(function: &Function) -> Option<Vec<Column>> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let columns = list.args.iter().map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(ident))) => Some(Column {
            name: normal(ident),
            span: ident.span,
        }),
        _ => None,
    });
    let columns: Vec<Column> = columns.collect::<Option<_>>()?;
    (!columns.is_empty()).then_some(columns)
}

fn is_aggregate(function: &Function) -> bool {
    let name = function.name.to_string().to_lowercase();
    AGGREGATES.contains(&name.as_str())
}

/// Kept as names, so that parsing needs no query engine; a test compares them with the engine's.
pub const AGGREGATES: &[&str] = &[
    "any_value",
    "approx_distinct",
    "approx_median",
    "approx_percentile_cont",
    "approx_percentile_cont_with_weight",
    "array_agg",
    "avg",
    "bit_and",
    "bit_or",
    "bit_xor",
    "bool_and",
    "bool_or",
    "corr",
    "count",
    "covar",
    "covar_pop",
    "covar_samp",
    "first_value",
    "grouping",
    "last_value",
    "max",
    "mean",
    "median",
    "min",
    "nth_value",
    "percentile_cont",
    "quantile_cont",
    "regr_avgx",
    "regr_avgy",
    "regr_count",
    "regr_intercept",
    "regr_r2",
    "regr_slope",
    "regr_sxx",
    "regr_sxy",
    "regr_syy",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "string_agg",
    "sum",
    "var",
    "var_pop",
    "var_population",
    "var_samp",
    "var_sample",
];

/// Names as SQL writes them in a list.
pub fn quoted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<String> = names
        .map(|name| format!("\"{}\"", name.replace('"', "\"\"")))
        .collect();
    names.join(", ")
}
