//! Who is let in by each door, and what is said to who is not.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use changes::{
    ChangeEvent, Compression, ErrorKind, KafkaConfig, Mechanism, Op, Purpose, Secret, Security,
    diagnose,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Map, json};
use sources::Publisher;
use sources::topics::{self, SourceTopic, TopicsConfig};

use crate::java::jars;
use crate::secured::Secured;

const PATIENCE: Duration = Duration::from_secs(60);

fn event(id: i64) -> ChangeEvent {
    let row = Map::from_iter([
        ("id".to_owned(), json!(id)),
        ("nom".to_owned(), json!("x".repeat(4000))),
    ]);
    ChangeEvent {
        op: Op::Create,
        key: Map::from_iter([("id".to_owned(), json!(id))]),
        before: None,
        after: Some(row),
        lsn: id,
        ts_us: id,
    }
}

/// How many messages there are, read from the first.
fn count(kafka: &KafkaConfig, topic: &str) -> usize {
    let consumer: BaseConsumer = kafka
        .client(&Purpose::Consume)
        .create()
        .expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    let from = assignment.add_partition_offset(topic, 0, Offset::Beginning);
    from.expect("added");
    consumer.assign(&assignment).expect("assigned");
    let mut count = 0;
    while consumer.poll(PATIENCE).expect("it answers").is_ok() {
        count += 1;
    }
    count
}

/// The codecs of the batches in a partition's log, as their headers say.
fn codecs(folder: &Path) -> BTreeSet<u8> {
    let log = folder.join("data/sportsdata.public.employees-0/00000000000000000000.log");
    let bytes = std::fs::read(log).expect("a log");
    let mut codecs = BTreeSet::new();
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + 23) {
        let length = u32::from_be_bytes(header[8..12].try_into().expect("four bytes"));
        if length == 0 {
            break;
        }
        codecs.insert(header[22] & 7);
        at += 12 + usize::try_from(length).expect("a length");
    }
    codecs
}

#[tokio::test(flavor = "multi_thread")]
async fn every_door_and_codec_takes_and_gives() {
    let Some(jars) = jars() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Secured::start(&jars, folder.path()).await;
    use Compression as Codec;
    use Mechanism::{Plain, ScramSha256, ScramSha512};
    let doors = [
        (broker.at(Security::Plaintext), Codec::None),
        (
            broker.signed_in(Security::SaslPlaintext, Plain),
            Codec::Gzip,
        ),
        (
            broker.signed_in(Security::SaslPlaintext, ScramSha256),
            Codec::Snappy,
        ),
        (broker.signed_in(Security::SaslSsl, Plain), Codec::Lz4),
        (
            broker.signed_in(Security::SaslSsl, ScramSha256),
            Codec::Zstd,
        ),
        (
            broker.signed_in(Security::SaslSsl, ScramSha512),
            Codec::Zstd,
        ),
        (broker.certified(), Codec::Lz4),
    ];
    let mut written = 0;
    for (kafka, compression) in doors {
        let kafka = KafkaConfig {
            compression,
            ..kafka
        };
        kafka.validate().expect("it goes together");
        assert!(diagnose(&kafka).is_none(), "{kafka:?}");
        topics::ensure(&kafka, &TopicsConfig::default())
            .await
            .expect("topics");
        let topic = SourceTopic::employees(&kafka).expect("a topic");
        let publisher = Publisher::connect(&kafka).expect("a producer");
        let events: Vec<ChangeEvent> = (0..20).map(event).collect();
        publisher
            .publish(&topic, &events, None)
            .await
            .expect("acknowledged");
        written += events.len();
        let name = topic.topic.to_string();
        let read = tokio::task::spawn_blocking(move || count(&kafka, &name));
        assert_eq!(read.await.expect("read"), written);
    }
    assert_eq!(codecs(folder.path()), BTreeSet::from([0, 1, 2, 3, 4]));
    refusals(&broker).await;
}

