use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use engine::{Error, ErrorKind, Reader, Result};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use crate::authenticated::Authenticated;
use crate::config::FlightConfig;
use crate::service::SqlService;
use crate::session::Sessions;
use crate::statement::Statements;
use crate::ticket::TicketKey;
use crate::wrapper::Endpoint;

/// How often a silent client is asked whether it is there, and how long it may take to say so.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long connections may take to end after the shutdown; their statements end at once.
const DRAIN: Duration = Duration::from_secs(2);

/// Serves Flight SQL on `listener` until `shutdown`.
///
/// # Errors
/// `PermissionDenied` when other machines reach the listener and `config.insecure` is not set;
/// `InvalidRequest` for a configuration that cannot serve; `Unavailable` when accepting fails.
pub async fn serve(
    listener: TcpListener,
    reader: Reader,
    config: FlightConfig,
    shutdown: CancellationToken,
) -> Result<()> {
    config.validate()?;
    let address = listener.local_addr().map_err(unavailable)?;
    config.admit(address.ip())?;
    tracing::info!(%address, "flight sql is served");
    tracing::warn!(%address, "nobody signs in: whoever can connect reads everything");

    let key = match &config.key {
        Some(key) => key.clone(),
        None => TicketKey::random()?,
    };
    let sessions = Sessions::new(key.clone(), TicketKey::random()?.first_id(), &config);
    let sessions = Arc::new(sessions);
    let statements = Statements::new(reader, key, &config, shutdown.clone())?;
    let endpoint = Endpoint(SqlService {
        statements,
        sessions: sessions.clone(),
    });
    let service =
        FlightServiceServer::new(endpoint).max_decoding_message_size(config.max_message_bytes);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let server = Server::builder()
        .max_concurrent_streams(config.max_calls_per_connection)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(Authenticated::new(service, sessions))
        .serve_with_incoming_shutdown(incoming, shutdown.clone().cancelled_owned());
    let drained = async {
        shutdown.cancelled().await;
        sleep(DRAIN).await;
    };
    tokio::select! {
        served = server => served.map_err(unavailable),
        () = drained => Ok(()),
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, "the Flight SQL server cannot go on").caused_by(error)
}

#[cfg(test)]
mod tests;
