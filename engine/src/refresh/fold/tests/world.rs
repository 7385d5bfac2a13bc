use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arrow::array::{
    ArrayRef, BinaryArray, Date32Array, Int32Array, Int64Array, StringArray,
    TimestampMicrosecondArray,
};
use arrow::record_batch::RecordBatch;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono::{TimeZone, Utc};
use futures::TryStreamExt;

use crate::bronze::{self, BronzeTable, PartitionOffset};
use crate::clock::Clock;
use crate::epoch::Manifest;
use crate::lake::{Lake, LakeConfig};
use crate::lease::{Lease, Role};
use crate::reader::{Reader, ReaderConfig};
use crate::refresh::{ProjectConfig, RefreshConfig, Refresher, Turn};
use crate::session::SourceConfig;

/// A message as ingest would have written it.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) generation: i64,
    pub(super) lsn: Option<i64>,
    pub(super) op: String,
    /// None is a tombstone.
    pub(super) value: Option<String>,
    pub(super) key: Option<String>,
    pub(super) error: Option<String>,
    pub(super) partition: i32,
}

/// The message of an event: `row` is after the change, of a delete before it, of a truncate nothing.
pub(super) fn event(lsn: i64, op: &str, row: &str) -> Message {
    let (before, after) = match op {
        "d" => (row, "null"),
        "t" => ("null", "null"),
        _ => ("null", row),
    };
    Message {
        generation: 0,
        lsn: Some(lsn),
        op: op.to_owned(),
        value: Some(format!(
            r#"{{"before":{before},"after":{after},"op":"{op}"}}"#
        )),
        key: None,
        error: None,
        partition: 0,
    }
}

/// A lake with one bronze table, `bronze.things`, and a project that a test writes.
pub(super) struct World {
    directory: tempfile::TempDir,
    pub(super) lake: Lake,
    bronze: BronzeTable,
    ingest: Lease,
    seconds: Arc<AtomicI64>,
    topic: String,
    /// By partition.
    next_offsets: BTreeMap<i32, i64>,
    pub(super) config: RefreshConfig,
    pub(super) source: SourceConfig,
}

impl World {
    pub(super) async fn new(things: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let uri = directory.path().join("lake").display().to_string();
        let lake = Lake::open(&LakeConfig { uri }).await.expect("a lake");
        let ingest = Lease::acquire(&lake, Role::Ingest).expect("free");
        let seconds = Arc::new(AtomicI64::new(0));
        let bronze = BronzeTable::open_or_create(&lake, &ingest, "things", clock(&seconds))
            .await
            .expect("bronze");
        let world = Self {
            directory,
            lake,
            bronze,
            ingest,
            seconds,
            topic: "t.public.things".to_owned(),
            next_offsets: BTreeMap::new(),
            config: RefreshConfig::default(),
            source: SourceConfig::default(),
        };
        world.write(
            "sources.lock",
            "format = 1\n[bronze.things]\ntopic = \"t.public.things\"\n",
        );
        world.write("silver/things.sql", things);
        world
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        let path = self.directory.path().join("sql").join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("created");
        std::fs::write(path, text).expect("written");
    }

    pub(super) async fn refresher(&self) -> Refresher {
        let lease = Lease::acquire(&self.lake, Role::Refresh).expect("free");
        let project = ProjectConfig {
            path: self.directory.path().join("sql"),
        };
        Refresher::open(
            self.lake.clone(),
            lease,
            &project,
            &self.config,
            &self.source,
            clock(&self.seconds),
        )
        .await
        .expect("a refresher")
    }

    /// What is appended from here on comes from another cluster, whose offsets begin anew.
    pub(super) fn move_to_another_cluster(&mut self) {
        self.topic = "elsewhere.public.things".to_owned();
        self.next_offsets.clear();
    }

