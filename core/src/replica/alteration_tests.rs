//! A leader's ISR changes, with the outcomes of the requests in every order.

use std::vec;
use std::vec::Vec;

use super::*;
use crate::batch::BatchBuilder;
use crate::effects::Effects;
use crate::event::ConnectionId;
use crate::log::tests::TestDisk;
use crate::metadata::BrokerRegistration;
use crate::types::Uuid;

const ID: PartitionId = PartitionId(0);
const KEY: TopicPartition = TopicPartition { topic: Uuid(7), partition: 0 };
const SECOND: u64 = 1_000_000_000;
const ME: NodeId = NodeId(1);
const B: NodeId = NodeId(2);
const C: NodeId = NodeId(3);
const BROKER_EPOCH: BrokerEpoch = BrokerEpoch(5);

/// Node 1 leads epoch 0 of a partition with `min.insync.replicas=2`; all brokers are alive.
struct Leader {
    partition: Partition,
    disk: TestDisk,
    env: Effects,
    facts: Vec<Fact>,
}

impl Leader {
    fn of(isr: &[NodeId], flaw: Option<Flaw>) -> Leader {
        let mut config = NodeConfig::new(ME, vec![ME, B, C]);
        config.flaws = flaw.into_iter().collect();
        config.replica_lag_time_max = Duration::from_secs(2);
        let topic = TopicConfig { min_insync_replicas: 2, ..TopicConfig::default() };
        let (none, zero) = (RecoveryHint::NONE, Offset::ZERO);
        let mut env = Effects::at(Monotonic(60 * SECOND));
        let partition = Partition::open(ID, KEY, "t".into(), topic, &config, none, zero, &mut env);
        let mut leader = Leader { partition, disk: TestDisk::default(), env, facts: Vec::new() };
        leader.run();
        leader.hears(isr, 4);
        leader
    }

    fn image() -> MetadataImage {
        let broker = || BrokerRegistration {
            epoch: BROKER_EPOCH,
            incarnation: Uuid::ZERO,
            endpoints: Vec::new(),
            features: Vec::new(),
            rack: None,
            fenced: false,
            in_controlled_shutdown: false,
            log_dirs: Vec::new(),
        };
        let brokers = [ME, B, C].into_iter().map(|node| (node, broker())).collect();
        MetadataImage { brokers, ..MetadataImage::default() }
    }

    fn run(&mut self) {
        loop {
            self.disk.queue.extend(self.env.take_disk());
            if let Some(done) = self.disk.done.pop_front() {
                self.partition.on_disk(&done, &Leader::image(), &mut self.env, &mut self.facts);
            } else if !self.disk.execute() {
                break;
            }
        }
    }

    /// The metadata report this ISR.
    fn hears(&mut self, isr: &[NodeId], partition_epoch: i32) {
        let registration = PartitionRegistration {
            replicas: vec![ME, B, C],
            isr: isr.to_vec(),
            leader: Some(ME),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(partition_epoch),
            ..PartitionRegistration::default()
        };
        let (env, facts) = (&mut self.env, &mut self.facts);
        self.partition.apply(&registration, &Leader::image(), env, facts);
        self.run();
    }

    /// Appends one record that a client waits for with acks=all.
    fn append(&mut self) -> ReplyTo {
        let reply_to = self.append_to_a_full_disk();
        self.run();
        reply_to
    }

    /// The same, but the record is not written to disk.
    fn append_to_a_full_disk(&mut self) -> ReplyTo {
        let mut builder = BatchBuilder::new();
        builder.push(1, None, Some(b"v"), &[]);
        let bytes = builder.build(Offset::ZERO, LeaderEpoch::NONE).to_bytes();
        let config = self.partition.config();
        let batch = VerifiedBatch::verify_produce(Some(bytes), 9, config, self.env.wall);
        let batch = batch.expect("a valid batch");
        let appended = self.partition.append_as_leader(batch, -1, &mut self.env).expect("it leads");
        let number = appended.end.0 as u32;
        let reply_to = ReplyTo { connection: ConnectionId(1), number };
        self.partition.wait_for(-1, appended.end, reply_to);
        reply_to
    }

    /// A follower fetches at the log's end, or at `offset`.
    fn fetches(&mut self, follower: NodeId, offset: i64) {
        let (env, offset, facts) = (&mut self.env, Offset(offset), &mut self.facts);
        let partition = &mut self.partition;
        let claim = partition.on_follower_fetch(follower, BROKER_EPOCH, offset, env, facts);
        assert_eq!(claim, FetchClaim::Heard);
    }

    /// The members that the request of this number asks for.
    fn sends(&mut self, request: u64) -> Option<Vec<NodeId>> {
        let data = self.partition.send_proposal(request, BROKER_EPOCH)?;
        Some(data.new_isr.into_iter().map(|(node, _)| node).collect())
    }

