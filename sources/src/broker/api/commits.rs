use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponsePartition, OffsetFetchResponseTopic,
};
use kafka_protocol::messages::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tokio::time::Instant;

use super::{answer, blocking};
use crate::broker::Shared;
use crate::broker::commits::{Change, Committed};
use crate::broker::connection::Reply;
use crate::broker::frame::{self, Fault, Request};

const MAX_METADATA_BYTES: usize = 4096;

pub(super) async fn commit(request: &Request, shared: &Arc<Shared>) -> Result<Reply, Fault> {
    let message: OffsetCommitRequest = frame::decode(request)?;
    let group = message.group_id.to_string();
    let mut refusal = shared
        .groups
        .may_commit(
            &group,
            &message.member_id,
            message.generation_id_or_member_epoch,
            Instant::now(),
        )
        .err();
    if group.is_empty() {
        refusal = Some(ResponseError::InvalidGroupId);
    }
    let room = shared.commits.has_group(&group)
        || shared.commits.groups().len() < shared.config.max_groups;
    if !room {
        refusal = Some(ResponseError::PolicyViolation);
    }
    let mut changes = Vec::new();
    let mut checked = Vec::with_capacity(message.topics.len());
    for topic in message.topics {
        let mut errors = Vec::with_capacity(topic.partitions.len());
        for partition in topic.partitions {
            let index = partition.partition_index;
            let change = match refusal {
                Some(error) => Err(error),
                None => change_of(&group, &topic.name, partition, shared),
            };
            errors.push((index, change.as_ref().err().copied()));
            changes.extend(change);
        }
        checked.push((topic.name, errors));
    }
    let written = match changes.is_empty() {
        true => Ok(()),
        false => {
            let shared = Arc::clone(shared);
            blocking(move || shared.commits.apply(changes)).await
        }
    };
    let topics = checked.into_iter().map(|(name, errors)| {
        let partitions = errors.into_iter().map(|(index, error)| {
            let error = error.or(written.err());
            OffsetCommitResponsePartition::default()
                .with_partition_index(index)
                .with_error_code(error.map_or(0, |error| error.code()))
        });
        OffsetCommitResponseTopic::default()
            .with_partitions(partitions.collect())
            .with_name(name)
    });
    let response = OffsetCommitResponse::default().with_topics(topics.collect());
    answer(request, &response)
}

pub(super) fn fetch(request: &Request, shared: &Arc<Shared>) -> Result<Reply, Fault> {
    let message: OffsetFetchRequest = frame::decode(request)?;
    let offsets = shared.commits.of_group(&message.group_id);
    let of_partition = |topic: &str, index: i32| {
        let committed = offsets.get(topic).and_then(|topic| topic.get(&index));
        let response = OffsetFetchResponsePartition::default().with_partition_index(index);
        match committed {
            Some(committed) => response
                .with_committed_offset(committed.offset)
                .with_committed_leader_epoch(committed.leader_epoch)
                .with_metadata(Some(committed.metadata.clone().unwrap_or_default().into())),
            None => response
                .with_committed_offset(-1)
                .with_committed_leader_epoch(-1)
                .with_metadata(Some(StrBytes::from_static_str(""))),
        }
    };
    let topics: Vec<OffsetFetchResponseTopic> = match &message.topics {
        Some(wanted) => wanted
            .iter()
            .map(|topic| {
                let indexes = topic.partition_indexes.iter();
                let partitions = indexes.map(|index| of_partition(&topic.name, *index));
                OffsetFetchResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions.collect())
            })
            .collect(),
        None => offsets
            .iter()
            .map(|(name, partitions)| {
                let partitions = partitions.keys().map(|index| of_partition(name, *index));
                OffsetFetchResponseTopic::default()
                    .with_name(TopicName(name.clone().into()))
                    .with_partitions(partitions.collect())
            })
            .collect(),
    };
    answer(request, &OffsetFetchResponse::default().with_topics(topics))
}

fn change_of(
    group: &str,
    topic: &TopicName,
    partition: OffsetCommitRequestPartition,
    shared: &Shared,
) -> Result<Change, ResponseError> {
    shared.topics.partition(topic, partition.partition_index)?;
    let metadata = partition.committed_metadata.map(|text| text.to_string());
    if metadata
        .as_ref()
        .is_some_and(|text| text.len() > MAX_METADATA_BYTES)
    {
        return Err(ResponseError::OffsetMetadataTooLarge);
    }
    Ok(Change::Commit {
        group: group.to_owned(),
        topic: topic.to_string(),
        partition: partition.partition_index,
        committed: Committed {
            offset: partition.committed_offset,
            leader_epoch: partition.committed_leader_epoch,
            metadata,
        },
    })
}
