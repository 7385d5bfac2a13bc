//! Upkeep of a bronze table, between two of its writer's commits.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use chrono_tz::Tz;
use futures::StreamExt;
use sql_files::TableName;
use tracing::warn;

use super::{BronzeTable, layout, schema};
use crate::clock::Clock;
use crate::delta::{Change, DataFile, Table};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::lease::Lease;
use crate::metrics;
use crate::pinned::PinnedTable;
use crate::session::Sessions;
use crate::upkeep::{Census, Chore, Ledger, Needs, Task, UpkeepConfig, clean_log, vacuum};

/// Files below this size are merged.
const SMALL_BYTES: u64 = 8 << 20;

/// Small files of about one size, in one partition, that become one.
const MERGED: usize = 16;

/// Bytes merged in one step at most, as they are stored.
const STEP_BYTES: u64 = 64 << 20;

/// The same, as they are in memory: a few bytes of a file may be many of its rows.
const SMALL_READ: u64 = 64 << 20;
const STEP_READ: u64 = 512 << 20;

/// Memory of the scans that merge.
const MEMORY: usize = 256 << 20;

/// What a writer knows of its lake from one pass to the next.
pub(super) struct Tidying {
    ledger: Ledger,
    census: Census,
}

impl Tidying {
    pub(super) fn new(lake: &Lake) -> Self {
        Self {
            ledger: Ledger::new(lake),
            census: Census::default(),
        }
    }
}

impl BronzeTable {
    /// A bounded pass: merges some small files, then removes log entries and files that nobody needs. Only what the
    /// newest epoch has taken in is touched, so that whoever reads changes sees each row once.
    pub async fn upkeep(&mut self, config: &UpkeepConfig) -> Result<Vec<Chore>> {
        self.pass(config, false, false).await
    }

    /// The same because a person asks for it; `dry_run` only tells.
    pub async fn maintain(&mut self, config: &UpkeepConfig, dry_run: bool) -> Result<Vec<Chore>> {
        self.pass(config, true, dry_run).await
    }

    async fn pass(
        &mut self,
        config: &UpkeepConfig,
        asked: bool,
        dry_run: bool,
    ) -> Result<Vec<Chore>> {
        let now = (self.clock)();
        self.tidying.ledger.look(config, now, asked).await?;
        let needs = self.tidying.ledger.needs(&self.name);
        let Some(needs) = needs.filter(|_| self.tidying.ledger.is_settled()) else {
            return Ok(Vec::new());
        };
        let path = Lake::table_path(&self.name);
        self.table.advance(None).await?;
        let merged = match self.merge(&needs, dry_run).await {
            Err(error) if !matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::Conflict) => {
                warn!(table = %self.name, error = %error.with_causes(), "files are not merged");
                None
            }
            merged => merged?,
        };
        let grace = config.grace();
        let log = clean_log(&self.lake, &path, &needs, now, grace, dry_run).await?;
        if log.is_some() && !dry_run {
            // As it is held open it may be read from entries that are gone.
            self.table = Table::open_or_create(&self.lake, &path, &layout()).await?;
        }
        let census = &mut self.tidying.census;
        let files = vacuum(&self.lake, &path, &needs, census, now, grace, dry_run).await?;
        let chores: Vec<Chore> = merged.into_iter().chain(log).chain(files).collect();
        if !dry_run {
            metrics::observe_upkeep(&chores);
        }
        Ok(chores)
    }

    async fn merge(&mut self, needs: &Needs, dry_run: bool) -> Result<Option<Chore>> {
        let mut fresh = HashSet::new();
        for version in needs.consumed + 1..=self.table.version() {
            match self.table.paths_added(version).await? {
                Some(paths) => fresh.extend(paths),
                None => return Ok(None),
            }
        }
        let mut files = self.table.files()?;
        files.retain(|file| file.bytes < SMALL_BYTES && !fresh.contains(&file.path));
        let path = Lake::table_path(&self.name);
        let mut small = Vec::with_capacity(files.len());
        for file in files {
            let bytes = self.lake.width(&path, &file).await?.of_all;
            if bytes < SMALL_READ {
                small.push((file, bytes));
            }
        }
        let Some(chosen) = choose(small) else {
            return Ok(None);
        };
        let chore = Chore {
            task: Task::Compact,
            target: self.name.to_string(),
            files: chosen.len() as u64,
            bytes: chosen.iter().map(|file| file.bytes).sum(),
        };
        if !dry_run {
            self.rewrite(&chosen).await?;
        }
        Ok(Some(chore))
    }

    async fn rewrite(&mut self, files: &[DataFile]) -> Result<()> {
        let layout = layout();
        let path = Lake::table_path(&self.name);
        let rows = self.lake.batch_rows(&path, files).await;
        let sessions = Sessions::new(Tz::UTC, MEMORY)?.of_batches(rows);
        let names: Vec<&str> = layout
            .schema
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        let mut staged = self.table.stage(&layout);
        for file in files {
            let stored = PinnedTable::of_files(
                &self.lake,
                &path,
                schema(),
                layout.partition_columns.clone(),
                vec![file.clone()],
            );
            let frame = sessions.context([])?.read_table(Arc::new(stored))?;
            let mut rows = frame.select_columns(&names)?.execute_stream().await?;
            while let Some(batch) = rows.next().await {
                staged.write(&batch?).await?;
            }
        }
        let expected: Option<u64> = files.iter().map(|file| file.rows).sum();
        let written = staged.rows();
        let adds = staged.finish().await?;
        if expected.is_some_and(|expected| expected != written) {
            return Err(Error::new(
                ErrorKind::Internal,
                format!("merging files of \"{}\" gave {written} rows", self.name),
            ));
        }
        let paths: HashSet<&str> = files.iter().map(|file| file.path.as_str()).collect();
        let change = Change {
            adds,
            removes: self.table.removes(|path| paths.contains(path))?,
            moves_rows: true,
            ..Change::default()
        };
        self.table.commit(change, &layout, (self.clock)()).await?;
        Ok(())
    }
}

