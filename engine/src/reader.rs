use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::logical_expr::TableType;
use datafusion::prelude::SessionContext;
use parking_lot::Mutex;
use serde::Deserialize;
use sql_files::{CATALOG, DEFAULT_SCHEMA, TableName};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::dead_letters;
use crate::epoch::{EpochLog, Manifest, TableState};
use crate::error::{Error, ErrorKind, Result};
use crate::front::{self, Read};
use crate::lake::Lake;
use crate::memory::Memory;
use crate::pinned::PinnedTable;
use crate::pins::{EpochHold, Pins, Reads, thinned};
use crate::policies::{InForce, PolicyFile};
use crate::principal::Principal;
use crate::refresh::{Standing, stored_texts};
use crate::session::{Sessions, SourceConfig, beside, describe, in_schema, public_views};
use crate::shown::ShownTable;
use crate::snapshots::Snapshots;
use crate::sources::{self, Drift};
use crate::statement::Statement;
use crate::system::{self, Activity};

/// Limits of the reading side.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReaderConfig {
    /// Memory that all running queries together may use before they spill, bytes. Half of it is shared out in advance
    /// among the statements that may run at once, the other half goes to whoever asks first.
    pub memory_limit_bytes: usize,
    /// Folder for what does not fit into memory; empty for the system's temporary one.
    pub spill_path: PathBuf,
    /// Bytes that all statements together may spill.
    pub spill_limit_bytes: u64,
    /// Memory for what Parquet files say of themselves, read once a file, bytes; 0 to read it each time.
    pub metadata_cache_bytes: usize,
}

impl Default for ReaderConfig {
    fn default() -> Self {
        Self {
            memory_limit_bytes: 2 << 30,
            spill_path: PathBuf::new(),
            spill_limit_bytes: 10 << 30,
            metadata_cache_bytes: 64 << 20,
        }
    }
}

/// Reads the lake: finds the newest epoch and opens sessions pinned to one. Takes no lock. Cheap to clone.
#[derive(Clone)]
pub struct Reader {
    lake: Lake,
    epochs: EpochLog,
    sessions: Sessions,
    snapshots: Snapshots,
    pins: Pins,
    newest: Arc<Mutex<Option<Arc<Manifest>>>>,
    /// Who sees what; nobody but operators sees anything without.
    policies: Option<PolicyFile>,
    /// What the tables of `system` tell of; they are not there without.
    activity: Option<Arc<dyn Activity>>,
}

impl Reader {
    /// # Errors
    /// `InvalidRequest` for a time zone that does not exist.
    pub fn new(lake: Lake, config: &ReaderConfig, source: &SourceConfig) -> Result<Self> {
        let sessions = Sessions::for_reading(source.zone()?, config)?.reading(&lake);
        Ok(Self::with_sessions(lake, sessions))
    }

    /// The same with sessions that others share.
    pub(crate) fn with_sessions(lake: Lake, sessions: Sessions) -> Self {
        Self {
            epochs: EpochLog::new(lake.clone()),
            sessions,
            snapshots: Snapshots::new(&lake),
            pins: Pins::new(&lake),
            newest: Arc::default(),
            policies: None,
            activity: None,
            lake,
        }
    }

    /// The newest epoch.
    ///
    /// # Errors
    /// `Unavailable` when nothing is published yet.
    pub async fn latest(&self) -> Result<Arc<Manifest>> {
        self.newest().await?.ok_or_else(|| {
            Error::new(ErrorKind::Unavailable, "the lake has no epoch yet")
                .hint("Start `sportlake up`; the first epoch follows the first events.")
        })
    }

    /// The newest epoch; none of a lake where nothing is published yet.
    pub async fn newest(&self) -> Result<Option<Arc<Manifest>>> {
        let known = self.newest.lock().clone();
        let newest = match &known {
            Some(known) => match self.epochs.after(known).await? {
                Some(next) => Some(Arc::new(next)),
                None => Some(known.clone()),
            },
            None => self.epochs.newest().await?.map(Arc::new),
        };
        if let Some(newest) = &newest {
            let mut kept = self.newest.lock();
            if kept.as_ref().is_none_or(|kept| kept.epoch < newest.epoch) {
                *kept = Some(newest.clone());
            }
        }
        Ok(newest)
    }

