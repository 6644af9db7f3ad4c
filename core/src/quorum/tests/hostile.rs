//! Requests and answers that no correct peer sends: they are refused and leave no trace.

use alloc::vec;

use super::super::*;
use super::rules::{Bench, data, epoch, leader_change, pre_vote_for, vote_for};
use crate::error_code::ErrorCode;
use crate::metadata::MetadataRecord;
use crate::msg::{BeginQuorumEpochRequest, LeaderIdAndEpoch, VoteRequest, VoteResponse};
use crate::note::{Implausible, Note};
use crate::types::{EpochEndOffset, Uuid};

impl Bench {
    /// Why answers were refused so far.
    fn doubts(&self) -> Vec<Implausible> {
        let notes = self.env.notes.iter();
        notes
            .filter_map(|note| match note {
                Note::AnswerRefused { why, .. } => Some(*why),
                _ => None,
            })
            .collect()
    }

    /// An answer to a vote that is in flight.
    fn vote_answer(&mut self, peer: i32, at: i32, leader: i32) {
        let answer = VoteResponse {
            error: ErrorCode::None,
            leader: NodeId(leader),
            leader_epoch: epoch(at),
            vote_granted: false,
            node_endpoints: vec![],
        };
        self.rpc(peer, Channel::Quorum, Ok(Response::Vote(answer)));
    }
}

/// Regression: after one frame from anybody, the quorum never elected a leader again.
#[test]
fn an_epoch_that_no_election_reaches_is_not_believed() {
    for far in [i32::MAX, i32::MAX - 1, 1 << 30, (1 << 20) + 2] {
        let mut bench = Bench::follower();
        assert_eq!(bench.begin(3, far), ErrorCode::InvalidRequest, "{far}");
        assert_eq!(bench.end(3, far, &[]), ErrorCode::InvalidRequest, "{far}");
        for request in [vote_for(3, far), pre_vote_for(3, far)] {
            let answer = bench.vote(request).expect("at once");
            assert_eq!((answer.error, answer.vote_granted), (ErrorCode::InvalidRequest, false));
        }
        assert_eq!((bench.quorum.epoch(), bench.quorum.leader()), (epoch(1), Some(NodeId(2))));
        bench.restart();
        assert_eq!(bench.quorum.epoch(), epoch(1), "nor is it on disk");
        bench.elect();
        bench.pump();
        bench.requests();
        bench.rpc(2, Channel::Quorum, Err(RpcError::Disconnected));
        assert_eq!(bench.quorum.role(), RoleName::Prospective, "elections go on");
    }
}

/// A node that was cut off for long learns the epoch from the nodes that it asks.
#[test]
fn whoever_is_far_behind_learns_it_by_asking() {
    let far = 1 << 27;
    let mut follower = Bench::follower();
    assert_eq!(follower.begin(3, far), ErrorCode::InvalidRequest);
    follower.requests();
    follower.feed_with(2, far, |answer| {
        answer.error = ErrorCode::FencedLeaderEpoch;
        let leader = LeaderIdAndEpoch { leader: NodeId(3), epoch: epoch(far) };
        answer.current_leader = Some(leader);
    });
    assert_eq!((follower.quorum.epoch(), follower.quorum.leader()), (epoch(far), Some(NodeId(3))));

    let mut prospect = Bench::follower();
    prospect.elect();
    prospect.pump();
    prospect.requests();
    prospect.vote_answer(2, far, 3);
    assert_eq!((prospect.quorum.epoch(), prospect.quorum.leader()), (epoch(far), Some(NodeId(3))));
}

#[test]
fn no_answer_takes_the_last_epochs() {
    let mut bench = Bench::follower();
    bench.requests();
    bench.feed_with(2, 1, |answer| {
        let leader = LeaderIdAndEpoch { leader: NodeId(3), epoch: epoch(i32::MAX) };
        answer.current_leader = Some(leader);
    });
    bench.elect();
    bench.pump();
    bench.requests();
    bench.vote_answer(2, i32::MAX - 1, 3);
    assert_eq!(bench.doubts(), [Implausible::Epoch; 2]);
    assert_eq!(bench.quorum.epoch(), epoch(1));
}

