//! Who reads a database that somebody else has read before, or whose slot is not where it was left.

use std::time::Duration;

use changes::{Error, ErrorKind};
use serde_json::Value;
use sources::cdc::{CdcConfig, CdcOptions, Progress};

use crate::kafka::{Kafka, Message, messages, read};
use crate::node::{Capture, config};
use crate::postgres::{Database, Server};
use crate::tables::{begin, only};

fn employee(id: i64) -> String {
    format!("INSERT INTO employees (id, nom, prenom, salaire_brut) VALUES ({id}, 'a', 'a', 1);")
}

async fn arrived(kafka: &Kafka, id: i64) -> Vec<Message> {
    let there = move |found: &[Message]| found.iter().any(|message| message.key["id"] == id);
    messages(&kafka.config, "employees", there).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_between_two_readers_is_gone() {
    let Some((database, folder, kafka)) = begin("t_takeover").await else {
        return;
    };
    // As Debezium does it, or a capture whose slot and state are no more.
    let former = CdcConfig {
        slot: "t_takeover_former".to_owned(),
        state: folder.path().join("former.json"),
        ..config(&database, folder.path())
    };
    database.sql(&[1, 2].map(employee).concat());
    let mut capture = Capture::start(&database, &kafka.config, &former);
    capture.following().await;
    database.sql(&employee(3));
    arrived(&kafka, 3).await;
    capture.stop().await;
    database.sql("SELECT pg_drop_replication_slot('t_takeover_former')");
    database.sql(&format!(
        "DELETE FROM employees WHERE id <> 1; {}",
        employee(4)
    ));

    let config = config(&database, folder.path());
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    database.sql(&employee(5));
    let found = arrived(&kafka, 5).await;
    only(&found, &[1, 4, 5]);
    // A topic that nobody wrote to has nothing to forget.
    assert!(read(&kafka.config, "sportsdata.public.declared_sports").is_empty());
    capture.stop().await;
}

async fn refused(database: &Database, kafka: &Kafka, config: &CdcConfig, message: &str) -> Error {
    let ended = Capture::start(database, &kafka.config, config).ended();
    let error = ended.await.expect_err("refused");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    assert!(error.to_string().contains(message), "{error}");
    let hint = error.hint_text().expect("a hint");
    assert!(hint.contains("--new-generation"), "{hint}");
    error
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_was_made_anew_or_moved_is_refused() {
    let Some((database, folder, kafka)) = begin("t_moved_slot").await else {
        return;
    };
    let config = config(&database, folder.path());
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    capture.stop().await;
    database.sql(&employee(1));
    // Nobody touched it.
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    arrived(&kafka, 1).await;
    capture.stop().await;
    database.sql(&employee(2));
    database.sql("SELECT pg_drop_replication_slot('t_moved_slot')");
    database.sql("SELECT pg_create_logical_replication_slot('t_moved_slot', 'pgoutput')");
    refused(&database, &kafka, &config, "made it anew or moved it").await;

    // A process that is killed leaves some room, and no more.
    let text = std::fs::read_to_string(&config.state).expect("there");
    let mut state: Value = serde_json::from_str(&text).expect("JSON");
    let reached = state["reached"].as_u64().expect("a position");
    state["reached"] = (reached + (16 << 20)).into();
    std::fs::write(&config.state, state.to_string()).expect("written");
    database.sql("CREATE TABLE noise AS SELECT repeat('x', 1000) FROM generate_series(1, 40000)");
    database.sql("SELECT pg_replication_slot_advance('t_moved_slot', pg_current_wal_lsn())");
    refused(&database, &kafka, &config, "made it anew or moved it").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promoted_server_is_gone_on_with_where_it_lacks_nothing() {
    let Some(server) = Server::start(&["wal_level=logical"]) else {
        return;
    };
    let database = Database::on(server.into(), "t_promoted");
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(folder.path()).await;
    let config = config(&database, folder.path());
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    database.sql(&employee(1));
    arrived(&kafka, 1).await;
    capture.stop().await;
    database.server.promote();
    database.sql(&employee(2));
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    arrived(&kafka, 2).await;
    capture.stop().await;

    let text = std::fs::read_to_string(&config.state).expect("there");
    let mut state: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(state["timeline"], 2);
    // As if more had been captured of the first timeline than the promoted server ever got.
    state["timeline"] = 1.into();
    state["reached"] = (1_u64 << 60).into();
    std::fs::write(&config.state, state.to_string()).expect("written");
    refused(&database, &kafka, &config, "failed over").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_load_outlives_a_crash_of_the_server() {
    let Some(server) = Server::start(&["wal_level=logical"]) else {
        return;
    };
    let database = Database::on(server.into(), "t_first_load");
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(folder.path()).await;
    database.sql(
        "CREATE TABLE many (id int PRIMARY KEY, text text); GRANT SELECT ON many TO sportlake_cdc;
        INSERT INTO many SELECT id, repeat('x', 500) FROM generate_series(1, 200000) id;
        ALTER PUBLICATION sportlake SET TABLE many",
    );
    let mut capture = Capture::start(&database, &kafka.config, &config(&database, folder.path()));
    capture
        .until(|progress| matches!(progress, Progress::Loading { rows, .. } if *rows < 200_000))
        .await;
    database.server.crash();
    capture.following().await;
    let loaded = capture.stop().await.loaded;
    assert_eq!(loaded, 200_000, "of the second load alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_no_message_holds_is_said_with_what_helps() {
    let Some((database, folder, kafka)) = begin("t_too_large").await else {
        return;
    };
    database.sql(
        "CREATE TABLE films (id int PRIMARY KEY, film text); GRANT SELECT ON films TO sportlake_cdc;
        ALTER PUBLICATION sportlake SET TABLE films",
    );
    let config = config(&database, folder.path());
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    database.sql("INSERT INTO films VALUES (1, repeat('x', 17000000))");
    let error = capture.ended().await.expect_err("too large");
    assert_eq!(error.kind(), ErrorKind::InvalidRequest);
    let text = error.to_string();
    assert!(
        text.contains("\"sportsdata.public.films\" has 17000"),
        "{text}"
    );
    assert!(text.contains("one may have 16777216"), "{text}");
    // What it says helps.
    database.sql("UPDATE films SET film = 'short'");
    let options = CdcOptions {
        new_generation: true,
    };
    let mut capture = Capture::start_with(database.address(), &kafka.config, &config, options);
    capture.following().await;
    let there = |found: &[Message]| found.iter().any(|m| m.value["after"]["film"] == "short");
    messages(&kafka.config, "films", there).await;
    capture.stop().await;
}

/// One transaction that is larger than the memory of who carries it.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_transaction_takes_little_memory() {
    const ROWS: usize = 300_000;
    const MOST_KIB: u64 = 220 << 10;
    let Some((database, folder, kafka)) = begin("t_large").await else {
        return;
    };
    database.sql(
        "CREATE TABLE many (id int PRIMARY KEY, text text); GRANT SELECT ON many TO sportlake_cdc;
        ALTER PUBLICATION sportlake SET TABLE many",
    );
    let config = config(&database, folder.path());
    let url = database.url_of("sportlake_cdc", crate::postgres::PASSWORD, "");
    let capture = crate::node::spawn(&url, &kafka.config, &config);
    database.sql("INSERT INTO many VALUES (0, 'first')");
    let first = |found: &[Message]| !found.is_empty();
    messages(&kafka.config, "many", first).await;
    database.sql(&format!(
        "INSERT INTO many SELECT id, repeat('x', 500) FROM generate_series(1, {ROWS}) id"
    ));
    let sent = async {
        while crate::kafka::end_of(&kafka.config, "sportsdata.public.many") <= ROWS as i64 {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), sent)
        .await
        .expect("it is carried");
    let process = capture.id().expect("it runs");
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.and_then(|peak| peak.split_whitespace().next());
    let peak: u64 = peak.and_then(|peak| peak.parse().ok()).expect("a number");
    assert!(peak < MOST_KIB, "{peak} KiB at the most");
}
