//! Each rule, tested by requests, timers and completions against a recorder.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use core::cmp::Ordering;
use core::time::Duration;

use super::super::roles::allowed;
use super::super::*;
use super::disk::TestDisk;
use crate::batch::{Batch, BatchBuilder};
use crate::effects::{Effect, Effects};
use crate::env::{Disk as _, FileKind};
use crate::error_code::ErrorCode;
use crate::flaw::Flaw;
use crate::metadata::{LeaderChangeMessage, TopicRecord, leader_change_key};
use crate::msg::{
    BeginQuorumEpochRequest, EndQuorumEpochRequest, FetchPartition, FetchPartitionResponse,
    FetchRequest, FetchResponse, FetchTopic, FetchTopicResponse, LeaderIdAndEpoch, Records,
    VoteRequest, VoteResponse,
};
use crate::types::{EpochEndOffset, METADATA_TOPIC_ID, TopicRef, Uuid};

pub(super) struct Bench {
    pub(super) quorum: Quorum,
    pub(super) env: Effects,
    pub(super) disk: TestDisk,
    pub(super) facts: Vec<QuorumFact>,
    config: NodeConfig,
    number: u32,
}

const CLUSTER: &str = "wavetank-cluster-00000";

pub(super) fn epoch(epoch: i32) -> LeaderEpoch {
    LeaderEpoch(epoch)
}

impl Bench {
    /// A started node with an empty disk. Voters are 1 to `voters`.
    pub(super) fn new(node: i32, voters: i32) -> Bench {
        Bench::with(node, voters, &[])
    }

    fn with(node: i32, voters: i32, flaws: &[Flaw]) -> Bench {
        let mut config = NodeConfig::new(NodeId(node), (1..=voters).map(NodeId).collect());
        config.flaws = flaws.iter().copied().collect();
        let mut bench = Bench {
            quorum: Quorum::new(&config),
            env: Effects::at(Monotonic(1)),
            disk: TestDisk::default(),
            facts: Vec::new(),
            config,
            number: 0,
        };
        bench.start();
        bench
    }

    fn start(&mut self) {
        self.start_from(Offset::ZERO);
    }

    fn start_from(&mut self, recovery_point: Offset) {
        self.quorum = Quorum::new(&self.config);
        self.quorum.start_from(recovery_point, false, &mut self.env);
        self.pump();
        assert!(self.facts.contains(&QuorumFact::Ready), "{:?}", self.facts);
    }

    /// The machine loses power and comes back.
    pub(super) fn restart(&mut self) {
        self.disk.power_loss();
        self.env.take();
        self.facts.clear();
        self.start();
    }

    /// As [`Bench::restart`], with the recovery point that was checkpointed.
    pub(super) fn restart_with_checkpoint(&mut self) {
        let point = self.quorum.recovery_point();
        self.disk.power_loss();
        self.env.take();
        self.facts.clear();
        self.start_from(point);
    }

    /// Hands disk operations over to the disk; keeps other effects.
    fn hand_over(&mut self) {
        for effect in self.env.take() {
            match effect {
                Effect::Disk(op) => self.disk.submit(op),
                other => self.env.list.push(other),
            }
        }
    }

    fn perform(&mut self) {
        self.hand_over();
        if let Some(done) = self.disk.perform() {
            self.quorum.on_disk(&done, &mut self.env, &mut self.facts);
        }
        self.hand_over();
    }

    /// Runs until the disk has done everything.
    pub(super) fn pump(&mut self) {
        self.hand_over();
        while !self.disk.is_idle() {
            self.perform();
        }
    }

    fn fire(&mut self, key: TimerKey, deadline: Monotonic) {
        self.env.now = self.env.now.max(deadline);
        self.quorum.on_timer(key, deadline, &mut self.env, &mut self.facts);
    }

    pub(super) fn elect(&mut self) {
        let deadline = self.quorum.election.expect("an election timeout");
        self.fire(TimerKey::Election, deadline);
    }

    pub(super) fn send(&mut self, request: Request) -> ReplyTo {
        self.number += 1;
        let from = ReplyTo { connection: ConnectionId(7), number: self.number };
        self.quorum.on_request(from, request, &mut self.env, &mut self.facts);
        from
    }

    pub(super) fn answer_to(&mut self, to: ReplyTo) -> Option<Response> {
        let at = self.env.list.iter().position(|e| matches!(e, Effect::Respond(t, _) if *t == to));
        at.map(|at| match self.env.list.remove(at) {
            Effect::Respond(_, response) => response,
            other => panic!("{other:?}"),
        })
    }

    pub(super) fn vote(&mut self, request: VoteRequest) -> Option<VoteResponse> {
        let to = self.send(Request::Vote(request));
        self.voted(to)
    }

    fn voted(&mut self, to: ReplyTo) -> Option<VoteResponse> {
        self.answer_to(to).map(|response| match response {
            Response::Vote(response) => response,
            other => panic!("{other:?}"),
        })
    }

    /// The requests sent since the last call.
    pub(super) fn requests(&mut self) -> Vec<(NodeId, Channel, Request)> {
        let mut requests = Vec::new();
        self.hand_over();
        self.env.list.retain(|effect| match effect {
            Effect::Request(peer, channel, _, request) => {
                requests.push((*peer, *channel, request.clone()));
                false
            }
            _ => true,
        });
        requests
    }

    fn fetched(&mut self) -> Option<(NodeId, FetchPartition)> {
        let fetch_of = |(peer, _, request)| match request {
            Request::Fetch(FetchRequest { topics, .. }) => {
                Some((peer, topics[0].partitions[0].clone()))
            }
            _ => None,
        };
        self.requests().into_iter().filter_map(fetch_of).last()
    }

    pub(super) fn rpc(&mut self, peer: i32, channel: Channel, outcome: Result<Response, RpcError>) {
        let (env, facts) = (&mut self.env, &mut self.facts);
        self.quorum.on_rpc(NodeId(peer), channel, outcome, env, facts);
    }

    fn grant(&mut self, peer: i32, granted: bool) {
        self.grant_naming(peer, granted, NodeId::NONE);
    }

