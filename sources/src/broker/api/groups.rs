use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse,
    GroupId, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
    LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, SyncGroupRequest,
    SyncGroupResponse,
};
use tokio::time::Instant;

use super::{answer, blocking, code, encoded};
use crate::broker::Shared;
use crate::broker::commits::Change;
use crate::broker::connection::{Client, Reply};
use crate::broker::frame::{self, Fault, Request};
use crate::broker::groups::{
    Answer, GroupView, JoinRefused, JoinRequest, JoinResult, MemberView, SyncResult,
};

/// Bytes of all assignments of a group together.
const MAX_ASSIGNMENT_BYTES: usize = 8 * 1024 * 1024;

pub(super) fn join(
    request: &Request,
    client: &Client,
    shared: &Arc<Shared>,
) -> Result<Reply, Fault> {
    let message: JoinGroupRequest = frame::decode(request)?;
    let protocols = message
        .protocols
        .into_iter()
        // Copied: a slice would keep the whole request in memory as long as the member lives.
        .map(|protocol| {
            let metadata = Bytes::copy_from_slice(&protocol.metadata);
            (protocol.name.to_string(), metadata)
        });
    let joining = JoinRequest {
        group: message.group_id.to_string(),
        member: message.member_id.to_string(),
        client_id: request.client_id.clone(),
        client_host: client.peer.ip().to_string(),
        session_timeout_ms: message.session_timeout_ms,
        rebalance_timeout_ms: match request.version {
            0 => message.session_timeout_ms,
            _ => message.rebalance_timeout_ms,
        },
        protocol_type: message.protocol_type.to_string(),
        protocols: protocols.collect(),
        must_know_member: request.version >= 4,
    };
    let member = joining.member.clone();
    let (correlation, version) = (request.correlation, request.version);
    match shared.groups.join(joining, Instant::now()) {
        Answer::Now(result) => answer(request, &join_response(result)),
        Answer::Later(receiver) => Ok(async move {
            let result = receiver.await.unwrap_or(Err(JoinRefused {
                error: ResponseError::UnknownMemberId,
                member,
            }));
            encoded(correlation, version, &join_response(result)).map(Some)
        }
        .boxed()),
    }
}

pub(super) fn sync(request: &Request, shared: &Arc<Shared>) -> Result<Reply, Fault> {
    let message: SyncGroupRequest = frame::decode(request)?;
    let total: usize = message.assignments.iter().map(|a| a.assignment.len()).sum();
    if total > MAX_ASSIGNMENT_BYTES {
        return answer(request, &sync_response(Err(ResponseError::InvalidRequest)));
    }
    let assignments: HashMap<String, Bytes> = message
        .assignments
        .into_iter()
        .map(|of_member| {
            let assignment = Bytes::copy_from_slice(&of_member.assignment);
            (of_member.member_id.to_string(), assignment)
        })
        .collect();
    let (correlation, version) = (request.correlation, request.version);
    let synced = shared.groups.sync(
        &message.group_id,
        &message.member_id,
        message.generation_id,
        assignments,
        Instant::now(),
    );
    match synced {
        Answer::Now(result) => answer(request, &sync_response(result)),
        Answer::Later(receiver) => Ok(async move {
            let result = receiver
                .await
                .unwrap_or(Err(ResponseError::UnknownMemberId));
            encoded(correlation, version, &sync_response(result)).map(Some)
        }
        .boxed()),
    }
}

pub(super) fn heartbeat(request: &Request, shared: &Arc<Shared>) -> Result<Reply, Fault> {
    let message: HeartbeatRequest = frame::decode(request)?;
    let beat = shared.groups.heartbeat(
        &message.group_id,
        &message.member_id,
        message.generation_id,
        Instant::now(),
    );
    answer(
        request,
        &HeartbeatResponse::default().with_error_code(code(&beat)),
    )
}

