use std::collections::BTreeMap;

use super::*;
use crate::{File, create_directory, hard_link, make_directory, remove_file, rename};
use crate::{replace_file, sync_directory};

/// Records what a test does, and lays out what is left of it.
struct Rehearsal {
    live: tempfile::TempDir,
    recorder: Arc<Recorder>,
    _watching: Watching,
}

impl Rehearsal {
    fn new() -> Self {
        let live = tempfile::tempdir().expect("a directory");
        let (recorder, watching) = Recorder::begin(live.path()).expect("recording");
        Self {
            live,
            recorder,
            _watching: watching,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.live.path().join(name)
    }

    fn left(&self, survival: Survival) -> BTreeMap<PathBuf, String> {
        let recording = self.recorder.recording();
        let into = tempfile::tempdir().expect("a directory");
        let end = *recording.moments().end();
        recording
            .restore(end, survival, into.path())
            .expect("laid out");
        let mut found = Vec::new();
        walk(into.path(), Path::new(""), &mut found).expect("readable");
        let text = |content: Option<Vec<u8>>| String::from_utf8(content.unwrap_or_default());
        found
            .into_iter()
            .map(|(path, content)| (path, text(content).expect("text")))
            .collect()
    }
}

fn names(left: &BTreeMap<PathBuf, String>) -> Vec<(&str, &str)> {
    left.iter()
        .map(|(path, text)| (path.to_str().expect("UTF-8"), text.as_str()))
        .collect()
}

#[test]
fn what_is_not_synced_is_gone() {
    let rehearsal = Rehearsal::new();
    let file = File::create(&rehearsal.path("a")).expect("created");
    file.write_all_at(b"first", 0).expect("written");
    assert!(rehearsal.left(Survival::Synced).is_empty());
    file.sync_all().expect("synced");
    assert!(rehearsal.left(Survival::Synced).is_empty(), "no name");
    sync_directory(rehearsal.live.path()).expect("synced");
    file.write_all_at(b"F", 0).expect("written");
    assert_eq!(names(&rehearsal.left(Survival::Synced)), [("a", "first")]);
    assert_eq!(
        names(&rehearsal.left(Survival::Everything)),
        [("a", "First")]
    );
}

#[test]
fn a_name_may_last_without_its_content() {
    let rehearsal = Rehearsal::new();
    let file = File::create(&rehearsal.path("a")).expect("created");
    file.write_all_at(b"lost", 0).expect("written");
    hard_link(&rehearsal.path("a"), &rehearsal.path("b")).expect("linked");
    remove_file(&rehearsal.path("a")).expect("removed");
    sync_directory(rehearsal.live.path()).expect("synced");
    assert_eq!(names(&rehearsal.left(Survival::Synced)), [("b", "")]);
    assert_eq!(
        names(&rehearsal.left(Survival::Everything)),
        [("b", "lost")]
    );
}

#[test]
fn what_is_replaced_as_a_whole_is_old_or_new() {
    let rehearsal = Rehearsal::new();
    let path = rehearsal.path("a");
    replace_file(&path, b"old").expect("replaced");
    replace_file(&path, b"new").expect("replaced");
    let recording = rehearsal.recorder.recording();
    let first = recording
        .moments()
        .find(|moment| recording.describe(*moment).starts_with("DirectorySyncEnds"))
        .expect("synced");
    for moment in first..=*recording.moments().end() {
        for seed in 0..20 {
            let into = tempfile::tempdir().expect("a directory");
            recording
                .restore(moment, Survival::Chance(seed), into.path())
                .expect("laid out");
            let text = fs::read_to_string(into.path().join("a")).expect("there");
            assert!(["old", "new"].contains(&text.as_str()), "{text:?}");
        }
    }
}

#[test]
fn a_directory_moves_with_what_was_synced_in_it() {
    let rehearsal = Rehearsal::new();
    for name in ["staging", "topics"] {
        create_directory(&rehearsal.path(name)).expect("made");
    }
    make_directory(&rehearsal.path("staging/t")).expect("made");
    replace_file(&rehearsal.path("staging/t/kept"), b"kept").expect("written");
    File::create(&rehearsal.path("staging/t/lost")).expect("created");
    rename(&rehearsal.path("staging/t"), &rehearsal.path("topics/t")).expect("moved");
    let gone = [("staging", ""), ("topics", "")];
    assert_eq!(names(&rehearsal.left(Survival::Synced)), gone);
    sync_directory(&rehearsal.path("topics")).expect("synced");
    assert_eq!(
        names(&rehearsal.left(Survival::Synced)),
        [
            ("staging", ""),
            ("topics", ""),
            ("topics/t", ""),
            ("topics/t/kept", "kept")
        ]
    );
}
