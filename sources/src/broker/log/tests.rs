use std::fs;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use changes::ErrorKind;
use kafka_protocol::ResponseError;
use tokio::sync::watch;

use super::batch::BatchHeader;
use super::{Limits, Partition};

const SMALL: Limits = Limits {
    segment_bytes: 1000,
    max_batch_bytes: 10_000,
    retention_bytes: 0,
};

#[tokio::test]
async fn a_batch_is_visible_once_it_is_synced() {
    let directory = tempfile::tempdir().expect("a directory");
    let partition = created(directory.path(), SMALL);
    let appended = partition.append(&batch(1, 0, 10)).expect("appended");
    let before = partition.read(0, 1000, true).expect("readable");
    assert_eq!((before.batches.len(), before.high_watermark), (0, 0));
    Arc::clone(&partition)
        .sync_to(appended.next_offset)
        .await
        .expect("synced");
    let after = partition.read(0, 1000, true).expect("readable");
    assert_eq!((after.batches.len(), after.high_watermark), (71, 1));
}

#[tokio::test]
async fn every_offset_is_found_over_many_segments_and_restarts() {
    let directory = tempfile::tempdir().expect("a directory");
    let partition = created(directory.path(), SMALL);
    fill(&partition, 0..100).await;
    assert!(segments(directory.path()).len() > 5);
    for reopened in [false, true] {
        let partition = match reopened {
            false => Arc::clone(&partition),
            true => opened(directory.path(), SMALL),
        };
        for offset in 0..100 {
            let slice = partition.read(offset, 10_000, false).expect("readable");
            let header = BatchHeader::parse(&slice.batches).expect("a batch");
            assert_eq!(header.base_offset, offset);
            assert!(header.crc_matches(&slice.batches[..header.size]));
        }
        assert_eq!(
            partition
                .read(100, 1000, true)
                .expect("the end")
                .batches
                .len(),
            0
        );
        assert_eq!(
            partition.read(101, 1000, true).err(),
            Some(ResponseError::OffsetOutOfRange)
        );
        assert_eq!(partition.find_time(57).expect("readable"), Some((57, 57)));
        assert_eq!(partition.find_time(100).expect("readable"), None);
    }
}

#[tokio::test]
async fn a_partition_is_rebuilt_from_its_segments_alone() {
    let directory = tempfile::tempdir().expect("a directory");
    fill(&created(directory.path(), SMALL), 0..100).await;
    for entry in fs::read_dir(directory.path().join("0")).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "log") {
            fs::remove_file(path).expect("removed");
        }
    }
    let partition = opened(directory.path(), SMALL);
    assert_eq!(partition.high_watermark(), 100);
    // The producer is known too: its last batch is no news, its next one is.
    let repeated = partition.append(&batch(1, 99, 10)).expect("known");
    assert_eq!(repeated.base_offset, 99);
    assert_eq!(
        partition
            .append(&batch(1, 100, 10))
            .expect("next")
            .base_offset,
        100
    );
}

#[tokio::test]
async fn a_roll_that_a_crash_cut_short_is_completed() {
    let directory = tempfile::tempdir().expect("a directory");
    let partition = created(directory.path(), SMALL);
    let mut number = 0;
    while segments(directory.path()).len() < 3 {
        fill(&partition, number..number + 1).await;
        number += 1;
    }
    drop(partition);
    // The checkpoint of a new segment comes before its file; here the file, with its first batch, never came.
    fs::remove_file(segments(directory.path()).remove(2)).expect("removed");
    let partition = opened(directory.path(), SMALL);
    assert_eq!(partition.high_watermark(), i64::from(number - 1));
    fill(&partition, number - 1..number + 20).await;
}

#[tokio::test]
async fn power_loss_takes_only_what_was_not_acknowledged() {
    for (lost, acknowledged) in [
        (Lost::Bytes, 1),
        (Lost::Bytes, 30),
        (Lost::Content, 1),
        (Lost::Content, 30),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let partition = created(directory.path(), SMALL);
        fill(&partition, 0..acknowledged).await;
        for number in acknowledged..acknowledged + 3 {
            partition.append(&batch(1, number, 10)).expect("appended");
        }
        lose_power(&partition, lost);
        let synced = partition.high_watermark();
        assert!(synced >= i64::from(acknowledged));
        let reopened = opened(directory.path(), SMALL);
        assert_eq!(reopened.high_watermark(), synced);
        // What is gone is no repetition when it is sent again.
        let resent = reopened.append(&batch(1, synced as i32, 10)).expect("next");
        assert_eq!(resent.base_offset, synced);
    }
}

#[tokio::test]
async fn damage_below_the_end_is_corruption() {
    let directory = tempfile::tempdir().expect("a directory");
    fill(&created(directory.path(), SMALL), 0..100).await;
    let damaged = segments(directory.path())[1].clone();
    let mut content = fs::read(&damaged).expect("a segment");
    let last = content.len() - 1;
    content[last] ^= 1;
    fs::write(&damaged, content).expect("written");
    fs::remove_file(damaged.with_extension("index")).expect("removed");
    let refused = Partition::open(&directory.path().join("0"), 0, SMALL, watch::Sender::new(0));
    assert_eq!(
        refused.err().map(|error| error.kind()),
        Some(ErrorKind::Corrupt)
    );
}

