use std::collections::BTreeSet;

use serde_json::{Map, Value};
use sqlparser::keywords::{
    ALL_KEYWORDS, ALL_KEYWORDS_INDEX, RESERVED_FOR_COLUMN_ALIAS, RESERVED_FOR_IDENTIFIER,
    RESERVED_FOR_TABLE_ALIAS,
};

/// A rule's condition, and what it is about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Row(String),
    Table(String),
}

impl Condition {
    pub(super) fn sql(&self) -> &str {
        match self {
            Self::Row(sql) | Self::Table(sql) => sql,
        }
    }
}

type Kwargs = Map<String, Value>;

/// The condition of an expectation's type, or why there is none.
///
/// Expectations about a column's values pass over NULL, so their conditions let it through.
pub(super) fn condition(
    kind: &str,
    kwargs: &Kwargs,
    never_null: &BTreeSet<&str>,
) -> Result<Condition, String> {
    let name = kind.strip_prefix("expect_").unwrap_or(kind);
    if let Some(reason) = reason(name) {
        return Err(reason.to_owned());
    }
    if let Some(rest) = name.strip_prefix("column_values_to_") {
        return values(rest, kwargs, never_null);
    }
    if let Some(rest) = name.strip_prefix("column_value_lengths_to_") {
        let column = column(kwargs, "column")?;
        let length = format!("character_length({column})");
        let test = match rest {
            "equal" => format!("{length} = {}", literal(kwargs.get("value"))?),
            "be_between" => between(&length, kwargs)?,
            _ => return Err(unknown()),
        };
        return Ok(Condition::Row(or_null(&column, &test)));
    }
    if let Some(rest) = name.strip_prefix("column_pair_values_") {
        return pair(rest, kwargs).map(Condition::Row);
    }
    aggregate(name, kwargs, never_null)
}

fn values(rest: &str, kwargs: &Kwargs, never_null: &BTreeSet<&str>) -> Result<Condition, String> {
    let column = column(kwargs, "column")?;
    let row = |test: String| Ok(Condition::Row(or_null(&column, &test)));
    match rest {
        "not_be_null" => Ok(Condition::Row(format!("{column} IS NOT NULL"))),
        "be_null" => Ok(Condition::Row(format!("{column} IS NULL"))),
        "be_unique" => Ok(Condition::Table(unique(kwargs, &column, never_null))),
        "be_in_set" => row(format!("{column} IN {}", set(kwargs)?)),
        "not_be_in_set" => row(format!("{column} NOT IN {}", set(kwargs)?)),
        "be_between" => row(between(&column, kwargs)?),
        "match_regex" => row(format!("{column} ~ {}", regex(kwargs.get("regex"))?)),
        "not_match_regex" => row(format!("{column} !~ {}", regex(kwargs.get("regex"))?)),
        "match_regex_list" => {
            let any = kwargs.get("match_on").and_then(Value::as_str) != Some("all");
            row(list(
                kwargs,
                "regex_list",
                |regex_text| Ok(format!("{column} ~ {}", regex(Some(regex_text))?)),
                if any { " OR " } else { " AND " },
            )?)
        }
        "not_match_regex_list" => row(list(
            kwargs,
            "regex_list",
            |regex_text| Ok(format!("{column} !~ {}", regex(Some(regex_text))?)),
            " AND ",
        )?),
        "match_like_pattern" => row(format!(
            "{column} LIKE {}",
            literal(kwargs.get("like_pattern"))?
        )),
        "not_match_like_pattern" => row(format!(
            "{column} NOT LIKE {}",
            literal(kwargs.get("like_pattern"))?
        )),
        _ => Err(unknown()),
    }
}

/// NULL is no value that could be there twice.
fn unique(kwargs: &Kwargs, column: &str, never_null: &BTreeSet<&str>) -> String {
    let name = kwargs
        .get("column")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match never_null.contains(name) {
        true => format!("unique({column})"),
        false => format!("count({column}) = count(DISTINCT {column})"),
    }
}

