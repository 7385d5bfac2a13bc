//! Rollback: the definitions and the data of before the last project change, published as a new epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use arrow::datatypes::SchemaRef;
use chrono::{DateTime, Utc};
use deltalake_core::kernel::Add;
use object_store::ObjectStoreExt;
use sql_files::TableName;

use super::brought_back;
use super::build::{Built, transaction};
use super::due::attempt;
use super::{Refresher, Turn};
use crate::delta::{Change, DataFile, Table, TableLayout};
use crate::epoch::{Intent, Manifest, TableState};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::project::CheckedProject;

impl Refresher {
    /// Brings back the project of before its last change, with the data of then, in one epoch. What is on disk is not
    /// taken until a file changes or somebody applies it. The next turn takes in what arrived since.
    ///
    /// # Errors
    /// `NotFound` when there was no change, or its data is no longer kept.
    pub async fn rollback(&mut self) -> Result<Turn> {
        self.make_way(|intent| intent.restores.is_some()).await?;
        let newest = self.newest.clone().ok_or_else(nothing_before)?;
        let replaced = newest.replaced.ok_or_else(nothing_before)?;
        self.rollback_to(replaced).await
    }

    /// The same, where the caller knows what comes back: asked twice, it is done once.
    ///
    /// # Errors
    /// `Conflict` when the project changed since the caller looked.
    pub(super) async fn rollback_to(&mut self, epoch: u64) -> Result<Turn> {
        let started = Instant::now();
        self.make_way(|intent| intent.restores == Some(epoch))
            .await?;
        let newest = self.newest.clone().ok_or_else(nothing_before)?;
        let target = self.target(epoch).await?;
        if newest.project == target.project {
            return Ok(Turn::Quiet);
        }
        if newest.replaced != Some(epoch) {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the project of epoch {epoch} is not the one before the last change"),
            )
            .hint("Somebody changed the project meanwhile; look at it and ask again."));
        }
        let project = self
            .project
            .stored(&self.lake, &target.project, &self.sessions)
            .await?;
        for (name, state) in restored(&target, &newest) {
            self.check_files(name, state, target.epoch).await?;
        }
        let on_disk = self.project.fingerprint_on_disk();
        let intent = Intent {
            epoch: newest.epoch + 1,
            term: self.lease.term(),
            now: (self.clock)(),
            project: target.project.clone(),
            inputs: BTreeMap::new(),
            commits: BTreeMap::new(),
            restores: Some(target.epoch),
            refused: on_disk.filter(|on_disk| *on_disk != target.project),
        };
        let intent = self.epochs.declare(intent).await?;
        self.unfinished = Some(intent.clone());
        let refused = intent.refused.clone();
        let turn = self.finish(intent, &project, None, started).await?;
        self.project.settle(&self.lake, project, refused).await?;
        Ok(turn)
    }

    /// The tables of an earlier epoch as new versions of each.
    pub(super) async fn restore(
        &mut self,
        intent: &Intent,
        project: &CheckedProject,
        epoch: u64,
    ) -> Result<Built> {
        let newest = self.newest.clone().ok_or_else(nothing_before)?;
        let target = self.target(epoch).await?;
        let target = brought_back::taken_up(&self.lake, target).await?;
        let mut next = Manifest {
            epoch: intent.epoch,
            term: self.lease.term(),
            now: intent.now,
            refused: intent.refused.clone(),
            ..target.clone()
        };
        let mut rebuilt = Vec::new();
        let names: BTreeSet<TableName> = restored(&target, &newest)
            .map(|(name, _)| name.clone())
            .collect();
        for name in &names {
            let Some(state) = next.tables.get_mut(name) else {
                continue;
            };
            let version = self.restore_table(intent, name, state).await?;
            state.version = version;
            state.since = intent.epoch;
            rebuilt.push(name.clone());
        }
        rename_inputs(&mut next, &target, project);
        // History is not taken back.
        let history = newest
            .tables
            .iter()
            .filter(|(name, _)| name.is_bronze() || name.schema() == "quality");
        next.tables
            .extend(history.map(|(name, state)| (name.clone(), state.clone())));
        Ok(Built {
            manifest: Some(next),
            rebuilt,
        })
    }

    async fn target(&self, epoch: u64) -> Result<Manifest> {
        self.epochs
            .manifest(epoch)
            .await?
            .ok_or_else(|| no_longer_kept(epoch))
    }

    /// Commits the files of an earlier version as they were; the version they have from here on.
    async fn restore_table(
        &mut self,
        intent: &Intent,
        name: &TableName,
        state: &TableState,
    ) -> Result<u64> {
        let layout = TableLayout {
            schema: state.schema.clone(),
            partition_columns: Vec::new(),
            stats_columns: state.key.clone(),
        };
        if self.committed(intent, name, &layout).await? {
            return Ok(self.writer_of(name, &layout).await?.version());
        }
        let then = self.snapshots.files(&state.path, state.version).await?;
        let table = self.writer_of(name, &layout).await?;
        let change = Change {
            transactions: vec![transaction(intent, name)],
            ..back_to(table, &then, &state.schema, intent.now)?
        };
        table.commit(change, &layout, intent.now).await
    }

    async fn check_files(&self, name: &TableName, state: &TableState, epoch: u64) -> Result<()> {
        let files = self.snapshots.files(&state.path, state.version).await;
        for file in files.map_err(|_| no_longer_kept(epoch))?.iter() {
            let path = format!("{}/{}", Lake::table_path(name), file.path);
            match self.lake.store().head(&self.lake.path(&path)?).await {
                Ok(_) => {}
                Err(object_store::Error::NotFound { .. }) => return Err(no_longer_kept(epoch)),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// Tables whose version differs from the one served. What arrived and what was checked is never taken back.
fn restored<'a>(
    target: &'a Manifest,
    newest: &'a Manifest,
) -> impl Iterator<Item = (&'a TableName, &'a TableState)> {
    target.tables.iter().filter(|(name, state)| {
        let served = newest.tables.get(*name);
        let is_history = name.is_bronze() || name.schema() == "quality";
        !is_history && served.is_none_or(|served| served.version != state.version)
    })
}

/// Tables that were made from an earlier version are made from the same rows under their new number.
fn rename_inputs(next: &mut Manifest, target: &Manifest, project: &CheckedProject) {
    let renamed: BTreeMap<TableName, (u64, u64)> = target
        .tables
        .iter()
        .filter_map(|(name, then)| {
            Some((name.clone(), (then.version, next.tables.get(name)?.version)))
        })
        .filter(|(_, (then, now))| then != now)
        .collect();
    for (name, state) in &mut next.tables {
        let before = state.inputs.clone();
        for (input, version) in &mut state.inputs {
            if let Some((then, now)) = renamed.get(input)
                && then == version
            {
                *version = *now;
            }
        }
        if let Some(file) = project.project.file(name)
            && state.attempt == attempt(file, &before)
        {
            state.attempt = attempt(file, &state.inputs);
        }
    }
}

/// What makes the files of a table those of an earlier version again.
pub(super) fn back_to(
    table: &Table,
    then: &[DataFile],
    schema: &SchemaRef,
    now: DateTime<Utc>,
) -> Result<Change> {
    let current: BTreeSet<String> = table.files()?.into_iter().map(|file| file.path).collect();
    let kept: BTreeSet<&str> = then.iter().map(|file| file.path.as_str()).collect();
    let is_another = table.schema()?.fields() != schema.fields();
    Ok(Change {
        removes: table.removes(|path| !kept.contains(path))?,
        adds: then
            .iter()
            .filter(|file| !current.contains(&file.path))
            .map(|file| add(file, now.timestamp_millis()))
            .collect(),
        schema: is_another.then(|| schema.clone()),
        transactions: Vec::new(),
        moves_rows: false,
    })
}

fn add(file: &DataFile, modified: i64) -> Add {
    Add {
        path: file.path.clone(),
        partition_values: file.partition_values.clone(),
        size: i64::try_from(file.bytes).unwrap_or(i64::MAX),
        modification_time: modified,
        data_change: true,
        stats: file.stats.clone(),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    }
}

pub(crate) fn nothing_before() -> Error {
    Error::new(
        ErrorKind::NotFound,
        "there is no earlier project to go back to",
    )
    .hint("A rollback undoes a change of the SQL project that was taken; this lake has seen none.")
}

fn no_longer_kept(epoch: u64) -> Error {
    Error::new(
        ErrorKind::NotFound,
        format!("the data of epoch {epoch}, before the last change, is no longer kept"),
    )
    .hint("Put the earlier texts back and save them: their tables are made anew.")
}