    /// A given epoch.
    ///
    /// # Errors
    /// `NotFound` when it was never published or is no longer kept.
    pub async fn epoch(&self, epoch: u64) -> Result<Arc<Manifest>> {
        let newest = self.newest.lock().clone();
        if let Some(newest) = newest.filter(|newest| newest.epoch == epoch) {
            return Ok(newest);
        }
        if let Some(manifest) = self.epochs.manifest(epoch).await? {
            return Ok(Arc::new(manifest));
        }
        if (1..self.latest().await?.epoch).contains(&epoch) {
            return Err(thinned(epoch));
        }
        Err(
            Error::new(ErrorKind::NotFound, format!("there is no epoch {epoch}"))
                .hint("`sportlake status` names the newest epoch."),
        )
    }

    /// The last epoch of the project that was in force before the newest one's: what a rollback brings back.
    ///
    /// # Errors
    /// `NotFound` when there was no change, or it is no longer kept.
    pub async fn before_last_change(&self) -> Result<Arc<Manifest>> {
        let newest = self.latest().await?;
        let replaced = newest.replaced.ok_or_else(crate::refresh::nothing_before)?;
        self.epoch(replaced).await
    }

    /// How the newest events differ from what the project in force relies on, and where it does.
    pub async fn drift(&self, source: &SourceConfig) -> Result<Vec<Drift>> {
        let newest = self.latest().await?;
        let (project, lock) = stored_texts(&self.lake, &newest.project).await?;
        let seen = sources::survey(&self.lake, source).await?;
        Ok(sources::drift(&lock, &seen, &project))
    }

    /// How the SQL project on disk stands to the one served, as the refresh role last saw it.
    pub async fn standing(&self) -> Result<Standing> {
        Standing::read(&self.lake).await
    }

    /// The same, with the policies of a project's folder in force for whoever is no operator.
    #[must_use]
    pub fn with_policies(mut self, folder: &Path) -> Self {
        self.policies = Some(PolicyFile::new(folder));
        self
    }

    /// The same, for a server: its tables of `system` tell of `activity`, and its memory is shared out among as many
    /// statements at once.
    #[must_use]
    pub fn serving(mut self, activity: Arc<dyn Activity>, statements: usize) -> Self {
        self.activity = Some(activity);
        self.sessions = self.sessions.shared_among(statements);
        self
    }

    /// The memory of the statements that run.
    pub fn memory(&self) -> &Memory {
        self.sessions.memory()
    }

    /// Whether somebody may end the statements of others.
    pub async fn may_kill(&self, principal: &Principal) -> Result<bool> {
        if principal.is_operator() {
            return Ok(true);
        }
        let newest = self.latest().await?;
        let in_force = self.policies_in_force(&newest).await?;
        Ok(in_force.policies.may_kill(principal))
    }

    /// A number that changes whenever `principal` may see something else of the same epoch.
    pub async fn policies_of(&self, manifest: &Manifest, principal: &Principal) -> Result<u64> {
        match principal.is_operator() {
            true => Ok(0),
            false => Ok(self.policies_in_force(manifest).await?.generation),
        }
    }

    /// A session that sees of one epoch what `principal` may see.
    ///
    /// # Errors
    /// `Unavailable` while no policies are in force, or they do not fit the epoch.
    pub async fn session_of(
        &self,
        manifest: Arc<Manifest>,
        principal: &Principal,
    ) -> Result<Session> {
        let whole = self.session(manifest.clone())?;
        if principal.is_operator() {
            return Ok(Session {
                principal: principal.clone(),
                ..whole
            });
        }
        let in_force = self.policies_in_force(&manifest).await?;
        let InForce {
            policies, names, ..
        } = &in_force;
        let granted = policies.granted(principal, &whole, names, &self.sessions);
        let granted = Box::pin(granted).await?;
        let infos = granted.iter().map(|granted| {
            let mut info = TableInfo::new(&granted.name, granted.table.as_ref(), &manifest);
            if !info.key.iter().all(|column| granted.plain.contains(column)) {
                info.key.clear();
            }
            info.whole = granted.whole;
            info.masked.clone_from(&granted.masked);
            info
        });
        let mut tables: Vec<TableInfo> = infos.collect();
        tables.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        let schemas: BTreeSet<String> = tables.iter().map(|info| info.schema.clone()).collect();
        let schemas = schemas.iter().map(String::as_str).chain([DEFAULT_SCHEMA]);
        let seen = granted
            .into_iter()
            .map(|granted| (granted.name, granted.table as _));
        let context = self.sessions.context_of(schemas, seen)?;
        Session::open(self, manifest, principal.clone(), context, tables.into())
    }

