use rdkafka::admin::{AdminOptions, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;

use crate::TestResult;
use crate::clients::{self, PATIENCE};
use crate::node::Node;

#[tokio::test(flavor = "multi_thread")]
async fn administrators_create_describe_grow_and_delete() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    let admin = clients::admin(&node.address);
    let options = AdminOptions::new();
    let orders =
        NewTopic::new("orders", 2, TopicReplication::Fixed(1)).set("retention.bytes", "1000000");
    let nameless = NewTopic::new("../escape", 1, TopicReplication::Fixed(1));
    let replicated = NewTopic::new("replicated", 1, TopicReplication::Fixed(3));
    let created = admin
        .create_topics([&orders, &nameless, &replicated], &options)
        .await?;
    assert_eq!(
        created,
        [
            Ok("orders".to_owned()),
            Err(("../escape".to_owned(), RDKafkaErrorCode::InvalidTopic)),
            Err((
                "replicated".to_owned(),
                RDKafkaErrorCode::InvalidReplicationFactor
            )),
        ]
    );
    let again = admin.create_topics([&orders], &options).await?;
    assert_eq!(
        again,
        [Err((
            "orders".to_owned(),
            RDKafkaErrorCode::TopicAlreadyExists
        ))]
    );

    let configs = admin
        .describe_configs([&ResourceSpecifier::Topic("orders")], &options)
        .await?;
    let config = configs[0].as_ref().map_err(|code| code.to_string())?;
    let retention = config
        .get("retention.bytes")
        .and_then(|entry| entry.value.as_deref());
    assert_eq!(retention, Some("1000000"));

    let grown = admin
        .create_partitions([&NewPartitions::new("orders", 3)], &options)
        .await?;
    assert_eq!(grown, [Ok("orders".to_owned())]);
    assert_eq!(partitions(&node, "orders")?, Some(3));

    let address = node.address.clone();
    node.stop().await;
    let node = Node::start_at(directory.path(), &address).await;
    assert_eq!(partitions(&node, "orders")?, Some(3));
    let producer = clients::producer(&node.address);
    assert_eq!(clients::send(&producer, "orders", 2, "late").await, 0);

    let deleted = admin
        .delete_topics(&["orders", "missing"], &options)
        .await?;
    assert_eq!(
        deleted,
        [
            Ok("orders".to_owned()),
            Err((
                "missing".to_owned(),
                RDKafkaErrorCode::UnknownTopicOrPartition
            )),
        ]
    );
    assert_eq!(partitions(&node, "orders")?, None);
    clients::create_topic(&node.address, "orders", 1).await;
    let producer = clients::producer(&node.address);
    assert_eq!(clients::send(&producer, "orders", 0, "anew").await, 0);
    node.stop().await;
    Ok(())
}

/// The number of partitions, if the topic exists.
fn partitions(node: &Node, topic: &str) -> Result<Option<usize>, rdkafka::error::KafkaError> {
    let client: BaseConsumer =
        clients::settings(&node.address, &changes::Purpose::Consume).create()?;
    let metadata = client.fetch_metadata(None, PATIENCE)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    Ok(found.map(|topic| topic.partitions().len()))
}
