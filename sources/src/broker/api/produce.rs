use std::sync::Arc;

use futures::FutureExt;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    InitProducerIdRequest, InitProducerIdResponse, ProduceRequest, ProduceResponse, ProducerId,
    TopicName,
};
use tokio::task::JoinHandle;

use super::{answer, blocking, encoded};
use crate::broker::Shared;
use crate::broker::connection::Reply;
use crate::broker::frame::{self, Fault, Request};
use crate::broker::log::{Appended, Partition};

/// A batch that is written and has still to become durable.
struct Pending {
    index: i32,
    appended: Result<Appended, ResponseError>,
    /// A task of its own, so that it goes on when the client goes away.
    synced: Option<JoinHandle<Result<(), ResponseError>>>,
}

pub(super) async fn produce(request: Request, shared: &Arc<Shared>) -> Result<Reply, Fault> {
    let message: ProduceRequest = frame::decode(&request)?;
    let (correlation, version) = (request.correlation, request.version);
    drop(request);
    let refusal = if message.transactional_id.is_some() {
        Some(ResponseError::TransactionalIdAuthorizationFailed)
    } else if !matches!(message.acks, -1..=1) {
        Some(ResponseError::InvalidRequiredAcks)
    } else {
        None
    };
    let mut topics = Vec::with_capacity(message.topic_data.len());
    for topic in message.topic_data {
        let mut pending = Vec::with_capacity(topic.partition_data.len());
        for data in topic.partition_data {
            let (index, appended) = match refusal {
                Some(error) => (data.index, Err(error)),
                None => append(shared, &topic.name, data).await,
            };
            pending.push(match appended {
                Ok((partition, appended)) => Pending {
                    index,
                    synced: Some(tokio::spawn(partition.sync_to(appended.next_offset))),
                    appended: Ok(appended),
                },
                Err(error) => Pending {
                    index,
                    synced: None,
                    appended: Err(error),
                },
            });
        }
        topics.push((topic.name, pending));
    }
    let wants_answer = message.acks != 0;
    Ok(async move {
        let response = settle(topics).await;
        match wants_answer {
            true => encoded(correlation, version, &response).map(Some),
            false => Ok(None),
        }
    }
    .boxed())
}

pub(super) async fn init_producer_id(
    request: &Request,
    shared: &Arc<Shared>,
) -> Result<Reply, Fault> {
    let message: InitProducerIdRequest = frame::decode(request)?;
    let allocated = match message.transactional_id {
        Some(_) => Err(ResponseError::TransactionalIdAuthorizationFailed),
        None => {
            let shared = Arc::clone(shared);
            blocking(move || shared.producer_ids.allocate()).await
        }
    };
    let response = match allocated {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    };
    answer(request, &response)
}

async fn append(
    shared: &Arc<Shared>,
    topic: &TopicName,
    data: PartitionProduceData,
) -> (i32, Result<(Arc<Partition>, Appended), ResponseError>) {
    let index = data.index;
    let appended = match shared.topics.partition(topic, index) {
        Ok(partition) => {
            let batch = data.records.unwrap_or_default();
            blocking(move || {
                partition
                    .append(&batch)
                    .map(|appended| (partition, appended))
            })
            .await
        }
        Err(error) => Err(error),
    };
    (index, appended)
}

async fn settle(topics: Vec<(TopicName, Vec<Pending>)>) -> ProduceResponse {
    let mut responses = Vec::with_capacity(topics.len());
    for (name, pending) in topics {
        let mut partitions = Vec::with_capacity(pending.len());
        for pending in pending {
            let synced = match pending.synced {
                Some(task) => task.await.unwrap_or(Err(ResponseError::UnknownServerError)),
                None => Ok(()),
            };
            let response = PartitionProduceResponse::default().with_index(pending.index);
            partitions.push(
                match pending
                    .appended
                    .and_then(|appended| synced.map(|()| appended))
                {
                    Ok(appended) => response
                        .with_base_offset(appended.base_offset)
                        .with_log_append_time_ms(-1)
                        .with_log_start_offset(appended.log_start),
                    Err(error) => response.with_error_code(error.code()).with_base_offset(-1),
                },
            );
        }
        responses.push(
            TopicProduceResponse::default()
                .with_name(name)
                .with_partition_responses(partitions),
        );
    }
    ProduceResponse::default().with_responses(responses)
}
