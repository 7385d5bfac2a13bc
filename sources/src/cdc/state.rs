use std::collections::BTreeMap;
use std::fs::TryLockError;
use std::path::{Path, PathBuf};

use changes::{Error, ErrorKind, Result};
use disk::File;
use serde::{Deserialize, Serialize};

use super::catalogue::Published;
use super::slot::{Slot, Timeline};
use crate::postgres::Lsn;

/// What a slot cannot say, in a file that survives a power cut.
#[derive(Debug)]
pub(super) struct State {
    path: PathBuf,
    kept: Kept,
    /// What `reached` could be at least.
    highest: u64,
}

/// Between what and what changes are carried.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Route {
    /// `system_identifier` of the server, and the database: another one has other positions.
    pub(super) source: String,
    /// Of the server's history; a server that takes over begins another one.
    pub(super) timeline: u32,
    pub(super) slot: String,
    /// First part of the topics' names.
    pub(super) prefix: String,
    /// The cluster of the brokers, where it is known.
    pub(super) cluster: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    source: Option<String>,
    /// The slot that was seen or made there.
    slot: Option<String>,
    #[serde(default)]
    prefix: Option<String>,
    #[serde(default)]
    cluster: Option<String>,
    generation: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timeline: Option<u32>,
    /// Nothing beyond it was written to Kafka, or acknowledged to PostgreSQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reached: Option<u64>,
    /// By `schema.table`: the position as of which it is loaded.
    tables: BTreeMap<String, Loaded>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Loaded {
    as_of: u64,
    /// Another table of that name has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    oid: Option<u32>,
    /// What of it was published; another part of its rows or columns is loaded anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    part: Option<u32>,
    /// Its place in the publication; who left it and came back has another one, and changes are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    member: Option<u64>,
    /// Its partitions; of one that goes no deletes are told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    partitions: Vec<u32>,
    /// It was not captured for a while since: changes may have been missed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    left: bool,
}

/// How far `reached` is raised at once, so that it is not written for each change: about a segment of the log.
const STEP: u64 = 16 << 20;
const AGAIN: &str =
    "sportlake cdc --new-generation loads every table again, above everything written before";

/// Keeps every other capture away from the state for as long as it lives.
pub(super) struct Held {
    _lock: File,
}

