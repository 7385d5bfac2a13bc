//! Power cuts: whatever was not synced may be gone.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use disk::power_cut::{Recorder, Recording, Survival};

use super::abort::works;
use super::steps::{Steps, Stop, name};
use super::world::{Ingest, Seen, World, all, sample, whole_epoch};
use crate::{Request, Turn};

/// Moments tried in the gate.
const CUTS: usize = 16;

/// Deaths before a cut, and forgotten syncs, tried in the gate.
const DEATHS: usize = 4;
const FORGOTTEN: usize = 3;

/// Syncs without which something is lost.
const NEEDED: [&str; 16] = [
    "bronze directory: sync directory",
    "bronze log: sync directory",
    "epochs: sync directory",
    "lake: sync directory",
    "project texts: sync directory",
    "staged bronze checkpoint: sync",
    "staged bronze data file: sync",
    "staged bronze log entry: sync",
    "staged format: sync",
    "staged manifest: sync",
    "staged project text: sync",
    "staged table checkpoint: sync",
    "staged table data file: sync",
    "staged table log entry: sync",
    "table directory: sync directory",
    "table log: sync directory",
];

/// The same, where few cuts show it: all of them are tried outside the gate.
const SELDOM: [&str; 3] = [
    "lease: sync",
    "leases: sync directory",
    "staged intent: sync",
];

/// Nothing rests on hints: epochs and checkpoints are looked for by their names where they are torn. Whoever asked and got
/// no answer asks again.
const SPARE: [&str; 7] = [
    "requests: sync directory",
    "staged answer: sync",
    "staged bronze checkpoint hint: sync",
    "staged hint: sync",
    "staged request: sync",
    "staged table checkpoint hint: sync",
    "staged taken mark: sync",
];

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_survives_every_power_cut() {
    let live = tempfile::tempdir().expect("a directory");
    let world = World::new(live.path());
    let recording = record(&world, live.path()).await;
    let moments = recording.moments().count();
    for moment in sample(moments, CUTS) {
        let seed = moment as u64;
        for survival in [Survival::Synced, Survival::Chance(seed)] {
            let at = format!(
                "moment {moment}, {survival:?}: {}",
                recording.describe(moment)
            );
            println!("{at}");
            survives(&recording, moment, survival).await;
        }
    }
}

/// What the next process finds may be what a dead one had not synced. What it builds upon that must last.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_process_left_lasts_once_it_is_built_upon() {
    let whole = tempfile::tempdir().expect("a directory");
    let steps = Steps::new(&whole.path().join("lake"), Stop::Never);
    let watching = disk::watch(whole.path(), steps.clone());
    let world = World::new(whole.path());
    works(&world).await.expect("a disk that works");
    drop(watching);
    for from in sample(steps.count(), DEATHS) {
        println!("death at step {from}: {}", steps.names()[from]);
        let live = tempfile::tempdir().expect("a directory");
        let world = World::new(live.path());
        let (recorder, _watching) = Recorder::begin(live.path()).expect("recording");
        let stop = Stop::Fail {
            from,
            count: usize::MAX,
        };
        let dying = disk::watch(live.path(), Steps::new(&live.path().join("lake"), stop));
        works(&world).await.ok();
        drop(dying);

        let ingest = world.ingest().await.expect("ingest goes on");
        let mut refresher = world.refresher().await.expect("refresh goes on");
        recorder.mark(format!("events {}", ingest.next()));
        while let Turn::Published(manifest) = refresher.turn().await.expect("a turn") {
            recorder.mark(format!("epoch {}", manifest.epoch));
        }
        let recording = recorder.recording();
        for moment in recording.acknowledgements() {
            survives(&recording, moment, Survival::Synced).await;
        }
    }
}

/// The same suite against roles that forget one of their syncs.
#[tokio::test(flavor = "multi_thread")]
async fn a_forgotten_sync_is_found_out() {
    let live = tempfile::tempdir().expect("a directory");
    let recording = record(&World::new(live.path()), live.path()).await;
    let lake = Path::new("lake");
    let made: BTreeSet<String> = recording
        .syncs()
        .map(|(_, step)| name(lake, &step))
        .collect();
    let known: BTreeSet<String> = [&NEEDED[..], &SELDOM[..], &SPARE[..]]
        .concat()
        .into_iter()
        .map(str::to_owned)
        .collect();
    assert_eq!(made, known, "a sync is needed, or it is known why not");
    let mut forgotten: Vec<&str> = sample(NEEDED.len(), FORGOTTEN)
        .into_iter()
        .map(|at| NEEDED[at])
        .collect();
    if all() {
        forgotten.extend(SELDOM);
    }
    for forgotten in forgotten {
        let recording = recording.clone();
        let forgetful = recording.without(|step| name(lake, step) == forgotten);
        let found = loses_something(Arc::new(forgetful)).await;
        assert!(found, "nobody misses \"{forgotten}\"");
    }
}

