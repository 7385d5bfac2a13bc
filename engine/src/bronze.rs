//! Bronze: one append-only Delta table a topic, every message a row, offsets in the same commit.

mod upkeep;

use self::upkeep::Tidying;
pub use self::upkeep::maintain;

use std::io;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::record_batch::RecordBatch;
use sql_files::TableName;

use crate::clock::Clock;
use crate::delta::{Change, Table, TableLayout};
use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;
use crate::lease::{Lease, Role};

/// Columns with minimum and maximum in the log: coordinates and times, never payload.
const STATS_COLUMNS: [&str; 6] = [
    "_partition",
    "_offset",
    "_timestamp",
    "_ingested_at",
    "source_lsn",
    "source_ts_ms",
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

/// The bronze tables of a lake.
pub fn names(lake: &Lake) -> Result<Vec<TableName>> {
    let entries = match std::fs::read_dir(lake.arrivals().join("bronze")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(unreadable)?;
        if let Some(name) = entry.file_name().to_str()
            && let Ok(name) = TableName::new("bronze", name)
        {
            names.push(name);
        }
    }
    Ok(names)
}

fn unreadable(source: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "could not look into bronze").caused_by(source)
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
    /// Stands for the messages of a topic that are taken in again: they move no offset, and are counted, so that a commit
    /// whose answer was lost is known again.
    pub const REPLAYS: i32 = -1;

    fn transaction_id(topic: &str, partition: i32) -> String {
        match partition {
            Self::REPLAYS => format!("replay/{topic}"),
            partition => format!("ingest/{topic}/{partition}"),
        }
    }
}

/// What a partition has seen of the source that feeds it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Lineage {
    /// Number of the source's life; rises when its positions fall back.
    pub generation: i64,
    /// The furthest position in the log of that life.
    pub position: Option<i64>,
    /// The time of the first change of that life, milliseconds since 1970; `None` for the first life.
    pub since_ms: Option<i64>,
    /// The newest time of a change in that life, milliseconds since 1970.
    pub time_ms: Option<i64>,
    /// Names the source, where its positions do not tell a new life.
    pub source: Option<i64>,
    /// Names the Kafka cluster that the stored offset is of; `None` where that is not known.
    pub cluster: Option<i64>,
}

impl Lineage {
    fn transaction_id(part: &str, topic: &str, partition: i32) -> String {
        format!("source/{topic}/{partition}/{part}")
    }

    fn parts(&self) -> [(&'static str, Option<i64>); 6] {
        [
            ("generation", Some(self.generation)),
            ("position", self.position),
            ("since", self.since_ms),
            ("time", self.time_ms),
            ("name", self.source),
            ("cluster", self.cluster),
        ]
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
    lake: Lake,
    name: TableName,
    table: Table,
    clock: Clock,
    tidying: Tidying,
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
        Ok(Self {
            lake: lake.clone(),
            name,
            table,
            clock,
            tidying: Tidying::new(lake),
        })
    }

    /// The next offset to read of a partition, as the newest commit has it.
    pub async fn next_offset(&self, topic: &str, partition: i32) -> Result<Option<i64>> {
        let id = PartitionOffset::transaction_id(topic, partition);
        self.table.transaction(&id).await
    }

    /// The highest partition that any row came in.
    pub fn last_partition(&self) -> Result<Option<i32>> {
        let files = self.table.files()?.into_iter();
        let lasts = files.filter_map(|file| {
            let stats: serde_json::Value = serde_json::from_str(&file.stats?).ok()?;
            let last = stats.pointer("/maxValues/_partition")?.as_i64()?;
            i32::try_from(last).ok()
        });
        Ok(lasts.max())
    }

    /// What a partition had seen of its source as of the newest commit.
    pub async fn lineage(&self, topic: &str, partition: i32) -> Result<Lineage> {
        let mut found = [None; 6];
        for (found, (part, _)) in found.iter_mut().zip(Lineage::default().parts()) {
            let id = Lineage::transaction_id(part, topic, partition);
            *found = self.table.transaction(&id).await?;
        }
        let [generation, position, since_ms, time_ms, source, cluster] = found;
        Ok(Lineage {
            generation: generation.unwrap_or(0),
            position,
            since_ms,
            time_ms,
            source,
            cluster,
        })
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
        self.append_with(batches, offsets, &[]).await
    }

    /// The same, and says in the commit what the sources of some of these partitions are at.
    ///
    /// # Errors
    /// As `append`.
    pub async fn append_with(
        &mut self,
        batches: Vec<RecordBatch>,
        offsets: &[PartitionOffset],
        lineages: &[(i32, Lineage)],
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
            let lineage = lineages
                .iter()
                .find(|(partition, _)| *partition == offset.partition);
            for (part, value) in lineage.iter().flat_map(|(_, lineage)| lineage.parts()) {
                let id = Lineage::transaction_id(part, &offset.topic, offset.partition);
                transactions.extend(value.map(|value| (id, value)));
            }
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
