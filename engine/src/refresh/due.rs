use std::collections::BTreeMap;

use chrono::{DateTime, Duration, Utc};
use sha2::{Digest, Sha256};
use sql_files::TableName;

use super::Refresher;
use crate::epoch::{Freshness, TableState};
use crate::project::{CheckedProject, SqlFile};

/// Behind an attempt whose error may pass.
pub(super) const MAY_PASS: &str = " may pass";

/// Versions of tables by name.
pub(super) type Versions = BTreeMap<TableName, u64>;

impl Refresher {
    /// Whether a turn could change anything.
    pub(super) fn is_due(
        &self,
        project: &CheckedProject,
        bronze: &Versions,
        now: DateTime<Utc>,
    ) -> bool {
        let Some(newest) = &self.newest else {
            return true;
        };
        if self.selection.is_some() {
            return true;
        }
        let bronze_moved = bronze.iter().any(|(name, version)| {
            newest
                .tables
                .get(name)
                .is_none_or(|state| state.version != *version)
        });
        if bronze_moved || newest.project != project.project.fingerprint() {
            return true;
        }
        let mut versions: Versions = newest
            .tables
            .iter()
            .map(|(name, state)| (name.clone(), state.version))
            .collect();
        versions.extend(bronze.clone());
        project.project.files.iter().any(|file| {
            let Some(table) = project.tables.get(&file.name) else {
                return false;
            };
            let inputs = inputs_of(table.inputs.iter(), &versions);
            let attempt = attempt(file, &inputs);
            match newest.tables.get(&file.name) {
                Some(state) => self.is_stale(file, state, &attempt, now, false),
                None => match newest.unbuilt.get(&file.name) {
                    // It waits for what it reads.
                    Some(unbuilt) if unbuilt.attempt.is_empty() => {
                        table.reads_clock && self.is_old_attempt(&file.name, now)
                    }
                    _ => self.is_untried(file, table.reads_clock, &attempt, now),
                },
            }
        })
    }

    /// Whether a table that was never built is to be tried: not so soon after it failed, and not the same again.
    pub(super) fn is_untried(
        &self,
        file: &SqlFile,
        reads_clock: bool,
        attempt: &str,
        now: DateTime<Utc>,
    ) -> bool {
        let newest = self.newest.as_ref();
        let Some(unbuilt) = newest.and_then(|newest| newest.unbuilt.get(&file.name)) else {
            return true;
        };
        if self.selection.is_some() {
            return true;
        }
        if unbuilt.attempt.strip_suffix(MAY_PASS) == Some(attempt) {
            return self.is_retried(file, now);
        }
        !self.is_resting(file, now)
            && (unbuilt.attempt != attempt || (reads_clock && self.is_old_attempt(&file.name, now)))
    }

    /// Whether the last attempt at a table is so long ago that the clock alone may have changed its outcome.
    fn is_old_attempt(&self, name: &TableName, now: DateTime<Utc>) -> bool {
        let tried = self.found_same.get(name);
        tried.is_none_or(|tried| now.signed_duration_since(tried) >= self.clock_pause())
    }

    fn clock_pause(&self) -> Duration {
        Duration::seconds(i64::try_from(self.config.clock_seconds).unwrap_or(60))
    }

    /// Whether a table is to be made anew: its query, its rules or its inputs changed, or time has passed for one that
    /// reads the clock. The pause that a trigger asks for does not keep an edit waiting.
    pub(super) fn is_stale(
        &self,
        file: &SqlFile,
        state: &TableState,
        attempt: &str,
        now: DateTime<Utc>,
        project_edited: bool,
    ) -> bool {
        if let Some(selection) = &self.selection {
            let is_held = state.state == Freshness::Held;
            return selection.full || is_held || state.attempt != attempt || state.reads_clock;
        }
        if state.state == Freshness::Held && self.is_resting(file, now) {
            return false;
        }
        if state.attempt.strip_suffix(MAY_PASS) == Some(attempt) {
            return self.is_retried(file, now);
        }
        if state.attempt == attempt {
            return state.reads_clock && self.is_past(&file.name, state, now);
        }
        let age = self.age(&file.name, state, now);
        let pause = file.directives.trigger.at_most_every;
        let resting = pause.is_some_and(|pause| {
            Duration::from_std(pause).is_ok_and(|pause| age >= Duration::zero() && age < pause)
        });
        project_edited || !resting
    }

    /// Whether so much time has passed that the clock alone may have changed the table.
    pub(super) fn is_past(&self, name: &TableName, state: &TableState, now: DateTime<Utc>) -> bool {
        self.age(name, state, now) >= self.clock_pause()
    }

    /// How long ago the table was computed last.
    fn age(&self, name: &TableName, state: &TableState, now: DateTime<Utc>) -> Duration {
        let computed = [state.computed_at, self.found_same.get(name).copied()];
        let last = computed.into_iter().flatten().max();
        now.signed_duration_since(last.unwrap_or(DateTime::<Utc>::MIN_UTC))
    }
}

pub(super) fn inputs_of<'a>(
    names: impl Iterator<Item = &'a TableName>,
    versions: &Versions,
) -> Versions {
    names
        .filter_map(|name| versions.get(name).map(|version| (name.clone(), *version)))
        .collect()
}

/// Names one way of making a table: query, rules and input versions.
pub(super) fn attempt(file: &SqlFile, inputs: &Versions) -> String {
    let mut hash = Sha256::new();
    hash.update(file.query_fingerprint());
    hash.update(file.policy_fingerprint());
    for (name, version) in inputs {
        hash.update(format!("{name}@{version}\n"));
    }
    hash.finalize()[..16]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
