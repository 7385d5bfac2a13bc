//! Our messages beside those of a real Debezium, for the same transactions, field by field.
//!
//! `SPORTLAKE_TEST_KAFKA` names the folder of Kafka's and Debezium's jars.

use changes::KafkaConfig;
use serde_json::{Value, json};
use sources::cdc::{CdcConfig, CdcOptions, Decimals, Times};

use crate::java::{Connect, RealKafka, jars};
use crate::kafka::{Message, messages};
use crate::node::{Capture, config};
use crate::postgres::{Database, PASSWORD, Server};

/// Every type, with edges of each; `big` is left alone by updates.
const GALLERY: &str = "CREATE TYPE mood AS ENUM ('bof', 'très bien');
    CREATE DOMAIN percent AS numeric(5, 2);
    CREATE TABLE gallery (k1 int, k2 text, i2 smallint, i8 bigint, n numeric(38, 2), n0 numeric(12), free numeric,
        f4 real, f8 float8, b boolean, t text, vc varchar(20), ch char(5), d date, tm time, tm3 time(3), tmz timetz,
        ts timestamp, ts3 timestamp(3), tz timestamptz, tz3 timestamptz(3), iv interval, u uuid, j json, jb jsonb,
        by bytea, ints int[], texts text[], e mood, p percent, net inet, b1 bit, b12 bit(12), b20 bit(20), vb varbit, vb9 varbit(9), big text,
        PRIMARY KEY (k2, k1));
    CREATE TABLE strict (id bigserial PRIMARY KEY, i int NOT NULL, t text NOT NULL, f float8 NOT NULL,
        b boolean NOT NULL DEFAULT true, n numeric(10, 2) NOT NULL, ts timestamp NOT NULL DEFAULT now(),
        tz timestamptz NOT NULL, d date NOT NULL, by bytea NOT NULL, word text NOT NULL DEFAULT 'none',
        five int DEFAULT 5, ints int[] NOT NULL, u uuid NOT NULL, j jsonb NOT NULL);
    CREATE TABLE whole (LIKE gallery INCLUDING ALL);
    ALTER TABLE whole REPLICA IDENTITY FULL;
    ALTER TABLE gallery ALTER big SET STORAGE EXTERNAL; ALTER TABLE whole ALTER big SET STORAGE EXTERNAL;
    GRANT SELECT ON gallery, strict, whole TO sportlake_cdc;
    ALTER PUBLICATION sportlake SET TABLE gallery, strict, whole";

const TABLES: [&str; 3] = ["gallery", "strict", "whole"];

fn rows(table: &str, key: u32) -> String {
    format!(
        "INSERT INTO {table} VALUES ({key}, 'a\"b', -2, 9007199254740993, -12345.67, 123456789012, 12345678901234.567, 1.1, 0.1,
            true, E'é😀\\n\\t\\\\', 'vc', 'ch', '2025-11-01', '07:42:13.123456', '07:42:13.123', '07:42:13.5+02',
            '2025-11-01 07:42:13.123456', '2025-11-01 07:42:13.12', '2025-11-01 07:42:13.12+02', '2025-11-01 07:42:13.1+02',
            '1 year 2 mons 3 days 04:05:06.7', '3f333df6-90a4-4fda-8dd3-9485d27cee36', '{{\"a\": 1}}', '{{\"b\":[true,null]}}',
            '\\xdeadbeef', '{{1,2,NULL}}', '{{a,\"b c\",NULL,\"NULL\"}}', 'très bien', 12.5, '10.0.0.1/24', B'1',
            B'101010101010', B'00000000000000000101', B'000000000101', B'00101', repeat('x', 9000));
        INSERT INTO {table} (k1, k2, n, n0, free, f4, f8, d, ts, tz, iv, tm, j, ints, ch, by, vc) VALUES ({key}, '', 0.05, -1,
            1e20, 'NaN', -1e300, '0044-03-15 BC', '1969-12-31 23:59:59.999999', '1900-01-01 00:00:00+00', '-1 day 02:03:04',
            '24:00:00', '[]', '{{}}', '', '', '');
        INSERT INTO {table} (k1, k2, d, ts, ts3, tz) VALUES ({key}, 'infinite', 'infinity', 'infinity', 'infinity', 'infinity');
        INSERT INTO {table} (k1, k2, d, ts, ts3, tz) VALUES ({key}, 'minus', '-infinity', '-infinity', '-infinity', '-infinity');
        INSERT INTO {table} (k1, k2, b12, b20, vb, vb9) VALUES ({key}, 'zeros', B'000000000000', B'00000000000000000000', B'', B'00000000');
        INSERT INTO {table} (k1, k2, b12, b20, vb, vb9, tm, tm3, ts, ts3) VALUES ({key}, 'bits', B'000000000001', B'10000000000000000000', B'1000000010', B'1',
            '00:00:00', '23:59:59.999', '0044-03-15 12:00:00.5 BC', '1969-12-31 23:59:59.999');
        INSERT INTO {table} (k1, k2) VALUES ({key}, 'nulls');"
    )
}