/// Whether some cut finds a loss: first where most can be missing, then everywhere.
async fn loses_something(recording: Arc<Recording>) -> bool {
    let acknowledged = recording.acknowledgements();
    let cuts: Vec<(usize, Survival)> = acknowledged
        .map(|moment| (moment, Survival::Synced))
        .chain(
            recording
                .moments()
                .map(|moment| (moment, Survival::Chance(moment as u64 * 8))),
        )
        .collect();
    for (moment, survival) in cuts {
        let recording = recording.clone();
        let cut = tokio::spawn(async move { survives(&recording, moment, survival).await });
        if cut.await.is_err() {
            return true;
        }
    }
    false
}

/// Ingest, refresh, edits and restarts, noting what is acknowledged.
async fn record(world: &World, root: &Path) -> Recording {
    let (recorder, _watching) = Recorder::begin(root).expect("recording");
    let mut ingest = world.ingest().await.expect("ingest");
    let mut refresher = world.refresher().await.expect("refresh");
    for (round, count) in [4, 3, 0, 6, 1].into_iter().enumerate() {
        if count > 0 {
            let next = ingest.append(count).await.expect("appended");
            recorder.mark(format!("events {next}"));
        } else {
            world.edit(2);
        }
        if round == 3 {
            drop(refresher);
            refresher = world.refresher().await.expect("refresh again");
        }
        if let Turn::Published(manifest) = refresher.turn().await.expect("a turn") {
            recorder.mark(format!("epoch {}", manifest.epoch));
        }
    }
    let next = ingest.append(2).await.expect("appended");
    recorder.mark(format!("events {next}"));
    let committed = refresher.leave_unfinished().await;
    committed.expect("an epoch that is not published");
    world.edit(1);
    if let Turn::Published(manifest) = refresher.turn().await.expect("it is given up") {
        recorder.mark(format!("epoch {}", manifest.epoch));
    }
    world.edit(2);
    let asked = world.request("1-1-0", &Request::Apply).await;
    asked.expect("asked");
    refresher.serve_requests().await.expect("applied");
    let latest = world.reader().await.expect("a reader").latest().await;
    recorder.mark(format!("epoch {}", latest.expect("an epoch").epoch));
    let tidied = world.tidy(&mut ingest, &mut refresher).await;
    tidied.expect("upkeep");
    recorder.recording()
}

async fn survives(recording: &Recording, moment: usize, survival: Survival) {
    let left = tempfile::tempdir().expect("a directory");
    recording
        .restore(moment, survival, left.path())
        .expect("laid out");
    let world = World::new(left.path());
    let acknowledged = |what: &str| -> i64 {
        let marks = recording.marks(moment);
        let numbers = marks.filter_map(|mark| mark.strip_prefix(what)?.trim().parse().ok());
        numbers.last().unwrap_or(0)
    };
    let (events, epoch) = (acknowledged("events"), acknowledged("epoch"));
    goes_on(&world, events, u64::try_from(epoch).expect("an epoch")).await;
}

/// Everything acknowledged is there, every epoch is whole, and work goes on.
pub(super) async fn goes_on(world: &World, events: i64, epoch: u64) {
    world.edit(1);
    let reader = world.reader().await.expect("a reader");
    let newest = match reader.latest().await {
        Ok(newest) => newest.epoch,
        Err(error) => {
            assert_eq!(error.kind(), crate::ErrorKind::Unavailable, "{error}");
            0
        }
    };
    assert!(newest >= epoch, "epoch {epoch} is gone: {newest}");
    for epoch in newest.saturating_sub(2).max(1)..=newest {
        let manifest = reader.epoch(epoch).await.expect("an epoch");
        whole_epoch(&reader, manifest).await;
    }

    let mut ingest = world.ingest().await.expect("ingest goes on");
    assert!(
        ingest.next() >= events,
        "{events} events, {} left",
        ingest.next()
    );
    let mut refresher = world.refresher().await.expect("refresh goes on");
    refresher.serve_requests().await.expect("what was asked");
    let appended = ingest.append(2).await.expect("appended");
    while let Turn::Published(_) = refresher.turn().await.expect("a turn") {}
    let latest = reader.latest().await.expect("an epoch");
    let seen = whole_epoch(&reader, latest).await;
    let expected = Seen {
        events: appended,
        step: 1,
        ..seen.clone()
    };
    assert_eq!(seen, expected, "the newest events and texts");
    all_is_named_once(&mut ingest).await;
}

/// A later append finds the offsets as they were left.
async fn all_is_named_once(ingest: &mut Ingest) {
    let next = ingest.next();
    assert_eq!(ingest.append(1).await.expect("appended"), next + 1);
}
