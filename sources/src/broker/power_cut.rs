//! Power cuts: what the broker acknowledged is there, and it starts, whatever else of the disk's cache was lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use disk::Step;
use disk::power_cut::{Recorder, Recording, Survival};

use super::commits::{Change, Commits, Committed};
use super::config::BrokerConfig;
use super::directory::Directory;
use super::producer_ids::ProducerIds;
use super::topics::{NewTopic, Topics};
use super::{Broker, Clock};
use crate::lsn::LsnAllocator;

/// Moments tried in the gate; `SPORTLAKE_CUTS=all` tries every one.
const CUTS: usize = 30;

/// Ways in which the unsynced may be lost at a moment.
const CHANCES: u64 = 3;

/// Syncs without which something is lost.
const NEEDED: [&str; 18] = [
    "sync broker/format.next",
    "sync broker/ids.next",
    "sync broker/offsets",
    "sync broker/staging/deleted/topic.next",
    "sync broker/staging/kept/topic.next",
    "sync broker/topics/kept//.log",
    "sync broker/topics/kept/topic.next",
    "sync directory ",
    "sync directory broker",
    "sync directory broker/staging/deleted",
    "sync directory broker/staging/deleted/",
    "sync directory broker/staging/kept",
    "sync directory broker/staging/kept/",
    "sync directory broker/topics",
    "sync directory broker/topics/kept",
    "sync directory broker/topics/kept/",
    "sync lsn",
    "sync lsn.-.next",
];

/// Syncs that nothing rests on: of files that are empty, and of a checkpoint that counts as none when it is torn.
const SPARE: [&str; 4] = [
    "sync broker/staging/deleted//.log",
    "sync broker/staging/kept//.log",
    "sync broker/topics/deleted//.log",
    "sync broker/topics/kept//checkpoint.next",
];

/// What was acknowledged, or is to be found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Account {
    /// Of topic and partition: the offset after the last record.
    ends: BTreeMap<(String, i32), i64>,
    deleted: Vec<String>,
    group: i64,
    producer_id: i64,
    lsn: i64,
}

#[tokio::test]
async fn what_was_acknowledged_survives_every_power_cut() {
    let worked = worked().await;
    let recording = &worked.recording;
    let moments = recording.moments().count();
    let stride = if all() { 1 } else { moments.div_ceil(CUTS) };
    for moment in (0..moments).step_by(stride) {
        let chances = (0..CHANCES).map(|chance| Survival::Chance(moment as u64 * CHANCES + chance));
        for survival in [Survival::Synced, Survival::Everything]
            .into_iter()
            .chain(chances)
        {
            let at = recording.describe(moment);
            println!("moment {moment}, {survival:?}: {at}");
            worked.survives(moment, survival).await;
        }
    }
}

/// The same suite against a broker that forgets one of its syncs.
#[tokio::test]
async fn a_forgotten_sync_is_found_out() {
    let worked = worked().await;
    let made: BTreeSet<String> = worked
        .recording
        .syncs()
        .map(|(_, step)| name(&step))
        .collect();
    let known: BTreeSet<String> = NEEDED
        .iter()
        .chain(&SPARE)
        .map(|name| (*name).to_owned())
        .collect();
    assert_eq!(made, known, "a sync is needed, or it is known why not");
    for forgotten in NEEDED {
        let recording = worked.recording.clone();
        let forgetful = Arc::new(Worked {
            recording: recording.without(|step| name(step) == forgotten),
            accounts: worked.accounts.clone(),
        });
        assert!(
            forgetful.loses_something().await,
            "nobody misses \"{forgotten}\""
        );
    }
}

/// What was done, and what was acknowledged meanwhile.
struct Worked {
    recording: Recording,
    accounts: Vec<Account>,
}

async fn worked() -> Worked {
    let live = tempfile::tempdir().expect("a directory");
    let (recorder, watching) = Recorder::begin(live.path()).expect("recording");
    let accounts = work(live.path(), &recorder).await;
    drop(watching);
    Worked {
        recording: recorder.recording(),
        accounts,
    }
}

impl Worked {
    async fn survives(&self, moment: usize, survival: Survival) {
        let acknowledged = self.recording.marks(moment).count();
        let empty = Account::default();
        let account = acknowledged
            .checked_sub(1)
            .map_or(&empty, |at| &self.accounts[at]);
        survives(&self.recording, moment, survival, account).await;
    }

    /// Whether some cut finds a loss: first where most can be missing, then everywhere.
    async fn loses_something(self: Arc<Self>) -> bool {
        let acknowledged = self.recording.acknowledgements();
        let cuts: Vec<(usize, Survival)> = acknowledged
            .map(|moment| (moment, Survival::Synced))
            .chain(self.recording.moments().flat_map(|moment| {
                let chance = move |chance| (moment, Survival::Chance(chance + moment as u64 * 8));
                (0..8).map(chance)
            }))
            .collect();
        for (moment, survival) in cuts {
            let worked = self.clone();
            let cut = tokio::spawn(async move { worked.survives(moment, survival).await });
            if cut.await.is_err() {
                println!("moment {moment}, {survival:?}");
                return true;
            }
        }
        false
    }
}

/// What is synced, with numbers left out: each partition and segment is as the others.
fn name(step: &Step<'_>) -> String {
    let path = step.path.to_string_lossy();
    let plain: String = path
        .chars()
        .filter(|character| !character.is_ascii_digit())
        .collect();
    format!("{step} {plain}")
}

