//! Functions of ODBC and of Spark SQL, as those of DataFusion.

use std::collections::HashMap;
use std::sync::LazyLock;

use sqlparser::ast::{
    BinaryOperator, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, Ident, ObjectName, OrderByExpr, OrderByOptions, Value, ValueWithSpan,
};

use super::dates;
use super::template::{self, Budget};
use crate::error::{Error, ErrorKind, Result};

/// Name, number of arguments, meaning. None is a name that DataFusion has with that many arguments, so that no query
/// changes its meaning.
const CALLS: &[(&str, usize, &str)] = &[
    // Text
    ("lcase", 1, "lower($1)"),
    ("ucase", 1, "upper($1)"),
    ("space", 1, "repeat(' ', $1)"),
    ("char", 1, "chr($1)"),
    ("insert", 4, "overlay($1 PLACING $4 FROM $2 FOR $3)"),
    ("locate", 2, "strpos($2, $1)"),
    (
        "locate",
        3,
        "CASE WHEN strpos(substr($2, $3), $1) = 0 THEN 0 ELSE strpos(substr($2, $3), $1) + $3 - 1 END",
    ),
    ("odbc_concat", 2, "$1 || $2"),
    ("rlike", 2, "regexp_like($1, $2)"),
    ("regexp", 2, "regexp_like($1, $2)"),
    (
        "regexp_extract",
        2,
        "coalesce((regexp_match($1, $2))[1], '')",
    ),
    ("string", 1, "CAST($1 AS VARCHAR)"),
    // Numbers
    ("mod", 2, "$1 % $2"),
    ("pmod", 2, "(($1 % $2) + $2) % $2"),
    ("truncate", 2, "trunc($1, $2)"),
    ("ceiling", 1, "ceil($1)"),
    ("sign", 1, "signum($1)"),
    ("odbc_log", 1, "ln($1)"),
    ("int", 1, "CAST($1 AS INT)"),
    ("bigint", 1, "CAST($1 AS BIGINT)"),
    ("double", 1, "CAST($1 AS DOUBLE)"),
    // Conditions
    ("if", 3, "CASE WHEN $1 THEN $2 ELSE $3 END"),
    ("iff", 3, "CASE WHEN $1 THEN $2 ELSE $3 END"),
    ("isnull", 1, "($1 IS NULL)"),
    ("isnotnull", 1, "($1 IS NOT NULL)"),
    ("boolean", 1, "CAST($1 AS BOOLEAN)"),
    // Time
    ("curdate", 0, "current_date()"),
    ("curtime", 0, "current_time()"),
    ("year", 1, "date_part('year', $1)"),
    ("quarter", 1, "date_part('quarter', $1)"),
    ("month", 1, "date_part('month', $1)"),
    ("week", 1, "date_part('week', $1)"),
    ("weekofyear", 1, "date_part('week', $1)"),
    ("day", 1, "date_part('day', $1)"),
    ("dayofmonth", 1, "date_part('day', $1)"),
    ("dayofweek", 1, "date_part('dow', $1) + 1"),
    ("weekday", 1, "(date_part('dow', $1) + 6) % 7"),
    ("dayofyear", 1, "date_part('doy', $1)"),
    ("hour", 1, "date_part('hour', $1)"),
    ("minute", 1, "date_part('minute', $1)"),
    ("second", 1, "date_part('second', $1)"),
    ("dayname", 1, "to_char($1, '%A')"),
    ("monthname", 1, "to_char($1, '%B')"),
    (
        "date_add",
        2,
        "CAST(CAST(CAST($1 AS DATE) AS INT) + CAST($2 AS INT) AS DATE)",
    ),
    (
        "date_sub",
        2,
        "CAST(CAST(CAST($1 AS DATE) AS INT) - CAST($2 AS INT) AS DATE)",
    ),
    (
        "datediff",
        2,
        "CAST(CAST($1 AS DATE) AS INT) - CAST(CAST($2 AS DATE) AS INT)",
    ),
    (
        "add_months",
        2,
        "CAST(CAST($1 AS DATE) + CAST(concat(CAST($2 AS VARCHAR), ' months') AS INTERVAL) AS DATE)",
    ),
    (
        "last_day",
        1,
        "CAST(date_trunc('month', CAST($1 AS DATE)) + INTERVAL '1 month' - INTERVAL '1 day' AS DATE)",
    ),
    (
        "unix_timestamp",
        0,
        "CAST(date_part('epoch', now()) AS BIGINT)",
    ),
    (
        "unix_timestamp",
        1,
        "CAST(date_part('epoch', CAST($1 AS TIMESTAMP)) AS BIGINT)",
    ),
    // The session
    ("database", 0, "'sportlake'"),
    ("current_database", 0, "'sportlake'"),
    ("current_catalog", 0, "'sportlake'"),
];

