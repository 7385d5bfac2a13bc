//! HTTP beside Flight SQL: the page, health and metrics.
//!
//! Promises: nothing of the lake is shown before it is known who asks, and no more than the policies let them see; what
//! changes something is a form of this page; every text from the lake is escaped; nothing is loaded from elsewhere.
//! `/healthz` answers while the process lives, `/readyz` says yes only when an epoch can be read.

mod benefits;
mod chart;
mod config;
mod connections;
mod door;
mod export;
mod failure;
mod form;
mod language;
mod layout;
mod live;
mod login;
mod pipeline;
mod quality;
mod queries;
mod routes;
mod rows;
mod traces;
mod visit;
mod why;

use std::sync::Arc;

use engine::{Clock, Desk, Lake, Result, SourceConfig};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use config::{HttpConfig, MetricsConfig};

use self::export::Exports;
use self::live::Followers;
use self::visit::Site;

/// Explanations of rows that are looked for at a time; others wait.
const MOST_EXPLANATIONS: usize = 2;

/// What the page shows, and to whom.
pub struct Page {
    /// Knows who asks, and runs their statements.
    pub desk: Arc<dyn Desk>,
    /// Where requests to the writing roles are put.
    pub lake: Lake,
    pub clock: Clock,
    /// The zone of times as they are shown.
    pub source: SourceConfig,
    pub registry: Registry,
}

impl Page {
    /// Answers HTTP on the listener until `shutdown` is cancelled and requests in flight are done.
    ///
    /// # Errors
    /// `InvalidRequest` for a configuration that cannot serve.
    pub async fn serve(
        self,
        listener: TcpListener,
        config: HttpConfig,
        shutdown: CancellationToken,
    ) -> Result<()> {
        config.validate()?;
        let room = config.room();
        let site = Arc::new(Site {
            desk: self.desk,
            lake: self.lake,
            clock: self.clock,
            zone: self.source.zone()?,
            followers: Followers::new(config.max_followers),
            exports: Exports::new(config.max_exports),
            explanations: Semaphore::new(MOST_EXPLANATIONS),
            shutdown: shutdown.clone(),
            config,
        });
        let service = routes::service(site.clone(), self.registry);
        let looking = site.followers.look(site.desk.reader(), &shutdown);
        tokio::select! {
            () = connections::answer(listener, service, room, shutdown.clone()) => {}
            () = async { looking.await; std::future::pending().await } => {}
        }
        Ok(())
    }
}

/// Why a role is not ready, without names or values; none where it is.
pub type Trouble = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Answers `/healthz`, `/readyz` and `/metrics` for a role that serves no page. It is ready while it lives and knows of no
/// trouble.
pub async fn serve_probes(
    listener: TcpListener,
    registry: Registry,
    trouble: Trouble,
    shutdown: CancellationToken,
) {
    let room = HttpConfig::default().room();
    let probes = routes::probes(registry, trouble);
    connections::answer(listener, probes, room, shutdown).await;
}

#[cfg(test)]
mod tests;