fn all() -> bool {
    std::env::var("SPORTLAKE_CUTS").is_ok_and(|cuts| cuts == "all")
}

/// Everything that is kept on disk: topics made, filled over many segments, grown and deleted, offsets, ids and lsns.
async fn work(root: &Path, recorder: &Recorder) -> Vec<Account> {
    let mut accounts = Vec::new();
    let mut account = Account::default();
    let mut acknowledge = |account: &Account| {
        accounts.push(account.clone());
        recorder.mark("");
    };
    let lsns = LsnAllocator::open(&root.join("lsn")).expect("opened");
    for life in 0..2 {
        let open = Open::new(root);
        if life == 0 {
            for name in ["kept", "deleted"] {
                open.topics.create(topic(name, 2)).expect("created");
                for partition in 0..2 {
                    account.ends.insert((name.to_owned(), partition), 0);
                }
                acknowledge(&account);
            }
        }
        for number in 0..12 {
            let partition = open.topics.partition("kept", 0).expect("there");
            let appended = partition.append(&batch(200)).expect("appended");
            partition
                .sync_to(appended.next_offset)
                .await
                .expect("synced");
            account
                .ends
                .insert(("kept".to_owned(), 0), appended.next_offset);
            acknowledge(&account);
            if number % 4 == 0 {
                account.lsn = lsns.reserve(3).await.expect("reserved") + 2;
                let producer_id = open.producer_ids.allocate().expect("an id");
                account.producer_id = producer_id;
                account.group += 1;
                open.commits
                    .apply(vec![commit(account.group)])
                    .expect("committed");
                acknowledge(&account);
            }
        }
        if life == 0 {
            open.topics.grow("kept", 4, false).expect("grown");
            for partition in 2..4 {
                account.ends.insert(("kept".to_owned(), partition), 0);
            }
            acknowledge(&account);
            // From here on it may be there or not.
            account.ends.retain(|(name, _), _| name != "deleted");
            acknowledge(&account);
            open.topics.delete("deleted").expect("deleted");
            account.deleted.push("deleted".to_owned());
            acknowledge(&account);
            open.topics.close();
        }
    }
    accounts
}

async fn survives(recording: &Recording, moment: usize, survival: Survival, account: &Account) {
    let left = tempfile::tempdir().expect("a directory");
    recording
        .restore(moment, survival, left.path())
        .expect("laid out");
    let open = Open::new(left.path());
    for ((name, partition), end) in &account.ends {
        let log = open.topics.partition(name, *partition).expect("there");
        assert!(log.high_watermark() >= *end, "{name} {partition}");
    }
    for name in &account.deleted {
        assert!(open.topics.get(name).is_none(), "{name} came back");
    }
    let group = open.commits.of_group("group");
    let offset = group
        .get("kept")
        .map_or(0, |partitions| partitions[&0].offset);
    assert!(offset >= account.group);
    let id = open.producer_ids.allocate().expect("an id");
    assert!(id > account.producer_id);
    let lsns = LsnAllocator::open(&left.path().join("lsn")).expect("opened");
    assert!(lsns.reserve(1).await.expect("reserved") > account.lsn);

    if open.topics.get("kept").is_none() {
        open.topics.create(topic("kept", 2)).expect("created");
    }
    let log = open.topics.partition("kept", 0).expect("there");
    let end = log.high_watermark();
    let appended = log.append(&batch(200)).expect("appended");
    assert_eq!(appended.base_offset, end, "no offset is missing");
    log.sync_to(appended.next_offset).await.expect("synced");
    drop(open);
    let config = BrokerConfig {
        path: left.path().join("broker"),
        ..BrokerConfig::default()
    };
    drop(Broker::open(config, clock()).expect("it starts again"));
}

struct Open {
    topics: Topics,
    commits: Commits,
    producer_ids: ProducerIds,
    _directory: Directory,
}

impl Open {
    fn new(root: &Path) -> Self {
        let config = BrokerConfig {
            path: root.join("broker"),
            segment_bytes: 1000,
            retention_bytes: 3000,
            ..BrokerConfig::default()
        };
        let directory = Directory::open(&config.path).expect("opened");
        Self {
            topics: Topics::open(&directory, &config, clock()).expect("topics"),
            commits: Commits::open(&directory.file("offsets")).expect("offsets"),
            producer_ids: ProducerIds::open(&directory.file("ids")).expect("ids"),
            _directory: directory,
        }
    }
}

fn clock() -> Clock {
    Arc::new(|| chrono::DateTime::from_timestamp(1_760_000_000, 0).expect("valid"))
}

fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic {
        name: name.to_owned(),
        partitions,
        settings: BTreeMap::new(),
    }
}

fn commit(offset: i64) -> Change {
    Change::Commit {
        group: "group".to_owned(),
        topic: "kept".to_owned(),
        partition: 0,
        committed: Committed {
            offset,
            leader_epoch: 0,
            metadata: None,
        },
    }
}

/// A batch of one record, of no producer; its bytes are marked as compressed, hence not looked into.
fn batch(payload: usize) -> Bytes {
    let mut bytes = vec![0; 61 + payload];
    let length = u32::try_from(bytes.len() - 12).expect("short");
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    bytes[22] = 1;
    bytes[43..51].copy_from_slice(&(-1_i64).to_be_bytes());
    bytes[51..53].copy_from_slice(&(-1_i16).to_be_bytes());
    bytes[53..57].copy_from_slice(&(-1_i32).to_be_bytes());
    bytes[57..61].copy_from_slice(&1_i32.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    Bytes::from(bytes)
}
