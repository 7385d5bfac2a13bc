use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use bytes::Bytes;
use changes::Result;
use disk::File;
use kafka_protocol::ResponseError;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::batch::{BatchHeader, HEADER_BYTES, stamped_header};
use super::checkpoint::Checkpoint;
use super::producers::{Producers, Sequence};
use super::recovery;
use super::segment::Segment;

/// Bytes written between two checkpoints, hence what recovery reads at most.
const CHECKPOINT_INTERVAL: u64 = 32 * 1024 * 1024;
/// Batches up to this size are copied to be written in one call.
const COPIED_BATCH_BYTES: usize = 64 * 1024;

#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) segment_bytes: u64,
    pub(crate) max_batch_bytes: usize,
    /// 0 keeps everything.
    pub(crate) retention_bytes: u64,
}

/// One partition of a topic.
pub(crate) struct Partition {
    pub(crate) index: i32,
    pub(super) directory: PathBuf,
    limits: Limits,
    pub(super) state: Mutex<State>,
    /// Held by the one that syncs; everyone who waits for it is covered by the next sync.
    syncing: tokio::sync::Mutex<()>,
    high_watermark: AtomicI64,
    /// Tells waiting fetches that some partition has more to read.
    arrivals: watch::Sender<u64>,
}

pub(crate) struct State {
    /// Oldest first; the last one is being written.
    pub(super) segments: Vec<Segment>,
    pub(super) active_file: Arc<File>,
    pub(super) durable: Durable,
    pub(super) producers: Producers,
    pub(super) checkpointed: u64,
    pub(super) status: Status,
}

/// How far the log survives power loss, hence how far it is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Durable {
    pub(super) offset: i64,
    pub(super) segment: i64,
    pub(super) position: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Writable,
    /// A write or sync failed, after which the kernel's pages say nothing about the disk.
    Failed,
    Deleted,
    /// The broker is shutting down.
    Closed,
}

impl Status {
    fn check_writable(self) -> Result<(), ResponseError> {
        match self {
            Self::Writable => Ok(()),
            Self::Failed => Err(ResponseError::KafkaStorageError),
            Self::Deleted => Err(ResponseError::UnknownTopicOrPartition),
            Self::Closed => Err(ResponseError::NotLeaderOrFollower),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    pub(crate) base_offset: i64,
    /// What must be durable before the append is acknowledged.
    pub(crate) next_offset: i64,
    pub(crate) log_start: i64,
}

impl Partition {
    /// Makes the files of a partition that holds nothing yet.
    pub(crate) fn create(directory: &Path) -> io::Result<()> {
        disk::make_directory(directory)?;
        Segment::create_file(directory, 0).map(drop)
    }

    /// Opens and, after a crash, heals a partition.
    pub(crate) fn open(
        directory: &Path,
        index: i32,
        limits: Limits,
        arrivals: watch::Sender<u64>,
    ) -> Result<Self> {
        let state = recovery::recover(directory)?;
        Ok(Self {
            index,
            directory: directory.to_owned(),
            limits,
            high_watermark: AtomicI64::new(state.durable.offset),
            state: Mutex::new(state),
            syncing: tokio::sync::Mutex::new(()),
            arrivals,
        })
    }

    /// Writes a produced batch to the end of the log; [`Self::sync_to`] makes it durable. Blocks on the disk.
    pub(crate) fn append(&self, batch: &Bytes) -> Result<Appended, ResponseError> {
        let mut header = BatchHeader::of_produced(batch, self.limits.max_batch_bytes)?;
        let mut state = self.state.lock();
        state.status.check_writable()?;
        let log_start = state.log_start();
        if let Sequence::Duplicate(base_offset) = state.producers.check(&header)? {
            header.base_offset = base_offset;
            return Ok(Appended {
                base_offset,
                next_offset: header.next_offset(),
                log_start,
            });
        }
        if state.active().size > 0
            && state.active().size + header.size as u64 > self.limits.segment_bytes
        {
            self.roll(&mut state)
                .map_err(|error| self.fail(&mut state, "roll", &error))?;
        }
        let base_offset = state.active().next_offset;
        let position = state.active().size;
        header.base_offset = base_offset;
        if let Err(error) = write_batch(&state.active_file, batch, base_offset, position) {
            tracing::error!(directory = %self.directory.display(), %error, "batch not written");
            // What a partial write left is overwritten by the next batch, unless even this fails.
            if let Err(error) = state.active_file.set_len(position) {
                self.fail(&mut state, "truncate", &error);
            }
            return Err(ResponseError::KafkaStorageError);
        }
        state.active_mut().record(&header);
        state.producers.record(&header);
        Ok(Appended {
            base_offset,
            next_offset: header.next_offset(),
            log_start: state.log_start(),
        })
    }

    /// Returns once everything before `offset` survives power loss; one sync covers all who wait.
    pub(crate) async fn sync_to(self: Arc<Self>, offset: i64) -> Result<(), ResponseError> {
        if self.high_watermark() >= offset {
            return Ok(());
        }
        let _turn = self.syncing.lock().await;
        if self.high_watermark() >= offset {
            return Ok(());
        }
        let partition = Arc::clone(&self);
        tokio::task::spawn_blocking(move || partition.sync())
            .await
            .unwrap_or(Err(ResponseError::UnknownServerError))
    }

    /// Takes no more, syncs what is written and leaves a checkpoint, so that the next start has nothing to scan.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        if state.status != Status::Writable {
            return;
        }
        state.status = Status::Closed;
        if state.checkpointed == state.active().size {
            return;
        }
        if let Err(error) = state.active_file.sync_data() {
            tracing::error!(directory = %self.directory.display(), %error, "log not synced");
            return;
        }
        if let Err(error) = state.checkpoint().save(&self.directory) {
            tracing::warn!(directory = %self.directory.display(), %error, "checkpoint not written");
        }
    }

