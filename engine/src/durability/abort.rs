//! A process that ends at any step of any commit, by name.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use super::power_cut::goes_on;
use super::steps::{Steps, Stop};
use super::world::{World, each, sample, variable};
use crate::error::Result;
use crate::{Request, Turn};

/// Tells the child where its lake is and at which step it ends.
const CHILD: &str = "SPORTLAKE_TEST_ABORT";

/// Steps tried in the gate.
const ABORTS: usize = 5;

/// So many that upkeep merges files, and later removes them.
const COMMITS: usize = 12;
const TIDIED: usize = 4;

/// Every step of a commit, in the order of its first time. A new one is a decision about what a crash there leaves.
const NAMES: [&str; 106] = [
    "lake: make directory",
    "lake: sync directory",
    "staged format: create",
    "staged format: write",
    "staged format: sync",
    "staged format: link",
    "staged format: remove",
    "leases: make directory",
    "lease: create",
    "lease: write",
    "lease: sync",
    "leases: sync directory",
    "bronze directory: make directory",
    "bronze directory: sync directory",
    "bronze log: make directory",
    "staged bronze log entry: create",
    "staged bronze log entry: write",
    "staged bronze log entry: sync",
    "staged bronze log entry: link",
    "staged bronze log entry: remove",
    "bronze log: sync directory",
    "staged bronze data file: create",
    "staged bronze data file: write",
    "staged bronze data file: sync",
    "staged bronze data file: rename",
    "project texts: make directory",
    "staged project text: create",
    "staged project text: write",
    "staged project text: sync",
    "staged project text: link",
    "staged project text: remove",
    "project texts: sync directory",
    "staged project text: rename",
    "epochs: make directory",
    "staged intent: create",
    "staged intent: write",
    "staged intent: sync",
    "staged intent: link",
    "staged intent: remove",
    "epochs: sync directory",
    "table directory: make directory",
    "table directory: sync directory",
    "table log: make directory",
    "staged table log entry: create",
    "staged table log entry: write",
    "staged table log entry: sync",
    "staged table log entry: link",
    "staged table log entry: remove",
    "table log: sync directory",
    "staged table data file: create",
    "staged table data file: write",
    "staged table data file: sync",
    "staged table data file: rename",
    "staged manifest: create",
    "staged manifest: write",
    "staged manifest: sync",
    "staged manifest: link",
    "staged manifest: remove",
    "staged hint: create",
    "staged hint: write",
    "staged hint: sync",
    "staged hint: rename",
    "staged bronze checkpoint: create",
    "staged bronze checkpoint: write",
    "staged bronze checkpoint: sync",
    "staged bronze checkpoint: rename",
    "staged bronze checkpoint hint: create",
    "staged bronze checkpoint hint: write",
    "staged bronze checkpoint hint: sync",
    "staged bronze checkpoint hint: rename",
    "staged table checkpoint: create",
    "staged table checkpoint: write",
    "staged table checkpoint: sync",
    "staged table checkpoint: rename",
    "staged table checkpoint hint: create",
    "staged table checkpoint hint: write",
    "staged table checkpoint hint: sync",
    "staged table checkpoint hint: rename",
    "manifest: remove",
    "intent: remove",
    "table data file: remove",
    "table log entry: remove",
    "bronze log entry: remove",
    "table checkpoint: remove",
    "bronze checkpoint: remove",
    "bronze data file: remove",
    "requests: make directory",
    "requests: sync directory",
    "staged request: create",
    "staged request: write",
    "staged request: sync",
    "staged request: link",
    "staged request: remove",
    "staged taken mark: create",
    "staged taken mark: write",
    "staged taken mark: sync",
    "staged taken mark: link",
    "staged taken mark: remove",
    "staged answer: create",
    "staged answer: write",
    "staged answer: sync",
    "staged answer: link",
    "staged answer: remove",
    "request: remove",
    "answer: remove",
    "taken mark: remove",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_at_any_step_leaves_whole_epochs() {
    let whole = tempfile::tempdir().expect("a directory");
    let steps = Steps::new(&whole.path().join("lake"), Stop::Never);
    let watching = disk::watch(whole.path(), steps.clone());
    let world = World::new(whole.path());
    works(&world).await.expect("a disk that works");
    drop(watching);
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    for (at, name) in steps.names().into_iter().enumerate() {
        first.entry(name).or_insert(at);
    }
    let mut names: Vec<(&str, usize)> = first
        .iter()
        .map(|(name, at)| (name.as_str(), *at))
        .collect();
    names.sort_by_key(|(_, at)| *at);
    let found: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
    assert_eq!(found, NAMES);

    let numbers = each(&steps.names()).unwrap_or_else(|| sample(steps.count(), ABORTS));
    for number in numbers {
        println!("step {number}: {}", steps.names()[number]);
        let directory = tempfile::tempdir().expect("a directory");
        ends_at(directory.path(), number);
        let world = World::new(directory.path());
        let (events, epoch) = acknowledged(directory.path());
        goes_on(&world, events, epoch).await;
    }
}

/// Runs the child until it ends at a step.
fn ends_at(root: &Path, step: usize) {
    let this = std::env::current_exe().expect("this program");
    let output = Command::new(this)
        .args([
            "--exact",
            "durability::abort::child",
            "--ignored",
            "--nocapture",
        ])
        .env(CHILD, format!("{step} {}", root.display()))
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success(),
        "step {step} was not reached: {text}"
    );
    assert!(!text.contains("panicked"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "is run by `a_process_that_ends_at_any_step_leaves_whole_epochs`"]
async fn child() {
    let Some(told) = variable(CHILD) else {
        return;
    };
    let (step, root) = told.split_once(' ').expect("a step and a directory");
    let root = Path::new(root);
    let step = step.parse().expect("a number");
    let steps = Steps::new(&root.join("lake"), Stop::Abort(step));
    let _watching = disk::watch(root, steps);
    works(&World::new(root)).await.expect("a disk that works");
}

/// Ingest, refresh, upkeep, an edit, an apply and a rollback; a file beside the lake says what is acknowledged.
pub(super) async fn works(world: &World) -> Result<()> {
    let mut ingest = world.ingest().await?;
    let mut refresher = world.refresher().await?;
    let mut epoch = 0;
    for commit in 1..=COMMITS {
        ingest.append(2).await?;
        world.acknowledge(ingest.next(), epoch);
        if let Turn::Published(manifest) = refresher.turn().await? {
            epoch = manifest.epoch;
            world.acknowledge(ingest.next(), epoch);
        }
        if commit % TIDIED == 0 {
            world.tidy(&mut ingest, &mut refresher).await?;
        }
    }
    for count in [4, 0, 3] {
        if count > 0 {
            ingest.append(count).await?;
            world.acknowledge(ingest.next(), epoch);
        } else {
            world.edit(2);
        }
        if let Turn::Published(manifest) = refresher.turn().await? {
            epoch = manifest.epoch;
            world.acknowledge(ingest.next(), epoch);
        }
    }
    // An epoch that is committed and not published, whose place an edit takes.
    ingest.append(2).await?;
    world.acknowledge(ingest.next(), epoch);
    refresher.leave_unfinished().await?;
    world.edit(1);
    if let Turn::Published(manifest) = refresher.turn().await? {
        epoch = manifest.epoch;
        world.acknowledge(ingest.next(), epoch);
    }
    world.edit(3);
    for (id, request) in [
        ("1-1-0", Request::Apply),
        ("2-1-0", Request::Rollback { epoch }),
    ] {
        world.request(id, &request).await?;
        refresher.serve_requests().await?;
        let latest = world.reader().await?.latest().await?;
        world.acknowledge(ingest.next(), latest.epoch);
    }
    Ok(())
}

fn acknowledged(root: &Path) -> (i64, u64) {
    let Ok(text) = std::fs::read_to_string(root.join("acknowledged")) else {
        return (0, 0);
    };
    let (events, epoch) = text.split_once(' ').expect("two numbers");
    (
        events.parse().expect("events"),
        epoch.parse().expect("an epoch"),
    )
}
