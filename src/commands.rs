pub(crate) mod apply;
pub(crate) mod cdc;
pub(crate) mod check;
pub(crate) mod commute;
pub(crate) mod completions;
pub(crate) mod dlq;
pub(crate) mod doctor;
pub(crate) mod expectations;
pub(crate) mod explain;
pub(crate) mod export;
pub(crate) mod generate;
pub(crate) mod hr;
pub(crate) mod ingest;
pub(crate) mod maintain;
pub(crate) mod notify;
pub(crate) mod plan;
pub(crate) mod quarantine;
pub(crate) mod query;
pub(crate) mod refresh;
pub(crate) mod request;
pub(crate) mod serve;
pub(crate) mod sources;
pub(crate) mod status;
pub(crate) mod test;
pub(crate) mod topics;
pub(crate) mod up;
pub(crate) mod user;
pub(crate) mod validate;
mod viewpoint;
pub(crate) mod why;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::sources::LsnAllocator;
use console::Trouble;
use engine::{Clock, Error, ErrorKind, Lake, Reader};
use prometheus::Registry;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::Config;
use crate::output;
use crate::shutdown::Shutdown;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// What every command is given.
pub(crate) struct Context {
    pub(crate) config: Config,
    pub(crate) metrics: Registry,
    pub(crate) clock: Clock,
    pub(crate) shutdown: Shutdown,
}

impl Context {
    pub(crate) fn new(config: Config, metrics: Registry) -> anyhow::Result<Self> {
        Ok(Self {
            config,
            metrics,
            clock: clock::system(),
            shutdown: Shutdown::listen()?,
        })
    }

    /// The lake for a command that only reads: it must be there already.
    pub(crate) async fn existing_lake(&self) -> engine::Result<Lake> {
        let uri = &self.config.lake.uri;
        if !uri.contains("://") && !Path::new(uri).exists() {
            return Err(Error::new(
                ErrorKind::NotFound,
                format!("there is no lake at \"{uri}\""),
            )
            .hint("Run `sportlake up` first, or name the project with --config."));
        }
        Lake::open(&self.config.lake).await
    }

    pub(crate) fn reader(&self, lake: Lake) -> engine::Result<Reader> {
        let reader = Reader::new(lake, &self.config.read, &self.config.source)?;
        Ok(reader.with_policies(&self.config.sql.path))
    }

    /// Runs a role that serves no page, with health and metrics beside it where `[metrics]` asks for them.
    pub(crate) async fn beside_probes<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> anyhow::Result<T>
    where
        anyhow::Error: From<E>,
    {
        self.beside_probes_of(work, Arc::new(|| None)).await
    }

    /// The same for a role that may live and not do its work.
    pub(crate) async fn beside_probes_of<T, E>(
        &self,
        work: impl Future<Output = Result<T, E>>,
        trouble: Trouble,
    ) -> anyhow::Result<T>
    where
        anyhow::Error: From<E>,
    {
        let listen = &self.config.metrics.listen;
        if listen.is_empty() {
            return Ok(work.await?);
        }
        let listener = bind("metrics.listen", listen).await?;
        let address = listener.local_addr()?;
        output::note(&format!("HTTP        http://{address}"));
        let stop = CancellationToken::new();
        let _stopped_when_dropped = stop.clone().drop_guard();
        tokio::select! {
            result = work => Ok(result?),
            () = console::serve_probes(listener, self.metrics.clone(), trouble, stop) => {
                Err(anyhow::anyhow!("health and metrics ended by themselves"))
            }
        }
    }

    /// Does work on an epoch that stays readable meanwhile, however long it takes.
    pub(crate) async fn reading<T>(
        &self,
        reader: &Reader,
        epoch: u64,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let over = CancellationToken::new();
        let over_when_dropped = over.clone().drop_guard();
        let hold = reader.hold(epoch);
        let (reader, clock) = (reader.clone(), self.clock.clone());
        let keeping = tokio::spawn(async move { reader.keep_pins(clock, over).await });
        let result = work.await;
        drop((hold, over_when_dropped));
        keeping.await?;
        result
    }
}

/// Binds the address of a configuration key.
pub(crate) async fn bind(key: &str, address: &str) -> engine::Result<TcpListener> {
    listen(address).await.map_err(|error| {
        let variable = format!("SPORTLAKE__{}", key.to_uppercase().replace('.', "__"));
        match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                Error::new(ErrorKind::Conflict, format!("{key}: \"{address}\" is already in use"))
                    .hint(format!(
                        "Stop what listens there, or choose another address in sportlake.toml or with {variable}."
                    ))
            }
            std::io::ErrorKind::PermissionDenied => {
                Error::new(ErrorKind::PermissionDenied, format!("{key}: may not listen on \"{address}\""))
                    .hint("Choose a port above 1023.")
                    .caused_by(error)
            }
            _ => Error::invalid(format!("{key}: cannot listen on \"{address}\""))
                .hint("Write an address of this machine and a port, as 127.0.0.1:50051.")
                .caused_by(error),
        }
    })
}

/// As `TcpListener::bind`, with room for those who come while others are accepted.
async fn listen(address: &str) -> io::Result<TcpListener> {
    let mut failed = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in tokio::net::lookup_host(address).await? {
        let socket = match address.is_ipv4() {
            true => TcpSocket::new_v4()?,
            false => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        let bound = socket.bind(address);
        match bound.and_then(|()| socket.listen(BACKLOG)) {
            Ok(listener) => return Ok(listener),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// The one allocator of `source.lsn` for the embedded sources, beside the broker's directory.
pub(crate) fn lsn(config: &Config) -> anyhow::Result<LsnAllocator> {
    let path = config.broker.path.with_file_name("source.lsn");
    if let Some(folder) = path.parent() {
        disk::create_directory(folder).map_err(|error| {
            Error::invalid(format!("could not create \"{}\"", folder.display()))
                .hint("broker.path must be in a directory that this user may write.")
                .caused_by(error)
        })?;
    }
    Ok(LsnAllocator::open(&path)?)
}

/// A file argument, made absolute before the working directory becomes the project's.
pub(crate) fn absolute_path(text: &str) -> std::io::Result<PathBuf> {
    std::path::absolute(text)
}