/// Small files of one partition and about one size, when there are enough: each row is then rewritten a few times in
/// its life, however many commits there are. A day that is over keeps no small files apart. Each comes with the bytes that
/// its rows take in memory.
fn choose(files: Vec<(DataFile, u64)>) -> Option<Vec<DataFile>> {
    let day_of = |file: &DataFile| {
        let day = file.partition_values.get("_date").cloned().flatten();
        day.unwrap_or_default()
    };
    let today = files.iter().map(|(file, _)| day_of(file)).max()?;
    let mut groups: BTreeMap<(String, u32), Vec<(DataFile, u64)>> = BTreeMap::new();
    for (file, read) in files {
        let day = day_of(&file);
        let class = match day == today {
            true => (file.bytes.max(1).ilog2() / 2).max(6),
            false => 0,
        };
        groups.entry((day, class)).or_default().push((file, read));
    }
    let is_enough = |(_, class): &(String, u32), files: &[(DataFile, u64)]| match class {
        0 => files.len() > 1,
        _ => files.len() >= MERGED,
    };
    let mut group = groups
        .into_iter()
        .find(|(group, files)| is_enough(group, files))?
        .1;
    group.truncate(MERGED * 16);
    let (mut bytes, mut read) = (0, 0);
    group.retain(|(file, of_file)| {
        bytes += file.bytes;
        read += of_file;
        bytes <= STEP_BYTES && read <= STEP_READ
    });
    Some(group.into_iter().map(|(file, _)| file).collect())
}

/// Does the upkeep of a bronze table that nobody else writes.
pub async fn maintain(
    lake: &Lake,
    lease: &Lease,
    clock: &Clock,
    config: &UpkeepConfig,
    name: &TableName,
    dry_run: bool,
) -> Result<Vec<Chore>> {
    let mut table = BronzeTable::open_or_create(lake, lease, name.name(), clock.clone()).await?;
    let mut chores = Vec::new();
    loop {
        let done = table.maintain(config, dry_run).await?;
        let goes_on = done.iter().any(Chore::goes_on);
        chores.extend(done);
        if dry_run || !goes_on {
            return Ok(chores);
        }
    }
}

#[cfg(test)]
mod tests;