    fn answered(&mut self, request: u64, answer: Option<AlterPartitionResult>) -> bool {
        let (env, facts) = (&mut self.env, &mut self.facts);
        self.partition.on_alter_partition(request, answer.as_ref(), env, facts)
    }

    fn isr(&self) -> &IsrState {
        &self.partition.leader_state().expect("it leads").isr
    }

    /// A minute passes, and each check for followers that fell behind runs on time.
    fn looks_for_a_minute(&mut self) {
        let end = self.env.now.after(Duration::from_secs(60));
        loop {
            let deadline = self.partition.leader_state().expect("it leads").isr_check;
            if deadline > end {
                break;
            }
            self.env.now = deadline.max(self.env.now);
            self.partition.on_isr_check(deadline, &mut self.env, &mut self.facts);
        }
    }

    fn wait(&mut self, seconds: u64) {
        self.env.now = self.env.now.after(Duration::from_secs(seconds));
    }
}

fn error(error: ErrorCode) -> Option<AlterPartitionResult> {
    Some(AlterPartitionResult {
        partition: 0,
        error,
        leader: NodeId::NONE,
        leader_epoch: LeaderEpoch::NONE,
        isr: Vec::new(),
        leader_recovery_state: 0,
        partition_epoch: PartitionEpoch(-1),
    })
}

fn accepted(isr: &[NodeId], partition_epoch: i32) -> Option<AlterPartitionResult> {
    Some(AlterPartitionResult {
        error: ErrorCode::None,
        leader: ME,
        leader_epoch: LeaderEpoch(0),
        isr: isr.to_vec(),
        partition_epoch: PartitionEpoch(partition_epoch),
        ..error(ErrorCode::None).expect("some")
    })
}

/// The leader proposes C. The first request stays unanswered, and the second copy is refused.
fn refused_after_a_copy_without_answer(flaw: Option<Flaw>) -> Leader {
    let mut leader = Leader::of(&[ME, B], flaw);
    leader.fetches(C, 0);
    assert_eq!(leader.sends(1), Some(vec![ME, B, C]));
    assert!(leader.answered(1, None), "it is sent again");
    assert_eq!(leader.sends(2), Some(vec![ME, B, C]));
    leader.answered(2, error(ErrorCode::IneligibleReplica));
    leader
}

#[test]
fn a_refusal_of_one_copy_says_nothing_of_another_that_is_under_way() {
    let planted = Some(Flaw::RefusalIsFinal);
    for (flaw, promised) in [(None, Offset(0)), (planted, Offset(1))] {
        let mut leader = refused_after_a_copy_without_answer(flaw);
        leader.append();
        // Long after C was last caught up: it counts only because a copy names it.
        leader.wait(60);
        leader.fetches(B, 1);
        assert_eq!(leader.partition.high_watermark(), promised, "{flaw:?}");
    }
}

#[test]
fn the_wait_for_a_dead_broker_ends_by_the_leaders_own_doing() {
    let mut leader = refused_after_a_copy_without_answer(None);
    leader.append();
    leader.wait(60);
    leader.fetches(B, 1);
    // It proposes the committed ISR, with no broker epoch but its own, and asks again until it gets
    // an answer.
    let asked = leader.partition.send_proposal(3, BROKER_EPOCH).expect("it settles");
    assert_eq!(asked.new_isr, [(ME, BROKER_EPOCH), (B, BrokerEpoch::NONE)]);
    assert!(leader.answered(3, None));
    assert_eq!(leader.sends(4), Some(vec![ME, B]));
    assert!(leader.answered(4, error(ErrorCode::NotController)));
    assert_eq!(leader.sends(5), Some(vec![ME, B]));
    assert!(leader.answered(5, error(ErrorCode::IneligibleReplica)), "not even this ends it");
    assert_eq!(leader.sends(6), Some(vec![ME, B]));
    assert_eq!(leader.partition.high_watermark(), Offset(0));
    assert!(!leader.answered(6, accepted(&[ME, B], 5)), "nothing is left to ask for");
    assert_eq!(leader.partition.high_watermark(), Offset(1));
    assert_eq!((leader.sends(7), leader.isr().unsettled().count()), (None, 0));
}

#[test]
fn a_registration_that_comes_meanwhile_settles_too() {
    let mut leader = refused_after_a_copy_without_answer(None);
    assert_eq!(leader.isr().unsettled().collect::<Vec<_>>(), [C]);
    leader.hears(&[ME, B], 5);
    assert_eq!(leader.isr().unsettled().count(), 0);
    // The settling request is void, and so is its outcome.
    assert_eq!(leader.sends(3), None);
}

