//! TIMESTAMPADD and TIMESTAMPDIFF, truncation, and the patterns that Spark writes times with.

use sqlparser::ast::{Expr, Value};

use super::calls::{literal, unsupported};
use super::template::{self, Budget};
use crate::error::{Error, Result};

/// The call in terms of DataFusion, when it is one of these.
pub(super) fn call(name: &str, arguments: &[Expr], budget: &mut Budget) -> Result<Option<Expr>> {
    let text = match (name, arguments) {
        ("timestampadd" | "dateadd" | "date_add", [unit, ..]) if arguments.len() == 3 => {
            Unit::of(unit)?.plus()
        }
        ("timestampdiff" | "datediff" | "date_diff", [unit, ..]) if arguments.len() == 3 => {
            Unit::of(unit)?.between()
        }
        ("trunc", [_, unit]) => match literal(unit).as_deref().and_then(truncation) {
            Some(unit) => format!("CAST(date_trunc('{unit}', CAST($1 AS DATE)) AS DATE)"),
            None => return Ok(None),
        },
        ("date_format", [time, pattern]) => return patterned("to_char", time, pattern, budget),
        ("to_date" | "to_timestamp", [time, pattern]) => {
            return patterned(name, time, pattern, budget);
        }
        _ => return Ok(None),
    };
    template::fill(&template::parse(&text), arguments, budget).map(Some)
}

#[derive(Clone, Copy)]
enum Unit {
    Micros(u64),
    Months(u64),
}

impl Unit {
    fn of(expr: &Expr) -> Result<Self> {
        let name = match expr {
            Expr::Identifier(name) => name.value.clone(),
            other => literal(other).unwrap_or_default(),
        };
        let upper = name.to_ascii_uppercase();
        let bare = upper.strip_prefix("SQL_TSI_").unwrap_or(&upper);
        const SECOND: u64 = 1_000_000;
        const DAY: u64 = 86_400 * SECOND;
        Ok(match bare.strip_suffix('S').unwrap_or(bare) {
            "FRAC_SECOND" | "MICROSECOND" => Self::Micros(1),
            "MILLISECOND" => Self::Micros(1_000),
            "SECOND" => Self::Micros(SECOND),
            "MINUTE" => Self::Micros(60 * SECOND),
            "HOUR" => Self::Micros(3_600 * SECOND),
            "DAY" => Self::Micros(DAY),
            "WEEK" => Self::Micros(7 * DAY),
            "MONTH" => Self::Months(1),
            "QUARTER" => Self::Months(3),
            "YEAR" => Self::Months(12),
            _ => {
                return Err(Error::invalid(format!("\"{name}\" is not a unit of time"))
                    .hint("Units are SECOND, MINUTE, HOUR, DAY, WEEK, MONTH, QUARTER and YEAR, with or without SQL_TSI_."));
            }
        })
    }

    fn plus(self) -> String {
        match self {
            Self::Micros(micros) => format!(
                "CAST({} + CAST($2 AS BIGINT) * {micros} AS TIMESTAMP(6))",
                micros_of("$3")
            ),
            Self::Months(months) => format!(
                "CAST($3 AS TIMESTAMP(6)) + \
                 CAST(concat(CAST(CAST($2 AS BIGINT) * {months} AS VARCHAR), ' months') AS INTERVAL)"
            ),
        }
    }

    /// Whole units from the second argument to the third.
    fn between(self) -> String {
        match self {
            Self::Micros(unit) => {
                format!("({} - {}) / {unit}", micros_of("$3"), micros_of("$2"))
            }
            Self::Months(unit) => {
                let of_year = |time: &str| {
                    format!("(date_part('year', {time}) * 12 + date_part('month', {time}))")
                };
                let into_month = |time: &str| {
                    let start = format!("date_trunc('month', CAST({time} AS TIMESTAMP(6)))");
                    format!("({} - {})", micros_of(time), micros_of(&start))
                };
                let months = format!("({} - {})", of_year("$3"), of_year("$2"));
                let (from, to) = (into_month("$2"), into_month("$3"));
                format!(
                    "CAST(({months} - CASE WHEN {months} > 0 AND {to} < {from} THEN 1 \
                     WHEN {months} < 0 AND {to} > {from} THEN -1 ELSE 0 END) / {unit} AS BIGINT)"
                )
            }
        }
    }
}

fn micros_of(time: &str) -> String {
    format!("CAST(CAST({time} AS TIMESTAMP(6)) AS BIGINT)")
}

fn truncation(unit: &str) -> Option<&'static str> {
    Some(match unit.to_ascii_lowercase().as_str() {
        "year" | "yyyy" | "yy" => "year",
        "quarter" => "quarter",
        "month" | "mon" | "mm" => "month",
        "week" => "week",
        _ => return None,
    })
}

/// A pattern of Spark's, which has no `%`, as one of DataFusion's.
fn patterned(name: &str, time: &Expr, pattern: &Expr, budget: &mut Budget) -> Result<Option<Expr>> {
    let Some(text) = literal(pattern).filter(|text| !text.contains('%')) else {
        return Ok(None);
    };
    let pattern = Expr::value(Value::SingleQuotedString(converted(&text)?));
    let template = template::parse(&format!("{name}($1, $2)"));
    template::fill(&template, &[time.clone(), pattern], budget).map(Some)
}

fn converted(pattern: &str) -> Result<String> {
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let quoted = &rest[1..];
            let end = quoted.find('\'').unwrap_or(quoted.len());
            out.push_str(if end == 0 { "'" } else { &quoted[..end] });
            rest = quoted.get(end + 1..).unwrap_or_default();
            continue;
        }
        let length = rest.find(|c| c != first).unwrap_or(rest.len());
        let (run, after) = rest.split_at(length);
        rest = after;
        if !first.is_ascii_alphabetic() {
            out.push_str(run);
            continue;
        }
        out.push_str(match run {
            "yyyy" | "y" | "uuuu" => "%Y",
            "yy" => "%y",
            "MMMM" => "%B",
            "MMM" => "%b",
            "MM" => "%m",
            "M" => "%-m",
            "dd" => "%d",
            "d" => "%-d",
            "HH" => "%H",
            "H" => "%-H",
            "hh" => "%I",
            "h" => "%-I",
            "mm" => "%M",
            "m" => "%-M",
            "ss" => "%S",
            "s" => "%-S",
            "SSS" => "%3f",
            "SSSSSS" => "%6f",
            "a" => "%p",
            "EEEE" => "%A",
            "E" | "EE" | "EEE" => "%a",
            "DDD" => "%j",
            _ => {
                return Err(unsupported(
                    &format!("the pattern letter \"{run}\""),
                    "Write the pattern with %, as in to_char(time, '%d/%m/%Y').",
                ));
            }
        });
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_of_spark_are_read() {
        for (pattern, expected) in [
            ("yyyy-MM-dd HH:mm:ss", "%Y-%m-%d %H:%M:%S"),
            ("d MMMM yyyy", "%-d %B %Y"),
            ("yyyy'T'MM", "%YT%m"),
        ] {
            let found = converted(pattern).expect(pattern);
            assert_eq!(found, expected, "{pattern}");
        }
    }
}
