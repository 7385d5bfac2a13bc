//! Kafka to bronze: every message of every matching topic becomes one row, exactly once.
//!
//! `Intake` finds topics, opens their tables and says where reading starts; one `Reader` thread polls the client,
//! decodes and fills a `TopicBuffer` per topic; one `Writer` task per table commits what the reader cuts off.
//!
//! Promises: rows and the offsets they end at are one Delta commit; reading starts at the offset the table holds,
//! never at one that Kafka holds; memory is bounded, a slow table slows reading; no message stops the pipeline.
//! Left out: what a message means. Whatever is no envelope is a row with an `error`.

mod budget;
mod buffer;
mod client;
mod config;
mod error;
mod intake;
mod lag;
mod lineage;
mod metrics;
mod probe;
mod progress;
mod quantity;
mod reader;
mod replay;
mod requested;
mod rows;
mod topics;
mod traces;
mod upkeep;
mod writer;

pub use config::{IngestConfig, Start};
pub use requested::fulfil;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use changes::{KafkaConfig, Purpose};
use engine::{Clock, Error, ErrorKind, Lake, Lease, Requests, Result, Role};
use rdkafka::consumer::BaseConsumer;
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinError, JoinSet, spawn_blocking};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::budget::Budget;
use crate::buffer::FlushPolicy;
use crate::client::Client;
use crate::intake::Intake;
use crate::progress::Progress;
use crate::reader::{Reader, Setting};
use crate::topics::Discovery;

/// Assignments that wait for the reader's next look.
const QUEUED_ASSIGNMENTS: usize = 16;

/// Pause between two looks for requests of commands.
const REQUESTS: Duration = Duration::from_millis(250);

/// Patience with the client when it closes: the last group offsets, which only lag displays read.
const FAREWELL: Duration = Duration::from_secs(1);

/// Reads topics into bronze until `shutdown`, then commits what was read and returns.
///
/// `wake` is notified after each commit. A broker or a lake that is away is waited for. Errors are final: stored
/// offsets outside a topic (`Corrupt`), offsets moved by another writer or two topics of one table (`Conflict`), brokers
/// that refuse this client from the start (`Unauthenticated`).
pub async fn run(
    kafka: KafkaConfig,
    lake: Lake,
    lease: Lease,
    config: IngestConfig,
    clock: Clock,
    wake: Arc<Notify>,
    shutdown: CancellationToken,
) -> Result<()> {
    config.validate()?;
    let consumer: BaseConsumer = kafka.client(&Purpose::Consume).create().map_err(|error| {
        Error::new(
            ErrorKind::InvalidRequest,
            "could not set up the Kafka client",
        )
        .hint("Check the [kafka] section of the configuration.")
        .caused_by(error)
    })?;
    let (client, closed) = Client::new(consumer);
    let progress = Progress::default();
    let budget = Budget::new(config.max_buffered_bytes);
    let stop = shutdown.child_token();
    let _stop_when_dropped = stop.clone().drop_guard();
    let (sender, assignments) = mpsc::channel(QUEUED_ASSIGNMENTS);

    let reader = Reader::new(Setting {
        client: Arc::clone(&client),
        assignments,
        policy: FlushPolicy::from(&config),
        budget: budget.clone(),
        progress: progress.clone(),
        clock: Arc::clone(&clock),
        stop: stop.clone(),
    });
    let mut reading = spawn_blocking(move || reader.run());
    let lag = tokio::spawn(lag::watch(Arc::clone(&client), progress.clone()));
    let mut intake = Intake {
        kafka,
        client: Arc::clone(&client),
        requests: Requests::new(&lake, Role::Ingest),
        lake,
        lease,
        clock,
        discovery: Discovery::new(config.patterns()?),
        start: config.start,
        cluster: None,
        from_earliest: config
            .from_earliest
            .iter()
            .cloned()
            .collect::<BTreeSet<_>>(),
        anew: config.anew.iter().cloned().collect(),
        assignments: sender,
        progress: progress.clone(),
        wake,
        stop: stop.clone(),
        writers: JoinSet::new(),
        written: BTreeSet::new(),
        waiting: false,
        let_in: false,
        flushes: BTreeMap::new(),
        budget,
        upkeep: config.upkeep.clone(),
        orders: BTreeMap::new(),
    };

    let mut outcome = Ok(());
    let mut read = None;
    let mut looks = tokio::time::interval(config.discovery_interval);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut requests = tokio::time::interval(REQUESTS);
    requests.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while outcome.is_ok() && read.is_none() {
        tokio::select! {
            () = stop.cancelled() => break,
            ended = &mut reading => read = Some(settle(ended)),
            Some(ended) = intake.writers.join_next() => outcome = settle(ended),
            _ = looks.tick() => {
                tokio::select! {
                    () = stop.cancelled() => break,
                    looked = intake.look() => outcome = looked,
                }
            }
            _ = requests.tick() => {
                tokio::select! {
                    () = stop.cancelled() => break,
                    served = intake.serve() => outcome = served,
                }
            }
        }
    }

    stop.cancel();
    let read = match read {
        Some(read) => read,
        None => settle(reading.await),
    };
    outcome = outcome.and(read);
    while let Some(ended) = intake.writers.join_next().await {
        outcome = outcome.and(settle(ended));
    }
    lag.abort();
    reader::report_group_offsets(&client, &progress);
    drop((intake, client));
    drop(tokio::time::timeout(FAREWELL, closed).await);
    info!("ingest ended");
    outcome
}

fn settle(ended: Result<Result<()>, JoinError>) -> Result<()> {
    ended.unwrap_or_else(|error| {
        Err(Error::new(ErrorKind::Internal, "a part of ingest broke off").caused_by(error))
    })
}
