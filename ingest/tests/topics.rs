//! Topics that are asked for and not there, and topics that come when others are read already.

use engine::ErrorKind;
use ingest::IngestConfig;

use crate::support::{Broker, Ingest, TestLake, listen, quick, rows, warned};

const TOPIC: &str = "sportsdata.public.employees";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_matches_no_topic_is_said_and_read_once_it_is_there() {
    listen();
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    broker.create(TOPIC, 1).await;
    broker.send_rows(TOPIC, 0, 0..3).await;
    let asked = [TOPIC, "nowhere.*", "shop.public.later"];
    let config = IngestConfig {
        topics: asked.map(str::to_owned).to_vec(),
        ..quick()
    };
    let ingest = Ingest::start(&broker.kafka, &lake, config).await;
    ingest.until("employees", 3).await;
    for absent in &asked[1..] {
        warned(&["no topic matches", absent, "topics list"]).await;
    }
    broker.create("shop.public.later", 1).await;
    broker.send_rows("shop.public.later", 0, 0..2).await;
    ingest.until("later", 2).await;
    ingest.stop().await;
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_that_would_fill_the_same_table_ends_nothing() {
    listen();
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    broker.create(TOPIC, 1).await;
    broker.send_rows(TOPIC, 0, 0..3).await;
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    ingest.until("employees", 3).await;
    let newcomer = "sportsdata.other.employees";
    broker.create(newcomer, 1).await;
    broker.send_rows(newcomer, 0, 10..15).await;
    warned(&["is not read", newcomer, TOPIC]).await;
    broker.send_rows(TOPIC, 0, 3..5).await;
    ingest.until("employees", 5).await;
    ingest.stop().await;
    assert_eq!(rows(&lake.path(), "employees").len(), 5);
    // A start is there to be read.
    let error = Ingest::start(&broker.kafka, &lake, quick())
        .await
        .ended()
        .await;
    assert_eq!(error.expect_err("two").kind(), ErrorKind::Conflict);
    broker.stop().await;
}