#[test]
fn nobody_votes_for_whoever_cannot_stand() {
    let mut bench = Bench::new(1, 3);
    let mut error = |request: VoteRequest| bench.vote(request).expect("at once").error;
    assert_eq!(error(vote_for(1, 4)), ErrorCode::InconsistentVoterSet, "this node itself");
    assert_eq!(error(vote_for(2, 0)), ErrorCode::InvalidRequest, "nobody stands for epoch 0");
    assert_eq!(error(vote_for(2, i32::MIN)), ErrorCode::InvalidRequest);
    for (last_epoch, end) in [(1, 0), (1, i64::MAX), (0, i64::MIN)] {
        let odd = VoteRequest {
            last_offset_epoch: epoch(last_epoch),
            last_offset: Offset(end),
            ..vote_for(2, 4)
        };
        assert_eq!(error(odd), ErrorCode::InvalidRequest);
    }
    assert_eq!(bench.quorum.epoch(), epoch(0));
}

#[test]
fn nobody_follows_whoever_cannot_have_won() {
    // With two voters, nobody wins without this one's vote.
    let mut two = Bench::new(1, 2);
    assert_eq!(two.begin(2, 5), ErrorCode::InvalidRequest);
    two.vote(vote_for(2, 5));
    two.pump();
    assert_eq!(two.begin(2, 6), ErrorCode::InvalidRequest);
    assert_eq!(two.begin(2, 5), ErrorCode::None);
    assert_eq!(two.quorum.leader(), Some(NodeId(2)));
    // Nobody is elected in epoch 0.
    let mut fresh = Bench::new(1, 3);
    assert_eq!(fresh.begin(2, 0), ErrorCode::InvalidRequest);
    // An epoch has one leader, also for a node that has lost that leader, and for one that led the
    // epoch itself.
    let mut prospect = Bench::follower();
    prospect.elect();
    assert_eq!(prospect.begin(3, 1), ErrorCode::InvalidRequest);
    let mut leader = Bench::leader();
    assert_eq!(leader.begin(2, 1), ErrorCode::InvalidRequest);
    leader.restart();
    assert_eq!(
        (leader.quorum.role(), leader.begin(2, 1)),
        (RoleName::Resigned, { ErrorCode::InvalidRequest })
    );
    // Leaders announce nothing to a node that does not vote.
    let mut observer = Bench::new(4, 3);
    let request = BeginQuorumEpochRequest {
        cluster_id: None,
        voter: NodeId(4),
        voter_directory_id: Uuid::ZERO,
        leader: NodeId(2),
        leader_epoch: epoch(3),
        leader_endpoints: vec![],
    };
    let to = observer.send(Request::BeginQuorumEpoch(request));
    let answer = observer.answer_to(to);
    assert!(matches!(answer, Some(Response::BeginQuorumEpoch(answer))
        if answer.error == ErrorCode::InconsistentVoterSet));
    assert_eq!(observer.quorum.leader(), None);
}

#[test]
fn an_epoch_is_ended_by_its_leader_alone() {
    let mut bench = Bench::follower();
    assert_eq!(bench.end(3, 1, &[1]), ErrorCode::InvalidRequest, "2 leads");
    for successors in [&[9][..], &[2], &[1, 1], &[-1]] {
        assert_eq!(bench.end(2, 1, successors), ErrorCode::InvalidRequest, "{successors:?}");
    }
    assert_eq!(bench.quorum.leader(), Some(NodeId(2)));
    assert_eq!(bench.end(2, 1, &[1, 3]), ErrorCode::None);
    assert_eq!(bench.quorum.leader(), None);
}

#[test]
fn a_leader_does_not_count_itself_as_a_follower() {
    let mut bench = Bench::leader();
    let to = bench.fetch(1, 0, 0);
    let answer = bench.fetch_answer(to).expect("at once");
    assert_eq!(answer.error, ErrorCode::InvalidRequest);
}

/// A leader whose answer would cut committed records is asked again. This was once an assertion,
/// which any answer could reach.
#[test]
fn what_is_committed_is_never_cut() {
    let mut bench = Bench::follower();
    bench.feed(2, 1, vec![leader_change(0, 1, 2), data(1, 1, 1)], 2);
    bench.pump();
    for (at, end, why) in [
        (1, 1, Implausible::CutOfCommitted),
        (0, 0, Implausible::CutOfCommitted),
        (1, 2, Implausible::Divergence),
        (2, 0, Implausible::Divergence),
        (i32::MAX, i64::MAX, Implausible::Divergence),
        (-1, -1, Implausible::Divergence),
        (0, i64::MIN, Implausible::Divergence),
    ] {
        bench.requests();
        let part = EpochEndOffset { epoch: epoch(at), end_offset: Offset(end) };
        bench.feed_with(2, 1, |answer| answer.diverging_epoch = Some(part));
        assert_eq!(bench.doubts().last(), Some(&why), "{part:?}");
        assert_eq!(bench.quorum.log_end(), Offset(2));
        let deadline = bench.quorum.fetch_backoff.expect("a pause");
        bench.env.now = deadline;
        let key = TimerKey::QuorumFetchBackoff;
        bench.quorum.on_timer(key, deadline, &mut bench.env, &mut bench.facts);
    }
    assert_eq!(bench.doubts().len(), 7);
}

