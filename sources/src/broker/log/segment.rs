//! One file of a partition's log, and the sparse index that finds an offset in it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use disk::File;
use serde::{Deserialize, Serialize};

use super::batch::BatchHeader;
use super::sealed;

/// Log bytes between two index entries.
pub(crate) const INDEX_INTERVAL: u64 = 32 * 1024;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Segment {
    /// Offset of its first record, and its name.
    pub(crate) base: i64,
    pub(crate) size: u64,
    pub(crate) next_offset: i64,
    pub(crate) max_timestamp: i64,
    index: Vec<IndexEntry>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct IndexEntry {
    offset: i64,
    position: u64,
    /// Largest timestamp of the batches before this entry.
    max_timestamp_before: i64,
}

impl Segment {
    pub(crate) fn new(base: i64) -> Self {
        Self {
            base,
            size: 0,
            next_offset: base,
            max_timestamp: -1,
            index: Vec::new(),
        }
    }

    pub(crate) fn log_path(directory: &Path, base: i64) -> PathBuf {
        directory.join(format!("{base:020}.log"))
    }

    /// The base offset that a file name of `log_path` stands for.
    pub(crate) fn base_of(name: &str) -> Option<i64> {
        let digits = name.strip_suffix(".log")?;
        let all_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
        all_digits.then(|| digits.parse().ok()).flatten()
    }

    /// Takes in a batch that lies at the end of the file.
    pub(crate) fn record(&mut self, batch: &BatchHeader) {
        let due = self
            .index
            .last()
            .is_none_or(|last| self.size - last.position >= INDEX_INTERVAL);
        if due {
            self.index.push(IndexEntry {
                offset: batch.base_offset,
                position: self.size,
                max_timestamp_before: self.max_timestamp,
            });
        }
        self.size += batch.size as u64;
        self.next_offset = batch.next_offset();
        self.max_timestamp = self.max_timestamp.max(batch.max_timestamp);
    }

    /// A position at or before the batch that holds `offset`.
    pub(crate) fn position_of(&self, offset: i64) -> u64 {
        let after = self.index.partition_point(|entry| entry.offset <= offset);
        after.checked_sub(1).map_or(0, |at| self.index[at].position)
    }

    /// A position before which every timestamp is smaller.
    pub(crate) fn position_of_time(&self, timestamp: i64) -> u64 {
        let after = self
            .index
            .partition_point(|entry| entry.max_timestamp_before < timestamp);
        after.checked_sub(1).map_or(0, |at| self.index[at].position)
    }

    /// Keeps the index of a finished segment; it can be rebuilt, so it is not synced.
    pub(crate) fn save_index(&self, directory: &Path) -> io::Result<()> {
        let file = File::create(&index_path(directory, self.base))?;
        file.write_all_at(&sealed::seal(self)?, 0)
    }

    /// The saved index, if it is whole and about this file.
    pub(crate) fn load_index(directory: &Path, base: i64, file_size: u64) -> Option<Self> {
        let bytes = fs::read(index_path(directory, base)).ok()?;
        let segment: Self = sealed::unseal(&bytes)?;
        (segment.base == base && segment.size == file_size).then_some(segment)
    }

    pub(crate) fn open_file(directory: &Path, base: i64) -> io::Result<File> {
        File::open(&Self::log_path(directory, base))
    }

    /// A new empty file whose name survives power loss.
    pub(crate) fn create_file(directory: &Path, base: i64) -> io::Result<File> {
        let file = File::create(&Self::log_path(directory, base))?;
        file.sync_all()?;
        disk::sync_directory(directory)?;
        Ok(file)
    }

    /// Removes a segment; once this returns it does not come back.
    pub(crate) fn remove(directory: &Path, base: i64) -> io::Result<()> {
        // The index first: without a log it would stay for ever.
        for path in [index_path(directory, base), Self::log_path(directory, base)] {
            match disk::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        disk::sync_directory(directory)
    }
}

fn index_path(directory: &Path, base: i64) -> PathBuf {
    directory.join(format!("{base:020}.index"))
}
