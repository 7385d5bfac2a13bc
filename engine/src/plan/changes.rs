use std::collections::BTreeSet;

use arrow::datatypes::Schema;
use serde::Serialize;
use sql_files::TableName;

use super::rows::RowDifference;
use crate::project::{CheckedProject, OnViolation, SqlFile};
use crate::refresh::{Rebuild, affected, differing};

/// What happens to a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    Added,
    /// Its query, key or fold changed.
    Query,
    /// It is judged by other rules, or refreshed at other times.
    Policy,
    Description,
    /// Its file is as it was, and something that it reads changes.
    Downstream,
    Retired,
}

impl ChangeKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Query => "query",
            Self::Policy => "policy",
            Self::Description => "description",
            Self::Downstream => "downstream",
            Self::Retired => "retired",
        }
    }
}

/// A file of the project that is another one on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileChange {
    pub path: String,
    /// `added`, `changed` or `deleted`.
    pub change: &'static str,
}

/// One table that an edit touches.
#[derive(Debug, Clone, Serialize)]
pub struct PlannedTable {
    #[serde(skip)]
    pub(super) name: TableName,
    pub table: String,
    pub kind: ChangeKind,
    pub because: String,
    pub columns: Vec<ColumnDifference>,
    /// What is read to make it anew, where that is more than an ordinary turn reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rebuild: Option<Rebuild>,
    /// Against the rows served; absent where nothing was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<RowDifference>,
    /// Why its new version would not be taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

/// A column that is new, gone or of another type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnDifference {
    pub column: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
}

impl PlannedTable {
    /// Whether its rows may be others afterwards. Rules that keep rows out change rows too.
    pub(super) fn may_change_rows(&self) -> bool {
        !matches!(self.kind, ChangeKind::Description | ChangeKind::Retired)
    }
}

pub(super) fn files(before: Option<&CheckedProject>, after: &CheckedProject) -> Vec<FileChange> {
    let texts = before.map(|before| before.project.texts().clone());
    let (before, after) = (texts.unwrap_or_default(), after.project.texts());
    let change = |path: &str| match (before.contains_key(path), after.contains_key(path)) {
        (false, _) => "added",
        (true, true) => "changed",
        (true, false) => "deleted",
    };
    differing(&before, after)
        .into_iter()
        .map(|path| FileChange {
            change: change(&path),
            path,
        })
        .collect()
}

/// The tables touched, each behind what it reads, retired ones last.
pub(super) fn tables(before: Option<&CheckedProject>, after: &CheckedProject) -> Vec<PlannedTable> {
    let mut touched = affected(before, after);
    let last = |name: &TableName| before.and_then(|before| before.project.file(name));
    let mut planned = Vec::new();
    for name in &after.order {
        let Some(file) = after.project.file(name) else {
            continue;
        };
        let change = match last(name) {
            None => Some((ChangeKind::Added, added(before, after, file))),
            Some(last) => changed(last, file),
        };
        let change = change.or_else(|| {
            let inputs = &after.tables.get(name)?.inputs;
            let input = inputs.iter().find(|input| touched.contains(*input))?;
            Some((ChangeKind::Downstream, format!("reads {input}")))
        });
        let kind = change.as_ref().map(|(kind, _)| *kind);
        let is_judged_anew = || last(name).is_some_and(|last| keeps_others(last, file));
        if kind == Some(ChangeKind::Downstream)
            || (kind == Some(ChangeKind::Policy) && is_judged_anew())
        {
            touched.extend([name.clone(), name.quarantine()]);
        }
        if let Some((kind, because)) = change {
            let schema = |project: &CheckedProject| {
                project.tables.get(name).map(|table| table.schema.clone())
            };
            let columns = match (before.and_then(schema), schema(after)) {
                (Some(before), Some(after)) => columns(&before, &after),
                _ => Vec::new(),
            };
            planned.push(table(name, kind, because, columns));
        }
    }
    for file in before.iter().flat_map(|before| &before.project.files) {
        if !after.project.defines(&file.name) {
            let because = format!("{} is gone", file.path);
            planned.push(table(&file.name, ChangeKind::Retired, because, Vec::new()));
        }
    }
    planned
}