fn pair(rest: &str, kwargs: &Kwargs) -> Result<String, String> {
    let (a, b) = (column(kwargs, "column_A")?, column(kwargs, "column_B")?);
    let or_equal = kwargs.get("or_equal").and_then(Value::as_bool) == Some(true);
    let test = match rest {
        "a_to_be_greater_than_b" if or_equal => format!("{a} >= {b}"),
        "a_to_be_greater_than_b" => format!("{a} > {b}"),
        "to_be_equal" => format!("{a} = {b}"),
        _ => return Err(unknown()),
    };
    match kwargs.get("ignore_row_if").and_then(Value::as_str) {
        None | Some("both_values_are_missing") => {
            Ok(format!("({a} IS NULL AND {b} IS NULL) OR {test}"))
        }
        Some("either_value_is_missing") => Ok(format!("{a} IS NULL OR {b} IS NULL OR {test}")),
        Some(_) => Ok(test),
    }
}

fn aggregate(
    name: &str,
    kwargs: &Kwargs,
    never_null: &BTreeSet<&str>,
) -> Result<Condition, String> {
    let of_column = |function: &dyn Fn(&str) -> String| {
        let column = column(kwargs, "column")?;
        Ok::<_, String>(Condition::Table(between(&function(&column), kwargs)?))
    };
    match name {
        "table_row_count_to_equal" => {
            let rows = literal(kwargs.get("value"))?;
            Ok(Condition::Table(format!("count(*) = {rows}")))
        }
        "table_row_count_to_be_between" => Ok(Condition::Table(between("count(*)", kwargs)?)),
        "column_max_to_be_between" => of_column(&|c| format!("max({c})")),
        "column_min_to_be_between" => of_column(&|c| format!("min({c})")),
        "column_mean_to_be_between" => of_column(&|c| format!("avg({c})")),
        "column_median_to_be_between" => of_column(&|c| format!("median({c})")),
        "column_stdev_to_be_between" => of_column(&|c| format!("stddev({c})")),
        "column_sum_to_be_between" => of_column(&|c| format!("sum({c})")),
        "column_unique_value_count_to_be_between" => of_column(&|c| format!("count(DISTINCT {c})")),
        "column_proportion_of_unique_values_to_be_between" => {
            of_column(&|c| format!("CAST(count(DISTINCT {c}) AS DOUBLE) / nullif(count({c}), 0)"))
        }
        "column_distinct_values_to_be_in_set" => {
            let column = column(kwargs, "column")?;
            Ok(Condition::Row(or_null(
                &column,
                &format!("{column} IN {}", set(kwargs)?),
            )))
        }
        "column_distinct_values_to_contain_set" | "column_distinct_values_to_equal_set" => {
            let column = column(kwargs, "column")?;
            let wanted = distinct_values(kwargs)?;
            let of_set = format!(
                "count(DISTINCT {column}) FILTER (WHERE {column} IN {})",
                set(kwargs)?
            );
            let contains = format!("{of_set} = {wanted}");
            Ok(Condition::Table(match name.ends_with("equal_set") {
                true => format!("{contains} AND count(DISTINCT {column}) = {wanted}"),
                false => contains,
            }))
        }
        "compound_columns_to_be_unique" => {
            let columns = columns(kwargs)?;
            let is_one = match Missing::of(kwargs)? {
                Missing::All => any_kept(kwargs, never_null),
                Missing::Any => all_kept(kwargs, never_null),
                Missing::Never => true,
            };
            // Rows that are passed over there are equal to each other here: they must not exist.
            if !is_one {
                return Err(
                    "rows that it ignores for their NULLs count as equal in unique(); \
                            expect the columns not to be null"
                        .to_owned(),
                );
            }
            Ok(Condition::Table(format!("unique({})", columns.join(", "))))
        }
        "select_column_values_to_be_unique_within_record" => {
            let columns = columns(kwargs)?;
            let mut tests = Vec::new();
            for (at, a) in columns.iter().enumerate() {
                for b in &columns[at + 1..] {
                    tests.push(format!("{a} IS DISTINCT FROM {b}"));
                }
            }
            let ignored = Missing::of(kwargs)?.test(&columns);
            let test = tests.join(" AND ");
            Ok(Condition::Row(match ignored {
                Some(ignored) => format!("{ignored} OR ({test})"),
                None => test,
            }))
        }
        "multicolumn_sum_to_equal" => {
            let total = literal(kwargs.get("sum_total"))?;
            let columns = columns(kwargs)?;
            let sum = format!("{} = {total}", columns.join(" + "));
            let ignores = Missing::of(kwargs)?;
            match ignores.test(&columns) {
                _ if all_kept(kwargs, never_null) => Ok(Condition::Row(sum)),
                Some(ignored) if ignores == Missing::Any => {
                    Ok(Condition::Row(format!("{ignored} OR {sum}")))
                }
                // pandas takes a NULL for 0, SQL and Spark let the row pass.
                _ => Err(
                    "what a sum with a NULL in it comes to depends on what runs the suite; \
                          expect its columns not to be null"
                        .to_owned(),
                ),
            }
        }
        _ => Err(unknown()),
    }
}

