use engine::ErrorKind;
use engine::bronze::{BronzeTable, PartitionOffset};
use ingest::IngestConfig;

use crate::support::{Broker, Ingest, Sent, TestLake, clock, quick, rows};

const TOPIC: &str = "sportsdata.public.employees";

fn stored(lake: &TestLake) -> Vec<i64> {
    rows(&lake.path(), "employees")
        .iter()
        .map(|row| row.offset)
        .collect()
}

/// Ten rows are stored, and the topic is another of that name, which is empty.
async fn ten_and_the_topic_made_again() -> (TestLake, Broker) {
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    broker.create(TOPIC, 1).await;
    broker.send_rows(TOPIC, 0, 0..10).await;
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    ingest.until("employees", 10).await;
    ingest.stop().await;
    broker.delete(TOPIC).await;
    broker.create(TOPIC, 1).await;
    (lake, broker)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_where_the_table_ends() {
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    broker.create(TOPIC, 1).await;
    for start in [0, 40, 80] {
        broker.send_rows(TOPIC, 0, start..start + 20).await;
        let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
        let before = usize::try_from(start).expect("small");
        ingest.until("employees", before + 20).await;
        broker.send_rows(TOPIC, 0, start + 20..start + 40).await;
        ingest.until("employees", before + 40).await;
        ingest.stop().await;
    }
    assert_eq!(stored(&lake), (0..120).collect::<Vec<_>>());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_outside_the_topic_is_an_error_with_its_cure() {
    let (lake, broker) = ten_and_the_topic_made_again().await;
    broker.send_rows(TOPIC, 0, 0..4).await;
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    let error = ingest.ended().await.expect_err("outside");
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(
        error.to_string(),
        format!(
            "stored offset 10 of \"{TOPIC}\" partition 0 lies outside the topic, which holds 0 to 4"
        )
    );
    let hint = error.hint_text().expect("a hint");
    assert!(
        hint.contains(&format!("sportlake ingest --from-earliest {TOPIC}")),
        "{hint}"
    );
    assert_eq!(stored(&lake).len(), 10);

    let config = IngestConfig {
        from_earliest: vec![TOPIC.to_owned()],
        ..quick()
    };
    for _ in 0..2 {
        let ingest = Ingest::start(&broker.kafka, &lake, config.clone()).await;
        ingest.until("employees", 14).await;
        ingest.stop().await;
    }
    assert_eq!(stored(&lake).len(), 14);
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_again_is_noticed_by_newer_changes() {
    let (lake, broker) = ten_and_the_topic_made_again().await;
    for id in 0..12 {
        // A capture loads its table again, which takes place later than all before.
        let value = format!(
            r#"{{"after":{{"id":{id}}},"source":{{"lsn":900,"ts_ms":1700000005000}},"op":"r"}}"#
        );
        let message = Sent {
            partition: 0,
            key: None,
            value: Some(value.as_bytes()),
            headers: &[],
        };
        broker.send(TOPIC, message).await;
    }
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    let error = ingest.ended().await.expect_err("another topic");
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("made again"), "{error}");
    let hint = error.hint_text().expect("a hint");
    assert!(
        hint.contains(&format!("sportlake ingest --from-earliest {TOPIC}")),
        "{hint}"
    );

    let allowed = IngestConfig {
        from_earliest: vec![TOPIC.to_owned()],
        ..quick()
    };
    // Once: it is the topic that is read from then on.
    for config in [allowed.clone(), allowed, quick()] {
        let ingest = Ingest::start(&broker.kafka, &lake, config).await;
        ingest.until("employees", 22).await;
        ingest.stop().await;
    }
    assert_eq!(stored(&lake).len(), 22);
    broker.stop().await;
}

/// Its messages are as many as those before, so that the stored offset lies within it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_again_is_read_whole_when_told_so() {
    let (lake, broker) = ten_and_the_topic_made_again().await;
    broker.send_rows(TOPIC, 0, 100..112).await;

    let anew = IngestConfig {
        anew: vec![TOPIC.to_owned()],
        ..quick()
    };
    let ingest = Ingest::start(&broker.kafka, &lake, anew).await;
    ingest.until("employees", 22).await;
    ingest.stop().await;
    // Who is told nothing goes on from there, and so does who may start again where that is needed.
    broker.send_rows(TOPIC, 0, 112..114).await;
    let allowed = IngestConfig {
        from_earliest: vec![TOPIC.to_owned()],
        ..quick()
    };
    for config in [quick(), allowed] {
        let ingest = Ingest::start(&broker.kafka, &lake, config).await;
        ingest.until("employees", 24).await;
        ingest.stop().await;
    }
    let found = rows(&lake.path(), "employees");
    let mut found: Vec<(i64, i64)> = found
        .iter()
        .map(|row| (row.generation.expect("a change"), row.offset))
        .collect();
    found.sort_unstable();
    let before = (0..10).map(|offset| (0, offset));
    let after = (0..14).map(|offset| (1, offset));
    assert_eq!(found, before.chain(after).collect::<Vec<_>>());
    broker.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_that_was_overtaken_stops_and_doubles_nothing() {
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    broker.create(TOPIC, 1).await;
    broker.send_rows(TOPIC, 0, 0..3).await;
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    ingest.until("employees", 3).await;

    let stale = lake.stale_lease().await;
    let opened = lake.open().await;
    let mut table = BronzeTable::open_or_create(&opened, &stale, "employees", clock())
        .await
        .expect("the table");
    let overtaking = PartitionOffset {
        topic: TOPIC.to_owned(),
        partition: 0,
        from: Some(3),
        next: 5,
    };
    table
        .append(Vec::new(), &[overtaking])
        .await
        .expect("offsets move");

    broker.send_rows(TOPIC, 0, 3..4).await;
    let error = ingest.ended().await.expect_err("overtaken");
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.to_string().contains("bronze.employees"), "{error}");
    assert_eq!(stored(&lake), [0, 1, 2]);
    broker.stop().await;
}
