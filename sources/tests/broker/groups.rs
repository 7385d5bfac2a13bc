use std::collections::BTreeSet;

use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::TestResult;
use crate::clients::{self, PATIENCE};
use crate::node::Node;

#[tokio::test(flavor = "multi_thread")]
async fn a_group_goes_on_after_a_restart() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    clients::create_topic(&node.address, "letters", 1).await;
    let producer = clients::producer(&node.address);
    for value in ["a", "b", "c", "d"] {
        clients::send(&producer, "letters", 0, value).await;
    }
    let consumer = clients::member(&node.address, "readers", "letters");
    clients::take(&consumer).await;
    let second = clients::take(&consumer).await;
    consumer.commit_message(&second, CommitMode::Sync)?;
    drop(second);
    drop(consumer);
    node.kill().await;

    let node = Node::start(directory.path()).await;
    let consumer = clients::member(&node.address, "readers", "letters");
    let message = clients::next(&consumer).await;
    assert_eq!(message.payload(), Some(&b"c"[..]));

    let admin = clients::admin(&node.address);
    let options = AdminOptions::new();
    let busy = admin.delete_groups(&["readers"], &options).await?;
    assert_eq!(
        busy,
        [Err(("readers".to_owned(), RDKafkaErrorCode::NonEmptyGroup))]
    );
    let groups = consumer.fetch_group_list(Some("readers"), PATIENCE)?;
    assert_eq!(groups.groups()[0].state(), "Stable");
    assert_eq!(groups.groups()[0].members().len(), 1);
    consumer.unsubscribe();
    drop(consumer);
    let deleted = admin.delete_groups(&["readers"], &options).await?;
    assert_eq!(deleted, [Ok("readers".to_owned())]);
    let consumer = clients::member(&node.address, "readers", "letters");
    assert_eq!(clients::next(&consumer).await.payload(), Some(&b"a"[..]));
    drop(consumer);
    node.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn members_share_the_partitions_and_take_over() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    clients::create_topic(&node.address, "shared", 2).await;
    let producer = clients::producer(&node.address);
    let first = clients::member(&node.address, "pair", "shared");
    clients::send(&producer, "shared", 0, "warm").await;
    clients::next(&first).await;
    let second = clients::member(&node.address, "pair", "shared");
    // Each read makes the member serve its rebalance; both hold one partition once it is over.
    let mut round = 0;
    loop {
        for partition in 0..2 {
            clients::send(&producer, "shared", partition, &round.to_string()).await;
        }
        round += 1;
        let mut expected = BTreeSet::new();
        while expected.len() < 2 {
            let message = tokio::select! {
                message = clients::next(&first) => message,
                message = clients::next(&second) => message,
            };
            expected.insert(message.partition());
        }
        let (left, right) = (first.assignment()?, second.assignment()?);
        if left.count() == 1 && right.count() == 1 {
            assert_ne!(
                left.elements()[0].partition(),
                right.elements()[0].partition()
            );
            break;
        }
    }
    drop(second);
    let value = "taken over";
    for partition in 0..2 {
        clients::send(&producer, "shared", partition, value).await;
    }
    let mut seen = BTreeSet::new();
    while seen.len() < 2 {
        let message = clients::next(&first).await;
        if message.payload() == Some(value.as_bytes()) {
            seen.insert(message.partition());
        }
    }
    drop(first);
    node.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_outside_any_group_commits_for_lag_displays() -> TestResult {
    let directory = tempfile::tempdir()?;
    let node = Node::start(directory.path()).await;
    clients::create_topic(&node.address, "lag", 1).await;
    let producer = clients::producer(&node.address);
    clients::send(&producer, "lag", 0, "x").await;
    let consumer = clients::reader(&node.address, "lag", 1, Offset::Beginning);
    clients::next(&consumer).await;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset("lag", 0, Offset::Offset(1))?;
    consumer.commit(&offsets, CommitMode::Sync)?;
    let mut asked = TopicPartitionList::new();
    asked.add_partition("lag", 0);
    let committed = consumer.committed_offsets(asked, PATIENCE)?;
    assert_eq!(committed.elements()[0].offset(), Offset::Offset(1));
    drop(consumer);
    node.stop().await;
    Ok(())
}
