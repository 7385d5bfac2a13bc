//! Upkeep of what the refresh role writes: its tables, the epochs and the project texts.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use sql_files::TableName;
use tracing::{debug, warn};

use super::Refresher;
use crate::delta::{Change, Table, TableLayout};
use crate::error::{ErrorKind, Result};
use crate::lake::Lake;
use crate::metrics;
use crate::upkeep::{AT_ONCE, Census, Chore, Needs, Task, clean_log, seconds, vacuum};

/// Project texts that stay although no epoch names them any more.
const PROJECTS_KEPT: usize = 20;

/// What a pass of upkeep has still to come to, and what the passes before found.
#[derive(Default)]
pub(super) struct Tending {
    to_tend: Vec<TableName>,
    begun_at: Option<DateTime<Utc>>,
    censuses: BTreeMap<TableName, Census>,
}

impl Refresher {
    /// One step of upkeep, when one is due. What fails is told and tried again at the next pass.
    pub(super) async fn upkeep_step(&mut self) -> Result<()> {
        if !self.config.upkeep.enabled {
            return Ok(());
        }
        match self.step().await {
            Ok(chores) => {
                for chore in &chores {
                    debug!(task = chore.task.as_str(), target = %chore.target, files = chore.files, "upkeep");
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Conflict => Err(error),
            Err(error) => {
                warn!(error = %error.with_causes(), "upkeep failed: trying again");
                Ok(())
            }
        }
    }

    async fn step(&mut self) -> Result<Vec<Chore>> {
        if let Some(name) = self.tending.to_tend.pop() {
            return self.tend(&name, false).await;
        }
        let now = (self.clock)();
        let interval = seconds(self.config.upkeep.interval_seconds);
        let is_due = self
            .tending
            .begun_at
            .is_none_or(|last| now < last || now.signed_duration_since(last) >= interval);
        if !is_due {
            return Ok(Vec::new());
        }
        self.tending.begun_at = Some(now);
        self.ledger.look(&self.config.upkeep, now, false).await?;
        let chores = self.thin(false).await?;
        self.tending.to_tend = self.to_tend().await?;
        Ok(chores)
    }

    /// A whole pass at once, because a person asks for it: every table after the epochs.
    pub async fn maintain(&mut self, dry_run: bool) -> Result<Vec<Chore>> {
        let mut chores = Vec::new();
        loop {
            let now = (self.clock)();
            self.ledger.look(&self.config.upkeep, now, true).await?;
            let done = self.thin(dry_run).await?;
            let goes_on = done.iter().any(Chore::goes_on);
            chores.extend(done);
            if dry_run || !goes_on {
                break;
            }
        }
        for name in self.to_tend().await? {
            loop {
                let done = self.tend(&name, dry_run).await?;
                let goes_on = done.iter().any(Chore::goes_on);
                chores.extend(done);
                if dry_run || !goes_on {
                    break;
                }
            }
        }
        Ok(chores)
    }

    /// Removes epochs that nobody needs, and project texts that none of the others names.
    async fn thin(&mut self, dry_run: bool) -> Result<Vec<Chore>> {
        if !self.ledger.is_settled() {
            return Ok(Vec::new());
        }
        self.lease.verify()?;
        let now = (self.clock)();
        let mut chores = Vec::new();
        let mut unneeded = self.ledger.unneeded();
        if !dry_run {
            unneeded.truncate(AT_ONCE);
        }
        if !unneeded.is_empty() {
            chores.push(chore(Task::ThinEpochs, "_epochs", unneeded.len(), 0));
        }
        if !dry_run {
            // Readers start from the hint, and what it names must be there.
            if let Some(newest) = self.ledger.newest()
                && !unneeded.is_empty()
                && self.epochs.hint().await? != newest
            {
                self.epochs.point_to(newest).await?;
            }
            for epoch in unneeded {
                self.ledger.thin(epoch, now).await?;
            }
            metrics::observe_epochs_kept(self.ledger.count());
        }
        chores.extend(self.thin_projects(dry_run).await?);
        Ok(chores)
    }

    async fn thin_projects(&self, dry_run: bool) -> Result<Option<Chore>> {
        const DIRECTORY: &str = "_project";
        let named = self.ledger.projects();
        let mut unnamed = self.lake.list(DIRECTORY, usize::MAX).await?;
        unnamed.retain(|file| {
            let is_project =
                file.name.len() >= 32 && file.name.bytes().all(|byte| byte.is_ascii_hexdigit());
            let is_declared = self
                .unfinished
                .as_ref()
                .is_some_and(|intent| intent.project == file.name);
            is_project && !is_declared && !named.contains(file.name.as_str())
        });
        unnamed.sort_by_key(|file| std::cmp::Reverse(file.modified));
        let doomed = unnamed.get(PROJECTS_KEPT..).unwrap_or_default();
        let doomed = &doomed[..doomed.len().min(AT_ONCE)];
        if doomed.is_empty() {
            return Ok(None);
        }
        if !dry_run {
            for file in doomed {
                self.lake.remove_listed(DIRECTORY, &file.name).await?;
            }
        }
        let bytes = doomed.iter().map(|file| file.bytes).sum();
        Ok(Some(chore(
            Task::ThinProjects,
            DIRECTORY,
            doomed.len(),
            bytes,
        )))
    }

    /// The tables of the newest epoch, and those whose directories earlier ones left.
    async fn to_tend(&self) -> Result<Vec<TableName>> {
        let mut names = self.ledger.tables();
        for schema in self.lake.directories("").await? {
            if schema.starts_with('_') {
                continue;
            }
            for name in self.lake.directories(&schema).await? {
                if let Ok(name) = TableName::new(&schema, &name)
                    && !name.is_bronze()
                    && !self.ledger.is_served(&name)
                {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }

    /// Cleans the log and the directory of one table.
    async fn tend(&mut self, name: &TableName, dry_run: bool) -> Result<Vec<Chore>> {
        // An epoch that was begun names versions that no manifest does.
        if self.unfinished.is_some() || !self.ledger.is_settled() {
            return Ok(Vec::new());
        }
        self.lease.verify()?;
        let mut chores = Vec::new();
        let needs = match self.ledger.needs(name) {
            Some(needs) => needs,
            None => {
                let needs = self.ledger.needs_of_retired(name);
                if !self.is_ours(name).await? {
                    return Ok(Vec::new());
                }
                chores.extend(self.empty(name, &needs, dry_run).await?);
                needs
            }
        };
        let (now, grace) = ((self.clock)(), self.config.upkeep.grace());
        let path = Lake::table_path(name);
        let log = clean_log(&self.lake, &path, &needs, now, grace, dry_run).await?;
        if log.is_some() && !dry_run {
            // The table as it is held open may be read from entries that are gone.
            self.tables.remove(name);
        }
        let census = self.tending.censuses.entry(name.clone()).or_default();
        let files = vacuum(&self.lake, &path, &needs, census, now, grace, dry_run).await?;
        chores.extend(log.into_iter().chain(files));
        if !dry_run {
            metrics::observe_upkeep(&chores);
        }
        Ok(chores)
    }

    /// Whether a directory that the newest epoch does not name is one that this role wrote: it may be a stranger's.
    async fn is_ours(&self, name: &TableName) -> Result<bool> {
        if self.ledger.is_unbuilt(name) {
            return Ok(true);
        }
        match Table::open(&self.lake, &Lake::table_path(name), None).await? {
            Some(table) => Ok(table
                .transaction(&super::build::transaction_id(name))
                .await?
                .is_some()),
            None => Ok(false),
        }
    }

    /// Takes the rows out of a table that no kept epoch names, in a commit like any other: its versions go on where
    /// they are should a file of that name come back, so nobody takes a new version for an old one.
    async fn empty(
        &mut self,
        name: &TableName,
        needs: &Needs,
        dry_run: bool,
    ) -> Result<Option<Chore>> {
        let path = Lake::table_path(name);
        let Some(mut table) = Table::open(&self.lake, &path, None).await? else {
            return Ok(None);
        };
        let files = table.files()?;
        if files.is_empty() || needs.from != u64::MAX {
            return Ok(None);
        }
        let chore = Chore {
            task: Task::Empty,
            target: name.to_string(),
            files: files.len() as u64,
            bytes: files.iter().map(|file| file.bytes).sum(),
        };
        if !dry_run {
            let layout = TableLayout {
                schema: table.schema()?,
                partition_columns: Vec::new(),
                stats_columns: Vec::new(),
            };
            let change = Change {
                removes: table.removes(|_| true)?,
                ..Change::default()
            };
            table.commit(change, &layout, (self.clock)()).await?;
            table.checkpoint().await?;
            self.tables.remove(name);
        }
        Ok(Some(chore))
    }
}

fn chore(task: Task, target: &str, files: usize, bytes: u64) -> Chore {
    Chore {
        task,
        target: target.to_owned(),
        files: files as u64,
        bytes,
    }
}
