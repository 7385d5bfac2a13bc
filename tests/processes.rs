//! `ingest`, `refresh --watch` and `serve` as three processes on one lake: as `up` is, whichever of them dies.

use std::collections::BTreeSet;
use std::io::Read;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use changes::KafkaConfig;
use serde_json::Value;

use crate::broker::Broker;
use crate::crash::{
    Moments, every_acknowledged_message_is_there_once, no_epoch_is_torn,
    no_offset_is_there_twice_or_missing, write,
};
use crate::outsider::Outsider;
use crate::project::{PATIENCE, Project, text};
use crate::truth::{Truth, manifests, newest_manifest};

const SEED: u64 = 20_261_125;

/// Rounds, in each of which every role is killed once.
const ROUNDS: usize = 2;

/// The latest moment of a kill, after the last start.
const LATEST_MS: u64 = 1500;

const INGEST: &[&str] = &["ingest"];
const REFRESH: &[&str] = &["refresh", "--watch"];
const SERVE: &[&str] = &["serve"];

/// The least that the configuration allows: an epoch goes a minute after the next one came.
const KEEPS_LITTLE: [(&str, &str); 2] = [
    ("upkeep.keep_epochs_seconds", "60"),
    ("upkeep.keep_hourly_seconds", "0"),
];

/// Of upkeep, each of which does a bounded part; this lake takes some eighty in all.
const TURNS: usize = 200;

#[test]
fn three_processes_are_as_one_whichever_dies() {
    let broker = Broker::start(tempfile::tempdir().expect("a folder").keep());
    let mut project = Project::new().set("kafka.brokers", &broker.address);
    for (key, value) in KEEPS_LITTLE {
        project = project.set(key, value);
    }
    let kafka = KafkaConfig::default().with_brokers(&broker.address);
    let Some(truth) = Truth::new(&project, &kafka) else {
        return;
    };
    let samples = concat!(env!("CARGO_MANIFEST_DIR"), "/sources/samples");
    let workbooks = ["employes", "sports"].map(|name| format!("{samples}/{name}.xlsx"));
    succeed(&project, &["hr", "import", &workbooks[0], &workbooks[1]]);
    succeed(&project, &["generate", "--days", "60", "--once"]);

    let mut roles = [INGEST, REFRESH, SERVE].map(|role| project.start(role));
    truth.check(false);
    a_second_writer_is_refused(&project);
    requests_reach_the_running_role(&project);
    every_reading_command_works(&project);
    let mut held = HeldQuery::start(&project);

    let mut outsider = Outsider::connect(&kafka);
    let over = AtomicBool::new(false);
    let mut moments = Moments(SEED);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| write(&mut outsider, 0, &over));
        for _ in 0..ROUNDS {
            for (at, role) in [INGEST, REFRESH, SERVE].into_iter().enumerate() {
                std::thread::sleep(Duration::from_millis(moments.next() % LATEST_MS));
                roles[at].signal(nix::sys::signal::Signal::SIGKILL);
                roles[at].end();
                every_reading_command_works(&project);
                roles[at] = project.start(role);
            }
            requests_reach_the_running_role(&project);
        }
        held.outlive_the_epoch(&project);
        over.store(true, Ordering::Relaxed);
        writing.join().expect("the producer goes on");
    });
    outsider.flush();
    truth.check(false);
    let acknowledged = outsider.acknowledged();
    every_acknowledged_message_is_there_once(&project, &acknowledged);
    no_offset_is_there_twice_or_missing(&project);

    let pinned_turns = maintained(&project);
    assert!(is_kept(&project, held.epoch), "a reader pins it");
    let rows = held.finish();
    assert_eq!(rows, held.expected, "as its epoch has them");
    await_unpinned(&project, held.epoch);
    let turns = pinned_turns + maintained(&project);
    assert!(!is_kept(&project, held.epoch), "nobody needs it any more");
    truth.check(false);
    every_acknowledged_message_is_there_once(&project, &acknowledged);
    let epochs = no_epoch_is_torn(&project);
    println!(
        "seed {SEED}: {} kills, {} messages, {turns} turns of upkeep, {epochs} epochs kept",
        3 * ROUNDS,
        acknowledged.len()
    );
}

#[track_caller]
fn succeed(project: &Project, arguments: &[&str]) -> String {
    let output = project.run(arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        text(&output.stderr)
    );
    text(&output.stdout)
}

#[track_caller]
fn a_second_writer_is_refused(project: &Project) {
    for (role, name) in [(INGEST, "ingest"), (REFRESH, "refresh")] {
        let output = project.run(role);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(5), "{said}");
        let lease = project.read(&format!("data/lake/_leases/{name}"));
        let holder = lease.split_whitespace().nth(1);
        let holder: u32 = holder.and_then(|pid| pid.parse().ok()).expect("a pid");
        assert!(said.contains(&holder.to_string()), "{holder}: {said}");
    }
}

