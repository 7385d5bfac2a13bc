//! HTTP beside Flight SQL: health, metrics and a plain status page.
//!
//! Promises: `/healthz` answers while the process lives; `/readyz` says yes only when an epoch can be read; no page
//! shows a row of a table; every text from the lake is escaped. Leaves out: sign-in, queries, exports.

mod config;
mod page;
mod routes;

use std::future::IntoFuture;
use std::time::Duration;

use axum::Router;
use engine::{Error, ErrorKind, Reader, Result};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use config::{HttpConfig, MetricsConfig};

/// Answers HTTP on the listener until `shutdown` is cancelled and requests in flight are done.
pub async fn serve(
    listener: TcpListener,
    reader: Reader,
    registry: Registry,
    config: HttpConfig,
    shutdown: CancellationToken,
) -> Result<()> {
    let service = routes::router(reader, registry);
    until_stopped(listener, service, config.grace, shutdown).await
}

/// Answers `/healthz`, `/readyz` and `/metrics` for a role that serves no page. It is ready while it lives.
pub async fn serve_probes(
    listener: TcpListener,
    registry: Registry,
    shutdown: CancellationToken,
) -> Result<()> {
    let service = routes::probes(registry);
    until_stopped(listener, service, HttpConfig::default().grace, shutdown).await
}

async fn until_stopped(
    listener: TcpListener,
    service: Router,
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