/// The kernel frees it with the process.
pub(super) fn hold(path: &Path) -> Result<Held> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    create_folder(path)?;
    let lock = File::open_or_create(Path::new(&name)).map_err(|error| unusable(path, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(Held { _lock: lock }),
        Err(TryLockError::WouldBlock) => Err(Error::new(
            ErrorKind::Conflict,
            format!("another capture is at work with \"{}\"", path.display()),
        )
        .hint("Stop the other sportlake cdc, or the sportlake up that captures; or name another file in cdc.state and another slot in cdc.slot.")),
        Err(TryLockError::Error(error)) => Err(unusable(path, error)),
    }
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
            highest: kept.reached.unwrap_or(0),
            kept,
        })
    }

    /// Begins again, above every generation so far. A damaged file counts as none.
    pub(super) fn begin_generation(path: &Path, at_least: u64) -> Result<Self> {
        let mut state = Self::next(path, at_least);
        state.save()?;
        Ok(state)
    }

    /// What would begin then. The clock's number is the least, so that a lost file does not bring an earlier one again.
    pub(super) fn next(path: &Path, at_least: u64) -> Self {
        let last = Self::open(path).map_or(0, |state| state.kept.generation);
        Self {
            path: path.to_owned(),
            kept: Kept {
                generation: last.saturating_add(1).max(at_least),
                ..Kept::default()
            },
            highest: 0,
        }
    }

    pub(super) fn generation(&self) -> u64 {
        self.kept.generation
    }

    /// Whether anything was captured with it.
    pub(super) fn has_begun(&self) -> bool {
        self.kept.source.is_some()
    }

    /// Refuses to go on between others than so far, or without the slot.
    pub(super) fn check(&self, route: &Route, slot_exists: bool) -> Result<()> {
        let differs = |known: &Option<String>, now: &str| {
            known.as_ref().filter(|known| *known != now).cloned()
        };
        if differs(&self.kept.source, &route.source).is_some() {
            return Err(Error::new(
                ErrorKind::Conflict,
                "this is another server, or another database, than the one captured so far",
            )
            .hint(format!(
                "If that is right (a restore, a new server): {AGAIN}."
            )));
        }
        let path = self.path.display();
        if let Some(known) = differs(&self.kept.slot, &route.slot) {
            let message = format!(
                "slot \"{}\" is another than \"{known}\", which the changes so far came from",
                route.slot
            );
            return Err(Error::new(ErrorKind::Conflict, message).hint(format!(
                "Set cdc.slot back to \"{known}\", or name another file than \"{path}\" in cdc.state; {AGAIN}."
            )));
        }
        if let Some(known) = differs(&self.kept.prefix, &route.prefix) {
            let message = format!(
                "the prefix \"{}\" is another than \"{known}\", which the changes so far went to",
                route.prefix
            );
            return Err(Error::new(ErrorKind::Conflict, message).hint(format!(
                "Set kafka.prefix back to \"{known}\", or name another file than \"{path}\" in cdc.state and another slot; {AGAIN}."
            )));
        }
        if let Some(cluster) = &route.cluster
            && let Some(known) = differs(&self.kept.cluster, cluster)
        {
            let message = format!(
                "the Kafka cluster \"{cluster}\" is another than \"{known}\", which the changes so far went to"
            );
            return Err(Error::new(ErrorKind::Conflict, message).hint(format!(
                "Set kafka.brokers back to that cluster, or name another file than \"{path}\" in cdc.state and another slot; {AGAIN}."
            )));
        }
        if self.kept.slot.is_some() && !slot_exists {
            return Err(Error::new(
                ErrorKind::Corrupt,
                format!(
                    "slot \"{}\" is gone: the server failed over to a standby, was restored, or somebody dropped it",
                    route.slot
                ),
            )
            .hint(format!("Changes may be missing: {AGAIN}.")));
        }
        Ok(())
    }

    /// Refuses a slot that is further than it was moved from here: what lies between was never seen.
    pub(super) fn check_position(&self, slot: &Slot) -> Result<()> {
        let reached = self.kept.reached.map(Lsn);
        let (Some(name), Some(reached)) = (&self.kept.slot, reached) else {
            return Ok(());
        };
        if slot.confirmed <= reached {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Corrupt,
            format!(
                "slot \"{name}\" stands at {}, and what was captured ends at {reached}: somebody made it anew or moved it, \
                 or the server failed over",
                slot.confirmed
            ),
        )
        .hint(format!("Changes may be missing: {AGAIN}.")))
    }

    /// The timeline that was captured so far, where the server is on another one by now.
    pub(super) fn left_timeline(&self, now: u32) -> Option<u32> {
        self.kept.timeline.filter(|known| *known != now)
    }

    /// Refuses a server that went another way before the position that was reached.
    pub(super) fn check_history(&self, left: u32, history: &[Timeline]) -> Result<()> {
        let end = history.iter().find(|timeline| timeline.id == left);
        let reached = self.kept.reached.unwrap_or(u64::MAX);
        if end.is_some_and(|timeline| timeline.end.0 >= reached) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Corrupt,
            "the server failed over, or was restored, to a state that may lack changes captured so far",
        )
        .hint(format!("Topics and tables may differ: {AGAIN}.")))
    }

    /// To be called before anything of that position is written or acknowledged.
    pub(super) fn reach(&mut self, position: Lsn) -> Result<()> {
        self.highest = self.highest.max(position.0);
        if self
            .kept
            .reached
            .is_some_and(|reached| position.0 <= reached)
        {
            return Ok(());
        }
        self.kept.reached = Some(position.0.saturating_add(STEP));
        self.save()
    }

    /// Takes back what was raised and not needed.
    pub(super) fn settle(&mut self) -> Result<()> {
        let before = self.kept.clone();
        if self.kept.reached.is_some() {
            self.kept.reached = Some(self.highest);
        }
        self.save_unless(&before)
    }

    pub(super) fn began(&mut self, route: &Route, safe: Lsn) -> Result<()> {
        let before = self.kept.clone();
        self.highest = self.highest.max(safe.0);
        self.kept.reached = self.kept.reached.max(Some(safe.0));
        self.kept.timeline = Some(route.timeline);
        let route = route.clone();
        self.kept.source = Some(route.source);
        self.kept.slot = Some(route.slot);
        self.kept.prefix = Some(route.prefix);
        self.kept.cluster = route.cluster.or(self.kept.cluster.take());
        self.save_unless(&before)
    }

    /// As of which position a table is loaded.
    pub(super) fn loaded(&self, table: &Published) -> Option<Lsn> {
        let loaded = self.kept.tables.get(&table.name())?;
        (!loaded.left && loaded.is(table)).then_some(Lsn(loaded.as_of))
    }

    /// Whether any table is loaded and has changes to follow.
    pub(super) fn is_loaded(&self) -> bool {
        self.kept.tables.values().any(|loaded| !loaded.left)
    }

    /// Whether the topic of a table to load may hold rows that are gone, and whose deletes are in no log.
    pub(super) fn is_stale(&self, table: &str) -> bool {
        self.kept.generation > 0 || self.kept.tables.contains_key(table)
    }

    pub(super) fn load(&mut self, table: &Published, as_of: Lsn) -> Result<()> {
        let loaded = Loaded {
            as_of: as_of.0,
            oid: Some(table.oid),
            part: Some(table.part()),
            member: Some(table.member),
            partitions: table.partitions.clone(),
            left: false,
        };
        self.highest = self.highest.max(as_of.0);
        self.kept.reached = self.kept.reached.max(Some(as_of.0));
        self.kept.tables.insert(table.name(), loaded);
        self.save()
    }

    /// Has a table loaded again.
    pub(super) fn leave(&mut self, table: &Published) -> Result<()> {
        let before = self.kept.clone();
        if let Some(loaded) = self.kept.tables.get_mut(&table.name()) {
            loaded.left = true;
        }
        self.save_unless(&before)
    }

    /// Remembers which tables are no longer captured.
    pub(super) fn keep(&mut self, captured: &[Published]) -> Result<()> {
        let before = self.kept.clone();
        for (name, loaded) in &mut self.kept.tables {
            let table = captured.iter().find(|table| table.name() == *name);
            match table {
                Some(table) if loaded.is(table) => {
                    loaded.oid = Some(table.oid);
                    loaded.part = Some(table.part());
                    loaded.member = Some(table.member);
                    loaded.partitions = table.partitions.clone();
                }
                _ => loaded.left = true,
            }
        }
        self.save_unless(&before)
    }

    fn save_unless(&mut self, before: &Kept) -> Result<()> {
        if self.kept == *before {
            Ok(())
        } else {
            self.save()
        }
    }

    fn save(&mut self) -> Result<()> {
        let text = serde_json::to_vec_pretty(&self.kept)
            .map_err(|error| Error::new(ErrorKind::Internal, "no JSON").caused_by(error))?;
        create_folder(&self.path)?;
        disk::replace_file(&self.path, &text).map_err(|error| unusable(&self.path, error))
    }
}

