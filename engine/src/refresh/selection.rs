use std::collections::{BTreeMap, BTreeSet};

use sql_files::TableName;

use super::Refresher;
use crate::epoch::Manifest;
use crate::error::{Error, ErrorKind, Result};
use crate::nearest;
use crate::project::CheckedProject;

/// The tables that one turn is about, and whether they are made from the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) tables: BTreeSet<TableName>,
    pub(super) full: bool,
}

/// The tables that `words` select, each behind what it reads.
///
/// # Errors
/// `NotFound` for a name that is no table of the project.
pub fn selected(project: &CheckedProject, words: &[String]) -> Result<Vec<TableName>> {
    let selection = Selection::parse(project, words, false)?;
    let order = project.order.iter();
    Ok(order
        .filter(|name| selection.tables.contains(*name))
        .cloned()
        .collect())
}

impl Refresher {
    /// Finds the tables that a command asks for in the project of this turn.
    pub(super) fn select(&mut self, project: &CheckedProject) -> Result<()> {
        let Some(wanted) = self.wanted.take() else {
            return Ok(());
        };
        let selection = Selection::parse(project, &wanted.tables, wanted.full)?;
        selection.check_inputs(project, self.newest.as_deref())?;
        self.selection = Some(selection);
        Ok(())
    }

    /// Whether this turn is about other tables.
    pub(super) fn is_left_out(&self, name: &TableName) -> bool {
        let selection = self.selection.as_ref();
        selection.is_some_and(|selection| !selection.tables.contains(name))
    }

    pub(super) fn is_made_from_the_start(&self) -> bool {
        self.selection
            .as_ref()
            .is_some_and(|selection| selection.full)
    }
}

impl Selection {
    /// Reads names with `+` before (and all that they read) or behind (and all that read them); no name means every
    /// table.
    ///
    /// # Errors
    /// `NotFound` for a name that is no table of the project, with the nearest one.
    pub(super) fn parse(project: &CheckedProject, words: &[String], full: bool) -> Result<Self> {
        let mut tables = BTreeSet::new();
        if words.is_empty() {
            tables.extend(project.order.iter().cloned());
        }
        for word in words {
            let name = find(project, word.trim_matches('+'))?;
            if word.starts_with('+') {
                tables.extend(reached(&name, |table| upstream(project, table)));
            }
            if word.ends_with('+') {
                tables.extend(reached(&name, |table| downstream(project, table)));
            }
            tables.insert(name);
        }
        Ok(Self { tables, full })
    }

    /// # Errors
    /// `InvalidRequest` when a selected table reads one that was never built and is not selected.
    pub(super) fn check_inputs(
        &self,
        project: &CheckedProject,
        newest: Option<&Manifest>,
    ) -> Result<()> {
        for name in &self.tables {
            let missing = upstream(project, name).into_iter().find(|input| {
                let is_built = newest.is_some_and(|newest| newest.tables.contains_key(input));
                !is_built && !self.tables.contains(input)
            });
            if let Some(missing) = missing {
                return Err(Error::invalid(format!(
                    "\"{name}\" reads \"{missing}\", which was never built"
                ))
                .hint(format!(
                    "`sportlake refresh +{name}` builds what it reads too."
                )));
            }
        }
        Ok(())
    }
}

fn find(project: &CheckedProject, text: &str) -> Result<TableName> {
    if let Ok(name) = text.parse::<TableName>()
        && project.tables.contains_key(&name)
    {
        return Ok(name);
    }
    let names: BTreeMap<String, &TableName> = project
        .tables
        .keys()
        .map(|name| (name.to_string(), name))
        .collect();
    let hint = match nearest::name(text, names.keys().map(String::as_str)) {
        Some(near) => format!("Did you mean \"{near}\"?"),
        None => "`sportlake status` lists the tables. Bronze is filled by ingest.".to_owned(),
    };
    Err(Error::new(
        ErrorKind::NotFound,
        format!("there is no table \"{text}\" in the SQL project"),
    )
    .hint(hint))
}

/// Tables of the project that `name` reads.
fn upstream(project: &CheckedProject, name: &TableName) -> Vec<TableName> {
    let inputs = project.tables.get(name).map(|table| &table.inputs);
    inputs
        .into_iter()
        .flatten()
        .filter(|input| project.tables.contains_key(*input))
        .cloned()
        .collect()
}

fn downstream(project: &CheckedProject, name: &TableName) -> Vec<TableName> {
    let tables = project.tables.iter();
    tables
        .filter(|(_, table)| table.inputs.contains(name))
        .map(|(name, _)| name.clone())
        .collect()
}

/// Everything that steps lead to from `name`.
fn reached(name: &TableName, step: impl Fn(&TableName) -> Vec<TableName>) -> BTreeSet<TableName> {
    let mut reached = BTreeSet::new();
    let mut ahead = step(name);
    while let Some(next) = ahead.pop() {
        if reached.insert(next.clone()) {
            ahead.extend(step(&next));
        }
    }
    reached
}