    /// Refuses all further use; the files are the caller's to remove.
    pub(crate) fn mark_deleted(&self) {
        self.state.lock().status = Status::Deleted;
        self.announce();
    }

    /// The offset after the last record that may be read.
    pub(crate) fn high_watermark(&self) -> i64 {
        self.high_watermark.load(Ordering::Acquire)
    }

    pub(crate) fn log_start(&self) -> i64 {
        self.state.lock().log_start()
    }

    fn sync(&self) -> Result<(), ResponseError> {
        let (file, reached, checkpoint) = {
            let state = self.state.lock();
            state.status.check_writable()?;
            let size = state.active().size;
            // Taken before the sync: it may name nothing that the sync does not cover.
            let due = size.saturating_sub(state.checkpointed) >= CHECKPOINT_INTERVAL;
            let checkpoint = due.then(|| state.checkpoint());
            (Arc::clone(&state.active_file), state.written(), checkpoint)
        };
        if let Err(error) = file.sync_data() {
            return Err(self.fail(&mut self.state.lock(), "sync", &error));
        }
        self.advance(&mut self.state.lock(), reached);
        if let Some(checkpoint) = checkpoint {
            match checkpoint.save(&self.directory) {
                Ok(()) => self.note_checkpoint(&checkpoint),
                Err(error) => {
                    tracing::warn!(directory = %self.directory.display(), %error, "checkpoint not written");
                }
            }
        }
        Ok(())
    }

    fn note_checkpoint(&self, checkpoint: &Checkpoint) {
        let mut state = self.state.lock();
        if state.active().base == checkpoint.active.base {
            state.checkpointed = checkpoint.active.size;
        }
    }

    /// Finishes the active segment and begins the next; the old one is durable before the new one exists.
    fn roll(&self, state: &mut State) -> io::Result<()> {
        state.active_file.sync_data()?;
        let finished = state.active();
        finished.save_index(&self.directory)?;
        let next = Segment::new(finished.next_offset);
        Checkpoint {
            active: next.clone(),
            producers: state.producers.clone(),
        }
        .save(&self.directory)?;
        state.active_file = Arc::new(Segment::create_file(&self.directory, next.base)?);
        state.segments.push(next);
        state.checkpointed = 0;
        let reached = state.written();
        self.advance(state, reached);
        self.drop_old_segments(state);
        Ok(())
    }

    fn drop_old_segments(&self, state: &mut State) {
        if self.limits.retention_bytes == 0 {
            return;
        }
        let mut total: u64 = state.segments.iter().map(|segment| segment.size).sum();
        while state.segments.len() > 1
            && total - state.segments[0].size >= self.limits.retention_bytes
        {
            let oldest = state.segments[0].base;
            // Durable before the next goes: an old segment that came back after a newer one was gone would be a gap.
            if let Err(error) = Segment::remove(&self.directory, oldest) {
                tracing::warn!(directory = %self.directory.display(), %error, "old segment not removed");
                return;
            }
            total -= state.segments[0].size;
            state.segments.remove(0);
        }
    }

    fn advance(&self, state: &mut State, reached: Durable) {
        if reached.offset < state.durable.offset
            || (reached.offset == state.durable.offset && reached.segment <= state.durable.segment)
        {
            return;
        }
        state.durable = reached;
        self.high_watermark.store(reached.offset, Ordering::Release);
        self.announce();
    }

    fn announce(&self) {
        self.arrivals
            .send_modify(|count| *count = count.wrapping_add(1));
    }

    fn fail(&self, state: &mut State, step: &str, error: &io::Error) -> ResponseError {
        tracing::error!(
            directory = %self.directory.display(),
            step,
            %error,
            "partition stopped; restart the broker once the disk is well"
        );
        state.status = Status::Failed;
        ResponseError::KafkaStorageError
    }
}

impl State {
    pub(super) fn log_start(&self) -> i64 {
        self.segments.first().map_or(0, |first| first.base)
    }

    pub(super) fn active(&self) -> &Segment {
        self.segments.last().expect("a partition has a segment")
    }

    fn active_mut(&mut self) -> &mut Segment {
        self.segments.last_mut().expect("a partition has a segment")
    }

    /// How far the log goes, durable or not.
    pub(super) fn written(&self) -> Durable {
        let active = self.active();
        Durable {
            offset: active.next_offset,
            segment: active.base,
            position: active.size,
        }
    }

    fn checkpoint(&self) -> Checkpoint {
        Checkpoint {
            active: self.active().clone(),
            producers: self.producers.clone(),
        }
    }
}

fn write_batch(file: &File, batch: &[u8], base_offset: i64, position: u64) -> io::Result<()> {
    let header = stamped_header(batch, base_offset);
    if batch.len() <= COPIED_BATCH_BYTES {
        let mut whole = batch.to_vec();
        whole[..HEADER_BYTES].copy_from_slice(&header);
        return file.write_all_at(&whole, position);
    }
    file.write_all_at(&batch[HEADER_BYTES..], position + HEADER_BYTES as u64)?;
    file.write_all_at(&header, position)
}
