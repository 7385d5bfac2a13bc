//! Random transactions under kills: in the end, the topics say what the database says.
//!
//! `SPORTLAKE_CHANGES` is the number of changes, `SPORTLAKE_SEED` decides them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use changes::KafkaConfig;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use serde_json::{Map, Value};
use sources::cdc::CdcConfig;

use crate::java::{RealKafka, jars};
use crate::kafka::{Kafka, Message, messages, read};
use crate::node::{config, spawn};
use crate::postgres::{Database, Server};

const TABLE: &str = "CREATE TYPE mood AS ENUM ('bof', 'très bien');
    CREATE TABLE proof (id bigint PRIMARY KEY, n numeric(38, 9), free numeric, t text, big text, d date, ts timestamp,
        tz timestamptz, arr int[], words text[], j jsonb, e mood, b bytea, f double precision, ok boolean, u uuid);
    ALTER TABLE proof ALTER big SET STORAGE EXTERNAL; GRANT SELECT ON proof TO sportlake_cdc;
    ALTER PUBLICATION sportlake SET TABLE proof";

/// The rows as a direct query has them, in the forms that the topics have.
const ROWS: &str = r#"SELECT json_build_object('id', id, 'n', n::text, 'free', free::text, 't', t, 'big', big,
    'd', d - date '1970-01-01', 'ts', (extract(epoch FROM ts) * 1000000)::bigint,
    'tz', to_char(tz AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'arr', arr, 'words', words, 'j', j::text,
    'e', e::text, 'b', replace(encode(b, 'base64'), E'\n', ''), 'f', f, 'ok', ok, 'u', u::text) FROM proof"#;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .map_or(default, |text| text.parse().expect(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_say_what_the_database_says_whatever_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(proof) = Proof::begin(folder.path()) else {
        return;
    };
    let kafka = Kafka::start(folder.path()).await;
    proof.run(&kafka.config, async || {}).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nor_does_it_matter_when_a_real_kafka_is_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (Some(jars), Some(proof)) = (jars(), Proof::begin(folder.path())) else {
        return;
    };
    let mut kafka = RealKafka::start(&jars, folder.path()).await;
    let config = kafka.config.clone();
    proof.run(&config, async || kafka.crash().await).await;
}

struct Proof {
    database: Database,
    config: CdcConfig,
}

impl Proof {
    fn begin(folder: &Path) -> Option<Self> {
        let server = Server::start(&["wal_level=logical"])?;
        let database = Database::on(server.into(), "t_proof");
        database.sql(TABLE);
        let config = config(&database, folder);
        Some(Self { database, config })
    }

    async fn run(&self, kafka: &KafkaConfig, mut crash_kafka: impl AsyncFnMut()) {
        let (changes, seed) = (
            number("SPORTLAKE_CHANGES", 5000),
            number("SPORTLAKE_SEED", 7),
        );
        let (database, mut workload) = (&self.database, Workload::new(seed));
        let start = || {
            let url = database.url_of("sportlake_cdc", crate::postgres::PASSWORD, "");
            spawn(&url, kafka, &self.config)
        };
        database.sql(&workload.transactions(changes / 10));
        let mut capture = start();
        for round in 0..9 {
            database.sql(&workload.transactions(changes / 10));
            match round % 4 {
                0 | 3 => {}
                1 => {
                    database.server.crash();
                    // Which outlives that by itself.
                    continue;
                }
                _ => {
                    crash_kafka().await;
                    continue;
                }
            }
            capture.kill().await.expect("killed");
            capture = start();
        }
        database.sql(&(0..40).map(|id| workload.upsert(id)).collect::<String>());
        // The first may be in a load, after which older changes follow; the second comes after all of them.
        for last in [-1, -2] {
            database.sql(&format!("INSERT INTO proof (id) VALUES ({last})"));
            let is_last = move |found: &[Message]| found.iter().any(|m| m.key["id"] == last);
            messages(kafka, "proof", is_last).await;
        }
        capture.kill().await.expect("killed");

        let config = kafka.clone();
        let found = tokio::task::spawn_blocking(move || read(&config, "sportsdata.public.proof"));
        let found = fold(&found.await.expect("read"));
        let rows = database.sql(ROWS);
        let expected = rows
            .lines()
            .map(|line| serde_json::from_str::<Map<String, Value>>(line).expect("JSON"));
        let expected: BTreeMap<i64, _> = expected
            .map(|row| (row["id"].as_i64().expect("an id"), row))
            .collect();
        assert!(expected.len() > 40, "{}", expected.len());
        assert_eq!(found.len(), expected.len(), "seed {seed}");
        for (id, row) in expected {
            assert_eq!(found[&id], row, "seed {seed}, row {id}");
        }
    }
}

/// The current row of each key: the latest position wins, a value that was left alone is the one before.
fn fold(messages: &[Message]) -> BTreeMap<i64, Map<String, Value>> {
    let mut ordered: Vec<&Message> = messages
        .iter()
        .filter(|message| !message.value.is_null())
        .collect();
    ordered.sort_by_key(|message| (message.generation(), message.lsn()));
    let mut rows: BTreeMap<i64, Map<String, Value>> = BTreeMap::new();
    for message in ordered {
        if message.op() == "t" {
            rows.clear();
            continue;
        }
        let id = message.key["id"].as_i64().expect("an id");
        let Some(mut after) = message.value["after"].as_object().cloned() else {
            rows.remove(&id);
            continue;
        };
        let before = rows.get(&id);
        for (column, value) in &mut after {
            if value == "__debezium_unavailable_value" {
                *value = before
                    .and_then(|before| before.get(column))
                    .cloned()
                    .unwrap_or_default();
            }
        }
        rows.insert(id, after);
    }
    rows
}

