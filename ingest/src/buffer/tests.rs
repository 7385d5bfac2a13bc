use super::*;
use crate::rows::MessageHeaders;

fn buffer(policy: FlushPolicy) -> TopicBuffer {
    TopicBuffer::new("s.public.t".parse().expect("a topic"), policy)
}

const PATIENT: FlushPolicy = FlushPolicy {
    bytes: usize::MAX,
    rows: usize::MAX,
    age: Duration::MAX,
};

fn push(buffer: &mut TopicBuffer, partition: i32, offset: i64, value: &[u8]) {
    let message = Message {
        partition,
        offset,
        timestamp_ms: None,
        key: None,
        value: Some(value),
        headers: MessageHeaders::default(),
    };
    buffer
        .push(&message, DateTime::UNIX_EPOCH)
        .expect("rows fit the schema");
}

fn offsets(cut: &Cut) -> Vec<(i32, Option<i64>, i64)> {
    cut.offsets
        .iter()
        .map(|offset| (offset.partition, offset.from, offset.next))
        .collect()
}

fn rows(cut: &Cut) -> usize {
    cut.batches.iter().map(RecordBatch::num_rows).sum()
}

#[test]
fn cuts_follow_each_other_without_gap_or_overlap() {
    let mut buffer = buffer(PATIENT);
    buffer.begin(0, None, 0, Lineage::default(), None);
    buffer.begin(1, Some(7), 7, Lineage::default(), None);
    push(&mut buffer, 0, 0, b"a");
    push(&mut buffer, 1, 9, b"b");
    let first = buffer.cut().expect("builds").expect("pending");
    assert_eq!(offsets(&first), [(0, None, 1), (1, Some(7), 10)]);
    assert_eq!((rows(&first), first.poison), (2, 2));
    assert!(buffer.cut().expect("builds").is_none());
    push(&mut buffer, 1, 10, b"c");
    let second = buffer.cut().expect("builds").expect("pending");
    assert_eq!(offsets(&second), [(1, Some(10), 11)]);
    assert_eq!(rows(&second), 1);
}

#[test]
fn a_message_is_taken_once_and_only_of_a_begun_partition() {
    let mut buffer = buffer(PATIENT);
    buffer.begin(0, Some(5), 5, Lineage::default(), None);
    for offset in [4, 5, 5, 3] {
        push(&mut buffer, 0, offset, b"a");
    }
    push(&mut buffer, 3, 0, b"a");
    let cut = buffer.cut().expect("builds").expect("pending");
    assert_eq!((rows(&cut), offsets(&cut)), (1, vec![(0, Some(5), 6)]));
}

#[test]
fn offsets_without_messages_are_cut_too() {
    let mut buffer = buffer(PATIENT);
    buffer.begin(0, Some(5), 5, Lineage::default(), None);
    buffer.advance(0, 8);
    buffer.advance(0, 6);
    let cut = buffer.cut().expect("builds").expect("pending");
    assert_eq!((rows(&cut), offsets(&cut)), (0, vec![(0, Some(5), 8)]));
}

#[test]
fn a_flush_is_due_by_bytes_rows_or_age() {
    let mut by_bytes = buffer(FlushPolicy {
        bytes: 1000,
        ..PATIENT
    });
    by_bytes.begin(0, None, 0, Lineage::default(), None);
    push(&mut by_bytes, 0, 0, &[b'x'; 500]);
    assert!(!by_bytes.is_full());
    push(&mut by_bytes, 0, 1, &[b'x'; 500]);
    assert!(by_bytes.is_full());

    let mut by_rows = buffer(FlushPolicy { rows: 2, ..PATIENT });
    by_rows.begin(0, None, 0, Lineage::default(), None);
    push(&mut by_rows, 0, 0, b"");
    assert!(!by_rows.is_full());
    push(&mut by_rows, 0, 1, b"");
    assert!(by_rows.is_full());

    let mut by_age = buffer(FlushPolicy {
        age: Duration::ZERO,
        ..PATIENT
    });
    by_age.begin(0, None, 0, Lineage::default(), None);
    assert_eq!(by_age.due_in(), None);
    push(&mut by_age, 0, 0, b"");
    assert_eq!(by_age.due_in(), Some(Duration::ZERO));
    by_age.cut().expect("builds").expect("pending");
    assert_eq!(by_age.due_in(), None);
}

#[test]
fn large_cuts_are_several_batches() {
    let mut buffer = buffer(PATIENT);
    buffer.begin(0, None, 0, Lineage::default(), None);
    let value = vec![b'x'; 5 << 20];
    for offset in 0..5 {
        push(&mut buffer, 0, offset, &value);
    }
    let cut = buffer.cut().expect("builds").expect("pending");
    assert_eq!((rows(&cut), cut.batches.len()), (5, 3));
    assert!(cut.bytes > 25 << 20);
    assert_eq!(buffer.bytes(), 0);
}
