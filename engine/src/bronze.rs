//! Bronze: one append-only Delta table a topic, every message a row, offsets in the same commit.

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;

use crate::clock::Clock;
use crate::delta::{Change, Table, TableLayout};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::lease::{Lease, Role};
use crate::name::TableName;

/// Columns with minimum and maximum in the log: coordinates and times, never payload.
const STATS_COLUMNS: [&str; 5] = [
    "_partition",
    "_offset",
    "_timestamp",
    "_ingested_at",
    "source_lsn",
];

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let instant = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    Arc::new(Schema::new(vec![
        field("_partition", DataType::Int32),
        field("_offset", DataType::Int64),
        field("_timestamp", instant()),
        field("_ingested_at", instant()),
        field("_date", DataType::Date32),
        field("key", DataType::Binary),
        field("value", DataType::Binary),
        field("headers", DataType::Utf8),
        field("op", DataType::Utf8),
        field("generation", DataType::Int64),
        field("source_lsn", DataType::Int64),
        field("source_ts_ms", DataType::Int64),
        field("error", DataType::Utf8),
    ]))
});

/// The stored columns of every bronze table; all may be NULL to Delta, the coordinates never are.
pub fn schema() -> SchemaRef {
    SCHEMA.clone()
}

pub(crate) fn layout() -> TableLayout {
    TableLayout {
        schema: schema(),
        partition_columns: vec!["_date".to_owned()],
        stats_columns: STATS_COLUMNS.map(str::to_owned).to_vec(),
    }
}

/// How far one partition of a topic is in a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionOffset {
    pub topic: String,
    pub partition: i32,
    /// The offset that the caller believes is stored; `None` when none is.
    pub from: Option<i64>,
    /// The next offset to read.
    pub next: i64,
}

impl PartitionOffset {
    fn transaction_id(topic: &str, partition: i32) -> String {
        format!("ingest/{topic}/{partition}")
    }
}

/// What an append committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    pub version: u64,
    pub rows: u64,
    /// Size of the data files.
    pub bytes: u64,
}

/// A bronze table held by the ingest role.
pub struct BronzeTable {
    table: Table,
    clock: Clock,
}

impl std::fmt::Debug for BronzeTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.table.fmt(f)
    }
}

impl BronzeTable {
    /// Opens `bronze.<table>`, creating it when absent.
    ///
    /// # Errors
    /// `InvalidRequest` for a name that is no table name.
    pub async fn open_or_create(
        lake: &Lake,
        lease: &Lease,
        table: &str,
        clock: Clock,
    ) -> Result<Self> {
        if lease.role() != Role::Ingest {
            return Err(Error::new(
                ErrorKind::Internal,
                "bronze is written by the ingest role alone",
            ));
        }
        let name = TableName::new("bronze", table)?;
        let table = Table::open_or_create(lake, &Lake::table_path(&name), &layout()).await?;
        Ok(Self { table, clock })
    }

    /// The next offset to read of a partition, as the newest commit has it.
    pub async fn next_offset(&self, topic: &str, partition: i32) -> Result<Option<i64>> {
        let id = PartitionOffset::transaction_id(topic, partition);
        self.table.transaction(&id).await
    }

    /// Appends rows and moves offsets, in one commit.
    ///
    /// # Errors
    /// `Conflict` when the stored offsets are not the `from`s: somebody else ingested since.
    pub async fn append(
        &mut self,
        batches: Vec<RecordBatch>,
        offsets: &[PartitionOffset],
    ) -> Result<Commit> {
        self.table.advance(None).await?;
        let mut transactions = Vec::with_capacity(offsets.len());
        for offset in offsets {
            let stored = self.next_offset(&offset.topic, offset.partition).await?;
            if stored != offset.from {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "partition {} of \"{}\" is stored up to {stored:?}, this ingest holds {:?}",
                        offset.partition, offset.topic, offset.from
                    ),
                )
                .hint("Another ingest writes this table; keep one of them."));
            }
            let id = PartitionOffset::transaction_id(&offset.topic, offset.partition);
            transactions.push((id, offset.next));
        }
        let layout = layout();
        let mut staged = self.table.stage(&layout);
        for batch in &batches {
            staged.write(batch).await?;
        }
        let rows = staged.rows();
        let adds = staged.finish().await?;
        let bytes = adds
            .iter()
            .map(|add| u64::try_from(add.size).unwrap_or(0))
            .sum();
        let change = Change {
            adds,
            transactions,
            ..Change::default()
        };
        let version = self.table.commit(change, &layout, (self.clock)()).await?;
        Ok(Commit {
            version,
            rows,
            bytes,
        })
    }
}
