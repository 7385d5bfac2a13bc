use std::collections::BTreeMap;

use serde::Serialize;

use super::{Shape, updated};
use crate::project::{FieldType, Project, SourcesLock, field_uses};

/// How a field of a topic's rows differs from what the lock says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DriftChange {
    Added,
    Dropped,
    Retyped,
}

/// One difference, and the SQL that it touches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Drift {
    /// Such as `bronze.employees`.
    pub table: String,
    pub field: String,
    pub change: DriftChange,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<FieldType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<FieldType>,
    /// Places that read the field: `silver/employees.sql:12:20`.
    pub lines: Vec<String>,
}

/// Every difference between the lock and what was seen.
pub fn drift(lock: &SourcesLock, seen: &BTreeMap<String, Shape>, project: &Project) -> Vec<Drift> {
    let updated = updated(lock, seen);
    let mut drifts = Vec::new();
    for (table, source) in &updated.bronze {
        let before = lock.bronze.get(table).map(|source| &source.fields);
        let before = before.cloned().unwrap_or_default();
        let mut fields: Vec<&String> = before.keys().chain(source.fields.keys()).collect();
        fields.sort();
        fields.dedup();
        for field in fields {
            let (old, new) = (
                before.get(field).copied(),
                source.fields.get(field).copied(),
            );
            let change = match (old, new) {
                (None, Some(_)) => DriftChange::Added,
                (Some(_), None) => DriftChange::Dropped,
                (old, new) if old != new => DriftChange::Retyped,
                _ => continue,
            };
            drifts.push(Drift {
                table: format!("bronze.{table}"),
                field: field.clone(),
                change,
                before: old,
                after: new,
                lines: lines(project, table, field),
            });
        }
    }
    drifts
}

fn lines(project: &Project, table: &str, field: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for file in &project.files {
        for place in field_uses(file, table, field) {
            lines.push(format!("{}:{}:{}", file.path, place.line, place.column));
        }
    }
    lines
}

impl std::fmt::Display for Drift {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let named =
            |field: Option<FieldType>| field.map(|field| field.to_string()).unwrap_or_default();
        let (table, field) = (&self.table, &self.field);
        match self.change {
            DriftChange::Added => {
                write!(f, "{table} has a new field {field} ({})", named(self.after))?;
            }
            DriftChange::Dropped => write!(f, "{table} has no field {field} any more")?,
            DriftChange::Retyped => {
                let (before, after) = (named(self.before), named(self.after));
                write!(f, "field {field} of {table} was {before} and is {after}")?;
            }
        }
        match self.lines.is_empty() {
            true => Ok(()),
            false => write!(f, "; read at {}", self.lines.join(", ")),
        }
    }
}
