//! The embedded broker: one node that speaks Kafka's protocol and keeps its log on disk.
//!
//! It promises what an in-process stand-in for Kafka has to: an acknowledged batch survives `kill -9` and power
//! loss, is seen in order, and is stored once however often an idempotent producer repeats it; topics, committed
//! offsets and producer ids survive a restart; memory is bounded whatever clients send.
//!
//! It leaves out what one process on loopback does not need: replication, transactions, compaction, expiry by
//! age, quotas, ACLs, TLS and SASL, static group membership, and the flexible versions of the protocol.
//!
//! # Layout
//! `connection` reads and answers, `frame` and `shape` guard the border, `api` has a file per family of requests;
//! `topics`, `groups`, `commits` and `producer_ids` are the state; `log` knows only batches and files.

mod api;
mod commits;
mod config;
mod connection;
mod directory;
mod frame;
mod groups;
mod log;
mod memory;
#[cfg(test)]
mod power_cut;
mod producer_ids;
mod shape;
mod topics;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use changes::{Error, ErrorKind, Result};
use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use config::BrokerConfig;

use commits::Commits;
use directory::Directory;
use groups::Groups;
use memory::Memory;
use producer_ids::ProducerIds;
use topics::Topics;

/// Tells the time; handed in, so that tests choose it.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;

/// How often silent group members are looked for.
const GROUP_TICK: Duration = Duration::from_millis(250);

/// An open data directory, not yet reachable by clients.
pub struct Broker {
    shared: Arc<Shared>,
    _directory: Directory,
}

/// What all connections use.
struct Shared {
    config: BrokerConfig,
    advertised: Option<(String, u16)>,
    topics: Topics,
    groups: Groups,
    commits: Commits,
    producer_ids: ProducerIds,
    request_memory: Memory,
    response_memory: Memory,
}

impl Broker {
    /// Locks the directory, checks its format and heals what a crash left. Blocks on the disk.
    pub fn open(config: BrokerConfig, clock: Clock) -> Result<Self> {
        config.validate()?;
        let directory = Directory::open(&config.path)?;
        let run = clock().timestamp_millis();
        let shared = Shared {
            advertised: config.advertised_address()?,
            topics: Topics::open(&directory, &config, clock)?,
            groups: Groups::new(config.max_groups, run),
            commits: Commits::open(&directory.file("committed"))?,
            producer_ids: ProducerIds::open(&directory.file("producer-ids"))?,
            request_memory: Memory::new(config.max_inflight_bytes),
            response_memory: Memory::new(config.max_inflight_bytes),
            config,
        };
        Ok(Self {
            shared: Arc::new(shared),
            _directory: directory,
        })
    }

    /// Answers clients until `shutdown`, then syncs everything and leaves checkpoints for a quick start.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> Result<()> {
        let mut connections = JoinSet::new();
        let free = Arc::new(Semaphore::new(self.shared.config.max_connections));
        let mut tick = tokio::time::interval(GROUP_TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let Ok(slot) = Arc::clone(&free).try_acquire_owned() else {
                            tracing::warn!(%peer, "connection refused, broker.max_connections are open");
                            continue;
                        };
                        let shared = Arc::clone(&self.shared);
                        connections.spawn(async move {
                            connection::run(stream, peer, shared).await;
                            drop(slot);
                        });
                    }
                    Err(error) => {
                        // Out of file handles, say: the next tick tries again rather than spinning.
                        tracing::warn!(%error, "connection not accepted");
                        tick.tick().await;
                    }
                },
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                _ = tick.tick() => self.shared.groups.expire(Instant::now()),
            }
        }
        drop(listener);
        connections.shutdown().await;
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || shared.topics.close())
            .await
            .map_err(|error| {
                Error::new(ErrorKind::Internal, "broker did not close its topics").caused_by(error)
            })
    }
}

/// Opens the broker and serves until `shutdown`.
pub async fn serve(
    listener: TcpListener,
    config: BrokerConfig,
    clock: Clock,
    shutdown: CancellationToken,
) -> Result<()> {
    let broker = tokio::task::spawn_blocking(move || Broker::open(config, clock))
        .await
        .map_err(|error| {
            Error::new(ErrorKind::Internal, "broker did not open").caused_by(error)
        })??;
    broker.serve(listener, shutdown).await
}

impl Shared {
    /// Where a client that reached us over `local` is to connect.
    fn address_for(&self, local: SocketAddr) -> (String, u16) {
        self.advertised
            .clone()
            .unwrap_or_else(|| (local.ip().to_string(), local.port()))
    }
}
