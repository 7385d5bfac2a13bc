//! Refresh: what is new in bronze and in the SQL project becomes the next epoch.
//!
//! A turn declares an intent, builds each table beside its last version, checks its rules, commits it, and publishes
//! one manifest. Everything is read at pinned versions, so an interrupted epoch is finished from its intent.

mod ages;
mod bronze_watch;
mod build;
mod digest;
mod due;
mod edit;
mod fold;
mod in_force;
mod judged;
mod kept_aside;
pub(crate) mod now;
mod quality;
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
use self::in_force::{Edit, InForce};
pub(crate) use self::in_force::{differing, stored_project, stored_texts};
pub(crate) use self::quality::results_schema;
pub use self::rebuilds::Rebuild;
pub(crate) use self::rebuilds::{affected, rebuilds};
use self::requested::Wanted;
pub(crate) use self::rollback::nothing_before;
pub use self::rules::CheckOutcome;
pub(crate) use self::rules::{count_rows, count_table, outcome};
use self::selection::Selection;
pub use self::selection::selected;
pub use self::standing::Standing;
use sql_files::TableName;

use self::upkeep::Tending;
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
        let newest = epochs.newest_listed().await?.map(Arc::new);
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
        let in_force = InForce::open(&lake, &project.path, newest.as_deref(), &sessions).await?;
        Ok(Self {
            bronze: BronzeWatch::new(&lake),
            snapshots: Snapshots::new(&lake),
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
            sessions,
            lake,
            lease,
            clock,
            epochs,
            newest,
            unfinished,
        })
    }

    /// Turns until told to stop; `wake` rings when bronze has news.
    ///
    /// # Errors
    /// What no later turn can mend. Storage that is away is tried again.
    pub async fn run(mut self, wake: Arc<Notify>, shutdown: CancellationToken) -> Result<()> {
        let pause = Duration::from_millis(self.config.poll_ms.max(10));
        while !shutdown.is_cancelled() {
            match self.requests_and_turn().await {
                Ok(Turn::Published(_)) => continue,
                Ok(Turn::Quiet) => {}
                Err(failed) if failed.kind() == ErrorKind::Unavailable => {
                    error!(error = %failed.with_causes(), "a refresh failed and is tried again");
                    // A commit whose answer was lost may have landed: writers open at what is there.
                    self.tables.clear();
                }
                Err(failed) => return Err(failed),
            }
            tokio::select! {
                () = shutdown.cancelled() => {}
                () = wake.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
        Ok(())
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
        if let Some(intent) = self.unfinished.clone() {
            let project = self
                .project
                .stored(&self.lake, &intent.project, &self.sessions)
                .await?;
            info!(epoch = intent.epoch, "an interrupted epoch is finished");
            let refused = intent.refused.clone();
            let term = self.lease.term();
            let turn = match self.epochs.published_by(term, intent.epoch).await? {
                Some(published) => self.take_up(Arc::new(published)),
                None => self.finish(intent, &project, None, started).await?,
            };
            self.project.settle(&self.lake, project, refused).await?;
            return Ok(turn);
        }
        let edit = self.take_edit().await?;
        self.advance(edit, started).await
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
        let intent = Intent {
            epoch: self.newest.as_ref().map_or(0, |newest| newest.epoch) + 1,
            term: self.lease.term(),
            now,
            project: project.project.fingerprint(),
            inputs,
            restores: None,
            refused: self.project.refused(),
        };
        self.lease.verify()?;
        let intent = self.epochs.declare(intent).await?;
        self.unfinished = Some(intent.clone());
        self.finish(intent, &project, edit, started).await
    }

    /// Makes an epoch that was declared, and publishes it.
    async fn finish(
        &mut self,
        intent: Intent,
        project: &CheckedProject,
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
        project: &CheckedProject,
        edit: Option<Edit>,
        started: Instant,
    ) -> Result<Turn> {
        let built = match intent.restores {
            Some(epoch) => self.restore(&intent, project, epoch).await?,
            None => Box::pin(self.build(&intent, project)).await?,
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