/// Which rows an expectation about several columns passes over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Missing {
    All,
    Any,
    Never,
}

impl Missing {
    fn of(kwargs: &Kwargs) -> Result<Self, String> {
        let ignored = kwargs.get("ignore_row_if").filter(|value| !value.is_null());
        match ignored.map(|ignored| ignored.as_str().unwrap_or_default()) {
            None | Some("all_values_are_missing") => Ok(Self::All),
            Some("any_value_is_missing") => Ok(Self::Any),
            Some("never") => Ok(Self::Never),
            Some(_) => Err("its ignore_row_if is not known here".to_owned()),
        }
    }

    /// True of the rows that are passed over.
    fn test(self, columns: &[String]) -> Option<String> {
        let between = match self {
            Self::All => " AND ",
            Self::Any => " OR ",
            Self::Never => return None,
        };
        let nulls = columns.iter().map(|column| format!("{column} IS NULL"));
        Some(format!("({})", nulls.collect::<Vec<_>>().join(between)))
    }
}

fn all_kept(kwargs: &Kwargs, never_null: &BTreeSet<&str>) -> bool {
    kept(kwargs, never_null).all(|kept| kept)
}

fn any_kept(kwargs: &Kwargs, never_null: &BTreeSet<&str>) -> bool {
    kept(kwargs, never_null).any(|kept| kept)
}

/// Of each column of a list, whether the suite expects it never to be NULL.
fn kept(kwargs: &Kwargs, never_null: &BTreeSet<&str>) -> impl Iterator<Item = bool> {
    let list = kwargs.get("column_list").and_then(Value::as_array);
    let columns = list.into_iter().flatten();
    columns.map(|column| column.as_str().is_some_and(|c| never_null.contains(c)))
}

fn unknown() -> String {
    "no @expect rule says the same; write it as a SQL condition by hand".to_owned()
}

/// Why an expectation has no place in a SQL file.
fn reason(name: &str) -> Option<&'static str> {
    if name.starts_with("column_to_exist")
        || name.starts_with("table_columns_to_match")
        || name.starts_with("table_column_count")
    {
        return Some(
            "the SELECT says which columns there are, and `sportlake check` holds readers to it",
        );
    }
    if name.starts_with("column_values_to_be_of_type")
        || name.starts_with("column_values_to_be_in_type_list")
    {
        return Some("the SELECT's CAST says the type of a column");
    }
    if name.ends_with("to_be_increasing") || name.ends_with("to_be_decreasing") {
        return Some("the rows of a table have no order");
    }
    None
}

fn column(kwargs: &Kwargs, key: &str) -> Result<String, String> {
    let name = kwargs.get(key).and_then(Value::as_str);
    name.map(identifier)
        .ok_or_else(|| format!("it names no \"{key}\""))
}

fn columns(kwargs: &Kwargs) -> Result<Vec<String>, String> {
    let list = kwargs.get("column_list").and_then(Value::as_array);
    let columns: Option<Vec<String>> = list.and_then(|list| {
        list.iter()
            .map(|column| Some(identifier(column.as_str()?)))
            .collect()
    });
    match columns {
        Some(columns) if (2..=8).contains(&columns.len()) => Ok(columns),
        _ => Err("it names no \"column_list\" of 2 to 8 columns".to_owned()),
    }
}

