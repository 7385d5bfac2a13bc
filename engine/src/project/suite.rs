//! Suites of Great Expectations as `@expect` lines, as far as they say the same.
//!
//! Takes both forms of the JSON: `expectation_type` of the 0.x series and `type` of 1.x. What cannot be said in the
//! same words is left out with a reason; a line is never only nearly what the suite asks for.

mod condition;
mod insert;

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use self::condition::{Condition, condition};
pub use self::insert::Insertion;
use sql_files::OnViolation;

use crate::error::{Error, Result};

const NOT_NULL: &str = "expect_column_values_to_not_be_null";

/// Expectations of one suite that are read.
const MAX_EXPECTATIONS: usize = 10_000;

/// A suite, told in the words of a SQL file.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ImportedSuite {
    pub name: Option<String>,
    pub rules: Vec<ImportedRule>,
    pub left_out: Vec<LeftOut>,
}

/// An expectation that became a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportedRule {
    pub expectation: String,
    pub name: String,
    /// The whole line, comment dashes included.
    pub line: String,
}

/// An expectation that did not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    pub expectation: String,
    pub reason: String,
}

impl ImportedSuite {
    /// Reads a suite's JSON; `action` is what its rules do on a violation where they can.
    ///
    /// # Errors
    /// `InvalidRequest` for a text that is no suite.
    pub fn read(json: &str, action: OnViolation) -> Result<Self> {
        let no_suite = |message: &str| {
            Error::invalid(message)
                .hint("Give the JSON of one expectation suite, with its list \"expectations\".")
        };
        let suite: Value = serde_json::from_str(json)
            .map_err(|source| no_suite("the suite is not JSON").caused_by(source))?;
        let Some(expectations) = suite.get("expectations").and_then(Value::as_array) else {
            return Err(no_suite("the JSON holds no expectation suite"));
        };
        if expectations.len() > MAX_EXPECTATIONS {
            return Err(Error::invalid(format!(
                "the suite has more than {MAX_EXPECTATIONS} expectations"
            )));
        }
        let name = ["name", "expectation_suite_name"]
            .iter()
            .find_map(|key| suite.get(key)?.as_str());
        let mut imported = Self {
            name: name.map(str::to_owned),
            ..Self::default()
        };
        let expectations: Vec<Expectation<'_>> =
            expectations.iter().map(Expectation::read).collect();
        let never_null: BTreeSet<&str> = expectations
            .iter()
            .filter(|one| one.kind == NOT_NULL && one.is_of_every_row())
            .filter_map(|one| one.kwargs?.get("column")?.as_str())
            .collect();
        let mut names = BTreeSet::new();
        for expectation in &expectations {
            match expectation.rule(action, &never_null, &mut names) {
                Ok(rule) => imported.rules.push(rule),
                Err(reason) => imported.left_out.push(LeftOut {
                    expectation: expectation.title(),
                    reason,
                }),
            }
        }
        Ok(imported)
    }
}

/// One entry of a suite.
struct Expectation<'a> {
    kind: &'a str,
    kwargs: Option<&'a Map<String, Value>>,
    severity: Option<&'a str>,
}

impl<'a> Expectation<'a> {
    fn read(value: &'a Value) -> Self {
        let text = |key: &str| value.get(key).and_then(Value::as_str);
        Self {
            kind: text("type")
                .or_else(|| text("expectation_type"))
                .unwrap_or_default(),
            kwargs: value.get("kwargs").and_then(Value::as_object),
            severity: text("severity"),
        }
    }

    /// Share of rows that must pass, where not all must.
    fn mostly(&self) -> Option<f64> {
        let mostly = self.kwargs?.get("mostly")?.as_f64()?;
        (mostly < 1.0).then_some(mostly)
    }

    /// Whether it is asked of every row, and every row must pass.
    fn is_of_every_row(&self) -> bool {
        let kwargs = self.kwargs.into_iter().flatten();
        let mut others = kwargs.filter(|(key, value)| *key != "column" && !value.is_null());
        others.all(|(key, value)| match key.as_str() {
            "row_condition" => false,
            "mostly" => value.as_f64() == Some(1.0),
            _ => true,
        })
    }

    /// Whether no row is passed over for a NULL, so that a share of the rows that it judges is one of all rows.
    fn judges_every_row(&self, never_null: &BTreeSet<&str>) -> bool {
        if matches!(self.kind, NOT_NULL | "expect_column_values_to_be_null") {
            return true;
        }
        let columns = self.columns();
        let mut kept = columns.iter().map(|column| never_null.contains(column));
        let ignored = self.kwargs.and_then(|kwargs| kwargs.get("ignore_row_if"));
        match ignored.and_then(Value::as_str) {
            Some("neither" | "never") => true,
            Some("either_value_is_missing" | "any_value_is_missing") => kept.all(|kept| kept),
            _ => kept.any(|kept| kept),
        }
    }

