//! Opening a partition: what is synced is trusted by its checkpoint, the rest is read, a torn end is cut off.

use std::fs;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use changes::{Error, ErrorKind, Result};
use disk::File;

use super::batch::{BatchHeader, HEADER_BYTES};
use super::checkpoint::Checkpoint;
use super::partition::{Durable, State, Status};
use super::producers::Producers;
use super::segment::Segment;

/// The state of the partition in `directory`, everything in it durable.
pub(super) fn recover(directory: &Path) -> Result<State> {
    let mut bases = segment_bases(directory).map_err(|error| unreadable(directory, error))?;
    let checkpoint = Checkpoint::load(directory);
    let (mut segments, mut producers, resume) = match checkpoint {
        Some(checkpoint) if covers(&bases, &checkpoint) => {
            let older: Vec<i64> = bases
                .iter()
                .copied()
                .filter(|base| *base < checkpoint.active.base)
                .collect();
            bases.retain(|base| *base >= checkpoint.active.base);
            let segments = finished_segments(directory, &older, checkpoint.active.base)?;
            (segments, checkpoint.producers, Some(checkpoint.active))
        }
        _ => (Vec::new(), Producers::default(), None),
    };
    if bases.is_empty() {
        match &resume {
            // The checkpoint of a new segment is written before its file.
            Some(active) if active.size == 0 => bases.push(active.base),
            _ => return Err(corrupt(directory, "it has no segment file")),
        }
    }
    let trusted = resume.as_ref().map(|active| (active.base, active.size));
    let mut resume = resume;
    let last = bases.len() - 1;
    let mut active_file = None;
    for (at, &base) in bases.iter().enumerate() {
        let follows = segments
            .last()
            .is_none_or(|previous| previous.next_offset == base);
        if !follows {
            return Err(corrupt(
                directory,
                &format!("records are missing before offset {base}"),
            ));
        }
        let start = resume.take().unwrap_or_else(|| Segment::new(base));
        let file = open_or_create(directory, base).map_err(|error| unreadable(directory, error))?;
        let (segment, file_size) =
            scan(&file, start, &mut producers).map_err(|error| unreadable(directory, error))?;
        if segment.size > file_size {
            return Err(corrupt(
                directory,
                &format!("segment {base} lost its synced end"),
            ));
        }
        if segment.size < file_size {
            if at < last {
                let damaged = format!("the batch at offset {} is damaged", segment.next_offset);
                return Err(corrupt(directory, &damaged));
            }
            tracing::warn!(
                directory = %directory.display(),
                offset = segment.next_offset,
                bytes = file_size - segment.size,
                "unacknowledged end of the log cut off"
            );
            file.set_len(segment.size)
                .map_err(|error| unreadable(directory, error))?;
        }
        if trusted != Some((base, file_size)) {
            file.sync_all()
                .map_err(|error| unreadable(directory, error))?;
        }
        if at < last {
            // Rebuilt on the next start if this fails.
            let _ = segment.save_index(directory);
        }
        segments.push(segment);
        active_file = Some(file);
    }
    let (Some(active), Some(file)) = (segments.last(), active_file) else {
        return Err(corrupt(directory, "it has no segment file"));
    };
    let durable = Durable {
        offset: active.next_offset,
        segment: active.base,
        position: active.size,
    };
    let checkpointed = trusted
        .filter(|(base, _)| *base == active.base)
        .map_or(0, |(_, size)| size);
    Ok(State {
        checkpointed,
        segments,
        active_file: Arc::new(file),
        durable,
        producers,
        status: Status::Writable,
    })
}

/// Whether the checkpoint is about the files that are there.
fn covers(bases: &[i64], checkpoint: &Checkpoint) -> bool {
    bases.contains(&checkpoint.active.base)
        || (checkpoint.active.size == 0
            && bases
                .last()
                .is_some_and(|last| *last < checkpoint.active.base))
}

/// Segments before the checkpoint: their saved index is enough, else they are read.
fn finished_segments(directory: &Path, bases: &[i64], end: i64) -> Result<Vec<Segment>> {
    let mut segments = Vec::with_capacity(bases.len());
    for (at, &base) in bases.iter().enumerate() {
        let expected = bases.get(at + 1).copied().unwrap_or(end);
        let segment = finished_segment(directory, base)?;
        if segment.next_offset != expected {
            let damaged = format!("the batch at offset {} is damaged", segment.next_offset);
            return Err(corrupt(directory, &damaged));
        }
        segments.push(segment);
    }
    Ok(segments)
}

fn finished_segment(directory: &Path, base: i64) -> Result<Segment> {
    let read = || -> io::Result<Segment> {
        let file = Segment::open_file(directory, base)?;
        if let Some(segment) = Segment::load_index(directory, base, file.metadata()?.len()) {
            return Ok(segment);
        }
        let (segment, _) = scan(&file, Segment::new(base), &mut Producers::default())?;
        let _ = segment.save_index(directory);
        Ok(segment)
    };
    read().map_err(|error| unreadable(directory, error))
}

/// Reads whole batches from the end of `segment` on, up to the first that is torn; also the file's size.
fn scan(
    file: &fs::File,
    mut segment: Segment,
    producers: &mut Producers,
) -> io::Result<(Segment, u64)> {
    let file_size = file.metadata()?.len();
    let mut reader = BufReader::with_capacity(1024 * 1024, file);
    reader.seek(SeekFrom::Start(segment.size))?;
    let mut batch = Vec::new();
    while segment.size + HEADER_BYTES as u64 <= file_size {
        batch.resize(HEADER_BYTES, 0);
        reader.read_exact(&mut batch)?;
        let Some(header) = BatchHeader::parse(&batch) else {
            break;
        };
        let fits = segment.size + header.size as u64 <= file_size;
        if !fits || header.base_offset != segment.next_offset || header.last_offset_delta < 0 {
            break;
        }
        batch.resize(header.size, 0);
        reader.read_exact(&mut batch[HEADER_BYTES..])?;
        if !header.crc_matches(&batch) {
            break;
        }
        segment.record(&header);
        producers.record(&header);
    }
    Ok((segment, file_size))
}

fn segment_bases(directory: &Path) -> io::Result<Vec<i64>> {
    let mut bases = Vec::new();
    for entry in fs::read_dir(directory)? {
        let name = entry?.file_name();
        bases.extend(name.to_str().and_then(Segment::base_of));
    }
    bases.sort_unstable();
    Ok(bases)
}

fn open_or_create(directory: &Path, base: i64) -> io::Result<File> {
    match Segment::open_file(directory, base) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Segment::create_file(directory, base)
        }
        opened => opened,
    }
}

fn corrupt(directory: &Path, what: &str) -> Error {
    Error::new(
        ErrorKind::Corrupt,
        format!("broker partition {directory:?} is corrupt: {what}"),
    )
    .hint("Restore the directory from a copy, or move it away to start the topic empty.")
}

fn unreadable(directory: &Path, error: io::Error) -> Error {
    Error::new(
        ErrorKind::Unavailable,
        format!("broker partition {directory:?} cannot be read"),
    )
    .hint("Check the disk and the rights of the files.")
    .caused_by(error)
}
