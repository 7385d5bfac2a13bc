//! Giving an epoch up that was declared: what its tables committed is put back, then the intent goes.
//!
//! A process that dies on the way leaves the intent, so the next one finishes the epoch or gives it up again: a table
//! that is put back is one that the epoch did not commit.

use sql_files::TableName;
use tracing::{info, warn};

use super::Refresher;
use super::build::transaction_id;
use super::rollback::back_to;
use crate::delta::{Change, Table, TableLayout};
use crate::epoch::Intent;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;

impl Refresher {
    /// Makes way for something newer: an epoch that was declared is given up, unless it is the very one that is asked for
    /// or is published already.
    pub(super) async fn make_way(&mut self, is_wanted: impl FnOnce(&Intent) -> bool) -> Result<()> {
        let Some(intent) = self.unfinished.clone() else {
            return Ok(());
        };
        let term = self.lease.term();
        if is_wanted(&intent)
            || self
                .epochs
                .published_by(term, intent.epoch)
                .await?
                .is_some()
        {
            Box::pin(self.turn()).await?;
            return Ok(());
        }
        self.give_up(&intent).await
    }

    /// Takes a declared epoch back, so that the next one begins from what the newest published one names.
    pub(super) async fn give_up(&mut self, intent: &Intent) -> Result<()> {
        self.lease.verify()?;
        // They may be in the middle of something.
        self.tables.clear();
        for name in self.written().await? {
            self.put_back(intent, &name).await?;
        }
        self.epochs.withdraw(intent.epoch).await?;
        self.unfinished = None;
        let refused = self
            .newest
            .as_ref()
            .and_then(|newest| newest.refused.clone());
        self.project.return_to_published(refused);
        info!(epoch = intent.epoch, "a declared epoch is given up");
        Ok(())
    }

    /// Every table of the lake that this role may have written.
    async fn written(&self) -> Result<Vec<TableName>> {
        let mut names = Vec::new();
        for schema in self.lake.directories("").await? {
            if schema.starts_with('_') || schema == "bronze" {
                continue;
            }
            for name in self.lake.directories(&schema).await? {
                names.extend(TableName::new(&schema, &name));
            }
        }
        Ok(names)
    }

    /// Commits the rows that the newest published epoch names, where an epoch that is not published committed others; and
    /// that the table is not part of that epoch. A table that no epoch names is emptied.
    pub(super) async fn put_back(&mut self, intent: &Intent, name: &TableName) -> Result<()> {
        let opened = match self.tables.remove(name) {
            Some(table) => Ok(Some(table)),
            None => Table::open(&self.lake, &Lake::table_path(name), None).await,
        };
        let mut table = match opened {
            Ok(Some(table)) => table,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
            // Whoever builds it finds the same and holds it.
            Err(error) => {
                warn!(table = %name, error = %error.with_causes(), "a table cannot be opened");
                return Ok(());
            }
        };
        // What a dead process committed and did not sync is built upon.
        table.settle(&self.lake).await?;
        let epoch = i64::try_from(intent.epoch).unwrap_or(i64::MAX);
        let id = transaction_id(name);
        if table.transaction(&id).await? < Some(epoch) {
            self.tables.insert(name.clone(), table);
            return Ok(());
        }
        let published = self
            .newest
            .as_ref()
            .and_then(|newest| newest.tables.get(name));
        let schema = match published {
            Some(state) => state.schema.clone(),
            None => table.schema()?,
        };
        let then = match published {
            Some(state) => self.snapshots.files(&state.path, state.version).await?,
            None => Default::default(),
        };
        let now = (self.clock)();
        let change = Change {
            transactions: vec![(id, epoch - 1)],
            ..back_to(&table, &then, &schema, now)?
        };
        let layout = TableLayout {
            schema,
            partition_columns: Vec::new(),
            stats_columns: published.map(|state| state.key.clone()).unwrap_or_default(),
        };
        table.commit(change, &layout, now).await?;
        warn!(table = %name, "what an epoch committed that is not published is put back");
        Ok(())
    }
}

/// Whether an error ends a turn, whatever table it comes from: storage is away, somebody else writes, or the build is
/// given up. Any other is about the one table.
pub(super) fn ends_the_turn(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable | ErrorKind::Conflict | ErrorKind::Cancelled
    )
}