struct Workload {
    rng: SmallRng,
}

const KEYS: i64 = 200;

impl Workload {
    fn new(seed: u64) -> Self {
        Self {
            rng: SmallRng::seed_from_u64(seed),
        }
    }

    /// At least that many changes, in transactions of a few each; some roll back.
    fn transactions(&mut self, changes: u64) -> String {
        let mut sql = String::new();
        let mut made = 0;
        while made < changes {
            sql.push_str("BEGIN;\n");
            let count = self.rng.random_range(1..12);
            for _ in 0..count {
                let change = self.change();
                sql.push_str(&change);
            }
            let kept = self.rng.random_bool(0.9);
            sql.push_str(if kept { "COMMIT;\n" } else { "ROLLBACK;\n" });
            made += if kept { count } else { 0 };
        }
        sql
    }

    fn change(&mut self) -> String {
        let id = self.rng.random_range(0..KEYS);
        match self.rng.random_range(0..100) {
            0..50 => self.upsert(id),
            50..70 => format!("UPDATE proof SET t = {} WHERE id = {id};\n", self.text()),
            70..80 => {
                // A large value stays while its key changes, so that the log does not have it.
                let to = self.rng.random_range(0..KEYS);
                format!(
                    "UPDATE proof SET id = {to} WHERE id = {id} AND NOT EXISTS (SELECT FROM proof WHERE id = {to});\n"
                )
            }
            80..99 => format!("DELETE FROM proof WHERE id = {id};\n"),
            _ if self.rng.random_bool(0.1) => "TRUNCATE proof;\n".to_owned(),
            _ => format!("UPDATE proof SET ok = NOT ok WHERE id < {id};\n"),
        }
    }

    fn upsert(&mut self, id: i64) -> String {
        let values = [
            self.or_null(|w| {
                format!(
                    "{}.{:09}",
                    w.rng.random_range(-10_i64.pow(15)..10_i64.pow(15)),
                    w.rng.random_range(0..1_000_000_000)
                )
            }),
            self.or_null(|w| format!("{}e{}", w.rng.random::<i64>(), w.rng.random_range(-30..30))),
            self.text(),
            self.or_null(|w| format!("repeat('{:x}', 2000)", w.rng.random::<u64>())),
            self.or_null(|w| {
                format!(
                    "date '2000-01-01' + {}",
                    w.rng.random_range(-700_000..700_000)
                )
            }),
            self.or_null(|w| {
                format!(
                    "timestamp '2000-01-01' + {} * interval '1 microsecond'",
                    w.rng.random_range(-(10_i64.pow(15))..10_i64.pow(15))
                )
            }),
            self.or_null(|w| {
                format!(
                    "timestamptz '2000-01-01' + {} * interval '1 microsecond'",
                    w.rng.random_range(-(10_i64.pow(15))..10_i64.pow(15))
                )
            }),
            self.or_null(|w| {
                format!(
                    "ARRAY[{}, NULL, {}]::int[]",
                    w.rng.random::<i32>(),
                    w.rng.random::<i16>()
                )
            }),
            self.or_null(|w| format!("ARRAY[{}, {}, 'NULL', '']::text[]", w.text(), w.text())),
            self.or_null(|w| {
                format!(
                    "jsonb_build_object('a', {}, 'b', ARRAY[true, NULL], 'c', {}::text)",
                    w.rng.random::<i32>(),
                    w.text()
                )
            }),
            self.or_null(|w| {
                if w.rng.random() {
                    "'bof'"
                } else {
                    "'très bien'"
                }
                .to_owned()
            }),
            self.or_null(|w| format!("'\\x{:016x}'::bytea", w.rng.random::<u64>())),
            self.or_null(|w| format!("{:?}", w.rng.random::<f64>() * 1e6)),
            self.or_null(|w| w.rng.random::<bool>().to_string()),
            self.or_null(|w| format!("md5('{}')::uuid", w.rng.random::<u64>())),
        ];
        let mut sets = String::new();
        for column in [
            "n", "free", "t", "d", "ts", "tz", "arr", "words", "j", "e", "b", "f", "ok", "u",
        ] {
            write!(
                sets,
                "{}{column} = excluded.{column}",
                if sets.is_empty() { "" } else { ", " }
            )
            .expect("memory");
        }
        // `big` stays as it was, so that the log does not have it.
        format!(
            "INSERT INTO proof VALUES ({id}, {}) ON CONFLICT (id) DO UPDATE SET {sets};\n",
            values.join(", ")
        )
    }

    fn or_null(&mut self, value: impl FnOnce(&mut Self) -> String) -> String {
        if self.rng.random_bool(0.15) {
            "NULL".to_owned()
        } else {
            value(self)
        }
    }

    fn text(&mut self) -> String {
        const TEXTS: [&str; 8] = [
            "''",
            "'NULL'",
            "'é😀 日本'",
            "E'\\t\\n\\\\\"'",
            "'l''été'",
            "NULL",
            "'{a,b}'",
            "repeat('a', 300)",
        ];
        TEXTS[self.rng.random_range(0..TEXTS.len())].to_owned()
    }
}