fn workload() -> String {
    let mut sql = String::new();
    for table in ["gallery", "whole"] {
        sql += &rows(table, 2);
        sql += &format!(
            "UPDATE {table} SET i2 = 7 WHERE k1 = 2; UPDATE {table} SET k2 = 'moved', t = 'x' WHERE k1 = 2 AND k2 = '';
             BEGIN; DELETE FROM {table} WHERE k2 = 'nulls'; INSERT INTO {table} (k1, k2) VALUES (3, 'again');
             UPDATE {table} SET t = 'y' WHERE k1 = 3; COMMIT; BEGIN; DELETE FROM {table}; ROLLBACK;
             TRUNCATE {table}; INSERT INTO {table} (k1, k2) VALUES (9, 'end');"
        );
    }
    sql + "INSERT INTO strict (i, t, f, n, tz, d, by, ints, u, j, ts) VALUES (1, 't', 1, 1.5, '2025-01-01', '2025-01-01', 'x', '{1}',
            '3f333df6-90a4-4fda-8dd3-9485d27cee36', '{}', '2025-01-01');
        DELETE FROM strict;
        INSERT INTO strict (i, t, f, n, tz, d, by, ints, u, j, ts) VALUES (9, 't', 1, 1.5, '2025-01-01', '2025-01-01', 'x', '{1}',
            '3f333df6-90a4-4fda-8dd3-9485d27cee36', '{}', '2025-01-01')"
}

async fn all(kafka: &KafkaConfig, table: &'static str) -> Vec<Message> {
    // What the loads and the workload come to, tombstones included.
    let count = if table == "strict" { 4 } else { 32 };
    let mut found = messages(kafka, table, move |found| found.len() >= count).await;
    // Partitions are read one beside the other; a truncate is in any of them.
    found.sort_by_key(|message| {
        let value = payload(&message.value);
        let lsn = value.pointer("/source/lsn").and_then(Value::as_i64);
        (
            value["op"] == "t",
            message.value.is_null(),
            lsn,
            payload(&message.key).to_string(),
            value["op"].to_string(),
        )
    });
    found
}

impl Message {
    fn op_of(&self) -> &str {
        payload(&self.value)["op"].as_str().unwrap_or_default()
    }
}

fn payload(value: &Value) -> &Value {
    value.get("payload").unwrap_or(value)
}

/// Leaves out what cannot be equal: times of writing, versions, and a load's position (ADR 15).
fn comparable(message: &Message) -> Value {
    let mut value = message.value.clone();
    let inner = if value.get("payload").is_some() {
        &mut value["payload"]
    } else {
        &mut value
    };
    if inner.is_object() {
        for field in ["ts_ms", "ts_us", "ts_ns"] {
            inner[field] = json!(inner[field].is_i64());
        }
        let loaded = inner["op"] == "r";
        let source = &mut inner["source"];
        for field in ["version", "sequence"] {
            source[field] = json!(source[field].is_string());
        }
        // Null stands for the default, "false", where the converter is told not to replace it.
        if source["snapshot"].is_null() {
            source["snapshot"] = json!("false");
        }
        if loaded {
            for field in ["ts_ms", "ts_us", "ts_ns", "lsn", "txId", "snapshot"] {
                source[field] = json!(!source[field].is_null());
            }
        }
    }
    // Its snapshot takes days through a calendar of another age; its stream, and ours, do not.
    let row = inner.pointer_mut("/after");
    if inner_is_loaded(&message.value)
        && let Some(row) = row.filter(|row| row["k2"] != "a\"b" && row["k2"] != "nulls")
    {
        row["d"] = Value::Null;
    }
    let mut headers: Vec<_> = message
        .headers
        .iter()
        .filter(|(name, _)| !name.starts_with("__debezium.context"))
        .collect();
    headers.sort();
    let headers: Vec<Value> = headers
        .iter()
        .map(|(name, value)| {
            json!([
                name,
                serde_json::from_str::<Value>(value).unwrap_or_default()
            ])
        })
        .collect();
    // A truncate has none: our key says so in JSON, which compacted topics take.
    let key = match payload(&message.key) {
        Value::Null => &Value::Null,
        _ => &message.key,
    };
    json!({"key": key, "value": value, "headers": headers})
}

