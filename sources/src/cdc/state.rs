use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use changes::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

use crate::postgres::Lsn;

/// What a slot cannot say, in a file that survives a power cut.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    kept: Kept,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    /// `system_identifier` of the server, and the database: another one has other positions.
    source: Option<String>,
    /// The slot that was seen or made there.
    slot: Option<String>,
    generation: u64,
    /// By `schema.table`: the position as of which it is loaded.
    tables: BTreeMap<String, Loaded>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Loaded {
    as_of: u64,
    /// It has left the publication since: changes may have been missed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    left: bool,
}

impl State {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let kept = match std::fs::read(path) {
            Ok(text) => serde_json::from_slice(&text).map_err(|error| {
                Error::new(
                    ErrorKind::Corrupt,
                    format!("\"{}\" is damaged", path.display()),
                )
                .hint("Run sportlake cdc --new-generation: it loads every table again.")
                .caused_by(error)
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(unusable(path, error)),
        };
        Ok(Self {
            path: path.to_owned(),
            kept,
        })
    }

    /// Begins again, above every generation so far. A damaged file counts as none.
    pub(super) fn begin_generation(path: &Path, at_least: u64) -> Result<Self> {
        let last = Self::open(path).map_or(0, |state| state.kept.generation);
        let mut state = Self {
            path: path.to_owned(),
            kept: Kept {
                generation: last.saturating_add(1).max(at_least),
                ..Kept::default()
            },
        };
        state.save()?;
        Ok(state)
    }

    pub(super) fn generation(&self) -> u64 {
        self.kept.generation
    }

    pub(super) fn source(&self) -> Option<&str> {
        self.kept.source.as_deref()
    }

    pub(super) fn knows_slot(&self, slot: &str) -> bool {
        self.kept.slot.as_deref() == Some(slot)
    }

    pub(super) fn began(&mut self, source: &str, slot: &str) -> Result<()> {
        let (source, slot) = (Some(source.to_owned()), Some(slot.to_owned()));
        if self.kept.source == source && self.kept.slot == slot {
            return Ok(());
        }
        (self.kept.source, self.kept.slot) = (source, slot);
        self.save()
    }

    /// As of which position a table is loaded.
    pub(super) fn loaded(&self, table: &str) -> Option<Lsn> {
        let loaded = self.kept.tables.get(table).filter(|loaded| !loaded.left)?;
        Some(Lsn(loaded.as_of))
    }

    /// Whether the topic may hold rows that are gone, and whose deletes are in no log.
    pub(super) fn is_stale(&self, table: &str) -> bool {
        self.kept.generation > 0
            || self
                .kept
                .tables
                .get(table)
                .is_some_and(|loaded| loaded.left)
    }

    pub(super) fn load(&mut self, table: &str, as_of: Lsn) -> Result<()> {
        let loaded = Loaded {
            as_of: as_of.0,
            left: false,
        };
        self.kept.tables.insert(table.to_owned(), loaded);
        self.save()
    }

    /// Remembers which tables are no longer published.
    pub(super) fn keep(&mut self, published: impl Fn(&str) -> bool) -> Result<()> {
        let before = self.kept.tables.clone();
        for (table, loaded) in &mut self.kept.tables {
            loaded.left |= !published(table);
        }
        if self.kept.tables == before {
            Ok(())
        } else {
            self.save()
        }
    }

    fn save(&mut self) -> Result<()> {
        let text = serde_json::to_vec_pretty(&self.kept)
            .map_err(|error| Error::new(ErrorKind::Internal, "no JSON").caused_by(error))?;
        let folder = self
            .path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        folder
            .map_or(Ok(()), disk::create_directory)
            .and_then(|()| disk::replace_file(&self.path, &text))
            .map_err(|error| unusable(&self.path, error))
    }
}

fn unusable(path: &Path, error: std::io::Error) -> Error {
    let kind = match error.kind() {
        std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
        _ => ErrorKind::Unavailable,
    };
    Error::new(kind, format!("could not use \"{}\"", path.display()))
        .hint("cdc.state names a file that this user may write.")
        .caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_loaded_stays_known_until_it_leaves() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep").join("cdc.json");
        let mut state = State::open(&path).expect("none yet");
        state.began("7/db", "slot").expect("kept");
        state.load("public.a", Lsn(5)).expect("kept");
        let mut state = State::open(&path).expect("there");
        assert!(state.knows_slot("slot") && !state.knows_slot("other"));
        assert_eq!(state.loaded("public.a"), Some(Lsn(5)));
        assert!(!state.is_stale("public.a"));
        state.keep(|_| false).expect("kept");
        assert_eq!(state.loaded("public.a"), None);
        assert!(state.is_stale("public.a"));
    }

    #[test]
    fn a_damaged_file_is_refused_until_a_generation_begins() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cdc.json");
        disk::create_file(&path, b"{").expect("written");
        let error = State::open(&path).expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        assert_eq!(
            State::begin_generation(&path, 1)
                .expect("begun")
                .generation(),
            1
        );
        assert_eq!(
            State::begin_generation(&path, 1)
                .expect("begun")
                .generation(),
            2
        );
    }
}
