//! What the ingest role does because a command asked for it.

use engine::{
    Clock, Error, ErrorKind, Lake, Lease, Outcome, Request, Result, UpkeepConfig, bronze,
};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::buffer::Cut;
use crate::error::is_transient;
use crate::intake::Intake;
use crate::replay::{self, Again};
use crate::writer::Flush;

/// Does a request where nobody runs the role.
///
/// # Errors
/// `Unsupported` for a request to another role; `NotFound` for a table that is not there.
pub async fn fulfil(
    lake: &Lake,
    lease: &Lease,
    clock: &Clock,
    upkeep: &UpkeepConfig,
    request: &Request,
) -> Result<Outcome> {
    if let Request::Maintain { dry_run, .. } = request {
        let mut chores = Vec::new();
        for name in bronze::names(lake)? {
            let done = bronze::maintain(lake, lease, clock, upkeep, &name, *dry_run);
            chores.extend(done.await?);
        }
        return Ok(Outcome::of_upkeep(&chores, *dry_run));
    }
    let mut replayed = Vec::new();
    for name in replay::asked(lake, request)? {
        if let Some(again) = Again::read(lake, &name, clock()).await? {
            replay::append(lake, lease, clock, &again).await?;
            replayed.push(again.replayed);
        }
    }
    Ok(replay::outcome(replayed))
}

impl Intake {
    /// Does the request that waits for longest. One that fails is answered and ends nothing.
    pub(crate) async fn serve(&mut self) -> Result<()> {
        let now = (self.clock)();
        let pending = match self.requests.next(now).await {
            Ok(Some(pending)) => pending,
            Ok(None) => return Ok(()),
            // The lake is away: commits say so.
            Err(error) if is_transient(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        info!(request = ?pending.request, "a request is taken");
        let result = self.fulfil(&pending.request).await;
        if let Err(error) = &result {
            warn!(error = %error.with_causes(), "a request failed");
        }
        match self.requests.answer(&pending, &result).await {
            Err(error) if !is_transient(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn fulfil(&mut self, request: &Request) -> Result<Outcome> {
        if let Request::Maintain { dry_run, .. } = request {
            let chores = self.tidy_up(*dry_run).await?;
            return Ok(Outcome::of_upkeep(&chores, *dry_run));
        }
        let mut replayed = Vec::new();
        for name in replay::asked(&self.lake, request)? {
            if let Some(again) = Again::read(&self.lake, &name, (self.clock)()).await? {
                self.take_in(&again).await?;
                replayed.push(again.replayed);
            }
        }
        Ok(replay::outcome(replayed))
    }

    /// Through the table's one writer, where the table is being read.
    async fn take_in(&self, again: &Again) -> Result<()> {
        let writer = self.flushes.get(again.replayed.table.name());
        let Some(writer) = writer.and_then(tokio::sync::mpsc::WeakSender::upgrade) else {
            replay::append(&self.lake, &self.lease, &self.clock, again).await?;
            self.wake.notify_one();
            return Ok(());
        };
        let (told, committed) = oneshot::channel();
        let cut = Cut {
            batches: vec![again.batch.clone()],
            offsets: Vec::new(),
            lineages: Vec::new(),
            bytes: again.bytes,
            poison: usize::try_from(again.replayed.still_dead).unwrap_or(usize::MAX),
        };
        let flush = Flush {
            reserved: self.budget.reserve(cut.bytes),
            cut,
            committed: Some(told),
        };
        let ended = || Error::new(ErrorKind::Unavailable, "the table's writer has ended");
        writer.send(flush).await.map_err(|_| ended())?;
        committed.await.map_err(|_| ended())
    }
}
