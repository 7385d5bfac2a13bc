use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use changes::{Clock, Error, ErrorKind, KafkaConfig, Result};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::catalogue::{self, Published};
use super::choice::{Choice, Skipped};
use super::config::CdcConfig;
use super::metrics;
use super::observer::Observer;
use super::sink::Sink;
use super::slot::{self, Slot, Snapshot};
use super::snapshot::Load;
use super::state::{self, Route, State};
use super::stream::{End, Stream};
use crate::postgres::{Address, Connection, Lsn, Replication, literal, quoted, sqlstate};
use crate::topics::{self, Cluster, Seen};

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
    let _observer = Observer::start(address, config);
    let mut capture = Capture {
        kafka,
        address,
        config,
        clock,
        shutdown: shutdown.clone(),
        tell: &tell,
        report: Report::default(),
        under_way: false,
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
        let was_under_way = std::mem::take(&mut capture.under_way);
        let ended = tokio::select! {
            ended = capture.session() => ended,
            // A stream ends by itself, with what Kafka acknowledged until then; a load is begun anew another time.
            () = capture_stops(&shutdown) => Ok(End::Stopped),
        };
        metrics::is_connected(&config.slot, false);
        if capture.under_way {
            pause = PAUSE;
        }
        match ended {
            Ok(End::Stopped) => return Ok(capture.report),
            Ok(End::TablesChanged) => info!("the publication's tables changed"),
            Err(error)
                if may_pass(&error) && (capture.under_way || was_under_way || pause > PAUSE) =>
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

struct Capture<'a> {
    kafka: &'a KafkaConfig,
    address: &'a Address,
    config: &'a CdcConfig,
    clock: Clock,
    shutdown: CancellationToken,
    tell: &'a (dyn Fn(Progress) + Send + Sync),
    report: Report,
    /// Whether this session came as far as to write rows or changes.
    under_way: bool,
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
        let mut state = State::open(&self.config.state)?;
        let ended = self.session_with(&mut state).await;
        let settled = state.settle();
        let end = ended?;
        settled.map(|()| end)
    }

    async fn session_with(&mut self, state: &mut State) -> Result<End> {
        let mut control = Connection::connect(self.address).await?;
        catalogue::check_server(&mut control).await?;
        let published = catalogue::published(&mut control, &self.config.publication).await?;
        let prefix = &self.kafka.prefix;
        let mut choice =
            Choice::of(&mut control, published.clone(), state, prefix, self.config).await?;
        let mut replicating = Connection::replicating(self.address).await?;
        let (source, timeline) = slot::identify(&mut replicating).await?;
        let cluster = Cluster::connect(self.kafka)?;
        let seen = cluster.look().await?;
        let route = Route {
            source,
            timeline,
            slot: self.config.slot.clone(),
            prefix: prefix.clone(),
            cluster: seen.cluster.clone(),
        };
        let found = slot::find(&mut control, &self.config.slot).await?;
        check(state, &route, found.as_ref(), &mut replicating).await?;
        // A topic that has to be made holds nothing of what was loaded; who is cut off once it is there has to know.
        state.keep(&choice.with_topics(&seen))?;
        let may_create = self.config.create_topics;
        let mut refused =
            topics::ensure_named(&cluster, &seen, choice.topics(), may_create).await?;
        choice.pass_over(|_, table| refused.remove(&table.topic))?;
        let mut choice = choice.if_any()?;
        self.tell_of(&choice.skipped);
        let held = held(&cluster, &seen, &choice, state).await?;

        let sink = Sink::connect(self.kafka, state.generation())?;
        let (snapshot, safe) = self
            .snapshot(&mut control, replicating, found, &mut choice, state)
            .await?;
        state.began(&route, safe)?;
        if let Some(snapshot) = snapshot {
            let missing = missing(&choice, state);
            let load = Load {
                address: self.address,
                config: self.config,
                prefix: &self.kafka.prefix,
                clock: &self.clock,
                sink: &sink,
                held: &held,
                tell: self.tell,
            };
            self.under_way = true;
            self.report.loaded += load.tables(&snapshot, &missing, state).await?;
        }
        let replication = self.replicate(&mut control).await?;
        metrics::is_connected(&self.config.slot, true);
        self.under_way = true;
        (self.tell)(Progress::Following);
        let loaded: BTreeMap<u32, Lsn> = choice
            .usable
            .iter()
            .filter_map(|(table, _)| Some((table.oid, state.loaded(table)?)))
            .collect();
        let mut stream = Stream {
            replication,
            control,
            config: self.config,
            prefix: &self.kafka.prefix,
            clock: &self.clock,
            sink: &sink,
            state,
            loaded,
            published,
            skipped: choice.skipped,
            safe,
            shutdown: self.shutdown.clone(),
            written: 0,
        };
        let ended = stream.run().await;
        self.report.changes += stream.written;
        match ended {
            Err(error) if sqlstate(&error) == Some("42704") => {
                catalogue::published(&mut stream.control, &self.config.publication).await?;
                Err(was_missing(&self.config.publication).caused_by(error))
            }
            ended => ended,
        }
    }

    /// What the tables that are not loaded yet are loaded from, if there are any, and the position from which on changes
    /// are sent.
    async fn snapshot(
        &mut self,
        control: &mut Connection,
        replicating: Connection,
        found: Option<Slot>,
        choice: &mut Choice,
        state: &State,
    ) -> Result<(Option<Snapshot>, Lsn)> {
        let Some(slot) = found else {
            let snapshot = slot::create(control, replicating, &self.config.slot).await?;
            let safe = snapshot.as_of;
            return Ok((Some(snapshot), safe));
        };
        let missing = missing(choice, state);
        if missing.is_empty() {
            return Ok((None, slot.confirmed));
        }
        slot::wait_until_free(control, self.config).await?;
        match slot::export(control, replicating, &self.config.slot).await {
            Ok(snapshot) => Ok((Some(snapshot), slot.confirmed)),
            // Tables that are captured already need no other slot.
            Err(error) if !may_pass(&error) && missing.len() < choice.usable.len() => {
                choice.pass_over(|table, _| {
                    missing.contains(table).then(|| not_loaded(table, &error))
                })?;
                self.tell_of(&choice.skipped);
                Ok((None, slot.confirmed))
            }
            Err(error) => Err(error),
        }
    }

    /// Says once which tables are passed over, and which no longer.
    fn tell_of(&mut self, skipped: &[Skipped]) {
        metrics::skips(&self.config.slot, skipped.len());
        let now: BTreeMap<String, String> = skipped
            .iter()
            .map(|skipped| (skipped.table.name(), skipped.error.to_string()))
            .collect();
        for Skipped { table, error, .. } in skipped {
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

/// Refuses to go on from another place than the one that was reached.
pub(super) async fn check(
    state: &State,
    route: &Route,
    slot: Option<&Slot>,
    replicating: &mut Connection,
) -> Result<()> {
    state.check(route, slot.is_some())?;
    if let Some(left) = state.left_timeline(route.timeline) {
        let history = slot::history(replicating, route.timeline).await?;
        state.check_history(left, &history)?;
        info!(
            timeline = route.timeline,
            "the server failed over to one that has every change captured so far"
        );
    }
    slot.map_or(Ok(()), |slot| state.check_position(slot))
}

/// Those that are not loaded yet.
fn missing(choice: &Choice, state: &State) -> Vec<Published> {
    let tables = choice.usable.iter().map(|(published, _)| published);
    tables
        .filter(|table| state.loaded(table).is_none())
        .cloned()
        .collect()
}

/// The topics of tables to load that somebody has written to before: rows may be gone whose deletes are in no topic.
async fn held(
    cluster: &Cluster,
    seen: &Seen,
    choice: &Choice,
    state: &State,
) -> Result<BTreeSet<String>> {
    let topics = choice
        .usable
        .iter()
        .filter(|(published, _)| state.loaded(published).is_none())
        .filter_map(|(_, table)| {
            let shape = seen.topics.get(&table.topic)?;
            Some((table.topic.clone(), shape.partitions))
        });
    cluster.written(topics.collect()).await
}

/// PostgreSQL reads the log with the publication as it was then.
fn was_missing(publication: &str) -> Error {
    let message = format!(
        "publication \"{publication}\" was not there for a while, and the changes of then cannot be read"
    );
    Error::new(ErrorKind::Corrupt, message)
        .hint("Run sportlake cdc --new-generation: it loads every table again.")
}

fn not_loaded(table: &Published, error: &Error) -> Error {
    let cause =
        std::error::Error::source(error).map_or_else(String::new, |cause| format!(": {cause}"));
    let message = format!(
        "there is no snapshot to load \"{}\" from{cause}",
        table.name()
    );
    let skipped = Error::new(error.kind(), message);
    match error.hint_text() {
        Some(hint) => skipped.hint(hint),
        None => skipped,
    }
}

pub(super) fn seconds(clock: &Clock) -> u64 {
    u64::try_from(clock().timestamp()).unwrap_or(0)
}