    /// Whether somebody may have what was kept aside taken in again.
    pub async fn may_replay(&self, principal: &Principal) -> Result<bool> {
        if principal.is_operator() {
            return Ok(true);
        }
        let newest = self.latest().await?;
        let in_force = self.policies_in_force(&newest).await?;
        Ok(in_force.policies.may_replay(principal))
    }

    async fn policies_in_force(&self, asked: &Manifest) -> Result<InForce> {
        let Some(policies) = &self.policies else {
            let message = "no policies are in force, so no role sees anything";
            return Err(Error::new(ErrorKind::PermissionDenied, message));
        };
        let newest = self.latest().await?;
        let judged = policies.in_force(&self.lake, &self.sessions, &newest, asked);
        Box::pin(judged).await
    }

    /// Keeps an epoch's tables readable until what is returned is dropped; a running statement does so by itself. Needs
    /// `keep_pins` to run.
    pub fn hold(&self, epoch: u64) -> EpochHold {
        self.pins.hold(epoch)
    }

    /// Tells upkeep, until `shutdown`, which epochs this process uses.
    pub async fn keep_pins(&self, clock: Clock, shutdown: CancellationToken) {
        self.pins.clone().keep(clock, shutdown).await;
    }

    /// A session that sees every table as of one epoch.
    pub fn session(&self, manifest: Arc<Manifest>) -> Result<Session> {
        let mut tables = Vec::with_capacity(manifest.tables.len());
        for (name, state) in &manifest.tables {
            let stored = stored_table(&self.lake, &self.snapshots, name, state);
            let views = public_views(name, Arc::new(stored))?;
            tables.extend(views.into_iter().map(|(name, view)| shown(name, view)));
        }
        tables.extend(self.activity.iter().flat_map(system::tables));
        // A table of kept-out rows that was stored before its table became one that folds stands behind the view.
        tables.sort_by(|a, b| a.0.cmp(&b.0));
        tables.dedup_by(|later, first| later.0 == first.0);
        let mut infos: Vec<TableInfo> = tables
            .iter()
            .map(|(name, provider)| TableInfo::new(name, provider.as_ref(), &manifest))
            .collect();
        if let Some(letters) = dead_letters::view(&tables)? {
            infos.push(TableInfo::new(
                &TableName::dead_letters(),
                letters.as_ref(),
                &manifest,
            ));
            infos.sort_by(|a, b| (&a.schema, &a.name).cmp(&(&b.schema, &b.name)));
        }
        let infos: Arc<[TableInfo]> = infos.into();
        let context = self.sessions.context(tables)?;
        Session::open(
            self,
            manifest,
            Principal::operator("operator"),
            context,
            infos,
        )
    }

    pub(crate) fn epochs(&self) -> &EpochLog {
        &self.epochs
    }

    pub(crate) fn lake(&self) -> &Lake {
        &self.lake
    }

    pub(crate) fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    pub(crate) fn snapshots(&self) -> &Snapshots {
        &self.snapshots
    }
}

/// A table that is stored is a table to catalogs, through whatever view it is read.
fn shown(name: TableName, view: Arc<dyn TableProvider>) -> (TableName, Arc<dyn TableProvider>) {
    match view.table_type() {
        TableType::View if name.quarantine_of().is_none() => (name, Arc::new(ShownTable(view))),
        _ => (name, view),
    }
}

/// The table as stored, at the version that an epoch names.
pub(crate) fn stored_table(
    lake: &Lake,
    snapshots: &Snapshots,
    name: &TableName,
    state: &TableState,
) -> PinnedTable {
    let partition_columns = if name.is_bronze() {
        crate::bronze::layout().partition_columns
    } else {
        Vec::new()
    };
    PinnedTable::at_version(
        lake,
        &state.path,
        state.schema.clone(),
        partition_columns,
        snapshots,
        state.version,
    )
}

/// Everything one statement sees: all tables at one epoch. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    context: SessionContext,
    manifest: Arc<Manifest>,
    tables: Arc<[TableInfo]>,
    reader: Reader,
    /// Whose session it is; those that it opens of other moments are of the same.
    principal: Principal,
}

