//! What was told, and up to where the topic was read, on the disk before anybody relies on it.
//!
//! A file of lines, each a checksum and an entry. What a crash cut off at its end was relied on by nobody.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use changes::{Error, ErrorKind, Result};
use chrono::{DateTime, Utc};
use disk::File;
use serde::{Deserialize, Serialize};

/// Activities remembered as told, so that a source that repeats itself is told once.
pub(crate) const REMEMBERED: usize = 10_000;

/// Messages that Slack does not take which are kept.
const DEAD_KEPT: usize = 1000;

/// Size above which the file is written anew as one entry.
const COMPACT_ABOVE: u64 = 1 << 20;

const FILE: &str = "journal";

/// The next offset to read, by partition.
pub(crate) type Positions = BTreeMap<i32, i64>;

/// The end of the first load, as its row tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) lsn: Option<i64>,
    pub(crate) ts_ms: Option<i64>,
}

/// A message that is about to be posted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Intent {
    pub(crate) text: String,
    pub(crate) ids: Vec<i64>,
    /// By what each of them is known again.
    #[serde(default)]
    pub(crate) identities: Vec<i64>,
    /// Where reading stands once it is posted.
    pub(crate) next: Positions,
    /// When the oldest of them was done; none when nothing is known of it.
    #[serde(default)]
    pub(crate) oldest: Option<DateTime<Utc>>,
}

/// A message that Slack will never take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dead {
    pub ids: Vec<i64>,
    pub error: String,
    pub at: DateTime<Utc>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) positions: Positions,
    pub(crate) mark: Option<Mark>,
    /// The identities of the last activities that were told.
    #[serde(default)]
    pub(crate) known: VecDeque<i64>,
    pub(crate) intent: Option<Intent>,
    pub(crate) dead: VecDeque<Dead>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Entry {
    /// Everything at once.
    State(State),
    /// Reading went on; an intent was no news any more.
    Moved(Positions, Option<Mark>),
    Intent(Intent),
    /// The intent was posted, or is taken as posted.
    Told,
    /// The intent was not posted.
    Withdrawn,
    /// The intent will never be posted.
    Dead(Dead),
}

impl State {
    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::State(state) => *self = state,
            Entry::Moved(positions, mark) => {
                self.positions.extend(positions);
                self.mark = mark.or(self.mark);
                self.intent = None;
            }
            Entry::Intent(intent) => self.intent = Some(intent),
            Entry::Told => self.finish(),
            Entry::Withdrawn => self.intent = None,
            Entry::Dead(dead) => {
                self.dead.push_back(dead);
                self.dead.drain(..self.dead.len().saturating_sub(DEAD_KEPT));
                self.finish();
            }
        }
    }

    fn finish(&mut self) {
        if let Some(intent) = self.intent.take() {
            self.positions.extend(intent.next);
            self.known.extend(intent.identities);
            self.known
                .drain(..self.known.len().saturating_sub(REMEMBERED));
        }
    }
}

/// The open journal; the kernel frees its lock when the process ends.
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    length: u64,
    state: State,
    _lock: File,
}

impl Journal {
    /// Opens the directory, which is made when absent, for one process at a time.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        disk::create_directory(directory).map_err(|error| unusable(directory, error))?;
        let lock = File::open_or_create(&directory.join("lock"))
            .map_err(|error| unusable(directory, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "another process tells of activities from \"{}\"",
                        directory.display()
                    ),
                )
                .hint("Stop it, or set notify.path to another directory."));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(directory, error)),
        }
        let path = directory.join(FILE);
        let bytes = first_bytes(&path).map_err(|error| unusable(directory, error))?;
        let (state, length) = read(&path, &bytes)?;
        Self::with_state(&path, lock, state, length).map_err(|error| unusable(directory, error))
    }

    fn with_state(path: &Path, lock: File, state: State, length: u64) -> io::Result<Self> {
        let file = File::open(path)?;
        // What comes after would be taken for a continuation of what is written next.
        file.set_len(length)?;
        file.sync_all()?;
        Ok(Self {
            path: path.to_owned(),
            file,
            length,
            state,
            _lock: lock,
        })
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    /// Adds an entry, which lasts when this returns. After an error it may be tried again.
    pub(crate) fn store(&mut self, entry: &Entry) -> io::Result<()> {
        let text = line(entry)?;
        self.file.write_all_at(text.as_bytes(), self.length)?;
        self.file.sync_data()?;
        self.length += text.len() as u64;
        self.state.apply(entry.clone());
        if self.length > COMPACT_ABOVE
            && let Err(error) = self.compact()
        {
            tracing::warn!(%error, "the journal of what was told grows: it could not be written anew");
        }
        Ok(())
    }

    fn compact(&mut self) -> io::Result<()> {
        let text = line(&Entry::State(self.state.clone()))?;
        disk::replace_file(&self.path, text.as_bytes())?;
        self.file = File::open(&self.path)?;
        self.length = text.len() as u64;
        Ok(())
    }
}

/// The messages that Slack did not take, also while another process tells.
pub fn dead_letters(directory: &Path) -> Result<Vec<Dead>> {
    Ok(peek(directory)?.dead.into())
}

/// What a journal says that another process may hold.
pub(crate) fn peek(directory: &Path) -> Result<State> {
    match fs::read(directory.join(FILE)) {
        Ok(bytes) => Ok(read(&directory.join(FILE), &bytes)?.0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
        Err(error) => Err(unusable(directory, error)),
    }
}

fn line(entry: &Entry) -> io::Result<String> {
    let json = serde_json::to_string(entry)?;
    Ok(format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())))
}

/// What is in the file, which is made when absent.
fn first_bytes(path: &Path) -> io::Result<Vec<u8>> {
    disk::create_file(path, line(&Entry::State(State::default()))?.as_bytes())?;
    fs::read(path)
}

/// The state after the last whole entry, and where that ends. A crash tears the last line alone.
fn read(path: &Path, bytes: &[u8]) -> Result<(State, u64)> {
    let mut state = State::default();
    let mut length = 0;
    let mut lines = bytes.split_inclusive(|byte| *byte == b'\n').enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(json) = checked(line) else {
            return match lines.next() {
                None => Ok((state, length)),
                Some(_) => Err(corrupt(path, number + 1)),
            };
        };
        let entry = serde_json::from_str(json).map_err(|_| corrupt(path, number + 1))?;
        state.apply(entry);
        length += line.len() as u64;
    }
    Ok((state, length))
}

/// The entry on a line, whose checksum holds.
fn checked(line: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(line).ok()?.strip_suffix('\n')?;
    let (checksum, json) = text.split_once(' ')?;
    let is_whole = u32::from_str_radix(checksum, 16) == Ok(crc32c::crc32c(json.as_bytes()));
    is_whole.then_some(json)
}

/// The text of the line may hold names: it is not repeated.
fn corrupt(path: &Path, line: usize) -> Error {
    let message = format!("line {line} of \"{}\" is damaged", path.display());
    Error::new(ErrorKind::Corrupt, message).hint(
        "Bring the file back from a backup. Or remove it: the topic is then read from its start, and activities younger \
         than notify.max_age_seconds are told again.",
    )
}

fn unusable(directory: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("could not use \"{}\"", directory.display()))
        .hint("notify.path must be a directory that this user may write.")
        .caused_by(error)
}

#[cfg(test)]
mod tests;