fn table(
    name: &TableName,
    kind: ChangeKind,
    because: String,
    columns: Vec<ColumnDifference>,
) -> PlannedTable {
    PlannedTable {
        name: name.clone(),
        table: name.to_string(),
        kind,
        because,
        columns,
        rebuild: None,
        rows: None,
        held: None,
    }
}

fn added(before: Option<&CheckedProject>, after: &CheckedProject, file: &SqlFile) -> String {
    let files = before.iter().flat_map(|before| &before.project.files);
    let renamed = files
        .filter(|old| !after.project.defines(&old.name))
        .find(|old| old.query_fingerprint() == file.query_fingerprint());
    match renamed {
        Some(old) => format!("{} is {} under a new name", file.path, old.path),
        None => format!("{} is new", file.path),
    }
}

fn changed(last: &SqlFile, file: &SqlFile) -> Option<(ChangeKind, String)> {
    if last.query_fingerprint() != file.query_fingerprint() {
        let what = match last.query == file.query {
            true => "key or fold",
            false => "query",
        };
        return Some((ChangeKind::Query, format!("{}: {what}", file.path)));
    }
    if last.policy_fingerprint() != file.policy_fingerprint() {
        let rules = rules(last, file);
        let what = match rules.is_empty() {
            true => "trigger, refresh or freshness".to_owned(),
            false => rules.join(", "),
        };
        return Some((ChangeKind::Policy, format!("{}: {what}", file.path)));
    }
    let described = last.description != file.description || last.column_notes != file.column_notes;
    described.then(|| {
        let because = format!("{}: description", file.path);
        (ChangeKind::Description, because)
    })
}

/// Whether the rules keep other rows out, or other versions from being taken.
fn keeps_others(last: &SqlFile, file: &SqlFile) -> bool {
    let strict = |file: &SqlFile| -> BTreeSet<String> {
        let expects = file.directives.expects.iter();
        let strict = expects.filter(|expect| {
            expect.on_violation != OnViolation::Warn || expect.fail_over_percent.is_some()
        });
        strict
            .map(|expect| format!("{} {}: {}", expect.name, expect.rule, expect.action()))
            .collect()
    };
    strict(last) != strict(file)
}

/// The rules that are on one side only or differ.
fn rules(last: &SqlFile, file: &SqlFile) -> Vec<String> {
    let rule = |file: &SqlFile, name: &str| {
        let expects = file.directives.expects.iter();
        let mut named = expects.filter(|expect| expect.name == name);
        named.next().map(|expect| {
            let share = expect.fail_over_percent.unwrap_or_default();
            format!("{} {} {share}", expect.rule, expect.on_violation)
        })
    };
    let both = last
        .directives
        .expects
        .iter()
        .chain(&file.directives.expects);
    let mut names: Vec<&str> = both.map(|expect| expect.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let differing = names.into_iter().filter_map(|name| {
        let change = match (rule(last, name), rule(file, name)) {
            (None, _) => "is new",
            (_, None) => "is gone",
            (before, after) if before != after => "changed",
            _ => return None,
        };
        Some(format!("rule {name} {change}"))
    });
    differing.collect()
}

fn columns(before: &Schema, after: &Schema) -> Vec<ColumnDifference> {
    let typed = |schema: &Schema, name: &str| {
        let field = schema.field_with_name(name).ok()?;
        Some(field.data_type().to_string())
    };
    let names = before.fields().iter().chain(after.fields());
    let mut differences: Vec<ColumnDifference> = Vec::new();
    for name in names.map(|field| field.name()) {
        let (old, new) = (typed(before, name), typed(after, name));
        if old != new && !differences.iter().any(|known| known.column == *name) {
            differences.push(ColumnDifference {
                column: name.clone(),
                before: old,
                after: new,
            });
        }
    }
    differences
}
