//! The one module that builds DataFusion sessions and registers anything with them.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono_tz::Tz;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList,
    MemorySchemaProvider, SchemaProvider, TableProvider,
};
use datafusion::datasource::ViewTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::FunctionRegistry;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{LogicalPlanBuilder, col, ident};
use datafusion::prelude::{SessionConfig, SessionContext};
use serde::Deserialize;
use sql_files::table_name::LAYERS;
use sql_files::{CATALOG, DEFAULT_SCHEMA, TableName};

use crate::dead_letters;
use crate::error::{Error, ErrorKind, Result};
use crate::functions::{self, Image};
use crate::hidden;
use crate::information_schema::{INFORMATION_SCHEMA, InformationSchema};
use crate::lake::Lake;
use crate::memory::Memory;
use crate::reader::{ReaderConfig, TableInfo};

/// Sorts of one statement that may run at once, in each of its threads.
const SORTS: usize = 8;
/// Looks for memory that is left, and the time between two.
const LOOKS: usize = 100;
const LOOK: Duration = Duration::from_millis(10);
/// Where memory is short: what it is to have for each row of a batch, with what sorts, exchanges and merges hold of one
/// at once, and the rows of a batch at least.
const SORTED_ROW_BYTES: usize = 128 << 10;
const SORTED_ROWS: usize = 64;
/// What a sort keeps to merge what it spilled, at most.
const MERGE_BYTES: usize = 10 << 20;

/// `[source]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SourceConfig {
    /// Zone of the naive times in source tables, an IANA name.
    pub timezone: String,
}

impl Default for SourceConfig {
    fn default() -> Self {
        Self {
            timezone: "Europe/Paris".to_owned(),
        }
    }
}

impl SourceConfig {
    /// # Errors
    /// `InvalidRequest` for a zone that does not exist.
    pub fn zone(&self) -> Result<Tz> {
        Tz::from_str(&self.timezone).map_err(|_| {
            Error::invalid(format!(
                "source.timezone \"{}\" is not a time zone",
                self.timezone
            ))
            .hint("Use an IANA name, such as Europe/Paris or UTC.")
        })
    }
}

/// Settings, functions and memory that every session of a process shares.
#[derive(Debug, Clone)]
pub(crate) struct Sessions {
    state: Arc<SessionState>,
    timezone: Tz,
    memory: Memory,
}

impl Sessions {
    /// Sessions whose queries together use at most `memory_bytes` for sorts, joins and aggregates, and spill beyond.
    pub(crate) fn new(timezone: Tz, memory_bytes: usize) -> Result<Self> {
        let runtime = RuntimeEnvBuilder::new().with_metadata_cache_limit(0);
        Self::within(timezone, memory_bytes, runtime)
    }

    /// Sessions that only read: they spill to a place of their own and remember what Parquet files say of themselves.
    pub(crate) fn for_reading(timezone: Tz, config: &ReaderConfig) -> Result<Self> {
        let mode = match config.spill_path.as_os_str().is_empty() {
            true => DiskManagerMode::OsTmpDirectory,
            false => DiskManagerMode::Directories(vec![config.spill_path.clone()]),
        };
        let disk = DiskManagerBuilder::default()
            .with_mode(mode)
            .with_max_temp_directory_size(config.spill_limit_bytes);
        let runtime = RuntimeEnvBuilder::new()
            .with_disk_manager_builder(disk)
            .with_metadata_cache_limit(config.metadata_cache_bytes);
        Self::within(timezone, config.memory_limit_bytes, runtime)
    }

    fn within(timezone: Tz, memory_bytes: usize, runtime: RuntimeEnvBuilder) -> Result<Self> {
        let runtime: Arc<RuntimeEnv> = runtime
            .with_memory_pool(Arc::new(FairSpillPool::new(memory_bytes)))
            .build_arc()?;
        let mut config = SessionConfig::new()
            .with_default_catalog_and_schema(CATALOG, DEFAULT_SCHEMA)
            .with_create_default_catalog_and_schema(false)
            // Sessions that are asked bring their own.
            .with_information_schema(false);
        let options = config.options_mut();
        options.execution.parquet.schema_force_view_types = false;
        options.execution.parquet.pushdown_filters = true;
        options.execution.parquet.max_in_list_size = 10_000;
        options.sql_parser.map_string_types_to_utf8view = false;
        options.sql_parser.collect_spans = true;
        let mut state = SessionStateBuilder::new()
            .with_default_features()
            .with_config(config)
            .with_runtime_env(runtime)
            .build();
        datafusion_functions_json::register_all(&mut state)?;
        functions::limit(&mut state)?;
        state.register_function_rewrite(Arc::new(functions::JoinByFunction::new()))?;
        for function in functions::all(timezone) {
            state.register_udf(Arc::new(function))?;
        }
        let sessions = Self {
            state: Arc::new(state),
            timezone,
            memory: Memory::new(memory_bytes, 1),
        };
        Ok(sessions.shared_among(1))
    }

