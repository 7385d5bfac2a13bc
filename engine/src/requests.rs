//! Requests: what a command asks of the role that holds the lease, as files in the lake.
//!
//! A command puts `_requests/<role>/<id>.json` where there is none. The role marks it as taken, does the work in its
//! own loop and puts the answer beside it; the command reads the answer and removes all three. A role that dies in
//! between leaves the request, and the next holder of the lease does it again: **a request must be one that can be
//! done twice**. What nobody waits for any more expires, and whatever else lies in the directory is left alone.

mod ask;

use std::collections::BTreeSet;

use chrono::{DateTime, Duration, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;

pub use self::ask::{Asked, Waiting, ask};
use sql_files::TableName;

use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::lease::Role;
use crate::upkeep::Chore;

const DIRECTORY: &str = "_requests";
const REQUEST: &str = ".json";
const TAKEN: &str = ".taken";
const ANSWER: &str = ".answer.json";

/// Largest file read as a request or as an answer, bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Requests of a role that may wait at the same time.
const MAX_WAITING: usize = 64;

/// Names looked at in one look; what lies beyond waits for the next.
const MAX_NAMES: usize = 1024;

/// Answers that nobody fetched are removed after this time, and so are requests of a clock that is far ahead.
const FORGOTTEN: Duration = Duration::hours(1);

/// What a command asks of a role. Doing it twice gives what doing it once gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Request {
    /// Brings tables up to date now, whatever pause their triggers ask for; no table named means all of them.
    Refresh {
        /// Names with `+` before (and what they read) or behind (and what reads them).
        #[serde(default)]
        tables: Vec<String>,
        /// Computes them from the start.
        #[serde(default)]
        full: bool,
    },
    /// Takes the dead letters of bronze tables in again; no table named means all of them.
    ReplayDeadLetters {
        #[serde(default)]
        tables: Vec<TableName>,
    },
    /// Puts the SQL project on disk in force in whole.
    Apply,
    /// Brings back the project, and the data, of an epoch before the last change of the project.
    Rollback { epoch: u64 },
    /// Does at once what upkeep does bit by bit, for the tables that a role writes.
    Maintain {
        role: Role,
        /// Only tells what would be done.
        #[serde(default)]
        dry_run: bool,
    },
}

impl Request {
    /// The role that does it.
    pub fn role(&self) -> Role {
        match self {
            Self::ReplayDeadLetters { .. } => Role::Ingest,
            Self::Refresh { .. } | Self::Apply | Self::Rollback { .. } => Role::Refresh,
            Self::Maintain { role, .. } => *role,
        }
    }
}

/// What a request came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The newest epoch when it was done; none where no epoch is concerned.
    #[serde(default)]
    pub epoch: Option<u64>,
    /// One line for a person.
    pub summary: String,
    /// The same as data, in a form that the request's kind decides.
    #[serde(default)]
    pub details: Value,
}

impl Outcome {
    /// What upkeep did, or would do.
    pub fn of_upkeep(chores: &[Chore], dry_run: bool) -> Self {
        let files: u64 = chores.iter().map(|chore| chore.files).sum();
        let bytes: u64 = chores.iter().map(|chore| chore.bytes).sum();
        let would = if dry_run { "would be " } else { "" };
        Self {
            epoch: None,
            summary: format!("{files} files of {bytes} bytes {would}tidied up"),
            details: serde_json::to_value(chores).unwrap_or_default(),
        }
    }
}

/// A request's file.
#[derive(Debug, Serialize, Deserialize)]
struct Asking {
    id: String,
    asked_at: DateTime<Utc>,
    /// Nobody waits for it after this.
    expires_at: DateTime<Utc>,
    request: Value,
}

/// An answer's file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(Outcome),
    Failed {
        kind: ErrorKind,
        message: String,
        #[serde(default)]
        hint: Option<String>,
    },
}

impl Answer {
    fn of(result: &Result<Outcome>) -> Self {
        match result {
            Ok(outcome) => Self::Done(outcome.clone()),
            Err(error) => Self::Failed {
                kind: error.kind(),
                message: error.with_causes(),
                hint: error.hint_text().map(str::to_owned),
            },
        }
    }

    fn into_result(self) -> Result<Outcome> {
        match self {
            Self::Done(outcome) => Ok(outcome),
            Self::Failed {
                kind,
                message,
                hint,
            } => {
                let error = Error::new(kind, message);
                Err(match hint {
                    Some(hint) => error.hint(hint),
                    None => error,
                })
            }
        }
    }
}

/// A request that a role took.
#[derive(Debug, Clone)]
pub struct Pending {
    id: String,
    pub request: Request,
}

/// The requests to one role, as its holder sees them.
#[derive(Debug)]
pub struct Requests {
    lake: Lake,
    role: Role,
    warned: BTreeSet<String>,
}

impl Requests {
    pub fn new(lake: &Lake, role: Role) -> Self {
        Self {
            lake: lake.clone(),
            role,
            warned: BTreeSet::new(),
        }
    }

