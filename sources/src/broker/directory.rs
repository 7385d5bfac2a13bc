//! The broker's directory: its lock, its format version, and files replaced as a whole.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use changes::{Error, ErrorKind, Result};

const FORMAT: &str = "sportlake-broker 1\n";

/// The open data directory; the kernel frees its lock when the process ends.
pub(super) struct Directory {
    root: PathBuf,
    _lock: File,
}

impl Directory {
    pub(super) fn open(root: &Path) -> Result<Self> {
        create_durable_dir(root).map_err(|error| unusable(root, error))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(root.join("lock"))
            .map_err(|error| unusable(root, error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("broker directory {:?} is in use by another process", root),
                )
                .hint("Stop the other process, or set broker.path to another directory."));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(root, error)),
        }
        check_format(root)?;
        for name in ["topics", "staging", "trash"] {
            create_durable_dir(&root.join(name)).map_err(|error| unusable(root, error))?;
        }
        let directory = Self {
            root: root.to_owned(),
            _lock: lock,
        };
        directory.empty("staging");
        directory.empty("trash");
        Ok(directory)
    }

    pub(super) fn topics(&self) -> PathBuf {
        self.root.join("topics")
    }

    /// Where topics are built before one rename makes them exist.
    pub(super) fn staging(&self) -> PathBuf {
        self.root.join("staging")
    }

    /// Where deleted topics wait for their files to be removed.
    pub(super) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Leftovers cost space only, so failing to remove them is no error.
    fn empty(&self, name: &str) {
        let Ok(entries) = fs::read_dir(self.root.join(name)) else {
            return;
        };
        for entry in entries.flatten() {
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "leftover of a topic not removed");
            }
        }
    }
}

/// Replaces a file as a whole: after a crash it holds either the old content or the new.
pub(super) fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let next = path.with_extension("next");
    let mut file = File::create(&next)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&next, path)?;
    match path.parent() {
        Some(parent) => sync_dir(parent),
        None => Ok(()),
    }
}

/// Makes the entries of a directory survive power loss.
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

fn create_durable_dir(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut missing = vec![path];
    let mut ancestor = path.parent();
    while let Some(parent) = ancestor.filter(|parent| !parent.as_os_str().is_empty()) {
        if parent.is_dir() {
            break;
        }
        missing.push(parent);
        ancestor = parent.parent();
    }
    for path in missing.into_iter().rev() {
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        sync_dir(parent.unwrap_or(Path::new(".")))?;
    }
    Ok(())
}

fn check_format(root: &Path) -> Result<()> {
    let path = root.join("format");
    let mut found = String::new();
    match File::open(&path) {
        Ok(file) => {
            file.take(4096)
                .read_to_string(&mut found)
                .map_err(|error| unusable(root, error))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if root.join("topics").exists() {
                return Err(other_format(root, "none"));
            }
            return replace_file(&path, FORMAT.as_bytes()).map_err(|error| unusable(root, error));
        }
        Err(error) => return Err(unusable(root, error)),
    }
    if found == FORMAT {
        return Ok(());
    }
    Err(other_format(root, found.trim()))
}

fn other_format(root: &Path, found: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "broker directory {:?} has format {found:?}, this program reads {:?}",
            root,
            FORMAT.trim()
        ),
    )
    .hint("Use the program version that wrote it, or set broker.path to another directory.")
}

fn unusable(root: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        io::ErrorKind::StorageFull => ErrorKind::ResourceExhausted,
        io::ErrorKind::NotADirectory | io::ErrorKind::InvalidData => ErrorKind::InvalidRequest,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("broker directory {:?} cannot be used", root))
        .hint("Check that broker.path names a directory that this user can write.")
        .caused_by(error)
}
