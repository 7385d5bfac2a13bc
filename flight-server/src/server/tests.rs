//! A real server on a real lake, asked by a real client over loopback.

mod attacks;
mod browsing;
mod clients;
mod fuzz;
mod governance;
mod lake;
mod project;
mod sqllogic;
mod statements;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow_flight::FlightInfo;
use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use engine::{Clock, Reader, Result};
use futures::TryStreamExt;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::config::FlightConfig;
use crate::server::Server;
use crate::ticket::TicketKey;

type Client = FlightSqlServiceClient<Channel>;

/// A server with a lake of its own; both end with it.
struct Running {
    client: Client,
    channel: Channel,
    address: SocketAddr,
    shutdown: CancellationToken,
    served: JoinHandle<Result<()>>,
    directory: tempfile::TempDir,
}

impl Running {
    async fn start() -> Self {
        Self::with(FlightConfig::default()).await
    }

    async fn with(config: FlightConfig) -> Self {
        Self::prepared(config, |_| {}).await
    }

    /// After `prepare` has put files into the server's directory, where the lake is and policies are looked for.
    async fn prepared(config: FlightConfig, prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let reader = lake::reader(directory.path()).await;
        let reader = reader.with_policies(directory.path());
        prepare(directory.path());
        Self::on(directory, reader, config).await
    }

    /// A server on what a reader reads from a directory.
    async fn on(directory: tempfile::TempDir, reader: Reader, config: FlightConfig) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let shutdown = CancellationToken::new();
        let file = |name: &str| directory.path().join(name).display().to_string();
        let config = FlightConfig {
            key: Some(TicketKey::new([5; 32])),
            users: file("users.toml"),
            audit: file("audit.jsonl"),
            ..config
        };
        let clock: Clock = Arc::new(|| chrono::DateTime::UNIX_EPOCH);
        let server = Server::open(address, reader, &config, clock, shutdown.clone());
        let served = tokio::spawn(server.expect("opened").serve(listener));
        let channel = connection(address).await;
        Self {
            client: FlightSqlServiceClient::new(channel.clone()),
            channel,
            address,
            shutdown,
            served,
            directory,
        }
    }

    async fn query(&mut self, sql: &str) -> Result<Vec<RecordBatch>, Status> {
        let info = self
            .client
            .execute(sql.to_owned(), None)
            .await
            .map_err(status)?;
        fetch(&mut self.client, info).await
    }

    #[track_caller]
    fn refused(result: Result<Vec<RecordBatch>, Status>) -> (Code, String) {
        let status = result.expect_err("refused");
        (status.code(), status.message().to_owned())
    }
}

/// Another connection. One that is not read holds up all calls over it.
async fn connection(address: SocketAddr) -> Channel {
    let endpoint = Channel::from_shared(format!("http://{address}"));
    let connected = endpoint.expect("an address").connect().await;
    connected.expect("listens")
}

async fn fetch(client: &mut Client, info: FlightInfo) -> Result<Vec<RecordBatch>, Status> {
    let announced = info.clone().try_decode_schema().expect("a schema");
    let [endpoint] = info.endpoint.as_slice() else {
        return Err(Status::internal("not one endpoint"));
    };
    assert!(endpoint.location.is_empty());
    let ticket = endpoint.ticket.clone().expect("a ticket");
    let stream = client.do_get(ticket).await.map_err(status)?;
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(flight_status)?;
    for batch in &batches {
        assert_eq!(batch.schema().as_ref(), &announced);
    }
    Ok(batches)
}

fn rows(batches: &[RecordBatch]) -> usize {
    batches.iter().map(RecordBatch::num_rows).sum()
}

/// The SQL client of `arrow-flight` wraps a status as an external error of Arrow's.
fn status(error: impl std::error::Error + 'static) -> Status {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(status) = error.downcast_ref::<Status>() {
            return status.clone();
        }
        if let Some(status) = error.downcast_ref::<Box<Status>>() {
            return status.as_ref().clone();
        }
        cause = error.source();
    }
    Status::unknown(error.to_string())
}

fn flight_status(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => status(other),
    }
}

#[tokio::test]
async fn a_shutdown_ends_statements_and_the_server() {
    let mut running = Running::start().await;
    let sql = "SELECT a.value FROM range(0, 100000) a CROSS JOIN range(0, 100000) b".to_owned();
    let info = running.client.execute(sql, None).await.expect("plans");
    let ticket = info.endpoint[0].ticket.clone().expect("a ticket");
    let mut stream = running.client.do_get(ticket).await.expect("starts");
    stream.try_next().await.expect("a batch").expect("a batch");
    running.shutdown.cancel();
    let error = loop {
        match stream.try_next().await {
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(error) => break Some(flight_status(error).code()),
        }
    };
    assert_eq!(error, Some(Code::Unavailable));
    let served = tokio::time::timeout(Duration::from_secs(5), running.served).await;
    served
        .expect("ends soon")
        .expect("no panic")
        .expect("no error");
}
