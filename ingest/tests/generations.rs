use changes::{ChangeEvent, Op, SourceTable};
use serde_json::{Map, json};

use crate::support::{Broker, Ingest, Sent, TestLake, quick};

const TOPIC: &str = "sportsdata.public.employees";

/// What the embedded sources write: every change is a commit of its own.
fn embedded(lsn: i64, ts_ms: i64) -> Vec<u8> {
    let table = SourceTable {
        name: "sportsdata".to_owned(),
        db: "sportsdb".to_owned(),
        schema: "public".to_owned(),
        table: "employees".to_owned(),
    };
    let event = ChangeEvent {
        op: Op::Create,
        key: Map::from_iter([("id".to_owned(), json!(1))]),
        before: None,
        after: Some(Map::from_iter([("id".to_owned(), json!(1))])),
        lsn,
        ts_us: ts_ms * 1000,
    };
    event.value_bytes(&table)
}

/// What Debezium writes: a position of its own in a transaction that began after `commit`.
fn postgres(op: &str, commit: Option<i64>, lsn: i64, ts_ms: i64) -> Vec<u8> {
    let commit = commit.map(|commit| commit.to_string());
    let sequence = json!([commit, lsn.to_string()]).to_string();
    json!({
        "before": null,
        "after": {"id": 1},
        "source": {
            "connector": "postgresql", "name": "sportsdata", "ts_ms": ts_ms, "lsn": lsn, "sequence": sequence,
        },
        "op": op,
    })
    .to_string()
    .into_bytes()
}

async fn send(broker: &Broker, values: &[Vec<u8>]) {
    for value in values {
        let message = Sent {
            value: Some(value),
            ..Sent::default()
        };
        broker.send(TOPIC, message).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_source_with_lower_positions_is_a_later_generation_also_after_a_restart() {
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    broker.create(TOPIC, 1).await;
    send(&broker, &[embedded(9_000, 1_000), embedded(9_001, 2_000)]).await;
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    ingest.until("employees", 2).await;
    ingest.stop().await;

    // A snapshot, then overlapping transactions, then what a restarted connector repeats.
    let postgres = [
        postgres("r", None, 100, 3_000),
        postgres("c", None, 150, 4_000),
        postgres("u", Some(160), 200, 5_000),
        postgres("u", Some(220), 180, 6_000),
        postgres("u", Some(160), 200, 5_000),
        postgres("u", Some(220), 180, 6_000),
    ];
    send(&broker, &postgres[..3]).await;
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    ingest.until("employees", 5).await;
    ingest.stop().await;
    send(&broker, &postgres[3..]).await;
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    let rows = ingest.until("employees", 8).await;
    ingest.stop().await;
    broker.stop().await;

    let generations: Vec<_> = rows.iter().filter_map(|row| row.generation).collect();
    assert_eq!(generations, [0, 0, 1, 1, 1, 1, 1, 1]);
}
