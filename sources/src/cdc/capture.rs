use std::time::Duration;

use changes::{Clock, Error, ErrorKind, KafkaConfig, Result};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::catalogue::{self, Published};
use super::config::CdcConfig;
use super::metrics;
use super::sink::Sink;
use super::slot::{self, Slot};
use super::snapshot::Load;
use super::state::State;
use super::stream::{End, Stream};
use crate::postgres::{Address, Connection, Replication, literal, quoted, sqlstate};
use crate::topics;

#[derive(Debug, Clone, Copy, Default)]
pub struct CdcOptions {
    /// Makes the slot anew and loads every table again, above everything written before.
    pub new_generation: bool,
}

/// How far the capture is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// Rows of a table read so far.
    Loading { table: String, rows: u64 },
    /// Changes are written as they are committed.
    Following,
}

/// What was written before the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    pub loaded: u64,
    pub changes: u64,
}

/// What a start would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub server: String,
    pub slot_exists: bool,
    pub generation: u64,
    pub tables: Vec<PlannedTable>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedTable {
    pub table: String,
    pub topic: String,
    /// About how many rows there are.
    pub rows: i64,
    /// Whether its rows are to be loaded.
    pub load: bool,
}

/// Pauses between two tries to connect again.
const PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Captures changes until the shutdown.
///
/// An error of the first start is the caller's. Later ones that may pass are waited out.
pub async fn run(
    kafka: &KafkaConfig,
    address: &Address,
    config: &CdcConfig,
    options: CdcOptions,
    clock: Clock,
    shutdown: CancellationToken,
    tell: impl Fn(Progress) + Send + Sync,
) -> Result<Report> {
    config.validate()?;
    let mut capture = Capture {
        kafka,
        address,
        config,
        clock,
        shutdown: shutdown.clone(),
        tell: &tell,
        report: Report::default(),
        following: false,
    };
    if options.new_generation {
        capture.begin_generation().await?;
    }
    let mut pause = PAUSE;
    loop {
        let was_following = std::mem::take(&mut capture.following);
        let ended = tokio::select! {
            ended = capture.session() => ended,
            // A stream ends by itself, with what Kafka acknowledged until then; a load is begun anew another time.
            () = capture_stops(&shutdown) => Ok(End::Stopped),
        };
        metrics::is_connected(&config.slot, false);
        if capture.following {
            pause = PAUSE;
        }
        match ended {
            Ok(End::Stopped) => return Ok(capture.report),
            Ok(End::TablesChanged) => info!("the publication's tables changed"),
            Err(error)
                if may_pass(&error) && (capture.following || was_following || pause > PAUSE) =>
            {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                warn!(error = %error, cause, pause_ms = pause.as_millis() as u64, "the capture was cut off and begins again");
                tokio::select! {
                    () = shutdown.cancelled() => return Ok(capture.report),
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Later than a stream needs to stop in order.
async fn capture_stops(shutdown: &CancellationToken) {
    const GRACE: Duration = Duration::from_secs(5);
    shutdown.cancelled().await;
    tokio::time::sleep(GRACE).await;
}

fn may_pass(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable | ErrorKind::DeadlineExceeded
    )
}

/// What a start would do; changes nothing.
pub async fn plan(
    kafka: &KafkaConfig,
    address: &Address,
    config: &CdcConfig,
    options: CdcOptions,
) -> Result<Plan> {
    config.validate()?;
    let mut control = Connection::connect(address).await?;
    catalogue::check_server(&mut control).await?;
    let published = catalogue::published(&mut control, &config.publication).await?;
    catalogue::check_identity(&mut control, &published).await?;
    let mut replicating = Connection::replicating(address).await?;
    let source = slot::identify(&mut replicating).await?;
    let state = State::open(&config.state)?;
    let slot = match options.new_generation {
        true => None,
        false => {
            let slot = slot::find(&mut control, &config.slot).await?;
            slot::check_continuity(&state, config, &source, slot.as_ref())?;
            slot
        }
    };
    let mut tables = Vec::new();
    for published in &published {
        let table = catalogue::current(&mut control, published, &kafka.prefix, config).await?;
        let sql = format!(
            "SELECT reltuples::bigint FROM pg_class WHERE oid = {}",
            published.regclass()
        );
        let rows = control
            .value(&sql)
            .await?
            .and_then(|rows| rows.parse().ok());
        tables.push(PlannedTable {
            table: published.name(),
            topic: table.topic,
            rows: rows.unwrap_or(-1),
            load: options.new_generation || state.loaded(&published.name()).is_none(),
        });
    }
    Ok(Plan {
        server: address.shown(),
        slot_exists: slot.is_some(),
        generation: state.generation() + u64::from(options.new_generation),
        tables,
    })
}

struct Capture<'a> {
    kafka: &'a KafkaConfig,
    address: &'a Address,
    config: &'a CdcConfig,
    clock: Clock,
    shutdown: CancellationToken,
    tell: &'a (dyn Fn(Progress) + Send + Sync),
    report: Report,
    /// Whether this session came as far as to read changes.
    following: bool,
}

impl Capture<'_> {
    async fn begin_generation(&self) -> Result<()> {
        let mut control = Connection::connect(self.address).await?;
        catalogue::check_server(&mut control).await?;
        catalogue::published(&mut control, &self.config.publication).await?;
        let state = State::begin_generation(&self.config.state, 1)?;
        slot::drop_slot(&mut control, &self.config.slot).await?;
        info!(generation = state.generation(), "a generation begins");
        Ok(())
    }

    /// From signing in until something ends it.
    async fn session(&mut self) -> Result<End> {
        let mut control = Connection::connect(self.address).await?;
        catalogue::check_server(&mut control).await?;
        let published = catalogue::published(&mut control, &self.config.publication).await?;
        catalogue::check_identity(&mut control, &published).await?;
        let mut names = Vec::new();
        for table in &published {
            names.push(
                catalogue::current(&mut control, table, &self.kafka.prefix, self.config)
                    .await?
                    .topic,
            );
        }
        topics::ensure_named(self.kafka, names, self.config.create_topics).await?;

        let mut replicating = Connection::replicating(self.address).await?;
        let source = slot::identify(&mut replicating).await?;
        let mut state = State::open(&self.config.state)?;
        let found = slot::find(&mut control, &self.config.slot).await?;
        slot::check_continuity(&state, self.config, &source, found.as_ref())?;
        state.keep(|name| published.iter().any(|table| table.name() == name))?;

        let sink = Sink::connect(self.kafka, state.generation())?;
        let safe = self
            .load(
                &mut control,
                replicating,
                found,
                &published,
                &mut state,
                &source,
                &sink,
            )
            .await?;
        let replication = self.replicate(&mut control).await?;
        metrics::is_connected(&self.config.slot, true);
        self.following = true;
        (self.tell)(Progress::Following);
        let loaded = published
            .iter()
            .filter_map(|table| Some((table.name(), state.loaded(&table.name())?)));
        let mut stream = Stream {
            replication,
            control,
            config: self.config,
            prefix: &self.kafka.prefix,
            clock: &self.clock,
            sink: &sink,
            loaded: loaded.collect(),
            published,
            safe,
            shutdown: self.shutdown.clone(),
            written: 0,
        };
        let ended = stream.run().await;
        self.report.changes += stream.written;
        ended
    }

    /// Loads the tables that are not loaded yet; the position from which on changes are sent.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a session has found out, used here alone"
    )]
    async fn load(
        &mut self,
        control: &mut Connection,
        replicating: Connection,
        found: Option<Slot>,
        published: &[Published],
        state: &mut State,
        source: &str,
        sink: &Sink,
    ) -> Result<crate::postgres::Lsn> {
        let missing: Vec<Published> = published
            .iter()
            .filter(|table| state.loaded(&table.name()).is_none())
            .cloned()
            .collect();
        let (snapshot, safe) = match found {
            None => {
                let snapshot = slot::create(control, replicating, &self.config.slot).await?;
                let safe = snapshot.as_of;
                (Some(snapshot), safe)
            }
            Some(slot) if missing.is_empty() => (None, slot.confirmed),
            Some(slot) => {
                slot::wait_until_free(control, &self.config.slot).await?;
                let snapshot = slot::export(control, replicating, &self.config.slot).await?;
                (Some(snapshot), slot.confirmed)
            }
        };
        state.began(source, &self.config.slot)?;
        if let Some(snapshot) = snapshot {
            let load = Load {
                address: self.address,
                config: self.config,
                prefix: &self.kafka.prefix,
                clock: &self.clock,
                sink,
                tell: self.tell,
            };
            self.report.loaded += load.tables(&snapshot, &missing, state).await?;
        }
        Ok(safe)
    }

    async fn replicate(&self, control: &mut Connection) -> Result<Replication> {
        slot::wait_until_free(control, &self.config.slot).await?;
        let sql = format!(
            "START_REPLICATION SLOT {} LOGICAL 0/0 (proto_version '1', publication_names {})",
            quoted(&self.config.slot),
            literal(&quoted(&self.config.publication))
        );
        let replicating = Connection::replicating(self.address).await?;
        replicating
            .start_replication(&sql)
            .await
            .map_err(|error| match sqlstate(&error) {
                Some("55006") => slot::in_use(&self.config.slot),
                _ => error,
            })
    }
}
