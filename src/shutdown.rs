use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::exit::INTERRUPTED;
use crate::output;

/// Cancelled by Ctrl-C or SIGTERM; a second signal ends the process at once.
#[derive(Debug, Clone)]
pub(crate) struct Shutdown {
    token: CancellationToken,
    interrupted: Arc<AtomicBool>,
}

impl Shutdown {
    /// Listens for signals from here on. Needs the runtime.
    pub(crate) fn listen() -> std::io::Result<Self> {
        let shutdown = Self {
            token: CancellationToken::new(),
            interrupted: Arc::default(),
        };
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let heard = shutdown.clone();
        tokio::spawn(async move {
            for first in [true, false] {
                let by_ctrl_c = tokio::select! {
                    _ = interrupt.recv() => true,
                    _ = terminate.recv() => false,
                };
                if !first {
                    std::process::exit(i32::from(INTERRUPTED));
                }
                heard.interrupted.store(by_ctrl_c, Ordering::Relaxed);
                heard.token.cancel();
            }
        });
        Ok(shutdown)
    }

    pub(crate) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// The exit code of a role that runs until it is asked to stop: SIGTERM is the normal way, Ctrl-C an interruption.
    pub(crate) fn code_of_role(&self) -> ExitCode {
        if self.interrupted.load(Ordering::Relaxed) {
            ExitCode::from(INTERRUPTED)
        } else {
            ExitCode::SUCCESS
        }
    }

    /// Runs a command that ends by itself; a signal drops it and is an error.
    pub(crate) async fn or_cancelled<T>(
        &self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            result = work => result,
            () = self.token.cancelled() => {
                output::end_progress();
                Err(engine::Error::new(engine::ErrorKind::Cancelled, "interrupted").into())
            }
        }
    }
}
