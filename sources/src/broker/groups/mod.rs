//! Consumer groups in Kafka's classic protocol: who is in a group, and which member reads what.
//!
//! Membership lives in memory, as members join again after a restart; what a group committed is kept by
//! [`super::commits`]. One lock covers all groups: they change a few times a minute.

mod group;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

use group::{Group, State};
pub(super) use group::{GroupView, MemberView};

/// What clients may ask for as session timeout.
const SESSION_TIMEOUTS: std::ops::RangeInclusive<u64> = 100..=1_800_000;
const MAX_MEMBERS: usize = 200;
const MAX_METADATA_BYTES: usize = 1024 * 1024;

pub(super) struct Groups {
    by_id: Mutex<HashMap<String, Group>>,
    max_groups: usize,
    /// Makes member ids differ; the start time makes them differ between two runs.
    last_member: AtomicU64,
    run: i64,
}

pub(super) struct JoinRequest {
    pub(super) group: String,
    pub(super) member: String,
    pub(super) client_id: String,
    pub(super) client_host: String,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) protocol_type: String,
    /// Name and metadata, in the order of preference.
    pub(super) protocols: Vec<(String, Bytes)>,
    /// A client this new joins in two steps, so that a lost answer leaves no member behind.
    pub(super) must_know_member: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Joined {
    pub(super) generation: i32,
    pub(super) protocol: String,
    pub(super) leader: String,
    pub(super) member: String,
    /// Everyone and their metadata, for the leader; empty for the others.
    pub(super) members: Vec<(String, Bytes)>,
}

/// A refused join, and the member id that the client has to use.
#[derive(Debug, Clone)]
pub(super) struct JoinRefused {
    pub(super) error: ResponseError,
    pub(super) member: String,
}

pub(super) type JoinResult = Result<Joined, JoinRefused>;
pub(super) type SyncResult = Result<Bytes, ResponseError>;

/// An answer now or when the other members came.
pub(super) enum Answer<T> {
    Now(T),
    Later(oneshot::Receiver<T>),
}

impl Groups {
    /// `run` differs between two starts of the broker.
    pub(super) fn new(max_groups: usize, run: i64) -> Self {
        Self {
            by_id: Mutex::new(HashMap::new()),
            max_groups,
            last_member: AtomicU64::new(0),
            run,
        }
    }

    pub(super) fn join(&self, request: JoinRequest, now: Instant) -> Answer<JoinResult> {
        let refuse = |error, member: &str| {
            Answer::Now(Err(JoinRefused {
                error,
                member: member.to_owned(),
            }))
        };
        let session = u64::try_from(request.session_timeout_ms).unwrap_or(0);
        let metadata: usize = request.protocols.iter().map(|(_, data)| data.len()).sum();
        if request.group.is_empty() {
            return refuse(ResponseError::InvalidGroupId, "");
        }
        if !SESSION_TIMEOUTS.contains(&session) {
            return refuse(ResponseError::InvalidSessionTimeout, "");
        }
        if request.protocols.is_empty() || metadata > MAX_METADATA_BYTES {
            return refuse(ResponseError::InconsistentGroupProtocol, "");
        }
        let mut groups = self.by_id.lock();
        if !groups.contains_key(&request.group) && groups.len() >= self.max_groups {
            groups.retain(|_, group| group.state() != State::Empty);
            if groups.len() >= self.max_groups {
                return refuse(ResponseError::GroupMaxSizeReached, "");
            }
        }
        let group = groups.entry(request.group.clone()).or_default();
        if !group.accepts(&request) {
            return refuse(ResponseError::InconsistentGroupProtocol, &request.member);
        }
        if request.member.is_empty() {
            if group.size() >= MAX_MEMBERS {
                return refuse(ResponseError::GroupMaxSizeReached, "");
            }
            let member = self.member_id(&request.client_id);
            if request.must_know_member {
                group.expect(member.clone(), now + Duration::from_millis(session));
                return refuse(ResponseError::MemberIdRequired, &member);
            }
            return group.join(member, request, now);
        }
        if !group.knows(&request.member) {
            return refuse(ResponseError::UnknownMemberId, &request.member);
        }
        group.join(request.member.clone(), request, now)
    }

    pub(super) fn sync(
        &self,
        group: &str,
        member: &str,
        generation: i32,
        assignments: HashMap<String, Bytes>,
        now: Instant,
    ) -> Answer<SyncResult> {
        let mut groups = self.by_id.lock();
        match groups.get_mut(group) {
            Some(group) => group.sync(member, generation, assignments, now),
            None => Answer::Now(Err(ResponseError::UnknownMemberId)),
        }
    }

    pub(super) fn heartbeat(
        &self,
        group: &str,
        member: &str,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        let mut groups = self.by_id.lock();
        let group = groups
            .get_mut(group)
            .ok_or(ResponseError::UnknownMemberId)?;
        group.heartbeat(member, generation, now)
    }

    pub(super) fn leave(
        &self,
        group: &str,
        member: &str,
        now: Instant,
    ) -> Result<(), ResponseError> {
        let mut groups = self.by_id.lock();
        let group = groups
            .get_mut(group)
            .ok_or(ResponseError::UnknownMemberId)?;
        group.leave(member, now)
    }

    /// Whether this member, or a client that is no member, may commit offsets.
    pub(super) fn may_commit(
        &self,
        group: &str,
        member: &str,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        let mut groups = self.by_id.lock();
        match groups.get_mut(group) {
            Some(group) => group.may_commit(member, generation, now),
            None if generation < 0 => Ok(()),
            None => Err(ResponseError::IllegalGeneration),
        }
    }

    pub(super) fn view(&self, group: &str) -> Option<GroupView> {
        self.by_id.lock().get(group).map(Group::view)
    }

    pub(super) fn list(&self) -> Vec<(String, String)> {
        let groups = self.by_id.lock();
        groups
            .iter()
            .map(|(id, group)| (id.clone(), group.protocol_type().to_owned()))
            .collect()
    }

    /// Forgets a group that has no members.
    pub(super) fn delete(&self, group: &str) -> Result<(), ResponseError> {
        let mut groups = self.by_id.lock();
        match groups.get(group) {
            None => Err(ResponseError::GroupIdNotFound),
            Some(found) if found.state() != State::Empty => Err(ResponseError::NonEmptyGroup),
            Some(_) => {
                groups.remove(group);
                Ok(())
            }
        }
    }

    /// Removes members that were silent too long and ends rebalances that waited long enough.
    pub(super) fn expire(&self, now: Instant) {
        for group in self.by_id.lock().values_mut() {
            group.expire(now);
        }
    }

    fn member_id(&self, client_id: &str) -> String {
        let number = self.last_member.fetch_add(1, Ordering::Relaxed);
        let client: String = client_id.chars().take(64).collect();
        format!("{client}-{:x}-{number}", self.run)
    }
}
