//! The protocol by hand, for what a well-behaved client does not send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const PRODUCE: i16 = 0;

/// An uncompressed record batch of an idempotent producer.
pub(crate) fn batch(producer_id: i64, sequence: i32, values: &[&str]) -> Vec<u8> {
    let mut records = Vec::new();
    for (at, value) in values.iter().enumerate() {
        let mut record = vec![0, 0];
        record.extend(varint(at as i64));
        record.extend(varint(-1));
        record.extend(varint(value.len() as i64));
        record.extend(value.as_bytes());
        record.push(0);
        records.extend(varint(record.len() as i64));
        records.extend(record);
    }
    let count = values.len() as i32;
    let mut checked = Vec::new();
    checked.extend(0_i16.to_be_bytes());
    checked.extend((count - 1).to_be_bytes());
    checked.extend(1000_i64.to_be_bytes());
    checked.extend(1000_i64.to_be_bytes());
    checked.extend(producer_id.to_be_bytes());
    checked.extend(0_i16.to_be_bytes());
    checked.extend(sequence.to_be_bytes());
    checked.extend(count.to_be_bytes());
    checked.extend(records);
    let mut batch = Vec::new();
    batch.extend(0_i64.to_be_bytes());
    batch.extend((checked.len() as i32 + 9).to_be_bytes());
    batch.extend(0_i32.to_be_bytes());
    batch.push(2);
    batch.extend(crc32c::crc32c(&checked).to_be_bytes());
    batch.extend(checked);
    batch
}

/// Produces a batch to partition 0; error code and base offset.
pub(crate) async fn produce(stream: &mut TcpStream, topic: &str, batch: &[u8]) -> (i16, i64) {
    let mut body = Vec::new();
    body.extend((-1_i16).to_be_bytes());
    body.extend((-1_i16).to_be_bytes());
    body.extend(1000_i32.to_be_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend((topic.len() as i16).to_be_bytes());
    body.extend(topic.as_bytes());
    body.extend(1_i32.to_be_bytes());
    body.extend(0_i32.to_be_bytes());
    body.extend((batch.len() as i32).to_be_bytes());
    body.extend(batch);
    let response = call(stream, PRODUCE, 3, &body).await.expect("an answer");
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    let code = i16::from_be_bytes([response[at], response[at + 1]]);
    let offset = response[at + 2..at + 10].try_into().expect("eight bytes");
    (code, i64::from_be_bytes(offset))
}

/// Sends a request and returns the response from its correlation id on.
pub(crate) async fn call(
    stream: &mut TcpStream,
    api: i16,
    version: i16,
    body: &[u8],
) -> std::io::Result<Vec<u8>> {
    let mut frame = Vec::new();
    frame.extend((body.len() as i32 + 10).to_be_bytes());
    frame.extend(api.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend(7_i32.to_be_bytes());
    frame.extend((-1_i16).to_be_bytes());
    frame.extend(body);
    stream.write_all(&frame).await?;
    let length = stream.read_i32().await?;
    let mut response = vec![0; length as usize];
    stream.read_exact(&mut response).await?;
    assert_eq!(response[..4], 7_i32.to_be_bytes());
    Ok(response)
}

fn varint(value: i64) -> Vec<u8> {
    let mut left = ((value << 1) ^ (value >> 63)) as u64;
    let mut bytes = Vec::new();
    while left >= 0x80 {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}
