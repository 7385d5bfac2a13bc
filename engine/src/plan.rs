//! What putting the SQL project on disk in force would do. Nothing happens: tables are made in a scratch folder.

mod changes;
mod rows;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

pub use self::changes::{ChangeKind, ColumnDifference, FileChange, PlannedTable};
pub use self::rows::{RowDifference, SampleRow};
use crate::bronze;
use crate::clock::Clock;
use crate::delta::newest_commit;
use crate::epoch::{Freshness, Manifest};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::project::{Diagnostic, Project, SourcesLock, check_project};
use crate::refresh::{ProjectConfig, RefreshConfig, Refresher, rebuilds, stored_project};
use crate::session::{Sessions, SourceConfig};
use crate::snapshots::Snapshots;

/// How a plan is made.
#[derive(Debug, Clone)]
pub struct PlanConfig {
    pub project: ProjectConfig,
    pub refresh: RefreshConfig,
    pub source: SourceConfig,
    /// Whether the tables are made, to compare their rows with those served.
    pub compares_rows: bool,
    /// Differing rows shown of each table.
    pub samples: usize,
}

/// The difference between the project on disk and the one served.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Plan {
    /// The epoch that is compared with; none in a new lake.
    pub epoch: Option<u64>,
    /// What is wrong with the project on disk; then there is no more to say.
    pub problems: Vec<Diagnostic>,
    pub files: Vec<FileChange>,
    pub tables: Vec<PlannedTable>,
    /// Size of what is read to make tables anew.
    pub rebuild_bytes: u64,
    /// Why saving is not enough and `apply` is needed.
    pub needs_apply: Vec<String>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.tables.is_empty()
    }
}

/// Compares the project on disk with the one of an epoch, on that epoch's data; of a new lake there is none. Takes no
/// lock: whoever asks holds the epoch meanwhile.
///
/// # Errors
/// `InvalidRequest` when `sources.lock` cannot be read; other problems of the project are in the plan.
pub async fn plan(
    lake: &Lake,
    config: &PlanConfig,
    epoch: Option<Arc<Manifest>>,
    clock: Clock,
) -> Result<Plan> {
    let memory = config.refresh.memory_limit_bytes;
    let sessions = Sessions::new(config.source.zone()?, memory)?.reading(lake);
    let before = match &epoch {
        Some(epoch) => Some(stored_project(lake, &epoch.project, &sessions).await?.0),
        None => None,
    };
    let folder = &config.project.path;
    let (read, lock) = (Project::load(folder)?, SourcesLock::load(folder)?);
    let after = check_project(read, &lock, &sessions).await?;
    let mut plan = Plan {
        epoch: epoch.as_ref().map(|epoch| epoch.epoch),
        ..Plan::default()
    };
    if !after.is_sound() {
        plan.problems = after.problems;
        return Ok(plan);
    }
    plan.files = changes::files(before.as_ref(), &after);
    plan.tables = changes::tables(before.as_ref(), &after);
    if let Some(epoch) = &epoch {
        let snapshots = Snapshots::new(lake);
        for rebuild in rebuilds(before.as_ref(), &after, epoch, &snapshots).await? {
            plan.rebuild_bytes += rebuild.bytes;
            if let Some(table) = plan.table(&rebuild.table.to_string()) {
                table.rebuild = Some(rebuild);
            }
        }
        plan.needs_apply = needs_apply(&plan, epoch, &after.project, &config.refresh);
    }
    if config.compares_rows && plan.tables.iter().any(PlannedTable::may_change_rows) {
        compare(lake, config, epoch, clock, &mut plan).await?;
    }
    Ok(plan)
}

impl Plan {
    fn table(&mut self, name: &str) -> Option<&mut PlannedTable> {
        self.tables.iter_mut().find(|table| table.table == name)
    }
}

fn needs_apply(
    plan: &Plan,
    epoch: &Manifest,
    on_disk: &Project,
    config: &RefreshConfig,
) -> Vec<String> {
    let mut reasons = Vec::new();
    let retired = plan
        .tables
        .iter()
        .filter(|table| table.kind == ChangeKind::Retired);
    reasons.extend(retired.map(|table| format!("{} is retired", table.table)));
    if plan.rebuild_bytes > config.apply_above_bytes {
        reasons.push(format!(
            "{} bytes are read to make tables anew, a save takes up to {}",
            plan.rebuild_bytes, config.apply_above_bytes
        ));
    }
    if epoch.refused.as_ref() == Some(&on_disk.fingerprint()) {
        reasons.push("these texts were rolled back".to_owned());
    }
    reasons
}

/// The tables that an epoch has, and their versions; in a new lake those of bronze. Whoever serves the lake meanwhile goes
/// on writing them.
async fn seen(lake: &Lake, epoch: Option<&Manifest>) -> Result<BTreeMap<String, u64>> {
    let mut seen = BTreeMap::new();
    if let Some(epoch) = epoch {
        let tables = epoch.tables.values();
        seen.extend(tables.map(|state| (state.path.clone(), state.version)));
        return Ok(seen);
    }
    for name in bronze::names(lake)? {
        let path = Lake::table_path(&name);
        if let Some(version) = newest_commit(lake, &path).await? {
            seen.insert(path, version);
        }
    }
    Ok(seen)
}

/// Makes the epoch after one in a scratch folder and compares its tables with those served.
async fn compare(
    lake: &Lake,
    config: &PlanConfig,
    epoch: Option<Arc<Manifest>>,
    clock: Clock,
    plan: &mut Plan,
) -> Result<()> {
    let scratch = tempfile::tempdir().map_err(|error| {
        Error::new(ErrorKind::Unavailable, "could not make a scratch folder")
            .hint("The system's folder for temporary files must be there and have room.")
            .caused_by(error)
    })?;
    let over = lake.over(scratch.path(), &seen(lake, epoch.as_deref()).await?)?;
    let memory = config.refresh.memory_limit_bytes;
    let sessions = || Ok::<_, Error>(Sessions::new(config.source.zone()?, memory)?.reading(&over));
    let refresher = Refresher::rehearsing(
        over.clone(),
        &config.project,
        &config.refresh,
        sessions()?,
        clock,
        epoch,
    )
    .await?;
    let rehearsal = refresher.rehearse().await?;
    let sessions = sessions()?;
    let comparison = rows::Comparison::new(&over, &sessions, config.samples);
    for table in &mut plan.tables {
        let name = table.name.clone();
        let served = rehearsal
            .before
            .as_ref()
            .and_then(|before| before.tables.get(&name));
        let made = rehearsal.after.tables.get(&name);
        if let Some(unbuilt) = rehearsal.after.unbuilt.get(&name) {
            table.held = Some(unbuilt.reason.clone());
        }
        let Some(made) = made.filter(|_| table.may_change_rows()) else {
            continue;
        };
        if made.state == Freshness::Held {
            table.held.clone_from(&made.reason);
            continue;
        }
        table.rows = Some(comparison.of(&name, served, made).await?);
    }
    Ok(())
}
