//! Elections: the ballot on disk, votes and pre-votes, and the requests among voters.
//!
//! Every request is sent again if it gets no answer, and an earlier copy may be executed last. A
//! request carries its epoch, and is refused in a later one. Within its epoch, a repeated vote goes
//! to the candidate that already has it, and a pre-vote changes nothing. BeginQuorumEpoch names the
//! only leader that the epoch can have, and is void once that leader has ended the epoch.
//! EndQuorumEpoch comes from a leader that never leads this epoch again. An answer counts for the
//! request in its slot ([`Sent`]), which holds one at a time.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use super::roles::{Ballot, Role, Tally, majority_of};
use super::{Quorum, QuorumFact};
use crate::checkpoint::{QuorumState, format_quorum_state};
use crate::env::{Channel, Env, Site};
use crate::error_code::ErrorCode;
use crate::event::{ReplyTo, RpcError, TimerKey};
use crate::flaw::Flaw;
use crate::msg::{
    BeginQuorumEpochRequest, BeginQuorumEpochResponse, EndQuorumEpochRequest,
    EndQuorumEpochResponse, Request, Response, VoteRequest, VoteResponse,
};
use crate::note::{Implausible, Note};
use crate::types::{LeaderEpoch, Monotonic, NodeId, Offset, TopicPartition, Uuid};

/// Kafka's code for a request that is meant for another voter (INVALID_VOTER_KEY).
const INVALID_VOTER_KEY: ErrorCode = ErrorCode::Other(125);
/// No metadata log ends beyond this offset, which takes nine years at a million records a second.
const MOST_RECORDS: Offset = Offset(1 << 48);

/// The request slot of a voter: one in flight, and a pause after a failure.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    pub(super) in_flight: Option<Sent>,
    pub(super) backoff: Option<Monotonic>,
}

/// The request that was sent, to tell whether its answer still matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Sent {
    Vote { epoch: LeaderEpoch, pre_vote: bool },
    Begin { epoch: LeaderEpoch },
    End { epoch: LeaderEpoch },
}

/// A granted vote that waits for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct ParkedVote {
    epoch: LeaderEpoch,
    candidate: NodeId,
}

impl Quorum {
    /// Records epoch, vote and leader, in memory and on disk.
    pub(super) fn set_ballot(
        &mut self,
        epoch: LeaderEpoch,
        voted: Option<NodeId>,
        leader: Option<NodeId>,
        env: &mut dyn Env,
    ) {
        assert!(epoch >= self.ballot.epoch, "epochs only grow");
        assert!(
            epoch > self.ballot.epoch || self.ballot.voted.is_none() || voted == self.ballot.voted,
            "one vote per epoch"
        );
        let ballot = Ballot { epoch, voted, leader };
        if ballot == self.ballot {
            return;
        }
        self.ballot = ballot;
        let voters = Some(self.settings.voters.clone());
        let state = QuorumState { leader, epoch, voted, voted_directory: None, voters };
        let version = self.vote_file.write(format_quorum_state(&state), env);
        self.writing.push_back((version, ballot));
    }

    /// The file's content up to this version is durable.
    pub(super) fn on_ballot_durable(
        &mut self,
        version: u64,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        while let Some((written, ballot)) = self.writing.front() {
            if *written > version {
                break;
            }
            self.durable = *ballot;
            self.writing.pop_front();
        }
        let Ballot { epoch, voted, .. } = self.durable;
        env.note(Note::QuorumStored { epoch, voted });
        self.note_following(env);
        self.answer_votes(env);
        self.count_own_vote(env, facts);
    }

    /// Whether this node's vote in this epoch may take effect, by an answer or by counting for
    /// itself. Only once no restart can make the node forget it (Raft 3.8).
    fn vote_counts(&self) -> bool {
        let held =
            self.durable.epoch == self.ballot.epoch && self.durable.voted == self.ballot.voted;
        held || self.settings.flaws.has(Flaw::VoteBeforeDurable)
    }

