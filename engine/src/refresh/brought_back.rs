//! Bronze that is not what tables were made of: it was brought back from a copy.

use std::collections::{BTreeMap, BTreeSet};

use sql_files::TableName;
use tracing::warn;

use crate::delta::{commit_fingerprint, newest_commit};
use crate::epoch::{Intent, Manifest};
use crate::error::Result;
use crate::lake::Lake;

/// Fingerprints of the commits that made these versions; of those that the logs still hold.
pub(super) async fn fingerprints(
    lake: &Lake,
    versions: &BTreeMap<TableName, u64>,
) -> Result<BTreeMap<TableName, String>> {
    let mut commits = BTreeMap::new();
    for (name, version) in versions {
        let commit = commit_fingerprint(lake, &Lake::table_path(name), *version).await?;
        commits.extend(commit.map(|commit| (name.clone(), commit)));
    }
    Ok(commits)
}

/// An epoch as a refresher goes on from it. Where bronze went back behind it, its tables count as made of nothing, so
/// that they are made anew.
pub(super) async fn taken_up(lake: &Lake, mut newest: Manifest) -> Result<Manifest> {
    let mut others = BTreeSet::new();
    for (name, state) in newest.tables.iter().filter(|(name, _)| name.is_bronze()) {
        if went_back(lake, name, state.version, state.commit.as_ref()).await? {
            others.insert(name.clone());
        }
    }
    for name in &others {
        warn!(table = %name, "brought back from a copy: the tables are made anew");
        newest.tables.remove(name);
    }
    if !others.is_empty() {
        for state in newest.tables.values_mut() {
            state.inputs.clear();
            state.attempt.clear();
        }
    }
    Ok(newest)
}

/// Whether an epoch was begun on bronze that is gone.
pub(super) async fn is_of_other_bronze(lake: &Lake, intent: &Intent) -> Result<bool> {
    for (name, version) in &intent.inputs {
        if went_back(lake, name, *version, intent.commits.get(name)).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the log has another commit in the place of a version that was read, or none yet.
async fn went_back(
    lake: &Lake,
    name: &TableName,
    version: u64,
    known: Option<&String>,
) -> Result<bool> {
    let path = Lake::table_path(name);
    match commit_fingerprint(lake, &path, version).await? {
        Some(found) => Ok(known.is_some_and(|known| *known != found)),
        // Upkeep takes old commits out of the log, and a folder that is away is no older copy.
        None => {
            let newest = newest_commit(lake, &path).await?;
            Ok(newest.is_some_and(|newest| newest < version))
        }
    }
}
