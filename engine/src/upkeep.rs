//! Upkeep: what keeps a lake small, inside the one writer of each table.
//!
//! Epochs that nobody needs any more are thinned; then the log entries, and last the files, that only they named. What
//! is kept: every epoch for a while, the last of each hour for longer, what readers pin, what a rollback returns to, what
//! tables of these epochs were made from, and of bronze whatever the newest epoch has not taken in yet. Nothing here adds,
//! drops or changes a row.
//!
//! Promises: a file goes only when no version that is needed names it, a version only when what comes after can be read
//! without it. Each step may be the last before a crash: the next pass begins anew from what the lake holds. A clock
//! that leaps makes upkeep wait, not delete.

mod census;
mod ledger;
mod log;
mod vacuum;

use chrono::Duration;
use serde::{Deserialize, Serialize};

pub(crate) use self::census::Census;
pub(crate) use self::ledger::{Ledger, Needs};
pub(crate) use self::log::clean_log;
pub(crate) use self::vacuum::vacuum;
use crate::delta::Table;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;

/// Files that one step removes at most, so that a turn stays short; the next pass goes on.
pub(crate) const AT_ONCE: usize = 256;

/// An epoch stays for longer than a reader takes to pin it.
const SHORTEST_SECONDS: u64 = 60;

/// `[upkeep]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpkeepConfig {
    /// Whether the roles tidy up by themselves; `sportlake maintain` does it in any case.
    pub enabled: bool,
    /// Seconds between two passes over the tables.
    pub interval_seconds: u64,
    /// Seconds that an epoch stays readable after a later one replaced it, with its versions and files.
    pub keep_epochs_seconds: u64,
    /// Seconds that the last epoch of each hour stays readable, and that a held table can go on where it stopped.
    pub keep_hourly_seconds: u64,
}

impl Default for UpkeepConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            interval_seconds: 60,
            keep_epochs_seconds: 600,
            keep_hourly_seconds: 86_400,
        }
    }
}

impl UpkeepConfig {
    /// # Errors
    /// `InvalidRequest` for a value that readers could not live with.
    pub fn validate(&self) -> Result<()> {
        if self.keep_epochs_seconds < SHORTEST_SECONDS {
            return Err(Error::invalid(format!(
                "upkeep.keep_epochs_seconds is {}, the least is {SHORTEST_SECONDS}",
                self.keep_epochs_seconds
            ))
            .hint("A reader needs a few seconds to say which epoch it reads."));
        }
        if self.interval_seconds == 0 {
            return Err(Error::invalid("upkeep.interval_seconds is 0")
                .hint("Give the seconds between two passes, or set upkeep.enabled to false."));
        }
        Ok(())
    }

    /// How long a file that nothing names may be somebody's who is about to name it.
    pub(crate) fn grace(&self) -> Duration {
        seconds(self.keep_epochs_seconds)
    }
}

/// A duration of the configuration, however large.
pub(crate) fn seconds(count: u64) -> Duration {
    const LONGEST: i64 = 100 * 366 * 86_400;
    Duration::seconds(i64::try_from(count).unwrap_or(LONGEST).min(LONGEST))
}

/// A version that must be there. What cannot be read holds upkeep back: nobody knows then what it names.
async fn readable(lake: &Lake, path: &str, version: u64) -> Result<Table> {
    Table::open(lake, path, Some(version))
        .await?
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Corrupt,
                format!("version {version} of \"{path}\" is needed and cannot be read"),
            )
        })
}

/// What upkeep did, or would do, in one place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chore {
    pub task: Task,
    /// A table, or a directory of the lake.
    pub target: String,
    pub files: u64,
    pub bytes: u64,
}

impl Chore {
    /// Whether it was one step of several: asked again, there may be more to do.
    pub fn goes_on(&self) -> bool {
        self.task == Task::Compact || self.files >= AT_ONCE as u64
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Epochs that nobody needs are removed.
    ThinEpochs,
    /// Texts of projects that no epoch names are removed.
    ThinProjects,
    /// Small files become one.
    Compact,
    /// A table that no kept epoch names gives up its rows.
    Empty,
    /// Log entries that no kept version needs are removed.
    CleanLog,
    /// Data files that no kept version names are removed.
    Vacuum,
}

impl Task {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ThinEpochs => "thin_epochs",
            Self::ThinProjects => "thin_projects",
            Self::Compact => "compact",
            Self::Empty => "empty",
            Self::CleanLog => "clean_log",
            Self::Vacuum => "vacuum",
        }
    }
}
