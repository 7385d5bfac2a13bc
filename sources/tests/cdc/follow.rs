use changes::KafkaConfig;
use serde_json::{Value, json};
use sources::cdc::{CdcConfig, CdcOptions, Decimals};

use crate::kafka::{Kafka, Message, messages};
use crate::node::{Capture, config};
use crate::postgres::Database;

const EMPLOYEE: &str = "INSERT INTO employees (id, nom, prenom, salaire_brut) VALUES";

fn ops(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(Message::op).collect()
}

async fn at_least(kafka: &KafkaConfig, table: &str, count: usize) -> Vec<Message> {
    messages(kafka, table, move |found| found.len() >= count).await
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_loaded_and_changes_follow() {
    let Some(database) = Database::create("t_follow") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(folder.path()).await;
    database.sql(&format!(
        "{EMPLOYEE} (1, 'Martin', 'Zoé\t\\', 30940.00), (2, 'Petit', 'Léa', 1)"
    ));
    let mut capture = Capture::start(&database, &kafka.config, &config(&database, folder.path()));
    capture.following().await;
    database.sql(&format!("{EMPLOYEE} (3, 'Roux', 'Ana', 2.5)"));
    database.sql("UPDATE employees SET nom = 'Durand' WHERE id = 1");
    database.sql("UPDATE employees SET id = 20 WHERE id = 2");
    database.sql("DELETE FROM employees WHERE id = 3");
    database.sql("TRUNCATE employees CASCADE");
    let found = at_least(&kafka.config, "employees", 10).await;
    assert_eq!(
        ops(&found),
        [
            "r",
            "r",
            "c",
            "u",
            "d",
            "tombstone",
            "c",
            "d",
            "tombstone",
            "t"
        ]
    );

    let (first, moved, come) = (&found[0], &found[4], &found[6]);
    assert_eq!(first.key, json!({"id": 1}));
    let expected = json!({"id": 1, "nom": "Martin", "prenom": "Zoé\t\\", "date_naissance": null, "bu": null,
        "date_embauche": null, "salaire_brut": "30940.00", "type_contrat": null, "jours_cp": null, "adresse": null,
        "moyen_deplacement": null});
    assert_eq!(first.value["after"], expected);
    assert_eq!(
        first.value["source"]["snapshot"],
        "first_in_data_collection"
    );
    assert_eq!(found[2].value["source"]["snapshot"], "false");
    assert!(found[3].value["before"].is_null());
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(
        (&moved.key, &come.key),
        (&json!({"id": 2}), &json!({"id": 20}))
    );
    assert!(
        moved
            .headers
            .contains(&header("__debezium.newkey", r#"{"id":20}"#))
    );
    assert!(
        come.headers
            .contains(&header("__debezium.oldkey", r#"{"id":2}"#))
    );
    // What a delete does not tell is a placeholder, as Debezium has it.
    assert_eq!(found[7].value["before"]["nom"], "");
    assert_eq!(
        (&found[9].key, &found[9].value["after"]),
        (&Value::Null, &Value::Null)
    );
    let positions: Vec<i64> = found
        .iter()
        .filter(|m| !m.value.is_null())
        .map(Message::lsn)
        .collect();
    assert!(positions.is_sorted(), "{positions:?}");
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_is_not_sent_again_and_nothing_is_lost_between() {
    let Some(database) = Database::create("t_resume") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(folder.path()).await;
    let config = config(&database, folder.path());
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    database.sql(&format!("{EMPLOYEE} (1, 'a', 'a', 1)"));
    at_least(&kafka.config, "employees", 1).await;
    capture.stop().await;
    database.sql(&format!("{EMPLOYEE} (2, 'b', 'b', 1)"));
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    database.sql(&format!("{EMPLOYEE} (3, 'c', 'c', 1)"));
    let found = at_least(&kafka.config, "employees", 3).await;
    let ids: Vec<&Value> = found.iter().map(|message| &message.key["id"]).collect();
    assert_eq!(ids, [1, 2, 3]);
    assert_eq!(capture.stop().await.loaded, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_joins_the_publication_is_loaded() {
    let Some(database) = Database::create("t_joins") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(folder.path()).await;
    let mut capture = Capture::start(&database, &kafka.config, &config(&database, folder.path()));
    capture.following().await;
    database.sql("CREATE TABLE shops (id int PRIMARY KEY, name text); GRANT SELECT ON shops TO sportlake_cdc");
    database.sql("INSERT INTO shops VALUES (1, 'before')");
    database.sql("ALTER PUBLICATION sportlake ADD TABLE shops");
    database
        .sql("UPDATE shops SET name = 'after' WHERE id = 1; INSERT INTO shops VALUES (2, 'new')");
    let has_both = |found: &[Message]| {
        let last = |id: i64| found.iter().rfind(|message| message.key["id"] == id);
        last(1).is_some_and(|m| m.value["after"]["name"] == "after") && last(2).is_some()
    };
    messages(&kafka.config, "shops", has_both).await;
    database.sql("INSERT INTO shops VALUES (3, 'later')");
    let found = messages(&kafka.config, "shops", |found| {
        found.iter().any(|message| message.key["id"] == 3)
    });
    assert!(found.await.iter().any(|message| message.op() == "r"));
    // What leaves and comes again may have lost rows meanwhile.
    database.sql("ALTER PUBLICATION sportlake DROP TABLE shops");
    tokio::time::timeout(std::time::Duration::from_secs(60), async {
        let state = folder.path().join("cdc.json");
        while !std::fs::read_to_string(&state)
            .expect("there")
            .contains("\"left\"")
        {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("noticed");
    database.sql("DELETE FROM shops WHERE id = 2");
    database.sql("ALTER PUBLICATION sportlake ADD TABLE shops");
    let found = messages(&kafka.config, "shops", |found| {
        let truncated = found.iter().position(|message| message.op() == "t");
        truncated.is_some_and(|at| {
            found[at..]
                .iter()
                .filter(|message| message.op() == "r")
                .count()
                == 2
        })
    })
    .await;
    let truncated = found
        .iter()
        .position(|message| message.op() == "t")
        .expect("there");
    assert!(found[truncated].lsn() < found[truncated + 1].lsn());
    assert!(
        found[..truncated]
            .iter()
            .all(|message| message.lsn() < found[truncated].lsn())
    );
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_slot_is_said_and_a_generation_begins() {
    let Some(database) = Database::create("t_lost") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(folder.path()).await;
    let config = config(&database, folder.path());
    database.sql(&format!("{EMPLOYEE} (1, 'a', 'a', 1), (2, 'b', 'b', 1)"));
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    capture.stop().await;
    database.sql("SELECT pg_drop_replication_slot('t_lost')");
    database.sql("DELETE FROM employees WHERE id = 2");
    let error = Capture::start(&database, &kafka.config, &config)
        .ended()
        .await
        .expect_err("lost");
    assert!(
        error.to_string().contains("slot \"t_lost\" is gone"),
        "{error}"
    );
    assert!(
        error
            .hint_text()
            .is_some_and(|hint| hint.contains("--new-generation")),
        "{error:?}"
    );

    let options = CdcOptions {
        new_generation: true,
    };
    let mut capture = Capture::start_with(database.address(), &kafka.config, &config, options);
    capture.following().await;
    database.sql(&format!("{EMPLOYEE} (3, 'c', 'c', 1)"));
    let found = at_least(&kafka.config, "employees", 5).await;
    assert_eq!(ops(&found), ["r", "r", "t", "r", "c"]);
    let generations: Vec<i64> = found.iter().map(Message::generation).collect();
    let began = generations[2];
    assert!(began > 1_700_000_000, "of the clock: {began}");
    assert_eq!(generations, [0, 0, began, began, began]);
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_slot_keeps_no_log() {
    let Some(database) = Database::create("t_idle") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(folder.path()).await;
    let mut capture = Capture::start(&database, &kafka.config, &config(&database, folder.path()));
    capture.following().await;
    // A table that is not published fills the log.
    database.sql("CREATE TABLE noise AS SELECT repeat('x', 100) FROM generate_series(1, 20000)");
    let target = database.sql("SELECT pg_current_wal_lsn()");
    let sql = format!(
        "SELECT confirmed_flush_lsn >= '{target}' FROM pg_replication_slots WHERE slot_name = 't_idle'"
    );
    tokio::time::timeout(std::time::Duration::from_secs(60), async {
        while database.sql(&sql) != "t" {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    })
    .await
    .expect("it moves on");
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_left_alone_and_whole_rows_before() {
    let Some(database) = Database::create("t_toast") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(folder.path()).await;
    database.sql(
        "CREATE TABLE big (id int PRIMARY KEY, n numeric(10, 2), t text); ALTER TABLE big ALTER t SET STORAGE EXTERNAL;
         CREATE TABLE big_full (LIKE big INCLUDING ALL); ALTER TABLE big_full REPLICA IDENTITY FULL;
         GRANT SELECT ON big, big_full TO sportlake_cdc; ALTER PUBLICATION sportlake SET TABLE big, big_full",
    );
    let config = CdcConfig {
        decimals: Decimals::Precise,
        schemas: true,
        tombstones: false,
        ..config(&database, folder.path())
    };
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    for table in ["big", "big_full"] {
        database.sql(&format!(
            "INSERT INTO {table} VALUES (1, 1.5, repeat('x', 20000)); UPDATE {table} SET n = -2.5; DELETE FROM {table}"
        ));
    }
    // Under another key, nobody could say what the value was before.
    database.sql("INSERT INTO big VALUES (5, 1.5, repeat('y', 20000)); UPDATE big SET id = 6");
    let found = at_least(&kafka.config, "big", 3).await;
    assert_eq!(found[0].key["payload"], json!({"id": 1}));
    assert_eq!(found[0].key["schema"]["name"], "sportsdata.public.big.Key");
    let payload = &found[1].value["payload"];
    assert_eq!(
        payload["after"],
        json!({"id": 1, "n": "/wY=", "t": "__debezium_unavailable_value"})
    );
    assert!(payload["before"].is_null());
    let fields = &found[1].value["schema"]["fields"][1]["fields"];
    assert_eq!(fields[1]["name"], "org.apache.kafka.connect.data.Decimal");
    let found = at_least(&kafka.config, "big", 6).await;
    let payload = &found[5].value["payload"];
    assert_eq!(
        (&payload["op"], &payload["after"]["id"]),
        (&json!("c"), &json!(6))
    );
    assert_eq!(payload["after"]["t"], "y".repeat(20_000));
    let found = at_least(&kafka.config, "big_full", 3).await;
    let text = "x".repeat(20_000);
    let payload = &found[1].value["payload"];
    assert_eq!(payload["before"], json!({"id": 1, "n": "AJY=", "t": text}));
    assert_eq!(payload["after"], json!({"id": 1, "n": "/wY=", "t": text}));
    assert_eq!(found[2].value["payload"]["before"]["t"], text);
    capture.stop().await;
}