#[test]
fn whom_an_unanswered_copy_names_counts_while_something_else_is_asked_for() {
    let mut leader = refused_after_a_copy_without_answer(None);
    leader.sends(3);
    leader.append();
    leader.wait(60);
    leader.fetches(B, 1);
    assert!(leader.isr().is_maximal_member(C) && leader.isr().proposal().is_some());
    assert_eq!(leader.partition.high_watermark(), Offset(0));
}

/// Found by trace validation against M7: the metadata first reported that the proposal was
/// accepted, then another one was made, and the answer to the first one wiped it.
#[test]
fn an_outcome_counts_only_for_the_proposal_that_its_request_carried() {
    let outcomes = [
        accepted(&[ME, B, C], 5),
        accepted(&[ME, B], 4),
        error(ErrorCode::IneligibleReplica),
        error(ErrorCode::UnknownServerError),
        None,
    ];
    for late in outcomes {
        let mut leader = Leader::of(&[ME, B], None);
        leader.fetches(C, 0);
        leader.sends(1);
        leader.hears(&[ME, B, C], 5);
        leader.append();
        leader.looks_for_a_minute();
        assert_eq!(leader.isr().proposal().map(|proposal| proposal.isr.len()), Some(1));
        assert!(!leader.answered(1, late.clone()), "{late:?}");
        assert_eq!(leader.isr().proposal().map(|proposal| proposal.sent), Some(None), "{late:?}");
        assert_eq!((leader.isr().unsettled().count(), leader.sends(2)), (0, Some(vec![ME])));
    }
}

#[test]
fn each_answer_ends_or_keeps_or_repeats_the_proposal() {
    #[derive(Debug, PartialEq)]
    enum Left {
        Nothing,
        Waits,
        ToSend,
    }
    let errors = [
        (ErrorCode::IneligibleReplica, Left::Nothing),
        (ErrorCode::OperationNotAttempted, Left::Nothing),
        (ErrorCode::InvalidRequest, Left::Nothing),
        (ErrorCode::NewLeaderElected, Left::Waits),
        (ErrorCode::FencedLeaderEpoch, Left::Waits),
        (ErrorCode::InvalidUpdateVersion, Left::Waits),
        (ErrorCode::UnknownTopicOrPartition, Left::Waits),
        (ErrorCode::UnknownTopicId, Left::Waits),
        (ErrorCode::NotController, Left::ToSend),
        (ErrorCode::UnknownServerError, Left::ToSend),
    ];
    for (code, left) in errors {
        let mut leader = Leader::of(&[ME, B], None);
        leader.fetches(C, 0);
        leader.sends(1);
        let again = leader.answered(1, error(code));
        let found = match leader.isr().proposal() {
            None => Left::Nothing,
            Some(proposal) if proposal.sent.is_some() => Left::Waits,
            Some(_) => Left::ToSend,
        };
        assert_eq!((&found, again), (&left, left == Left::ToSend), "{code:?}");
        // The only copy has been answered.
        assert_eq!(leader.isr().unsettled().count(), 0, "{code:?}");
        assert_eq!(leader.isr().is_maximal_member(C), left != Left::Nothing, "{code:?}");
    }
}

#[test]
fn who_waits_learns_at_once_that_too_few_are_in_sync() {
    let mut leader = Leader::of(&[ME, B], None);
    let reply_to = leader.append();
    leader.facts.clear();
    leader.hears(&[ME], 5);
    let told = Fact::ProduceReached(
        ID,
        reply_to,
        Offset(i64::MAX),
        ErrorCode::NotEnoughReplicasAfterAppend,
    );
    assert_eq!(leader.facts.iter().filter(|fact| **fact == told).count(), 1, "{:?}", leader.facts);
    assert_eq!(leader.partition.high_watermark(), Offset(0));
    // The same if the leader learns of it from the controller's answer.
    let mut leader = Leader::of(&[ME, B], None);
    leader.append();
    leader.looks_for_a_minute();
    assert_eq!(leader.sends(1), Some(vec![ME]));
    leader.answered(1, accepted(&[ME], 5));
    assert!(leader.facts.contains(&told), "{:?}", leader.facts);
}

/// Regression: the leader served its followers everything that it could write, and removed them
/// from the ISR for what it could not write. When it then died, nobody was left to lead.
#[test]
fn a_leader_that_cannot_write_finds_nobody_else_behind() {
    let mut leader = Leader::of(&[ME, B, C], None);
    leader.append();
    leader.append_to_a_full_disk();
    let look = |leader: &mut Leader| {
        let deadline = leader.partition.leader_state().expect("it leads").isr_check;
        leader.env.now = deadline;
        leader.partition.on_isr_check(deadline, &mut leader.env, &mut leader.facts);
    };
    for _ in 0..6 {
        leader.fetches(B, 1);
        look(&mut leader);
        leader.fetches(B, 1);
    }
    assert_eq!(leader.sends(1), Some(vec![ME, B]), "who does not fetch what it could is behind");
}
