//! What roles see: `policies.sql` and its enforcement.
//!
//! A role sees nothing but what is granted to it. What it sees of a table is one query, made of the grants, row
//! policies and masks of its roles and planned over the whole tables; behind the barrier of `guarded` that query is the
//! table. docs/policies.md is for whoever writes the file.

mod attributes;
mod check;
mod granted;
mod guarded;
mod in_force;
mod lineage;
#[cfg(test)]
mod tests;
mod totals;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sql_files::TableName;
use sql_files::policies::{self as grammar, Item, Totals};
use sqlparser::ast::Expr;

use self::check::Names;
use crate::error::Result;
use crate::principal::Principal;
use crate::project::{CheckedProject, Diagnostic, TextFile, read_text};
use crate::session::Sessions;
use crate::system;

pub(crate) use self::in_force::{InForce, PolicyFile};
pub(crate) use self::lineage::{Origin, origins};

/// The file of a project's folder that says who sees what.
pub const POLICY_FILE: &str = "policies.sql";

/// What every role may see, from a file that was whole.
#[derive(Debug, Clone, Default)]
pub(crate) struct Policies {
    roles: BTreeMap<String, Role>,
    totals: Vec<Totals>,
}

/// The statements about one role.
#[derive(Debug, Clone, Default)]
struct Role {
    schemas: BTreeSet<String>,
    /// All columns where none are named.
    tables: BTreeMap<TableName, Option<BTreeSet<String>>>,
    /// All of a table's must hold.
    conditions: BTreeMap<TableName, Vec<Expr>>,
    masks: BTreeMap<TableName, BTreeMap<String, Expr>>,
    /// Whether it may end the statements of others.
    kills: bool,
    /// Whether it may have what was kept aside taken in again.
    replays: bool,
}

/// What is wrong with a folder's `policies.sql`, checked against its tables; nothing where there is none.
pub async fn check(folder: &Path, checked: &CheckedProject) -> Result<Vec<Diagnostic>> {
    let shown = format!("{}/{POLICY_FILE}", folder.display());
    match read_text(folder, POLICY_FILE, &shown) {
        TextFile::Gone => Ok(Vec::new()),
        TextFile::Broken(problem) => Ok(vec![problem]),
        TextFile::Text(text) => {
            let sessions = Sessions::new(chrono_tz::UTC, check::PLANNING_MEMORY)?;
            let names = Names::of_project(checked, &sessions)?;
            Ok(Policies::read(&shown, &text, &names).await?.1)
        }
    }
}

/// The roles that a folder's `policies.sql` names; none where it cannot be read.
pub fn roles(folder: &Path) -> Vec<String> {
    match read_text(folder, POLICY_FILE, POLICY_FILE) {
        TextFile::Text(text) => {
            let source = crate::project::Source {
                path: POLICY_FILE,
                text: &text,
            };
            Policies::collect(grammar::parse(source).0)
                .roles
                .into_keys()
                .collect()
        }
        TextFile::Broken(_) | TextFile::Gone => Vec::new(),
    }
}

impl Policies {
    /// The policies of a text called `path`, and everything wrong with it. They are worth nothing unless that is nothing.
    async fn read(path: &str, text: &str, names: &Names) -> Result<(Self, Vec<Diagnostic>)> {
        let source = crate::project::Source { path, text };
        let (items, mut problems) = grammar::parse(source);
        problems.extend(check::check(source, &items, names).await?);
        problems.sort_by_key(|problem| (problem.line, problem.column));
        Ok((Self::collect(items), problems))
    }

    /// Whether somebody may end the statements of others.
    pub(crate) fn may_kill(&self, principal: &Principal) -> bool {
        let mut roles = principal.roles().filter_map(|name| self.roles.get(name));
        roles.any(|role| role.kills)
    }

    /// Whether somebody may have what was kept aside taken in again.
    pub(crate) fn may_replay(&self, principal: &Principal) -> bool {
        let mut roles = principal.roles().filter_map(|name| self.roles.get(name));
        roles.any(|role| role.replays)
    }

    fn collect(items: Vec<Item>) -> Self {
        let mut policies = Self::default();
        for item in &items {
            if let Item::Roles(names) = item {
                for name in names {
                    policies.roles.entry(name.name.clone()).or_default();
                }
            }
        }
        for item in items {
            policies.add(item);
        }
        policies
    }

    fn add(&mut self, item: Item) {
        let (Item::Schemas { to, .. }
        | Item::Tables { to, .. }
        | Item::Policy { to, .. }
        | Item::Kill { to }
        | Item::Replay { to }
        | Item::Mask { to, .. }) = &item
        else {
            if let Item::Totals(totals) = item {
                self.totals.push(*totals);
            }
            return;
        };
        for name in to {
            if let Some(role) = self.roles.get_mut(&name.name) {
                role.add(&item);
            }
        }
    }
}

impl Role {
    fn add(&mut self, item: &Item) {
        match item {
            Item::Schemas { schemas, .. } => {
                let names = schemas.iter().map(|schema| schema.name.clone());
                self.schemas.extend(names);
            }
            Item::Tables {
                tables, columns, ..
            } => {
                for table in tables {
                    self.grant(&table.name, columns.as_deref());
                }
            }
            Item::Policy {
                tables, condition, ..
            } => {
                for table in tables {
                    let conditions = self.conditions.entry(table.name.clone());
                    conditions.or_default().push(condition.clone());
                }
            }
            Item::Mask {
                table,
                columns,
                value,
                ..
            } => {
                let masks = self.masks.entry(table.name.clone()).or_default();
                masks.extend(
                    columns
                        .iter()
                        .map(|column| (column.name.clone(), value.clone())),
                );
            }
            Item::Kill { .. } => self.kills = true,
            Item::Replay { .. } => self.replays = true,
            Item::Roles(_) | Item::Totals(_) => {}
        }
    }

    fn grant(&mut self, table: &TableName, columns: Option<&[grammar::Named]>) {
        let named = columns.map(|columns| columns.iter().map(|column| column.name.clone()));
        let granted = self.tables.entry(table.clone());
        let granted = granted.or_insert_with(|| Some(BTreeSet::new()));
        match (granted.as_mut(), named) {
            (Some(granted), Some(named)) => granted.extend(named),
            (Some(_), None) => *granted = None,
            (None, _) => {}
        }
    }

    /// Whether a column of a table is granted. Rows kept aside, dead letters and the texts of statements are in no
    /// schema's grant.
    fn sees(&self, table: &TableName, column: &str) -> bool {
        let apart = table.quarantine_of().is_some()
            || *table == TableName::dead_letters()
            || (system::is_system(table) && column == system::TEXT);
        if !apart && self.schemas.contains(table.schema()) {
            return true;
        }
        match self.tables.get(table) {
            Some(Some(columns)) => columns.contains(column),
            Some(None) => true,
            None => false,
        }
    }
}
