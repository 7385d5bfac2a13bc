use std::time::Duration;

use engine::ErrorKind;
use ingest::IngestConfig;

use crate::support::{Broker, Ingest, TestLake, envelope, offsets, quick, rows};

fn coordinates(lake: &TestLake, table: &str) -> Vec<(i64, i64)> {
    rows(&lake.path(), table)
        .iter()
        .map(|row| (row.partition, row.offset))
        .collect()
}

fn dense(partitions: i64, count: i64) -> Vec<(i64, i64)> {
    (0..partitions)
        .flat_map(|partition| (0..count).map(move |offset| (partition, offset)))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_match_become_tables() {
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    for table in ["employees", "declared_sports", "sport_activities"] {
        let topic = format!("sportsdata.public.{table}");
        broker.create(&topic, 2).await;
        broker.send_rows(&topic, 0, 0..5).await;
        broker.send_rows(&topic, 1, 5..10).await;
    }
    broker.create("other.public.orders", 1).await;
    broker.send_rows("other.public.orders", 0, 0..1).await;
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    for table in ["employees", "declared_sports", "sport_activities"] {
        let found = ingest.until(table, 10).await;
        assert_eq!(coordinates(&lake, table), dense(2, 5));
        assert_eq!(found[0].value.as_deref(), Some(envelope(0).as_slice()));
        assert_eq!(found[9].op.as_deref(), Some("c"));
        assert_eq!(found[9].source_lsn, Some(109));
    }
    ingest.stop().await;
    assert_eq!(
        offsets(&lake.path(), "employees")
            .into_values()
            .collect::<Vec<_>>(),
        [5, 5]
    );
    assert!(!lake.path().join("bronze/orders").exists());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_appears_is_read() {
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    broker.create("sportsdata.public.first", 1).await;
    broker.send_rows("sportsdata.public.first", 0, 0..3).await;
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    ingest.until("first", 3).await;
    broker.create("sportsdata.public.second", 2).await;
    broker.send_rows("sportsdata.public.second", 1, 0..3).await;
    ingest.until("second", 3).await;
    broker.send_rows("sportsdata.public.first", 0, 3..4).await;
    ingest.until("first", 4).await;
    ingest.stop().await;
    assert_eq!(coordinates(&lake, "first"), dense(1, 4));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_commits_what_was_read() {
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    let topic = "sportsdata.public.employees";
    broker.create(topic, 1).await;
    broker.send_rows(topic, 0, 0..12).await;
    let config = IngestConfig {
        flush_interval: Duration::from_secs(3600),
        flush_rows: 10,
        ..quick()
    };
    let ingest = Ingest::start(&broker.kafka, &lake, config).await;
    // The first ten fill a buffer; the other two come from the same answer of the broker.
    ingest.until("employees", 10).await;
    ingest.stop().await;
    assert_eq!(coordinates(&lake, "employees"), dense(1, 12));
    assert_eq!(broker.group_offset(topic, 0).await, Some(12));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_goes_on_when_the_broker_comes_back() {
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    let topic = "sportsdata.public.employees";
    broker.create(topic, 1).await;
    broker.send_rows(topic, 0, 0..5).await;
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    ingest.until("employees", 5).await;
    let broker = broker.restart().await;
    broker.send_rows(topic, 0, 5..10).await;
    ingest.until("employees", 10).await;
    ingest.stop().await;
    assert_eq!(coordinates(&lake, "employees"), dense(1, 10));
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_fits_in_memory_arrives_once() {
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    let topics = ["sportsdata.public.a", "sportsdata.public.b"];
    for topic in topics {
        broker.create(topic, 2).await;
        broker.send_rows(topic, 0, 0..2000).await;
        broker.send_rows(topic, 1, 0..2000).await;
    }
    let config = IngestConfig {
        flush_bytes: 16 << 10,
        max_buffered_bytes: 16 << 10,
        ..quick()
    };
    let ingest = Ingest::start(&broker.kafka, &lake, config).await;
    for table in ["a", "b"] {
        ingest.until(table, 4000).await;
    }
    ingest.stop().await;
    for table in ["a", "b"] {
        assert_eq!(coordinates(&lake, table), dense(2, 2000));
    }
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_topics_of_one_table_are_refused() {
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    broker.create("a.public.orders", 1).await;
    broker.create("b.public.orders", 1).await;
    let config = IngestConfig {
        topics: vec!["a.*".to_owned(), "b.*".to_owned()],
        ..quick()
    };
    let ingest = Ingest::start(&broker.kafka, &lake, config).await;
    let error = ingest.ended().await.expect_err("a collision");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(
        error
            .to_string()
            .contains("\"a.public.orders\" and \"b.public.orders\"")
    );
    assert!(!lake.path().join("bronze/orders").exists());
    broker.stop().await;
}
