//! Following a leader, or looking for one: sends fetches, appends and truncates by the answers.
//!
//! A fetch offset is a promise: a voter sends one only when everything below it is on its disk. So
//! there is one fetch at a time, and the next one waits until the data of the last one is synced. A
//! copy that is executed late promises less than the fetches sent after it: its offset is still
//! synced, or its epoch has ended. An answer counts only for the epoch and the log end that its
//! fetch carried ([`Fetching`]).

use alloc::vec;
use alloc::vec::Vec;
use core::time::Duration;

use super::replay::{Undecodable, decode};
use super::roles::Role;
use super::{Quorum, QuorumFact};
use crate::batch::Batch;
use crate::env::{Channel, Env, Site};
use crate::event::{RpcError, TimerKey};
use crate::msg::{
    FetchPartition, FetchPartitionResponse, FetchRequest, FetchTopic, Request, Response,
};
use crate::note::{Implausible, Note, TruncationReason};
use crate::types::{
    EpochEndOffset, LeaderEpoch, METADATA_TOPIC_ID, NodeId, Offset, TopicPartition, TopicRef, Uuid,
};

/// Maximum number of bytes in one fetch (Kafka's MAX_FETCH_SIZE_BYTES).
const MAX_FETCH_BYTES: i32 = 8 << 20;

/// A fetch in flight, to tell whether its answer still fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Fetching {
    epoch: LeaderEpoch,
    offset: Offset,
    /// Whether it was sent to find the leader.
    discovery: bool,
}

/// Why a batch from the leader is not appended.
enum Unfit {
    /// Damaged in transit: it is fetched again.
    Damaged,
    /// No correct leader has it.
    Refused(Implausible),
    /// This build cannot read it, and never will.
    Unreadable(&'static str),
}

impl Quorum {
    /// Fetches, if there is somebody to fetch from and nothing to wait for.
    pub(super) fn fetch_more(&mut self, env: &mut dyn Env) {
        // A fetch is sent in an epoch that no restart forgets: the leader counts it.
        let settled = self.durable.epoch == self.ballot.epoch;
        if self.stopping || self.fetch_backoff.is_some() || !settled {
            return;
        }
        let voter = self.is_voter();
        let Some(log) = self.log.as_ref().filter(|log| log.is_ready()) else { return };
        let counted = if voter { log.synced_end() } else { log.written_end() };
        if counted < log.log_end() {
            return;
        }
        let (offset, start) = (log.log_end(), log.log_start());
        let Some((peer, discovery)) = self.fetch_target() else { return };
        let timing = &self.settings.timing;
        let wait = if discovery { Duration::ZERO } else { timing.fetch_wait_max };
        let timeout = timing.request_timeout;
        let epoch = self.ballot.epoch;
        let partition = FetchPartition {
            partition: 0,
            current_leader_epoch: epoch,
            fetch_offset: offset,
            last_fetched_epoch: self.last_epoch(),
            log_start_offset: start,
            max_bytes: MAX_FETCH_BYTES,
            replica_directory_id: Uuid::ZERO,
            high_watermark: self.high_watermark.unwrap_or(Offset(-1)),
        };
        let topic = TopicRef::id(METADATA_TOPIC_ID);
        let request = FetchRequest {
            cluster_id: Some(self.settings.cluster_id.clone()),
            replica: self.settings.node,
            max_wait_ms: i32::try_from(wait.as_millis()).unwrap_or(i32::MAX),
            max_bytes: MAX_FETCH_BYTES,
            topics: vec![FetchTopic { topic, partitions: vec![partition] }],
            ..FetchRequest::default()
        };
        self.fetches.insert(peer, Fetching { epoch, offset, discovery });
        env.request(peer, Channel::QuorumFetch, timeout, Request::Fetch(request));
    }

    /// The node to fetch from, and whether the fetch is to find the leader. At most one fetch is in
    /// flight per node, and at most one in total while looking for a leader.
    fn fetch_target(&mut self) -> Option<(NodeId, bool)> {
        let leader = match &self.role {
            Role::Follower { leader, .. } => Some(*leader),
            Role::Observer { leader } => *leader,
            // The leader ended this epoch; somebody will stand for the next one.
            Role::Unattached if self.ended == Some(self.ballot.epoch) => return None,
            Role::Unattached | Role::Voted { .. } => None,
            Role::Prospective(_) | Role::Candidate(_) | Role::Leader(_) | Role::Resigned { .. } => {
                return None;
            }
        };
        if let Some(leader) = leader {
            return (!self.fetches.contains_key(&leader)).then_some((leader, false));
        }
        let others: Vec<NodeId> = self.others().collect();
        if others.is_empty() || self.fetches.values().any(|fetching| fetching.discovery) {
            return None;
        }
        let peer = others[(self.ask_next % others.len() as u64) as usize];
        self.ask_next = self.ask_next.wrapping_add(1);
        (!self.fetches.contains_key(&peer)).then_some((peer, true))
    }

    /// The outcome of a fetch.
    pub(super) fn on_fetch_answer(
        &mut self,
        peer: NodeId,
        outcome: Result<Response, RpcError>,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let Some(sent) = self.fetches.remove(&peer) else { return };
        let answer = match outcome {
            Ok(Response::Fetch(response)) if response.error.is_ok() => response
                .topics
                .into_iter()
                .flat_map(|topic| topic.partitions)
                .find(|partition| partition.partition == 0),
            Ok(_) | Err(_) => None,
        };
        let Some(answer) = answer else { return self.fetch_failed(peer, sent, env, facts) };
        if let Some(current) = answer.current_leader {
            if !self.believes_answer(current.epoch) {
                let why = Implausible::Epoch;
                return self.doubt(peer, sent, why, env, facts);
            }
            self.learn(current.epoch, current.leader.known(), env, facts);
        }
        if sent.epoch != self.ballot.epoch {
            return; // News, or an answer from an earlier epoch; a new fetch is sent.
        }
        if self.leader() != Some(peer) || !answer.error.is_ok() {
            return self.fetch_failed(peer, sent, env, facts);
        }
        self.on_leader_answer(peer, sent, answer, env, facts);
    }

