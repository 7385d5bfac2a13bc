//! The broker's directory: its lock and its format version.

use std::fs::{self, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use changes::{Error, ErrorKind, Result};
use disk::File;

const FORMAT: &str = "sportlake-broker 1\n";

/// The open data directory; the kernel frees its lock when the process ends.
pub(super) struct Directory {
    root: PathBuf,
    _lock: File,
}

impl Directory {
    pub(super) fn open(root: &Path) -> Result<Self> {
        disk::create_directory(root).map_err(|error| unusable(root, error))?;
        let lock =
            File::open_or_create(&root.join("lock")).map_err(|error| unusable(root, error))?;
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
            disk::create_directory(&root.join(name)).map_err(|error| unusable(root, error))?;
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
            if let Err(error) = disk::remove_directory(&entry.path()) {
                tracing::warn!(path = %entry.path().display(), %error, "leftover of a topic not removed");
            }
        }
    }
}

fn check_format(root: &Path) -> Result<()> {
    let path = root.join("format");
    let mut found = String::new();
    match fs::File::open(&path) {
        Ok(file) => {
            file.take(4096)
                .read_to_string(&mut found)
                .map_err(|error| unusable(root, error))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if root.join("topics").exists() {
                return Err(other_format(root, "none"));
            }
            return disk::replace_file(&path, FORMAT.as_bytes())
                .map_err(|error| unusable(root, error));
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