    /// The type and the columns it is about.
    fn title(&self) -> String {
        let columns = self.columns();
        match columns.is_empty() {
            true => self.kind.to_owned(),
            false => format!("{}({})", self.kind, columns.join(", ")),
        }
    }

    fn columns(&self) -> Vec<&'a str> {
        let Some(kwargs) = self.kwargs else {
            return Vec::new();
        };
        let single = ["column", "column_A", "column_B"];
        let mut columns: Vec<&str> = single
            .iter()
            .filter_map(|key| kwargs.get(*key)?.as_str())
            .collect();
        let list = kwargs.get("column_list").and_then(Value::as_array);
        columns.extend(list.into_iter().flatten().filter_map(Value::as_str));
        columns
    }

    fn rule(
        &self,
        action: OnViolation,
        never_null: &BTreeSet<&str>,
        names: &mut BTreeSet<String>,
    ) -> Result<ImportedRule, String> {
        if self.kind.is_empty() {
            return Err("it has no type".to_owned());
        }
        let empty = Map::new();
        let kwargs = self.kwargs.unwrap_or(&empty);
        let has = |key: &str| kwargs.get(key).is_some_and(|value| !value.is_null());
        if has("row_condition") {
            return Err("its row_condition is not SQL; write it into the rule by hand".to_owned());
        }
        let is_parameter = |value: &Value| value.get("$PARAMETER").is_some();
        if kwargs.values().any(is_parameter) {
            return Err("it takes a parameter that is known at run time only".to_owned());
        }
        let condition = condition(self.kind, kwargs, never_null)?;
        let clause = self.clause(action, &condition, never_null)?;
        let name = self.name(names);
        Ok(ImportedRule {
            expectation: self.title(),
            line: format!(
                "-- @expect {name}: {} ON VIOLATION {clause}",
                condition.sql()
            ),
            name,
        })
    }

    fn clause(
        &self,
        action: OnViolation,
        condition: &Condition,
        never_null: &BTreeSet<&str>,
    ) -> Result<String, String> {
        let only_warns = matches!(self.severity, Some("warning" | "info"));
        let action = if only_warns {
            OnViolation::Warn
        } else {
            action
        };
        let Some(mostly) = self.mostly() else {
            return Ok(match condition {
                // A rule about the whole table has no single rows to keep out.
                Condition::Table(_) if action.keeps_out() => OnViolation::Warn.to_string(),
                _ => action.to_string(),
            });
        };
        let reason = match condition {
            Condition::Table(_) => "asks for a share, and the rule is about the whole table",
            Condition::Row(_) if only_warns => {
                "asks for a share, and beyond a share a table is held: it cannot only warn"
            }
            Condition::Row(_) if !self.judges_every_row(never_null) => {
                "is a share of the rows without NULL, and FAIL OVER one of all rows; \
                 expect the column not to be null"
            }
            Condition::Row(_) => {
                let action = match action {
                    OnViolation::Fail => OnViolation::Warn,
                    other => other,
                };
                let percent = format!("{:.10}", (1.0 - mostly) * 100.0);
                let percent = percent.trim_end_matches('0').trim_end_matches('.');
                match percent {
                    "0" => "leaves a share that is too small to be written",
                    percent => return Ok(format!("{action}, FAIL OVER {percent}%")),
                }
            }
        };
        Err(format!("its \"mostly\" {reason}"))
    }

    /// A name that no other rule has, of what the expectation is about.
    fn name(&self, names: &mut BTreeSet<String>) -> String {
        let kind = self.kind.trim_start_matches("expect_");
        let kind = [
            "column_values_to_",
            "column_pair_values_",
            "column_",
            "table_",
        ]
        .iter()
        .find_map(|prefix| kind.strip_prefix(prefix))
        .unwrap_or(kind);
        let kind = kind.trim_start_matches("to_").trim_start_matches("be_");
        let mut base: String = format!("{}_{kind}", self.columns().join("_"))
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() {
                    c.to_ascii_lowercase()
                } else {
                    '_'
                }
            })
            .collect();
        base = base.trim_matches('_').chars().take(60).collect();
        if base.starts_with(|c: char| c.is_ascii_digit()) {
            base.insert(0, '_');
        }
        let mut name = base.clone();
        let mut number = 1;
        while !names.insert(name.clone()) {
            number += 1;
            name = format!("{base}_{number}");
        }
        name
    }
}

#[cfg(test)]
mod tests;
