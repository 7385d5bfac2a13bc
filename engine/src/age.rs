//! How old tables are. A table is as old as the oldest message in bronze that it does not show; a table that shows all
//! of them has no age, however long its sources have been idle.

use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sql_files::TableName;

use crate::epoch::{Manifest, TableState};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::project::{MaxAge, OnViolation};
use crate::reader::Reader;
use crate::refresh::CheckOutcome;

/// The rule's name beside those that a file declares.
pub(crate) const FRESH: &str = "fresh";

/// Commits without messages that are passed over in search of one with some.
const LOOKED_AT: u64 = 1_000;

/// How old a table may be, and what comes of it when it is older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgeLimit {
    pub within_ms: u64,
    pub on_violation: OnViolation,
}

impl From<MaxAge> for AgeLimit {
    fn from(age: MaxAge) -> Self {
        Self {
            within_ms: u64::try_from(age.within.as_millis()).unwrap_or(u64::MAX),
            on_violation: age.on_violation,
        }
    }
}

impl AgeLimit {
    /// The rule as a check of it is told.
    pub(crate) fn definition(&self) -> String {
        format!("it shows all that bronze got {} ago", self.written())
    }

    /// As a file's author would write it, `60s`.
    pub fn written(&self) -> String {
        match self.within_ms % 1000 {
            0 => format!("{}s", self.within_ms / 1000),
            _ => format!("{}ms", self.within_ms),
        }
    }

    pub(crate) fn outcome(&self, behind: Duration) -> CheckOutcome {
        let within = i64::try_from(self.within_ms).unwrap_or(i64::MAX);
        match (behind.num_milliseconds() > within, self.on_violation) {
            (false, _) => CheckOutcome::Passed,
            (true, OnViolation::Fail) => CheckOutcome::Failed,
            (true, _) => CheckOutcome::Warned,
        }
    }
}

/// How far a table is behind bronze.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Age {
    /// When bronze got the oldest message that the table does not show.
    pub behind_since: Option<DateTime<Utc>>,
    /// What `@fresh` promises.
    pub limit: Option<AgeLimit>,
}

impl Age {
    /// Zero for a table that shows everything.
    pub fn behind(&self, now: DateTime<Utc>) -> Duration {
        let behind = self.behind_since.map(|since| now - since);
        behind.unwrap_or_default().max(Duration::zero())
    }

    /// What a check of the promise says; none without a promise.
    pub fn outcome(&self, now: DateTime<Utc>) -> Option<CheckOutcome> {
        Some(self.limit?.outcome(self.behind(now)))
    }

    pub fn is_late(&self, now: DateTime<Utc>) -> bool {
        self.outcome(now)
            .is_some_and(|outcome| outcome != CheckOutcome::Passed)
    }
}

impl Reader {
    /// How old the tables of an epoch are by what bronze holds at this moment. Tables of which no epoch told what they
    /// show are left out.
    pub async fn ages(&self, manifest: &Manifest) -> Result<BTreeMap<TableName, Age>> {
        let mut unseen = Unseen::new(self.lake());
        let mut ages = BTreeMap::new();
        for (name, state) in &manifest.tables {
            if state.shows.is_empty() {
                continue;
            }
            let age = Age {
                behind_since: unseen.oldest_of(state, None).await?,
                limit: state.limit,
            };
            ages.insert(name.clone(), age);
        }
        Ok(ages)
    }
}

/// Finds what tables do not show yet. Looks at each commit once.
pub(crate) struct Unseen<'a> {
    lake: &'a Lake,
    found: BTreeMap<(TableName, u64), Option<DateTime<Utc>>>,
}

impl<'a> Unseen<'a> {
    pub(crate) fn new(lake: &'a Lake) -> Self {
        Self {
            lake,
            found: BTreeMap::new(),
        }
    }

    /// When bronze got the first message that a table does not show, of those up to the versions of `until`.
    pub(crate) async fn oldest_of(
        &mut self,
        state: &TableState,
        until: Option<&BTreeMap<TableName, u64>>,
    ) -> Result<Option<DateTime<Utc>>> {
        match state.behind_since {
            Some(since) => Ok(Some(since)),
            None => self.oldest(&state.shows, until).await,
        }
    }

    /// When bronze got the first message behind these versions, and up to those of `until`.
    pub(crate) async fn oldest(
        &mut self,
        shows: &BTreeMap<TableName, u64>,
        until: Option<&BTreeMap<TableName, u64>>,
    ) -> Result<Option<DateTime<Utc>>> {
        let mut oldest = None;
        for (name, shown) in shows {
            let last = match until {
                Some(until) => until.get(name).copied().unwrap_or(*shown),
                None => shown.saturating_add(LOOKED_AT),
            };
            if last <= *shown {
                continue;
            }
            let key = (name.clone(), *shown);
            let first = match self.found.get(&key) {
                Some(first) => *first,
                None => first_messages(self.lake, name, *shown, last).await?,
            };
            self.found.insert(key, first);
            oldest = [oldest, first].into_iter().flatten().min();
        }
        Ok(oldest)
    }
}

/// When the first commit with messages was made, of those behind `shown`.
async fn first_messages(
    lake: &Lake,
    name: &TableName,
    shown: u64,
    last: u64,
) -> Result<Option<DateTime<Utc>>> {
    for version in shown + 1..=last.min(shown.saturating_add(LOOKED_AT)) {
        let path = format!("{}/_delta_log/{version:020}.json", Lake::table_path(name));
        let Some(commit) = lake.read(&path).await? else {
            return Ok(None);
        };
        let corrupt = |source| {
            Error::new(ErrorKind::Corrupt, format!("\"{path}\" cannot be read")).caused_by(source)
        };
        if let Some(time) = brought_at(&commit).map_err(corrupt)? {
            return Ok(Some(time));
        }
    }
    Ok(None)
}

/// When a commit was made; none for one that brought no messages, as upkeep's do.
fn brought_at(commit: &[u8]) -> serde_json::Result<Option<DateTime<Utc>>> {
    let (mut brings, mut written, mut ingested) = (false, None, None);
    for action in serde_json::Deserializer::from_slice(commit).into_iter::<Value>() {
        let action = action?;
        brings |= action["add"]["dataChange"] == Value::Bool(true);
        written = written.max(action["commitInfo"]["timestamp"].as_i64());
        ingested = ingested.max(action["txn"]["lastUpdated"].as_i64());
    }
    let time = ingested.or(written).filter(|_| brings);
    Ok(time.and_then(DateTime::from_timestamp_millis))
}

/// The versions of bronze tables that everything in a table made of `inputs` is shown up to.
pub(crate) fn shown_by<'a>(
    inputs: impl Iterator<Item = &'a TableName>,
    tables: &BTreeMap<TableName, TableState>,
) -> BTreeMap<TableName, u64> {
    let mut shows: BTreeMap<TableName, u64> = BTreeMap::new();
    let mut least = |name: &TableName, version: u64| {
        let known = shows.entry(name.clone()).or_insert(version);
        *known = version.min(*known);
    };
    for input in inputs {
        if input.is_bronze() {
            if let Some(state) = tables.get(input) {
                least(input, state.version);
            }
            continue;
        }
        let table = input.quarantine_of();
        let state = tables.get(table.as_ref().unwrap_or(input));
        for (name, version) in state.iter().flat_map(|state| &state.shows) {
            least(name, *version);
        }
    }
    shows
}
