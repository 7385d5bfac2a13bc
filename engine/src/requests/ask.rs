//! The asking side: a command that waits for the role, or takes its lease.

use std::time::{Duration, Instant};

use chrono::TimeDelta;

use super::{ANSWER, Answer, Asking, MAX_NAMES, MAX_WAITING, REQUEST, Request, TAKEN};
use super::{Name, Outcome, directory, json, path};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::lease::Lease;

/// Pause between two looks for the answer.
const POLL: Duration = Duration::from_millis(50);

/// Looks for the answer between two looks whether the lease has become free.
const LOOKS: u32 = 10;

/// How a request came out.
#[derive(Debug)]
pub enum Asked {
    /// The running role did it.
    Answered(Outcome),
    /// Nobody runs the role: the caller does it with this lease, by the same function.
    Free(Lease),
}

/// How far a request is, told while the command waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiting {
    /// The role has not come to it yet.
    Queued,
    /// The role is at it.
    Taken,
}

/// Hands a request to the role that does it and waits for the answer, at most for `patience`; takes the lease when
/// nobody holds it, also while waiting.
///
/// # Errors
/// What the role answered; `DeadlineExceeded` when it did not in time; `ResourceExhausted` when too many wait.
pub async fn ask(
    lake: &Lake,
    request: &Request,
    clock: &Clock,
    patience: Duration,
    mut tell: impl FnMut(Waiting, Duration),
) -> Result<Asked> {
    let role = request.role();
    if let Some(lease) = Lease::try_acquire(lake, role)? {
        return Ok(Asked::Free(lease));
    }
    let asked = Question::put(lake, request, clock, patience).await?;
    let started = Instant::now();
    let mut state = Waiting::Queued;
    for look in 1_u32.. {
        if let Some(answer) = asked.answer().await? {
            asked.remove().await?;
            return answer.into_result().map(Asked::Answered);
        }
        if state == Waiting::Queued && asked.is_taken().await? {
            state = Waiting::Taken;
        }
        if look.is_multiple_of(LOOKS)
            && let Some(lease) = Lease::try_acquire(lake, role)?
        {
            // The role ended. It may have answered as the last thing it did.
            let answer = asked.answer().await?;
            asked.remove().await?;
            return match answer {
                Some(answer) => answer.into_result().map(Asked::Answered),
                None => Ok(Asked::Free(lease)),
            };
        }
        if started.elapsed() >= patience {
            return Err(asked.give_up(state, patience).await?);
        }
        tell(state, started.elapsed());
        tokio::time::sleep(POLL).await;
    }
    Err(Error::new(ErrorKind::Internal, "a wait came to its end"))
}

impl Drop for Question<'_> {
    /// Whoever is interrupted takes the request back, unless the role is at it already.
    fn drop(&mut self) {
        if !self.is_another && !self.lake.has_file(&self.file(TAKEN)) {
            // It is gone where it was answered.
            let _ = disk::remove_file(&self.lake.root().join(self.file(REQUEST)));
        }
    }
}

/// A request on its way.
struct Question<'a> {
    lake: &'a Lake,
    request: &'a Request,
    id: String,
    /// Whether somebody else's has this name.
    is_another: bool,
}

impl<'a> Question<'a> {
    async fn put(
        lake: &'a Lake,
        request: &'a Request,
        clock: &Clock,
        patience: Duration,
    ) -> Result<Self> {
        let role = request.role();
        let listed = lake.list(&directory(role), MAX_NAMES).await?;
        let waiting = listed
            .iter()
            .filter(|file| matches!(Name::parse(&file.name), Some(Name::Request(_))));
        if waiting.count() >= MAX_WAITING {
            return Err(Error::new(
                ErrorKind::ResourceExhausted,
                format!(
                    "{MAX_WAITING} requests already wait for the {} role",
                    role.as_str()
                ),
            )
            .hint("Wait until it is through with them."));
        }
        let request_json = serde_json::to_value(request).map_err(|source| {
            Error::new(ErrorKind::Internal, "could not write a request").caused_by(source)
        })?;
        let asked_at = clock();
        let expires_at = asked_at + TimeDelta::from_std(patience).unwrap_or(TimeDelta::days(1));
        for attempt in 0.. {
            let id = format!(
                "{:020}-{}-{attempt}",
                asked_at.timestamp_micros().max(0),
                std::process::id()
            );
            let asking = Asking {
                id: id.clone(),
                asked_at,
                expires_at,
                request: request_json.clone(),
            };
            // Before it is there: whoever is interrupted meanwhile takes it back too.
            let mut asked = Self {
                lake,
                request,
                id,
                is_another: false,
            };
            let text = json(&asking)?;
            if lake.create(&asked.file(REQUEST), text).await? {
                return Ok(asked);
            }
            asked.is_another = true;
        }
        Err(Error::new(ErrorKind::Internal, "no name was free"))
    }

    fn file(&self, suffix: &str) -> String {
        path(self.request.role(), &format!("{}{suffix}", self.id))
    }

    async fn answer(&self) -> Result<Option<Answer>> {
        let Some(bytes) = self.lake.read(&self.file(ANSWER)).await? else {
            return Ok(None);
        };
        let answer = serde_json::from_slice(&bytes).map_err(|source| {
            Error::new(ErrorKind::Corrupt, "the answer to a request cannot be read")
                .caused_by(source)
        })?;
        Ok(Some(answer))
    }

    async fn is_taken(&self) -> Result<bool> {
        Ok(self.lake.read(&self.file(TAKEN)).await?.is_some())
    }

    /// The request first: without it nobody takes it again.
    async fn remove(&self) -> Result<()> {
        for suffix in [REQUEST, TAKEN, ANSWER] {
            self.lake.remove(&self.file(suffix)).await?;
        }
        Ok(())
    }

    async fn give_up(&self, state: Waiting, patience: Duration) -> Result<Error> {
        let role = self.request.role().as_str();
        let seconds = patience.as_secs();
        Ok(match state {
            Waiting::Queued => {
                self.remove().await?;
                Error::new(
                    ErrorKind::DeadlineExceeded,
                    format!("the running {role} role did not come to the request in {seconds} s"),
                )
                .hint("It was taken back, and nothing happened. The log of that process says what it is busy with.")
            }
            Waiting::Taken => Error::new(
                ErrorKind::DeadlineExceeded,
                format!("the running {role} role was not through with the request in {seconds} s"),
            )
            .hint("It goes on with it; `sportlake status` shows the epochs."),
        })
    }
}
