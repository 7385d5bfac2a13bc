//! Producer ids, never given twice: a block of them is written down before the first of it is used.

use std::path::{Path, PathBuf};

use changes::{Error, ErrorKind, Result};
use kafka_protocol::ResponseError;
use parking_lot::Mutex;

const BLOCK: i64 = 1000;

pub(super) struct ProducerIds {
    path: PathBuf,
    range: Mutex<Range>,
}

struct Range {
    next: i64,
    /// Ids from here on are not reserved on disk.
    end: i64,
}

impl ProducerIds {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let next = match std::fs::read_to_string(path) {
            Ok(text) => text.trim().parse::<i64>().map_err(|error| {
                Error::new(ErrorKind::Corrupt, format!("{path:?} holds no producer id"))
                    .hint("Write a number into it that is larger than every producer id in use.")
                    .caused_by(error)
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 1,
            Err(error) => {
                return Err(
                    Error::new(ErrorKind::Unavailable, format!("{path:?} cannot be read"))
                        .caused_by(error),
                );
            }
        };
        Ok(Self {
            path: path.to_owned(),
            range: Mutex::new(Range { next, end: next }),
        })
    }

    /// A producer id that nobody had before. Blocks on the disk once in a block.
    pub(super) fn allocate(&self) -> Result<i64, ResponseError> {
        let mut range = self.range.lock();
        if range.next == range.end {
            let end = range.end.saturating_add(BLOCK);
            disk::replace_file(&self.path, format!("{end}\n").as_bytes()).map_err(|error| {
                tracing::error!(%error, "producer ids not reserved");
                ResponseError::KafkaStorageError
            })?;
            range.end = end;
        }
        let id = range.next;
        range.next += 1;
        Ok(id)
    }
}