    /// The epoch and leader to put into messages: no epoch before it is on disk. Otherwise a
    /// candidate that loses power would come back in an earlier epoch than it announced, and a node
    /// that believed it would wait for an epoch that nobody else ever hears of.
    pub(super) fn told(&self) -> (LeaderEpoch, Option<NodeId>) {
        if self.durable.epoch < self.ballot.epoch {
            (self.durable.epoch, None)
        } else {
            (self.ballot.epoch, self.leader())
        }
    }

    pub(super) fn count_own_vote(&mut self, env: &mut dyn Env, facts: &mut Vec<QuorumFact>) {
        if !self.vote_counts() {
            return;
        }
        let node = self.settings.node;
        if let Role::Candidate(votes) = &mut self.role {
            votes.count(node, true);
            self.count_votes(env, facts);
        }
    }

    /// Acts on a majority, for or against.
    fn count_votes(&mut self, env: &mut dyn Env, facts: &mut Vec<QuorumFact>) {
        if self.stopping {
            return;
        }
        let voters = self.settings.voters.len();
        match &self.role {
            Role::Prospective(votes) => match votes.tally(voters) {
                Tally::Won => self.become_candidate(env, facts),
                Tally::Lost { .. } => self.give_up_prospect(env, facts),
                Tally::Open => {}
            },
            Role::Candidate(votes) => match votes.tally(voters) {
                Tally::Won => self.become_leader(env, facts),
                Tally::Lost { now: true } => {
                    // It stays a candidate for a random time, in which somebody else may win.
                    self.retries = self.retries.saturating_add(1);
                    self.arm_election_backoff(env);
                }
                Tally::Lost { now: false } | Tally::Open => {}
            },
            Role::Unattached
            | Role::Voted { .. }
            | Role::Leader(_)
            | Role::Follower { .. }
            | Role::Resigned { .. }
            | Role::Observer { .. } => {}
        }
    }

    /// Arms a random wait. Its limit doubles with each lost election, up to the configured maximum.
    pub(super) fn arm_election_backoff(&mut self, env: &mut dyn Env) {
        let timing = &self.settings.timing;
        let doubled = timing.retry_backoff.saturating_mul(2 << self.retries.min(16));
        let most = doubled.min(timing.election_backoff_max).max(timing.retry_backoff);
        let wait = timing.retry_backoff + self.jitter(most, env);
        let deadline = env.now().after(wait);
        self.arm_election(deadline, env);
    }

    /// No leader was heard from, or the election made no progress.
    pub(super) fn election_timeout(&mut self, env: &mut dyn Env, facts: &mut Vec<QuorumFact>) {
        if self.stopping {
            return;
        }
        if !self.log.as_ref().is_some_and(|log| log.is_ready()) {
            // The log is being truncated: its end is not known yet.
            return self.arm_election_timeout(env);
        }
        match &self.role {
            Role::Unattached | Role::Resigned { .. } if self.settings.voters.len() == 1 => {
                self.become_candidate(env, facts);
            }
            Role::Unattached
            | Role::Voted { .. }
            | Role::Follower { .. }
            | Role::Resigned { .. }
            | Role::Candidate(_) => {
                self.become_prospective(env, facts);
                self.count_votes(env, facts);
            }
            Role::Prospective(_) => self.give_up_prospect(env, facts),
            Role::Leader(_) | Role::Observer { .. } => {
                panic!("neither leaders nor observers have an election timeout")
            }
        }
    }

    /// The request slots of the other voters, created on first use.
    fn slots(&mut self) -> &mut BTreeMap<NodeId, Peer> {
        if self.peers.is_empty() {
            let others: Vec<NodeId> = self.others().collect();
            self.peers.extend(others.into_iter().map(|voter| (voter, Peer::default())));
        }
        &mut self.peers
    }

