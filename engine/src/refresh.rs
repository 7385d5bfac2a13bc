//! Refresh: what is new in bronze and in the SQL project becomes the next epoch.
//!
//! A turn declares an intent, builds each table beside its last version, checks its rules, commits it, and publishes
//! one manifest. Everything is read at pinned versions, so an interrupted epoch is finished from its intent.

mod ages;
mod bronze_watch;
mod brought_back;
mod build;
mod digest;
mod due;
mod edit;
mod fold;
mod give_up;
mod held;
mod in_force;
mod judged;
mod kept_aside;
mod newer;
pub(crate) mod now;
mod progress;
mod quality;
mod reading;
mod rebuilds;
mod recheck;
mod rehearsal;
mod requested;
mod rollback;
mod rules;
mod selection;
mod standing;
mod upkeep;
mod whole;
mod within;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::Deserialize;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, error, info};

use self::bronze_watch::BronzeWatch;
use self::brought_back::is_of_other_bronze;
pub(crate) use self::fold::{fold_statement, taken};
use self::give_up::ends_the_turn;
use self::in_force::{Edit, InForce};
pub(crate) use self::in_force::{differing, stored_project, stored_texts};
pub(crate) use self::quality::results_schema;
pub use self::rebuilds::Rebuild;
pub(crate) use self::rebuilds::{affected, rebuilds};
use self::requested::Wanted;
pub(crate) use self::rollback::nothing_before;
pub use self::rules::CheckOutcome;
pub(crate) use self::rules::{
    RowByRow, count_rows, count_table, failing_rows, kept_out_rows, keys_of, outcome, rule_column,
    shown_key,
};
use self::selection::Selection;
pub use self::selection::selected;
pub use self::standing::Standing;
use sql_files::TableName;

use self::upkeep::Tending;
use self::within::{Failing, Rest};
use crate::clock::Clock;
use crate::delta::Table;
use crate::epoch::{EpochLog, Intent, Manifest};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::lease::{Lease, Role};
use crate::metrics;
use crate::project::CheckedProject;
use crate::requests::Requests;
use crate::session::{Sessions, SourceConfig};
use crate::snapshots::Snapshots;
use crate::traces;
use crate::upkeep::{Ledger, UpkeepConfig};

/// `[sql]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProjectConfig {
    /// Folder of the SQL project.
    pub path: PathBuf,
}

impl Default for ProjectConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from("sql"),
        }
    }
}

/// `[refresh]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RefreshConfig {
    /// Pause between two looks at bronze and at the project, milliseconds; ingest in the same process wakes it sooner.
    pub poll_ms: u64,
    /// How often a table that reads the clock is computed anew when nothing else changed, seconds.
    pub clock_seconds: u64,
    /// Memory that building tables may use before it spills, bytes.
    pub memory_limit_bytes: usize,
    /// Days for which `quality.results` keeps the checks that were made.
    pub keep_checks_days: u32,
    /// An edit that has to read more than this to make tables anew waits for `sportlake apply`, bytes.
    pub apply_above_bytes: u64,
    /// Seconds that making one table may take; then it is held, and rests for ten times as long. 0 for no limit.
    pub build_seconds: u64,
    /// The section `[upkeep]`.
    #[serde(skip)]
    pub upkeep: UpkeepConfig,
}

impl Default for RefreshConfig {
    fn default() -> Self {
        Self {
            poll_ms: 250,
            clock_seconds: 60,
            memory_limit_bytes: 2 << 30,
            keep_checks_days: 30,
            apply_above_bytes: 4 << 30,
            build_seconds: 3600,
            upkeep: UpkeepConfig::default(),
        }
    }
}

/// What a turn did.
#[derive(Debug, Clone)]
pub enum Turn {
    Quiet,
    Published(Arc<Manifest>),
}

