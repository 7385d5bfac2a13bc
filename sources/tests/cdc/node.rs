//! A capture in this process, or in one of its own that can be killed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use changes::{KafkaConfig, Result};
use sources::cdc::{self, CdcConfig, CdcOptions, Progress, Report};
use sources::postgres::Address;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::kafka::clock;
use crate::postgres::Database;

const PATIENCE: Duration = Duration::from_secs(120);

/// What it captures is the database's own publication, by a slot of its own.
pub(crate) fn config(database: &Database, folder: &Path) -> CdcConfig {
    CdcConfig {
        slot: database.name.clone(),
        state: folder.join("cdc.json"),
        look_seconds: 1,
        // Connections that a test drops are missed at once.
        slot_wait_seconds: 15,
        ..CdcConfig::default()
    }
}

pub(crate) struct Capture {
    stop: CancellationToken,
    running: JoinHandle<Result<Report>>,
    progress: watch::Receiver<Option<Progress>>,
}

impl Capture {
    pub(crate) fn start(database: &Database, kafka: &KafkaConfig, config: &CdcConfig) -> Self {
        Self::start_with(database.address(), kafka, config, CdcOptions::default())
    }

    pub(crate) fn start_with(
        address: Address,
        kafka: &KafkaConfig,
        config: &CdcConfig,
        options: CdcOptions,
    ) -> Self {
        crate::meters::show();
        let (kafka, config) = (kafka.clone(), config.clone());
        let stop = CancellationToken::new();
        let (tell, progress) = watch::channel(None);
        let until = stop.clone();
        let running = tokio::spawn(async move {
            let tell = move |progress| {
                tell.send_replace(Some(progress));
            };
            cdc::run(&kafka, &address, &config, options, clock(), until, tell).await
        });
        Self {
            stop,
            running,
            progress,
        }
    }

    /// Waits until it reads changes.
    pub(crate) async fn following(&mut self) {
        self.until(|progress| *progress == Progress::Following)
            .await;
    }

    /// Waits until it tells of such progress.
    pub(crate) async fn until(&mut self, reached: impl Fn(&Progress) -> bool) {
        let progress = self
            .progress
            .wait_for(|progress| progress.as_ref().is_some_and(&reached));
        let ready = tokio::time::timeout(PATIENCE, progress)
            .await
            .expect("in time")
            .is_ok();
        assert!(ready, "it ended: {:?}", (&mut self.running).await);
    }

    pub(crate) async fn stop(self) -> Report {
        self.stop.cancel();
        self.running
            .await
            .expect("no panic")
            .expect("it stops in order")
    }

    pub(crate) async fn ended(self) -> Result<Report> {
        tokio::time::timeout(PATIENCE, self.running)
            .await
            .expect("in time")
            .expect("no panic")
    }
}

const ADDRESS: &str = "SPORTLAKE_TEST_ADDRESS";
const BROKERS: &str = "SPORTLAKE_TEST_BROKERS";
const STATE: &str = "SPORTLAKE_TEST_STATE";
const SLOT: &str = "SPORTLAKE_TEST_SLOT";

/// A capture in a process of its own.
pub(crate) fn spawn(url: &str, kafka: &KafkaConfig, config: &CdcConfig) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["--exact", "node::capture_for_another_test", "--ignored"])
        .env(ADDRESS, url)
        .env(BROKERS, &kafka.brokers)
        .env(STATE, &config.state)
        .env(SLOT, &config.slot)
        .stdout(Stdio::null())
        .kill_on_drop(true);
    command.spawn().expect("it starts")
}

#[test]
#[ignore = "other tests start it as their capture"]
fn capture_for_another_test() {
    let (Ok(address), Ok(brokers), Ok(slot), Some(state)) = (
        std::env::var(ADDRESS),
        std::env::var(BROKERS),
        std::env::var(SLOT),
        std::env::var_os(STATE),
    ) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let address = Address::parse(&address, None).expect("an address");
        let kafka = KafkaConfig::default().with_brokers(brokers);
        let config = CdcConfig {
            slot,
            state: state.into(),
            look_seconds: 1,
            ..CdcConfig::default()
        };
        // A supervisor starts again what gave up: a first start has no patience.
        loop {
            let (options, never) = (CdcOptions::default(), CancellationToken::new());
            let _ = cdc::run(&kafka, &address, &config, options, clock(), never, |_| {}).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
}
