//! What may happen to topics and to the lake while ingest runs.

use std::fs;

use crate::support::{
    Broker, Ingest, TestLake, envelope, listen, offsets, quick, rows, segment, warned,
};

fn coordinates(lake: &TestLake, table: &str) -> Vec<(i64, i64)> {
    rows(&lake.path(), table)
        .iter()
        .map(|row| (row.partition, row.offset))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_added_are_read_from_their_start() {
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    let topic = "sportsdata.public.growing";
    broker.create(topic, 1).await;
    broker.send_rows(topic, 0, 0..3).await;
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    ingest.until("growing", 3).await;
    broker.grow(topic, 3).await;
    let broker = broker.restart().await;
    broker.send_rows(topic, 1, 0..4).await;
    broker.send_rows(topic, 2, 0..2).await;
    broker.send_rows(topic, 0, 3..5).await;
    ingest.until("growing", 11).await;
    ingest.stop().await;
    let found = coordinates(&lake, "growing");
    let of = |partition: i64, count: i64| (0..count).map(move |offset| (partition, offset));
    let expected: Vec<_> = of(0, 5).chain(of(1, 4)).chain(of(2, 2)).collect();
    assert_eq!(found, expected);
    let stored = offsets(&lake.path(), "growing");
    assert_eq!(stored.into_values().collect::<Vec<_>>(), [5, 4, 2]);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lake_that_goes_away_and_comes_back_loses_and_doubles_nothing() {
    listen();
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    let topic = "sportsdata.public.away";
    broker.create(topic, 1).await;
    broker.send_rows(topic, 0, 0..5).await;
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    ingest.until("away", 5).await;

    let table = lake.path().join("bronze/away");
    let elsewhere = lake.path().join("elsewhere");
    fs::rename(&table, &elsewhere).expect("away");
    fs::write(&table, "no directory").expect("in the way");
    broker.send_rows(topic, 0, 5..9).await;
    warned(&["commit failed", "\"away\""]).await;
    broker.send_rows(topic, 0, 9..12).await;
    fs::remove_file(&table).expect("out of the way");
    fs::rename(&elsewhere, &table).expect("back");

    ingest.until("away", 12).await;
    ingest.stop().await;
    let expected: Vec<_> = (0..12).map(|offset| (0, offset)).collect();
    assert_eq!(coordinates(&lake, "away"), expected);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_without_messages_are_passed_over_and_remembered() {
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    let topic = "sportsdata.public.gaps";
    broker.create(topic, 1).await;
    broker.send_rows(topic, 0, 0..3).await;
    broker.stop().await;
    let left = [(5, envelope(5)), (8, envelope(8))];
    segment::append(
        &lake.broker_path(),
        topic,
        0,
        &[
            segment::marker(3),
            segment::compacted(4, 9, &left),
            segment::compacted(10, 11, &[]),
            segment::marker(12),
        ],
    );
    let broker = Broker::start(&lake.broker_path()).await;
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    ingest.until("gaps", 5).await;
    broker.send_rows(topic, 0, 13..14).await;
    ingest.until("gaps", 6).await;
    ingest.stop().await;
    let found: Vec<i64> = coordinates(&lake, "gaps")
        .into_iter()
        .map(|(_, o)| o)
        .collect();
    assert_eq!(found, [0, 1, 2, 5, 8, 13]);
    broker.stop().await;

    // At its end are offsets that nothing was ever read at.
    segment::append(&lake.broker_path(), topic, 0, &[segment::marker(14)]);
    let broker = Broker::start(&lake.broker_path()).await;
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    ingest.until("gaps", 6).await;
    ingest.stop().await;
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    broker.send_rows(topic, 0, 15..16).await;
    ingest.until("gaps", 7).await;
    ingest.stop().await;
    broker.stop().await;
    assert_eq!(coordinates(&lake, "gaps").last(), Some(&(0, 15)));
    let stored = offsets(&lake.path(), "gaps");
    assert_eq!(stored.into_values().collect::<Vec<_>>(), [16]);
}