/// The refresh role: the one writer of silver, gold and epochs.
pub struct Refresher {
    lake: Lake,
    lease: Lease,
    config: RefreshConfig,
    clock: Clock,
    sessions: Sessions,
    snapshots: Snapshots,
    epochs: EpochLog,
    project: InForce,
    bronze: BronzeWatch,
    newest: Option<Arc<Manifest>>,
    /// An epoch that was declared and is not published.
    unfinished: Option<Intent>,
    /// Tables as this writer holds them open.
    tables: BTreeMap<TableName, Table>,
    /// When a table that reads the clock was last found unchanged.
    found_same: BTreeMap<TableName, DateTime<Utc>>,
    /// Tables that are older than their files allow.
    late: BTreeSet<TableName>,
    requests: Requests,
    /// Tables that the next turn is about, because a command asks for them.
    wanted: Option<Wanted>,
    /// The same, found in the project that the turn works with.
    selection: Option<Selection>,
    ledger: Ledger,
    tending: Tending,
    /// Tables that took too long.
    rests: BTreeMap<TableName, Rest>,
    /// When tables whose error may pass are tried again.
    retries: BTreeMap<TableName, Rest>,
    failing: Option<Failing>,
    /// Ends a build when the role is to end.
    stop: CancellationToken,
    /// Whether nobody waits for what it makes, so that it looks at nobody's wishes.
    is_rehearsal: bool,
}

impl Refresher {
    /// Takes up the role where the last holder left it.
    ///
    /// # Errors
    /// `Conflict` when a later term already declared an epoch.
    pub async fn open(
        lake: Lake,
        lease: Lease,
        project: &ProjectConfig,
        config: &RefreshConfig,
        source: &SourceConfig,
        clock: Clock,
    ) -> Result<Self> {
        let sessions = Sessions::new(source.zone()?, config.memory_limit_bytes)?.reading(&lake);
        Self::open_with(lake, lease, project, config, sessions, clock).await
    }

