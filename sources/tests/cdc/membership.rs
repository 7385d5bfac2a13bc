//! Which rows a publication stands for, when that changes in ways of which the log says nothing.

use changes::ErrorKind;
use sources::cdc::{CdcConfig, CdcOptions};

use crate::kafka::{Message, clock, messages};
use crate::node::{Capture, config};
use crate::tables::{begin, only};

/// Whether the last that was read are so many rows, with all before them taken back.
fn loaded_again(found: &[Message], rows: usize) -> bool {
    let truncated = found.iter().rposition(|message| message.op() == "t");
    let read = |at: usize| found[at..].iter().filter(|message| message.op() == "r");
    truncated.is_some_and(|at| read(at).count() == rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_left_and_came_back_unseen_is_loaded_anew() {
    let Some((database, folder, kafka)) = begin("t_came_back").await else {
        return;
    };
    let config = config(&database, folder.path());
    database.sql("INSERT INTO employees (id, nom, prenom, salaire_brut) VALUES (1, 'a', 'a', 1), (2, 'b', 'b', 1)");
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    capture.stop().await;
    database.sql(
        "ALTER PUBLICATION sportlake DROP TABLE employees; DELETE FROM employees WHERE id = 1;
        ALTER PUBLICATION sportlake ADD TABLE employees",
    );
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    let found = messages(&kafka.config, "employees", |found| loaded_again(found, 1)).await;
    only(&found, &[2]);
    // Whoever sets the tables that are there changes nothing.
    database.sql("DO $$ BEGIN EXECUTE (SELECT 'ALTER PUBLICATION sportlake SET TABLE ' || string_agg(tablename, ', ')
        FROM pg_publication_tables WHERE pubname = 'sportlake'); END $$");
    capture.stop().await;
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    database.sql("DELETE FROM employees WHERE id = 2");
    let deleted = |found: &[Message]| found.iter().any(|message| message.op() == "d");
    let found = messages(&kafka.config, "employees", deleted).await;
    let truncates = found.iter().filter(|message| message.op() == "t");
    assert_eq!(truncates.count(), 1, "{found:#?}");
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_others_inherit_from_has_its_own_rows_alone() {
    let Some((database, folder, kafka)) = begin("t_inherited").await else {
        return;
    };
    database.sql("CREATE TABLE parents (id int PRIMARY KEY, name text); CREATE TABLE children (PRIMARY KEY (id)) INHERITS (parents);
        GRANT SELECT ON parents, children TO sportlake_cdc; ALTER PUBLICATION sportlake ADD TABLE parents;
        INSERT INTO parents VALUES (1, 'parent'); INSERT INTO children VALUES (2, 'child')");
    let config = config(&database, folder.path());
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    database.sql("UPDATE children SET name = 'end'; INSERT INTO parents VALUES (3, 'end')");
    let ended = |found: &[Message]| found.iter().any(|m| m.value["after"]["name"] == "end");
    only(&messages(&kafka.config, "parents", ended).await, &[1, 3]);
    only(&messages(&kafka.config, "children", ended).await, &[2]);
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_go_with_the_partition_that_goes() {
    let Some((database, folder, kafka)) = begin("t_partitions").await else {
        return;
    };
    database.sql(
        "CREATE TABLE events (id int PRIMARY KEY, name text) PARTITION BY RANGE (id);
        CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM (0) TO (10);
        CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM (10) TO (20);
        GRANT SELECT ON events, events_1, events_2 TO sportlake_cdc;
        CREATE PUBLICATION roots FOR TABLE events WITH (publish_via_partition_root = true);
        INSERT INTO events VALUES (1, 'a'), (11, 'b')",
    );
    let config = CdcConfig {
        publication: "roots".to_owned(),
        ..config(&database, folder.path())
    };
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    // From one partition to another, and to one that is new: nothing is loaded for it.
    database.sql("UPDATE events SET id = 12 WHERE id = 1; INSERT INTO events VALUES (2, 'c');
        CREATE TABLE events_3 PARTITION OF events FOR VALUES FROM (20) TO (30); INSERT INTO events VALUES (21, 'd')");
    let come = |found: &[Message]| found.iter().any(|message| message.key["id"] == 21);
    let found = messages(&kafka.config, "events", come).await;
    only(&found, &[2, 11, 12, 21]);
    assert!(
        found.iter().all(|message| message.op() != "t"),
        "{found:#?}"
    );
    database.sql("DROP TABLE events_2");
    let found = messages(&kafka.config, "events", |found| loaded_again(found, 2)).await;
    only(&found, &[2, 21]);
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_that_was_not_there_for_a_while_is_said() {
    let Some((database, folder, kafka)) = begin("t_anew").await else {
        return;
    };
    let config = config(&database, folder.path());
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    capture.stop().await;
    let employee = |id: i64| {
        format!("INSERT INTO employees (id, nom, prenom, salaire_brut) VALUES ({id}, 'a', 'a', 1)")
    };
    database.sql("DROP PUBLICATION sportlake");
    database.sql(&employee(1));
    database.sql("CREATE PUBLICATION sportlake FOR TABLE employees");
    let capture = Capture::start(&database, &kafka.config, &config);
    let error = capture.ended().await.expect_err("it cannot be read");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(
        error.to_string().contains("not there for a while"),
        "{error}"
    );
    let hint = error.hint_text().expect("a hint");
    assert!(hint.contains("--new-generation"), "{hint}");
    let anew = CdcOptions {
        new_generation: true,
    };
    let mut capture = Capture::start_with(database.address(), &kafka.config, &config, anew);
    capture.following().await;
    database.sql(&employee(2));
    let come = |found: &[Message]| found.iter().any(|message| message.key["id"] == 2);
    only(&messages(&kafka.config, "employees", come).await, &[1, 2]);
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_waits_to_be_made_is_said() {
    let Some((database, folder, kafka)) = begin("t_waits").await else {
        return;
    };
    let config = config(&database, folder.path());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            database.sql("BEGIN; INSERT INTO employees (id, nom, prenom, salaire_brut) VALUES (1, 'a', 'a', 1);
                SELECT pg_sleep(8); COMMIT")
        });
        // Until the transaction has begun to write.
        let writes = "SELECT count(*) FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND datname = 't_waits'";
        while database.sql(writes) == "0" {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let waiting = async {
            let mut capture = Capture::start(&database, &kafka.config, &config);
            let slots = "SELECT count(*) FROM pg_replication_slots WHERE slot_name = 't_waits'";
            while database.sql(slots) == "0" {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            let (address, options, clock) = (database.address(), CdcOptions::default(), clock());
            let planned = sources::cdc::plan(&kafka.config, &address, &config, options, &clock);
            let error = planned.await.expect_err("not yet");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            let hint = error.hint_text().expect("a hint");
            assert!(hint.contains("pg_prepared_xacts"), "{hint}");
            capture.following().await;
            capture.stop().await;
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(waiting));
    });
}
