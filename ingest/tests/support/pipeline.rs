use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use changes::KafkaConfig;
use chrono::{DateTime, Utc};
use engine::{Clock, Lake, LakeConfig, Lease, Role};
use ingest::IngestConfig;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Row, in_time, rows};

/// It is always the same moment in these tests.
pub(crate) fn clock() -> Clock {
    let now: DateTime<Utc> = "2026-03-01T23:59:59Z".parse().expect("a time");
    Arc::new(move || now)
}

/// Settings that leave no test waiting.
pub(crate) fn quick() -> IngestConfig {
    IngestConfig {
        flush_interval: Duration::from_millis(20),
        discovery_interval: Duration::from_millis(50),
        ..IngestConfig::default()
    }
}

/// Directories for a lake and a broker, gone with the test.
pub(crate) struct TestLake {
    directory: TempDir,
}

impl TestLake {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("lake")
    }

    pub(crate) fn broker_path(&self) -> PathBuf {
        self.directory.path().join("broker")
    }

    pub(crate) async fn open(&self) -> Lake {
        open(&self.path()).await
    }

    /// A lease that guards another lake: what a writer that lost its lease still has.
    pub(crate) async fn stale_lease(&self) -> Lease {
        let other = open(&self.directory.path().join("other")).await;
        Lease::acquire(&other, Role::Ingest).expect("a lease")
    }
}

async fn open(path: &Path) -> Lake {
    let uri = path.display().to_string();
    Lake::open(&LakeConfig { uri }).await.expect("a lake")
}

/// A running ingest.
pub(crate) struct Ingest {
    lake: PathBuf,
    wake: Arc<Notify>,
    shutdown: CancellationToken,
    task: JoinHandle<engine::Result<()>>,
}

impl Ingest {
    pub(crate) async fn start(kafka: &KafkaConfig, lake: &TestLake, config: IngestConfig) -> Self {
        let opened = lake.open().await;
        let lease = Lease::acquire(&opened, Role::Ingest).expect("the lease is free");
        let wake = Arc::new(Notify::new());
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(ingest::run(
            kafka.clone(),
            opened,
            lease,
            config,
            clock(),
            Arc::clone(&wake),
            shutdown.clone(),
        ));
        Self {
            lake: lake.path(),
            wake,
            shutdown,
            task,
        }
    }

    /// Waits until the table holds at least `count` rows, commit by commit.
    pub(crate) async fn until(&self, table: &str, count: usize) -> Vec<Row> {
        in_time(&format!("{count} rows of {table}"), async {
            loop {
                let found = rows(&self.lake, table);
                if found.len() >= count {
                    return found;
                }
                assert!(!self.task.is_finished(), "ingest ended early");
                self.wake.notified().await;
            }
        })
        .await
    }

    pub(crate) async fn stop(self) {
        self.shutdown.cancel();
        self.ended().await.expect("a clean end");
    }

    /// Waits for an end that nobody asked for.
    pub(crate) async fn ended(self) -> engine::Result<()> {
        in_time("the end of ingest", self.task)
            .await
            .expect("no panic")
    }
}
