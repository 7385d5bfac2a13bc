use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Answer, JoinRequest, JoinResult, Joined, SyncResult};

/// Member ids given out and not yet used.
const MAX_EXPECTED: usize = 200;

#[derive(Default)]
pub(super) struct Group {
    state: State,
    generation: i32,
    protocol_type: String,
    protocol: String,
    leader: String,
    members: BTreeMap<String, Member>,
    expected: HashMap<String, Instant>,
    /// When a rebalance stops waiting for members that do not come.
    rebalance_ends: Option<Instant>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Empty,
    /// Members are asked to join again.
    PreparingRebalance,
    /// The leader is asked who reads what.
    CompletingRebalance,
    Stable,
}

struct Member {
    client_id: String,
    client_host: String,
    session_timeout: Duration,
    rebalance_timeout: Duration,
    protocols: Vec<(String, Bytes)>,
    assignment: Bytes,
    joining: Option<oneshot::Sender<JoinResult>>,
    syncing: Option<oneshot::Sender<SyncResult>>,
    expires: Instant,
}

/// A group as an administrator sees it.
pub(in crate::broker) struct GroupView {
    pub(in crate::broker) state: &'static str,
    pub(in crate::broker) protocol_type: String,
    pub(in crate::broker) protocol: String,
    pub(in crate::broker) members: Vec<MemberView>,
}

pub(in crate::broker) struct MemberView {
    pub(in crate::broker) id: String,
    pub(in crate::broker) client_id: String,
    pub(in crate::broker) client_host: String,
    pub(in crate::broker) metadata: Bytes,
    pub(in crate::broker) assignment: Bytes,
}

impl Group {
    pub(super) fn state(&self) -> State {
        self.state
    }

    pub(super) fn protocol_type(&self) -> &str {
        &self.protocol_type
    }

    pub(super) fn size(&self) -> usize {
        self.members.len()
    }

    pub(super) fn knows(&self, member: &str) -> bool {
        self.members.contains_key(member) || self.expected.contains_key(member)
    }

    /// Whether the member speaks a protocol that all others speak too.
    pub(super) fn accepts(&self, request: &JoinRequest) -> bool {
        let others: Vec<&Member> = self.others(&request.member).collect();
        if others.is_empty() {
            return true;
        }
        self.protocol_type == request.protocol_type
            && request
                .protocols
                .iter()
                .any(|(name, _)| others.iter().all(|member| member.metadata(name).is_some()))
    }

    /// Keeps a member id for the client that was told to use it.
    pub(super) fn expect(&mut self, member: String, until: Instant) {
        if self.expected.len() >= MAX_EXPECTED {
            let soonest = self.expected.iter().min_by_key(|(_, until)| **until);
            if let Some(id) = soonest.map(|(id, _)| id.clone()) {
                self.expected.remove(&id);
            }
        }
        self.expected.insert(member, until);
    }

    pub(super) fn join(
        &mut self,
        id: String,
        request: JoinRequest,
        now: Instant,
    ) -> Answer<JoinResult> {
        self.expected.remove(&id);
        if let Some(member) = self.members.get_mut(&id) {
            member.expires = now + member.session_timeout;
            let unchanged = member.protocols == request.protocols;
            // Only its own answer was lost: no reason to disturb the others.
            let settled = match self.state {
                State::Stable => unchanged && self.leader != id,
                State::CompletingRebalance => unchanged,
                State::Empty | State::PreparingRebalance => false,
            };
            if settled {
                return Answer::Now(Ok(self.joined(&id)));
            }
        }
        let (sender, receiver) = oneshot::channel();
        let session_timeout = millis(request.session_timeout_ms);
        let member = Member {
            client_id: request.client_id,
            client_host: request.client_host,
            session_timeout,
            rebalance_timeout: millis(request.rebalance_timeout_ms).max(session_timeout),
            protocols: request.protocols,
            assignment: Bytes::new(),
            joining: Some(sender),
            syncing: None,
            expires: now + session_timeout,
        };
        if self.members.is_empty() {
            self.protocol_type = request.protocol_type;
        }
        self.members.insert(id, member);
        self.prepare_rebalance(now);
        self.complete_join(now);
        Answer::Later(receiver)
    }