    /// The memory of the statements that clients ask for.
    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The same sessions, whose memory is shared out among as many statements at once. Each thread's sort keeps some from
    /// the start to merge what it spilled: no more than a statement's share has for some sorts.
    pub(crate) fn shared_among(self, statements: usize) -> Self {
        let memory = self.memory.shared_among(statements);
        let mut config = self.state.config().clone();
        let sorts = SORTS * config.target_partitions();
        let kept = (memory.least() / sorts).min(MERGE_BYTES);
        config.options_mut().execution.sort_spill_reservation_bytes = kept;
        let state = SessionStateBuilder::new_from_existing(self.state.as_ref().clone())
            .with_config(config)
            .build();
        Self {
            state: Arc::new(state),
            memory,
            ..self
        }
    }

    /// The same sessions, whose batches have at most so many rows.
    pub(crate) fn of_batches(&self, rows: usize) -> Self {
        let config = self.state.config().clone();
        if rows >= config.batch_size() {
            return self.clone();
        }
        let state = SessionStateBuilder::new_from_existing(self.state.as_ref().clone())
            .with_config(config.with_batch_size(rows))
            .build();
        Self {
            state: Arc::new(state),
            ..self.clone()
        }
    }

    /// The same sessions, whose joins sort both sides and spill: a hash join holds one of them in memory. A few small
    /// batches at once, so that little memory is enough.
    pub(crate) fn sorting_joins(&self) -> Self {
        let config = self.state.config().clone();
        let rows = config
            .batch_size()
            .min(self.memory.least() / SORTED_ROW_BYTES)
            .max(SORTED_ROWS);
        // With one partition all joins are by hash.
        let mut config = config.with_target_partitions(2).with_batch_size(rows);
        config.options_mut().optimizer.prefer_hash_join = false;
        let state = SessionStateBuilder::new_from_existing(self.state.as_ref().clone())
            .with_config(config)
            .build();
        Self {
            state: Arc::new(state),
            ..self.clone()
        }
    }

