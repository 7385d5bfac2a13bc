//! What ends a build before it is done: the role is told to stop, or somebody asks for something newer.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::Refresher;
use super::in_force::{gone, with_gone};
use super::rebuilds::rebuilds;
use crate::clock::Clock;
use crate::epoch::{Intent, Manifest};
use crate::error::{Error, ErrorKind, Result};
use crate::lease::Role;
use crate::project::{CheckedProject, Project, SourcesLock, check_project};
use crate::requests::{Request, Requests};
use crate::session::Sessions;
use crate::snapshots::Snapshots;

/// Why an epoch that was declared is not built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GivenUp {
    Stopped,
    Edited,
    Asked,
}

impl GivenUp {
    pub(super) fn error(self) -> Error {
        let why = match self {
            Self::Stopped => "the refresh role is told to stop",
            Self::Edited => "the SQL project was edited since",
            Self::Asked => "an `apply` or a rollback was asked for since",
        };
        Error::new(
            ErrorKind::Cancelled,
            format!("the epoch that was being built is given up: {why}"),
        )
    }
}

/// Looks out, while an epoch is built, for what makes it pointless.
pub(super) struct Watch {
    stop: CancellationToken,
    pause: Duration,
    newer: Option<Newer>,
}

impl Refresher {
    pub(super) fn watch(&self, intent: &Intent) -> Watch {
        let newer = Newer {
            requests: Requests::new(&self.lake, Role::Refresh),
            sessions: self.sessions.clone(),
            snapshots: self.snapshots.clone(),
            clock: self.clock.clone(),
            folder: self.project.folder().clone(),
            published: self.project.published(),
            newest: self.newest.clone(),
            most_bytes: self.config.apply_above_bytes,
            intent: intent.clone(),
            weighed: None,
        };
        Watch {
            stop: self.stop.clone(),
            pause: self.pause(),
            newer: (!self.is_rehearsal).then_some(newer),
        }
    }
}

impl Watch {
    /// Ends nothing.
    #[cfg(test)]
    pub(super) fn of_nobody() -> Self {
        Self {
            stop: CancellationToken::new(),
            pause: Duration::from_secs(1),
            newer: None,
        }
    }

    /// Comes back when the build is to be given up, and never otherwise.
    pub(super) async fn ended(&mut self) -> GivenUp {
        loop {
            tokio::select! {
                () = self.stop.cancelled() => return GivenUp::Stopped,
                () = tokio::time::sleep(self.pause) => {}
            }
            match self.look().await {
                Ok(Some(why)) => return why,
                Ok(None) => {}
                Err(error) => {
                    debug!(error = %error, "it is not known whether there is a newer edit")
                }
            }
        }
    }

    /// One look.
    pub(super) async fn look(&mut self) -> Result<Option<GivenUp>> {
        let Some(newer) = &mut self.newer else {
            return Ok(None);
        };
        if newer.is_asked().await? {
            return Ok(Some(GivenUp::Asked));
        }
        let is_edited = Box::pin(newer.is_edited()).await?;
        Ok(is_edited.then_some(GivenUp::Edited))
    }
}

/// Knows what was declared, and what would take its place.
struct Newer {
    requests: Requests,
    sessions: Sessions,
    snapshots: Snapshots,
    clock: Clock,
    folder: PathBuf,
    /// The project of the newest epoch.
    published: Option<Arc<CheckedProject>>,
    newest: Option<Arc<Manifest>>,
    most_bytes: u64,
    intent: Intent,
    /// Texts on disk that were weighed and are not taken.
    weighed: Option<String>,
}

impl Newer {
    async fn is_asked(&self) -> Result<bool> {
        for request in self.requests.waiting((self.clock)()).await? {
            let is_newer = match request {
                Request::Rollback { epoch } => self.intent.restores != Some(epoch),
                Request::Apply => Box::pin(self.is_applicable()).await?,
                _ => false,
            };
            if is_newer {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the project on disk is sound and another one than is built.
    async fn is_applicable(&self) -> Result<bool> {
        let Ok((read, lock)) = self.on_disk() else {
            return Ok(false);
        };
        Ok(read.fingerprint() != self.intent.project
            && check_project(read, &lock, &self.sessions).await?.is_sound())
    }

    /// Whether what is on disk would be taken, and is another project than is built.
    async fn is_edited(&mut self) -> Result<bool> {
        let Ok((read, lock)) = self.on_disk() else {
            return Ok(false);
        };
        let fingerprint = read.fingerprint();
        let is_known = fingerprint == self.intent.project
            || self.intent.refused.as_ref() == Some(&fingerprint)
            || self.weighed.as_ref() == Some(&fingerprint);
        if is_known {
            return Ok(false);
        }
        let is_taken = self.is_taken(read, &lock).await?;
        if !is_taken {
            self.weighed = Some(fingerprint);
        }
        Ok(is_taken)
    }

    async fn is_taken(&self, read: Project, lock: &SourcesLock) -> Result<bool> {
        let published = self.published.as_deref();
        let texts = read.texts().clone();
        let mut checked = check_project(read, lock, &self.sessions).await?;
        let gone = gone(published, &texts);
        if checked.is_sound() && !gone.is_empty() {
            checked = check_project(with_gone(texts, &gone), lock, &self.sessions).await?;
        }
        if !checked.is_sound() || checked.project.fingerprint() == self.intent.project {
            return Ok(false);
        }
        let Some(newest) = &self.newest else {
            return Ok(true);
        };
        let rebuilds = rebuilds(published, &checked, newest, &self.snapshots).await?;
        let bytes: u64 = rebuilds.iter().map(|rebuild| rebuild.bytes).sum();
        Ok(bytes <= self.most_bytes)
    }

    fn on_disk(&self) -> Result<(Project, SourcesLock)> {
        Ok((
            Project::load(&self.folder)?,
            SourcesLock::load(&self.folder)?,
        ))
    }
}
