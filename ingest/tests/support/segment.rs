//! Record batches as brokers leave them that have transactions and compaction.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

/// Of a batch: part of a transaction.
const TRANSACTIONAL: i16 = 0x10;
/// Of a batch: its one record is the transaction's end.
const CONTROL: i16 = 0x20;

/// The end of a committed transaction at an offset.
pub(crate) fn marker(offset: i64) -> Vec<u8> {
    let (key, value) = ([0, 0, 0, 1], [0, 0, 0, 0, 0, 0]);
    let record = record(0, Some(&key), &value);
    batch(offset, 0, TRANSACTIONAL | CONTROL, &[record])
}

/// What compaction left of the offsets from `base` to `last`.
pub(crate) fn compacted(base: i64, last: i64, left: &[(i64, Vec<u8>)]) -> Vec<u8> {
    let records: Vec<Vec<u8>> = left
        .iter()
        .map(|(offset, value)| record(offset - base, None, value))
        .collect();
    let delta = i32::try_from(last - base).expect("a short batch");
    batch(base, delta, 0, &records)
}

/// Appends batches to the log of a partition whose broker is stopped.
pub(crate) fn append(broker: &Path, topic: &str, partition: i32, batches: &[Vec<u8>]) {
    let directory = broker
        .join("topics")
        .join(topic)
        .join(partition.to_string());
    let mut log = OpenOptions::new()
        .append(true)
        .open(directory.join(format!("{:020}.log", 0)))
        .expect("the first segment");
    for batch in batches {
        log.write_all(batch).expect("written");
    }
}

fn record(delta: i64, key: Option<&[u8]>, value: &[u8]) -> Vec<u8> {
    let mut record = vec![0];
    record.extend(varint(0));
    record.extend(varint(delta));
    match key {
        Some(key) => {
            record.extend(varint(length(key)));
            record.extend(key);
        }
        None => record.extend(varint(-1)),
    }
    record.extend(varint(length(value)));
    record.extend(value);
    record.push(0);
    let mut framed = varint(length(&record));
    framed.extend(record);
    framed
}

fn batch(base: i64, last_delta: i32, attributes: i16, records: &[Vec<u8>]) -> Vec<u8> {
    let mut checked = Vec::new();
    checked.extend(attributes.to_be_bytes());
    checked.extend(last_delta.to_be_bytes());
    checked.extend(1_000_i64.to_be_bytes());
    checked.extend(1_000_i64.to_be_bytes());
    // Producer, its epoch and the first sequence number.
    let producer: i64 = if attributes == 0 { -1 } else { 9 };
    checked.extend(producer.to_be_bytes());
    checked.extend((-1_i16).to_be_bytes());
    checked.extend((-1_i32).to_be_bytes());
    let count = i32::try_from(records.len()).expect("a few");
    checked.extend(count.to_be_bytes());
    checked.extend(records.concat());
    let mut batch = Vec::new();
    batch.extend(base.to_be_bytes());
    let size = i32::try_from(checked.len() + 9).expect("small");
    batch.extend(size.to_be_bytes());
    batch.extend(0_i32.to_be_bytes());
    batch.push(2);
    batch.extend(crc32c::crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

fn length(bytes: &[u8]) -> i64 {
    i64::try_from(bytes.len()).expect("small")
}

/// Zigzag, seven bits a byte.
fn varint(value: i64) -> Vec<u8> {
    let mut left = ((value << 1) ^ (value >> 63)).cast_unsigned();
    let mut bytes = Vec::new();
    while left >= 0x80 {
        bytes.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}
