//! A disk that fails at any step and comes back: nothing is lost, nothing is twice, no reader sees half an epoch.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::steps::{Steps, Stop};
use super::world::{Seen, World, sample, whole_epoch};
use crate::Reader;
use crate::error::Result;

/// Steps tried in the gate.
const FAILURES: usize = 7;

/// Failing steps in a row: the first attempt to mend fails too.
const IN_A_ROW: usize = 3;

/// Runs that may end before a step is reached.
const ATTEMPTS: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fails_at_any_step_is_waited_for() {
    let whole = tempfile::tempdir().expect("a directory");
    let steps = works(whole.path(), Stop::Never).await;
    for from in sample(steps.count(), FAILURES) {
        println!("step {from}: {}", steps.names()[from]);
        let stop = Stop::Fail {
            from,
            count: IN_A_ROW,
        };
        assert!(is_reached(from, stop).await, "step {from} is reached");
    }
}

/// Whether the work comes as far as that step, which is waited for; it takes a step less where two roles hurry.
async fn is_reached(from: usize, stop: Stop) -> bool {
    for _ in 0..ATTEMPTS {
        let directory = tempfile::tempdir().expect("a directory");
        if works(directory.path(), stop).await.count() > from {
            return true;
        }
    }
    false
}

/// Ingest and a running refresh over an edit, with a reader beside them.
async fn works(root: &Path, stop: Stop) -> Arc<Steps> {
    let world = World::new(root);
    let mut ingest = world.ingest().await.expect("ingest");
    let refresher = world.refresher().await.expect("refresh");
    let reader = world.reader().await.expect("a reader");
    let steps = Steps::new(&root.join("lake"), stop);
    let watching = disk::watch(&root.join("lake"), steps.clone());
    let (wake, shutdown) = (Arc::new(Notify::new()), CancellationToken::new());
    let mut running = tokio::spawn(refresher.run(wake.clone(), shutdown.clone()));
    let mut newest = None;
    for (round, count) in (0..).zip([4, 5, 0, 3]) {
        let events = match count {
            0 => {
                world.edit(2);
                ingest.next()
            }
            count => ingest.append_in_the_end(count).await,
        };
        wake.notify_one();
        let step = if round < 2 { 1 } else { 2 };
        newest = Some(shows(&reader, events, step, &mut running).await);
    }
    shutdown.cancel();
    running.await.expect("no panic").expect("a clean end");
    drop(watching);
    drop(ingest);
    let epoch = newest.map_or(0, |seen| seen.epoch);
    super::power_cut::goes_on(&world, 12, epoch).await;
    steps
}

/// Reads every epoch as it comes, until one shows all of this.
async fn shows(
    reader: &Reader,
    events: i64,
    step: i64,
    running: &mut JoinHandle<Result<()>>,
) -> Seen {
    let mut last = 0;
    loop {
        if let Ok(latest) = reader.latest().await
            && latest.epoch != last
        {
            assert!(
                latest.epoch > last,
                "epoch {last} came before {}",
                latest.epoch
            );
            last = latest.epoch;
            let seen = whole_epoch(reader, latest).await;
            if (seen.events, seen.step) == (events, step) {
                return seen;
            }
        }
        if running.is_finished() {
            let outcome = running.await;
            panic!("refresh ended: {outcome:?}");
        }
        tokio::task::yield_now().await;
    }
}