pub(super) fn leave(request: &Request, shared: &Arc<Shared>) -> Result<Reply, Fault> {
    let message: LeaveGroupRequest = frame::decode(request)?;
    let now = Instant::now();
    if request.version < 3 {
        let left = shared
            .groups
            .leave(&message.group_id, &message.member_id, now);
        return answer(
            request,
            &LeaveGroupResponse::default().with_error_code(code(&left)),
        );
    }
    let members = message.members.into_iter().map(|member| {
        let left = shared
            .groups
            .leave(&message.group_id, &member.member_id, now);
        MemberResponse::default()
            .with_member_id(member.member_id)
            .with_group_instance_id(member.group_instance_id)
            .with_error_code(code(&left))
    });
    let response = LeaveGroupResponse::default().with_members(members.collect());
    answer(request, &response)
}

pub(super) fn list(request: &Request, shared: &Arc<Shared>) -> Result<Reply, Fault> {
    let _: ListGroupsRequest = frame::decode(request)?;
    let mut groups = shared.groups.list();
    for group in shared.commits.groups() {
        if !groups.iter().any(|(known, _)| *known == group) {
            groups.push((group, String::new()));
        }
    }
    let listed = groups.into_iter().map(|(group, protocol_type)| {
        ListedGroup::default()
            .with_group_id(GroupId(group.into()))
            .with_protocol_type(protocol_type.into())
    });
    let response = ListGroupsResponse::default().with_groups(listed.collect());
    answer(request, &response)
}

pub(super) fn describe(request: &Request, shared: &Arc<Shared>) -> Result<Reply, Fault> {
    let message: DescribeGroupsRequest = frame::decode(request)?;
    let groups = message.groups.into_iter().map(|group| {
        let view = shared.groups.view(&group).unwrap_or_else(|| GroupView {
            // A group of which only offsets are left has no members; any other is dead.
            state: match shared.commits.has_group(&group) {
                true => "Empty",
                false => "Dead",
            },
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        });
        DescribedGroup::default()
            .with_group_id(group)
            .with_group_state(view.state.into())
            .with_protocol_type(view.protocol_type.into())
            .with_protocol_data(view.protocol.into())
            .with_members(view.members.into_iter().map(described).collect())
    });
    let response = DescribeGroupsResponse::default().with_groups(groups.collect());
    answer(request, &response)
}

pub(super) async fn delete(request: &Request, shared: &Arc<Shared>) -> Result<Reply, Fault> {
    let message: DeleteGroupsRequest = frame::decode(request)?;
    let mut results = Vec::with_capacity(message.groups_names.len());
    for group in message.groups_names {
        let name = group.to_string();
        let shared = Arc::clone(shared);
        let deleted = blocking(move || {
            let has_offsets = shared.commits.has_group(&name);
            match shared.groups.delete(&name) {
                Err(ResponseError::GroupIdNotFound) if has_offsets => {}
                deleted => deleted?,
            }
            shared
                .commits
                .apply(vec![Change::ForgetGroup { group: name }])
        })
        .await;
        results.push(
            DeletableGroupResult::default()
                .with_group_id(group)
                .with_error_code(code(&deleted)),
        );
    }
    answer(
        request,
        &DeleteGroupsResponse::default().with_results(results),
    )
}

fn join_response(result: JoinResult) -> JoinGroupResponse {
    match result {
        Ok(joined) => {
            let members = joined.members.into_iter().map(|(id, metadata)| {
                JoinGroupResponseMember::default()
                    .with_member_id(id.into())
                    .with_metadata(metadata)
            });
            JoinGroupResponse::default()
                .with_generation_id(joined.generation)
                .with_protocol_name(Some(joined.protocol.into()))
                .with_leader(joined.leader.into())
                .with_member_id(joined.member.into())
                .with_members(members.collect())
        }
        Err(refused) => JoinGroupResponse::default()
            .with_error_code(refused.error.code())
            .with_generation_id(-1)
            .with_protocol_name(Some(String::new().into()))
            .with_member_id(refused.member.into()),
    }
}

fn sync_response(result: SyncResult) -> SyncGroupResponse {
    match result {
        Ok(assignment) => SyncGroupResponse::default().with_assignment(assignment),
        Err(error) => SyncGroupResponse::default().with_error_code(error.code()),
    }
}

fn described(member: MemberView) -> DescribedGroupMember {
    DescribedGroupMember::default()
        .with_member_id(member.id.into())
        .with_client_id(member.client_id.into())
        .with_client_host(member.client_host.into())
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment)
}
