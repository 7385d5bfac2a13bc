use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use sql_files::TableName;
use tracing::{debug, info, warn};

use super::Refresher;
use super::due::{Versions, attempt, inputs_of};
use super::quality::Checks;
use super::rules::{Check, CheckOutcome};
use crate::age::{Age, AgeLimit, FRESH, Unseen, shown_by};
use crate::epoch::{Freshness, Intent, Manifest, TableState};
use crate::error::Result;
use crate::freshness::ways;
use crate::metrics;
use crate::project::CheckedProject;

impl Refresher {
    /// Writes into the next epoch what each of its tables shows of bronze, and into the checks how late that comes.
    pub(super) async fn note_ages(
        &self,
        next: &mut Manifest,
        intent: &Intent,
        project: &CheckedProject,
        checks: &mut Checks,
    ) -> Result<()> {
        let versions: Versions = next
            .tables
            .iter()
            .map(|(name, state)| (name.clone(), state.version))
            .collect();
        let mut unseen = Unseen::new(&self.lake);
        for name in &project.order {
            let (Some(file), Some(table)) = (project.project.file(name), project.tables.get(name))
            else {
                continue;
            };
            let Some(state) = next.tables.get(name) else {
                continue;
            };
            let inputs = inputs_of(table.inputs.iter(), &versions);
            let is_newest =
                state.state == Freshness::Fresh && state.attempt == attempt(file, &inputs);
            let shows = match is_newest {
                true => shown_by(table.inputs.iter(), &next.tables),
                false => state.shows.clone(),
            };
            let limit = file.directives.fresh.map(AgeLimit::from);
            if let Some(limit) = limit
                && let Some(last) = self.last_state(name)
                && is_behind(&last.shows, &intent.inputs)
            {
                let age = Age {
                    behind_since: unseen.oldest_of(last, Some(&intent.inputs)).await?,
                    limit: Some(limit),
                };
                let check = check(&limit, &age, intent.now);
                checks.entry(name.clone()).or_default().push(check);
            }
            let last = self.last_state(name).filter(|last| last.shows == shows);
            let noted = last.and_then(|last| last.behind_since);
            let behind_since = match noted {
                None if is_behind(&shows, &intent.inputs) => {
                    unseen.oldest(&shows, Some(&intent.inputs)).await?
                }
                noted => noted,
            };
            if let Some(state) = next.tables.get_mut(name) {
                state.shows = shows;
                state.behind_since = behind_since;
                state.limit = limit;
            }
        }
        Ok(())
    }

    fn last_state(&self, name: &TableName) -> Option<&TableState> {
        self.newest.as_ref()?.tables.get(name)
    }

    /// Tells the meters how long the changes of a published epoch were on their way.
    pub(super) async fn tell_freshness(&self, before: &Manifest, epoch: &Manifest) {
        match ways(&self.lake, before, epoch, (self.clock)()).await {
            Ok(ways) => {
                for (name, way) in &ways {
                    metrics::observe_freshness(name, way);
                }
            }
            Err(unknown) => debug!(error = %unknown, "it is not known how fresh the epoch is"),
        }
    }

    /// Tells the meters how old the tables are, and the log which become late and which no longer are.
    pub(super) async fn watch_ages(&mut self) -> Result<()> {
        let Some(newest) = self.newest.clone() else {
            return Ok(());
        };
        let now = (self.clock)();
        let bronze = self.bronze.known();
        let mut unseen = Unseen::new(&self.lake);
        let mut late = BTreeSet::new();
        for (name, state) in &newest.tables {
            if state.shows.is_empty() {
                continue;
            }
            let age = Age {
                behind_since: unseen.oldest_of(state, Some(&bronze)).await?,
                limit: state.limit,
            };
            let is_late = age.is_late(now);
            metrics::observe_age(name, &age, now);
            let seconds = age.behind(now).num_seconds();
            match (is_late, self.late.contains(name)) {
                (true, false) => {
                    let within = age.limit.map(|limit| limit.written());
                    let reason = state.reason.as_deref();
                    warn!(table = %name, seconds, within, reason, "is behind bronze for longer than @fresh allows");
                }
                (false, true) => info!(table = %name, "is as fresh as @fresh asks for again"),
                _ => {}
            }
            if is_late {
                late.insert(name.clone());
            }
        }
        self.late = late;
        Ok(())
    }
}

fn is_behind(shows: &Versions, bronze: &Versions) -> bool {
    shows
        .iter()
        .any(|(name, shown)| bronze.get(name).is_some_and(|version| version > shown))
}

/// How old a table was when the epoch began that brings it up to date, or does not.
fn check(limit: &AgeLimit, age: &Age, now: DateTime<Utc>) -> Check {
    let outcome = limit.outcome(age.behind(now));
    Check {
        rule: FRESH.to_owned(),
        definition: limit.definition(),
        action: limit.on_violation.to_string(),
        violations: Some(u64::from(outcome != CheckOutcome::Passed)),
        rows: None,
        outcome,
    }
}
