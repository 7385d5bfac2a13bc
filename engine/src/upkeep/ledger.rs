use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};
use serde::Deserialize;
use serde::de::IgnoredAny;
use sql_files::TableName;

use super::log::is_there;
use super::{UpkeepConfig, seconds};
use crate::epoch::{EpochLog, manifest_path};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::pins::{PinWatch, Pinned};

/// Newest epochs that stay whatever their age.
const LEAST: usize = 3;

/// After a leap of the clock nothing goes for this long: whoever reads has renewed its pin by then.
const SETTLES: Duration = Duration::seconds(120);

/// A pause between two looks beyond this, or beyond ten passes, is a leap.
const LEAP: Duration = Duration::minutes(15);

/// From the end of an epoch to the end of its files: whoever opened it just before has pinned it by then.
const LEAVES: Duration = Duration::seconds(30);

/// Versions with no more between them are close together: keeping those costs less than a checkpoint for each.
const CLOSE: u64 = 64;

/// What upkeep needs to know of a manifest.
#[derive(Debug, Clone, Deserialize)]
struct Entry {
    now: DateTime<Utc>,
    project: String,
    #[serde(default)]
    replaced: Option<u64>,
    tables: BTreeMap<TableName, Named>,
    #[serde(default)]
    unbuilt: BTreeMap<TableName, IgnoredAny>,
}

#[derive(Debug, Clone, Deserialize)]
struct Named {
    version: u64,
    #[serde(default)]
    inputs: BTreeMap<TableName, u64>,
}

impl Entry {
    fn version(&self, name: &TableName) -> Option<u64> {
        self.tables.get(name).map(|table| table.version)
    }

    /// Whether it has the very versions that a table was made from.
    fn shows(&self, table: &Named) -> bool {
        let mut built = table.inputs.iter().filter(|(name, _)| !name.is_bronze());
        built.all(|(name, version)| self.version(name) == Some(*version))
    }

    /// Versions of a table that others were made from, which `why` reads: one that is held or waits for its trigger
    /// needs one of each of its inputs, however long.
    fn read_of(&self, name: &TableName) -> impl Iterator<Item = u64> {
        let readers = self.tables.values();
        readers.filter_map(|reader| reader.inputs.get(name).copied())
    }
}

/// An epoch whose manifest is gone and whose files are still there.
struct Leaving {
    entry: Entry,
    since: DateTime<Utc>,
}

/// The epochs of a lake and which of them are needed.
pub(crate) struct Ledger {
    lake: Lake,
    epochs: EpochLog,
    known: BTreeMap<u64, Entry>,
    leaving: BTreeMap<u64, Leaving>,
    pins: PinWatch,
    looked_at: Option<DateTime<Utc>>,
    /// When the clock last leapt.
    leapt_at: Option<DateTime<Utc>>,
    /// Every epoch from this on is kept.
    window: u64,
    /// Epochs before the window that are kept all the same.
    apart: BTreeSet<u64>,
    /// The oldest epoch that is kept because of its age alone.
    oldest_by_age: u64,
}

/// Versions of one table that must stay readable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Needs {
    /// Every version from this on.
    pub(crate) from: u64,
    /// Single versions before it.
    pub(crate) apart: BTreeSet<u64>,
    /// The version up to which refresh has taken the table in.
    pub(crate) consumed: u64,
}

impl Ledger {
    pub(crate) fn new(lake: &Lake) -> Self {
        Self {
            lake: lake.clone(),
            epochs: EpochLog::new(lake.clone()),
            known: BTreeMap::new(),
            leaving: BTreeMap::new(),
            pins: PinWatch::new(lake),
            looked_at: None,
            leapt_at: None,
            window: 0,
            apart: BTreeSet::new(),
            oldest_by_age: 0,
        }
    }

    /// Looks at the epochs and at what readers pin, and decides what stays. `asked` by a person, the first look takes
    /// the clock as it is; a role watches it for a while first.
    pub(crate) async fn look(
        &mut self,
        config: &UpkeepConfig,
        now: DateTime<Utc>,
        asked: bool,
    ) -> Result<()> {
        self.watch_clock(config, now, asked);
        let listed = self.epochs.listed().await?;
        let gone: Vec<u64> = self.known.keys().copied().collect();
        for epoch in gone.into_iter().filter(|epoch| !listed.contains(epoch)) {
            self.leave(epoch, now);
        }
        for epoch in listed {
            if !self.known.contains_key(&epoch)
                && let Some(entry) = self.read(epoch).await?
            {
                self.known.insert(epoch, entry);
            }
        }
        let pinned = self.pins.look(now).await?;
        self.leaving.retain(|epoch, leaving| {
            pinned.holds(*epoch) || now.signed_duration_since(leaving.since) < LEAVES
        });
        self.decide(config, &pinned, now);
        Ok(())
    }