/// The same function by another name, whatever follows it.
const NAMES: &[(&str, &str)] = &[
    ("any_value", "first_value"),
    ("approx_count_distinct", "approx_distinct"),
    ("every", "bool_and"),
    ("explode", "unnest"),
    ("first", "first_value"),
    ("last", "last_value"),
    ("size", "cardinality"),
    ("std", "stddev"),
];

static TEMPLATES: LazyLock<HashMap<(&str, usize), Expr>> = LazyLock::new(|| {
    let parsed = |&(name, arguments, text): &(&'static str, usize, &str)| {
        ((name, arguments), template::parse(text))
    };
    CALLS.iter().map(parsed).collect()
});

pub(super) fn rewrite(expr: &mut Expr, budget: &mut Budget) -> Result<()> {
    match expr {
        Expr::RLike {
            negated,
            expr: text,
            pattern,
            ..
        } => {
            let arguments = [text.as_ref().clone(), pattern.as_ref().clone()];
            let text = if *negated {
                "NOT regexp_like($1, $2)"
            } else {
                "regexp_like($1, $2)"
            };
            *expr = template::fill(&template::parse(text), &arguments, budget)?;
        }
        Expr::Function(function) => {
            if let Some(other) = call(function, budget)? {
                *expr = other;
            }
        }
        _ => {}
    }
    Ok(())
}

fn call(function: &mut Function, budget: &mut Budget) -> Result<Option<Expr>> {
    let Some(name) = bare_name(function) else {
        return Ok(None);
    };
    if let Some((_, other)) = NAMES.iter().find(|(known, _)| *known == name) {
        function.name = named(other);
        return Ok(None);
    }
    let Some(arguments) = arguments(function) else {
        return Ok(None);
    };
    if let Some(aggregate) = aggregate(&name, &arguments, function) {
        return Ok(Some(Expr::Function(aggregate)));
    }
    if function.over.is_some() || function.filter.is_some() || !function.within_group.is_empty() {
        return Ok(None);
    }
    if let Some(template) = TEMPLATES.get(&(name.as_str(), arguments.len())) {
        return template::fill(template, &arguments, budget).map(Some);
    }
    if let Some(moment) = dates::call(&name, &arguments, budget)? {
        return Ok(Some(moment));
    }
    match (name.as_str(), arguments.as_slice()) {
        ("regexp_extract", [_, _, group]) => {
            let template = match literal(group).as_deref() {
                Some("0") => "coalesce((regexp_match($1, '(' || $2 || ')'))[1], '')",
                _ => "coalesce((regexp_match($1, $2))[$3], '')",
            };
            template::fill(&template::parse(template), &arguments, budget).map(Some)
        }
        ("split", [_, separator, ..]) => match literal(separator) {
            Some(text) if is_plain(&text) => template::fill(
                &template::parse("string_to_array($1, $2)"),
                &arguments,
                budget,
            )
            .map(Some),
            _ => Err(unsupported(
                "split() by a pattern",
                "Split by a literal text.",
            )),
        },
        ("get_json_object", [_, path]) => json(&arguments, path, budget).map(Some),
        _ => Ok(None),
    }
}

