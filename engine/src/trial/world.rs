use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use sql_files::TableName;
use tempfile::TempDir;

use super::Bench;
use super::events::{Event, bronze_rows};
use super::needs::Texts;
use crate::bronze::{BronzeTable, PartitionOffset};
use crate::clock::Clock;
use crate::epoch::Manifest;
use crate::error::{Error, ErrorKind, Result};
use crate::lake::{Lake, LakeConfig};
use crate::lease::{Lease, Role};
use crate::reader::Reader;
use crate::refresh::{ProjectConfig, RefreshConfig, Refresher};

/// Where a case begins that sets no clock: noon of a day in winter.
const START: i64 = 1_767_268_800_000_000;

/// The lake of one case, its roles and its clock.
pub(super) struct World {
    // Before the folder, so that they are dropped first.
    refresher: Refresher,
    reader: Reader,
    ingest: Lease,
    bronze: BTreeMap<String, Feed>,
    lake: Lake,
    micros: Arc<AtomicI64>,
    _folder: TempDir,
}

struct Feed {
    table: BronzeTable,
    next: BTreeMap<i32, i64>,
}

impl World {
    pub(super) async fn open(bench: &Bench, project: &Texts) -> Result<Self> {
        let folder = tempfile::tempdir().map_err(no_room)?;
        let sql = folder.path().join("sql");
        for (path, text) in project {
            write(&sql.join(path), text).map_err(no_room)?;
        }
        let uri = folder.path().join("lake").display().to_string();
        let lake = Lake::open(&LakeConfig { uri }).await?;
        let micros = Arc::new(AtomicI64::new(START));
        let config = RefreshConfig {
            clock_seconds: 0,
            ..RefreshConfig::default()
        };
        let refresher = Refresher::open_with(
            lake.clone(),
            Lease::acquire(&lake, Role::Refresh)?,
            &ProjectConfig { path: sql },
            &config,
            bench.sessions.clone(),
            clock(&micros),
        )
        .await?;
        Ok(Self {
            refresher,
            reader: Reader::with_sessions(lake.clone(), bench.sessions.clone()),
            ingest: Lease::acquire(&lake, Role::Ingest)?,
            bronze: BTreeMap::new(),
            lake,
            micros,
            _folder: folder,
        })
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        clock(&self.micros)()
    }

    pub(super) fn set_clock(&self, now: DateTime<Utc>) {
        self.micros.store(now.timestamp_micros(), Ordering::Relaxed);
    }

    /// Commits events to bronze, as ingest does.
    pub(super) async fn append(&mut self, table: &str, events: &[Event]) -> Result<()> {
        let now = self.now();
        if !self.bronze.contains_key(table) {
            let clock = clock(&self.micros);
            let opened =
                BronzeTable::open_or_create(&self.lake, &self.ingest, table, clock).await?;
            let feed = Feed {
                table: opened,
                next: BTreeMap::new(),
            };
            self.bronze.insert(table.to_owned(), feed);
        }
        let Some(feed) = self.bronze.get_mut(table) else {
            return Ok(());
        };
        let before = feed.next.clone();
        let rows = bronze_rows(events, &mut feed.next, now)?;
        let moved = feed
            .next
            .iter()
            .filter(|(partition, next)| before.get(partition) != Some(next));
        let offsets: Vec<PartitionOffset> = moved
            .map(|(partition, next)| PartitionOffset {
                topic: table.to_owned(),
                partition: *partition,
                from: before.get(partition).copied(),
                next: *next,
            })
            .collect();
        feed.table.append(vec![rows], &offsets).await?;
        Ok(())
    }

    /// Makes an epoch of all that is new, and returns the newest.
    pub(super) async fn turn(&mut self) -> Result<Arc<Manifest>> {
        Box::pin(self.refresher.turn()).await?;
        self.reader.latest().await
    }

    /// Columns of a table at an epoch; None where the epoch has no such table.
    pub(super) async fn rows(
        &self,
        epoch: &Arc<Manifest>,
        table: &TableName,
        columns: &[&str],
    ) -> Result<Option<RecordBatch>> {
        let session = self.reader.session(Arc::clone(epoch))?;
        let is_there = session
            .tables()
            .iter()
            .any(|info| info.schema == table.schema() && info.name == table.name());
        if !is_there {
            return Ok(None);
        }
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let columns: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
        let sql = format!(
            "SELECT {} FROM {}.{}",
            columns.join(", "),
            quoted(table.schema()),
            quoted(table.name())
        );
        let statement = session.prepare(&sql).await?;
        let schema = statement.schema();
        let batches: Vec<RecordBatch> = statement.execute().await?.try_collect().await?;
        Ok(Some(concat_batches(&schema, &batches)?))
    }
}

fn clock(micros: &Arc<AtomicI64>) -> Clock {
    let micros = Arc::clone(micros);
    Arc::new(move || {
        DateTime::from_timestamp_micros(micros.load(Ordering::Relaxed)).unwrap_or_default()
    })
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}

fn no_room(source: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "could not make a lake in a temporary folder",
    )
    .hint("TMPDIR names the folder of temporary files.")
    .caused_by(source)
}
