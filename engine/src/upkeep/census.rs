use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Needs;
use crate::delta::Table;
use crate::error::Result;
use crate::lake::Lake;

/// The files that versions of one table name. A version never changes, so each is looked up once.
#[derive(Debug, Default)]
pub(crate) struct Census {
    at: BTreeMap<u64, HashSet<String>>,
    added: BTreeMap<u64, Vec<String>>,
}

impl Census {
    /// Looks up what is not known yet, and forgets what is not needed any more.
    pub(super) async fn take(
        &mut self,
        lake: &Lake,
        path: &str,
        newest: &Table,
        needs: &Needs,
    ) -> Result<()> {
        let from = needs.from.min(newest.version());
        self.added.retain(|version, _| *version > from);
        // A rollback may name a version so old that the commits after it are gone: it stands alone then.
        let mut start = newest.version();
        while start > from {
            if let Entry::Vacant(unknown) = self.added.entry(start) {
                let Some(paths) = newest.paths_added(start).await? else {
                    start += 1;
                    break;
                };
                unknown.insert(paths);
            }
            start -= 1;
        }
        let alone: BTreeSet<u64> = needs.apart.iter().copied().chain([from, start]).collect();
        self.at.retain(|version, _| alone.contains(version));
        for version in alone {
            if self.at.contains_key(&version) || version > newest.version() {
                continue;
            }
            let table = super::readable(lake, path, version).await?;
            let files = table.files()?.into_iter().map(|file| file.path);
            self.at.insert(version, files.collect());
        }
        Ok(())
    }

    pub(super) fn names(&self, path: &str) -> bool {
        self.at.values().any(|files| files.contains(path))
            || self.added.values().flatten().any(|file| file == path)
    }
}
