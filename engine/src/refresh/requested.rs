//! What the refresh role does because a command asked for it.

use std::time::Instant;

use serde_json::json;
use sql_files::TableName;
use tracing::{error, info};

use super::in_force::Edit;
use super::selection::Selection;
use super::{Refresher, Turn};
use crate::epoch::{Freshness, Manifest};
use crate::error::{Error, ErrorKind, Result};
use crate::requests::{Outcome, Request};

/// Requests done between two turns.
const AT_ONCE: usize = 8;

/// Tables that a command named, to be found in the project when the turn begins.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) tables: Vec<String>,
    pub(super) full: bool,
}

impl Refresher {
    /// Does a request, by the functions that the role's own loop uses.
    pub async fn fulfil(&mut self, request: &Request) -> Result<Outcome> {
        match request {
            Request::Refresh { tables, full } => {
                let wanted = Wanted {
                    tables: tables.clone(),
                    full: *full,
                };
                self.refresh(wanted).await
            }
            Request::ReplayDeadLetters { .. } => Err(Error::new(
                ErrorKind::Unsupported,
                "the refresh role does not write bronze",
            )),
            Request::Apply => {
                let before = self.newest.clone();
                let turn = self.apply().await?;
                Ok(changed(before.as_deref(), &turn))
            }
            Request::Rollback { epoch } => {
                let before = self.newest.clone();
                let turn = self.rollback_to(*epoch).await?;
                Ok(changed(before.as_deref(), &turn))
            }
            Request::Maintain { dry_run, .. } => {
                let chores = self.maintain(*dry_run).await?;
                Ok(Outcome::of_upkeep(&chores, *dry_run))
            }
        }
    }

    /// Does what waits in the lake for this role. A request that fails is answered and ends nothing.
    pub(crate) async fn serve_requests(&mut self) -> Result<()> {
        for _ in 0..AT_ONCE {
            let now = (self.clock)();
            let Some(pending) = self.requests.next(now).await? else {
                break;
            };
            info!(request = ?pending.request, "a request is taken");
            let result = Box::pin(self.fulfil(&pending.request)).await;
            if let Err(failed) = &result
                && is_no_mistake(failed.kind())
            {
                error!(error = %failed.with_causes(), "a request failed");
                // Part of it may have landed: writers open at what is there.
                self.tables.clear();
            }
            self.requests.answer(&pending, &result).await?;
        }
        Ok(())
    }

    /// One turn about the wanted tables alone. An interrupted epoch is finished first.
    async fn refresh(&mut self, wanted: Wanted) -> Result<Outcome> {
        if self.unfinished.is_some() {
            self.turn().await?;
        }
        let turn = self.turn_about(wanted).await;
        let selection = self.selection.take();
        let Some(selection) = selection else {
            turn?;
            return Ok(Outcome {
                epoch: self.newest.as_ref().map(|newest| newest.epoch),
                summary: "nothing is built: the SQL project cannot be taken yet".to_owned(),
                details: json!({ "published": false }),
            });
        };
        let published = matches!(turn?, Turn::Published(_));
        Ok(outcome(&selection, self.newest.as_deref(), published))
    }
    /// An edit is in force in whole, whatever is asked for; one that is saved meanwhile comes first too, and what is
    /// asked for is done with it.
    async fn turn_about(&mut self, wanted: Wanted) -> Result<Turn> {
        let is_about_some = self.newest.is_some() && !wanted.tables.is_empty();
        let mut overtaken: Option<Error> = None;
        loop {
            if is_about_some || overtaken.is_some() {
                let given_up = overtaken.take();
                let edit = self.settled_edit().await?;
                let advanced = match (edit, given_up) {
                    (Some(edit), _) => self.advance(Some(edit), Instant::now()).await,
                    (None, Some(error)) => return Err(error),
                    (None, None) => Ok(Turn::Quiet),
                };
                match advanced {
                    Err(error) if self.is_overtaken(&error) => {
                        overtaken = Some(error);
                        continue;
                    }
                    advanced => advanced?,
                };
            }
            self.wanted = Some(wanted.clone());
            let turn = self.turn().await;
            self.wanted = None;
            match turn {
                Err(error) if self.is_overtaken(&error) => {
                    self.selection = None;
                    overtaken = Some(error);
                }
                turn => return turn,
            }
        }
    }

