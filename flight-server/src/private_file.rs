//! Files of secrets, which their owner alone reads.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use engine::{Error, ErrorKind, Result};

/// A user and a group of the system.
type Owner = (u32, u32);

/// Refuses a secret that other users of the machine may read or change.
pub(crate) fn private(path: &Path, metadata: &fs::Metadata) -> Result<()> {
    if metadata.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(Error::new(
        ErrorKind::PermissionDenied,
        format!("\"{path}\" may be read by other users of this machine"),
    )
    .hint(format!("Run: chmod 600 \"{path}\"")))
}

/// Writes a file that only its owner may read: whole or not at all, and on the disk when this returns. What root writes
/// belongs to whoever owns the file that is replaced, else the folder: the service could not read it otherwise.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |error: io::Error| {
        Error::new(
            ErrorKind::Unavailable,
            format!("\"{}\" cannot be written", path.display()),
        )
        .caused_by(error)
    };
    let folder = or_here(path.parent().unwrap_or(path));
    let owner = owner(path).map_err(failed)?;
    create_folders(folder, owner).map_err(failed)?;
    let name = path
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let staged: PathBuf = folder.join(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let _ = fs::remove_file(&staged);
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&staged)?;
        give(&file, owner)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&staged, path)?;
        fs::File::open(folder)?.sync_all()
    })();
    written.map_err(|error| {
        let _ = fs::remove_file(&staged);
        failed(error)
    })
}

/// Whose the file is, or would be by the nearest folder that is there.
fn owner(path: &Path) -> io::Result<Owner> {
    for place in path.ancestors() {
        match fs::metadata(or_here(place)) {
            Ok(metadata) => return Ok((metadata.uid(), metadata.gid())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn create_folders(folder: &Path, owner: Owner) -> io::Result<()> {
    let missing: Vec<&Path> = folder
        .ancestors()
        .take_while(|folder| !or_here(folder).exists())
        .collect();
    fs::create_dir_all(folder)?;
    for made in missing {
        give(&fs::File::open(made)?, owner)?;
    }
    Ok(())
}

/// Whatever is root's of what was made here becomes the owner's.
fn give(made: &fs::File, owner: Owner) -> io::Result<()> {
    let metadata = made.metadata()?;
    if metadata.uid() != 0 || (metadata.uid(), metadata.gid()) == owner {
        return Ok(());
    }
    fchown(made, Some(owner.0), Some(owner.1))
}

/// A relative path ends in an empty one.
fn or_here(folder: &Path) -> &Path {
    match folder.as_os_str().is_empty() {
        true => Path::new("."),
        false => folder,
    }
}