#[track_caller]
fn requests_reach_the_running_role(project: &Project) {
    let terms =
        || ["ingest", "refresh"].map(|role| project.read(&format!("data/lake/_leases/{role}")));
    let before = terms();
    for request in [
        &["refresh", "--full", "gold.indicateurs"][..],
        &["apply"],
        &["maintain", "--dry-run"],
        &["maintain"],
    ] {
        succeed(project, request);
    }
    assert_eq!(
        terms(),
        before,
        "the roles did it, nobody else took the leases"
    );
}

#[track_caller]
fn every_reading_command_works(project: &Project) {
    for command in [
        &["status"][..],
        &["query", "SELECT count(*) FROM gold.eligibilites"],
        &["explain", "gold.eligibilites"],
        &["plan"],
        &["dlq", "list"],
        &["quarantine", "list"],
    ] {
        succeed(project, command);
    }
    let validation = project.run(&["validate"]);
    assert!(
        matches!(validation.status.code(), Some(0 | 1)),
        "{}",
        text(&validation.stderr)
    );
    let someone = project.rows("SELECT min(employee_id) FROM gold.eligibilites");
    succeed(project, &["why", "gold.eligibilites", &someone[0]]);
}

/// Upkeep at once, until nothing is left to do; how many turns it took.
#[track_caller]
fn maintained(project: &Project) -> usize {
    let is_done = |_: &usize| {
        let done = succeed(project, &["maintain", "--output", "csv"]);
        done.lines().count() <= 1
    };
    let turns = (1..=TURNS).find(is_done);
    turns.expect("upkeep comes to an end")
}

fn is_kept(project: &Project, epoch: u64) -> bool {
    project
        .path(&format!("data/lake/_epochs/{epoch:020}.json"))
        .exists()
}

/// Epochs that readers pin.
fn pinned(project: &Project) -> BTreeSet<u64> {
    let Ok(entries) = std::fs::read_dir(project.path("data/lake/_pins")) else {
        return BTreeSet::new();
    };
    let pins = entries.filter_map(|entry| std::fs::read(entry.ok()?.path()).ok());
    pins.filter_map(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .filter_map(|pin| pin["epochs"].as_array().cloned())
        .flatten()
        .filter_map(|epoch| epoch.as_u64())
        .collect()
}

#[track_caller]
fn await_unpinned(project: &Project, epoch: u64) {
    let deadline = Instant::now() + PATIENCE;
    while pinned(project).contains(&epoch) {
        assert!(Instant::now() < deadline, "the query lets its epoch go");
    }
}

/// A statement whose rows nobody fetches for a long time.
struct HeldQuery {
    child: Child,
    epoch: u64,
    expected: Vec<String>,
    published: Instant,
}

impl HeldQuery {
    const SQL: &str = "SELECT _partition, _offset, value FROM bronze.sport_activities";

    #[track_caller]
    fn start(project: &Project) -> Self {
        let mut expected = project.rows(Self::SQL);
        expected.sort();
        let child = project
            .command(&["query", "--output", "csv", Self::SQL])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let deadline = Instant::now() + PATIENCE;
        let epoch = loop {
            if let Some(epoch) = pinned(project).into_iter().next() {
                break epoch;
            }
            assert!(Instant::now() < deadline, "the statement pins its epoch");
        };
        Self {
            child,
            epoch,
            expected,
            published: Instant::now(),
        }
    }

    /// Until its epoch would go, were it not pinned: others of its age are gone.
    #[track_caller]
    fn outlive_the_epoch(&self, project: &Project) {
        let deadline = Instant::now() + 2 * PATIENCE;
        let is_old = || {
            let kept: Vec<u64> = manifests(project)
                .iter()
                .filter_map(|path| path.file_stem()?.to_str()?.parse().ok())
                .collect();
            let newest = newest_manifest(project)?["epoch"].as_u64()?;
            let is_alone = !kept.contains(&(self.epoch + 1));
            (is_alone && newest > self.epoch + 3).then_some(())
        };
        while is_old().is_none() {
            assert!(
                Instant::now() < deadline,
                "epochs after {} are thinned {} s later",
                self.epoch,
                self.published.elapsed().as_secs()
            );
            succeed(project, &["maintain"]);
        }
    }

    #[track_caller]
    fn finish(&mut self) -> Vec<String> {
        let mut read = String::new();
        let mut rows = self.child.stdout.take().expect("piped");
        rows.read_to_string(&mut read).expect("text");
        let status = self.child.wait().expect("reaped");
        assert!(status.success(), "{status}");
        let mut rows: Vec<String> = read.lines().skip(1).map(str::to_owned).collect();
        rows.sort();
        rows
    }
}

impl Drop for HeldQuery {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
