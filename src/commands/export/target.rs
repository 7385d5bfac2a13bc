use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use disk::File;
use engine::{Error, ErrorKind};
use exports::Format;
use futures::{Stream, StreamExt};

use crate::output;

/// Where the bytes go.
#[derive(Debug, Clone)]
pub(super) enum Target {
    Output,
    File(PathBuf),
}

/// A file is named before the working directory becomes the project's.
pub(super) fn parse(text: &str) -> io::Result<Target> {
    Ok(match text {
        "-" => Target::Output,
        path => Target::File(std::path::absolute(path)?),
    })
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Output => f.write_str("standard output"),
            Self::File(path) => write!(f, "\"{}\"", path.display()),
        }
    }
}

impl Target {
    /// How its name ends, in small letters.
    pub(super) fn extension(&self) -> Option<String> {
        match self {
            Self::Output => None,
            Self::File(path) => Some(path.extension()?.to_str()?.to_ascii_lowercase()),
        }
    }

    /// Refuses what could not be written, before a row is read.
    pub(super) fn check(&self, format: Format) -> Result<(), Error> {
        match self {
            Self::Output => {
                let is_text = matches!(format, Format::Csv(_));
                if is_text || !output::is_terminal() {
                    return Ok(());
                }
                Err(
                    Error::invalid(format!(".{} is nothing for a terminal", format.extension()))
                        .hint("Name a file at --out, or send standard output to one."),
                )
            }
            Self::File(path) => {
                let folder = path.parent().unwrap_or(Path::new("/"));
                if !folder.is_dir() {
                    return Err(Error::new(
                        ErrorKind::NotFound,
                        format!("there is no folder \"{}\"", folder.display()),
                    )
                    .hint("Make it first, or name another at --out."));
                }
                // What is renamed over a device or a pipe takes its place.
                if path.exists() && !path.is_file() {
                    return Err(Error::invalid(format!("{self} is no file"))
                        .hint("Name a file at --out, or `-` for standard output."));
                }
                Ok(())
            }
        }
    }

    /// Writes all of it. A file has its name when it is whole, and not before.
    pub(super) async fn fill(
        &self,
        chunks: impl Stream<Item = anyhow::Result<Bytes>>,
    ) -> anyhow::Result<()> {
        let mut chunks = std::pin::pin!(chunks);
        let Self::File(path) = self else {
            while let Some(chunk) = chunks.next().await {
                output::bytes(&chunk?)?;
            }
            return Ok(());
        };
        let unwritten = |error: io::Error| unwritten(self, error);
        // What a link leads to is replaced, not the link.
        let path = match path.exists() {
            true => path.canonicalize().map_err(unwritten)?,
            false => path.clone(),
        };
        let beside = Beside::create(&path).map_err(unwritten)?;
        let mut length = 0;
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk?;
            let written = beside.file.write_all_at(&chunk, length);
            written.map_err(unwritten)?;
            length += chunk.len() as u64;
        }
        Ok(beside.take_the_name_of(&path).map_err(unwritten)?)
    }
}

/// A file that grows beside the one it will be, and is removed when it comes to nothing.
struct Beside {
    file: File,
    path: PathBuf,
    is_whole: bool,
}

impl Beside {
    fn create(path: &Path) -> io::Result<Self> {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{}.part", std::process::id()));
        let path = PathBuf::from(name);
        Ok(Self {
            file: created(&path)?,
            path,
            is_whole: false,
        })
    }

    fn take_the_name_of(mut self, path: &Path) -> io::Result<()> {
        self.file.sync_all()?;
        disk::rename(&self.path, path)?;
        self.is_whole = true;
        disk::sync_directory(path.parent().unwrap_or(Path::new("/")))
    }
}

/// What a process of the same number left behind is nobody's any more.
fn created(path: &Path) -> io::Result<File> {
    match File::create_private(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            disk::remove_file(path)?;
            File::create_private(path)
        }
        created => created,
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        if !self.is_whole {
            // Whoever could not be written may not be removed either.
            let _ = disk::remove_file(&self.path);
        }
    }
}

fn unwritten(target: &Target, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            ErrorKind::PermissionDenied
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::ResourceExhausted,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("could not write {target}"))
        .hint("The folder must be one that this user may write, with room for the file.")
        .caused_by(error)
}
