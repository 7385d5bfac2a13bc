use std::fs;
use std::io;
use std::path::Path;

use crate::watch::{Operation, take};

/// Creates a directory and its parents, each entry synced into the one above.
pub fn create_directory(directory: &Path) -> io::Result<()> {
    let Some(parent) = directory.parent() else {
        return Ok(());
    };
    let parent = match parent.as_os_str().is_empty() {
        true => Path::new("."),
        false => parent,
    };
    if directory.is_dir() {
        // Whoever made it may have died before it synced the entry. Where that cannot be done, it was not one of us.
        return match sync_directory(parent) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            synced => synced,
        };
    }
    create_directory(parent)?;
    match make_directory(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => sync_directory(parent),
    }
}

/// Creates one directory; its entry lasts once the one above is synced.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    take(directory, Operation::MakeDirectory, || {
        fs::create_dir(directory)
    })
}

/// Makes the entries of a directory last: files and directories made, named anew or removed in it.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    take(directory, Operation::SyncDirectory, || {
        fs::File::open(directory)?.sync_all()
    })
}

/// Gives a file a second name, which must not be there yet.
pub fn hard_link(from: &Path, to: &Path) -> io::Result<()> {
    take(from, Operation::Link { to }, || fs::hard_link(from, to))
}

/// Gives a file or directory another name, in place of what has that name.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    take(from, Operation::Rename { to }, || fs::rename(from, to))
}

pub fn remove_file(path: &Path) -> io::Result<()> {
    take(path, Operation::Remove, || fs::remove_file(path))
}

/// Removes a directory with all that it holds.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    take(path, Operation::RemoveDirectory, || {
        fs::remove_dir_all(path)
    })
}
