use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse,
};

use super::{LEADER_EPOCH, answer, blocking};
use crate::broker::Shared;
use crate::broker::connection::Reply;
use crate::broker::frame::{self, Fault, Request};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;

/// An offset and the timestamp it was found by.
struct Found {
    offset: i64,
    timestamp: i64,
}

pub(super) async fn list(request: &Request, shared: &Arc<Shared>) -> Result<Reply, Fault> {
    let message: ListOffsetsRequest = frame::decode(request)?;
    let mut topics = Vec::with_capacity(message.topics.len());
    for topic in message.topics {
        let mut partitions = Vec::with_capacity(topic.partitions.len());
        for wanted in topic.partitions {
            let found = find(
                shared,
                &topic.name,
                wanted.partition_index,
                wanted.timestamp,
            )
            .await;
            let response = ListOffsetsPartitionResponse::default()
                .with_partition_index(wanted.partition_index);
            partitions.push(match found {
                Ok(found) => response
                    .with_offset(found.offset)
                    .with_timestamp(found.timestamp)
                    .with_leader_epoch(if request.version >= 4 {
                        LEADER_EPOCH
                    } else {
                        -1
                    }),
                Err(error) => response
                    .with_error_code(error.code())
                    .with_offset(-1)
                    .with_timestamp(-1),
            });
        }
        topics.push(
            ListOffsetsTopicResponse::default()
                .with_name(topic.name)
                .with_partitions(partitions),
        );
    }
    answer(request, &ListOffsetsResponse::default().with_topics(topics))
}

pub(super) fn of_leader_epoch(request: &Request, shared: &Arc<Shared>) -> Result<Reply, Fault> {
    let message: OffsetForLeaderEpochRequest = frame::decode(request)?;
    let topics = message.topics.into_iter().map(|topic| {
        let ends = topic.partitions.iter().map(|wanted| {
            let end = EpochEndOffset::default().with_partition(wanted.partition);
            match shared.topics.partition(&topic.topic, wanted.partition) {
                Ok(partition) => end
                    .with_leader_epoch(LEADER_EPOCH)
                    .with_end_offset(partition.high_watermark()),
                Err(error) => end.with_error_code(error.code()),
            }
        });
        OffsetForLeaderTopicResult::default()
            .with_partitions(ends.collect())
            .with_topic(topic.topic.clone())
    });
    let response = OffsetForLeaderEpochResponse::default().with_topics(topics.collect());
    answer(request, &response)
}

async fn find(
    shared: &Arc<Shared>,
    topic: &str,
    index: i32,
    timestamp: i64,
) -> Result<Found, ResponseError> {
    let partition = shared.topics.partition(topic, index)?;
    let bound = |offset| Found {
        offset,
        timestamp: -1,
    };
    match timestamp {
        LATEST => Ok(bound(partition.high_watermark())),
        EARLIEST => Ok(bound(partition.log_start())),
        _ if timestamp < 0 => Err(ResponseError::UnsupportedVersion),
        _ => {
            let found = blocking(move || partition.find_time(timestamp)).await?;
            Ok(found.map_or(bound(-1), |(offset, timestamp)| Found { offset, timestamp }))
        }
    }
}
