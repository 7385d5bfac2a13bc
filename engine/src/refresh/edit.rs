//! Edits of the SQL project: which are taken as they are saved, and which wait for `apply`.

use std::time::Instant;

use sql_files::TableName;

use super::in_force::{Edit, Proposal};
use super::rebuilds::rebuilds;
use super::{Refresher, Turn};
use crate::epoch::{Intent, Manifest};
use crate::error::Result;
use crate::project::CheckedProject;

impl Refresher {
    /// Puts the project on disk in force, including what saving a file alone never does: tables whose file is gone
    /// are retired, rebuilds of any size are made, and texts that were rolled back are taken again.
    ///
    /// # Errors
    /// `InvalidRequest` when the project is broken.
    pub async fn apply(&mut self) -> Result<Turn> {
        let started = Instant::now();
        let proposal = self.project.on_disk(&self.sessions).await?;
        let fingerprint = proposal.checked.project.fingerprint();
        let is_the_same =
            |intent: &Intent| intent.restores.is_none() && intent.project == fingerprint;
        self.make_way(is_the_same).await?;
        let edit = self.accept(proposal).await?;
        self.advance(edit, started).await
    }

    /// Takes what was saved since the last look, unless it asks for more than a save may.
    pub(super) async fn take_edit(&mut self) -> Result<Option<Edit>> {
        let Some(proposal) = self.project.look(&self.lake, &self.sessions).await? else {
            return Ok(None);
        };
        if let Some(newest) = &self.newest {
            let current = self.project.current();
            let rebuilds = rebuilds(
                current.as_deref(),
                &proposal.checked,
                newest,
                &self.snapshots,
            )
            .await;
            let rebuilds = match rebuilds {
                Ok(rebuilds) => rebuilds,
                Err(error) => {
                    self.project.forget();
                    return Err(error);
                }
            };
            let bytes: u64 = rebuilds.iter().map(|rebuild| rebuild.bytes).sum();
            if bytes > self.config.apply_above_bytes {
                self.project.wait(&self.lake, rebuilds).await?;
                return Ok(None);
            }
        }
        self.accept(proposal).await
    }

    /// What could not be put in force is looked at again.
    async fn accept(&mut self, proposal: Proposal) -> Result<Option<Edit>> {
        let accepted = self.project.accept(&self.lake, proposal).await;
        if accepted.is_err() {
            self.project.forget();
        }
        accepted
    }
}

/// Whether a table is one of the project's, or is kept beside one of them.
pub(super) fn is_served(project: &CheckedProject, name: &TableName) -> bool {
    let beside = || name.quarantine_of();
    name.is_bronze()
        || name.schema() == "quality"
        || project.project.defines(name)
        || beside().is_some_and(|table| project.project.defines(&table))
}

/// The last epoch of the project before the one that an epoch has.
pub(super) fn replaced(before: &Manifest, intent: &Intent) -> Option<u64> {
    if before.project == intent.project {
        before.replaced
    } else {
        Some(before.epoch)
    }
}
