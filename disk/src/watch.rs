//! What a test learns of a directory: each step before it is taken and after.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;

/// One change of the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation<'a> {
    MakeDirectory,
    /// A file comes to be, empty, or is emptied.
    Create,
    Write {
        at: u64,
        bytes: &'a [u8],
    },
    SetLength(u64),
    Sync,
    SyncDirectory,
    Link {
        to: &'a Path,
    },
    Rename {
        to: &'a Path,
    },
    Remove,
    /// With all that it holds.
    RemoveDirectory,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step<'a> {
    pub path: &'a Path,
    pub operation: Operation<'a>,
}

impl fmt::Display for Step<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.operation {
            Operation::MakeDirectory => "make directory",
            Operation::Create => "create",
            Operation::Write { .. } => "write",
            Operation::SetLength(_) => "set length",
            Operation::Sync => "sync",
            Operation::SyncDirectory => "sync directory",
            Operation::Link { .. } => "link",
            Operation::Rename { .. } => "rename",
            Operation::Remove => "remove",
            Operation::RemoveDirectory => "remove directory",
        };
        f.write_str(verb)
    }
}

/// Sees the steps below a directory.
pub trait Watcher: Send + Sync {
    /// Before a step; an error is what the step fails with, untaken.
    fn before(&self, step: &Step<'_>) -> io::Result<()>;

    /// After a step that succeeded.
    fn after(&self, step: &Step<'_>);
}

static WATCHES: RwLock<Vec<Watched>> = RwLock::new(Vec::new());

/// Number of a watch, the directory it is of, and who watches.
type Watched = (usize, PathBuf, Arc<dyn Watcher>);
static COUNT: AtomicUsize = AtomicUsize::new(0);
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Ends a watch when dropped.
#[must_use]
pub struct Watching(usize);

/// Shows the steps below `root`, an absolute path, to a watcher. For tests: where nobody watches, a step costs one
/// look at a number that is zero.
pub fn watch(root: &Path, watcher: Arc<dyn Watcher>) -> Watching {
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut watches = WATCHES.write();
    watches.push((id, root.to_owned(), watcher));
    COUNT.store(watches.len(), Ordering::Release);
    Watching(id)
}

impl Drop for Watching {
    fn drop(&mut self) {
        let mut watches = WATCHES.write();
        watches.retain(|(id, ..)| *id != self.0);
        COUNT.store(watches.len(), Ordering::Release);
    }
}

/// Takes a step before the eyes of those who watch its directory.
pub(crate) fn take<T>(
    path: &Path,
    operation: Operation<'_>,
    step: impl FnOnce() -> io::Result<T>,
) -> io::Result<T> {
    if COUNT.load(Ordering::Acquire) == 0 {
        return step();
    }
    let watchers: Vec<Arc<dyn Watcher>> = WATCHES
        .read()
        .iter()
        .filter(|(_, root, _)| path.starts_with(root))
        .map(|(.., watcher)| watcher.clone())
        .collect();
    let seen = Step { path, operation };
    for watcher in &watchers {
        watcher.before(&seen)?;
    }
    let taken = step()?;
    for watcher in &watchers {
        watcher.after(&seen);
    }
    Ok(taken)
}