/// A table as catalogs list it.
#[derive(Debug, Clone)]
pub struct TableInfo {
    pub catalog: String,
    pub schema: String,
    pub name: String,
    pub kind: TableKind,
    pub description: Option<String>,
    /// Descriptions of the columns that have one, by name.
    pub column_notes: BTreeMap<String, String>,
    pub arrow: SchemaRef,
    /// Columns of the key, in order; empty when none is declared.
    pub key: Vec<String>,
    /// Whether the session sees every row and column of it as they are stored.
    pub whole: bool,
    /// Columns of which the session sees something else than what is stored.
    pub masked: BTreeSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableKind {
    Table,
    View,
}

impl TableInfo {
    /// Name of the key as a constraint.
    pub fn key_name(&self) -> String {
        format!("{}_key", self.name)
    }

    fn new(name: &TableName, provider: &dyn TableProvider, manifest: &Manifest) -> Self {
        let state = manifest.tables.get(name);
        // Of the columns that the session sees, and no others.
        let columns = provider.schema();
        let notes = columns.fields().iter().filter_map(|field| {
            let note = state?.column_notes.get(field.name())?;
            Some((field.name().clone(), note.clone()))
        });
        let notes = notes.collect();
        Self {
            catalog: CATALOG.to_owned(),
            schema: name.schema().to_owned(),
            name: name.name().to_owned(),
            kind: match provider.table_type() {
                TableType::View => TableKind::View,
                _ => TableKind::Table,
            },
            description: match state {
                Some(state) => state.description.clone(),
                None => system::description(name).map(str::to_owned),
            },
            column_notes: notes,
            arrow: Arc::new(Schema::new(columns.fields().clone())),
            key: state.map(|state| state.key.clone()).unwrap_or_default(),
            whole: true,
            masked: BTreeSet::new(),
        }
    }
}

impl Session {
    /// A session of these tables and no others, `information_schema` included.
    fn open(
        reader: &Reader,
        manifest: Arc<Manifest>,
        principal: Principal,
        context: SessionContext,
        tables: Arc<[TableInfo]>,
    ) -> Result<Self> {
        describe(&context, tables.clone())?;
        Ok(Self {
            context,
            manifest,
            tables,
            reader: reader.clone(),
            principal,
        })
    }

    pub fn epoch(&self) -> u64 {
        self.manifest.epoch
    }

    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    pub(crate) fn context(&self) -> &SessionContext {
        &self.context
    }

    /// The tables of this epoch, by schema and name.
    pub fn tables(&self) -> &[TableInfo] {
        &self.tables
    }

    /// What the same reader sees of another epoch.
    pub(crate) async fn at(&self, manifest: Arc<Manifest>) -> Result<Self> {
        Box::pin(self.reader.session_of(manifest, &self.principal)).await
    }

    /// The same session, with unqualified names looked up in `schema`.
    ///
    /// # Errors
    /// `NotFound` when there is no such schema.
    pub fn in_schema(&self, schema: &str) -> Result<Self> {
        Ok(Self {
            context: in_schema(&self.context, schema)?,
            ..self.clone()
        })
    }

    /// Parses and plans one reading statement. Nothing runs.
    ///
    /// # Errors
    /// `InvalidRequest` with a hint for SQL that is wrong or would write.
    pub async fn prepare(&self, sql: &str) -> Result<Statement> {
        let (read, schema) = self.read(sql)?;
        let mut reads = Reads::epoch(&self.reader.pins, self.epoch());
        let context = match read.travels.is_empty() {
            true => self.context.clone(),
            false => {
                let moments = Box::pin(self.moments(&schema, &read.travels, &mut reads)).await?;
                beside(&self.context, moments)?
            }
        };
        let memory = self.reader.memory().clone();
        let statement = Statement::plan(&context, read, memory).await?;
        Ok(statement.reading(reads))
    }

    /// The statement, and the schema of its unqualified names.
    fn read(&self, sql: &str) -> Result<(Read, String)> {
        let state = self.context.state();
        let options = state.config_options();
        let schema = options.catalog.default_schema.clone();
        let nesting = options.sql_parser.recursion_limit.get();
        Ok((front::read(sql, &schema, nesting)?, schema))
    }
}