    pub(super) fn sync(
        &mut self,
        id: &str,
        generation: i32,
        assignments: HashMap<String, Bytes>,
        now: Instant,
    ) -> Answer<SyncResult> {
        if let Err(error) = self.check_member(id, generation, now) {
            return Answer::Now(Err(error));
        }
        let is_leader = self.leader == id;
        match self.state {
            State::Empty => Answer::Now(Err(ResponseError::UnknownMemberId)),
            State::PreparingRebalance => Answer::Now(Err(ResponseError::RebalanceInProgress)),
            State::Stable => Answer::Now(Ok(self.assignment(id))),
            State::CompletingRebalance => {
                let (sender, receiver) = oneshot::channel();
                if let Some(member) = self.members.get_mut(id) {
                    member.syncing = Some(sender);
                }
                if is_leader {
                    self.assign(assignments, now);
                }
                Answer::Later(receiver)
            }
        }
    }

    pub(super) fn heartbeat(
        &mut self,
        id: &str,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        self.check_member(id, generation, now)?;
        match self.state {
            State::PreparingRebalance => Err(ResponseError::RebalanceInProgress),
            State::Empty | State::CompletingRebalance | State::Stable => Ok(()),
        }
    }

    pub(super) fn leave(&mut self, id: &str, now: Instant) -> Result<(), ResponseError> {
        if self.expected.remove(id).is_some() {
            return Ok(());
        }
        if !self.members.contains_key(id) {
            return Err(ResponseError::UnknownMemberId);
        }
        self.remove(id, now);
        Ok(())
    }

    pub(super) fn may_commit(
        &mut self,
        id: &str,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        if generation < 0 && self.members.is_empty() {
            return Ok(());
        }
        self.check_member(id, generation, now)?;
        match self.state {
            State::CompletingRebalance => Err(ResponseError::RebalanceInProgress),
            State::Empty | State::PreparingRebalance | State::Stable => Ok(()),
        }
    }

    pub(super) fn expire(&mut self, now: Instant) {
        self.expected.retain(|_, until| *until > now);
        let rebalance_over = self.state == State::PreparingRebalance
            && self.rebalance_ends.is_some_and(|end| end <= now);
        let silent: Vec<String> = self
            .members
            .iter()
            .filter(|(_, member)| !member.is_waiting())
            .filter(|(_, member)| {
                let too_late = rebalance_over && member.joining.is_none();
                member.expires <= now || too_late
            })
            .map(|(id, _)| id.clone())
            .collect();
        for id in silent {
            self.remove(&id, now);
        }
        if rebalance_over {
            self.complete_join(now);
        }
    }

    pub(super) fn view(&self) -> GroupView {
        let settled = matches!(self.state, State::Stable | State::CompletingRebalance);
        let members = self.members.iter().map(|(id, member)| MemberView {
            id: id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: member.metadata(&self.protocol).unwrap_or_default(),
            assignment: member.assignment.clone(),
        });
        GroupView {
            state: match self.state {
                State::Empty => "Empty",
                State::PreparingRebalance => "PreparingRebalance",
                State::CompletingRebalance => "CompletingRebalance",
                State::Stable => "Stable",
            },
            protocol_type: self.protocol_type.clone(),
            protocol: match settled {
                true => self.protocol.clone(),
                false => String::new(),
            },
            members: members.collect(),
        }
    }

    fn check_member(
        &mut self,
        id: &str,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        let member = self
            .members
            .get_mut(id)
            .ok_or(ResponseError::UnknownMemberId)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        member.expires = now + member.session_timeout;
        Ok(())
    }