    /// Sends each voter the request that the role wants sent, unless one is in flight.
    pub(super) fn ask_peers(&mut self, env: &mut dyn Env) {
        if !self.is_voter() {
            return;
        }
        let free: Vec<NodeId> = self
            .slots()
            .iter()
            .filter(|(_, peer)| peer.in_flight.is_none() && peer.backoff.is_none())
            .map(|(node, _)| *node)
            .collect();
        for peer in free {
            let Some((sent, request)) = self.wanted_of(peer) else { continue };
            let timeout = self.settings.timing.request_timeout;
            env.request(peer, Channel::Quorum, timeout, request);
            self.slots().entry(peer).or_default().in_flight = Some(sent);
        }
    }

    /// The request that this voter should be sent now.
    fn wanted_of(&self, peer: NodeId) -> Option<(Sent, Request)> {
        let epoch = self.ballot.epoch;
        match &self.role {
            Role::Prospective(_) | Role::Candidate(_) if self.stopping => None,
            Role::Prospective(votes) => {
                let may_ask = votes.is_open(peer) && self.durable.epoch == epoch;
                may_ask.then(|| self.vote_request(peer, true))
            }
            Role::Candidate(votes) => {
                let may_ask = votes.is_open(peer) && self.vote_counts();
                may_ask.then(|| self.vote_request(peer, false))
            }
            Role::Leader(leadership) => leadership.must_be_told(peer).then(|| {
                let request = BeginQuorumEpochRequest {
                    cluster_id: Some(self.settings.cluster_id.clone()),
                    voter: peer,
                    voter_directory_id: Uuid::ZERO,
                    leader: self.settings.node,
                    leader_epoch: epoch,
                    leader_endpoints: Vec::new(),
                };
                (Sent::Begin { epoch }, Request::BeginQuorumEpoch(request))
            }),
            Role::Resigned { successors, unacknowledged } => {
                unacknowledged.contains(&peer).then(|| {
                    let request = EndQuorumEpochRequest {
                        cluster_id: Some(self.settings.cluster_id.clone()),
                        leader: self.settings.node,
                        leader_epoch: epoch,
                        preferred_successors: successors.clone(),
                    };
                    (Sent::End { epoch }, Request::EndQuorumEpoch(request))
                })
            }
            Role::Unattached
            | Role::Voted { .. }
            | Role::Follower { .. }
            | Role::Observer { .. } => None,
        }
    }

    fn vote_request(&self, voter: NodeId, pre_vote: bool) -> (Sent, Request) {
        let epoch = self.ballot.epoch;
        let request = VoteRequest {
            cluster_id: Some(self.settings.cluster_id.clone()),
            voter,
            epoch,
            candidate: self.settings.node,
            candidate_directory_id: Uuid::ZERO,
            voter_directory_id: Uuid::ZERO,
            last_offset_epoch: self.last_epoch(),
            last_offset: self.log_end(),
            pre_vote,
        };
        (Sent::Vote { epoch, pre_vote }, Request::Vote(request))
    }

    /// A voter answered (or did not).
    pub(super) fn on_peer_answer(
        &mut self,
        peer: NodeId,
        outcome: Result<Response, RpcError>,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let Some(sent) = self.slots().get_mut(&peer).and_then(|peer| peer.in_flight.take()) else {
            return;
        };
        let (error, epoch, leader, granted) = match (sent, outcome) {
            (Sent::Vote { .. }, Ok(Response::Vote(r))) => {
                (r.error, r.leader_epoch, r.leader, r.vote_granted)
            }
            (Sent::Begin { .. }, Ok(Response::BeginQuorumEpoch(r))) => {
                (r.error, r.leader_epoch, r.leader, false)
            }
            (Sent::End { .. }, Ok(Response::EndQuorumEpoch(r))) => {
                (r.error, r.leader_epoch, r.leader, false)
            }
            (_, Ok(_) | Err(_)) => return self.pause_peer(peer, env),
        };
        if !self.believes_answer(epoch) {
            return self.doubt_answer(peer, Implausible::Epoch, env);
        }
        self.learn(epoch, leader.known(), env, facts);
        let now = self.ballot.epoch;
        match (sent, &mut self.role) {
            (Sent::Vote { epoch, pre_vote: true }, Role::Prospective(votes))
            | (Sent::Vote { epoch, pre_vote: false }, Role::Candidate(votes))
                if epoch == now =>
            {
                if error.is_ok() {
                    votes.count(peer, granted);
                    self.count_votes(env, facts);
                } else {
                    self.pause_peer(peer, env);
                }
            }
            (Sent::Begin { epoch }, Role::Leader(leadership)) if epoch == now => {
                if error.is_ok() {
                    leadership.told(peer);
                } else {
                    self.pause_peer(peer, env);
                }
            }
            (Sent::End { epoch }, Role::Resigned { unacknowledged, .. }) if epoch == now => {
                // Any answer shows that it knows.
                unacknowledged.remove(&peer);
            }
            // The role that asked is gone.
            (Sent::Vote { .. } | Sent::Begin { .. } | Sent::End { .. }, _) => {}
        }
    }

