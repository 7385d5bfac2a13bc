//! A process that ends while it gives an epoch up.

use std::path::Path;

use super::power_cut::goes_on;
use super::steps::{Steps, Stop};
use super::world::{World, sample};
use crate::Turn;

/// Steps tried in the gate.
const STEPS: usize = 4;

/// What putting a table back and taking an intent back are made of, among others.
const NAMES: [&str; 4] = [
    "staged table log entry: sync",
    "staged table log entry: link",
    "table log: sync directory",
    "intent: remove",
];

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_ends_while_it_gives_an_epoch_up_leaves_whole_epochs() {
    let whole = tempfile::tempdir().expect("a directory");
    let steps = gives_up(whole.path(), Stop::Never).await;
    let names = steps.names();
    for name in NAMES {
        assert!(names.iter().any(|taken| taken == name), "{name}: {names:?}");
    }
    for from in sample(steps.count(), STEPS) {
        println!("step {from}: {}", names[from]);
        for count in [1, usize::MAX] {
            let directory = tempfile::tempdir().expect("a directory");
            gives_up(directory.path(), Stop::Fail { from, count }).await;
            goes_on(&World::new(directory.path()), 7, 1).await;
        }
    }
}

/// One epoch is published, the next one is committed and not published, and an edit takes its place.
async fn gives_up(root: &Path, stop: Stop) -> std::sync::Arc<Steps> {
    let world = World::new(root);
    let mut ingest = world.ingest().await.expect("ingest");
    let mut refresher = world.refresher().await.expect("refresh");
    ingest.append(4).await.expect("appended");
    assert!(matches!(
        refresher.turn().await.expect("a turn"),
        Turn::Published(_)
    ));
    ingest.append(3).await.expect("appended");
    refresher.leave_unfinished().await.expect("committed");
    drop((ingest, refresher));
    world.edit(2);
    let steps = Steps::new(&root.join("lake"), stop);
    let _watching = disk::watch(&root.join("lake"), steps.clone());
    if let Ok(mut refresher) = world.refresher().await {
        refresher.turn().await.ok();
    }
    steps
}
