//! Record batches of format version 2, by their header: the records inside stay as the producer wrote them.

use bytes::Bytes;
use kafka_protocol::ResponseError;

/// Bytes before the first record.
pub(crate) const HEADER_BYTES: usize = 61;
/// Bytes that the batch's length field does not count.
const LENGTH_PREFIX: usize = 12;
const CRC_START: usize = 21;
const COMPRESSION: i16 = 0x07;
const LOG_APPEND_TIME: i16 = 0x08;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) base_offset: i64,
    /// Size of the whole batch in bytes.
    pub(crate) size: usize,
    pub(crate) crc: u32,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) records: i32,
}

impl BatchHeader {
    /// The header at the start of `bytes`, if there is one.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        if bytes.len() < HEADER_BYTES || bytes[16] != 2 {
            return None;
        }
        let length = usize::try_from(i32_at(bytes, 8)).ok()?;
        if length < HEADER_BYTES - LENGTH_PREFIX {
            return None;
        }
        Some(Self {
            base_offset: i64_at(bytes, 0),
            size: length + LENGTH_PREFIX,
            crc: i32_at(bytes, 17) as u32,
            attributes: i16_at(bytes, 21),
            last_offset_delta: i32_at(bytes, 23),
            base_timestamp: i64_at(bytes, 27),
            max_timestamp: i64_at(bytes, 35),
            producer_id: i64_at(bytes, 43),
            producer_epoch: i16_at(bytes, 51),
            base_sequence: i32_at(bytes, 53),
            records: i32_at(bytes, 57),
        })
    }

    /// The batch that a producer sent, checked as far as a broker must before it stores it.
    pub(crate) fn of_produced(bytes: &[u8], max_bytes: usize) -> Result<Self, ResponseError> {
        if bytes.len() > max_bytes {
            return Err(ResponseError::MessageTooLarge);
        }
        if bytes.len() > 16 && bytes[16] < 2 {
            return Err(ResponseError::UnsupportedForMessageFormat);
        }
        let header = Self::parse(bytes).ok_or(ResponseError::CorruptMessage)?;
        // One batch a partition and request, as format version 2 demands.
        if header.size != bytes.len() {
            return Err(ResponseError::InvalidRecord);
        }
        if !header.crc_matches(bytes) {
            return Err(ResponseError::CorruptMessage);
        }
        let counted = header.records >= 1 && header.last_offset_delta == header.records - 1;
        let plain = header.attributes & (TRANSACTIONAL | CONTROL | LOG_APPEND_TIME) == 0;
        let identified =
            header.producer_id < 0 || (header.producer_epoch >= 0 && header.base_sequence >= 0);
        if !counted || !plain || !identified {
            return Err(ResponseError::InvalidRecord);
        }
        Ok(header)
    }

    pub(crate) fn crc_matches(&self, batch: &[u8]) -> bool {
        batch.len() == self.size && crc32c::crc32c(&batch[CRC_START..]) == self.crc
    }

    pub(crate) fn next_offset(&self) -> i64 {
        self.base_offset
            .saturating_add(i64::from(self.last_offset_delta))
            .saturating_add(1)
    }

    /// The sequence number of the last record; they wrap to 0 after the largest.
    pub(crate) fn last_sequence(&self) -> i32 {
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        (last % (i64::from(i32::MAX) + 1)) as i32
    }

    fn is_compressed(&self) -> bool {
        self.attributes & COMPRESSION != 0
    }
}

/// The header bytes of `batch` with the offset that the log gave it; neither field is under the checksum.
pub(crate) fn stamped_header(batch: &[u8], base_offset: i64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header.copy_from_slice(&batch[..HEADER_BYTES]);
    header[0..8].copy_from_slice(&base_offset.to_be_bytes());
    header[12..16].copy_from_slice(&0_i32.to_be_bytes());
    header
}

/// Offset and timestamp of the first record at or after `timestamp`.
///
/// Records of a compressed batch are not looked into: its first offset answers, which is early and never late.
pub(crate) fn find_timestamp(
    header: &BatchHeader,
    batch: &Bytes,
    timestamp: i64,
) -> Option<(i64, i64)> {
    if header.max_timestamp < timestamp {
        return None;
    }
    if header.is_compressed() {
        return Some((header.base_offset, header.max_timestamp));
    }
    let mut rest = batch.get(HEADER_BYTES..)?;
    for _ in 0..header.records {
        let length = usize::try_from(varint(&mut rest)?).ok()?;
        let mut record = rest.get(..length)?;
        rest = &rest[length..];
        record = record.get(1..)?;
        let record_timestamp = header.base_timestamp.checked_add(varint(&mut record)?)?;
        let offset = header.base_offset.checked_add(varint(&mut record)?)?;
        if record_timestamp >= timestamp {
            return Some((offset, record_timestamp));
        }
    }
    None
}

fn varint(bytes: &mut &[u8]) -> Option<i64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    let mut field = [0; 8];
    field.copy_from_slice(&bytes[at..at + 8]);
    i64::from_be_bytes(field)
}
