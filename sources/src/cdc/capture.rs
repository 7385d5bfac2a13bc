use std::collections::{BTreeMap, BTreeSet};
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
use super::state::{self, Route, State};
use super::stream::{End, Stream};
use super::table::Table;
use crate::postgres::{Address, Connection, Lsn, Replication, literal, quoted, sqlstate};
use crate::topics::{self, Cluster};

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
    /// About how many rows there are; below 0 where PostgreSQL has not counted yet.
    pub rows: i64,
    pub action: Action,
}

/// What a start would do with a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    Load,
    GoOn,
    /// It cannot be captured as it is; the reason.
    Skip(String),
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
    let _alone = state::hold(&config.state)?;
    let mut capture = Capture {
        kafka,
        address,
        config,
        clock,
        shutdown: shutdown.clone(),
        tell: &tell,
        report: Report::default(),
        following: false,
        passed_over: BTreeMap::new(),
    };
    if options.new_generation {
        tokio::select! {
            begun = capture.begin_generation() => begun?,
            () = shutdown.cancelled() => return Ok(capture.report),
        }
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

pub(super) fn may_pass(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::Unavailable | ErrorKind::DeadlineExceeded
    )
}

/// What a start would do; changes nothing. The embedded broker is not asked: it may not run yet.
pub async fn plan(
    kafka: &KafkaConfig,
    address: &Address,
    config: &CdcConfig,
    options: CdcOptions,
    clock: &Clock,
) -> Result<Plan> {
    config.validate()?;
    let mut control = Connection::connect(address).await?;
    catalogue::check_server(&mut control).await?;
    let published = catalogue::published(&mut control, &config.publication).await?;
    let mut replicating = Connection::replicating(address).await?;
    let source = slot::identify(&mut replicating).await?;
    let seen = match kafka.is_embedded() {
        true => None,
        false => Some(topics::asked(kafka).await?),
    };
    let cluster = seen.as_ref().and_then(|seen| seen.cluster.clone());
    let route = route(kafka, config, source, cluster);
    let (state, slot) = if options.new_generation {
        (State::next(&config.state, seconds(clock)), None)
    } else {
        let state = State::open(&config.state)?;
        let slot = slot::find(&mut control, &config.slot).await?;
        state.check(&route, slot.is_some())?;
        (state, slot)
    };
    let choice = choose(&mut control, published, &state, &kafka.prefix, config).await?;
    let names = choice.usable.iter().map(|(_, table)| table.topic.clone());
    let missing = match &seen {
        Some(seen) => topics::missing(seen, names.collect(), config.create_topics)?,
        None => BTreeSet::new(),
    };
    let mut tables = Vec::new();
    for (published, table) in &choice.usable {
        // A topic that has to be made holds nothing of what was loaded.
        let action = match state.loaded(published) {
            Some(_) if !missing.contains(&table.topic) => Action::GoOn,
            _ => Action::Load,
        };
        let sql = format!(
            "SELECT reltuples::bigint FROM pg_class WHERE oid = {}",
            published.oid
        );
        let rows = control
            .value(&sql)
            .await?
            .and_then(|rows| rows.parse().ok());
        tables.push(PlannedTable {
            table: published.name(),
            topic: table.topic.clone(),
            rows: rows.unwrap_or(-1),
            action,
        });
    }
    tables.extend(
        choice
            .skipped
            .iter()
            .map(|(published, error)| PlannedTable {
                table: published.name(),
                topic: String::new(),
                rows: -1,
                action: Action::Skip(error.to_string()),
            }),
    );
    Ok(Plan {
        server: address.shown(),
        slot_exists: slot.is_some(),
        generation: state.generation(),
        tables,
    })
}

fn seconds(clock: &Clock) -> u64 {
    u64::try_from(clock().timestamp()).unwrap_or(0)
}

fn route(
    kafka: &KafkaConfig,
    config: &CdcConfig,
    source: String,
    cluster: Option<String>,
) -> Route {
    Route {
        source,
        slot: config.slot.clone(),
        prefix: kafka.prefix.clone(),
        cluster,
    }
}

/// The tables of the publication, told apart.
struct Choice {
    usable: Vec<(Published, Table)>,
    skipped: Vec<(Published, Error)>,
}

