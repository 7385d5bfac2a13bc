use std::fs;
use std::io;
use std::ops::Deref;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::directory::{hard_link, remove_file, rename, sync_directory};
use crate::watch::{Operation, take};

static STAGED: AtomicU64 = AtomicU64::new(0);

/// A file whose content is changed. What is read of it, its locks and its metadata are those of `std`'s file.
#[derive(Debug)]
pub struct File {
    file: fs::File,
    /// The name it was opened by; a file that is named anew is opened anew.
    path: PathBuf,
}

impl Deref for File {
    type Target = fs::File;

    fn deref(&self) -> &fs::File {
        &self.file
    }
}

impl File {
    /// An empty file, in place of what had that name.
    pub fn create(path: &Path) -> io::Result<Self> {
        take(path, Operation::Create, || {
            let mut options = fs::File::options();
            let options = options.read(true).write(true).create(true).truncate(true);
            Self::opened(path, options)
        })
    }

    /// A new file that nobody but its owner may read or write, whatever the process grants by default. One that has that
    /// name already is somebody else's.
    pub fn create_private(path: &Path) -> io::Result<Self> {
        take(path, Operation::Create, || {
            let mut options = fs::File::options();
            let options = options.read(true).write(true).create_new(true).mode(0o600);
            Self::opened(path, options)
        })
    }

    /// A file that is there, to be read and written.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::opened(path, fs::File::options().read(true).write(true))
    }

    /// A file as it is, or an empty one that lasts once its directory is synced.
    pub fn open_or_create(path: &Path) -> io::Result<Self> {
        match Self::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let created = take(path, Operation::Create, || {
            let mut options = fs::File::options();
            Self::opened(path, options.read(true).write(true).create_new(true))
        });
        match created {
            // Somebody else was first.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Self::open(path),
            created => created,
        }
    }

    pub fn write_all_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        take(&self.path, Operation::Write { at, bytes }, || {
            self.file.write_all_at(bytes, at)
        })
    }

    pub fn set_len(&self, length: u64) -> io::Result<()> {
        take(&self.path, Operation::SetLength(length), || {
            self.file.set_len(length)
        })
    }

    /// Makes content and length last. Its name lasts once its directory is synced.
    pub fn sync_data(&self) -> io::Result<()> {
        take(&self.path, Operation::Sync, || self.file.sync_data())
    }

    /// As `sync_data`, with what else is known about the file.
    pub fn sync_all(&self) -> io::Result<()> {
        take(&self.path, Operation::Sync, || self.file.sync_all())
    }

    fn opened(path: &Path, options: &fs::OpenOptions) -> io::Result<Self> {
        Ok(Self {
            file: options.open(path)?,
            path: path.to_owned(),
        })
    }
}

/// Makes a file as a whole, unless it is there: whoever finds it finds all of it.
pub fn create_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let number = STAGED.fetch_add(1, Ordering::Relaxed);
    let mut staged = path.as_os_str().to_owned();
    staged.push(format!(".{}-{number}.next", std::process::id()));
    let staged = PathBuf::from(staged);
    let file = File::create(&staged)?;
    file.write_all_at(content, 0)?;
    file.sync_all()?;
    let linked = hard_link(&staged, path);
    remove_file(&staged)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory_of(path),
    }
}

/// Replaces a file as a whole: after a crash it holds either the old content or the new.
pub fn replace_file(path: &Path, content: &[u8]) -> io::Result<()> {
    let next = path.with_extension("next");
    let file = File::create(&next)?;
    file.write_all_at(content, 0)?;
    file.sync_all()?;
    rename(&next, path)?;
    sync_directory_of(path)
}

fn sync_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync_directory(parent),
        _ => sync_directory(Path::new(".")),
    }
}