impl Loaded {
    /// An older file does not say which table it was, or which part of it.
    fn is(&self, table: &Published) -> bool {
        let is = |known: Option<u32>, now| known.is_none_or(|known| known == now);
        let is_there = |partition: &u32| table.partitions.binary_search(partition).is_ok();
        is(self.oid, table.oid)
            && is(self.part, table.part())
            && self.member.is_none_or(|known| known == table.member)
            && self.partitions.iter().all(is_there)
    }
}

fn create_folder(path: &Path) -> Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    folder
        .map_or(Ok(()), disk::create_directory)
        .map_err(|error| unusable(path, error))
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

    fn route() -> Route {
        Route {
            source: "7/db".to_owned(),
            timeline: 1,
            slot: "slot".to_owned(),
            prefix: "shop".to_owned(),
            cluster: Some("a".to_owned()),
        }
    }

    fn begun(folder: &Path) -> State {
        let mut state = State::open(&folder.join("deep").join("cdc.json")).expect("none yet");
        assert!(!state.has_begun());
        state.check(&route(), false).expect("nothing known");
        state.began(&route(), Lsn(5)).expect("kept");
        State::open(&folder.join("deep").join("cdc.json")).expect("there")
    }

    #[test]
    fn what_is_loaded_stays_known_until_it_leaves_or_is_another() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = begun(folder.path());
        let table = |oid| Published::named(oid, "public", "a");
        state.load(&table(5), Lsn(9)).expect("kept");
        assert_eq!(state.loaded(&table(5)), Some(Lsn(9)));
        assert_eq!(state.loaded(&table(6)), None);
        state.keep(&[table(5)]).expect("kept");
        assert_eq!(state.loaded(&table(5)), Some(Lsn(9)));
        let part = Published::filtered(5, "public", "a", "(id > 3)");
        assert_eq!(state.loaded(&part), None, "other rows are published");
        state.keep(&[part]).expect("kept");
        assert_eq!(state.loaded(&table(5)), None);
        state.load(&table(5), Lsn(9)).expect("kept");
        state.keep(&[table(6)]).expect("kept");
        assert_eq!(state.loaded(&table(5)), None);
        assert!(state.is_stale("public.a") && !state.is_stale("public.b"));
    }

    #[test]
    fn a_file_that_does_not_say_which_table_it_was_learns_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cdc.json");
        let older = r#"{"source": "7/db", "slot": "slot", "generation": 0, "tables": {"public.a": {"as_of": 9}}}"#;
        disk::create_file(&path, older.as_bytes()).expect("written");
        let mut state = State::open(&path).expect("valid");
        state.check(&route(), true).expect("as far as it knows");
        state
            .keep(&[Published::named(5, "public", "a")])
            .expect("kept");
        state.began(&route(), Lsn(5)).expect("kept");
        let state = State::open(&path).expect("valid");
        assert_eq!(state.loaded(&Published::named(6, "public", "a")), None);
        let elsewhere = Route {
            prefix: "other".to_owned(),
            ..route()
        };
        state.check(&elsewhere, true).expect_err("another prefix");
    }

    #[test]
    fn what_is_another_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let state = begun(folder.path());
        state.check(&route(), true).expect("the same");
        let unknown = Route {
            cluster: None,
            ..route()
        };
        state.check(&unknown, true).expect("not known to differ");
        let gone = state.check(&route(), false).expect_err("the slot is gone");
        assert_eq!(gone.kind(), ErrorKind::Corrupt);
        let other = || "other".to_owned();
        for (route, named) in [
            (
                Route {
                    source: other(),
                    ..route()
                },
                "server",
            ),
            (
                Route {
                    slot: other(),
                    ..route()
                },
                "slot",
            ),
            (
                Route {
                    prefix: other(),
                    ..route()
                },
                "prefix",
            ),
            (
                Route {
                    cluster: Some(other()),
                    ..route()
                },
                "cluster",
            ),
        ] {
            let error = state.check(&route, true).expect_err(named);
            assert_eq!(error.kind(), ErrorKind::Conflict);
            assert!(error.to_string().contains(named), "{error}");
            let hint = error.hint_text().expect("a hint");
            assert!(hint.contains("--new-generation"), "{hint}");
        }
    }

    #[test]
    fn a_slot_that_is_further_than_was_written_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = begun(folder.path());
        let at = |position| Slot::standing_at(Lsn(position));
        state.check_position(&at(5)).expect("where it began");
        state.check_position(&at(6)).expect_err("further");
        state.reach(Lsn(100)).expect("kept");
        let path = folder.path().join("deep").join("cdc.json");
        let crashed = State::open(&path).expect("there");
        crashed
            .check_position(&at(100))
            .expect("said before it was written");
        crashed
            .check_position(&at(101 + STEP))
            .expect_err("further than any step");
        state.settle().expect("kept");
        let stopped = State::open(&path).expect("there");
        stopped.check_position(&at(100)).expect("where it ended");
        stopped.check_position(&at(101)).expect_err("further");
    }

    #[test]
    fn another_timeline_must_hold_what_was_reached() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut state = begun(folder.path());
        state.reach(Lsn(100)).expect("kept");
        state.settle().expect("kept");
        assert_eq!(state.left_timeline(1), None);
        assert_eq!(state.left_timeline(3), Some(1));
        let history = |end| {
            [
                Timeline {
                    id: 1,
                    end: Lsn(end),
                },
                Timeline {
                    id: 2,
                    end: Lsn(900),
                },
            ]
        };
        state.check_history(1, &history(100)).expect("it has all");
        for lacking in [&history(99)[..], &history(100)[1..]] {
            let error = state.check_history(1, lacking).expect_err("it may not");
            assert_eq!(error.kind(), ErrorKind::Corrupt);
        }
    }

    #[test]
    fn two_captures_do_not_share_a_state() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep").join("cdc.json");
        let held = hold(&path).expect("free");
        let error = hold(&path).err().expect("held");
        assert_eq!(error.kind(), ErrorKind::Conflict);
        drop(held);
        hold(&path).map(drop).expect("free again");
    }

    #[test]
    fn a_generation_is_above_all_before_and_the_clock() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("cdc.json");
        disk::create_file(&path, b"{").expect("written");
        let error = State::open(&path).expect_err("damaged");
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        for (clock, expected) in [(100, 100), (100, 101), (50, 102), (200, 200)] {
            let state = State::begin_generation(&path, clock).expect("begun");
            assert_eq!(state.generation(), expected);
        }
    }
}