/// One table that cannot be captured is passed over, unless nothing was captured yet: who starts wants to know.
async fn choose(
    control: &mut Connection,
    published: Vec<Published>,
    state: &State,
    prefix: &str,
    config: &CdcConfig,
) -> Result<Choice> {
    let mut choice = Choice {
        usable: Vec::new(),
        skipped: Vec::new(),
    };
    for table in published {
        let to_load = state.loaded(&table).is_none();
        match catalogue::usable(control, &table, prefix, config, to_load).await {
            Ok(description) => choice.usable.push((table, description)),
            Err(error) if may_pass(&error) || !state.has_begun() => return Err(error),
            Err(error) => choice.skipped.push((table, error)),
        }
    }
    if choice.usable.is_empty()
        && let Some((_, error)) = choice.skipped.pop()
    {
        return Err(error);
    }
    Ok(choice)
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
    /// By name, tables that cannot be captured and why, as it was said.
    passed_over: BTreeMap<String, String>,
}

impl Capture<'_> {
    /// The slot goes first: without it, a start that is cut off here is refused until it is made again.
    async fn begin_generation(&self) -> Result<()> {
        let mut control = Connection::connect(self.address).await?;
        catalogue::check_server(&mut control).await?;
        catalogue::published(&mut control, &self.config.publication).await?;
        slot::drop_slot(&mut control, self.config).await?;
        let state = State::begin_generation(&self.config.state, seconds(&self.clock))?;
        info!(generation = state.generation(), "a generation begins");
        Ok(())
    }

    /// From signing in until something ends it.
    async fn session(&mut self) -> Result<End> {
        let mut control = Connection::connect(self.address).await?;
        catalogue::check_server(&mut control).await?;
        let published = catalogue::published(&mut control, &self.config.publication).await?;
        let mut state = State::open(&self.config.state)?;
        let prefix = &self.kafka.prefix;
        let choice = choose(&mut control, published.clone(), &state, prefix, self.config).await?;
        self.tell_of(&choice.skipped);
        let mut replicating = Connection::replicating(self.address).await?;
        let source = slot::identify(&mut replicating).await?;
        let cluster = Cluster::connect(self.kafka)?;
        let seen = cluster.look().await?;
        let route = route(self.kafka, self.config, source, seen.cluster.clone());
        let found = slot::find(&mut control, &self.config.slot).await?;
        state.check(&route, found.is_some())?;
        // A topic that has to be made holds nothing of what was loaded; who is cut off once it is there has to know.
        let kept: Vec<Published> = choice
            .usable
            .iter()
            .filter(|(_, table)| seen.topics.contains_key(&table.topic))
            .map(|(published, _)| published.clone())
            .collect();
        state.keep(&kept)?;
        let names = choice.usable.iter().map(|(_, table)| table.topic.clone());
        let may_create = self.config.create_topics;
        topics::ensure_named(&cluster, &seen, names.collect(), may_create).await?;
        let tables: Vec<Published> = choice.usable.into_iter().map(|(table, _)| table).collect();

        let sink = Sink::connect(self.kafka, state.generation())?;
        let safe = self
            .load(
                &mut control,
                replicating,
                found,
                &tables,
                &mut state,
                &route,
                &sink,
            )
            .await?;
        let replication = self.replicate(&mut control).await?;
        metrics::is_connected(&self.config.slot, true);
        self.following = true;
        (self.tell)(Progress::Following);
        let loaded = tables
            .iter()
            .filter_map(|table| Some((table.oid, state.loaded(table)?)));
        let mut stream = Stream {
            replication,
            control,
            config: self.config,
            prefix: &self.kafka.prefix,
            clock: &self.clock,
            sink: &sink,
            loaded: loaded.collect(),
            published,
            skipped: choice.skipped.into_iter().map(|(table, _)| table).collect(),
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
        tables: &[Published],
        state: &mut State,
        route: &Route,
        sink: &Sink,
    ) -> Result<Lsn> {
        let missing: Vec<Published> = tables
            .iter()
            .filter(|table| state.loaded(table).is_none())
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
                slot::wait_until_free(control, self.config).await?;
                let snapshot = slot::export(control, replicating, &self.config.slot).await?;
                (Some(snapshot), slot.confirmed)
            }
        };
        state.began(route)?;
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

    /// Says once which tables are passed over, and which no longer.
    fn tell_of(&mut self, skipped: &[(Published, Error)]) {
        metrics::skips(&self.config.slot, skipped.len());
        let now: BTreeMap<String, String> = skipped
            .iter()
            .map(|(table, error)| (table.name(), error.to_string()))
            .collect();
        for (table, error) in skipped {
            let name = table.name();
            if self.passed_over.get(&name) != now.get(&name) {
                let hint = error.hint_text();
                warn!(table = name, error = %error, hint, "the table is not captured until that is mended");
            }
        }
        for table in self
            .passed_over
            .keys()
            .filter(|table| !now.contains_key(*table))
        {
            info!(table, "the table is no longer passed over");
        }
        self.passed_over = now;
    }

    async fn replicate(&self, control: &mut Connection) -> Result<Replication> {
        slot::wait_until_free(control, self.config).await?;
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