    /// A voter's answer is one that no correct voter sends: it counts as no answer.
    fn doubt_answer(&mut self, peer: NodeId, why: Implausible, env: &mut dyn Env) {
        env.note(Note::AnswerRefused { partition: TopicPartition::METADATA, peer, why });
        self.pause_peer(peer, env);
    }

    fn pause_peer(&mut self, peer: NodeId, env: &mut dyn Env) {
        let most = self.settings.timing.retry_backoff;
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX).max(1);
        let jitter = core::time::Duration::from_nanos(env.draw(Site::Backoff, nanos));
        let deadline = env.now().after(most).after(jitter);
        env.arm(TimerKey::BeginEpochRetry(peer), deadline);
        self.slots().entry(peer).or_default().backoff = Some(deadline);
    }

    fn same_cluster(&self, cluster_id: Option<&str>) -> bool {
        cluster_id.is_none_or(|id| id == self.settings.cluster_id)
    }

    /// Vote: a candidate or a prospective candidate asks for a vote.
    pub(super) fn on_vote_request(
        &mut self,
        from: ReplyTo,
        request: &VoteRequest,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        if let Err(error) = self.check_vote_request(request) {
            return self.answer_vote(from, error, false, env);
        }
        if !self.believes_request(request.epoch, env) {
            return self.answer_vote(from, ErrorCode::InvalidRequest, false, env);
        }
        if request.epoch > self.ballot.epoch {
            self.become_unattached(request.epoch, env, facts);
        }
        let granted = self.would_vote(request);
        if granted && request.pre_vote {
            let (epoch, candidate) = (request.epoch, request.candidate);
            env.note(Note::QuorumPreVoted { epoch, candidate });
        }
        if !granted || request.pre_vote {
            return self.answer_vote(from, ErrorCode::None, granted, env);
        }
        if self.ballot.voted.is_none() {
            self.become_voted(request.candidate, env, facts);
        }
        let (epoch, candidate) = (request.epoch, request.candidate);
        self.parked_votes.insert(from, ParkedVote { epoch, candidate });
        self.answer_votes(env);
    }

    fn check_vote_request(&self, request: &VoteRequest) -> Result<(), ErrorCode> {
        if !self.same_cluster(request.cluster_id.as_deref()) {
            return Err(ErrorCode::InconsistentClusterId);
        }
        if request.voter.known().is_some_and(|voter| voter != self.settings.node) {
            return Err(INVALID_VOTER_KEY);
        }
        // A candidate has raised the epoch; a prospective candidate has not.
        let raised = i32::from(!request.pre_vote);
        let newest = request.epoch.0.saturating_sub(raised);
        let (last_epoch, end) = (request.last_offset_epoch.0, request.last_offset);
        let sane = request.epoch.0 >= raised
            && (Offset::ZERO..=MOST_RECORDS).contains(&end)
            && (0..=newest).contains(&last_epoch)
            && (end > Offset::ZERO || last_epoch == 0);
        if !sane {
            return Err(ErrorCode::InvalidRequest);
        }
        if !self.is_voter() || !self.is_other_voter(request.candidate) {
            return Err(ErrorCode::InconsistentVoterSet);
        }
        if request.epoch < self.ballot.epoch {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        // Nobody votes while the end of its own log is in question.
        if !self.log.as_ref().is_some_and(|log| log.is_ready()) {
            return Err(ErrorCode::UnknownServerError);
        }
        Ok(())
    }

    /// Whether this node would grant the vote in the request's epoch. Is the candidate's log at
    /// least as good as ours (Raft 5.4.1)? Have we voted, or heard from a leader?
    fn would_vote(&self, request: &VoteRequest) -> bool {
        let theirs = (request.last_offset_epoch, request.last_offset);
        if theirs < (self.last_epoch(), self.log_end()) {
            return false;
        }
        let free = self.ballot.voted.is_none_or(|voted| voted == request.candidate);
        match &self.role {
            Role::Leader(_) | Role::Observer { .. } => false,
            // A follower that hears from its leader helps nobody to disrupt it (KIP-996).
            Role::Follower { fetched, .. } => request.pre_vote && !fetched,
            Role::Resigned { .. } | Role::Candidate(_) => request.pre_vote,
            Role::Unattached | Role::Voted { .. } | Role::Prospective(_) => {
                let led = self.ballot.leader.is_some();
                request.pre_vote || (free && !led)
            }
        }
    }

    /// Answers the votes that are on disk, and those of past epochs.
    fn answer_votes(&mut self, env: &mut dyn Env) {
        let counts = self.vote_counts();
        let Ballot { epoch, voted, .. } = self.ballot;
        let ready: Vec<(ReplyTo, ParkedVote)> = self
            .parked_votes
            .iter()
            .filter(|(_, parked)| counts || parked.epoch != epoch)
            .map(|(to, parked)| (*to, *parked))
            .collect();
        for (to, parked) in ready {
            self.parked_votes.remove(&to);
            let granted = parked.epoch == epoch && voted == Some(parked.candidate);
            if granted {
                let candidate = parked.candidate;
                env.note(Note::QuorumVoteAnswered { epoch, candidate });
            }
            self.answer_vote(to, ErrorCode::None, granted, env);
        }
    }

    fn answer_vote(&self, to: ReplyTo, error: ErrorCode, granted: bool, env: &mut dyn Env) {
        let (leader_epoch, leader) = self.told();
        let response = VoteResponse {
            error,
            leader: leader.unwrap_or(NodeId::NONE),
            leader_epoch,
            vote_granted: granted,
            node_endpoints: Vec::new(),
        };
        env.respond(to, Response::Vote(response));
    }

    /// BeginQuorumEpoch: a leader announces itself.
    pub(super) fn on_begin_request(
        &mut self,
        from: ReplyTo,
        request: &BeginQuorumEpochRequest,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let error = match self.check_begin_request(request) {
            Err(error) => error,
            Ok(()) if !self.believes_request(request.leader_epoch, env) => {
                ErrorCode::InvalidRequest
            }
            Ok(()) => {
                let (leader, epoch) = (request.leader, request.leader_epoch);
                let lost = matches!(self.role, Role::Prospective(_))
                    && (self.ballot.epoch, self.ballot.leader) == (epoch, Some(leader));
                if lost && self.ended != Some(epoch) {
                    // The leader that this node gave up is alive after all: it sent this request
                    // itself.
                    self.become_follower(epoch, leader, env, facts);
                }
                self.learn(epoch, Some(leader), env, facts);
                ErrorCode::None
            }
        };
        let (leader_epoch, leader) = self.told();
        let response = BeginQuorumEpochResponse {
            error,
            leader: leader.unwrap_or(NodeId::NONE),
            leader_epoch,
        };
        env.respond(from, Response::BeginQuorumEpoch(response));
    }

    fn check_begin_request(&self, request: &BeginQuorumEpochRequest) -> Result<(), ErrorCode> {
        if !self.same_cluster(request.cluster_id.as_deref()) {
            return Err(ErrorCode::InconsistentClusterId);
        }
        if request.voter.known().is_some_and(|voter| voter != self.settings.node) {
            return Err(INVALID_VOTER_KEY);
        }
        self.check_leader(request.leader, request.leader_epoch)
    }

    /// Whether `leader` can lead, or have led, in `epoch`.
    fn check_leader(&self, leader: NodeId, epoch: LeaderEpoch) -> Result<(), ErrorCode> {
        if !self.is_voter() || !self.is_other_voter(leader) {
            return Err(ErrorCode::InconsistentVoterSet);
        }
        if epoch < self.ballot.epoch {
            return Err(ErrorCode::FencedLeaderEpoch);
        }
        // An epoch has one leader, and it was elected: with two voters, only with this node's vote.
        let same = epoch == self.ballot.epoch;
        let another = same && self.ballot.leader.is_some_and(|known| known != leader);
        let voters = self.settings.voters.len();
        let ours_is_needed = majority_of(voters) == voters;
        let elected =
            epoch.0 > 0 && (!ours_is_needed || (same && self.ballot.voted == Some(leader)));
        if another || !elected { Err(ErrorCode::InvalidRequest) } else { Ok(()) }
    }

    /// Whether this is a voter other than this node.
    fn is_other_voter(&self, node: NodeId) -> bool {
        node != self.settings.node && self.settings.voters.contains(&node)
    }

    /// EndQuorumEpoch: a leader resigns and names its preferred successors.
    pub(super) fn on_end_request(
        &mut self,
        from: ReplyTo,
        request: &EndQuorumEpochRequest,
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        let error = match self.check_end_request(request) {
            Err(error) => error,
            Ok(()) if !self.believes_request(request.leader_epoch, env) => {
                ErrorCode::InvalidRequest
            }
            Ok(()) => {
                let (leader, epoch) = (request.leader, request.leader_epoch);
                self.end_epoch(leader, epoch, &request.preferred_successors, env, facts);
                ErrorCode::None
            }
        };
        let (leader_epoch, leader) = self.told();
        let response =
            EndQuorumEpochResponse { error, leader: leader.unwrap_or(NodeId::NONE), leader_epoch };
        env.respond(from, Response::EndQuorumEpoch(response));
    }

    fn check_end_request(&self, request: &EndQuorumEpochRequest) -> Result<(), ErrorCode> {
        if !self.same_cluster(request.cluster_id.as_deref()) {
            return Err(ErrorCode::InconsistentClusterId);
        }
        self.check_leader(request.leader, request.leader_epoch)?;
        let successors = &request.preferred_successors;
        let sound = |(at, node): (usize, &NodeId)| {
            *node != request.leader
                && self.settings.voters.contains(node)
                && !successors[..at].contains(node)
        };
        // The voters are few, so the check of a long list ends at its first repetition.
        if successors.iter().enumerate().all(sound) {
            Ok(())
        } else {
            Err(ErrorCode::InvalidRequest)
        }
    }

    fn end_epoch(
        &mut self,
        leader: NodeId,
        epoch: LeaderEpoch,
        successors: &[NodeId],
        env: &mut dyn Env,
        facts: &mut Vec<QuorumFact>,
    ) {
        if epoch > self.ballot.epoch {
            self.become_unattached(epoch, env, facts);
        }
        self.ended = Some(epoch);
        match self.role {
            Role::Follower { leader: followed, .. } if followed == leader => {
                self.become_unattached(epoch, env, facts);
            }
            Role::Unattached => {}
            Role::Voted { .. }
            | Role::Prospective(_)
            | Role::Candidate(_)
            | Role::Leader(_)
            | Role::Follower { .. }
            | Role::Resigned { .. }
            | Role::Observer { .. } => return,
        }
        let node = self.settings.node;
        let Some(place) = successors.iter().position(|successor| *successor == node) else {
            return;
        };
        // The best successor stands at once; the others give it time.
        let wait = if place == 0 {
            core::time::Duration::ZERO
        } else {
            let timing = &self.settings.timing;
            let doubled = timing.retry_backoff.saturating_mul(4 << place.min(16));
            let most = doubled.min(timing.election_backoff_max);
            most + self.jitter(most, env)
        };
        let deadline = env.now().after(wait);
        self.arm_election(deadline, env);
    }
}