    /// Takes the last commits of one message each back, as a copy of bronze that is older does.
    pub(super) async fn take_back(&mut self, commits: usize) {
        let log = self.lake.root().join("bronze/things/_delta_log");
        let entries = std::fs::read_dir(log).expect("a log");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let is_commit = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "json");
        let mut paths: Vec<PathBuf> = paths.filter(is_commit).collect();
        paths.sort();
        for path in paths.iter().rev().take(commits) {
            std::fs::remove_file(path).expect("removed");
            let _ = std::fs::remove_file(path.with_extension("checkpoint.parquet"));
            let _ = std::fs::remove_file(path.with_file_name("_last_checkpoint"));
            self.next_offsets.values_mut().for_each(|next| *next -= 1);
        }
        let clock = clock(&self.seconds);
        let opened = BronzeTable::open_or_create(&self.lake, &self.ingest, "things", clock);
        self.bronze = opened.await.expect("bronze");
    }

    /// Appends messages in one commit.
    pub(super) async fn append(&mut self, messages: &[Message]) {
        let before = self.next_offsets.clone();
        let count = messages.len();
        let placed = messages.iter().map(|message| {
            let next = self.next_offsets.entry(message.partition).or_default();
            *next += 1;
            *next - 1
        });
        let offsets: Int64Array = placed.collect();
        let instant = || TimestampMicrosecondArray::from(vec![0; count]).with_timezone("UTC");
        let texts = |of: &dyn Fn(&Message) -> Option<String>| -> StringArray {
            messages.iter().map(of).collect()
        };
        let bytes = |of: &dyn Fn(&Message) -> Option<&str>| -> BinaryArray {
            messages.iter().map(|m| of(m).map(str::as_bytes)).collect()
        };
        let columns: Vec<ArrayRef> = vec![
            Arc::new(
                messages
                    .iter()
                    .map(|message| Some(message.partition))
                    .collect::<Int32Array>(),
            ),
            Arc::new(offsets),
            Arc::new(instant()),
            Arc::new(instant()),
            Arc::new(Date32Array::from(vec![0; count])),
            Arc::new(bytes(&|message| message.key.as_deref())),
            Arc::new(bytes(&|message| message.value.as_deref())),
            Arc::new(texts(&|_| None)),
            Arc::new(texts(&|m| (!m.op.is_empty()).then(|| m.op.clone()))),
            Arc::new(
                messages
                    .iter()
                    .map(|m| Some(m.generation))
                    .collect::<Int64Array>(),
            ),
            Arc::new(messages.iter().map(|m| m.lsn).collect::<Int64Array>()),
            Arc::new(Int64Array::from(vec![0; count])),
            Arc::new(texts(&|message| message.error.clone())),
        ];
        let batch = RecordBatch::try_new(bronze::schema(), columns).expect("bronze rows");
        let written = self.next_offsets.iter();
        let offsets = written.filter_map(|(partition, next)| {
            let from = before.get(partition).copied();
            (from != Some(*next)).then(|| PartitionOffset {
                topic: self.topic.clone(),
                partition: *partition,
                from,
                next: *next,
            })
        });
        let offsets: Vec<PartitionOffset> = offsets.collect();
        self.bronze
            .append(vec![batch], &offsets)
            .await
            .expect("appended");
    }

    /// What `validate` says of a table's rules, by name: outcome, violations, keys.
    pub(super) async fn validated(
        &self,
        table: &str,
    ) -> BTreeMap<String, (String, Option<u64>, Vec<String>)> {
        let reader = Reader::new(self.lake.clone(), &ReaderConfig::default(), &self.source);
        let reader = reader.expect("a reader");
        let newest = reader.latest().await.expect("an epoch");
        let tables = [table.parse().expect("a name")];
        let told = reader.validate(&newest, &tables, 10, newest.now).await;
        let told = told.expect("judged").results.into_iter().map(|result| {
            let keys = result.keys.iter().map(|key| key.join(","));
            let told = (
                result.outcome.as_str().to_owned(),
                result.violations,
                keys.collect(),
            );
            (result.rule, told)
        });
        told.collect()
    }

    /// The rows of a query at the newest epoch, one text a row.
    pub(super) async fn rows(&self, sql: &str) -> Vec<String> {
        let reader = Reader::new(self.lake.clone(), &ReaderConfig::default(), &self.source)
            .expect("a reader");
        let newest = reader.latest().await.expect("an epoch");
        let session = reader.session(newest).expect("a session");
        let statement = session.prepare(sql).await.expect("a statement");
        let stream = statement.execute().await.expect("running");
        let batches: Vec<RecordBatch> = stream.try_collect().await.expect("rows");
        batches.iter().flat_map(texts).collect()
    }
}

/// The epoch that a turn made.
pub(super) async fn published(refresher: &mut Refresher) -> Arc<Manifest> {
    match refresher.turn().await.expect("a turn") {
        Turn::Published(manifest) => manifest,
        Turn::Quiet => panic!("nothing was published"),
    }
}

fn texts(batch: &RecordBatch) -> Vec<String> {
    let options = FormatOptions::default().with_null("-");
    let columns: Vec<_> = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column, &options).expect("printable"))
        .collect();
    (0..batch.num_rows())
        .map(|row| {
            let cells: Vec<_> = columns
                .iter()
                .map(|cells| cells.value(row).to_string())
                .collect();
            cells.join(",")
        })
        .collect()
}

fn clock(seconds: &Arc<AtomicI64>) -> Clock {
    let seconds = seconds.clone();
    Arc::new(move || {
        let start = Utc
            .timestamp_opt(1_770_000_000, 0)
            .single()
            .expect("a time");
        start + chrono::Duration::seconds(seconds.fetch_add(1, Ordering::Relaxed))
    })
}
