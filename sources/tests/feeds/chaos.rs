//! What is written wrong changes nothing for who reads by the rules.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use changes::Envelope;
use sources::generator::{Chaos, GeneratorConfig, GeneratorReport, Progress, run};
use sources::hr::Workbook;
use tokio_util::sync::CancellationToken;

use crate::kafka::{Kafka, RawMessage, clock};

const LIVE: u64 = 3000;

/// Plays a load and some live changes, of the sample's employees, on topics that have none.
async fn play(chaos: Chaos) -> (Vec<RawMessage>, GeneratorReport) {
    let directory = tempfile::tempdir().expect("a directory");
    let kafka = Kafka::start(directory.path()).await;
    let config = GeneratorConfig {
        days: 60,
        rate: 20_000.0,
        employees: Some(Arc::new(Workbook::sample().expect("the sample"))),
        chaos,
        ..GeneratorConfig::default()
    };
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let progress = move |progress| {
        if matches!(progress, Progress::Live { published } if published >= LIVE) {
            stop.cancel();
        }
    };
    let (topics, allocator) = (&kafka.config, &kafka.allocator);
    let report = run(topics, allocator, config, clock(), shutdown, progress).await;
    let messages = kafka.raw_messages("sport_activities").await;
    kafka.stop().await;
    (messages, report.expect("played"))
}

fn lsn(message: &RawMessage) -> Option<i64> {
    Envelope::parse(message.value.as_deref()?).ok()?.source_lsn
}

/// The current rows by key, of the changes up to a position: of each key the one with the highest.
fn rows(messages: &[RawMessage], up_to: i64) -> BTreeMap<Vec<u8>, String> {
    let mut newest: BTreeMap<Vec<u8>, (i64, Option<String>)> = BTreeMap::new();
    for message in messages {
        let (Some(key), Some(lsn)) = (&message.key, lsn(message)) else {
            continue;
        };
        let value = message.value.as_deref().expect("with a position");
        let after = Envelope::parse(value).expect("with a position").after;
        let row = (lsn, after.map(|after| after.get().to_owned()));
        let known = newest.get(key).map_or(i64::MIN, |(known, _)| *known);
        if lsn <= up_to && lsn >= known {
            newest.insert(key.clone(), row);
        }
    }
    let current = newest.into_iter();
    current
        .filter_map(|(key, (_, row))| Some((key, row?)))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chaotic_run_is_the_plain_one_to_who_reads_by_the_rules() {
    let plain = Chaos {
        updates: Chaos::TYPICAL.updates,
        deletes: Chaos::TYPICAL.deletes,
        ..Chaos::default()
    };
    let (plain, told) = play(plain).await;
    assert_eq!(told.mishaps, Default::default());
    let (chaotic, report) = play(Chaos::TYPICAL).await;
    let ends = [&plain, &chaotic].map(|run| run.iter().filter_map(lsn).max().expect("changes"));
    let both = ends.into_iter().min().expect("two");
    let (expected, found) = (rows(&plain, both), rows(&chaotic, both));
    assert!(expected.len() > 2000, "{}", expected.len());
    assert!(expected == found, "the rows differ");

    let values = |run: &[RawMessage]| -> Vec<Vec<u8>> {
        run.iter().filter_map(|m| m.value.clone()).collect()
    };
    let (changes, rubbish): (Vec<_>, Vec<_>) = values(&chaotic)
        .into_iter()
        .partition(|value| Envelope::parse(value).is_ok());
    assert_eq!(rubbish.len() as u64, report.mishaps.malformed);
    let mut times: HashMap<&[u8], u64> = HashMap::new();
    for value in &changes {
        *times.entry(value).or_default() += 1;
    }
    let twice: u64 = times.values().map(|times| times - 1).sum();
    assert_eq!(twice, report.mishaps.duplicates);
    assert_eq!(report.acknowledged, chaotic.len() as u64);
    assert_eq!(report.unacknowledged, 0);
    let sent = report.backfill as u64 + 1 + report.live;
    assert_eq!(times.len() as u64, sent, "each change is there");

    let shares = [
        (report.mishaps.duplicates, 2),
        (report.mishaps.late, 5),
        (report.mishaps.malformed, 1),
    ];
    for (count, percent) in shares {
        let expected = sent * percent / 100;
        assert!(count.abs_diff(expected) < expected, "{count} of {expected}");
    }
    assert!(inversions(&chaotic) > report.mishaps.late / 4);
    assert_eq!(inversions(&plain), 0);
}

/// Messages behind one of their partition that came later.
fn inversions(messages: &[RawMessage]) -> u64 {
    let mut highest: HashMap<i32, i64> = HashMap::new();
    let mut count = 0;
    for message in messages {
        if let Some(lsn) = lsn(message) {
            let highest = highest.entry(message.partition).or_default();
            count += u64::from(lsn < *highest);
            *highest = lsn.max(*highest);
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread")]
async fn one_seed_gives_one_chaos() {
    let (one, _) = play(Chaos::TYPICAL).await;
    let (other, _) = play(Chaos::TYPICAL).await;
    for partition in 0..3 {
        let of = |run: &[RawMessage]| -> Vec<RawMessage> {
            let messages = run.iter().filter(|m| m.partition == partition);
            messages.cloned().collect()
        };
        let (one, other) = (of(&one), of(&other));
        // What is late at the end comes when the run is over.
        let length = (one.len().min(other.len())).saturating_sub(100);
        assert!(length > 500, "{length}");
        assert!(one[..length] == other[..length], "partition {partition}");
    }
}