fn inner_is_loaded(value: &Value) -> bool {
    payload(value)["op"] == "r"
}

/// Every place where two values differ, with both.
fn differences(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            let names: std::collections::BTreeSet<&String> =
                ours.keys().chain(theirs.keys()).collect();
            for name in names {
                let absent = json!("(absent)");
                let (one, other) = (
                    ours.get(name).unwrap_or(&absent),
                    theirs.get(name).unwrap_or(&absent),
                );
                differences(&format!("{path}.{name}"), one, other, found);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) if ours.len() == theirs.len() => {
            for (at, (one, other)) in ours.iter().zip(theirs).enumerate() {
                differences(&format!("{path}[{at}]"), one, other, found);
            }
        }
        (Value::Number(one), Value::Number(other))
            if one.as_f64() == other.as_f64() && (one.is_f64() || other.is_f64()) => {}
        _ if ours == theirs => {}
        _ => found.push(format!("{path}: ours {ours}, Debezium's {theirs}")),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_messages_are_debeziums() {
    let (Some(jars), Some(server)) = (jars(), Server::start(&["wal_level=logical"])) else {
        return;
    };
    let database = Database::on(server.into(), "t_debezium");
    let folder = tempfile::tempdir().expect("a folder");
    let kafka = RealKafka::start(&jars, folder.path()).await;
    let secrets = [("SPORTLAKE_CDC_PASSWORD", PASSWORD)];
    let connect = Connect::start(&jars, folder.path(), &kafka.config, &secrets).await;
    database.sql(GALLERY);
    for table in ["gallery", "whole"] {
        database.sql(&rows(table, 1));
    }
    let ways = [
        (
            "precise",
            Decimals::Precise,
            true,
            Times::Adaptive,
            "adaptive",
        ),
        (
            "string",
            Decimals::String,
            false,
            Times::AdaptiveTimeMicroseconds,
            "adaptive_time_microseconds",
        ),
        ("double", Decimals::Double, true, Times::Connect, "connect"),
    ];
    let mut captures = Vec::new();
    for (name, decimals, schemas, times, precision) in ways {
        let theirs = json!({
            "database.hostname": "127.0.0.1", "database.port": database.server.port.to_string(),
            "database.dbname": database.name, "topic.prefix": format!("theirs_{name}"),
            "table.include.list": "public.gallery,public.strict,public.whole", "slot.name": format!("theirs_{name}"),
            "decimal.handling.mode": name, "time.precision.mode": precision, "key.converter.schemas.enable": schemas.to_string(),
            "value.converter.schemas.enable": schemas.to_string(),
        });
        connect.register(folder.path(), name, &theirs);
        let kafka = KafkaConfig {
            prefix: format!("ours_{name}"),
            ..kafka.config.clone()
        };
        let config = CdcConfig {
            slot: format!("ours_{name}"),
            state: folder.path().join(name),
            decimals,
            times,
            schemas,
            ..config(&database, folder.path())
        };
        let mut capture =
            Capture::start_with(database.address(), &kafka, &config, CdcOptions::default());
        capture.following().await;
        captures.push(capture);
    }
    // A connector runs before its snapshot is over.
    for (name, ..) in ways {
        let theirs = KafkaConfig {
            prefix: format!("theirs_{name}"),
            ..kafka.config.clone()
        };
        messages(&theirs, "whole", |found| found.len() >= 7).await;
    }
    database.sql(&workload());
    let mut found = Vec::new();
    for (name, ..) in ways {
        for table in TABLES {
            let with = |prefix: &str| KafkaConfig {
                prefix: format!("{prefix}_{name}"),
                ..kafka.config.clone()
            };
            let (ours, theirs) = (
                all(&with("ours"), table).await,
                all(&with("theirs"), table).await,
            );
            if ours.len() != theirs.len() {
                found.push(format!(
                    "{name} {table}: ours {} messages, Debezium's {}",
                    ours.len(),
                    theirs.len()
                ));
            }
            for (at, (one, other)) in ours.iter().zip(&theirs).enumerate() {
                let text = |message: &Message| {
                    let text = comparable(message)
                        .to_string()
                        .replace("ours_", "x_")
                        .replace("theirs_", "x_");
                    serde_json::from_str::<Value>(&text).expect("JSON")
                };
                differences(
                    &format!("{name} {table} {at} {}", one.op_of()),
                    &text(one),
                    &text(other),
                    &mut found,
                );
            }
        }
    }
    for capture in captures {
        capture.stop().await;
    }
    assert!(
        found.is_empty(),
        "{} differences:\n{}",
        found.len(),
        found.join("\n")
    );
}
