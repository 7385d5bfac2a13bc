use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Duration, Utc};

use super::{AT_ONCE, Chore, Needs, Task, readable};
use crate::error::Result;
use crate::lake::{Lake, ListedFile};

const LAST_CHECKPOINT: &str = "_last_checkpoint";

/// Removes the log entries of the table in directory `path` that no needed version is read from. A needed version that
/// stands alone gets a checkpoint of its own first.
///
/// What goes, goes from the newest entry to the oldest: whatever is left after a crash, a version can be read in whole
/// or cannot be read, and never in part.
pub(crate) async fn clean_log(
    lake: &Lake,
    path: &str,
    needs: &Needs,
    now: DateTime<Utc>,
    grace: Duration,
    dry_run: bool,
) -> Result<Option<Chore>> {
    let directory = format!("{path}/_delta_log");
    let files = lake.list(&directory, usize::MAX).await?;
    let log = Entries::of(&files);
    let mut doomed = log.left_behind(now, grace);
    if let Some(base) = log.base(needs) {
        let unneeded = log.unneeded(base, needs);
        if !dry_run && !unneeded.is_empty() {
            checkpoint_each(lake, path, &log.without_checkpoint(base, needs)).await?;
            // As it will be read without what came before.
            readable(lake, path, base).await?.files()?;
        }
        doomed.extend(unneeded);
    }
    if doomed.is_empty() {
        return Ok(None);
    }
    if !dry_run {
        doomed.truncate(AT_ONCE);
        for file in &doomed {
            lake.remove_listed(&directory, &file.name).await?;
        }
    }
    Ok(Some(Chore {
        task: Task::CleanLog,
        target: path.replace('/', "."),
        files: doomed.len() as u64,
        bytes: doomed.iter().map(|file| file.bytes).sum(),
    }))
}

/// Whether the log of the table in directory `path` still has a version.
pub(super) fn is_there(lake: &Lake, path: &str, version: u64) -> bool {
    let entry = format!("{path}/_delta_log/{version:020}");
    lake.has_file(&format!("{entry}.json")) || lake.has_file(&format!("{entry}.checkpoint.parquet"))
}

/// What lies in a table's log.
struct Entries<'a> {
    by_version: BTreeMap<u64, Vec<&'a ListedFile>>,
    checkpoints: BTreeSet<u64>,
    /// Files that were being written.
    staged: Vec<&'a ListedFile>,
}

impl<'a> Entries<'a> {
    fn of(files: &'a [ListedFile]) -> Self {
        let mut entries = Self {
            by_version: BTreeMap::new(),
            checkpoints: BTreeSet::new(),
            staged: Vec::new(),
        };
        for file in files {
            if file.name.contains('#') {
                entries.staged.push(file);
            } else if let Some(version) = version_of(&file.name) {
                if file.name == format!("{version:020}.checkpoint.parquet") {
                    entries.checkpoints.insert(version);
                }
                entries.by_version.entry(version).or_default().push(file);
            }
        }
        entries
    }

    /// What processes that died while they wrote left.
    fn left_behind(&self, now: DateTime<Utc>, grace: Duration) -> Vec<&'a ListedFile> {
        let is_old = |file: &&ListedFile| {
            let age = file
                .modified
                .map(|modified| now.signed_duration_since(modified));
            age.is_some_and(|age| age > grace)
        };
        self.staged.iter().copied().filter(is_old).collect()
    }

    /// The checkpoint that everything needed in a row is read from.
    fn base(&self, needs: &Needs) -> Option<u64> {
        self.checkpoints.range(..=needs.from).next_back().copied()
    }

    fn without_checkpoint(&self, base: u64, needs: &Needs) -> Vec<u64> {
        let alone = needs.apart.range(..base).copied();
        alone
            .filter(|version| !self.checkpoints.contains(version))
            .collect()
    }

    /// What goes, in the order in which it goes: of a version first the checkpoint, then the commit it stands for.
    fn unneeded(&self, base: u64, needs: &Needs) -> Vec<&'a ListedFile> {
        let before = self.by_version.range(..base).rev();
        before
            .filter(|(version, _)| !needs.apart.contains(version))
            .flat_map(|(_, files)| {
                let mut files = files.clone();
                files.sort_by_key(|file| !file.name.contains(".checkpoint"));
                files
            })
            .collect()
    }
}

/// Makes versions readable without the commits before them.
async fn checkpoint_each(lake: &Lake, path: &str, versions: &[u64]) -> Result<()> {
    if versions.is_empty() {
        return Ok(());
    }
    let hint = format!("{path}/_delta_log/{LAST_CHECKPOINT}");
    let newest = lake.read(&hint).await?;
    for version in versions {
        readable(lake, path, *version).await?.checkpoint().await?;
    }
    // An old one is no error: readers look on from it.
    if let Some(newest) = newest {
        lake.replace(&hint, newest.to_vec()).await?;
    }
    Ok(())
}

fn version_of(name: &str) -> Option<u64> {
    let digits = name.get(..20)?;
    let is_entry = digits.bytes().all(|byte| byte.is_ascii_digit()) && name[20..].starts_with('.');
    is_entry.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests;