#[tokio::test]
async fn a_batch_that_rotted_on_disk_is_not_served() {
    let directory = tempfile::tempdir().expect("a directory");
    let partition = created(directory.path(), SMALL);
    fill(&partition, 0..5).await;
    partition.close();
    let log = segments(directory.path()).remove(0);
    let mut content = fs::read(&log).expect("a segment");
    content[3 * 71 + 65] ^= 1;
    fs::write(&log, content).expect("written");
    let partition = opened(directory.path(), SMALL);
    assert!(partition.read(0, 200, true).is_ok());
    let rotten = partition.read(3, 200, true).err();
    assert_eq!(rotten, Some(ResponseError::CorruptMessage));
}

#[tokio::test]
async fn the_oldest_segments_go_when_a_limit_is_set() {
    let directory = tempfile::tempdir().expect("a directory");
    let limits = Limits {
        retention_bytes: 3000,
        ..SMALL
    };
    let partition = created(directory.path(), limits.clone());
    fill(&partition, 0..200).await;
    let start = partition.log_start();
    assert!((100..170).contains(&start), "{start}");
    assert_eq!(
        partition.read(start - 1, 1000, true).err(),
        Some(ResponseError::OffsetOutOfRange)
    );
    assert!(
        !partition
            .read(start, 1000, true)
            .expect("readable")
            .batches
            .is_empty()
    );
    drop(partition);
    assert_eq!(opened(directory.path(), limits).log_start(), start);
}

#[tokio::test]
async fn a_producer_is_held_to_its_sequence() {
    let directory = tempfile::tempdir().expect("a directory");
    let partition = created(directory.path(), SMALL);
    fill(&partition, 0..10).await;
    let refused = |sequence| partition.append(&batch(1, sequence, 10)).err();
    assert_eq!(refused(12), Some(ResponseError::OutOfOrderSequenceNumber));
    // Five batches are remembered, not six.
    assert_eq!(refused(5), None);
    assert_eq!(refused(4), Some(ResponseError::OutOfOrderSequenceNumber));
    assert_eq!(
        partition
            .append(&batch(2, 700, 10))
            .expect("unknown producer")
            .base_offset,
        10
    );
    assert_eq!(
        partition
            .append(&batch(-1, -1, 10))
            .expect("no producer")
            .base_offset,
        11
    );
}

#[tokio::test]
async fn a_deleted_partition_refuses() {
    let directory = tempfile::tempdir().expect("a directory");
    let partition = created(directory.path(), SMALL);
    partition.mark_deleted();
    let unknown = Some(ResponseError::UnknownTopicOrPartition);
    assert_eq!(partition.append(&batch(1, 0, 10)).err(), unknown);
    assert_eq!(partition.read(0, 1000, true).err(), unknown);
}

/// What happened to written bytes that were not synced.
#[derive(Clone, Copy)]
enum Lost {
    /// The file is as short as it was at the last sync.
    Bytes,
    /// It kept its length, with zeros.
    Content,
}

fn lose_power(partition: &Partition, lost: Lost) {
    let state = partition.state.lock();
    let written = state.written();
    assert_eq!(written.segment, state.durable.segment);
    let file = &state.active_file;
    file.set_len(state.durable.position).expect("shortened");
    if matches!(lost, Lost::Content) {
        file.set_len(written.position).expect("lengthened");
    }
}

async fn fill(partition: &Arc<Partition>, numbers: std::ops::Range<i32>) {
    for number in numbers {
        let appended = partition.append(&batch(1, number, 10)).expect("appended");
        assert_eq!(appended.base_offset, i64::from(number));
        Arc::clone(partition)
            .sync_to(appended.next_offset)
            .await
            .expect("synced");
    }
}

/// One record whose timestamp is its sequence number; its bytes are marked as compressed, hence not looked into.
fn batch(producer: i64, sequence: i32, payload: usize) -> Bytes {
    let mut bytes = vec![0; 61 + payload];
    let length = (bytes.len() - 12) as i32;
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes[16] = 2;
    bytes[22] = 1;
    bytes[27..35].copy_from_slice(&i64::from(sequence).to_be_bytes());
    bytes[35..43].copy_from_slice(&i64::from(sequence).to_be_bytes());
    bytes[43..51].copy_from_slice(&producer.to_be_bytes());
    bytes[53..57].copy_from_slice(&sequence.to_be_bytes());
    bytes[57..61].copy_from_slice(&1_i32.to_be_bytes());
    let checksum = crc32c::crc32c(&bytes[21..]);
    bytes[17..21].copy_from_slice(&checksum.to_be_bytes());
    Bytes::from(bytes)
}

fn created(directory: &Path, limits: Limits) -> Arc<Partition> {
    Partition::create(&directory.join("0")).expect("created");
    opened(directory, limits)
}

fn opened(directory: &Path, limits: Limits) -> Arc<Partition> {
    let partition = Partition::open(&directory.join("0"), 0, limits, watch::Sender::new(0));
    Arc::new(partition.expect("opened"))
}

fn segments(directory: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory.join("0")).expect("a directory");
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "log"))
        .collect();
    paths.sort();
    paths
}