/// Aggregates whose arguments stand elsewhere.
fn aggregate(name: &str, arguments: &[Expr], function: &Function) -> Option<Function> {
    let mut other = function.clone();
    match (name, arguments) {
        ("collect_list" | "collect_set", [value]) => {
            other.name = named("array_agg");
            if let FunctionArguments::List(list) = &mut other.args
                && name == "collect_set"
            {
                list.duplicate_treatment = Some(DuplicateTreatment::Distinct);
            }
            let not_null = Expr::IsNotNull(Box::new(value.clone()));
            other.filter = Some(Box::new(match other.filter.take() {
                Some(filter) => Expr::BinaryOp {
                    left: Box::new(Expr::Nested(filter)),
                    op: BinaryOperator::And,
                    right: Box::new(not_null),
                },
                None => not_null,
            }));
        }
        ("percentile_approx" | "approx_percentile" | "percentile", [value, rest @ ..])
            if !rest.is_empty() && function.within_group.is_empty() =>
        {
            let exact = name == "percentile";
            other.name = named(if exact {
                "percentile_cont"
            } else {
                "approx_percentile_cont"
            });
            if let FunctionArguments::List(list) = &mut other.args {
                list.args.remove(0);
                list.args.truncate(1);
            }
            other.within_group = vec![OrderByExpr {
                expr: value.clone(),
                options: OrderByOptions::default(),
                with_fill: None,
            }];
        }
        _ => return None,
    }
    Some(other)
}

/// `$.a.b[0]` of JSON, as text.
fn json(arguments: &[Expr], path: &Expr, budget: &mut Budget) -> Result<Expr> {
    let wrong = || {
        unsupported(
            "this path of get_json_object()",
            "Write a literal such as '$.after.id' or '$.tags[0]'.",
        )
    };
    let path = literal(path).ok_or_else(wrong)?;
    let mut keys = Vec::new();
    for part in path.strip_prefix('$').ok_or_else(wrong)?.split('.').skip(1) {
        let (name, indices) = part.split_once('[').unwrap_or((part, ""));
        if name.is_empty() {
            return Err(wrong());
        }
        keys.push(format!("'{}'", name.replace('\'', "''")));
        for index in indices.split('[').filter(|index| !index.is_empty()) {
            let index: u32 = index
                .strip_suffix(']')
                .and_then(|index| index.parse().ok())
                .ok_or_else(wrong)?;
            keys.push(index.to_string());
        }
    }
    if keys.is_empty() {
        return Err(wrong());
    }
    let text = format!("json_as_text($1, {})", keys.join(", "));
    template::fill(&template::parse(&text), &arguments[..1], budget)
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(|c| r"\.[]{}()*+?^$|".contains(c))
}

fn bare_name(function: &Function) -> Option<String> {
    match function.name.0.as_slice() {
        [part] => {
            let ident = part.as_ident()?;
            ident
                .quote_style
                .is_none()
                .then(|| ident.value.to_lowercase())
        }
        _ => None,
    }
}

fn named(name: &str) -> ObjectName {
    ObjectName::from(vec![Ident::new(name)])
}

fn arguments(function: &Function) -> Option<Vec<Expr>> {
    match &function.args {
        FunctionArguments::None => Some(Vec::new()),
        FunctionArguments::Subquery(_) => None,
        FunctionArguments::List(list) => list
            .args
            .iter()
            .map(|argument| match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => Some(value.clone()),
                _ => None,
            })
            .collect(),
    }
}

/// The text of a literal.
pub(super) fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(ValueWithSpan {
            value: Value::SingleQuotedString(text) | Value::Number(text, _),
            ..
        }) => Some(text.clone()),
        _ => None,
    }
}

pub(super) fn unsupported(what: &str, hint: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("{what} is not supported")).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_sql() {
        assert_eq!(TEMPLATES.len(), CALLS.len(), "two meanings of one call");
    }
}