    /// Whether anything may go: not while the clock is new to this process.
    pub(crate) fn is_settled(&self) -> bool {
        let Some(now) = self.looked_at else {
            return false;
        };
        self.leapt_at
            .is_none_or(|leapt| now.signed_duration_since(leapt) >= SETTLES)
    }

    fn watch_clock(&mut self, config: &UpkeepConfig, now: DateTime<Utc>, asked: bool) {
        let longest = LEAP.max(seconds(config.interval_seconds.saturating_mul(10)));
        let has_leapt = match self.looked_at {
            None => !asked,
            Some(last) => {
                let passed = now.signed_duration_since(last);
                passed > longest || passed < -Duration::minutes(1)
            }
        };
        if has_leapt {
            self.leapt_at = Some(now);
            self.pins.forgive(now);
            for leaving in self.leaving.values_mut() {
                leaving.since = now;
            }
        }
        self.looked_at = Some(now);
    }

    fn decide(&mut self, config: &UpkeepConfig, pinned: &Pinned, now: DateTime<Utc>) {
        self.apart.clear();
        let Some((newest, last)) = self.known.last_key_value() else {
            return;
        };
        self.window = *newest;
        self.oldest_by_age = *newest;
        if !self.is_settled() {
            self.window = self
                .known
                .first_key_value()
                .map_or(*newest, |first| *first.0);
            self.oldest_by_age = self.window;
            return;
        }
        let keep = seconds(config.keep_epochs_seconds);
        let hourly = seconds(config.keep_hourly_seconds);
        let mut later = now;
        let mut hours = BTreeSet::new();
        for (index, (epoch, entry)) in self.known.iter().rev().enumerate() {
            // An epoch was the newest until the one after it.
            let is_recent = index < LEAST || now.signed_duration_since(later) < keep;
            let is_last_of_hour = hours.insert(entry.now.timestamp().div_euclid(3600))
                && now.signed_duration_since(entry.now) < hourly;
            if is_recent || is_last_of_hour {
                self.oldest_by_age = *epoch;
            }
            if is_recent && self.apart.is_empty() {
                self.window = *epoch;
            } else if is_recent
                || is_last_of_hour
                || pinned.holds(*epoch)
                || last.replaced == Some(*epoch)
            {
                self.apart.insert(*epoch);
            }
            later = entry.now;
        }
        let made_in = self.made_in(last);
        self.apart
            .extend(made_in.into_iter().filter(|epoch| *epoch < self.window));
    }

    /// Epochs that the tables of an epoch were made in, where what they read went on since: `why` goes by them.
    fn made_in(&self, last: &Entry) -> BTreeSet<u64> {
        let mut epochs = BTreeSet::new();
        let mut waiting = vec![last];
        while let Some(entry) = waiting.pop() {
            let held = entry.tables.values().filter(|table| !entry.shows(table));
            for table in held {
                let mut known = self.known.iter().rev();
                let found = known.find(|(_, entry)| entry.shows(table));
                if let Some((epoch, entry)) = found
                    && epochs.insert(*epoch)
                {
                    waiting.push(entry);
                }
            }
        }
        epochs
    }

    /// Epochs that nobody needs, oldest first.
    pub(crate) fn unneeded(&self) -> Vec<u64> {
        self.known
            .range(..self.window)
            .map(|(epoch, _)| *epoch)
            .filter(|epoch| !self.apart.contains(epoch))
            .collect()
    }

    pub(crate) fn newest(&self) -> Option<u64> {
        self.known.keys().next_back().copied()
    }

    pub(crate) fn count(&self) -> usize {
        self.known.len()
    }

    pub(crate) async fn thin(&mut self, epoch: u64, now: DateTime<Utc>) -> Result<()> {
        self.epochs.thin(epoch).await?;
        self.leave(epoch, now);
        Ok(())
    }

    fn leave(&mut self, epoch: u64, now: DateTime<Utc>) {
        if let Some(entry) = self.known.remove(&epoch) {
            self.leaving.insert(epoch, Leaving { entry, since: now });
        }
    }

