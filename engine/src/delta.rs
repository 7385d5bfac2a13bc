//! One Delta table of the lake: its files at a version, and commits that nobody else may interleave with.

use std::collections::HashMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use deltalake_core::datafile::writer::{DeltaWriter, WriterConfig};
use deltalake_core::kernel::engine::arrow_conversion::{TryIntoArrow, TryIntoKernel};
use deltalake_core::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake_core::kernel::{
    Action, Add, LogicalFileView, MetadataExt, Remove, StructType, Transaction,
};
use deltalake_core::logstore::{LogStoreRef, get_actions};
use deltalake_core::operations::create::CreateBuilder;
use deltalake_core::protocol::checkpoints::create_checkpoint;
use deltalake_core::protocol::{DeltaOperation, SaveMode};
use deltalake_core::table::config::TablePropertiesExt;
use deltalake_core::{DeltaTable, DeltaTableBuilder};
use object_store::ObjectStoreExt;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::protocols::Protocol;
use crate::width;
use sql_files::file::sha256;
use tracing::warn;

/// Data files are closed when they reach this size.
const TARGET_FILE_BYTES: u64 = 64 << 20;

/// How long the log remembers files that were removed: every checkpoint repeats them. Other tools that vacuum a table
/// keep to it; our own upkeep knows what is still read.
const TOMBSTONES_KEPT: (&str, &str) = ("delta.deletedFileRetentionDuration", "interval 1 hour");

/// One data file of a table at a version.
#[derive(Debug, Clone)]
pub(crate) struct DataFile {
    /// Relative to the table's directory.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) rows: Option<u64>,
    pub(crate) partition_values: HashMap<String, Option<String>>,
    /// Statistics as the log has them: JSON, the Delta protocol's "Per-file Statistics".
    pub(crate) stats: Option<String>,
}

impl From<&Add> for DataFile {
    fn from(add: &Add) -> Self {
        Self {
            path: add.path.clone(),
            bytes: u64::try_from(add.size).unwrap_or(0),
            rows: rows_of(add),
            partition_values: add.partition_values.clone(),
            stats: add.stats.clone(),
        }
    }
}

impl From<&LogicalFileView> for DataFile {
    fn from(view: &LogicalFileView) -> Self {
        Self {
            path: view.path().into_owned(),
            bytes: u64::try_from(view.size()).unwrap_or(0),
            rows: view.num_records().map(|rows| rows as u64),
            partition_values: view.partition_values_map(),
            stats: view.stats(),
        }
    }
}

/// How a new table is laid out.
#[derive(Debug, Clone)]
pub(crate) struct TableLayout {
    pub(crate) schema: SchemaRef,
    pub(crate) partition_columns: Vec<String>,
    /// Columns with minimum and maximum in the log; nothing else is summarised there.
    pub(crate) stats_columns: Vec<String>,
}

/// What a commit does to the files of a table.
#[derive(Debug, Clone, Default)]
pub(crate) struct Change {
    pub(crate) adds: Vec<Add>,
    pub(crate) removes: Vec<Remove>,
    /// A new schema, when it differs from the table's.
    pub(crate) schema: Option<SchemaRef>,
    /// Application transactions: id and version.
    pub(crate) transactions: Vec<(String, i64)>,
    /// The same rows in other files: who reads changes sees none.
    pub(crate) moves_rows: bool,
}

/// A Delta table loaded at a version.
#[derive(Clone)]
pub(crate) struct Table {
    path: String,
    delta: DeltaTable,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("path", &self.path)
            .field("version", &self.version())
            .finish()
    }
}

