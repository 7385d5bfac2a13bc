//! Topics from configuration, by a real broker and by the embedded one.

use std::collections::BTreeMap;
use std::sync::Arc;

use changes::{ErrorKind, KafkaConfig, Security};
use sources::broker::{Broker, BrokerConfig};
use sources::topics::{self, CreateOptions, Override, Policy, Remedy, TopicPlan, TopicsConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::java::jars;
use crate::secured::Secured;

const ORDERS: &str = "shop.public.orders";
const DRY: CreateOptions = CreateOptions {
    dry_run: true,
    allow_loss: false,
};
const WET: CreateOptions = CreateOptions {
    dry_run: false,
    allow_loss: false,
};
const LOSSY: CreateOptions = CreateOptions {
    dry_run: false,
    allow_loss: true,
};

fn config(orders: Override) -> TopicsConfig {
    TopicsConfig {
        retention_hours: 24,
        overrides: BTreeMap::from([(ORDERS.to_owned(), orders)]),
        ..TopicsConfig::default()
    }
}

/// What differs of one topic, with what becomes of it.
fn of<'a>(plans: &'a [TopicPlan], topic: &str) -> Vec<(&'a str, &'a Remedy)> {
    let plan = plans
        .iter()
        .find(|plan| plan.topic == topic)
        .expect("planned");
    let all = plan.differences.iter();
    all.map(|one| (one.what.as_str(), &one.remedy)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_broker_is_brought_to_the_configuration() {
    let Some(jars) = jars() else { return };
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Secured::start(&jars, folder.path()).await;
    let kafka = broker.at(Security::Plaintext);
    let first = config(Override {
        partitions: Some(2),
        cleanup_policy: Some(Policy::Delete),
        ..Override::default()
    });
    let plans = topics::create(&kafka, &first, DRY).await.expect("planned");
    assert_eq!(plans.len(), 5);
    assert_eq!(of(&plans, ORDERS), [("topic", &Remedy::Create)]);
    assert!(
        topics::list(&kafka).await.expect("listed").is_empty(),
        "it was dry"
    );
    let answering = topics::answering(&kafka).await.expect("they answer");
    assert_eq!((answering.brokers, answering.topics), (1, 0));
    assert_eq!(answering.release, Some("4.1 or newer"));
    topics::create(&kafka, &first, WET).await.expect("made");
    let again = topics::create(&kafka, &first, WET).await.expect("the same");
    assert!(
        again.iter().all(|plan| plan.differences.is_empty()),
        "{again:?}"
    );
    let described = topics::describe(&kafka, &first, &[]).await.expect("there");
    let orders = described
        .iter()
        .find(|topic| topic.topic == ORDERS)
        .expect("made");
    assert_eq!((orders.partitions, orders.replication), (2, 1));
    assert_eq!(orders.settings["retention.ms"], "86400000");

    let second = config(Override {
        partitions: Some(4),
        replication: Some(3),
        retention_hours: Some(1),
        retention_bytes: Some(-1),
        cleanup_policy: Some(Policy::Both),
    });
    let plans = topics::create(&kafka, &second, WET)
        .await
        .expect("as far as it goes");
    let reason = Remedy::Leave("an administrator moves copies: kafka-reassign-partitions");
    let expected = [
        ("partitions", &Remedy::Change),
        ("replication", &reason),
        ("cleanup.policy", &Remedy::Lossy),
        ("retention.ms", &Remedy::Lossy),
    ];
    assert_eq!(of(&plans, ORDERS), expected);
    let plans = topics::create(&kafka, &second, LOSSY)
        .await
        .expect("allowed");
    assert_eq!(of(&plans, ORDERS), expected[1..]);
    let plans = topics::create(&kafka, &second, DRY).await.expect("planned");
    assert_eq!(of(&plans, ORDERS), [("replication", &reason)]);
    let orders = topics::describe(&kafka, &second, &[ORDERS.to_owned()])
        .await
        .expect("there");
    assert_eq!(orders[0].partitions, 4);
    assert_eq!(orders[0].settings["retention.ms"], "3600000");
    assert_eq!(orders[0].settings["cleanup.policy"], "compact,delete");

    let absent = topics::describe(&kafka, &second, &["a.b.c".to_owned()]).await;
    assert_eq!(absent.expect_err("absent").kind(), ErrorKind::NotFound);
    let many = TopicsConfig {
        replication: 3,
        overrides: BTreeMap::from([("new.public.one".to_owned(), Override::default())]),
        ..TopicsConfig::default()
    };
    let refused = topics::create(&kafka, &many, WET)
        .await
        .expect_err("one broker");
    assert_eq!(refused.kind(), ErrorKind::InvalidRequest);
    assert!(
        refused
            .hint_text()
            .is_some_and(|hint| hint.contains("topics.replication"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_broker_is_too_as_far_as_it_goes() {
    let folder = tempfile::tempdir().expect("a folder");
    let config_of_broker = BrokerConfig {
        path: folder.path().join("broker"),
        ..BrokerConfig::default()
    };
    #[expect(clippy::disallowed_methods, reason = "the real clock")]
    let clock = Arc::new(chrono::Utc::now);
    let broker = Broker::open(config_of_broker, clock).expect("the directory opens");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let kafka =
        KafkaConfig::default().with_brokers(listener.local_addr().expect("one").to_string());
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(broker.serve(listener, shutdown.clone()));
    let first = config(Override::default());
    topics::create(&kafka, &first, WET).await.expect("made");
    let again = topics::create(&kafka, &first, WET).await.expect("the same");
    assert!(
        again.iter().all(|plan| plan.differences.is_empty()),
        "{again:?}"
    );
    let second = config(Override {
        partitions: Some(3),
        retention_hours: Some(48),
        ..Override::default()
    });
    let plans = topics::create(&kafka, &second, WET)
        .await
        .expect("as far as it goes");
    let fixed = Remedy::Leave("the broker takes it when a topic is made, and not later");
    let expected = [("partitions", &Remedy::Change), ("retention.ms", &fixed)];
    assert_eq!(of(&plans, ORDERS), expected);
    let orders = topics::describe(&kafka, &second, &[ORDERS.to_owned()])
        .await
        .expect("there");
    assert_eq!(orders[0].partitions, 3);
    assert_eq!(topics::list(&kafka).await.expect("listed").len(), 5);
    shutdown.cancel();
    serving.await.expect("no panic").expect("it ends");
}
