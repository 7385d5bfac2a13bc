//! Tables that stay at their last good version, and why.

use sql_files::TableName;
use tracing::warn;

use crate::epoch::{Broken, Freshness, Manifest, TableState, Unbuilt};
use crate::project::SqlFile;

/// Begins the reason of a table that is held because of one it reads.
const UPSTREAM: &str = "it reads";

/// Keeps a table and what it keeps aside at their last good version, and says why.
pub(super) fn hold(
    next: &mut Manifest,
    file: &SqlFile,
    attempt: &str,
    reason: String,
    broken: Vec<Broken>,
) {
    warn!(table = %file.name, reason = %reason, "held at its last good version");
    if let Some(aside) = next.tables.get_mut(&file.name.quarantine()) {
        aside.state = Freshness::Held;
        aside.reason = Some(format!("it belongs to {}, which is held", file.name));
    }
    match next.tables.get_mut(&file.name) {
        Some(state) => {
            state.state = Freshness::Held;
            state.reason = Some(reason);
            state.broken = broken;
            attempt.clone_into(&mut state.attempt);
        }
        None => {
            let unbuilt = Unbuilt {
                reason,
                attempt: attempt.to_owned(),
                broken,
            };
            next.unbuilt.insert(file.name.clone(), unbuilt);
        }
    }
}

/// Holds a table at its last good version while one that it reads is held; whether it does. What was last tried stays,
/// so that the cure of the other makes this one stale.
pub(super) fn hold_below<'a>(
    next: &mut Manifest,
    file: &SqlFile,
    inputs: impl IntoIterator<Item = &'a TableName>,
) -> bool {
    let held = inputs.into_iter().find(|input| {
        next.unbuilt.contains_key(*input)
            || next
                .tables
                .get(*input)
                .is_some_and(|state| state.state == Freshness::Held)
    });
    let reason = held.map(|held| format!("{UPSTREAM} {held}, which is held"));
    match (reason, next.tables.get_mut(&file.name)) {
        // What it is held for itself outlasts the other's cure.
        (Some(_), Some(state)) if state.state == Freshness::Held && !is_held_from_above(state) => {
            true
        }
        (Some(reason), Some(state)) => {
            state.state = Freshness::Held;
            state.reason = Some(reason);
            true
        }
        (Some(reason), None) => {
            let unbuilt = Unbuilt {
                reason,
                attempt: String::new(),
                broken: Vec::new(),
            };
            next.unbuilt.insert(file.name.clone(), unbuilt);
            true
        }
        (None, Some(state)) if is_held_from_above(state) => {
            state.state = Freshness::Fresh;
            state.reason = None;
            false
        }
        (None, _) => false,
    }
}

fn is_held_from_above(state: &TableState) -> bool {
    let reason = state.reason.as_deref().unwrap_or_default();
    state.state == Freshness::Held && reason.starts_with(UPSTREAM)
}
