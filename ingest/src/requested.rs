//! What the ingest role does because a command asked for it.

use engine::{Error, ErrorKind, Outcome, Request, Result};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::buffer::Cut;
use crate::error::is_transient;
use crate::intake::Intake;
use crate::replay::{self, Again};
use crate::writer::Flush;

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
            warn!(%error, "a request failed");
        }
        match self.requests.answer(&pending, &result).await {
            Err(error) if !is_transient(&error) => Err(error),
            _ => Ok(()),
        }
    }

    async fn fulfil(&mut self, request: &Request) -> Result<Outcome> {
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