    /// The request that waits for longest, marked as taken. Removes what nobody waits for.
    pub async fn next(&mut self, now: DateTime<Utc>) -> Result<Option<Pending>> {
        let files = self.lake.list(&directory(self.role), MAX_NAMES).await?;
        let mut waiting = BTreeSet::new();
        let mut answered = BTreeSet::new();
        for file in files {
            let is_forgotten = file
                .modified
                .is_some_and(|modified| now.signed_duration_since(modified) > FORGOTTEN);
            match Name::parse(&file.name) {
                Some(Name::Request(id)) if file.bytes <= MAX_BYTES => {
                    waiting.insert(id.to_owned());
                }
                Some(Name::Answer(id)) if is_forgotten => {
                    self.remove(&format!("{id}{REQUEST}")).await?;
                    waiting.remove(id);
                    self.remove(&file.name).await?;
                }
                Some(Name::Taken) if is_forgotten => self.remove(&file.name).await?,
                Some(Name::Answer(id)) => {
                    answered.insert(id.to_owned());
                }
                Some(Name::Taken) => {}
                _ => self.warn_of(&file.name, "is no request"),
            }
        }
        for id in waiting.difference(&answered) {
            if let Some(pending) = self.take(id, now).await? {
                return Ok(Some(pending));
            }
        }
        Ok(None)
    }

    /// What waits and nobody took yet, as it is now.
    pub(crate) async fn waiting(&self, now: DateTime<Utc>) -> Result<Vec<Request>> {
        let files = self.lake.list(&directory(self.role), MAX_NAMES).await?;
        let names: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let mut waiting = Vec::new();
        for file in files.iter().filter(|file| file.bytes <= MAX_BYTES) {
            let Some(Name::Request(id)) = Name::parse(&file.name) else {
                continue;
            };
            let is_seen = [TAKEN, ANSWER].map(|ending| format!("{id}{ending}"));
            if is_seen.iter().any(|name| names.contains(name.as_str())) {
                continue;
            }
            let Some(bytes) = self.lake.read(&path(self.role, &file.name)).await? else {
                continue;
            };
            if let Ok(asking) = serde_json::from_slice::<Asking>(&bytes)
                && asking.expires_at >= now
                && let Ok(request) = serde_json::from_value(asking.request)
            {
                waiting.push(request);
            }
        }
        Ok(waiting)
    }

    /// Tells whoever asked what came of it. An answer that is there already stays.
    pub async fn answer(&self, pending: &Pending, result: &Result<Outcome>) -> Result<()> {
        self.put_answer(&pending.id, result).await
    }

    async fn take(&mut self, id: &str, now: DateTime<Utc>) -> Result<Option<Pending>> {
        let name = format!("{id}{REQUEST}");
        let Some(bytes) = self.lake.read(&path(self.role, &name)).await? else {
            return Ok(None);
        };
        let asking = match serde_json::from_slice::<Asking>(&bytes) {
            Ok(asking) if asking.id == id => asking,
            _ => {
                self.warn_of(&name, "is no request");
                return Ok(None);
            }
        };
        if asking.expires_at < now || asking.asked_at > now + FORGOTTEN {
            self.remove(&name).await?;
            self.remove(&format!("{id}{TAKEN}")).await?;
            return Ok(None);
        }
        match serde_json::from_value::<Request>(asking.request) {
            Ok(request) if request.role() == self.role => {
                let taken = path(self.role, &format!("{id}{TAKEN}"));
                self.lake.create(&taken, Vec::new()).await?;
                let id = id.to_owned();
                Ok(Some(Pending { id, request }))
            }
            _ => {
                let unknown = Error::new(
                    ErrorKind::Unsupported,
                    format!(
                        "the running {} role does not know this request",
                        self.role.as_str()
                    ),
                )
                .hint("It runs another version of sportlake; restart it with this one.");
                self.put_answer(id, &Err(unknown)).await?;
                Ok(None)
            }
        }
    }

    async fn put_answer(&self, id: &str, result: &Result<Outcome>) -> Result<()> {
        let json = json(&Answer::of(result))?;
        let path = path(self.role, &format!("{id}{ANSWER}"));
        self.lake.create(&path, json).await?;
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<()> {
        self.lake.remove(&path(self.role, name)).await
    }

    fn warn_of(&mut self, name: &str, what: &str) {
        if self.warned.len() < MAX_WAITING && self.warned.insert(name.to_owned()) {
            warn!(
                file = %path(self.role, name),
                "a file among the requests {what} and is ignored"
            );
        }
    }
}

/// What a file is by its name.
enum Name<'a> {
    Request(&'a str),
    Taken,
    Answer(&'a str),
}

impl<'a> Name<'a> {
    fn parse(name: &'a str) -> Option<Self> {
        if let Some(id) = id(name, ANSWER) {
            return Some(Self::Answer(id));
        }
        if id(name, TAKEN).is_some() {
            return Some(Self::Taken);
        }
        id(name, REQUEST).map(Self::Request)
    }
}

/// The request that a file with this ending is about.
fn id<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    let id = name.strip_suffix(ending)?;
    let legal = id.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    (legal && !id.is_empty() && id.len() <= 64).then_some(id)
}

fn directory(role: Role) -> String {
    format!("{DIRECTORY}/{}", role.as_str())
}

fn path(role: Role, name: &str) -> String {
    format!("{}/{name}", directory(role))
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec_pretty(value).map_err(|source| {
        Error::new(ErrorKind::Internal, "could not write a request").caused_by(source)
    })
}

#[cfg(test)]
mod tests;
