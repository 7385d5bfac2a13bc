//! The versions that a row was made from: a table that is held, or that waits for its trigger, was made from others than
//! the epoch shows, and so were the tables below it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use sql_files::TableName;

use super::made_by;
use crate::epoch::{EpochLog, Manifest, TableState};
use crate::error::Result;
use crate::project::CheckedProject;

/// An epoch as the rows of one of its tables were made.
pub(super) struct AsRead {
    /// Each table below it, and what its rules keep out, as it was when it was read. Bronze as it is: it only grows.
    pub(super) manifest: Manifest,
    /// Tables of which it is no longer known what they were made from.
    pub(super) ends: BTreeSet<TableName>,
}

impl AsRead {
    /// Where two tables were made from two versions of a third, the one that is nearer to the question says which.
    pub(super) async fn of(
        epochs: &EpochLog,
        project: &CheckedProject,
        manifest: Manifest,
        table: &TableName,
    ) -> Result<Self> {
        let shown = Arc::new(manifest.clone());
        let mut read = Self {
            manifest,
            ends: BTreeSet::new(),
        };
        let mut found = BTreeMap::from([(table.clone(), shown)]);
        for name in project.order.iter().rev() {
            let Some(at) = found.get(name).cloned() else {
                continue;
            };
            let Some(state) = at.tables.get(name) else {
                continue;
            };
            let then = match shows(&at, state) {
                true => Some(at.clone()),
                false => made_in(epochs, &at, state).await?,
            };
            for (input, version) in &state.inputs {
                let owner = made_by(input);
                if input.is_bronze() || found.contains_key(&owner) || read.ends.contains(&owner) {
                    continue;
                }
                match &then {
                    Some(then) => {
                        read.take(then, &owner);
                        found.insert(owner, then.clone());
                    }
                    None => {
                        if let Some(state) = read.manifest.tables.get_mut(input) {
                            state.version = *version;
                        }
                        read.ends.insert(owner);
                    }
                }
            }
        }
        Ok(read)
    }

    fn take(&mut self, then: &Manifest, table: &TableName) {
        for name in [table.clone(), table.quarantine()] {
            match then.tables.get(&name) {
                Some(state) => self.manifest.tables.insert(name, state.clone()),
                None => self.manifest.tables.remove(&name),
            };
        }
    }
}

/// Whether an epoch shows the very versions that a table was made from.
fn shows(epoch: &Manifest, table: &TableState) -> bool {
    let mut built = built(table);
    built.all(|(name, version)| {
        let state = epoch.tables.get(name);
        state.is_some_and(|state| state.version == *version)
    })
}

/// The last epoch until then that does, where it is kept: versions only rise.
async fn made_in(
    epochs: &EpochLog,
    until: &Manifest,
    table: &TableState,
) -> Result<Option<Arc<Manifest>>> {
    let listed = epochs.listed().await?;
    let listed: Vec<u64> = listed.range(..=until.epoch).copied().collect();
    let (mut from, mut to) = (0, listed.len());
    let mut found = None;
    while from < to {
        let middle = from + (to - from) / 2;
        let epoch = epochs.manifest(listed[middle]).await?;
        let is_before = epoch.as_ref().is_none_or(|epoch| {
            let mut built = built(table);
            built.all(|(name, version)| {
                let state = epoch.tables.get(name);
                state.is_none_or(|state| state.version <= *version)
            })
        });
        if is_before {
            from = middle + 1;
            found = epoch.or(found);
        } else {
            to = middle;
        }
    }
    Ok(found.filter(|epoch| shows(epoch, table)).map(Arc::new))
}

/// The tables that it was made from, but for bronze.
fn built(table: &TableState) -> impl Iterator<Item = (&TableName, &u64)> {
    table.inputs.iter().filter(|(name, _)| !name.is_bronze())
}
