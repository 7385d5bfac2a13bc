//! What the broker answers: each family of requests in a file of its own.

mod commits;
mod configs;
mod fetch;
mod groups;
mod metadata;
mod offsets;
mod produce;
mod topics;

use std::sync::Arc;

use futures::FutureExt;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::Encodable;

use super::Shared;
use super::connection::{Client, Reply, Response};
use super::frame::{self, Fault, Request};

/// Requests that are answered, with the versions offered. They end where a request turns flexible, so that
/// [`super::shape`] has one encoding to know; clients of the last eight years speak these.
pub(super) const VERSIONS: [(ApiKey, i16, i16); 21] = [
    (ApiKey::Produce, 3, 8),
    (ApiKey::Fetch, 4, 11),
    (ApiKey::ListOffsets, 1, 5),
    (ApiKey::Metadata, 0, 8),
    (ApiKey::OffsetCommit, 2, 7),
    (ApiKey::OffsetFetch, 1, 5),
    (ApiKey::FindCoordinator, 0, 2),
    (ApiKey::JoinGroup, 0, 5),
    (ApiKey::Heartbeat, 0, 3),
    (ApiKey::LeaveGroup, 0, 3),
    (ApiKey::SyncGroup, 0, 3),
    (ApiKey::DescribeGroups, 0, 4),
    (ApiKey::ListGroups, 0, 2),
    (ApiKey::ApiVersions, 0, 3),
    (ApiKey::CreateTopics, 2, 4),
    (ApiKey::DeleteTopics, 1, 3),
    (ApiKey::InitProducerId, 0, 1),
    (ApiKey::OffsetForLeaderEpoch, 2, 3),
    (ApiKey::DescribeConfigs, 1, 3),
    (ApiKey::CreatePartitions, 0, 1),
    (ApiKey::DeleteGroups, 0, 1),
];

/// The broker's id in its cluster of one.
pub(super) const NODE: i32 = 1;
/// Leadership never changes.
const LEADER_EPOCH: i32 = 0;

/// Does what a request asks for, in the order of the connection, and returns what is left to wait for.
pub(super) async fn take_up(
    request: Request,
    client: &Client,
    shared: &Arc<Shared>,
) -> Result<Reply, Fault> {
    if request.api == ApiKey::ApiVersions {
        return metadata::api_versions(&request);
    }
    let offered = VERSIONS
        .iter()
        .any(|(api, min, max)| *api == request.api && (*min..=*max).contains(&request.version));
    if !offered {
        return Err(Fault::Unsupported);
    }
    match request.api {
        ApiKey::Produce => produce::produce(request, shared).await,
        ApiKey::InitProducerId => produce::init_producer_id(&request, shared).await,
        ApiKey::Fetch => fetch::fetch(&request, shared),
        ApiKey::ListOffsets => offsets::list(&request, shared).await,
        ApiKey::OffsetForLeaderEpoch => offsets::of_leader_epoch(&request, shared),
        ApiKey::Metadata => metadata::metadata(&request, client, shared).await,
        ApiKey::FindCoordinator => metadata::find_coordinator(&request, client, shared),
        ApiKey::CreateTopics => topics::create(&request, shared).await,
        ApiKey::DeleteTopics => topics::delete(&request, shared).await,
        ApiKey::CreatePartitions => topics::grow(&request, shared).await,
        ApiKey::DescribeConfigs => configs::describe(&request, shared),
        ApiKey::OffsetCommit => commits::commit(&request, shared).await,
        ApiKey::OffsetFetch => commits::fetch(&request, shared),
        ApiKey::JoinGroup => groups::join(&request, client, shared),
        ApiKey::SyncGroup => groups::sync(&request, shared),
        ApiKey::Heartbeat => groups::heartbeat(&request, shared),
        ApiKey::LeaveGroup => groups::leave(&request, shared),
        ApiKey::ListGroups => groups::list(&request, shared),
        ApiKey::DescribeGroups => groups::describe(&request, shared),
        ApiKey::DeleteGroups => groups::delete(&request, shared).await,
        _ => Err(Fault::Unsupported),
    }
}

/// An answer that is known already.
fn answer(request: &Request, message: &impl Encodable) -> Result<Reply, Fault> {
    let response = encoded(request.correlation, request.version, message)?;
    Ok(std::future::ready(Ok(Some(response))).boxed())
}

fn encoded(correlation: i32, version: i16, message: &impl Encodable) -> Result<Response, Fault> {
    Ok(Response {
        bytes: frame::encode(correlation, version, message, 0)?,
        _memory: None,
    })
}

/// Work that waits for the disk, off the threads that serve the network.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ResponseError> + Send + 'static,
) -> Result<T, ResponseError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(ResponseError::UnknownServerError))
}

fn code<T>(result: &Result<T, ResponseError>) -> i16 {
    result.as_ref().err().map_or(0, ResponseError::code)
}
