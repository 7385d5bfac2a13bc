use std::fs::TryLockError;
use std::io::{self, Read, Seek};
use std::path::PathBuf;

use disk::File;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::lake::Lake;

/// The two writers of a lake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Alone writes bronze.
    Ingest,
    /// Alone writes silver, gold, epochs and project texts.
    Refresh,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Refresh => "refresh",
        }
    }
}

/// The right to write as one role, until dropped. The kernel frees it when the process ends, however it ends.
#[derive(Debug)]
pub struct Lease {
    /// None where nothing can be written that another would read.
    _lock: Option<File>,
    path: PathBuf,
    role: Role,
    term: u64,
}

impl Lease {
    /// Takes the role's lease and raises its term.
    ///
    /// # Errors
    /// `Conflict` when another process holds it.
    pub fn acquire(lake: &Lake, role: Role) -> Result<Self> {
        match Self::open(lake, role)? {
            Ok(lease) => Ok(lease),
            Err(file) => {
                let holder = holder(&file).map_or_else(
                    || "another process".to_owned(),
                    |(_, pid)| format!("process {pid}"),
                );
                Err(Error::new(
                    ErrorKind::Conflict,
                    format!(
                        "{holder} already writes this lake as {}: \"{}\"",
                        role.as_str(),
                        lake.root().display()
                    ),
                )
                .hint("Stop that process first, or point lake.uri at another directory. Reading commands work beside it."))
            }
        }
    }

    /// Takes the role's lease when nobody holds it.
    pub fn try_acquire(lake: &Lake, role: Role) -> Result<Option<Self>> {
        Ok(Self::open(lake, role)?.ok())
    }

    /// The lease, or the file of whoever holds it.
    fn open(lake: &Lake, role: Role) -> Result<std::result::Result<Self, File>> {
        let directory = lake.root().join("_leases");
        disk::create_directory(&directory).map_err(unavailable)?;
        let file = File::open_or_create(&directory.join(role.as_str())).map_err(unavailable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Err(file)),
            Err(TryLockError::Error(error)) => return Err(unavailable(error)),
        }
        let term = holder(&file).map_or(0, |(term, _)| term) + 1;
        write_holder(&file, term)
            // A term that a power cut took back would be lower than those of the intents that are there.
            .and_then(|()| disk::sync_directory(&directory))
            .map_err(unavailable)?;
        Ok(Ok(Self {
            _lock: Some(file),
            role,
            term,
            path: directory.join(role.as_str()),
        }))
    }

    /// Whether this is still the newest holder.
    ///
    /// # Errors
    /// `Conflict` when a later one took the lease: nothing more may be written.
    pub(crate) fn verify(&self) -> Result<()> {
        let newest = match std::fs::File::open(&self.path) {
            Ok(file) => holder(&file).map(|(term, _)| term),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(unavailable(error)),
        };
        match newest {
            Some(newest) if newest > self.term => Err(Error::new(
                ErrorKind::Conflict,
                format!(
                    "the {} lease was taken in term {newest}, this process holds term {}",
                    self.role.as_str(),
                    self.term
                ),
            )
            .hint("Another process writes this lake; nothing of this one is lost.")),
            _ => Ok(()),
        }
    }

    /// The role in a lake whose writes go nowhere.
    pub(crate) fn rehearsing(role: Role) -> Self {
        Self {
            _lock: None,
            path: PathBuf::new(),
            role,
            term: u64::MAX,
        }
    }

    /// Rises by one each time the lease is taken.
    pub fn term(&self) -> u64 {
        self.term
    }

    pub fn role(&self) -> Role {
        self.role
    }
}

/// Term and pid that the lease file names. The pid is for messages only.
fn holder(mut file: &std::fs::File) -> Option<(u64, u32)> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.take(128).read_to_string(&mut text).ok()?;
    let mut words = text.split_whitespace();
    let term = words.next()?.parse().ok()?;
    let pid = words.next()?.parse().ok()?;
    Some((term, pid))
}

/// A fixed width, so that the line is overwritten in place and a cut write never shortens the term.
fn write_holder(file: &File, term: u64) -> io::Result<()> {
    let line = format!("{term:020} {:010}\n", std::process::id());
    file.write_all_at(line.as_bytes(), 0)?;
    file.sync_all()
}

fn unavailable(source: io::Error) -> Error {
    Error::new(ErrorKind::Unavailable, "could not take the lake's lease").caused_by(source)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lake::LakeConfig;

    #[tokio::test]
    async fn one_holder_at_a_time_and_a_rising_term() {
        let directory = tempfile::tempdir().expect("a directory");
        let uri = directory.path().join("lake").display().to_string();
        let lake = Lake::open(&LakeConfig { uri }).await.expect("a lake");
        let first = Lease::acquire(&lake, Role::Ingest).expect("free");
        let refused = Lease::acquire(&lake, Role::Ingest).expect_err("held");
        assert_eq!(refused.kind(), ErrorKind::Conflict);
        assert!(
            refused
                .to_string()
                .contains(&std::process::id().to_string())
        );
        Lease::acquire(&lake, Role::Refresh).expect("another role");
        drop(first);
        let second = Lease::acquire(&lake, Role::Ingest).expect("freed");
        assert_eq!(second.term(), 2);
    }
}
