use disk::power_cut::{Recorder, Survival};

use super::*;

fn entries() -> Vec<Entry> {
    let intent = |id: i64| {
        Entry::Intent(Intent {
            text: format!("Bravo {id} !"),
            ids: vec![id],
            identities: vec![id],
            next: Positions::from([(0, id), (1, 7)]),
            oldest: None,
        })
    };
    let mark = Mark {
        lsn: Some(3),
        ts_ms: None,
    };
    let dead = Dead {
        ids: vec![12],
        error: "msg_too_long".to_owned(),
        at: DateTime::UNIX_EPOCH,
    };
    vec![
        Entry::Moved(Positions::from([(1, 5)]), Some(mark)),
        intent(10),
        Entry::Told,
        intent(11),
        Entry::Withdrawn,
        intent(11),
        Entry::Told,
        intent(12),
        Entry::Dead(dead),
    ]
}

/// The state after each entry, the first with none.
fn states() -> Vec<State> {
    let mut states = vec![State::default()];
    for entry in entries() {
        let mut next = states.last().cloned().unwrap_or_default();
        next.apply(entry);
        states.push(next);
    }
    states
}

#[test]
fn a_message_is_told_once_it_is_finished() {
    let last = states().pop().expect("states");
    assert_eq!(last.known, [10, 11, 12]);
    assert_eq!(last.positions, Positions::from([(0, 12), (1, 7)]));
    assert_eq!(last.intent, None);
    assert_eq!(last.dead.len(), 1);
    assert!(last.mark.is_some());
}

#[test]
fn one_process_at_a_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let held = Journal::open(folder.path()).expect("free");
    let error = Journal::open(folder.path()).err().expect("held");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    drop(held);
    Journal::open(folder.path()).expect("free again");
}

#[test]
fn what_was_stored_survives_every_power_cut() {
    let folder = tempfile::tempdir().expect("a folder");
    let (recorder, watching) = Recorder::begin(folder.path()).expect("recording");
    let mut journal = Journal::open(&folder.path().join("notify")).expect("opened");
    for (number, entry) in entries().iter().enumerate() {
        journal.store(entry).expect("stored");
        recorder.mark(number.to_string());
    }
    drop((journal, watching));
    let recording = recorder.recording();
    let states = states();
    for moment in recording.moments() {
        let chances = (0..3).map(|chance| Survival::Chance(moment as u64 * 3 + chance));
        for survival in [Survival::Synced, Survival::Everything]
            .into_iter()
            .chain(chances)
        {
            let after = tempfile::tempdir().expect("a folder");
            recording
                .restore(moment, survival, after.path())
                .expect("laid out");
            let found = Journal::open(&after.path().join("notify")).expect("opens");
            let stored = recording.marks(moment).count();
            let next = (stored + 1).min(states.len() - 1);
            let at = recording.describe(moment);
            assert!(
                [&states[stored], &states[next]].contains(&found.state()),
                "{survival:?} at {at}: {:?}",
                found.state()
            );
        }
    }
}

#[test]
fn a_torn_entry_is_none_and_the_next_takes_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::open(folder.path()).expect("opened");
    journal.store(&entries()[0]).expect("stored");
    let path = folder.path().join(FILE);
    let mut bytes = fs::read(&path).expect("bytes");
    let whole = bytes.len();
    let torn = line(&entries()[1]).expect("a line");
    bytes.extend(&torn.as_bytes()[..torn.len() - 5]);
    fs::write(&path, &bytes).expect("written");
    drop(journal);
    let mut journal = Journal::open(folder.path()).expect("opened");
    assert_eq!(journal.state(), &states()[1]);
    assert_eq!(fs::metadata(&path).expect("a file").len(), whole as u64);
    journal.store(&entries()[1]).expect("stored");
    drop(journal);
    assert_eq!(
        Journal::open(folder.path()).expect("opened").state(),
        &states()[2]
    );
}

#[test]
fn a_line_that_no_crash_tore_is_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::open(folder.path()).expect("opened");
    for entry in &entries()[..3] {
        journal.store(entry).expect("stored");
    }
    drop(journal);
    let path = folder.path().join(FILE);
    let whole = fs::read_to_string(&path).expect("a text");
    let unknown = {
        let json = r#"{"Forgotten":1}"#;
        format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes()))
    };
    for (text, line) in [
        (whole.replace("Bravo 10", "Bravo 11"), 3),
        (whole.replacen("\n", "", 1), 1),
        (format!("{whole}\n{unknown}"), 5),
        (format!("{whole}{unknown}"), 5),
    ] {
        fs::write(&path, &text).expect("written");
        for error in [
            Journal::open(folder.path()).err().expect("damaged"),
            dead_letters(folder.path()).expect_err("damaged"),
        ] {
            assert_eq!(error.kind(), ErrorKind::Corrupt);
            let said = error.to_string();
            assert!(said.starts_with(&format!("line {line} of ")), "{said}");
            assert!(error.hint_text().is_some());
        }
        assert_eq!(fs::read_to_string(&path).expect("a text"), text, "kept");
    }
    fs::write(&path, &whole).expect("mended");
    let journal = Journal::open(folder.path()).expect("opened");
    assert_eq!(journal.state(), &states()[3]);
}

#[test]
fn the_journal_stays_small_and_remembers_the_last() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut journal = Journal::open(folder.path()).expect("opened");
    let ids = |from: i64| (from..from + 1000).collect::<Vec<_>>();
    for from in (0..200_000).step_by(1000) {
        let intent = Intent {
            text: "x".repeat(3000),
            ids: ids(from),
            identities: ids(from),
            next: Positions::from([(0, from)]),
            oldest: None,
        };
        journal.store(&Entry::Intent(intent)).expect("stored");
        journal.store(&Entry::Told).expect("stored");
    }
    let length = fs::metadata(folder.path().join(FILE))
        .expect("a file")
        .len();
    assert!(length < 2 * COMPACT_ABOVE, "{length} bytes");
    assert_eq!(journal.state().known.len(), REMEMBERED);
    let expected = journal.state().clone();
    drop(journal);
    assert_eq!(
        Journal::open(folder.path()).expect("opened").state(),
        &expected
    );
}