    fn remove(&mut self, id: &str, now: Instant) {
        self.members.remove(id);
        if self.members.is_empty() {
            self.state = State::Empty;
            self.rebalance_ends = None;
            self.leader.clear();
            self.generation = self.generation.wrapping_add(1).max(0);
            return;
        }
        self.prepare_rebalance(now);
        self.complete_join(now);
    }

    fn prepare_rebalance(&mut self, now: Instant) {
        if self.state == State::PreparingRebalance {
            return;
        }
        self.state = State::PreparingRebalance;
        let patience = self.members.values().map(|member| member.rebalance_timeout);
        self.rebalance_ends = Some(now + patience.max().unwrap_or_default());
        for member in self.members.values_mut() {
            if let Some(syncing) = member.syncing.take() {
                let _ = syncing.send(Err(ResponseError::RebalanceInProgress));
            }
        }
    }

    /// Begins the next generation once every member asked to join.
    fn complete_join(&mut self, now: Instant) {
        let all_joined = self.members.values().all(|member| member.joining.is_some());
        if self.state != State::PreparingRebalance || self.members.is_empty() || !all_joined {
            return;
        }
        self.generation = self.generation.wrapping_add(1).max(1);
        self.state = State::CompletingRebalance;
        self.rebalance_ends = None;
        if !self.members.contains_key(&self.leader) {
            self.leader = self.members.keys().next().cloned().unwrap_or_default();
        }
        self.protocol = self.common_protocol();
        let mut answers = Vec::new();
        for (id, member) in &mut self.members {
            member.assignment = Bytes::new();
            member.expires = now + member.session_timeout;
            answers.extend(member.joining.take().map(|sender| (id.clone(), sender)));
        }
        for (id, sender) in answers {
            // A client that went away is found by its session timeout.
            let _ = sender.send(Ok(self.joined(&id)));
        }
    }

    fn assign(&mut self, mut assignments: HashMap<String, Bytes>, now: Instant) {
        self.state = State::Stable;
        for (id, member) in &mut self.members {
            member.assignment = assignments.remove(id).unwrap_or_default();
            if let Some(syncing) = member.syncing.take() {
                member.expires = now + member.session_timeout;
                let _ = syncing.send(Ok(member.assignment.clone()));
            }
        }
    }

    fn joined(&self, id: &str) -> Joined {
        let members = self.members.iter().map(|(id, member)| {
            let metadata = member.metadata(&self.protocol).unwrap_or_default();
            (id.clone(), metadata)
        });
        Joined {
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            member: id.to_owned(),
            members: match self.leader == id {
                true => members.collect(),
                false => Vec::new(),
            },
        }
    }

    fn assignment(&self, id: &str) -> Bytes {
        self.members
            .get(id)
            .map(|member| member.assignment.clone())
            .unwrap_or_default()
    }

    /// The leader's favourite among the protocols that everyone speaks.
    fn common_protocol(&self) -> String {
        let favourites = self.members.get(&self.leader);
        favourites
            .into_iter()
            .flat_map(|leader| &leader.protocols)
            .map(|(name, _)| name)
            .find(|name| {
                self.members
                    .values()
                    .all(|member| member.metadata(name).is_some())
            })
            .cloned()
            .unwrap_or_default()
    }

    fn others<'a>(&'a self, id: &'a str) -> impl Iterator<Item = &'a Member> {
        self.members
            .iter()
            .filter(move |(other, _)| other.as_str() != id)
            .map(|(_, member)| member)
    }
}

impl Member {
    fn metadata(&self, protocol: &str) -> Option<Bytes> {
        self.protocols
            .iter()
            .find(|(name, _)| name == protocol)
            .map(|(_, metadata)| metadata.clone())
    }

    /// Whether its client waits for an answer, in which case silence means nothing.
    fn is_waiting(&self) -> bool {
        let joins = self
            .joining
            .as_ref()
            .is_some_and(|sender| !sender.is_closed());
        let syncs = self
            .syncing
            .as_ref()
            .is_some_and(|sender| !sender.is_closed());
        joins || syncs
    }
}

fn millis(value: i32) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0).min(24 * 3_600_000))
}
