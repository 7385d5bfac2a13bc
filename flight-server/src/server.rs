use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow_flight::flight_service_server::FlightServiceServer;
use engine::{Clock, Desk, Error, ErrorKind, Reader, Result};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server as TonicServer;

use crate::activity::Served;
use crate::admission::BROWSING;
use crate::audit::Audit;
use crate::authenticated::Authenticated;
use crate::config::FlightConfig;
use crate::desk::FrontDesk;
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

/// A Flight SQL server that has not begun to listen.
pub struct Server {
    service: FlightServiceServer<Endpoint>,
    sessions: Arc<Sessions>,
    desk: Arc<FrontDesk>,
    tls: Option<Tls>,
    max_calls_per_connection: u32,
    shutdown: CancellationToken,
}

impl Server {
    /// What is served at `address` until `shutdown`. Must be called within a runtime.
    ///
    /// # Errors
    /// `PermissionDenied` when other machines reach the address without users and TLS, and `config.insecure` is not set;
    /// `InvalidRequest` for a configuration that cannot serve.
    pub fn open(
        address: SocketAddr,
        reader: Reader,
        config: &FlightConfig,
        clock: Clock,
        shutdown: CancellationToken,
    ) -> Result<Self> {
        config.validate()?;
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
            config,
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
        let stop = shutdown.clone();
        let statements = Statements::new(reader, key.clone(), config, running, stop, audit)?;
        let statements = Arc::new(statements);
        let first_id = TicketKey::random()?.first_id();
        let desk = FrontDesk::new(key, first_id, statements.clone(), sessions.clone());
        let endpoint = Endpoint(SqlService {
            statements,
            sessions: sessions.clone(),
        });
        let service =
            FlightServiceServer::new(endpoint).max_decoding_message_size(config.max_message_bytes);
        Ok(Self {
            service,
            sessions,
            desk: Arc::new(desk),
            tls,
            max_calls_per_connection: config.max_calls_per_connection,
            shutdown,
        })
    }

    /// Where the page asks, in the name of the same users and within the same limits.
    pub fn desk(&self) -> Arc<dyn Desk> {
        self.desk.clone()
    }

    /// Serves Flight SQL on a listener until the shutdown.
    ///
    /// # Errors
    /// `Unavailable` when accepting fails.
    pub async fn serve(self, listener: TcpListener) -> Result<()> {
        let shutdown = self.shutdown;
        let connections = connection::accept(listener, self.tls, shutdown.clone());
        let server = TonicServer::builder()
            .max_concurrent_streams(self.max_calls_per_connection)
            .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
            .add_service(Authenticated::new(self.service, self.sessions))
            .serve_with_incoming_shutdown(
                ReceiverStream::new(connections),
                shutdown.clone().cancelled_owned(),
            );
        let drained = async {
            shutdown.cancelled().await;
            sleep(DRAIN).await;
        };
        tokio::select! {
            served = server => served.map_err(unavailable),
            () = drained => Ok(()),
        }
    }
}

fn unavailable(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unavailable, "the Flight SQL server cannot go on").caused_by(error)
}

#[cfg(test)]
mod tests;
