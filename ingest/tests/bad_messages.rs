use crate::support::{Broker, Ingest, Row, Sent, TestLake, envelope, quick};

const TOPIC: &str = "sportsdata.public.employees";

/// Sends the messages to one partition, in order, and reads their rows.
async fn ingested(messages: Vec<Sent<'_>>) -> Vec<Row> {
    let lake = TestLake::new();
    let broker = Broker::start(&lake.broker_path()).await;
    broker.create(TOPIC, 1).await;
    let count = messages.len();
    for message in messages {
        broker.send(TOPIC, message).await;
    }
    let ingest = Ingest::start(&broker.kafka, &lake, quick()).await;
    let rows = ingest.until("employees", count).await;
    ingest.stop().await;
    broker.stop().await;
    rows
}

fn value(value: &[u8]) -> Sent<'_> {
    Sent {
        value: Some(value),
        ..Sent::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn poison_stands_between_good_rows() {
    let good = envelope(1);
    let rows = ingested(vec![
        value(&good),
        value(b"\xff\xfenot json"),
        value(b"{\"op\":\"explode\"}"),
        value(&good),
    ])
    .await;
    let errors: Vec<_> = rows.iter().map(|row| row.error.as_deref()).collect();
    assert_eq!(
        errors,
        [None, Some("not JSON: not UTF-8"), Some("unknown op"), None]
    );
    assert_eq!(
        rows[1].value.as_deref(),
        Some(b"\xff\xfenot json".as_slice())
    );
    assert_eq!(rows[3].op.as_deref(), Some("c"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tombstone_is_no_empty_value() {
    let tombstone = Sent {
        key: Some(b"k"),
        ..Sent::default()
    };
    let rows = ingested(vec![tombstone, value(b"")]).await;
    assert_eq!(
        (rows[0].value.as_deref(), rows[0].error.as_deref()),
        (None, None)
    );
    assert_eq!(rows[0].key.as_deref(), Some(b"k".as_slice()));
    assert_eq!(rows[1].value.as_deref(), Some(b"".as_slice()));
    assert_eq!(rows[1].error.as_deref(), Some("empty value"));
    assert_eq!(rows[1].key, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_megabytes_are_a_row() {
    let mut large = br#"{"op":"c","after":{"commentaire":""#.to_vec();
    large.resize(10_000_000, b'x');
    large.extend_from_slice(b"\"}}");
    let rows = ingested(vec![value(&large), value(b"{}")]).await;
    assert_eq!(rows[0].value.as_deref(), Some(large.as_slice()));
    assert_eq!(rows[0].op.as_deref(), Some("c"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_are_kept_and_name_the_generation() {
    let good = envelope(1);
    let headers: [(&str, Option<&[u8]>); 3] = [
        (changes::GENERATION_HEADER, Some(b"2")),
        ("trace", None),
        ("raw", Some(b"\xff")),
    ];
    let rows = ingested(vec![
        Sent {
            value: Some(&good),
            headers: &headers,
            ..Sent::default()
        },
        value(&good),
    ])
    .await;
    assert_eq!(
        rows[0].headers.as_deref(),
        Some(r#"[["sportlake.generation","2"],["trace",null],["raw:base64","/w=="]]"#)
    );
    let generations = (rows[0].generation, rows[1].generation);
    assert_eq!(generations, (Some(2), Some(2)), "what follows is no older");
    assert_eq!(rows[1].headers, None);
}
