//! What a power cut would leave of a directory, worked out from a recording of what was done to it. For tests.
//!
//! A file's content lasts as it was when its last sync began; a name lasts once its directory was synced after it was
//! given. Everything else may be there or not, in any combination: a file may hold parts of what was written, and zeros
//! for the rest, but what was synced and neither overwritten nor cut off is as it was. Changes of one name are kept in
//! their order. One rename is one change, also between two directories, as journalling file systems have it.

mod disk;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::ThreadId;

use parking_lot::Mutex;

use self::disk::Disk;
use crate::watch::{Operation, Step, Watcher, Watching, watch};

/// What of the unsynced is there after the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Survival {
    /// Nothing of it.
    Synced,
    /// All of it, as after the death of the process alone.
    Everything,
    /// Each change by chance, from a seed.
    Chance(u64),
}

/// Records what is done below a directory, from the time it is made.
pub struct Recorder {
    root: PathBuf,
    recording: Mutex<Recording>,
}

/// What was done, step by step.
#[derive(Debug, Clone, Default)]
pub struct Recording {
    /// Directories and files that were there before, which last.
    before: Vec<(PathBuf, Option<Vec<u8>>)>,
    events: Vec<Event>,
}

#[derive(Debug, Clone)]
struct Event {
    thread: ThreadId,
    path: PathBuf,
    kind: EventKind,
}

#[derive(Debug, Clone)]
enum EventKind {
    /// A sync begins: it covers what was done up to here.
    SyncBegins,
    /// A sync that `without` took out.
    Forgotten,
    SyncEnds,
    DirectorySyncBegins,
    DirectorySyncEnds,
    MakeDirectory,
    Create,
    Write {
        at: u64,
        bytes: Vec<u8>,
    },
    SetLength(u64),
    Link {
        to: PathBuf,
    },
    Rename {
        to: PathBuf,
    },
    Remove,
    RemoveDirectory,
    /// Something was acknowledged.
    Mark(String),
}

impl Recorder {
    /// Begins to record below `root`, an absolute path.
    pub fn begin(root: &Path) -> io::Result<(Arc<Self>, Watching)> {
        let mut recording = Recording::default();
        walk(root, Path::new(""), &mut recording.before)?;
        let recorder = Arc::new(Self {
            root: root.to_owned(),
            recording: Mutex::new(recording),
        });
        let watching = watch(root, recorder.clone());
        Ok((recorder, watching))
    }

    /// Notes that something was acknowledged: every later cut must keep it.
    pub fn mark(&self, what: impl Into<String>) {
        self.note(PathBuf::new(), EventKind::Mark(what.into()));
    }

    pub fn recording(&self) -> Recording {
        self.recording.lock().clone()
    }

    fn note(&self, path: PathBuf, kind: EventKind) {
        let event = Event {
            thread: std::thread::current().id(),
            path,
            kind,
        };
        self.recording.lock().events.push(event);
    }

    fn below(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_owned()
    }
}

impl Watcher for Recorder {
    fn before(&self, step: &Step<'_>) -> io::Result<()> {
        match step.operation {
            Operation::Sync => self.note(self.below(step.path), EventKind::SyncBegins),
            Operation::SyncDirectory => {
                self.note(self.below(step.path), EventKind::DirectorySyncBegins);
            }
            _ => {}
        }
        Ok(())
    }

    fn after(&self, step: &Step<'_>) {
        let kind = match step.operation {
            Operation::MakeDirectory => EventKind::MakeDirectory,
            Operation::Create => EventKind::Create,
            Operation::Write { at, bytes } => EventKind::Write {
                at,
                bytes: bytes.to_vec(),
            },
            Operation::SetLength(length) => EventKind::SetLength(length),
            Operation::Sync => EventKind::SyncEnds,
            Operation::SyncDirectory => EventKind::DirectorySyncEnds,
            Operation::Link { to } => EventKind::Link { to: self.below(to) },
            Operation::Rename { to } => EventKind::Rename { to: self.below(to) },
            Operation::Remove => EventKind::Remove,
            Operation::RemoveDirectory => EventKind::RemoveDirectory,
        };
        self.note(self.below(step.path), kind);
    }
}

impl Recording {
    /// Moments at which the power may be cut: after no event, after the first, and so on.
    pub fn moments(&self) -> std::ops::RangeInclusive<usize> {
        0..=self.events.len()
    }

    /// Moments right after something was acknowledged.
    pub fn acknowledgements(&self) -> impl Iterator<Item = usize> {
        let events = self.events.iter().enumerate();
        events
            .filter(|(_, event)| matches!(event.kind, EventKind::Mark(_)))
            .map(|(at, _)| at + 1)
    }

    /// The syncs that were made, of paths below the recorded directory, each with its number among the events.
    pub fn syncs(&self) -> impl Iterator<Item = (usize, Step<'_>)> {
        let events = self.events.iter().enumerate();
        events.filter_map(|(at, event)| {
            let operation = match event.kind {
                EventKind::SyncBegins => Operation::Sync,
                EventKind::DirectorySyncBegins => Operation::SyncDirectory,
                _ => return None,
            };
            let path = event.path.as_path();
            Some((at, Step { path, operation }))
        })
    }

    /// The same without some syncs, as if they had been forgotten: a suite that then finds nothing lost is blind.
    #[must_use]
    pub fn without(mut self, forgotten: impl Fn(&Step<'_>) -> bool) -> Self {
        let ends: Vec<usize> = self
            .syncs()
            .filter(|(_, step)| forgotten(step))
            .map(|(at, _)| at)
            .collect();
        for at in ends {
            self.events[at].kind = EventKind::Forgotten;
        }
        self
    }

    /// What was acknowledged before a moment.
    pub fn marks(&self, moment: usize) -> impl Iterator<Item = &str> {
        self.events[..moment]
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Mark(what) => Some(what.as_str()),
                _ => None,
            })
    }

    /// The last event before a moment, for messages.
    pub fn describe(&self, moment: usize) -> String {
        let Some(event) = moment.checked_sub(1).and_then(|at| self.events.get(at)) else {
            return "the beginning".to_owned();
        };
        let kind = match &event.kind {
            EventKind::Write { at, bytes } => format!("Write {} bytes at {at}", bytes.len()),
            kind => format!("{kind:?}"),
        };
        format!("{kind} {}", event.path.display())
    }

    /// Lays out, in an empty directory, what a cut at a moment leaves.
    pub fn restore(&self, moment: usize, survival: Survival, into: &Path) -> io::Result<()> {
        let mut disk = Disk::default();
        for (path, content) in &self.before {
            disk.put(path, content.as_deref());
        }
        for event in &self.events[..moment] {
            disk.apply(event);
        }
        disk.lay_out(survival, into)
    }
}

fn walk(root: &Path, below: &Path, found: &mut Vec<(PathBuf, Option<Vec<u8>>)>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            found.push((path.clone(), None));
            walk(root, &path, found)?;
        } else {
            let content = fs::read(entry.path())?;
            found.push((path, Some(content)));
        }
    }
    Ok(())
}