impl Table {
    /// Opens the table in directory `path` of the lake at its newest version, or at `version`; `None` when there is none.
    pub(crate) async fn open(
        lake: &Lake,
        path: &str,
        version: Option<u64>,
    ) -> Result<Option<Self>> {
        if !lake.has_directory(&format!("{path}/_delta_log")) {
            return Ok(None);
        }
        let mut builder = builder(lake, path)?;
        if let Some(version) = version {
            builder = builder.with_version(version);
        }
        match builder.load().await {
            Ok(delta) => Ok(Some(Self {
                path: path.to_owned(),
                delta,
            })),
            Err(deltalake_core::DeltaTableError::NotATable(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn create(lake: &Lake, path: &str, layout: &TableLayout) -> Result<Self> {
        let log_store = builder(lake, path)?.build_storage()?;
        let schema: StructType = layout
            .schema
            .as_ref()
            .try_into_kernel()
            .map_err(|source| unstorable(path, source))?;
        let delta = CreateBuilder::new()
            .with_log_store(log_store)
            .with_columns(schema.fields().cloned())
            .with_partition_columns(layout.partition_columns.clone())
            .with_configuration([
                (
                    "delta.dataSkippingStatsColumns".to_owned(),
                    Some(layout.stats_columns.join(",")),
                ),
                (
                    "delta.enableChangeDataFeed".to_owned(),
                    Some("true".to_owned()),
                ),
                (
                    TOMBSTONES_KEPT.0.to_owned(),
                    Some(TOMBSTONES_KEPT.1.to_owned()),
                ),
                // What follows from checkpoints is reached by a few commits.
                #[cfg(test)]
                ("delta.checkpointInterval".to_owned(), Some("5".to_owned())),
            ])
            .await?;
        Ok(Self {
            path: path.to_owned(),
            delta,
        })
    }

    /// The table as its writer holds it: the version that it finds survives power loss.
    pub(crate) async fn open_or_create(
        lake: &Lake,
        path: &str,
        layout: &TableLayout,
    ) -> Result<Self> {
        match Self::open(lake, path, None).await? {
            Some(table) => {
                table.settle(lake).await?;
                Ok(table)
            }
            None => Self::create(lake, path, layout).await,
        }
    }

    pub(crate) fn version(&self) -> u64 {
        self.delta.version().unwrap_or(0)
    }

    /// Moves forward to the newest version, or to `version`.
    pub(crate) async fn advance(&mut self, version: Option<u64>) -> Result<()> {
        self.check_presence().await?;
        Ok(self.delta.update_incremental(version).await?)
    }

    /// # Errors
    /// `Unavailable` when the table's log is not there: a commit would begin another one.
    async fn check_presence(&self) -> Result<()> {
        let store = self.delta.log_store().object_store(None);
        let entry = format!("_delta_log/{:020}.json", self.version());
        // The entry of a version that is not the newest may have been cleaned up, after a checkpoint.
        for name in [entry.as_str(), "_delta_log/_last_checkpoint"] {
            match store.head(&name.into()).await {
                Err(object_store::Error::NotFound { .. }) => {}
                found => return Ok(found.map(drop)?),
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("the log of \"{}\" is away", self.path),
        )
        .hint("Work goes on when the lake's directory is back."))
    }

    /// Makes the loaded version survive power loss, whoever committed it: an epoch may name it.
    pub(crate) async fn settle(&self, lake: &Lake) -> Result<()> {
        lake.settle(&format!("{}/_delta_log", self.path)).await
    }

    /// Whether the log already holds the version after this one. One look at one name.
    pub(crate) fn has_next(&self, lake: &Lake) -> bool {
        let next = format!("{}/_delta_log/{:020}.json", self.path, self.version() + 1);
        lake.root().join(next).exists()
    }

    pub(crate) fn schema(&self) -> Result<SchemaRef> {
        let schema: Schema = self
            .delta
            .snapshot()?
            .schema()
            .as_ref()
            .try_into_arrow()
            .map_err(Error::from)?;
        Ok(Arc::new(schema))
    }

    pub(crate) fn protocol(&self) -> Result<Protocol> {
        let protocol = self.delta.snapshot()?.protocol();
        Ok(Protocol {
            reader: protocol.min_reader_version(),
            writer: protocol.min_writer_version(),
        })
    }

    pub(crate) fn files(&self) -> Result<Vec<DataFile>> {
        let views = self.delta.snapshot()?.log_data().into_iter();
        Ok(views.map(|view| DataFile::from(&view)).collect())
    }

    /// Remove actions for the given files, or for all of them.
    pub(crate) fn removes(&self, wanted: impl Fn(&str) -> bool) -> Result<Vec<Remove>> {
        let views = self.delta.snapshot()?.log_data().into_iter();
        Ok(views
            .filter(|view| wanted(&view.path()))
            .map(|view| view.remove_action(true))
            .collect())
    }

    /// Files that the commits after `from`, up to and with `to`, added rows with; what only moved rows is left out.
    /// None where a commit of the range is no longer in the log, or the log went back behind `from`.
    pub(crate) async fn files_added(&self, from: u64, to: u64) -> Result<Option<Vec<DataFile>>> {
        if to < from {
            return Ok(None);
        }
        let mut files = Vec::new();
        for version in from + 1..=to {
            let Some(adds) = self.adds(version).await? else {
                return Ok(None);
            };
            let brings_rows = adds.iter().filter(|add| add.data_change);
            files.extend(brings_rows.map(DataFile::from));
        }
        Ok(Some(files))
    }

    /// Paths of all files that a commit added; None where it is no longer in the log.
    pub(crate) async fn paths_added(&self, version: u64) -> Result<Option<Vec<String>>> {
        let adds = self.adds(version).await?;
        Ok(adds.map(|adds| adds.into_iter().map(|add| add.path).collect()))
    }

    async fn adds(&self, version: u64) -> Result<Option<Vec<Add>>> {
        let log_store = self.delta.log_store();
        let Some(commit) = log_store.read_commit_entry(version).await? else {
            return Ok(None);
        };
        let actions = get_actions(version, &commit)?.into_iter();
        let adds = actions.filter_map(|action| match action {
            Action::Add(add) => Some(add),
            _ => None,
        });
        Ok(Some(adds.collect()))
    }

    pub(crate) async fn transaction(&self, id: &str) -> Result<Option<i64>> {
        let log_store = self.delta.log_store();
        let state = self.delta.snapshot()?;
        Ok(state.transaction_version(log_store.as_ref(), id).await?)
    }

    /// Writes the state at the loaded version into one file, so that the commits up to it are no longer needed to read it.
    pub(crate) async fn checkpoint(&self) -> Result<()> {
        Ok(create_checkpoint(&self.delta, None).await?)
    }

    /// Writes data files that no version names until they are committed.
    pub(crate) fn stage(&self, layout: &TableLayout) -> StagedFiles {
        let mut properties =
            WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::default()));
        for field in layout.schema.fields() {
            let column = ColumnPath::from(field.name().as_str());
            let is_summarised = layout.stats_columns.contains(field.name());
            match field.data_type() {
                // Bytes are payload: every value is new, and none belongs in a summary.
                DataType::Binary => {
                    properties = properties
                        .set_column_dictionary_enabled(column.clone(), false)
                        .set_column_statistics_enabled(column, EnabledStatistics::None);
                }
                // What is summarised is a key or a time: mostly distinct, and close to its neighbours.
                DataType::Int64 | DataType::Timestamp(..) if is_summarised => {
                    properties = properties
                        .set_column_dictionary_enabled(column.clone(), false)
                        .set_column_encoding(column, Encoding::DELTA_BINARY_PACKED);
                }
                _ => {}
            }
        }
        let config = WriterConfig::new(
            layout.schema.clone(),
            layout.partition_columns.clone(),
            Some(properties.build()),
            NonZeroU64::new(TARGET_FILE_BYTES),
            None,
            "-1".try_into().unwrap_or_default(),
            Some(layout.stats_columns.clone()),
        );
        let store = self.delta.log_store().object_store(None);
        StagedFiles {
            writer: DeltaWriter::new(store, config),
            rows: 0,
        }
    }

    /// Commits on top of the loaded version.
    ///
    /// # Errors
    /// `Conflict` when anything landed since that version.
    pub(crate) async fn commit(
        &mut self,
        change: Change,
        layout: &TableLayout,
        now: DateTime<Utc>,
    ) -> Result<u64> {
        self.check_presence().await?;
        let rewrites = !change.removes.is_empty();
        let mut actions = Vec::with_capacity(change.adds.len() + change.removes.len() + 1);
        let settings = self.delta.snapshot()?.metadata().configuration();
        let is_settled =
            settings.get(TOMBSTONES_KEPT.0).map(String::as_str) == Some(TOMBSTONES_KEPT.1);
        match &change.schema {
            Some(schema) => actions.push(self.metadata(schema, layout)?),
            // A table of an older program.
            None if !is_settled => actions.push(self.metadata(&self.schema()?, layout)?),
            None => {}
        }
        actions.extend(change.removes.into_iter().map(|mut remove| {
            remove.deletion_timestamp = Some(now.timestamp_millis());
            remove.data_change = !change.moves_rows;
            Action::Remove(remove)
        }));
        actions.extend(change.adds.into_iter().map(|mut add| {
            add.data_change = !change.moves_rows;
            Action::Add(add)
        }));
        let transactions = change
            .transactions
            .into_iter()
            .map(|(id, version)| {
                Transaction::new_with_last_update(id, version, Some(now.timestamp_millis()))
            })
            .collect();
        let properties = CommitProperties::default()
            .with_max_retries(0)
            .with_create_checkpoint(false)
            .with_cleanup_expired_logs(Some(false))
            .with_application_transactions(transactions);
        let operation = if change.moves_rows {
            DeltaOperation::Optimize {
                predicate: None,
                target_size: TARGET_FILE_BYTES.cast_signed(),
            }
        } else {
            DeltaOperation::Write {
                mode: if rewrites {
                    SaveMode::Overwrite
                } else {
                    SaveMode::Append
                },
                partition_by: None,
                predicate: None,
            }
        };
        let log_store: LogStoreRef = self.delta.log_store();
        let state = self.delta.snapshot()?.snapshot();
        let committed = CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(state), log_store, operation)
            .await
            .map_err(|error| match Error::from(error) {
                error if error.kind() == ErrorKind::Conflict => Error::new(
                    ErrorKind::Conflict,
                    format!("\"{}\" was written by somebody else", self.path),
                )
                .caused_by(error),
                error => error,
            })?;
        let version = committed.version();
        self.delta.state = Some(committed.snapshot());
        let interval = self
            .delta
            .snapshot()?
            .table_config()
            .checkpoint_interval()
            .get();
        if (version + 1).is_multiple_of(interval)
            && let Err(error) = self.checkpoint().await
        {
            // The commit is there, and the next checkpoint does for this one.
            warn!(table = %self.path, error = %error.with_causes(), "a checkpoint was not written");
        }
        Ok(version)
    }

    fn metadata(&self, schema: &SchemaRef, layout: &TableLayout) -> Result<Action> {
        let schema: StructType = schema
            .as_ref()
            .try_into_kernel()
            .map_err(|source| unstorable(&self.path, source))?;
        let metadata = self
            .delta
            .snapshot()?
            .metadata()
            .clone()
            .with_schema(&schema)
            .map_err(deltalake_core::DeltaTableError::from)?
            .add_config_key(
                "delta.dataSkippingStatsColumns".to_owned(),
                layout.stats_columns.join(","),
            )
            .and_then(|metadata| {
                metadata.add_config_key(TOMBSTONES_KEPT.0.to_owned(), TOMBSTONES_KEPT.1.to_owned())
            })
            .map_err(deltalake_core::DeltaTableError::from)?;
        Ok(Action::Metadata(metadata))
    }
}

/// Data files being written; a crash or a drop leaves files that no version names.
pub(crate) struct StagedFiles {
    writer: DeltaWriter,
    rows: u64,
}

impl StagedFiles {
    pub(crate) async fn write(&mut self, batch: &RecordBatch) -> Result<()> {
        self.rows += batch.num_rows() as u64;
        for part in width::parts(batch) {
            self.writer.write(&part).await?;
        }
        Ok(())
    }

    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    pub(crate) async fn finish(self) -> Result<Vec<Add>> {
        if self.rows == 0 {
            self.writer.abort().await?;
            return Ok(Vec::new());
        }
        Ok(self.writer.close().await?)
    }
}

/// Fingerprint of the commit that made a version of the table in directory `path`; None where the log does not hold it.
pub(crate) async fn commit_fingerprint(
    lake: &Lake,
    path: &str,
    version: u64,
) -> Result<Option<String>> {
    let entry = format!("{path}/_delta_log/{version:020}.json");
    let commit = lake.read(&entry).await?;
    Ok(commit.map(|commit| sha256(&String::from_utf8_lossy(&commit))))
}

/// The newest version of the table in directory `path`, by the names in its log.
pub(crate) async fn newest_commit(lake: &Lake, path: &str) -> Result<Option<u64>> {
    let entries = lake.list(&format!("{path}/_delta_log"), usize::MAX).await?;
    let versions = entries.iter().filter_map(|entry| {
        let version = entry.name.strip_suffix(".json")?;
        version.parse().ok()
    });
    Ok(versions.max())
}

/// Delta's JSON form of a schema, which manifests carry.
pub(crate) fn schema_to_json(schema: &Schema) -> Result<serde_json::Value> {
    let schema: StructType = schema
        .try_into_kernel()
        .map_err(|source| unstorable("a table", source))?;
    serde_json::to_value(&schema).map_err(|source| {
        Error::new(ErrorKind::Internal, "could not write a schema").caused_by(source)
    })
}

pub(crate) fn schema_from_json(json: &serde_json::Value) -> Result<SchemaRef> {
    let corrupt = |source: serde_json::Error| {
        Error::new(ErrorKind::Corrupt, "a manifest holds no valid schema").caused_by(source)
    };
    let schema: StructType = serde_json::from_value(json.clone()).map_err(corrupt)?;
    let schema: Schema = (&schema).try_into_arrow().map_err(Error::from)?;
    Ok(Arc::new(schema))
}

fn builder(lake: &Lake, path: &str) -> Result<DeltaTableBuilder> {
    let url = lake.url(path)?;
    let builder = DeltaTableBuilder::from_url(url.clone())?;
    Ok(builder.with_storage_backend(lake.store().clone(), url))
}

fn rows_of(add: &Add) -> Option<u64> {
    let stats = add.get_stats().ok()??;
    u64::try_from(stats.num_records).ok()
}

fn unstorable(table: &str, source: arrow::error::ArrowError) -> Error {
    Error::invalid(format!("\"{table}\" has a column that Delta cannot store"))
        .hint("Cast the column to a type that Delta has, such as BIGINT, DOUBLE, DECIMAL, VARCHAR, DATE or TIMESTAMP.")
        .caused_by(source)
}
