use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsResponse, BrokerId, FindCoordinatorRequest, FindCoordinatorResponse,
    MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::{LEADER_EPOCH, NODE, VERSIONS, answer, blocking, encoded};
use crate::broker::Shared;
use crate::broker::connection::{Client, Reply};
use crate::broker::frame::{self, Fault, Request};
use crate::broker::topics::{NewTopic, Topic, check_name};
use futures::FutureExt;

const CLUSTER: &str = "sportlake-embedded";
const TRANSACTION: i8 = 1;

/// A client that asks in a version we do not know gets version 0, which says which ones we do.
pub(super) fn api_versions(request: &Request) -> Result<Reply, Fault> {
    let (_, min, max) = VERSIONS
        .into_iter()
        .find(|(api, ..)| *api == request.api)
        .ok_or(Fault::Unsupported)?;
    let known = (min..=max).contains(&request.version);
    let offered = VERSIONS.iter().map(|(api, min, max)| {
        ApiVersion::default()
            .with_api_key(*api as i16)
            .with_min_version(*min)
            .with_max_version(*max)
    });
    let response = ApiVersionsResponse::default()
        .with_api_keys(offered.collect())
        .with_error_code(match known {
            true => 0,
            false => ResponseError::UnsupportedVersion.code(),
        });
    let version = if known { request.version } else { 0 };
    let response = encoded(request.correlation, version, &response)?;
    Ok(std::future::ready(Ok(Some(response))).boxed())
}

pub(super) async fn metadata(
    request: &Request,
    client: &Client,
    shared: &Arc<Shared>,
) -> Result<Reply, Fault> {
    let message: MetadataRequest = frame::decode(request)?;
    let may_create = shared.config.auto_create_topics
        && (request.version < 4 || message.allow_auto_topic_creation);
    // Version 0 has no null: an empty list asks for everything.
    let names = message
        .topics
        .filter(|topics| request.version > 0 || !topics.is_empty());
    let topics = match names {
        None => shared
            .topics
            .all()
            .iter()
            .map(|topic| found(topic))
            .collect(),
        Some(names) => {
            let mut topics = Vec::with_capacity(names.len());
            for name in names.into_iter().filter_map(|topic| topic.name) {
                topics.push(describe(name, may_create, shared).await);
            }
            topics
        }
    };
    let (host, port) = shared.address_for(client.local);
    let response = MetadataResponse::default()
        .with_cluster_id(Some(StrBytes::from_static_str(CLUSTER)))
        .with_controller_id(BrokerId(NODE))
        .with_brokers(vec![
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(NODE))
                .with_host(host.into())
                .with_port(i32::from(port)),
        ])
        .with_topics(topics);
    answer(request, &response)
}

pub(super) fn find_coordinator(
    request: &Request,
    client: &Client,
    shared: &Arc<Shared>,
) -> Result<Reply, Fault> {
    let message: FindCoordinatorRequest = frame::decode(request)?;
    let response = if message.key_type == TRANSACTION {
        let reason = StrBytes::from_static_str("the embedded broker has no transactions");
        FindCoordinatorResponse::default()
            .with_error_code(ResponseError::TransactionalIdAuthorizationFailed.code())
            .with_error_message((request.version >= 1).then_some(reason))
            .with_node_id(BrokerId(-1))
    } else {
        let (host, port) = shared.address_for(client.local);
        FindCoordinatorResponse::default()
            .with_node_id(BrokerId(NODE))
            .with_host(host.into())
            .with_port(i32::from(port))
    };
    answer(request, &response)
}

async fn describe(
    name: TopicName,
    may_create: bool,
    shared: &Arc<Shared>,
) -> MetadataResponseTopic {
    let present = match shared.topics.get(&name) {
        Some(topic) => Ok(topic),
        None if may_create => {
            let shared = Arc::clone(shared);
            let new = NewTopic {
                name: name.to_string(),
                partitions: shared.config.default_partitions,
                settings: Default::default(),
            };
            blocking(move || match shared.topics.create(new) {
                // Another client was faster; its next look finds the topic.
                Err(ResponseError::TopicAlreadyExists) => Err(ResponseError::LeaderNotAvailable),
                created => created,
            })
            .await
        }
        None => Err(check_name(&name)
            .err()
            .unwrap_or(ResponseError::UnknownTopicOrPartition)),
    };
    match present {
        Ok(topic) => found(&topic),
        Err(error) => MetadataResponseTopic::default()
            .with_name(Some(name))
            .with_error_code(error.code()),
    }
}

fn found(topic: &Topic) -> MetadataResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| {
        MetadataResponsePartition::default()
            .with_partition_index(partition.index)
            .with_leader_id(BrokerId(NODE))
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![BrokerId(NODE)])
            .with_isr_nodes(vec![BrokerId(NODE)])
    });
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(topic.name.clone().into())))
        .with_partitions(partitions.collect())
}