/// A column as SQL names it: as it is where that is a plain word.
fn identifier(name: &str) -> String {
    let plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let upper = name.to_ascii_uppercase();
    let reserved = ALL_KEYWORDS.binary_search(&upper.as_str()).is_ok_and(|at| {
        let keyword = ALL_KEYWORDS_INDEX[at];
        [
            RESERVED_FOR_IDENTIFIER,
            RESERVED_FOR_COLUMN_ALIAS,
            RESERVED_FOR_TABLE_ALIAS,
        ]
        .iter()
        .any(|reserved| reserved.contains(&keyword))
    });
    match plain && !reserved {
        true => name.to_owned(),
        false => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

fn or_null(column: &str, test: &str) -> String {
    format!("{column} IS NULL OR {test}")
}

/// A single value as SQL writes it.
fn literal(value: Option<&Value>) -> Result<String, String> {
    match value {
        Some(Value::String(text)) if text.contains(['\n', '\r']) => {
            Err("a text of several lines does not fit on a line".to_owned())
        }
        Some(Value::String(text)) => Ok(format!("'{}'", text.replace('\'', "''"))),
        Some(Value::Number(number)) => Ok(number.to_string()),
        Some(Value::Bool(bool)) => Ok(bool.to_string()),
        _ => Err("a value is missing, or is no text, number or boolean".to_owned()),
    }
}

fn set(kwargs: &Kwargs) -> Result<String, String> {
    let values = kwargs.get("value_set").and_then(Value::as_array);
    let values = values
        .into_iter()
        .flatten()
        .filter(|value| !value.is_null());
    let values: Vec<String> = values
        .map(|value| literal(Some(value)))
        .collect::<Result<_, _>>()?;
    match values.is_empty() {
        true => Err("its value_set is empty".to_owned()),
        false => Ok(format!("({})", values.join(", "))),
    }
}

/// How many values a set holds: those written twice once.
fn distinct_values(kwargs: &Kwargs) -> Result<usize, String> {
    let values = kwargs.get("value_set").and_then(Value::as_array);
    let texts: Result<BTreeSet<String>, String> = values
        .into_iter()
        .flatten()
        .filter(|value| !value.is_null())
        .map(|value| literal(Some(value)))
        .collect();
    Ok(texts?.len())
}

fn list(
    kwargs: &Kwargs,
    key: &str,
    test: impl Fn(&Value) -> Result<String, String>,
    between: &str,
) -> Result<String, String> {
    let values = kwargs.get(key).and_then(Value::as_array);
    match values {
        Some(values) if !values.is_empty() => {
            let tests: Result<Vec<String>, String> = values.iter().map(test).collect();
            Ok(format!("({})", tests?.join(between)))
        }
        _ => Err(format!("its {key} is empty")),
    }
}

/// A regular expression that means the same here.
fn regex(value: Option<&Value>) -> Result<String, String> {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    let foreign = ["(?=", "(?!", "(?<=", "(?<!", "(?P=", "(?(", "(?#", "\\Z"];
    let back_reference = text
        .as_bytes()
        .windows(2)
        .any(|pair| pair[0] == b'\\' && (b'1'..=b'9').contains(&pair[1]));
    if back_reference || foreign.iter().any(|part| text.contains(part)) {
        return Err("its regular expression looks around or back, which SQL's cannot".to_owned());
    }
    literal(value)
}

fn between(tested: &str, kwargs: &Kwargs) -> Result<String, String> {
    let strict = |key: &str| kwargs.get(key).and_then(Value::as_bool) == Some(true);
    let bound = |key: &str| kwargs.get(key).filter(|value| !value.is_null());
    let mut tests = Vec::new();
    if let Some(least) = bound("min_value") {
        let sign = if strict("strict_min") { ">" } else { ">=" };
        tests.push(format!("{tested} {sign} {}", literal(Some(least))?));
    }
    if let Some(greatest) = bound("max_value") {
        let sign = if strict("strict_max") { "<" } else { "<=" };
        tests.push(format!("{tested} {sign} {}", literal(Some(greatest))?));
    }
    match tests.as_slice() {
        [] => Err("it has neither min_value nor max_value".to_owned()),
        [one] => Ok(one.clone()),
        _ => Ok(format!("({})", tests.join(" AND "))),
    }
}