    fn on_leader_answer(
        &mut self,
        peer: NodeId,
        sent: Fetching,
        answer: FetchPartitionResponse,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let ready = self.log.as_ref().is_some_and(|log| log.is_ready());
        if !ready || sent.offset != self.log_end() {
            return; // The log was cut since.
        }
        self.fetch_failures = 0;
        if let Role::Follower { fetched, .. } = &mut self.role {
            *fetched = true;
            let deadline = env.now().after(self.settings.timing.fetch_timeout);
            self.arm_election(deadline, env);
        }
        if let Some(diverging) = answer.diverging_epoch {
            return self.cut_to_agree(peer, sent, diverging, env, facts);
        }
        for batch in answer.records {
            match self.append_fetched(batch, env) {
                Ok(()) => {}
                Err(Unfit::Unreadable(why)) => return self.refuse(why, facts),
                Err(Unfit::Refused(why)) => return self.doubt(peer, sent, why, env, facts),
                Err(Unfit::Damaged) => return self.fetch_failed(peer, sent, env, facts),
            }
        }
        let committed = answer.high_watermark.min(self.log_end());
        if committed > self.high_watermark.unwrap_or(Offset(-1)) {
            self.commit_upto(committed, env, facts);
        }
    }

    /// Appends one batch from the leader.
    fn append_fetched(&mut self, batch: Batch, env: &mut dyn Env) -> Result<(), Unfit> {
        let epoch = self.ballot.epoch;
        if !batch.verify_crc() {
            return Err(Unfit::Damaged);
        }
        if batch.leader_epoch > epoch {
            return Err(Unfit::Refused(Implausible::Epoch));
        }
        let (decoded, voters) = decode(&batch).map_err(|error| match error {
            Undecodable::Malformed(_) => Unfit::Refused(Implausible::Content),
            Undecodable::Unknown(why) => Unfit::Unreadable(why),
        })?;
        if self.other_voters(voters.as_deref()).is_some() {
            return Err(Unfit::Refused(Implausible::Content));
        }
        let first = self.log_end();
        self.running_log()
            .append_as_follower(batch, env)
            .map_err(|_| Unfit::Refused(Implausible::Place))?;
        self.pending.push(decoded);
        let (partition, end) = (TopicPartition::METADATA, self.log_end());
        let last_epoch = self.last_epoch();
        env.note(Note::FollowerAppended { partition, epoch, first, end, last_epoch });
        Ok(())
    }

    /// The leader's log diverges from ours: truncates ours to where they may agree, and fetches
    /// again. Kafka's `truncateToEndOffset`: to the smaller end of the epoch if we have it, else to
    /// the end of our largest smaller one (KIP-279).
    fn cut_to_agree(
        &mut self,
        peer: NodeId,
        sent: Fetching,
        diverging: EpochEndOffset,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let (end, last) = (self.log_end(), self.last_epoch());
        // We asked about our last epoch and our end: only an earlier position diverges from those.
        let earlier = diverging.epoch < last
            || (diverging.epoch == last && diverging.end_offset < sent.offset);
        if diverging.epoch.0 < 0 || diverging.end_offset.0 < 0 || !earlier {
            let why = Implausible::Divergence;
            return self.doubt(peer, sent, why, env, facts);
        }
        let ours = self.running_log().epochs().end_offset_for(diverging.epoch, end);
        let to = match ours {
            Some(ours) if ours.epoch != diverging.epoch => ours.end_offset,
            Some(ours) => ours.end_offset.min(diverging.end_offset),
            None => end.min(diverging.end_offset),
        };
        if to < self.high_watermark.unwrap_or(Offset::ZERO).max(self.vouched) {
            let why = Implausible::CutOfCommitted;
            return self.doubt(peer, sent, why, env, facts);
        }
        self.running_log().truncate_to(to, TruncationReason::Diverging, env);
        self.pending.forget_from(to);
    }

    /// The leader's answer is one that no correct leader sends: it is ignored entirely, and the
    /// fetch is repeated.
    fn doubt(
        &mut self,
        peer: NodeId,
        sent: Fetching,
        why: Implausible,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        env.note(Note::AnswerRefused { partition: TopicPartition::METADATA, peer, why });
        self.fetch_failed(peer, sent, env, facts);
    }

    /// A fetch failed: backs off, longer each time. An observer looks for another leader; a voter
    /// has its fetch timeout for that.
    fn fetch_failed(
        &mut self,
        peer: NodeId,
        sent: Fetching,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        if sent.epoch != self.ballot.epoch {
            return;
        }
        if matches!(self.role, Role::Observer { leader: Some(leader) } if leader == peer) {
            let failures = self.fetch_failures;
            self.become_unattached(sent.epoch, env, facts);
            self.fetch_failures = failures;
        }
        self.fetch_failures = self.fetch_failures.saturating_add(1);
        let timing = &self.settings.timing;
        let doubled = timing.retry_backoff.saturating_mul(1 << self.fetch_failures.min(16));
        let most = doubled.min(timing.election_backoff_max).max(timing.retry_backoff);
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX).max(1);
        let jitter = Duration::from_nanos(env.draw(Site::Backoff, nanos));
        let deadline = env.now().after(timing.retry_backoff).after(jitter);
        self.fetch_backoff = Some(deadline);
        env.arm(TimerKey::QuorumFetchBackoff, deadline);
    }
}