    fn is_overtaken(&self, error: &Error) -> bool {
        error.kind() == ErrorKind::Cancelled && !self.stop.is_cancelled()
    }

    /// The edit on disk, once it is whole.
    async fn settled_edit(&mut self) -> Result<Option<Edit>> {
        loop {
            let edit = self.take_edit().await?;
            match self.project.settles_in() {
                Some(pause) if edit.is_none() => tokio::time::sleep(pause).await,
                _ => return Ok(edit),
            }
        }
    }
}

fn is_no_mistake(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Unavailable | ErrorKind::Conflict | ErrorKind::Internal | ErrorKind::Corrupt
    )
}

fn outcome(selection: &Selection, newest: Option<&Manifest>, published: bool) -> Outcome {
    let Some(newest) = newest else {
        return Outcome {
            summary: "nothing to build yet".to_owned(),
            details: json!({ "published": false }),
            epoch: None,
        };
    };
    let rebuilt: Vec<String> = selection
        .tables
        .iter()
        .filter(|name| published && is_new(newest, name))
        .map(TableName::to_string)
        .collect();
    let held: Vec<(String, String)> = selection
        .tables
        .iter()
        .filter_map(|name| Some((name.to_string(), reason(newest, name)?)))
        .collect();
    let mut summary = match (published, rebuilt.is_empty()) {
        (false, _) => format!("nothing changed: epoch {} stays the newest", newest.epoch),
        (true, true) => format!("epoch {} published, no table changed", newest.epoch),
        (true, false) => format!("epoch {} published: {}", newest.epoch, rebuilt.join(", ")),
    };
    for (name, reason) in &held {
        summary.push_str(&format!("\n{name} is held: {reason}"));
    }
    Outcome {
        epoch: Some(newest.epoch),
        summary,
        details: json!({
            "published": published,
            "changed": rebuilt,
            "held": held.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        }),
    }
}

/// What an edit of the whole project came to.
fn changed(before: Option<&Manifest>, turn: &Turn) -> Outcome {
    let Turn::Published(newest) = turn else {
        return Outcome {
            epoch: before.map(|before| before.epoch),
            summary: "nothing to do: the project is in force already".to_owned(),
            details: json!({ "published": false }),
        };
    };
    let names = newest.tables.keys().filter(|name| !name.is_bronze());
    let made: Vec<String> = names
        .filter(|name| is_new(newest, name))
        .map(TableName::to_string)
        .collect();
    let retired: Vec<String> = before
        .iter()
        .flat_map(|before| before.tables.keys())
        .filter(|name| !newest.tables.contains_key(*name))
        .map(TableName::to_string)
        .collect();
    let mut summary = match made.is_empty() {
        true => format!("epoch {} published, no table changed", newest.epoch),
        false => format!("epoch {} published: {}", newest.epoch, made.join(", ")),
    };
    for name in &retired {
        summary.push_str(&format!("\n{name} is retired"));
    }
    let names = newest.tables.keys().chain(newest.unbuilt.keys());
    let held: Vec<(String, String)> = names
        .filter_map(|name| Some((name.to_string(), reason(newest, name)?)))
        .collect();
    for (name, reason) in &held {
        summary.push_str(&format!("\n{name} is held: {reason}"));
    }
    Outcome {
        epoch: Some(newest.epoch),
        summary,
        details: json!({
            "published": true,
            "changed": made,
            "retired": retired,
            "held": held.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
        }),
    }
}

fn is_new(newest: &Manifest, name: &TableName) -> bool {
    let state = newest.tables.get(name);
    state.is_some_and(|state| state.since == newest.epoch)
}

fn reason(newest: &Manifest, name: &TableName) -> Option<String> {
    if let Some(unbuilt) = newest.unbuilt.get(name) {
        return Some(unbuilt.reason.clone());
    }
    let state = newest.tables.get(name)?;
    (state.state == Freshness::Held).then(|| state.reason.clone().unwrap_or_default())
}
