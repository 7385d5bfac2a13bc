use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use super::{NODE, answer, code};
use crate::broker::Shared;
use crate::broker::connection::Reply;
use crate::broker::frame::{self, Fault, Request};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
/// Where a value comes from, as the protocol numbers it.
const FROM_TOPIC: i8 = 1;
const FROM_BROKER: i8 = 4;

/// Name, value, origin.
type Setting = (String, String, i8);

pub(super) fn describe(request: &Request, shared: &Arc<Shared>) -> Result<Reply, Fault> {
    let message: DescribeConfigsRequest = frame::decode(request)?;
    let results = message.resources.iter().map(|resource| {
        let settings = settings_of(resource, shared);
        let result = DescribeConfigsResult::default()
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name.clone())
            .with_error_code(code(&settings));
        let wanted = |name: &str| match &resource.configuration_keys {
            Some(keys) => keys.iter().any(|key| key.as_str() == name),
            None => true,
        };
        let described = settings
            .unwrap_or_default()
            .into_iter()
            .filter(|(name, ..)| wanted(name))
            .map(|(name, value, source)| {
                DescribeConfigsResourceResult::default()
                    .with_name(name.into())
                    .with_value(Some(value.into()))
                    .with_read_only(true)
                    .with_config_source(source)
            });
        result.with_configs(described.collect())
    });
    let response = DescribeConfigsResponse::default().with_results(results.collect());
    answer(request, &response)
}

fn settings_of(
    resource: &DescribeConfigsResource,
    shared: &Shared,
) -> Result<Vec<Setting>, ResponseError> {
    let config = &shared.config;
    let retention = match config.retention_bytes {
        0 => "-1".to_owned(),
        bytes => bytes.to_string(),
    };
    let of_broker = |name: &str, value: String| (name.to_owned(), value, FROM_BROKER);
    match resource.resource_type {
        TOPIC => {
            let topic = shared
                .topics
                .get(&resource.resource_name)
                .ok_or(ResponseError::UnknownTopicOrPartition)?;
            let mut settings = vec![
                of_broker("cleanup.policy", "delete".to_owned()),
                of_broker("compression.type", "producer".to_owned()),
                of_broker("max.message.bytes", config.max_batch_bytes.to_string()),
                of_broker("message.timestamp.type", "CreateTime".to_owned()),
                of_broker("min.insync.replicas", "1".to_owned()),
                of_broker("retention.bytes", retention),
                of_broker("retention.ms", "-1".to_owned()),
                of_broker("segment.bytes", config.segment_bytes.to_string()),
            ];
            settings.retain(|(name, ..)| !topic.settings.contains_key(name));
            let own = topic.settings.iter();
            settings.extend(own.map(|(name, value)| (name.clone(), value.clone(), FROM_TOPIC)));
            Ok(settings)
        }
        BROKER if resource.resource_name.as_str() == NODE.to_string() => Ok(vec![
            of_broker(
                "auto.create.topics.enable",
                config.auto_create_topics.to_string(),
            ),
            of_broker("log.retention.bytes", retention),
            of_broker("log.segment.bytes", config.segment_bytes.to_string()),
            of_broker("message.max.bytes", config.max_batch_bytes.to_string()),
            of_broker("num.partitions", config.default_partitions.to_string()),
        ]),
        _ => Err(ResponseError::InvalidRequest),
    }
}