/// Two of three voters were reformatted by mistake, and elect one of themselves. The third knows
/// from its checkpoint what is committed, although it does not know the high watermark yet.
#[test]
fn nor_is_it_after_a_restart() {
    let mut bench = Bench::follower();
    bench.feed(2, 1, vec![leader_change(0, 1, 2), data(1, 1, 1)], 2);
    bench.pump();
    bench.restart_with_checkpoint();
    assert_eq!(bench.quorum.high_watermark(), None);
    bench.fail_fetches();
    assert_eq!(bench.begin(2, 2), ErrorCode::None);
    bench.pump();
    let part = EpochEndOffset { epoch: epoch(0), end_offset: Offset(0) };
    bench.feed_with(2, 2, |answer| answer.diverging_epoch = Some(part));
    assert_eq!(bench.doubts(), [Implausible::CutOfCommitted]);
    assert_eq!(bench.quorum.log_end(), Offset(2));
}

#[test]
fn what_no_leader_has_is_not_appended() {
    let garbled = |value: &[u8]| {
        let mut builder = crate::batch::BatchBuilder::new();
        builder.push(0, None, Some(value), &[]);
        builder.build(Offset(0), epoch(1))
    };
    for (batch, why) in [
        (data(0, 9, 1), Implausible::Epoch),
        (data(5, 1, 1), Implausible::Place),
        (garbled(b""), Implausible::Content),
        (garbled(b"no record"), Implausible::Content),
        (garbled(&MetadataRecord::NoOp.encode()[..2]), Implausible::Content),
    ] {
        let mut bench = Bench::follower();
        bench.requests();
        bench.feed(2, 1, vec![batch], i64::MAX);
        assert_eq!(bench.doubts(), [why]);
        assert_eq!(bench.quorum.log_end(), Offset(0));
        let refused = |fact: &QuorumFact| matches!(fact, QuorumFact::Refused(_));
        assert!(!bench.facts.iter().any(refused), "the node goes on");
    }
}

/// Voters were added: with their empty logs they could outvote the nodes that have the records.
#[test]
fn other_voters_than_the_configured_ones_are_refused_at_the_start() {
    let mut bench = Bench::leader();
    let grown: Vec<NodeId> = (1..=5).map(NodeId).collect();
    let refusal = |bench: &mut Bench, voters: &[NodeId]| {
        bench.facts.clear();
        bench.env.take();
        let mut config = NodeConfig::new(NodeId(1), voters.to_vec());
        config.tail_cache_bytes = 0;
        bench.quorum = Quorum::new(&config);
        bench.quorum.start(&mut bench.env);
        bench.pump();
        match bench.facts.last() {
            Some(QuorumFact::Refused(why)) => Some(why.clone()),
            _ => None,
        }
    };
    let why = refusal(&mut bench, &grown).expect("not its voters");
    assert!(why.contains("to the voters 1, 2, 3, but") && why.contains("1, 2, 3, 4, 5"), "{why}");
    assert!(refusal(&mut bench, &[NodeId(1)]).is_some(), "nor may it leave them");
    assert_eq!(refusal(&mut bench, &[NodeId(3), NodeId(1), NodeId(2)]), None);
    // The log alone is enough, too: the directory of a build that did not store the voters with the
    // vote.
    let old = b"{\"leaderId\":1,\"leaderEpoch\":1,\"votedId\":1,\
        \"votedDirectoryId\":\"AAAAAAAAAAAAAAAAAAAAAA\",\"data_version\":1}";
    bench.disk.set_content(crate::env::FileKind::QuorumState, old);
    assert!(refusal(&mut bench, &grown).is_some_and(|why| why.contains("1, 2, 3, 4, 5")));
    assert_eq!(refusal(&mut bench, &[NodeId(1), NodeId(2), NodeId(3)]), None);
}
