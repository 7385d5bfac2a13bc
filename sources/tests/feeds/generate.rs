use std::collections::{BTreeMap, HashSet};

use changes::{BACKFILL_COMPLETE, ErrorKind};
use sources::generator::{GeneratorConfig, GeneratorReport, Progress, run};
use sources::hr::{ImportOptions, Workbook, import};
use tokio_util::sync::CancellationToken;

use crate::import::import_sample;
use crate::kafka::{Kafka, Message, clock};

fn config(rate: f64) -> GeneratorConfig {
    GeneratorConfig {
        days: 60,
        rate,
        ..GeneratorConfig::default()
    }
}

async fn play(kafka: &Kafka, rate: f64) -> GeneratorReport {
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let progress = move |progress| {
        if matches!(progress, Progress::Live { published } if published >= 300) {
            stop.cancel();
        }
    };
    run(
        &kafka.config,
        &kafka.allocator,
        config(rate),
        clock(),
        shutdown,
        progress,
    )
    .await
    .expect("played")
}

/// Plays until so many events are published and then vanishes, as a process that is killed does.
async fn play_and_vanish(kafka: &Kafka, events: usize) {
    let (vanish, vanished) = tokio::sync::watch::channel(());
    let progress = move |progress| {
        if matches!(progress, Progress::Backfill { done, .. } if done >= events) {
            vanish.send_replace(());
        }
    };
    let mut vanished = vanished;
    let playing = run(
        &kafka.config,
        &kafka.allocator,
        config(0.0),
        clock(),
        CancellationToken::new(),
        progress,
    );
    tokio::select! {
        report = playing => unreachable!("it should have vanished: {report:?}"),
        changed = vanished.changed() => changed.expect("a change"),
    }
}

#[track_caller]
fn assert_no_change_twice(messages: &[Message]) {
    let events = messages
        .iter()
        .filter(|message| message.op() != "tombstone");
    let mut seen = HashSet::new();
    for message in events.filter(|message| message.op() != "u") {
        assert!(seen.insert((message.id(), message.op())), "{message:?}");
    }
}

/// The current rows, by key.
fn rows(messages: &[Message]) -> BTreeMap<i64, String> {
    let mut rows = BTreeMap::new();
    for message in messages {
        match message.op() {
            "c" | "u" => rows.insert(message.id(), message.value["after"].to_string()),
            _ => rows.remove(&message.id()),
        };
    }
    rows
}

fn markers(messages: &[Message]) -> usize {
    let kind = |message: &Message| message.value["after"]["type_activite"].clone();
    messages
        .iter()
        .filter(|m| kind(m) == BACKFILL_COMPLETE)
        .count()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_year_is_played_once_and_ids_go_on() {
    let directory = tempfile::tempdir().expect("a directory");
    let kafka = Kafka::start(directory.path()).await;
    import_sample(&kafka).await;
    let first = play(&kafka, 0.0).await;
    assert!(first.complete && first.backfill > 1000, "{first:?}");
    let loaded = kafka.messages("sport_activities").await;
    assert_eq!(markers(&loaded), 1);
    assert_eq!(
        loaded
            .iter()
            .map(|m| m.partition)
            .collect::<HashSet<_>>()
            .len(),
        3
    );

    let again = play(&kafka, 0.0).await;
    assert_eq!((again.backfill, again.live, again.complete), (0, 0, true));
    assert_eq!(kafka.messages("sport_activities").await.len(), loaded.len());

    for _ in 0..2 {
        let live = play(&kafka, 2000.0).await;
        assert!(live.backfill == 0 && live.live >= 300, "{live:?}");
    }
    let all = kafka.messages("sport_activities").await;
    assert_eq!(markers(&all), 1);
    assert_no_change_twice(&all);
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_cut_off_goes_on_to_the_same_rows() {
    let whole = {
        let directory = tempfile::tempdir().expect("a directory");
        let kafka = Kafka::start(directory.path()).await;
        import_sample(&kafka).await;
        play(&kafka, 0.0).await;
        let whole = kafka.messages("sport_activities").await;
        kafka.stop().await;
        whole
    };
    let directory = tempfile::tempdir().expect("a directory");
    let kafka = Kafka::start(directory.path()).await;
    import_sample(&kafka).await;
    play_and_vanish(&kafka, 500).await;
    play_and_vanish(&kafka, 1000).await;
    kafka.stop().await;

    let kafka = Kafka::start(directory.path()).await;
    let rest = play(&kafka, 0.0).await;
    assert!(rest.complete && rest.backfill > 0);
    let pieces = kafka.messages("sport_activities").await;
    assert_no_change_twice(&pieces);
    assert_eq!(rows(&pieces), rows(&whole));
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_cut_off_goes_on_when_people_came_and_went() {
    let directory = tempfile::tempdir().expect("a directory");
    let kafka = Kafka::start(directory.path()).await;
    import_sample(&kafka).await;
    play_and_vanish(&kafka, 500).await;
    let mut workbook = Workbook::sample().expect("the sample");
    let gone = workbook.employees.pop().expect("somebody").id;
    let options = ImportOptions::default();
    import(&kafka.config, &kafka.allocator, workbook, options, clock())
        .await
        .expect("imported");
    let before = kafka.messages("sport_activities").await.len();
    assert!(play(&kafka, 0.0).await.complete);
    let all = kafka.messages("sport_activities").await;
    assert_no_change_twice(&all);
    assert_eq!(markers(&all), 1);
    assert!(all.len() > before);
    let rows = rows(&all);
    let starts: HashSet<(i64, i64)> = all
        .iter()
        .filter(|message| message.op() == "c")
        .filter_map(|message| {
            let row = &message.value["after"];
            Some((row["employee_id"].as_i64()?, row["date_debut"].as_i64()?))
        })
        .collect();
    let creates = all.iter().filter(|message| message.op() == "c").count();
    assert_eq!(
        starts.len(),
        creates,
        "no activity was played under two ids"
    );
    let of_the_leaver = format!("\"employee_id\":{gone},");
    let ids = rows.iter().filter(|(_, row)| row.contains(&of_the_leaver));
    assert!(ids.count() <= 500);
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_employees_there_is_a_hint() {
    let directory = tempfile::tempdir().expect("a directory");
    let kafka = Kafka::start(directory.path()).await;
    let shutdown = CancellationToken::new();
    let played = run(
        &kafka.config,
        &kafka.allocator,
        config(0.0),
        clock(),
        shutdown,
        |_| {},
    );
    let error = played.await.expect_err("nobody");
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("hr import"))
    );
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_does_not_wait_for_a_broker_that_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let kafka = Kafka::start(directory.path()).await;
    import_sample(&kafka).await;
    let (settings, allocator) = (kafka.config.clone(), kafka.allocator.clone());
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    let (live, mut is_live) = tokio::sync::watch::channel(());
    let progress = move |progress| {
        if matches!(progress, Progress::Live { .. }) {
            live.send_replace(());
        }
    };
    let playing = tokio::spawn(async move {
        run(
            &settings,
            &allocator,
            config(2000.0),
            clock(),
            stop,
            progress,
        )
        .await
    });
    is_live.changed().await.expect("live");
    kafka.stop().await;
    shutdown.cancel();
    // Between two ticks it ends well; with events on their way it gives them up. Either way it ends.
    if let Err(error) = playing.await.expect("it ends") {
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    }
}
