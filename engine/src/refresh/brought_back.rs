//! Bronze that is not what tables were made of: it was brought back from a copy.

use std::collections::BTreeSet;

use tracing::warn;

use crate::delta::Table;
use crate::epoch::{Manifest, TableState};
use crate::error::Result;
use crate::lake::Lake;

/// An epoch as a refresher goes on from it, and whether bronze went back behind it: then its tables count as made of
/// nothing, so that they are made anew.
pub(super) async fn taken_up(lake: &Lake, mut newest: Manifest) -> Result<(Manifest, bool)> {
    let mut others = BTreeSet::new();
    for (name, state) in newest.tables.iter().filter(|(name, _)| name.is_bronze()) {
        if went_back(lake, state).await? {
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
    Ok((newest, !others.is_empty()))
}

/// Whether the log has another commit in the place of the version that an epoch shows, or none yet.
async fn went_back(lake: &Lake, shown: &TableState) -> Result<bool> {
    // A folder that is away is no older copy.
    let Some(table) = Table::open(lake, &shown.path, None).await? else {
        return Ok(false);
    };
    if table.version() < shown.version {
        return Ok(true);
    }
    let found = table.fingerprint(shown.version).await?;
    Ok(match (&found, &shown.commit) {
        (Some(found), Some(known)) => found != known,
        // Upkeep takes old commits out of the log.
        _ => false,
    })
}
