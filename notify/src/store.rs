use std::io;
use std::sync::Arc;
use std::time::Duration;

use changes::{Error, ErrorKind, Result};
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use tracing::{info, warn};

use crate::journal::{Entry, Journal};

/// Pause before a disk that failed is tried again, and how often it is.
const PAUSE: Duration = Duration::from_millis(500);
const ATTEMPTS: u32 = 20;

/// The journal, written without holding up anybody else.
pub(crate) struct Store(Arc<Mutex<Journal>>);

impl Store {
    pub(crate) fn new(journal: Journal) -> Self {
        Self(Arc::new(Mutex::new(journal)))
    }

    /// Returns when the entry lasts. A disk that fails for a while is waited for: without it, nothing is posted.
    pub(crate) async fn store(&self, entry: Entry) -> Result<()> {
        let mut failed = 0;
        loop {
            let Err(error) = self.attempt(entry.clone()).await? else {
                if failed > 0 {
                    info!("what is told can be stored again");
                }
                return Ok(());
            };
            failed += 1;
            if failed == 1 {
                warn!(%error, "what is told cannot be stored: it is tried again");
            }
            if failed == ATTEMPTS {
                return Err(
                    Error::new(ErrorKind::Unavailable, "what is told cannot be stored")
                        .hint("Make room on the disk of notify.path, or mend it, and start again.")
                        .caused_by(error),
                );
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn attempt(&self, entry: Entry) -> Result<io::Result<()>> {
        let journal = Arc::clone(&self.0);
        spawn_blocking(move || journal.lock().store(&entry))
            .await
            .map_err(|error| {
                Error::new(ErrorKind::Internal, "the journal broke off").caused_by(error)
            })
    }
}
