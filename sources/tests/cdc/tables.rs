//! Tables that change while changes of theirs are on the way.

use serde_json::{Value, json};

use crate::kafka::{Kafka, Message, messages};
use crate::node::{Capture, config};
use crate::postgres::Database;

pub(crate) async fn begin(name: &str) -> Option<(Database, tempfile::TempDir, Kafka)> {
    let database = Database::create(name)?;
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(folder.path()).await;
    Some((database, folder, kafka))
}

fn of<'a>(found: &'a [Message], op: &str) -> Vec<&'a Message> {
    found.iter().filter(|message| message.op() == op).collect()
}

/// Runs a capture over what was done while none ran.
async fn stopped_meanwhile(
    database: &Database,
    kafka: &Kafka,
    folder: &tempfile::TempDir,
    table: &str,
    before: &str,
    meanwhile: &[&str],
) -> Vec<Message> {
    let config = config(database, folder.path());
    database.sql(before);
    let mut capture = Capture::start(database, &kafka.config, &config);
    capture.following().await;
    capture.stop().await;
    for sql in meanwhile {
        database.sql(sql);
    }
    let mut capture = Capture::start(database, &kafka.config, &config);
    capture.following().await;
    let ended = |found: &[Message]| {
        found.iter().any(|message| {
            message.value["after"]["note"] == "end" || message.value["after"]["name"] == "end"
        })
    };
    let found = messages(&kafka.config, table, ended).await;
    capture.stop().await;
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_column_or_type_moves_no_value() {
    let Some((database, folder, kafka)) = begin("t_dropped").await else {
        return;
    };
    let found = stopped_meanwhile(
        &database,
        &kafka,
        &folder,
        "shirts",
        "CREATE TYPE size AS ENUM ('S', 'M'); CREATE TABLE shirts (id int PRIMARY KEY, fit size, price numeric(5, 2), note text);
         GRANT SELECT ON shirts TO sportlake_cdc; ALTER PUBLICATION sportlake SET TABLE shirts",
        &[
            "INSERT INTO shirts VALUES (1, 'M', 9.50, 'first')",
            "DROP TYPE size CASCADE",
            "INSERT INTO shirts VALUES (2, 1.25, 'second')",
            "ALTER TABLE shirts DROP COLUMN price",
            "INSERT INTO shirts VALUES (3, 'end')",
        ],
    )
    .await;
    let rows: Vec<&Value> = found
        .iter()
        .map(|message| &message.value["after"])
        .collect();
    assert_eq!(
        rows,
        [
            &json!({"id": 1, "fit": "M", "price": "9.50", "note": "first"}),
            &json!({"id": 2, "price": "1.25", "note": "second"}),
            &json!({"id": 3, "note": "end"}),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_key_is_the_key_it_was() {
    let Some((database, folder, kafka)) = begin("t_renamed").await else {
        return;
    };
    for (table, identity) in [("pairs", "DEFAULT"), ("pairs_whole", "FULL")] {
        let found = stopped_meanwhile(
            &database,
            &kafka,
            &folder,
            table,
            &format!(
                "CREATE TABLE {table} (a int, note text, b int, PRIMARY KEY (b, a)); GRANT SELECT ON {table} TO sportlake_cdc;
                 ALTER TABLE {table} REPLICA IDENTITY {identity}; ALTER PUBLICATION sportlake ADD TABLE {table}"
            ),
            &[
                &format!("INSERT INTO {table} VALUES (1, 'x', 2); DELETE FROM {table}"),
                &format!("ALTER TABLE {table} RENAME a TO z"),
                &format!("INSERT INTO {table} VALUES (3, 'end', 4)"),
            ],
        )
        .await;
        let keys: Vec<&Value> = found.iter().map(|message| &message.key).collect();
        let then = json!({"b": 2, "a": 1});
        assert_eq!(
            keys,
            [&then, &then, &then, &json!({"b": 4, "z": 3})],
            "{identity}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_made_anew_is_loaded_anew() {
    let Some((database, folder, kafka)) = begin("t_anew").await else {
        return;
    };
    const MAKE: &str = "CREATE TABLE teams (id int PRIMARY KEY, name text); GRANT SELECT ON teams TO sportlake_cdc;
        ALTER PUBLICATION sportlake SET TABLE teams";
    let again = format!(
        "BEGIN; DROP TABLE teams; {MAKE}; INSERT INTO teams VALUES (2, 'two'); COMMIT; INSERT INTO teams VALUES (3, 'end')"
    );
    let found = stopped_meanwhile(
        &database,
        &kafka,
        &folder,
        "teams",
        &format!("{MAKE}; INSERT INTO teams VALUES (1, 'one')"),
        &[
            "INSERT INTO teams VALUES (9, 'gone with the table')",
            &again,
        ],
    )
    .await;
    only(&found, &[2, 3]);
    // While it runs, too.
    let config = config(&database, folder.path());
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    database.sql(
        &again
            .replace("(2, 'two')", "(4, 'four')")
            .replace("(3, 'end')", "(5, 'last')"),
    );
    let ended = |found: &[Message]| {
        found
            .iter()
            .any(|message| message.value["after"]["name"] == "last")
    };
    let found = messages(&kafka.config, "teams", ended).await;
    only(&found, &[4, 5]);
    capture.stop().await;
}

/// By positions, as consumers fold.
#[track_caller]
pub(crate) fn only(found: &[Message], expected: &[i64]) {
    let mut ordered: Vec<&Message> = found.iter().filter(|m| !m.value.is_null()).collect();
    ordered.sort_by_key(|message| message.lsn());
    let mut rows = std::collections::BTreeSet::new();
    for message in ordered {
        let id = message.key["id"].as_i64();
        match (message.op(), id) {
            ("t", _) => rows.clear(),
            ("d", Some(id)) => drop(rows.remove(&id)),
            (_, Some(id)) => drop(rows.insert(id)),
            _ => {}
        }
    }
    assert_eq!(rows.into_iter().collect::<Vec<_>>(), expected, "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_that_is_repeated_loses_no_delete() {
    let Some((database, folder, kafka)) = begin("t_repeated").await else {
        return;
    };
    let config = config(&database, folder.path());
    database.sql("INSERT INTO employees (id, nom, prenom, salaire_brut) VALUES (1, 'a', 'a', 1), (2, 'b', 'b', 1)");
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    capture.stop().await;
    // As a process leaves it that ends after the rows were written and before they count as loaded.
    let text = std::fs::read_to_string(&config.state).expect("there");
    let mut state: Value = serde_json::from_str(&text).expect("JSON");
    state["tables"]
        .as_object_mut()
        .expect("tables")
        .remove("public.employees");
    std::fs::write(&config.state, state.to_string()).expect("written");
    database.sql("DELETE FROM employees WHERE id = 2");
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    let deleted = |found: &[Message]| !of(found, "d").is_empty();
    let found = messages(&kafka.config, "employees", deleted).await;
    only(&found, &[1]);
    capture.stop().await;
}

/// Reads as ingest does: a position that falls while time goes on is another life of the source.
#[tokio::test(flavor = "multi_thread")]
async fn a_load_and_what_follows_are_one_life_of_the_source() {
    let Some((database, folder, kafka)) = begin("t_one_life").await else {
        return;
    };
    let config = config(&database, folder.path());
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    database.sql("CREATE TABLE races (id int PRIMARY KEY, name text); GRANT SELECT ON races TO sportlake_cdc;
        INSERT INTO races VALUES (1, 'before')");
    database.sql("BEGIN; ALTER PUBLICATION sportlake ADD TABLE races; COMMIT; INSERT INTO races VALUES (2, 'joined')");
    let loaded = |found: &[Message]| !of(found, "r").is_empty();
    messages(&kafka.config, "races", loaded).await;
    capture.stop().await;
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    database.sql("INSERT INTO races VALUES (3, 'end')");
    let ended = |found: &[Message]| found.iter().any(|message| message.key["id"] == 3);
    let found = messages(&kafka.config, "races", ended).await;
    capture.stop().await;
    let (mut position, mut time) = (0, 0);
    for message in found.iter().filter(|message| !message.value.is_null()) {
        let source = &message.value["source"];
        let sequence: Value =
            serde_json::from_str(source["sequence"].as_str().expect("text")).expect("JSON");
        let commit = sequence[0]
            .as_str()
            .map(|text| text.parse::<i64>().expect("a number"));
        let at = commit.unwrap_or(message.lsn());
        let now = source["ts_ms"].as_i64().expect("a time");
        assert!(
            at >= position || now <= time,
            "{at} after {position}: {found:#?}"
        );
        (position, time) = (position.max(at), time.max(now));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_table_that_cannot_be_captured_stops_no_other() {
    let Some((database, folder, kafka)) = begin("t_passed_over").await else {
        return;
    };
    let config = config(&database, folder.path());
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    database.sql("CREATE TABLE bare (id int, name text); CREATE TABLE hidden (id int PRIMARY KEY, name text);
        CREATE TABLE guarded (id int PRIMARY KEY, name text); ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
        GRANT SELECT ON bare, guarded TO sportlake_cdc;
        INSERT INTO bare VALUES (1, 'a'); INSERT INTO hidden VALUES (1, 'a'); INSERT INTO guarded VALUES (1, 'a');
        ALTER PUBLICATION sportlake ADD TABLE bare, hidden, guarded");
    let employee = |id: i64| {
        format!("INSERT INTO employees (id, nom, prenom, salaire_brut) VALUES ({id}, 'a', 'a', 1)")
    };
    let arrived = |id: i64| {
        messages(&kafka.config, "employees", move |found| {
            found.iter().any(|message| message.key["id"] == id)
        })
    };
    database.sql(&format!(
        "INSERT INTO bare VALUES (2, 'b'); INSERT INTO hidden VALUES (2, 'b'); {}",
        employee(1)
    ));
    arrived(1).await;
    // A start does not mind it either.
    capture.stop().await;
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    database.sql(&employee(2));
    arrived(2).await;
    database.sql("ALTER TABLE bare ADD PRIMARY KEY (id)");
    database.sql(
        "GRANT SELECT ON hidden TO sportlake_cdc; ALTER TABLE guarded DISABLE ROW LEVEL SECURITY",
    );
    for (table, rows) in [("bare", 2), ("hidden", 2), ("guarded", 1)] {
        let loaded = move |found: &[Message]| of(found, "r").len() == rows;
        messages(&kafka.config, table, loaded).await;
    }
    // One that loses its key is passed over from then on, and loaded when it has one again.
    database.sql("ALTER TABLE bare DROP CONSTRAINT bare_pkey; INSERT INTO bare VALUES (3, 'c')");
    database.sql(&employee(3));
    arrived(3).await;
    database.sql("DELETE FROM employees WHERE id = 1; ALTER TABLE bare ADD PRIMARY KEY (id)");
    let again = |found: &[Message]| {
        let truncated = found.iter().position(|message| message.op() == "t");
        truncated.is_some_and(|at| of(&found[at..], "r").len() == 3)
    };
    let found = messages(&kafka.config, "bare", again).await;
    only(&found, &[1, 2, 3]);
    capture.stop().await;
    // Nobody sees that there was no key for a while: what the log has of then tells no row, and the table's load does.
    database.sql("ALTER TABLE bare DROP CONSTRAINT bare_pkey; INSERT INTO bare VALUES (4, 'd')");
    database.sql("ALTER TABLE bare ADD PRIMARY KEY (id); DELETE FROM bare WHERE id = 2; INSERT INTO bare VALUES (5, 'e')");
    let capture = Capture::start(&database, &kafka.config, &config);
    let again = |found: &[Message]| {
        let truncated = found.iter().rposition(|message| message.op() == "t");
        truncated.is_some_and(|at| of(&found[at..], "r").len() == 4)
    };
    messages(&kafka.config, "bare", again).await;
    database.sql("INSERT INTO bare VALUES (6, 'f')");
    let followed = |found: &[Message]| found.iter().any(|message| message.key["id"] == 6);
    let found = messages(&kafka.config, "bare", followed).await;
    only(&found, &[1, 3, 4, 5, 6]);
    capture.stop().await;
}

/// The log marks the columns of the index then, and nobody has read them for a key.
#[tokio::test(flavor = "multi_thread")]
async fn an_identity_without_the_key_passes_the_table_over_at_once() {
    let Some((database, folder, kafka)) = begin("t_by_index").await else {
        return;
    };
    let config = config(&database, folder.path());
    database.sql("CREATE TABLE members (id int PRIMARY KEY, mail text NOT NULL UNIQUE); GRANT SELECT ON members TO sportlake_cdc;
        ALTER PUBLICATION sportlake ADD TABLE members; INSERT INTO members VALUES (1, 'a')");
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    database.sql("ALTER TABLE members REPLICA IDENTITY USING INDEX members_mail_key");
    database.sql("INSERT INTO members VALUES (2, 'b'); DELETE FROM members WHERE id = 1");
    database.sql("INSERT INTO employees (id, nom, prenom, salaire_brut) VALUES (1, 'a', 'a', 1)");
    let come = |found: &[Message]| found.iter().any(|message| message.key["id"] == 1);
    messages(&kafka.config, "employees", come).await;
    database.sql("ALTER TABLE members REPLICA IDENTITY DEFAULT");
    let again = |found: &[Message]| found.iter().any(|message| message.key["id"] == 2);
    let found = messages(&kafka.config, "members", again).await;
    only(&found, &[2]);
    let keyed = found.iter().filter(|message| message.op() != "t");
    assert!(
        keyed.clone().all(|message| message.key["id"].is_i64()),
        "{found:#?}"
    );
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_stored_out_of_line_stays_the_key() {
    let Some((database, folder, kafka)) = begin("t_large_key").await else {
        return;
    };
    database.sql(
        "CREATE TABLE tags (k text, m int, n int, PRIMARY KEY (k, m)); ALTER TABLE tags ALTER k SET STORAGE EXTERNAL;
         CREATE TABLE tags_whole (LIKE tags INCLUDING ALL); ALTER TABLE tags_whole REPLICA IDENTITY FULL;
         GRANT SELECT ON tags, tags_whole TO sportlake_cdc; ALTER PUBLICATION sportlake SET TABLE tags, tags_whole",
    );
    let mut capture = Capture::start(&database, &kafka.config, &config(&database, folder.path()));
    capture.following().await;
    let key = |m: i64| json!({"k": "k".repeat(2500), "m": m});
    for table in ["tags", "tags_whole"] {
        database.sql(&format!(
            "INSERT INTO {table} VALUES (repeat('k', 2500), 1, 1)"
        ));
        database.sql(&format!("UPDATE {table} SET n = 2"));
        database.sql(&format!("UPDATE {table} SET m = 2"));
        let found = messages(&kafka.config, table, |found| found.len() >= 5).await;
        let told: Vec<(&str, &Value)> = found.iter().map(|m| (m.op(), &m.key)).collect();
        let (one, two) = (key(1), key(2));
        let expected = [
            ("c", &one),
            ("u", &one),
            ("d", &one),
            ("tombstone", &one),
            ("c", &two),
        ];
        // Another key may be in another partition.
        let sorted = |mut told: Vec<(&str, &Value)>| {
            told.sort_by_key(|(op, key)| (key["m"].as_i64(), (*op).to_owned()));
            told.iter()
                .map(|(op, key)| format!("{op} {key}"))
                .collect::<Vec<_>>()
        };
        assert_eq!(sorted(told), sorted(expected.to_vec()), "{table}");
        let come = found.iter().find(|message| message.key["m"] == 2);
        assert_eq!(
            come.expect("there").value["after"]["k"],
            one["k"],
            "{table}"
        );
    }
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn other_rows_of_a_table_are_loaded_and_another_column_loads_nothing() {
    let Some((database, folder, kafka)) = begin("t_widened").await else {
        return;
    };
    let employees = [1, 2].map(|id| {
        format!("INSERT INTO employees (id, nom, prenom, salaire_brut) VALUES ({id}, 'a', 'a', 1);")
    });
    database.sql(&employees.concat());
    database.sql("ALTER PUBLICATION sportlake SET TABLE employees WHERE (id > 1)");
    let mut capture = Capture::start(&database, &kafka.config, &config(&database, folder.path()));
    capture.following().await;
    only(
        &messages(&kafka.config, "employees", |found| !found.is_empty()).await,
        &[2],
    );
    database.sql("ALTER PUBLICATION sportlake SET TABLE employees");
    let loaded = |found: &[Message]| found.iter().any(|message| message.key["id"] == 1);
    messages(&kafka.config, "employees", loaded).await;
    database.sql("ALTER TABLE employees ADD COLUMN note text DEFAULT 'none'");
    database.sql("INSERT INTO employees (id, nom, prenom, salaire_brut, note) VALUES (3, 'c', 'c', 1, 'end')");
    let ended = |found: &[Message]| {
        found
            .iter()
            .any(|message| message.value["after"]["note"] == "end")
    };
    messages(&kafka.config, "employees", ended).await;
    capture.stop().await;
    let mut capture = Capture::start(&database, &kafka.config, &config(&database, folder.path()));
    capture.following().await;
    let report = capture.stop().await;
    let found = messages(&kafka.config, "employees", ended).await;
    only(&found, &[1, 2, 3]);
    assert_eq!((report.loaded, of(&found, "t").len()), (0, 1), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_kafka_does_not_take_is_written_as_debezium_does() {
    let Some((database, folder, kafka)) = begin("t_names").await else {
        return;
    };
    let make = |table: &str| {
        format!(
            "CREATE TABLE {table} (id int PRIMARY KEY); INSERT INTO {table} VALUES (1);
             GRANT SELECT ON {table} TO sportlake_cdc; ALTER PUBLICATION sportlake ADD TABLE {table};"
        )
    };
    let config = config(&database, folder.path());
    database.sql(&make("\"été 1\""));
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    // Which would have the same topic, and comes first by its name.
    database.sql(&make("\"$t\u{e9} 1\""));
    database.sql("INSERT INTO \"$t\u{e9} 1\" VALUES (9); INSERT INTO \"été 1\" VALUES (2)");
    database.sql("INSERT INTO employees (id, nom, prenom, salaire_brut) VALUES (1, 'a', 'a', 1)");
    messages(&kafka.config, "employees", |found| !found.is_empty()).await;
    let found = messages(&kafka.config, "_t__1", |found| found.len() >= 2).await;
    only(&found, &[1, 2]);
    assert_eq!(found[0].value["source"]["table"], "été 1");
    capture.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_without_a_topic_or_a_slot_stops_no_other() {
    let settings = ["wal_level=logical", "max_replication_slots=1"];
    let Some(server) = crate::postgres::Server::start(&settings) else {
        return;
    };
    let database = Database::on(server.into(), "t_no_topic");
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = Kafka::start(folder.path()).await;
    let mut config = config(&database, folder.path());
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    capture.stop().await;
    database.sql(
        "CREATE TABLE late (id int PRIMARY KEY); INSERT INTO late VALUES (1);
        GRANT SELECT ON late TO sportlake_cdc; ALTER PUBLICATION sportlake ADD TABLE late",
    );
    // There is no topic, and then no slot to load it from: the first has the only one.
    for (id, create_topics) in [(1, false), (2, true)] {
        config.create_topics = create_topics;
        let mut capture = Capture::start(&database, &kafka.config, &config);
        capture.following().await;
        database.sql(&format!(
            "INSERT INTO employees (id, nom, prenom, salaire_brut) VALUES ({id}, 'a', 'a', 1)"
        ));
        let arrived = move |found: &[Message]| found.iter().any(|message| message.key["id"] == id);
        messages(&kafka.config, "employees", arrived).await;
        capture.stop().await;
    }
    assert!(crate::kafka::read(&kafka.config, "sportsdata.public.late").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_outlasts_the_limits_of_the_role() {
    let Some((database, folder, kafka)) = begin("t_limits").await else {
        return;
    };
    for limit in [
        "statement_timeout = '300ms'",
        "idle_in_transaction_session_timeout = '300ms'",
    ] {
        database.sql(&format!(
            "ALTER ROLE sportlake_cdc IN DATABASE t_limits SET {limit}"
        ));
    }
    database.sql(
        "CREATE TABLE many (id int PRIMARY KEY, text text); GRANT SELECT ON many TO sportlake_cdc;
        INSERT INTO many SELECT id, repeat('x', 500) FROM generate_series(1, 250000) id;
        ALTER PUBLICATION sportlake SET TABLE many",
    );
    let config = config(&database, folder.path());
    let began = std::time::Instant::now();
    let mut capture = Capture::start(&database, &kafka.config, &config);
    capture.following().await;
    let lasted = began.elapsed();
    assert!(
        lasted.as_millis() > 300,
        "too fast to prove anything: {lasted:?}"
    );
    assert_eq!(capture.stop().await.loaded, 250_000);
}
