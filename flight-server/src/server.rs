use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use engine::{Clock, Error, ErrorKind, Reader, Result};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;

use crate::activity::Served;
use crate::admission::BROWSING;
use crate::audit::Audit;
use crate::authenticated::Authenticated;
use crate::config::FlightConfig;
use crate::running::Running;
use crate::service::SqlService;
use crate::session::Sessions;
use crate::sign_in::SignIn;
use crate::statement::Statements;
use crate::ticket::TicketKey;
use crate::tls::Tls;
use crate::user_file::Users;
use crate::wrapper::Endpoint;
use crate::{connection, metrics};

/// How often a silent client is asked whether it is there, and how long it may take to say so.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long connections may take to end after the shutdown; their statements end at once.
const DRAIN: Duration = Duration::from_secs(2);

/// Serves Flight SQL on `listener` until `shutdown`.
///
/// # Errors
/// `PermissionDenied` when other machines reach the listener without users and TLS, and `config.insecure` is not set;
/// `InvalidRequest` for a configuration that cannot serve; `Unavailable` when accepting fails.
pub async fn serve(
    listener: TcpListener,
    reader: Reader,
    config: FlightConfig,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<()> {
    config.validate()?;
    let address = listener.local_addr().map_err(unavailable)?;
    config.admit(address.ip())?;
    let tls = config.tls()?.map(Tls::open).transpose()?;
    let users = match config.users.as_str() {
        "" => None,
        path => Users::load(Path::new(path))?,
    };
    tracing::info!(%address, tls = tls.is_some(), "flight sql is served");
    if users.is_none() {
        tracing::warn!(%address, "nobody signs in: whoever can connect reads everything");
    }

    let key = config.sealing_key()?;
    let audit = Audit::open(Path::new(&config.audit), clock.clone())?;
    let sign_in = users.map(|users| {
        let path = config.users.clone().into();
        SignIn::open(path, users, key.clone(), clock.clone())
    });
    let first_id = TicketKey::random()?.first_id();
    let sessions = Sessions::new(
        key.clone(),
        first_id,
        &config,
        sign_in.transpose()?,
        audit.clone(),
        clock.clone(),
    );
    let sessions = Arc::new(sessions);
    let first_id = TicketKey::random()?.first_id();
    let running = Running::new(first_id, config.query_history, clock, audit.clone());
    let activity = Served {
        running: running.clone(),
        sessions: sessions.clone(),
    };
    let reader = reader.serving(Arc::new(activity), config.max_statements + BROWSING);
    metrics::observe_memory(reader.memory().clone());
    let statements = Statements::new(reader, key, &config, running, shutdown.clone(), audit)?;
    let endpoint = Endpoint(SqlService {
        statements,
        sessions: sessions.clone(),
    });
    let service =
        FlightServiceServer::new(endpoint).max_decoding_message_size(config.max_message_bytes);
    let incoming = ReceiverStream::new(connection::accept(listener, tls, shutdown.clone()));
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