    /// Waits, for a moment at most, until queries that were given up have left their memory.
    pub(crate) async fn until_free(&self) {
        let pool = self.state.runtime_env().memory_pool.clone();
        for _ in 0..LOOKS {
            if pool.reserved() == 0 {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The zone of the naive times in source tables.
    pub(crate) fn timezone(&self) -> Tz {
        self.timezone
    }

    /// The same sessions, whose scans read through the lake's own store.
    pub(crate) fn reading(self, lake: &Lake) -> Self {
        let url = ObjectStoreUrl::local_filesystem();
        let runtime = self.state.runtime_env();
        runtime.register_object_store(url.as_ref(), lake.store().clone());
        self
    }

    /// A session that sees exactly `tables`.
    pub(crate) fn context(
        &self,
        tables: impl IntoIterator<Item = (TableName, Arc<dyn TableProvider>)>,
    ) -> Result<SessionContext> {
        let mut tables: Vec<_> = tables.into_iter().collect();
        if let Some(letters) = dead_letters::view(&tables)? {
            tables.push((TableName::dead_letters(), letters));
        }
        self.context_of(LAYERS, tables)
    }

    /// A session of these schemas that sees exactly `tables` of them: the dead letters too only where they are among them.
    pub(crate) fn context_of<'a>(
        &self,
        schemas: impl IntoIterator<Item = &'a str>,
        tables: impl IntoIterator<Item = (TableName, Arc<dyn TableProvider>)>,
    ) -> Result<SessionContext> {
        let mut schemas: BTreeMap<&str, Arc<MemorySchemaProvider>> = schemas
            .into_iter()
            .map(|schema| (schema, Arc::new(MemorySchemaProvider::new())))
            .collect();
        for (name, provider) in tables {
            if let Some(schema) = schemas.get_mut(name.schema())
                && !schema.table_exist(name.name())
            {
                schema.register_table(name.name().to_owned(), provider)?;
            }
        }
        let catalog = Arc::new(MemoryCatalogProvider::new());
        for (name, schema) in schemas {
            catalog.register_schema(name, schema)?;
        }
        let catalogs = Arc::new(MemoryCatalogProviderList::new());
        catalogs.register_catalog(CATALOG.to_owned(), catalog);
        let state = SessionStateBuilder::new_from_existing(self.state.as_ref().clone())
            .with_catalog_list(catalogs)
            .build();
        Ok(open(state))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this is where sessions come from"
)]
fn open(state: SessionState) -> SessionContext {
    SessionContext::new_with_state(state)
}

/// The same session with another default schema.
pub(crate) fn in_schema(context: &SessionContext, schema: &str) -> Result<SessionContext> {
    if !LAYERS.contains(&schema) {
        return Err(Error::new(
            ErrorKind::NotFound,
            format!("there is no schema \"{schema}\""),
        )
        .hint(format!("The schemas are {}.", LAYERS.join(", "))));
    }
    let state = context.state();
    let config = state
        .config()
        .clone()
        .with_default_catalog_and_schema(CATALOG, schema);
    let state = SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .build();
    Ok(open(state))
}

/// Tells the session's users about `tables`.
pub(crate) fn describe(context: &SessionContext, tables: Arc<[TableInfo]>) -> Result<()> {
    if let Some(catalog) = context.catalog(CATALOG) {
        let described = Arc::new(InformationSchema::new(tables));
        catalog.register_schema(INFORMATION_SCHEMA, described)?;
    }
    Ok(())
}

/// The same session with these tables beside its own, each by its schema and name.
pub(crate) fn beside(
    context: &SessionContext,
    tables: Vec<(String, String, Arc<dyn TableProvider>)>,
) -> Result<SessionContext> {
    let state = context.state();
    let catalog = Arc::new(MemoryCatalogProvider::new());
    if let Some(own) = context.catalog(CATALOG) {
        for name in own.schema_names() {
            if let Some(schema) = own.schema(&name) {
                let added: BTreeMap<String, Arc<dyn TableProvider>> = tables
                    .iter()
                    .filter(|(of, ..)| *of == name)
                    .map(|(_, table, provider)| (table.clone(), provider.clone()))
                    .collect();
                catalog.register_schema(&name, Arc::new(Beside { schema, added }))?;
            }
        }
    }
    let catalogs = Arc::new(MemoryCatalogProviderList::new());
    catalogs.register_catalog(CATALOG.to_owned(), catalog);
    let state = SessionStateBuilder::new_from_existing(state)
        .with_catalog_list(catalogs)
        .build();
    Ok(open(state))
}

/// A schema, and tables that only one statement sees.
#[derive(Debug)]
struct Beside {
    schema: Arc<dyn SchemaProvider>,
    added: BTreeMap<String, Arc<dyn TableProvider>>,
}

#[async_trait]
impl SchemaProvider for Beside {
    fn table_names(&self) -> Vec<String> {
        self.schema.table_names()
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        match self.added.get(name) {
            Some(table) => Ok(Some(table.clone())),
            None => self.schema.table(name).await,
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.added.contains_key(name) || self.schema.table_exist(name)
    }
}

/// The same session with plans of one partition, for small batches.
pub(crate) fn one_partition(context: &SessionContext) -> SessionContext {
    let state = context.state();
    let config = state.config().clone().with_target_partitions(1);
    open(
        SessionStateBuilder::new_from_existing(state)
            .with_config(config)
            .build(),
    )
}

/// What readers see of a stored table: bronze with its images, `@cdc` tables without hidden columns and hidden rows.
pub(crate) fn public_view(
    name: &TableName,
    stored: Arc<dyn TableProvider>,
) -> Result<Arc<dyn TableProvider>> {
    if name.is_bronze() {
        return bronze_view(stored, Image::After);
    }
    if hidden::is_folded(&stored.schema()) {
        return hidden::public_rows(stored);
    }
    Ok(stored)
}

/// What readers see of a stored table, and beside a `@cdc` table what its rules keep aside.
pub(crate) fn public_views(
    name: &TableName,
    stored: Arc<dyn TableProvider>,
) -> Result<Vec<(TableName, Arc<dyn TableProvider>)>> {
    let mut views = vec![(name.clone(), public_view(name, stored.clone())?)];
    if stored.schema().field_with_name(hidden::RULE).is_ok() {
        views.push((name.quarantine(), hidden::quarantined_rows(stored)?));
    }
    Ok(views)
}

/// Bronze as SQL sees it; `after` holds the image asked for.
pub(crate) fn bronze_view(
    stored: Arc<dyn TableProvider>,
    after: Image,
) -> Result<Arc<dyn TableProvider>> {
    let mut columns: Vec<_> = crate::bronze::schema()
        .fields()
        .iter()
        .map(|field| ident(field.name()))
        .collect();
    let mut arguments = vec![col("value")];
    if after == Image::Current {
        arguments.push(col("key"));
    }
    columns.push(
        functions::image(Image::Before)
            .call(vec![col("value")])
            .alias("before"),
    );
    columns.push(functions::image(after).call(arguments).alias("after"));
    let plan = LogicalPlanBuilder::scan("stored", provider_as_source(stored), None)?
        .project(columns)?
        .build()?;
    Ok(Arc::new(ViewTable::new(plan, None)))
}
