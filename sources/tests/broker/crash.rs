use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use changes::{ErrorKind, Purpose};
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use sources::broker::{Broker, BrokerConfig};

use crate::TestResult;
use crate::clients::{self, PATIENCE};
use crate::node::Node;
use crate::wire;

const ROUNDS: usize = 4;
const ACKNOWLEDGED_BEFORE_A_KILL: usize = 2000;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_acknowledged_before_a_kill_is_there_once() -> TestResult {
    let directory = tempfile::tempdir()?;
    let mut node = Node::start(directory.path()).await;
    let address = node.address.clone();
    clients::create_topic(&address, "ledger", 3).await;
    let producer: FutureProducer = clients::settings(&address, &Purpose::Produce)
        .set("reconnect.backoff.max.ms", "100")
        .create()?;
    let (acknowledged, mut acknowledgements) = tokio::sync::mpsc::channel(1000);
    let sender = producer.clone();
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let sending = tokio::spawn(async move {
        let mut number = 0_u64;
        while !*stopped.borrow() {
            let value = format!("{number:0>200}");
            let record: FutureRecord<'_, str, str> = FutureRecord::to("ledger")
                .partition((number % 3) as i32)
                .payload(&value);
            let delivery = match sender.send_result(record) {
                Ok(delivery) => delivery,
                Err((error, _)) => unreachable!("not queued: {error}"),
            };
            acknowledged
                .send((number, delivery))
                .await
                .expect("someone listens");
            number += 1;
        }
    });
    let mut places = HashMap::new();
    for _ in 0..ROUNDS {
        for _ in 0..ACKNOWLEDGED_BEFORE_A_KILL {
            let (number, delivery) = acknowledgements.recv().await.expect("still sending");
            let delivery = delivery.await?.map_err(|(error, _)| error)?;
            places.insert(number, (delivery.partition, delivery.offset));
        }
        node.kill().await;
        node = Node::start_at(directory.path(), &address).await;
    }
    stop.send(true)?;
    while let Some((number, delivery)) = acknowledgements.recv().await {
        let delivery = delivery.await?.map_err(|(error, _)| error)?;
        places.insert(number, (delivery.partition, delivery.offset));
    }
    sending.await?;
    producer.flush(PATIENCE)?;

    let mut found = HashMap::new();
    for message in clients::read_all(&address, "ledger", 3).await {
        let number: u64 = std::str::from_utf8(message.payload().unwrap_or_default())?.parse()?;
        let place = (message.partition(), message.offset());
        assert_eq!(
            found.insert(number, place),
            None,
            "message {number} is there twice"
        );
    }
    assert_eq!(found, places);
    node.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_is_cut_off() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    clients::create_topic(&node.address, "torn", 1).await;
    let producer = clients::producer(&node.address);
    clients::send(&producer, "torn", 0, "whole").await;
    node.kill().await;

    let log = segment(directory.path(), "torn");
    let mut batch = wire::batch(-1, -1, &["torn"]);
    batch[7] = 1;
    for tail in [&batch[..30], &batch[..batch.len() - 1], &[0; 100], b"noise"] {
        let size = fs::metadata(&log)?.len();
        OpenOptions::new()
            .append(true)
            .open(&log)?
            .write_all(tail)?;
        let node = Node::start(directory.path()).await;
        assert_eq!(clients::read_all(&node.address, "torn", 1).await.len(), 1);
        node.kill().await;
        assert_eq!(fs::metadata(&log)?.len(), size);
    }
    let node = Node::start(directory.path()).await;
    let producer = clients::producer(&node.address);
    assert_eq!(clients::send(&producer, "torn", 0, "next").await, 1);
    node.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_that_cannot_be_used_is_refused() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    clients::create_topic(&node.address, "kept", 1).await;
    let producer = clients::producer(&node.address);
    clients::send(&producer, "kept", 0, "x").await;
    assert_eq!(refusal(directory.path()), ErrorKind::Conflict);
    node.stop().await;

    let log = segment(directory.path(), "kept");
    let content = fs::read(&log)?;
    fs::write(&log, &content[..content.len() - 1])?;
    assert_eq!(refusal(directory.path()), ErrorKind::Corrupt);
    fs::write(&log, &content)?;
    let config = BrokerConfig {
        path: directory.path().to_owned(),
        ..BrokerConfig::default()
    };
    drop(Broker::open(config, clock())?);

    fs::write(directory.path().join("format"), "sportlake-broker 99\n")?;
    assert_eq!(refusal(directory.path()), ErrorKind::Conflict);
    Ok(())
}

fn refusal(directory: &Path) -> ErrorKind {
    let config = BrokerConfig {
        path: directory.to_owned(),
        ..BrokerConfig::default()
    };
    match Broker::open(config, clock()) {
        Ok(_) => unreachable!("the directory was opened"),
        Err(error) => {
            assert!(error.hint_text().is_some(), "{error}");
            error.kind()
        }
    }
}

fn clock() -> sources::broker::Clock {
    Arc::new(|| chrono::DateTime::from_timestamp(1_760_000_000, 0).expect("valid"))
}

fn segment(directory: &Path, topic: &str) -> PathBuf {
    directory
        .join("topics")
        .join(topic)
        .join("0/00000000000000000000.log")
}
