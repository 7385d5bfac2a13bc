//! A table at one version as a DataFusion provider that scans plain Parquet.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ScalarValue, Statistics};
use datafusion::datasource::TableProvider;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use crate::delta::DataFile;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::snapshots::Snapshots;

/// Where a provider's list of files comes from.
#[derive(Clone)]
enum Files {
    /// Those of a Delta version, loaded when first scanned.
    Version { snapshots: Snapshots, version: u64 },
    /// A given list: what commits added, or what is staged.
    Listed(Arc<Vec<DataFile>>),
}

/// A set of Parquet files with one schema, fixed for the life of the provider.
#[derive(Clone)]
pub(crate) struct PinnedTable {
    lake: Lake,
    path: String,
    schema: SchemaRef,
    partition_columns: Vec<String>,
    files: Files,
}

impl PinnedTable {
    /// The table in directory `path` at `version`.
    pub(crate) fn at_version(
        lake: &Lake,
        path: &str,
        schema: SchemaRef,
        partition_columns: Vec<String>,
        snapshots: &Snapshots,
        version: u64,
    ) -> Self {
        let files = Files::Version {
            snapshots: snapshots.clone(),
            version,
        };
        Self {
            lake: lake.clone(),
            path: path.to_owned(),
            schema: in_scan_order(&schema, &partition_columns),
            partition_columns,
            files,
        }
    }

    /// Just the given files of the table in directory `path`.
    pub(crate) fn of_files(
        lake: &Lake,
        path: &str,
        schema: SchemaRef,
        partition_columns: Vec<String>,
        files: Vec<DataFile>,
    ) -> Self {
        Self {
            lake: lake.clone(),
            path: path.to_owned(),
            schema: in_scan_order(&schema, &partition_columns),
            partition_columns,
            files: Files::Listed(Arc::new(files)),
        }
    }

    /// Its columns, in the order in which scans give them.
    pub(crate) fn columns(&self) -> SchemaRef {
        self.schema.clone()
    }

    async fn files(&self) -> Result<Arc<Vec<DataFile>>> {
        match &self.files {
            Files::Listed(files) => Ok(files.clone()),
            Files::Version { snapshots, version } => snapshots.files(&self.path, *version).await,
        }
    }

    fn partitioned_file(&self, file: &DataFile) -> Result<PartitionedFile> {
        let location = self.lake.path(&format!("{}/{}", self.path, file.path))?;
        let mut partitioned = PartitionedFile::new(String::new(), file.bytes);
        partitioned.object_meta.location = location;
        for column in &self.partition_columns {
            let field = self.schema.field_with_name(column)?;
            let text = file.partition_values.get(column).cloned().flatten();
            partitioned
                .partition_values
                .push(partition_value(field.data_type(), text)?);
        }
        if let Some(rows) = file.rows {
            let mut statistics = Statistics::new_unknown(&self.schema);
            statistics.num_rows = Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX));
            partitioned.statistics = Some(Arc::new(statistics));
        }
        Ok(partitioned)
    }

    fn statistics(&self, files: &[DataFile]) -> Statistics {
        let mut statistics = Statistics::new_unknown(&self.schema);
        let rows: Option<u64> = files.iter().map(|file| file.rows).sum();
        if let Some(rows) = rows {
            statistics.num_rows = Precision::Exact(usize::try_from(rows).unwrap_or(usize::MAX));
        }
        statistics
    }

    async fn plan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        let files = self.files().await.map_err(external)?;
        if files.is_empty() {
            let schema = match projection {
                Some(indices) => Arc::new(self.schema.project(indices)?),
                None => self.schema.clone(),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let partitioned: Result<Vec<_>> = files
            .iter()
            .map(|file| self.partitioned_file(file))
            .collect();
        let groups = FileGroup::new(partitioned.map_err(external)?)
            .split_files(state.config().target_partitions());
        // In the order they stand: a view's conditions come before its reader's, which may not be computable for rows
        // that the view leaves out.
        let mut source = ParquetSource::new(self.table_schema())
            .with_pushdown_filters(true)
            .with_reorder_filters(false);
        // A file never changes once a version names it, so what it says of itself holds for every epoch.
        let runtime = state.runtime_env();
        if runtime.cache_manager.get_metadata_cache_limit() > 0 {
            let footers = runtime.cache_manager.get_file_metadata_cache();
            let reader = CachedParquetFileReaderFactory::new(self.lake.store().clone(), footers);
            source = source.with_parquet_file_reader_factory(Arc::new(reader));
        }
        let scan = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(self.statistics(&files))
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        Ok(DataSourceExec::from_data_source(scan))
    }

    fn table_schema(&self) -> TableSchema {
        let is_partition = |field: &&Arc<Field>| self.partition_columns.contains(field.name());
        let stored: Vec<_> = self
            .schema
            .fields()
            .iter()
            .filter(|field| !is_partition(field))
            .cloned()
            .collect();
        let partitions: Vec<_> = self
            .schema
            .fields()
            .iter()
            .filter(is_partition)
            .cloned()
            .collect();
        TableSchema::builder(Arc::new(Schema::new(stored)))
            .with_table_partition_cols(partitions)
            .build()
    }
}

impl fmt::Debug for PinnedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PinnedTable")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl TableProvider for PinnedTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    /// The scan itself takes filters from the plan above it (`ParquetSource` accepts them in physical planning).
    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        Ok(vec![
            TableProviderFilterPushDown::Unsupported;
            filters.len()
        ])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        self.plan(state, projection, limit).await
    }
}

/// Parquet scans yield partition columns last; a provider's schema has them where the scan has.
fn in_scan_order(schema: &SchemaRef, partition_columns: &[String]) -> SchemaRef {
    if partition_columns.is_empty() {
        return schema.clone();
    }
    let (last, first): (Vec<_>, Vec<_>) = schema
        .fields()
        .iter()
        .cloned()
        .partition(|field| partition_columns.contains(field.name()));
    Arc::new(Schema::new([first, last].concat()))
}

fn partition_value(data_type: &DataType, text: Option<String>) -> Result<ScalarValue> {
    match text {
        None => Ok(ScalarValue::try_from(data_type)?),
        Some(text) => Ok(ScalarValue::try_from_string(text, data_type)?),
    }
}

fn external(error: Error) -> DataFusionError {
    match error.kind() {
        ErrorKind::ResourceExhausted => DataFusionError::ResourcesExhausted(error.to_string()),
        _ => DataFusionError::External(Box::new(error)),
    }
}