    /// The same with sessions that others share.
    pub(crate) async fn open_with(
        lake: Lake,
        lease: Lease,
        project: &ProjectConfig,
        config: &RefreshConfig,
        sessions: Sessions,
        clock: Clock,
    ) -> Result<Self> {
        if lease.role() != Role::Refresh {
            return Err(Error::new(
                ErrorKind::Internal,
                "epochs are written by the refresh role alone",
            ));
        }
        let epochs = EpochLog::new(lake.clone());
        let newest = match epochs.newest_listed().await? {
            Some(newest) => Some(Arc::new(brought_back::taken_up(&lake, newest).await?)),
            None => None,
        };
        let next = newest.as_ref().map_or(0, |newest| newest.epoch) + 1;
        let unfinished = epochs.intent(next).await?;
        if let Some(intent) = &unfinished
            && intent.term > lease.term()
        {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("epoch {next} was declared in a later term of this lease"),
            ));
        }
        let mut refresher = Self::at(lake, lease, project, config, sessions, clock, newest).await?;
        refresher.unfinished = unfinished;
        Ok(refresher)
    }

    /// The role as it stands on an epoch, whatever was begun after it.
    async fn at(
        lake: Lake,
        lease: Lease,
        project: &ProjectConfig,
        config: &RefreshConfig,
        sessions: Sessions,
        clock: Clock,
        newest: Option<Arc<Manifest>>,
    ) -> Result<Self> {
        let in_force = InForce::open(&lake, &project.path, newest.as_deref(), &sessions).await?;
        Ok(Self {
            bronze: BronzeWatch::new(&lake),
            snapshots: Snapshots::new(&lake),
            epochs: EpochLog::new(lake.clone()),
            project: in_force,
            config: config.clone(),
            tables: BTreeMap::new(),
            found_same: BTreeMap::new(),
            late: BTreeSet::new(),
            requests: Requests::new(&lake, Role::Refresh),
            wanted: None,
            selection: None,
            ledger: Ledger::new(&lake),
            tending: Tending::default(),
            rests: BTreeMap::new(),
            retries: BTreeMap::new(),
            failing: None,
            stop: CancellationToken::new(),
            is_rehearsal: false,
            unfinished: None,
            sessions,
            lake,
            lease,
            clock,
            newest,
        })
    }

    /// Turns until told to stop; `wake` rings when bronze has news.
    ///
    /// # Errors
    /// What no later turn can mend. Storage that is away is tried again.
    pub async fn run(mut self, wake: Arc<Notify>, shutdown: CancellationToken) -> Result<()> {
        self.stop = shutdown.clone();
        while !shutdown.is_cancelled() {
            let turn = self.requests_and_turn().await;
            // What is on disk when the role starts is whole.
            self.project.let_edits_settle();
            match turn {
                Ok(Turn::Published(_)) => continue,
                Ok(Turn::Quiet) => {}
                Err(ended) if ended.kind() == ErrorKind::Cancelled => {
                    info!("{ended}");
                    continue;
                }
                Err(failed) if failed.kind() == ErrorKind::Unavailable => {
                    error!(error = %failed.with_causes(), "a refresh failed and is tried again");
                    // A commit whose answer was lost may have landed: writers open at what is there.
                    self.tables.clear();
                }
                Err(failed) => return Err(failed),
            }
            let pause = self.pause();
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(())
    }

    fn pause(&self) -> Duration {
        let pause = Duration::from_millis(self.config.poll_ms.max(10));
        match self.project.settles_in() {
            Some(settles) => pause.min(settles.max(Duration::from_millis(10))),
            None => pause,
        }
    }

    /// What commands ask for comes first: they wait.
    async fn requests_and_turn(&mut self) -> Result<Turn> {
        self.serve_requests().await?;
        let turn = self.turn().await?;
        if let Err(unknown) = self.watch_ages().await {
            debug!(error = %unknown, "the tables' ages are not known");
        }
        self.upkeep_step().await?;
        Ok(turn)
    }

    /// Publishes one epoch when something changed.
    pub async fn turn(&mut self) -> Result<Turn> {
        let started = Instant::now();
        if let Some(intent) = self.unfinished.clone()
            && let Some(turn) = self.resume(intent, started).await?
        {
            return Ok(turn);
        }
        let edit = self.take_edit().await?;
        self.advance(edit, started).await
    }

    /// Finishes an epoch that was declared and not published; none where it is given up, for something newer.
    async fn resume(&mut self, intent: Intent, started: Instant) -> Result<Option<Turn>> {
        let (term, refused) = (self.lease.term(), intent.refused.clone());
        let published = self.epochs.published_by(term, intent.epoch).await?;
        if published.is_none() {
            let newer = match self.watch(&intent).look().await {
                Err(error) if ends_the_turn(&error) => return Err(error),
                newer => newer.ok().flatten(),
            };
            if newer.is_some() || is_of_other_bronze(&self.lake, &intent).await? {
                self.give_up(&intent).await?;
                return Ok(None);
            }
        }
        let stored = self
            .project
            .stored(&self.lake, &intent.project, &self.sessions);
        let project = match stored.await {
            Ok(project) => project,
            Err(error) if ends_the_turn(&error) || published.is_some() => return Err(error),
            Err(error) => {
                error!(error = %error.with_causes(), "an interrupted epoch cannot be finished");
                self.give_up(&intent).await?;
                return Ok(None);
            }
        };
        let turn = match published {
            Some(published) => self.take_up(Arc::new(published)),
            None => {
                info!(epoch = intent.epoch, "an interrupted epoch is finished");
                self.finish(intent, &project, None, started).await?
            }
        };
        self.project.settle(&self.lake, project, refused).await?;
        Ok(Some(turn))
    }

    /// Publishes one epoch of the project in force when something changed.
    async fn advance(&mut self, edit: Option<Edit>, started: Instant) -> Result<Turn> {
        let Some(project) = self.project.current() else {
            return Ok(Turn::Quiet);
        };
        self.select(&project)?;
        let inputs = self.bronze.versions().await?;
        let now = (self.clock)();
        if !self.is_due(&project, &inputs, now) {
            return Ok(Turn::Quiet);
        }
        let intent = self.next(&project, inputs, now).await?;
        self.lease.verify()?;
        let intent = self.epochs.declare(intent).await?;
        self.unfinished = Some(intent.clone());
        self.finish(intent, &project, edit, started).await
    }

    /// What the next epoch is computed from.
    async fn next(
        &self,
        project: &CheckedProject,
        inputs: BTreeMap<TableName, u64>,
        now: DateTime<Utc>,
    ) -> Result<Intent> {
        Ok(Intent {
            epoch: self.newest.as_ref().map_or(0, |newest| newest.epoch) + 1,
            term: self.lease.term(),
            now,
            project: project.project.fingerprint(),
            commits: brought_back::fingerprints(&self.lake, &inputs).await?,
            inputs,
            restores: None,
            refused: self.project.refused(),
        })
    }

    /// Makes an epoch that was declared, and publishes it.
    async fn finish(
        &mut self,
        intent: Intent,
        project: &Arc<CheckedProject>,
        edit: Option<Edit>,
        started: Instant,
    ) -> Result<Turn> {
        let span = traces::epoch(intent.epoch);
        let making = self.make(intent, project, edit, started);
        let made = Box::pin(making).instrument(span.clone()).await;
        match &made {
            Ok(Turn::Published(_)) => traces::ended(&span, "published"),
            Ok(Turn::Quiet) => traces::ended(&span, "unchanged"),
            Err(error) => traces::failed(&span, error),
        }
        made
    }

    async fn make(
        &mut self,
        intent: Intent,
        project: &Arc<CheckedProject>,
        edit: Option<Edit>,
        started: Instant,
    ) -> Result<Turn> {
        let built = match intent.restores {
            Some(epoch) => self.restore(&intent, project, epoch).await,
            None => Box::pin(self.build(&intent, project)).await,
        };
        let built = match built {
            Ok(built) => built,
            Err(error) => {
                let is_over = error.kind() == ErrorKind::Cancelled || !ends_the_turn(&error);
                if is_over {
                    Box::pin(self.give_up(&intent)).await?;
                }
                return Err(error);
            }
        };
        let Some(manifest) = built.manifest else {
            self.epochs.withdraw(intent.epoch).await?;
            self.unfinished = None;
            return Ok(Turn::Quiet);
        };
        self.lease.verify()?;
        let manifest = Arc::new(manifest);
        Span::current().record("tables", built.rebuilt.len());
        let publishing = self.epochs.publish(&manifest);
        publishing.instrument(traces::publish(intent.epoch)).await?;
        let before = self.newest.clone();
        let turn = self.take_up(manifest.clone());
        self.project.publish(project.clone());
        metrics::observe_epoch(&manifest, started.elapsed());
        if let Some(before) = before {
            self.tell_freshness(&before, &manifest).await;
        }
        let seconds = started.elapsed().as_secs_f64();
        debug!(epoch = manifest.epoch, seconds, "epoch published");
        if let Some(edit) = edit {
            let rebuilt: Vec<String> = built.rebuilt.iter().map(TableName::to_string).collect();
            let rebuilt = match rebuilt.is_empty() {
                true => "no table changed".to_owned(),
                false => format!("{} rebuilt", rebuilt.join(", ")),
            };
            info!(
                "{edit} changed: {rebuilt} in epoch {} ({seconds:.1} s)",
                manifest.epoch
            );
        }
        Ok(turn)
    }

    /// A published epoch becomes the one that the next follows.
    fn take_up(&mut self, manifest: Arc<Manifest>) -> Turn {
        self.unfinished = None;
        self.newest = Some(manifest.clone());
        Turn::Published(manifest)
    }
}

#[cfg(test)]
pub(crate) mod tests;