    fn grant_naming(&mut self, peer: i32, granted: bool, leader: NodeId) {
        let response = VoteResponse {
            error: ErrorCode::None,
            leader,
            leader_epoch: self.quorum.epoch(),
            vote_granted: granted,
            node_endpoints: vec![],
        };
        self.rpc(peer, Channel::Quorum, Ok(Response::Vote(response)));
    }

    /// A leader among three, with its LeaderChange on its own disk; nobody has fetched yet.
    pub(super) fn leader() -> Bench {
        Bench::leader_with(&[])
    }

    fn leader_with(flaws: &[Flaw]) -> Bench {
        let mut bench = Bench::with(1, 3, flaws);
        bench.win();
        bench
    }

    pub(super) fn win(&mut self) {
        self.elect();
        self.grant(2, true);
        assert_eq!(self.quorum.role(), RoleName::Candidate);
        self.pump();
        self.requests();
        self.grant(2, true);
        assert_eq!(self.quorum.role(), RoleName::Leader);
        self.pump();
    }

    /// A follower of node 2 in epoch 1.
    pub(super) fn follower() -> Bench {
        let mut bench = Bench::new(1, 3);
        bench.fail_fetches();
        bench.begin(2, 1);
        bench.pump();
        bench
    }

    /// Breaks every fetch in flight.
    pub(super) fn fail_fetches(&mut self) {
        self.requests();
        for peer in 1..=3 {
            self.rpc(peer, Channel::QuorumFetch, Err(RpcError::Disconnected));
        }
    }

