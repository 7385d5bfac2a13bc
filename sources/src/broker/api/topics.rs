use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::CreatableTopicResult;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{answer, blocking, code};
use crate::broker::Shared;
use crate::broker::commits::Change;
use crate::broker::connection::Reply;
use crate::broker::frame::{self, Fault, Request};
use crate::broker::topics::NewTopic;

pub(super) async fn create(request: &Request, shared: &Arc<Shared>) -> Result<Reply, Fault> {
    let message: CreateTopicsRequest = frame::decode(request)?;
    let mut results = Vec::with_capacity(message.topics.len());
    for topic in message.topics {
        let name = topic.name.clone();
        let created = create_one(topic, message.validate_only, shared).await;
        results.push(
            CreatableTopicResult::default()
                .with_name(name)
                .with_error_code(code(&created))
                .with_error_message(reason(&created)),
        );
    }
    answer(
        request,
        &CreateTopicsResponse::default().with_topics(results),
    )
}

pub(super) async fn delete(request: &Request, shared: &Arc<Shared>) -> Result<Reply, Fault> {
    let message: DeleteTopicsRequest = frame::decode(request)?;
    let mut results = Vec::with_capacity(message.topic_names.len());
    for name in message.topic_names {
        let topic = name.to_string();
        let shared = Arc::clone(shared);
        let deleted = blocking(move || {
            shared.topics.delete(&topic)?;
            // A topic of this name that comes later starts at its beginning for everyone.
            shared.commits.apply(vec![Change::ForgetTopic { topic }])
        })
        .await;
        results.push(
            DeletableTopicResult::default()
                .with_name(Some(name))
                .with_error_code(code(&deleted)),
        );
    }
    answer(
        request,
        &DeleteTopicsResponse::default().with_responses(results),
    )
}

pub(super) async fn grow(request: &Request, shared: &Arc<Shared>) -> Result<Reply, Fault> {
    let message: CreatePartitionsRequest = frame::decode(request)?;
    let mut results = Vec::with_capacity(message.topics.len());
    for topic in message.topics {
        let name = topic.name.to_string();
        let (count, dry_run) = (topic.count, message.validate_only);
        let shared = Arc::clone(shared);
        let grown = blocking(move || shared.topics.grow(&name, count, dry_run)).await;
        results.push(
            CreatePartitionsTopicResult::default()
                .with_name(topic.name)
                .with_error_code(code(&grown))
                .with_error_message(reason(&grown)),
        );
    }
    answer(
        request,
        &CreatePartitionsResponse::default().with_results(results),
    )
}

async fn create_one(
    topic: CreatableTopic,
    dry_run: bool,
    shared: &Arc<Shared>,
) -> Result<(), ResponseError> {
    if !matches!(topic.replication_factor, -1 | 1) {
        return Err(ResponseError::InvalidReplicationFactor);
    }
    if !topic.assignments.is_empty() {
        return Err(ResponseError::InvalidReplicaAssignment);
    }
    let mut settings = BTreeMap::new();
    for setting in topic.configs {
        let value = setting.value.ok_or(ResponseError::InvalidConfig)?;
        settings.insert(setting.name.to_string(), value.to_string());
    }
    let new = NewTopic {
        name: topic.name.to_string(),
        partitions: match topic.num_partitions {
            -1 => shared.config.default_partitions,
            partitions => partitions,
        },
        settings,
    };
    let shared = Arc::clone(shared);
    blocking(move || match dry_run {
        true => shared.topics.check(&new),
        false => shared.topics.create(new).map(drop),
    })
    .await
}

fn reason<T>(result: &Result<T, ResponseError>) -> Option<StrBytes> {
    let text = match result.as_ref().err()? {
        ResponseError::TopicAlreadyExists => "the topic exists",
        ResponseError::InvalidTopicException => {
            "a topic name has up to 249 letters, digits, dots, underscores and hyphens"
        }
        ResponseError::InvalidPartitions => {
            "the number of partitions is too small, or above broker.max_partitions"
        }
        ResponseError::InvalidReplicationFactor => "the embedded broker keeps one replica",
        ResponseError::InvalidReplicaAssignment => "the embedded broker has one node",
        ResponseError::InvalidConfig => "a topic setting is unknown or out of range",
        _ => return None,
    };
    Some(StrBytes::from_static_str(text))
}