    /// Fingerprints of the projects that kept epochs name.
    pub(crate) fn projects(&self) -> BTreeSet<&str> {
        let leaving = self.leaving.values().map(|leaving| &leaving.entry);
        let entries = self.known.values().chain(leaving);
        entries.map(|entry| entry.project.as_str()).collect()
    }

    /// The tables that refresh writes, as the newest epoch has them.
    pub(crate) fn tables(&self) -> Vec<TableName> {
        let newest = self.known.values().next_back();
        newest
            .into_iter()
            .flat_map(|entry| entry.tables.keys())
            .filter(|name| !name.is_bronze())
            .cloned()
            .collect()
    }

    /// Whether the newest epoch has a table, with a version or without.
    pub(crate) fn is_served(&self, name: &TableName) -> bool {
        let newest = self.known.values().next_back();
        newest.is_some_and(|newest| newest.tables.contains_key(name))
    }

    /// Whether the newest epoch wants a table and has no good version of it.
    pub(crate) fn is_unbuilt(&self, name: &TableName) -> bool {
        let newest = self.known.values().next_back();
        newest.is_some_and(|newest| newest.unbuilt.contains_key(name))
    }

    /// What must stay of a table that the newest epoch has; None where it has none.
    pub(crate) fn needs(&self, name: &TableName) -> Option<Needs> {
        let newest = self.known.values().next_back()?;
        let consumed = self.consumed(newest, name)?;
        let (from, apart) = in_a_row(self.versions(name), consumed);
        Some(Needs {
            from,
            apart,
            consumed,
        })
    }

    /// The version up to which every reader of a table's changes has taken it in. Only messages are read as changes.
    fn consumed(&self, newest: &Entry, name: &TableName) -> Option<u64> {
        let version = newest.version(name)?;
        if !name.is_bronze() {
            return Some(version);
        }
        let readers = newest.tables.values();
        let slowest = readers
            .filter_map(|table| table.inputs.get(name).copied())
            .min();
        // A table that is held goes on from where it stopped for as long as epochs of then are kept, and is made anew
        // beyond that.
        let by_age = self.known.range(self.oldest_by_age..);
        let oldest = by_age.filter_map(|(_, entry)| entry.version(name)).min();
        Some(
            slowest
                .unwrap_or(version)
                .min(version)
                .max(oldest?.min(version)),
        )
    }

    /// What must stay of a table that the newest epoch does not have, beside its newest version.
    pub(crate) fn needs_of_retired(&self, name: &TableName) -> Needs {
        let versions = self.versions(name);
        let last = versions.last().copied().unwrap_or(u64::MAX);
        let (from, apart) = in_a_row(versions, last);
        Needs {
            from,
            apart,
            consumed: from,
        }
    }

    /// Versions that epochs name, also those epochs that are about to go: whatever can be found can be read. So can what
    /// their tables were made from, where it is still there. Of bronze that costs the small files of a version: rows only
    /// ever come.
    fn versions(&self, name: &TableName) -> BTreeSet<u64> {
        let leaving = self.leaving.values().map(|leaving| &leaving.entry);
        let entries = self.known.values().chain(leaving);
        let (mut versions, mut read) = (BTreeSet::new(), BTreeSet::new());
        for entry in entries {
            if let Some(version) = entry.version(name) {
                versions.insert(version);
                read.extend(entry.read_of(name));
            }
        }
        let path = Lake::table_path(name);
        let new = read.difference(&versions).copied();
        let there: Vec<u64> = new.filter(|v| is_there(&self.lake, &path, *v)).collect();
        versions.extend(there);
        versions
    }

    async fn read(&self, epoch: u64) -> Result<Option<Entry>> {
        let path = manifest_path(epoch);
        let Some(bytes) = self.lake.read(&path).await? else {
            return Ok(None);
        };
        let entry = serde_json::from_slice(&bytes).map_err(|source| {
            Error::new(ErrorKind::Corrupt, format!("\"{path}\" cannot be read")).caused_by(source)
        })?;
        Ok(Some(entry))
    }
}

/// The version from which on all are kept, `last` or an earlier one, and the single ones before it: versions that are
/// close together are kept with all that is between them.
fn in_a_row(mut versions: BTreeSet<u64>, last: u64) -> (u64, BTreeSet<u64>) {
    let mut from = last;
    versions.split_off(&last);
    while let Some(version) = versions.last().copied()
        && from - version <= CLOSE
    {
        from = version;
        versions.pop_last();
    }
    (from, versions)
}

#[cfg(test)]
mod tests;
