//! HTTP beside Flight SQL: the page, health and metrics.
//!
//! Promises: nothing of the lake is shown before it is known who asks, and no more than the policies let them see; what
//! changes something is a form of this page; every text from the lake is escaped; nothing is loaded from elsewhere.
//! `/healthz` answers while the process lives, `/readyz` says yes only when an epoch can be read.

mod benefits;
mod chart;
mod config;
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

use std::future::IntoFuture;
use std::sync::Arc;
use std::time::Duration;

use engine::{Clock, Desk, Error, ErrorKind, Lake, Result, SourceConfig};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use config::{HttpConfig, MetricsConfig};

use self::export::Exports;
use self::live::Followers;
use self::routes::Service;
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
    /// `InvalidRequest` for a configuration that cannot serve; `Unavailable` when accepting fails.
    pub async fn serve(
        self,
        listener: TcpListener,
        config: HttpConfig,
        shutdown: CancellationToken,
    ) -> Result<()> {
        config.validate()?;
        let grace = config.grace;
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
            ended = until_stopped(listener, service, grace, shutdown.clone()) => ended,
            () = async { looking.await; std::future::pending().await } => Ok(()),
        }
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
) -> Result<()> {
    let service = routes::probes(registry, trouble);
    until_stopped(listener, service, HttpConfig::default().grace, shutdown).await
}

async fn until_stopped(
    listener: TcpListener,
    service: Service,
    grace: Duration,
    shutdown: CancellationToken,
) -> Result<()> {
    let stopped = shutdown.clone();
    let server = axum::serve(listener, service)
        .with_graceful_shutdown(async move { stopped.cancelled().await })
        .into_future();
    // A client that keeps its connection open must not keep the process alive.
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        result = server => result.map_err(|error| {
            Error::new(ErrorKind::Unavailable, "the HTTP server stopped").caused_by(error)
        }),
        () = overdue => Ok(()),
    }
}

#[cfg(test)]
mod tests;
