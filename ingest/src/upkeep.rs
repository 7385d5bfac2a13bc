//! Upkeep of the bronze tables, each by its one writer, between two commits.

use engine::{Chore, Result, bronze};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use crate::intake::Intake;
use crate::writer::Writer;

/// A pass of upkeep over one table, asked for from outside.
pub(crate) struct Order {
    pub(crate) dry_run: bool,
    pub(crate) done: oneshot::Sender<Result<Vec<Chore>>>,
}

impl Writer {
    pub(crate) async fn tidy_up(&mut self) {
        let table = self.topic.table();
        match self.table.upkeep(&self.upkeep).await {
            Ok(chores) => {
                for chore in chores {
                    let (task, files) = (chore.task.as_str(), chore.files);
                    debug!(table, task, files, "upkeep");
                }
            }
            // A table that somebody else writes is noticed at the next commit.
            Err(error) => warn!(table, error = %error.with_causes(), "upkeep failed: trying again"),
        }
    }

    pub(crate) async fn obey(&mut self, order: Order) {
        let chores = self.table.maintain(&self.upkeep, order.dry_run).await;
        // Whoever asked may be gone.
        drop(order.done.send(chores));
    }
}

impl Intake {
    /// Has each table's writer tidy up; tables that are not being read are tidied up here.
    pub(crate) async fn tidy_up(&self, dry_run: bool) -> Result<Vec<Chore>> {
        let mut chores = Vec::new();
        for name in bronze::names(&self.lake)? {
            let Some(writer) = self.orders.get(name.name()) else {
                let (lake, lease) = (&self.lake, &self.lease);
                let done = bronze::maintain(lake, lease, &self.clock, &self.upkeep, &name, dry_run);
                chores.extend(done.await?);
                continue;
            };
            // Step by step, so that commits go on in between.
            while let Some(done) = step(writer, dry_run).await? {
                let goes_on = done.iter().any(Chore::goes_on);
                chores.extend(done);
                if dry_run || !goes_on {
                    break;
                }
            }
        }
        Ok(chores)
    }
}

/// One step of a writer; None from one that has ended, which says why elsewhere.
async fn step(writer: &mpsc::Sender<Order>, dry_run: bool) -> Result<Option<Vec<Chore>>> {
    let (done, outcome) = oneshot::channel();
    if writer.send(Order { dry_run, done }).await.is_err() {
        return Ok(None);
    }
    outcome.await.ok().transpose()
}
