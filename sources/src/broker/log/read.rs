//! Reading: whole batches as they lie in the file, never beyond what is durable.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use disk::File;
use kafka_protocol::ResponseError;

use super::batch::{BatchHeader, HEADER_BYTES, find_timestamp};
use super::partition::{Partition, State, Status};
use super::segment::{INDEX_INTERVAL, Segment};

/// Batches from one partition and where its log begins and ends.
#[derive(Debug, Clone)]
pub(crate) struct Slice {
    pub(crate) batches: Bytes,
    pub(crate) log_start: i64,
    pub(crate) high_watermark: i64,
}

/// A part of one segment that holds what is looked for.
struct Stretch {
    file: Arc<File>,
    start: u64,
    /// Nothing durable lies at or after it.
    end: u64,
}

impl Partition {
    /// Batches from the one that holds `offset`, at most `max_bytes` of them. Blocks on the disk.
    ///
    /// With `at_least_one` the first batch comes however large it is.
    pub(crate) fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        at_least_one: bool,
    ) -> Result<Slice, ResponseError> {
        let (stretch, log_start, high_watermark) = {
            let state = self.state.lock();
            if state.status == Status::Deleted {
                return Err(ResponseError::UnknownTopicOrPartition);
            }
            let high_watermark = state.durable.offset;
            if offset < state.log_start() || offset > state.active().next_offset {
                return Err(ResponseError::OffsetOutOfRange);
            }
            if offset >= high_watermark || (max_bytes == 0 && !at_least_one) {
                return Ok(Slice {
                    batches: Bytes::new(),
                    log_start: state.log_start(),
                    high_watermark,
                });
            }
            let at = state
                .segments
                .partition_point(|segment| segment.base <= offset)
                .saturating_sub(1);
            let start = state.segments[at].position_of(offset);
            let stretch = self.stretch(&state, at, start)?;
            (stretch, state.log_start(), high_watermark)
        };
        let batches = stretch
            .batches_from(offset, max_bytes, at_least_one)
            .map_err(|error| self.unreadable(&error))?;
        Ok(Slice {
            batches,
            log_start,
            high_watermark,
        })
    }

    /// Offset and timestamp of the first record at or after `timestamp`. Blocks on the disk.
    pub(crate) fn find_time(&self, timestamp: i64) -> Result<Option<(i64, i64)>, ResponseError> {
        let (stretch, next) = {
            let state = self.state.lock();
            let found = state.segments.iter().position(|segment| {
                segment.base < state.durable.offset && segment.max_timestamp >= timestamp
            });
            let Some(at) = found else {
                return Ok(None);
            };
            let start = state.segments[at].position_of_time(timestamp);
            let next = state.segments.get(at + 1).map(|segment| segment.base);
            (self.stretch(&state, at, start)?, next)
        };
        let found = stretch
            .first_at_or_after(timestamp)
            .map_err(|error| self.unreadable(&error))?;
        // A record count that says more than the batch holds leaves the next segment as the answer.
        Ok(found.or(next.map(|offset| (offset, timestamp))))
    }

    fn stretch(&self, state: &State, at: usize, start: u64) -> Result<Stretch, ResponseError> {
        let segment = &state.segments[at];
        let is_active = at + 1 == state.segments.len();
        let file = if is_active {
            Arc::clone(&state.active_file)
        } else {
            let file = Segment::open_file(&self.directory, segment.base);
            Arc::new(file.map_err(|error| self.unreadable(&error))?)
        };
        let end = match segment.base == state.durable.segment {
            true => state.durable.position,
            false => segment.size,
        };
        Ok(Stretch { file, start, end })
    }

    fn unreadable(&self, error: &io::Error) -> ResponseError {
        if self.state.lock().status == Status::Deleted {
            return ResponseError::UnknownTopicOrPartition;
        }
        tracing::error!(directory = %self.directory.display(), %error, "log not readable");
        match error.kind() {
            // Clients retry a storage error for ever, and tell their user about this one.
            io::ErrorKind::InvalidData => ResponseError::CorruptMessage,
            _ => ResponseError::KafkaStorageError,
        }
    }
}

impl Stretch {
    fn batches_from(&self, offset: i64, max_bytes: usize, at_least_one: bool) -> io::Result<Bytes> {
        let window = (self.end - self.start).min(max_bytes as u64 + INDEX_INTERVAL) as usize;
        let chunk = self.bytes_at(self.start, window.max(HEADER_BYTES))?;
        let mut at = 0;
        let mut first = None;
        while let Some(header) = BatchHeader::parse(&chunk[at..]) {
            if header.next_offset() > offset {
                first = Some(header);
                break;
            }
            at += header.size;
            if at > chunk.len() {
                break;
            }
        }
        let first = match first {
            Some(header) => header,
            // The batch looked for lies behind the window, after a large one.
            None => {
                let position = self.start + at as u64;
                if position <= self.start || position >= self.end {
                    return Err(damaged(position));
                }
                let next = Stretch {
                    file: Arc::clone(&self.file),
                    start: position,
                    end: self.end,
                };
                return next.batches_from(offset, max_bytes, at_least_one);
            }
        };
        let mut length = 0;
        while let Some(header) = chunk.get(at + length..).and_then(BatchHeader::parse) {
            let reached = length + header.size;
            if reached > max_bytes || at + reached > chunk.len() {
                break;
            }
            if !header.crc_matches(&chunk[at + length..at + reached]) {
                return Err(damaged(self.start + (at + length) as u64));
            }
            length = reached;
        }
        if length == 0 && at_least_one {
            let position = self.start + at as u64;
            let batch = self.bytes_at(position, first.size)?;
            return match first.crc_matches(&batch) {
                true => Ok(batch),
                false => Err(damaged(position)),
            };
        }
        // A small part must not keep a large window in memory.
        if length < chunk.len() / 2 {
            return Ok(Bytes::copy_from_slice(&chunk[at..at + length]));
        }
        Ok(chunk.slice(at..at + length))
    }

    fn first_at_or_after(&self, timestamp: i64) -> io::Result<Option<(i64, i64)>> {
        let mut position = self.start;
        while position < self.end {
            let head = self.bytes_at(position, HEADER_BYTES)?;
            let header = BatchHeader::parse(&head).ok_or_else(|| damaged(position))?;
            if header.max_timestamp >= timestamp {
                let batch = self.bytes_at(position, header.size)?;
                if let Some(found) = find_timestamp(&header, &batch, timestamp) {
                    return Ok(Some(found));
                }
            }
            position += header.size as u64;
        }
        Ok(None)
    }

    /// Bytes of the durable part; a batch that claims to go beyond it is damaged.
    fn bytes_at(&self, position: u64, length: usize) -> io::Result<Bytes> {
        if position + length as u64 > self.end {
            return Err(damaged(position));
        }
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, position)?;
        Ok(Bytes::from(bytes))
    }
}

fn damaged(position: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("damaged batch at byte {position}"),
    )
}