    pub(super) fn begin(&mut self, leader: i32, at: i32) -> ErrorCode {
        let request = BeginQuorumEpochRequest {
            cluster_id: Some(CLUSTER.into()),
            voter: NodeId(1),
            voter_directory_id: Uuid::ZERO,
            leader: NodeId(leader),
            leader_epoch: epoch(at),
            leader_endpoints: vec![],
        };
        let to = self.send(Request::BeginQuorumEpoch(request));
        match self.answer_to(to) {
            Some(Response::BeginQuorumEpoch(response)) => response.error,
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn end(&mut self, leader: i32, at: i32, successors: &[i32]) -> ErrorCode {
        let request = EndQuorumEpochRequest {
            cluster_id: Some(CLUSTER.into()),
            leader: NodeId(leader),
            leader_epoch: epoch(at),
            preferred_successors: successors.iter().copied().map(NodeId).collect(),
        };
        let to = self.send(Request::EndQuorumEpoch(request));
        match self.answer_to(to) {
            Some(Response::EndQuorumEpoch(response)) => response.error,
            other => panic!("{other:?}"),
        }
    }

    /// A fetch by a replica of this leader.
    pub(super) fn fetch(&mut self, replica: i32, offset: i64, last_epoch: i32) -> ReplyTo {
        let current = self.quorum.epoch();
        self.fetch_in(replica, offset, last_epoch, current.0, Offset(i64::MAX))
    }

    fn fetch_in(
        &mut self,
        replica: i32,
        offset: i64,
        last_epoch: i32,
        current: i32,
        seen: Offset,
    ) -> ReplyTo {
        let partition = FetchPartition {
            partition: 0,
            current_leader_epoch: epoch(current),
            fetch_offset: Offset(offset),
            last_fetched_epoch: epoch(last_epoch),
            log_start_offset: Offset(0),
            max_bytes: 1 << 20,
            replica_directory_id: Uuid::ZERO,
            high_watermark: seen,
        };
        let topic = TopicRef::id(METADATA_TOPIC_ID);
        self.send(Request::Fetch(FetchRequest {
            cluster_id: Some(CLUSTER.into()),
            replica: NodeId(replica),
            max_wait_ms: 500,
            topics: vec![FetchTopic { topic, partitions: vec![partition] }],
            ..FetchRequest::default()
        }))
    }

    pub(super) fn fetch_answer(&mut self, to: ReplyTo) -> Option<FetchPartitionResponse> {
        self.answer_to(to).map(|response| match response {
            Response::Fetch(response) => response.topics[0].partitions[0].clone(),
            other => panic!("{other:?}"),
        })
    }

    /// The leader's answer to this node's fetch.
    pub(super) fn feed(&mut self, leader: i32, at: i32, records: Records, high_watermark: i64) {
        self.feed_with(leader, at, |answer| {
            answer.records = records;
            answer.high_watermark = Offset(high_watermark);
        });
    }

    pub(super) fn feed_with(
        &mut self,
        leader: i32,
        at: i32,
        fill: impl FnOnce(&mut FetchPartitionResponse),
    ) {
        let mut partition = FetchPartitionResponse::failed(0, ErrorCode::None);
        let who = LeaderIdAndEpoch { leader: NodeId(leader), epoch: epoch(at) };
        partition.current_leader = Some(who);
        fill(&mut partition);
        let topic = TopicRef::id(METADATA_TOPIC_ID);
        let topics = vec![FetchTopicResponse { topic, partitions: vec![partition] }];
        let response = Response::Fetch(FetchResponse { topics, ..FetchResponse::default() });
        self.rpc(leader, Channel::QuorumFetch, Ok(response));
    }

    fn committed(&self) -> Option<Offset> {
        self.quorum.high_watermark()
    }
}

pub(super) fn vote_for(candidate: i32, at: i32) -> VoteRequest {
    VoteRequest {
        cluster_id: Some(CLUSTER.into()),
        voter: NodeId(1),
        epoch: epoch(at),
        candidate: NodeId(candidate),
        candidate_directory_id: Uuid::ZERO,
        voter_directory_id: Uuid::ZERO,
        last_offset_epoch: epoch(0),
        last_offset: Offset(0),
        pre_vote: false,
    }
}

pub(super) fn pre_vote_for(candidate: i32, at: i32) -> VoteRequest {
    VoteRequest { pre_vote: true, ..vote_for(candidate, at) }
}

fn topic(n: u128) -> MetadataRecord {
    MetadataRecord::Topic(TopicRecord { name: alloc::format!("t{n}"), id: Uuid(n) })
}

pub(super) fn data(at: i64, in_epoch: i32, n: u128) -> Batch {
    let mut builder = BatchBuilder::new();
    builder.push(0, None, Some(&topic(n).encode()), &[]);
    builder.build(Offset(at), epoch(in_epoch))
}

pub(super) fn leader_change(at: i64, in_epoch: i32, leader: i32) -> Batch {
    let message = LeaderChangeMessage {
        leader: NodeId(leader),
        voters: (1..=3).map(NodeId).collect(),
        granting_voters: vec![NodeId(leader)],
    };
    let mut builder = BatchBuilder::new();
    builder.control().push(0, Some(&leader_change_key()), Some(&message.encode()), &[]);
    builder.build(Offset(at), epoch(in_epoch))
}

#[test]
fn the_table_in_the_docs_is_the_table() {
    use RoleName::{Candidate, Follower, Leader, Prospective, Resigned, Unattached, Voted};
    let columns = [Unattached, Voted, Prospective, Candidate, Leader, Follower, Resigned];
    let rows: Vec<Vec<&str>> = include_str!("../roles.rs")
        .lines()
        .filter_map(|line| line.strip_prefix("//! | ")?.trim_end().strip_suffix('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .skip(1)
        .collect();
    assert_eq!(rows.len(), columns.len());
    for (row, from) in rows.iter().zip(columns) {
        assert_eq!(row[0], alloc::format!("{from:?}"));
        for (cell, to) in row[1..].iter().zip(columns) {
            let says = |mark: &str| cell.contains(mark);
            let name = alloc::format!("{from:?} to {to:?}");
            assert_eq!(allowed(from, to, Ordering::Equal, false), says("="), "{name}");
            let later = says(">") || says("+ 1");
            assert_eq!(allowed(from, to, Ordering::Greater, false), later, "{name}");
            assert_eq!(
                allowed(from, to, Ordering::Greater, true),
                later || says("one voter"),
                "{name}"
            );
            assert!(!allowed(from, to, Ordering::Less, true), "{name}");
        }
        assert!(!allowed(from, RoleName::Observer, Ordering::Greater, false));
        assert!(!allowed(RoleName::Observer, from, Ordering::Greater, false));
    }
}

#[test]
fn a_single_voter_leads_as_soon_as_its_vote_is_on_disk() {
    let mut bench = Bench::new(1, 1);
    assert_eq!(bench.quorum.role(), RoleName::Leader);
    assert_eq!((bench.quorum.epoch(), bench.committed()), (epoch(1), Some(Offset(1))));
    let told = QuorumFact::BecameLeader { epoch: epoch(1) };
    assert!(bench.facts.contains(&told));
    let committed = |upto| QuorumFact::Committed { records: vec![], upto, epoch: epoch(1) };
    assert!(bench.facts.contains(&committed(Offset(1))));
    // Appended records are committed when they are synced, not before (K7).
    bench.facts.clear();
    assert_eq!(bench.quorum.append(&[topic(1), topic(2)], &mut bench.env), Some(Offset(3)));
    assert!(bench.facts.is_empty());
    bench.pump();
    let records = vec![(Offset(1), epoch(1), topic(1)), (Offset(2), epoch(1), topic(2))];
    let all = QuorumFact::Committed { records, upto: Offset(3), epoch: epoch(1) };
    assert_eq!(bench.facts, [all]);
    // The next incarnation leads another epoch, and reports everything again.
    bench.restart();
    assert_eq!((bench.quorum.epoch(), bench.committed()), (epoch(2), Some(Offset(4))));
    assert_eq!(bench.quorum.role(), RoleName::Leader);
    let told: Vec<_> = bench
        .facts
        .iter()
        .filter_map(|fact| match fact {
            QuorumFact::Committed { records, .. } => Some(records.len()),
            _ => None,
        })
        .collect();
    assert_eq!(told, [2]);
}

#[test]
fn a_candidacy_counts_and_asks_only_when_it_is_on_disk() {
    let mut bench = Bench::new(1, 3);
    bench.requests();
    bench.elect();
    assert_eq!(bench.quorum.role(), RoleName::Prospective);
    let asked = bench.requests();
    assert!(asked.iter().all(|(_, _, r)| matches!(r, Request::Vote(v) if v.pre_vote)));
    bench.grant(2, true);
    assert_eq!((bench.quorum.role(), bench.quorum.epoch()), (RoleName::Candidate, epoch(1)));
    assert!(bench.requests().is_empty(), "its vote is not durable");
    bench.pump();
    let asked = bench.requests();
    let to: Vec<NodeId> = asked.iter().map(|(peer, _, _)| *peer).collect();
    // Node 3 has not answered the pre-vote: its slot is taken.
    assert_eq!(to, [NodeId(2)]);
    assert!(asked.iter().all(|(_, _, r)| matches!(r, Request::Vote(v) if !v.pre_vote)));
}

#[test]
fn a_vote_is_answered_only_when_it_is_on_disk() {
    let mut bench = Bench::new(1, 3);
    let to = bench.send(Request::Vote(vote_for(2, 1)));
    assert_eq!(bench.voted(to), None);
    assert_eq!(bench.quorum.voted_for(), Some(NodeId(2)));
    bench.pump();
    let answer = bench.voted(to).expect("it is durable");
    assert!(answer.vote_granted);
    assert_eq!(answer.leader_epoch, epoch(1));
    // Power loss does not make the node forget its vote.
    bench.restart();
    assert_eq!((bench.quorum.role(), bench.quorum.epoch()), (RoleName::Voted, epoch(1)));
    assert!(!bench.vote(vote_for(3, 1)).expect("an answer").vote_granted);
    assert!(bench.vote(vote_for(2, 1)).expect("an answer").vote_granted, "asked again");

    let mut bench = Bench::with(1, 3, &[Flaw::VoteBeforeDurable]);
    assert!(bench.vote(vote_for(2, 1)).expect("at once").vote_granted);
    bench.restart();
    assert_eq!(bench.quorum.epoch(), epoch(0));
}

#[test]
fn no_epoch_is_told_before_it_is_on_disk() {
    let mut bench = Bench::new(1, 3);
    bench.elect();
    bench.grant(2, true);
    assert_eq!((bench.quorum.role(), bench.quorum.epoch()), (RoleName::Candidate, epoch(1)));
    let to = bench.fetch_in(4, 0, 0, 0, Offset(-1));
    let answer = bench.fetch_answer(to).expect("refused");
    assert_eq!(answer.error, ErrorCode::FencedLeaderEpoch);
    assert_eq!(answer.current_leader.expect("told").epoch, epoch(0));
    bench.pump();
    let to = bench.fetch_in(4, 0, 0, 0, Offset(-1));
    let answer = bench.fetch_answer(to).expect("refused");
    assert_eq!(answer.current_leader.expect("told").epoch, epoch(1));
}

#[test]
fn vote_requests_are_checked() {
    let mut bench = Bench::new(1, 3);
    bench.begin(2, 3);
    bench.pump();
    let mut error = |request| bench.vote(request).expect("an answer").error;
    let of = |cluster: &str| VoteRequest { cluster_id: Some(cluster.into()), ..vote_for(2, 4) };
    assert_eq!(error(of("other")), ErrorCode::InconsistentClusterId);
    let meant = VoteRequest { voter: NodeId(2), ..vote_for(2, 4) };
    assert_eq!(error(meant), ErrorCode::Other(125));
    assert_eq!(error(vote_for(9, 4)), ErrorCode::InconsistentVoterSet);
    assert_eq!(error(vote_for(2, 2)), ErrorCode::FencedLeaderEpoch);
    for (last_epoch, last_offset) in [(-1, 0), (0, -1), (4, 1)] {
        let odd = VoteRequest {
            last_offset_epoch: epoch(last_epoch),
            last_offset: Offset(last_offset),
            ..vote_for(2, 4)
        };
        assert_eq!(error(odd), ErrorCode::InvalidRequest);
    }
    assert_eq!(bench.quorum.epoch(), epoch(3), "nothing of it was believed");

    let mut observer = Bench::new(4, 3);
    let meant = VoteRequest { voter: NodeId(4), ..vote_for(2, 4) };
    let answer = observer.vote(meant).expect("an answer");
    assert_eq!(answer.error, ErrorCode::InconsistentVoterSet);
}

#[test]
fn nobody_votes_for_a_worse_log() {
    let mut bench = Bench::follower();
    bench.feed(2, 1, vec![leader_change(0, 1, 2), data(1, 1, 1)], 0);
    bench.pump();
    let mut granted = |at, last_epoch, last_offset| {
        let to = bench.send(Request::Vote(VoteRequest {
            last_offset_epoch: epoch(last_epoch),
            last_offset: Offset(last_offset),
            ..vote_for(3, at)
        }));
        bench.pump();
        bench.voted(to).expect("an answer").vote_granted
    };
    assert!(!granted(5, 1, 1), "shorter");
    assert!(!granted(6, 0, 9), "longer, but of an earlier epoch");
    assert!(granted(7, 1, 2), "as good");
    assert!(granted(8, 2, 1), "of a later epoch");
}

#[test]
fn who_hears_from_a_leader_helps_nobody_to_depose_it() {
    let mut bench = Bench::follower();
    assert!(bench.vote(pre_vote_for(3, 1)).expect("an answer").vote_granted);
    bench.feed(2, 1, vec![], -1);
    let answer = bench.vote(pre_vote_for(3, 1)).expect("an answer");
    assert!(!answer.vote_granted);
    assert_eq!((answer.leader, bench.quorum.role()), (NodeId(2), RoleName::Follower));
    // A standard vote in this epoch is refused, since the epoch has a leader already; the next has
    // none.
    assert!(!bench.vote(vote_for(3, 1)).expect("an answer").vote_granted);
    let mut leader = Bench::leader();
    assert!(!leader.vote(pre_vote_for(3, 1)).expect("an answer").vote_granted);
}

#[test]
fn a_pre_vote_without_success_raises_no_epoch() {
    let mut bench = Bench::follower();
    bench.elect();
    assert_eq!((bench.quorum.role(), bench.quorum.epoch()), (RoleName::Prospective, epoch(1)));
    bench.grant(2, false);
    bench.grant(3, false);
    // It goes back to the leader that it knew.
    assert_eq!((bench.quorum.role(), bench.quorum.leader()), (RoleName::Follower, Some(NodeId(2))));
    assert_eq!(bench.quorum.epoch(), epoch(1));
}

/// Found by the tank (default profile, seed 5): two followers whose leader was gone granted each
/// other's pre-votes forever, because each grant named the dead leader and was taken for news.
#[test]
fn a_pre_vote_that_names_the_lost_leader_counts() {
    let mut bench = Bench::follower();
    bench.elect();
    bench.grant_naming(3, true, NodeId(2));
    assert_eq!((bench.quorum.role(), bench.quorum.epoch()), (RoleName::Candidate, epoch(2)));
}

#[test]
fn a_granted_pre_vote_that_names_the_lost_leader_counts() {
    let after_grant = |flaws: &[Flaw]| {
        let mut bench = Bench::with(1, 3, flaws);
        bench.begin(2, 1);
        bench.pump();
        bench.elect();
        let response = VoteResponse {
            error: ErrorCode::None,
            leader: NodeId(2),
            leader_epoch: epoch(1),
            vote_granted: true,
            node_endpoints: vec![],
        };
        bench.rpc(3, Channel::Quorum, Ok(Response::Vote(response)));
        (bench.quorum.role(), bench.quorum.epoch())
    };
    assert_eq!(after_grant(&[]), (RoleName::Candidate, epoch(2)));
    assert_eq!(after_grant(&[Flaw::LostLeaderIsNews]), (RoleName::Follower, epoch(1)));
    // From that leader itself, its name is a sign of life.
    let mut bench = Bench::follower();
    bench.elect();
    assert_eq!(bench.begin(2, 1), ErrorCode::None);
    assert_eq!((bench.quorum.role(), bench.quorum.leader()), (RoleName::Follower, Some(NodeId(2))));
}

#[test]
fn a_follower_fetches_when_its_epoch_is_on_disk() {
    let mut bench = Bench::new(1, 3);
    bench.fail_fetches();
    bench.begin(2, 1);
    assert_eq!(bench.fetched(), None);
    let follows = crate::note::Note::QuorumFollower { epoch: epoch(1), leader: NodeId(2) };
    assert!(!bench.env.notes.contains(&follows));
    bench.pump();
    assert!(bench.fetched().is_some());
    assert!(bench.env.notes.contains(&follows));
}

#[test]
fn a_rejected_candidate_waits_and_asks_first_again() {
    let mut bench = Bench::new(1, 3);
    bench.elect();
    bench.grant(2, true);
    bench.pump();
    bench.grant(3, false); // A late answer to the pre-vote does not count.
    assert_eq!(bench.quorum.role(), RoleName::Candidate);
    bench.grant(2, false);
    bench.grant(3, false);
    let wait = bench.quorum.election.expect("a wait");
    assert!(wait < bench.env.now.after(Duration::from_millis(200)), "no whole timeout");
    bench.elect();
    assert_eq!((bench.quorum.role(), bench.quorum.epoch()), (RoleName::Prospective, epoch(1)));
}

#[test]
fn a_leader_that_restarts_never_leads_that_epoch_again() {
    let mut bench = Bench::leader();
    assert_eq!(bench.quorum.epoch(), epoch(1));
    bench.restart();
    assert_eq!((bench.quorum.role(), bench.quorum.epoch()), (RoleName::Resigned, epoch(1)));
    assert!(!bench.vote(vote_for(2, 1)).expect("an answer").vote_granted);
    bench.win();
    assert_eq!(bench.quorum.epoch(), epoch(2));

    let mut bench = Bench::leader_with(&[Flaw::LeaderResumesEpoch]);
    bench.restart();
    assert_eq!((bench.quorum.role(), bench.quorum.epoch()), (RoleName::Leader, epoch(1)));
}

#[test]
fn a_candidate_that_restarts_does_not_stand_in_that_epoch_again() {
    let mut bench = Bench::new(1, 3);
    bench.elect();
    bench.grant(2, true);
    bench.pump();
    bench.restart();
    assert_eq!((bench.quorum.role(), bench.quorum.epoch()), (RoleName::Voted, epoch(1)));
    assert_eq!(bench.quorum.voted_for(), Some(NodeId(1)));
    bench.win();
    assert_eq!(bench.quorum.epoch(), epoch(2));
}

#[test]
fn begin_quorum_epoch_makes_a_follower_once() {
    let mut bench = Bench::new(1, 3);
    assert_eq!(bench.begin(2, 5), ErrorCode::None);
    assert_eq!((bench.quorum.leader(), bench.quorum.epoch()), (Some(NodeId(2)), epoch(5)));
    assert_eq!(bench.begin(2, 5), ErrorCode::None);
    assert_eq!(bench.begin(3, 5), ErrorCode::InvalidRequest);
    assert_eq!(bench.begin(3, 4), ErrorCode::FencedLeaderEpoch);
    assert_eq!(bench.begin(9, 6), ErrorCode::InconsistentVoterSet);
    assert_eq!((bench.quorum.leader(), bench.quorum.epoch()), (Some(NodeId(2)), epoch(5)));
    let changed = QuorumFact::LeaderChanged { epoch: epoch(5), leader: Some(NodeId(2)) };
    assert!(bench.facts.contains(&changed));
}

#[test]
fn earlier_copies_of_requests_may_come_last() {
    let mut bench = Bench::new(1, 3);
    // A repeated vote goes to the same candidate; a copy of another candidate's request finds it
    // taken.
    let to = bench.send(Request::Vote(vote_for(2, 1)));
    bench.pump();
    assert!(bench.voted(to).expect("it is on disk").vote_granted);
    assert!(bench.vote(vote_for(2, 1)).expect("it is on disk").vote_granted);
    assert!(!bench.vote(vote_for(3, 1)).expect("an answer").vote_granted);
    // Its leader begins and ends the epoch, and a delayed copy begins it again.
    assert_eq!(bench.begin(2, 1), ErrorCode::None);
    assert_eq!(bench.quorum.leader(), Some(NodeId(2)));
    assert_eq!(bench.end(2, 1, &[]), ErrorCode::None);
    assert_eq!(bench.begin(2, 1), ErrorCode::None);
    assert_eq!(bench.quorum.leader(), None, "that epoch has ended");
    // In the next epoch they are all refused.
    assert_eq!(bench.begin(3, 2), ErrorCode::None);
    assert_eq!(bench.begin(2, 1), ErrorCode::FencedLeaderEpoch);
    assert_eq!(bench.end(2, 1, &[1]), ErrorCode::FencedLeaderEpoch);
    let refused = bench.vote(vote_for(2, 1)).expect("an answer");
    assert_eq!((refused.error, refused.vote_granted), (ErrorCode::FencedLeaderEpoch, false));
    assert_eq!(bench.quorum.leader(), Some(NodeId(3)));
}

#[test]
fn the_best_successor_stands_at_once() {
    for (place, successors) in [(0, [1, 3]), (1, [3, 1])] {
        let mut bench = Bench::follower();
        bench.feed(2, 1, vec![], -1);
        assert_eq!(bench.end(2, 1, &successors), ErrorCode::None);
        assert_eq!((bench.quorum.role(), bench.quorum.leader()), (RoleName::Unattached, None));
        let deadline = bench.quorum.election.expect("it stands");
        assert_eq!(deadline == bench.env.now, place == 0);
        // From now on it listens to others, and ignores old news of this epoch.
        assert!(bench.vote(pre_vote_for(3, 1)).expect("an answer").vote_granted);
        assert_eq!(bench.begin(2, 1), ErrorCode::None);
        assert_eq!(bench.quorum.leader(), None);
    }
    let mut bench = Bench::follower();
    assert_eq!(bench.end(2, 0, &[1]), ErrorCode::FencedLeaderEpoch);
    assert_eq!(bench.quorum.leader(), Some(NodeId(2)));
}

#[test]
fn a_leader_commits_nothing_before_its_own_epoch() {
    // Node 1 has a record of epoch 1 that was never committed, and leads epoch 2.
    let mut bench = Bench::follower();
    bench.feed(2, 1, vec![leader_change(0, 1, 2), data(1, 1, 1)], -1);
    bench.pump();
    bench.elect();
    bench.grant(3, true);
    bench.pump();
    bench.grant(3, true);
    bench.grant(2, true);
    bench.pump();
    assert_eq!((bench.quorum.role(), bench.quorum.epoch()), (RoleName::Leader, epoch(2)));
    assert_eq!(bench.quorum.append(&[topic(5)], &mut bench.env), None, "not active yet");
    // A majority has the old record: that alone commits nothing (Raft figure 8).
    bench.fetch(3, 2, 1);
    assert_eq!(bench.committed(), None);
    bench.fetch(3, 3, 2);
    assert_eq!(bench.committed(), Some(Offset(3)));
    assert!(bench.facts.contains(&QuorumFact::BecameLeader { epoch: epoch(2) }));
    assert_eq!(bench.quorum.append(&[topic(5)], &mut bench.env), Some(Offset(4)));
}

#[test]
fn a_leader_counts_itself_only_when_it_is_synced() {
    let mut bench = Bench::leader();
    bench.fetch(2, 1, 1);
    assert_eq!(bench.committed(), Some(Offset(1)));
    bench.quorum.append(&[topic(1)], &mut bench.env);
    // Creation, writing: node 2 cannot have it before it is written.
    while bench.quorum.log().expect("open").written_end() < Offset(2) {
        bench.perform();
    }
    bench.fetch(2, 2, 1);
    assert!(bench.quorum.log().expect("open").synced_end() < Offset(2));
    assert_eq!(bench.committed(), Some(Offset(1)), "only one disk holds it");
    bench.pump();
    assert_eq!(bench.committed(), Some(Offset(2)));
}

#[test]
fn a_follower_asks_for_more_only_when_what_it_has_is_synced() {
    let mut bench = Bench::follower();
    let (peer, first) = bench.fetched().expect("a fetch");
    assert_eq!(
        (peer, first.fetch_offset, first.current_leader_epoch),
        (NodeId(2), Offset(0), epoch(1))
    );
    bench.feed(2, 1, vec![leader_change(0, 1, 2), data(1, 1, 1)], 1);
    while bench.quorum.log().expect("open").synced_end() < Offset(2) {
        assert_eq!(bench.fetched(), None);
        bench.perform();
    }
    let (_, next) = bench.fetched().expect("now");
    assert_eq!((next.fetch_offset, next.last_fetched_epoch), (Offset(2), epoch(1)));
    assert_eq!(next.high_watermark, Offset(1));
}

#[test]
fn a_follower_takes_the_high_watermark_as_far_as_its_log_goes() {
    let mut bench = Bench::follower();
    bench.feed(2, 1, vec![leader_change(0, 1, 2), data(1, 1, 1)], 9);
    assert_eq!(bench.committed(), Some(Offset(2)));
    let records = vec![(Offset(1), epoch(1), topic(1))];
    let told = QuorumFact::Committed { records, upto: Offset(2), epoch: epoch(1) };
    assert!(bench.facts.contains(&told));
}

#[test]
fn check_quorum_deposes_a_leader_that_nobody_hears() {
    let mut bench = Bench::leader();
    let deadline_of = |bench: &Bench| match &bench.quorum.role {
        Role::Leader(leadership) => leadership.check_quorum,
        _ => None,
    };
    let first = deadline_of(&bench).expect("armed");
    assert_eq!(first, bench.env.now.after(Duration::from_millis(3000)));
    bench.env.now = bench.env.now.after(Duration::from_millis(100));
    bench.fetch(4, 0, 0);
    assert_eq!(deadline_of(&bench), Some(first), "an observer is no voter");
    bench.fetch(2, 1, 1);
    let second = deadline_of(&bench).expect("armed");
    assert!(second > first);
    bench.fire(TimerKey::CheckQuorum, first);
    assert_eq!(bench.quorum.role(), RoleName::Leader, "a stale firing is a no-op");
    bench.facts.clear();
    bench.fire(TimerKey::CheckQuorum, second);
    assert_eq!(bench.quorum.role(), RoleName::Resigned);
    assert!(bench.facts.contains(&QuorumFact::LostLeadership));
    assert_eq!(bench.quorum.append(&[topic(1)], &mut bench.env), None);
}

#[test]
fn fetches_are_checked() {
    let mut bench = Bench::leader();
    let mut error = |offset, last, current| {
        let to = bench.fetch_in(2, offset, last, current, Offset(-1));
        bench.fetch_answer(to).expect("at once").error
    };
    assert_eq!(error(-1, 0, 1), ErrorCode::InvalidRequest);
    assert_eq!(error(0, -1, 1), ErrorCode::InvalidRequest);
    assert_eq!(error(0, 2, 1), ErrorCode::InvalidRequest);
    assert_eq!(error(0, 0, 0), ErrorCode::FencedLeaderEpoch);
    assert_eq!(error(0, 0, 2), ErrorCode::UnknownLeaderEpoch);
    assert_eq!(error(0, 0, 1), ErrorCode::None);
    let mut other = Bench::follower();
    let to = other.fetch_in(3, 0, 0, 1, Offset(-1));
    let answer = other.fetch_answer(to).expect("at once");
    assert_eq!(answer.error, ErrorCode::NotLeaderOrFollower);
    let leader = LeaderIdAndEpoch { leader: NodeId(2), epoch: epoch(1) };
    assert_eq!(answer.current_leader, Some(leader));
    let to = other.send(Request::Fetch(FetchRequest {
        cluster_id: Some(String::from("other")),
        ..FetchRequest::default()
    }));
    assert!(matches!(other.answer_to(to), Some(Response::Fetch(answer))
        if answer.error == ErrorCode::InconsistentClusterId));
}

#[test]
fn logs_that_part_are_told_where_and_count_for_nothing() {
    let mut bench = Bench::follower();
    bench.feed(2, 1, vec![leader_change(0, 1, 2), data(1, 1, 1)], -1);
    bench.pump();
    bench.vote(vote_for(3, 4));
    bench.pump();
    bench.win();
    assert_eq!(bench.quorum.epoch(), epoch(5));
    let diverging = |bench: &mut Bench, offset, last| {
        let to = bench.fetch(3, offset, last);
        bench.fetch_answer(to).expect("at once").diverging_epoch
    };
    let at = |e, o| Some(EpochEndOffset { epoch: epoch(e), end_offset: Offset(o) });
    assert_eq!(diverging(&mut bench, 7, 1), at(1, 2), "too long in an epoch we have");
    assert_eq!(diverging(&mut bench, 3, 3), at(1, 2), "an epoch we never had (KIP-279)");
    assert_eq!(diverging(&mut bench, 9, 5), at(5, 3), "too long in the last epoch");
    assert_eq!(bench.committed(), None, "none of them was progress");
    assert_eq!(diverging(&mut bench, 2, 1), None);
}

#[test]
fn a_follower_cuts_what_its_leader_never_had() {
    let mut bench = Bench::follower();
    let old = vec![leader_change(0, 1, 2), data(1, 1, 1), data(2, 1, 2)];
    bench.feed(2, 1, old, 2);
    bench.pump();
    bench.begin(3, 2);
    bench.pump();
    let (_, fetch) = bench.fetched().expect("a fetch");
    assert_eq!((fetch.fetch_offset, fetch.last_fetched_epoch), (Offset(3), epoch(1)));
    let part = EpochEndOffset { epoch: epoch(1), end_offset: Offset(2) };
    bench.feed_with(3, 2, |answer| answer.diverging_epoch = Some(part));
    bench.pump();
    let (_, fetch) = bench.fetched().expect("again");
    assert_eq!((fetch.fetch_offset, fetch.last_fetched_epoch), (Offset(2), epoch(1)));
    bench.feed(3, 2, vec![leader_change(2, 2, 3), data(3, 2, 9)], 4);
    bench.pump();
    let told: Vec<_> = bench
        .facts
        .iter()
        .filter_map(|fact| match fact {
            QuorumFact::Committed { records, .. } => Some(records.clone()),
            _ => None,
        })
        .flatten()
        .collect();
    let expected = [(Offset(1), epoch(1), topic(1)), (Offset(3), epoch(2), topic(9))];
    assert_eq!(told, expected);
}

#[test]
fn a_fetch_waits_for_records_or_news_but_not_forever() {
    let mut bench = Bench::leader();
    let to = bench.fetch_in(2, 1, 1, 1, Offset(-1));
    let answer = bench.fetch_answer(to).expect("its own fetch committed the first record");
    assert_eq!((answer.records.len(), answer.high_watermark), (0, Offset(1)));
    let waits = bench.fetch_in(2, 1, 1, 1, Offset(1));
    let other = bench.fetch_in(3, 1, 1, 1, Offset(1));
    assert_eq!(bench.fetch_answer(waits), None);
    bench.quorum.append(&[topic(1)], &mut bench.env);
    assert_eq!(bench.fetch_answer(waits), None, "nothing is served before it is written");
    bench.pump();
    assert_eq!(bench.fetch_answer(waits).expect("woken").records.len(), 1);
    assert_eq!(bench.fetch_answer(other).expect("woken").records.len(), 1);
    // Node 3 has everything, but does not know that it is committed.
    let news = bench.fetch_in(3, 2, 1, 1, Offset(1));
    assert_eq!(bench.fetch_answer(news).expect("news").high_watermark, Offset(2));
    let idle = bench.fetch_in(3, 2, 1, 1, Offset(2));
    let deadline = bench.quorum.fetch_expiry.expect("armed");
    bench.fire(TimerKey::QuorumFetchExpiry, Monotonic(deadline.0 - 1));
    assert_eq!(bench.fetch_answer(idle), None, "a stale firing is a no-op");
    while let Some(deadline) = bench.quorum.fetch_expiry {
        bench.fire(TimerKey::QuorumFetchExpiry, deadline);
    }
    assert_eq!(bench.fetch_answer(idle).expect("expired").records.len(), 0);
}

#[test]
fn who_waits_for_a_deposed_leader_is_sent_away() {
    let mut bench = Bench::leader();
    bench.fetch(2, 1, 1);
    let waits = bench.fetch(2, 1, 1);
    let gone = ReplyTo { connection: ConnectionId(8), number: 1 };
    bench.quorum.on_connection_closed(gone.connection, &mut bench.env);
    assert_eq!(bench.fetch_answer(waits), None);
    bench.begin(3, 9);
    let answer = bench.fetch_answer(waits).expect("sent away");
    assert_eq!(answer.error, ErrorCode::NotLeaderOrFollower);
}

#[test]
fn cold_fetches_read_the_disk() {
    let mut bench = Bench::new(1, 1);
    bench.config.tail_cache_bytes = 0;
    bench.restart();
    bench.quorum.append(&[topic(1)], &mut bench.env);
    bench.pump();
    let to = bench.fetch(4, 0, 0);
    assert_eq!(bench.fetch_answer(to), None, "the disk is asked");
    bench.pump();
    let answer = bench.fetch_answer(to).expect("read");
    assert!(!answer.records.is_empty());
    assert_eq!(answer.records[0].base_offset, Offset(0));
}

#[test]
fn a_graceful_stop_tells_the_others() {
    let mut bench = Bench::leader();
    bench.fetch(3, 1, 1);
    bench.requests();
    bench.quorum.shutdown(&mut bench.env, &mut bench.facts);
    assert!(!bench.quorum.can_stop());
    bench.rpc(2, Channel::Quorum, Err(RpcError::Disconnected)); // BeginQuorumEpoch's
    bench.rpc(3, Channel::Quorum, Err(RpcError::Disconnected));
    for peer in [2, 3] {
        if let Some(deadline) = bench.quorum.peers[&NodeId(peer)].backoff {
            bench.fire(TimerKey::BeginEpochRetry(NodeId(peer)), deadline);
        }
    }
    let ends: Vec<_> = bench
        .requests()
        .into_iter()
        .filter_map(|(peer, _, request)| match request {
            Request::EndQuorumEpoch(end) => Some((peer, end.preferred_successors)),
            _ => None,
        })
        .collect();
    let best_first = vec![NodeId(3), NodeId(2)];
    assert_eq!(ends, [(NodeId(2), best_first.clone()), (NodeId(3), best_first)]);
    let (leader, leader_epoch) = (NodeId::NONE, epoch(1));
    for peer in [2, 3] {
        let error = ErrorCode::None;
        let response = crate::msg::EndQuorumEpochResponse { error, leader, leader_epoch };
        bench.rpc(peer, Channel::Quorum, Ok(Response::EndQuorumEpoch(response)));
    }
    bench.pump();
    assert!(bench.quorum.can_stop());
    bench.elect();
    assert_eq!(bench.quorum.role(), RoleName::Resigned, "it does not stand any more");
}

#[test]
fn who_stops_is_not_elected_any_more() {
    let mut bench = Bench::new(1, 3);
    bench.elect();
    bench.grant(2, true);
    bench.pump();
    bench.quorum.shutdown(&mut bench.env, &mut bench.facts);
    bench.grant(2, true);
    bench.grant(3, true);
    assert_eq!(bench.quorum.role(), RoleName::Candidate);
    assert!(bench.quorum.can_stop());
}

#[test]
fn nothing_is_said_before_the_vote_is_read() {
    let mut bench = Bench::new(1, 3);
    bench.vote(vote_for(2, 1));
    bench.pump();
    bench.disk.power_loss();
    bench.env.take();
    bench.quorum = Quorum::new(&bench.config);
    bench.quorum.start(&mut bench.env);
    let mut answers = 0;
    while bench.quorum.phase != Phase::Running {
        let answer = bench.vote(vote_for(3, 1)).expect("at once");
        assert_eq!((answer.error, answer.vote_granted), (ErrorCode::UnknownServerError, false));
        assert_eq!(bench.begin(3, 1), ErrorCode::UnknownServerError);
        assert_eq!(bench.end(3, 1, &[1]), ErrorCode::UnknownServerError);
        let to = bench.fetch_in(3, 0, 0, 1, Offset(-1));
        assert!(matches!(bench.answer_to(to), Some(Response::Fetch(answer))
            if answer.error == ErrorCode::UnknownServerError));
        bench.perform();
        answers += 1;
    }
    assert!(answers > 1);
    assert_eq!(bench.quorum.voted_for(), Some(NodeId(2)));
}

#[test]
fn an_observer_finds_a_leader_and_finds_another() {
    let mut bench = Bench::new(4, 3);
    let (first, fetch) = bench.fetched().expect("it asks somebody");
    assert_eq!(fetch.current_leader_epoch, epoch(0));
    bench.feed_with(first.0, 0, |answer| {
        answer.error = ErrorCode::FencedLeaderEpoch;
        let leader = LeaderIdAndEpoch { leader: NodeId(3), epoch: epoch(2) };
        answer.current_leader = Some(leader);
    });
    bench.pump();
    assert_eq!((bench.quorum.role(), bench.quorum.leader()), (RoleName::Observer, Some(NodeId(3))));
    let (peer, fetch) = bench.fetched().expect("it follows");
    assert_eq!((peer, fetch.current_leader_epoch), (NodeId(3), epoch(2)));
    assert_eq!(bench.quorum.election, None, "it never stands");
    bench.rpc(3, Channel::QuorumFetch, Err(RpcError::TimedOut));
    assert_eq!(bench.quorum.leader(), None);
    assert_eq!(bench.fetched(), None, "it pauses first");
    let deadline = bench.quorum.fetch_backoff.expect("a pause");
    bench.fire(TimerKey::QuorumFetchBackoff, Monotonic(deadline.0 + 1));
    assert_eq!(bench.fetched(), None, "a stale firing is a no-op");
    bench.fire(TimerKey::QuorumFetchBackoff, deadline);
    assert!(bench.fetched().is_some());
}

#[test]
fn stale_election_timeouts_are_no_ops() {
    let mut bench = Bench::follower();
    let deadline = bench.quorum.election.expect("armed");
    bench.env.now = bench.env.now.after(Duration::from_millis(5));
    bench.feed(2, 1, vec![], -1);
    bench.pump();
    let before = bench.quorum.clone();
    bench.fire(TimerKey::Election, deadline);
    bench.fire(TimerKey::BeginEpochRetry(NodeId(2)), deadline);
    assert_eq!(bench.quorum, before);
}

#[test]
fn damage_is_refused_and_never_guessed() {
    let mut bench = Bench::new(1, 3);
    bench.vote(vote_for(2, 1));
    bench.pump();
    let whole = bench.disk.content(FileKind::QuorumState).expect("written").to_vec();
    for bad in [&whole[..whole.len() / 2], b"", b"[]"] {
        bench.disk.set_content(FileKind::QuorumState, bad);
        bench.quorum = Quorum::new(&bench.config);
        bench.facts.clear();
        bench.quorum.start(&mut bench.env);
        bench.pump();
        assert!(
            matches!(&bench.facts[..], [QuorumFact::Refused(why)] if why.contains("quorum-state"))
        );
        let to = bench.send(Request::Vote(vote_for(3, 1)));
        assert!(!bench.voted(to).is_some_and(|answer| answer.vote_granted));
    }
    // A record that this build does not know, from a leader that does.
    let mut bench = Bench::follower();
    let mut builder = BatchBuilder::new();
    builder.push(0, None, Some(&[1, 99, 0]), &[]);
    bench.feed(2, 1, vec![builder.build(Offset(0), epoch(1))], -1);
    assert!(matches!(bench.facts.last(), Some(QuorumFact::Refused(why)) if why.contains("newer")));
}

#[test]
fn a_batch_that_was_damaged_on_the_way_is_asked_for_again() {
    let mut bench = Bench::follower();
    let whole = data(0, 1, 1).to_bytes();
    let mut bytes = whole.to_vec();
    *bytes.last_mut().expect("not empty") ^= 1;
    let damaged = Batch::parse(&Bytes::from(bytes)).expect("only its CRC is wrong");
    for batch in [damaged, data(5, 1, 1), data(0, 9, 1)] {
        bench.requests();
        bench.feed(2, 1, vec![batch], -1);
        assert_eq!(bench.quorum.log_end(), Offset(0));
        let deadline = bench.quorum.fetch_backoff.expect("a pause");
        bench.fire(TimerKey::QuorumFetchBackoff, deadline);
        assert!(bench.fetched().is_some());
        bench.feed(2, 1, vec![], -1);
    }
}

#[test]
fn a_failing_disk_stops_the_node() {
    let mut bench = Bench::leader();
    let file = crate::env::FileId { dir: DirId::METADATA, kind: FileKind::Log(Offset(0)) };
    let (op, error) = (DiskOpKind::Sync, DiskError::Io);
    let done = DiskDone::Failed { file, op, error };
    bench.quorum.on_disk(&done, &mut bench.env, &mut bench.facts);
    assert!(bench.facts.contains(&QuorumFact::Failed(op, error)));
    bench.env.sync(file, 1);
    let facts = bench.facts.len();
    bench.pump();
    assert_eq!(bench.facts.len(), facts, "nothing goes on");
}