/// One message with its remedy for each, and no secret in any.
async fn refusals(broker: &Secured) {
    use Mechanism::{Plain, ScramSha512};
    let wrong = |kafka: KafkaConfig| KafkaConfig {
        password: Secret::new("let me guess"),
        ..kafka
    };
    let port_of = |kafka: KafkaConfig, other: KafkaConfig| kafka.with_brokers(other.brokers);
    let stranger = KafkaConfig {
        certificate_file: broker.folder.join("stranger.crt"),
        key_file: broker.folder.join("stranger.key"),
        ..broker.at(Security::Ssl)
    };
    let distrustful = KafkaConfig {
        ca_file: broker.folder.join("other.pem"),
        ..broker.signed_in(Security::SaslSsl, Plain)
    };
    let bad_key = KafkaConfig {
        key_password: Secret::new("let me guess"),
        ..broker.certified()
    };
    let cases = [
        (
            wrong(broker.signed_in(Security::SaslSsl, Plain)),
            ErrorKind::Unauthenticated,
            "refuse the user \"plain\"",
            "KAFKA__PASSWORD",
        ),
        (
            wrong(broker.signed_in(Security::SaslPlaintext, ScramSha512)),
            ErrorKind::Unauthenticated,
            "refuse the user \"scram512\"",
            "password_file",
        ),
        (
            distrustful,
            ErrorKind::Unauthenticated,
            "is not trusted",
            "kafka.ca_file",
        ),
        (
            broker.at(Security::Ssl),
            ErrorKind::Unauthenticated,
            "did not agree on TLS",
            "certificate_file",
        ),
        (
            stranger,
            ErrorKind::Unauthenticated,
            "did not agree on TLS",
            "certificate_file",
        ),
        (
            bad_key,
            ErrorKind::InvalidRequest,
            "could not set up",
            "key_password",
        ),
        (
            port_of(broker.certified(), broker.at(Security::Plaintext)),
            ErrorKind::Unavailable,
            "speaks no TLS",
            "security",
        ),
        (
            port_of(broker.at(Security::Plaintext), broker.at(Security::Ssl)),
            ErrorKind::Unavailable,
            "does not speak \"plaintext\"",
            "kafka.security",
        ),
        (
            port_of(
                broker.at(Security::Plaintext),
                broker.at(Security::SaslPlaintext),
            ),
            ErrorKind::Unavailable,
            "does not speak \"plaintext\"",
            "sasl_plaintext",
        ),
        (
            broker.at(Security::Plaintext).with_brokers("127.0.0.1:1"),
            ErrorKind::Unavailable,
            "no broker answers",
            "kafka.brokers",
        ),
        (
            broker
                .at(Security::Plaintext)
                .with_brokers("nowhere.invalid:9092"),
            ErrorKind::Unavailable,
            "nowhere.invalid",
            "kafka.brokers",
        ),
    ];
    let mut faults = Vec::new();
    for (kafka, kind, message, hint) in cases {
        let (told, began) = (format!("{kafka:?}"), std::time::Instant::now());
        let diagnosed = tokio::task::spawn_blocking(move || diagnose(&kafka))
            .await
            .expect("told");
        let Some(error) = diagnosed else {
            faults.push(format!("{message}: let in, {told}"));
            continue;
        };
        let all = format!("{error:?} {told}");
        let is_right = error.kind() == kind
            && error.to_string().contains(message)
            && error.hint_text().is_some_and(|text| text.contains(hint));
        if !is_right
            || all.contains("let me guess")
            || all.contains("sesame")
            || began.elapsed() > PATIENCE / 4
        {
            faults.push(format!("{message}: {error:?} after {:?}", began.elapsed()));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // And it is what a user of the topics is told, without a long wait.
    let began = std::time::Instant::now();
    let error = topics::ensure(
        &wrong(broker.signed_in(Security::SaslSsl, Plain)),
        &TopicsConfig::default(),
    )
    .await;
    assert_eq!(
        error.expect_err("refused").kind(),
        ErrorKind::Unauthenticated
    );
    assert!(began.elapsed() < PATIENCE / 4);
}
