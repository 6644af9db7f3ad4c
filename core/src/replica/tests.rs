//! A follower's truncations, with a crash at any point between them and the checkpoints.

use std::vec;
use std::vec::Vec;

use super::claims::Claim;
use super::*;
use crate::batch::BatchBuilder;
use crate::effects::Effects;
use crate::log::tests::TestDisk;
use crate::msg::FetchPartitionResponse;
use crate::note::Implausible;
use crate::types::{EpochEndOffset, Uuid};

const ID: PartitionId = PartitionId(0);
const KEY: TopicPartition = TopicPartition { topic: Uuid(7), partition: 0 };
const CLAIMS: [Claim; 2] = [Claim::HighWatermark, Claim::RecoveryPoint];

/// A follower, its disk, and its broker's entries for it in the two checkpoints.
#[derive(Clone)]
struct Follower {
    partition: Partition,
    disk: TestDisk,
    env: Effects,
    facts: Vec<Fact>,
    on_disk: [Offset; 2],
    writing: [Option<Offset>; 2],
    flaw: Option<Flaw>,
}

fn open(on_disk: [Offset; 2], flaw: Option<Flaw>, env: &mut Effects) -> Partition {
    let mut config = NodeConfig::new(NodeId(1), vec![NodeId(1), NodeId(2), NodeId(3)]);
    config.flaws = flaw.into_iter().collect();
    let [high_watermark, recovery_point] = on_disk;
    let recovery = RecoveryHint { recovery_point, ..RecoveryHint::NONE };
    let topic = TopicConfig::default();
    Partition::open(ID, KEY, "t".into(), topic, &config, recovery, high_watermark, env)
}

impl Follower {
    /// A follower with 0..3 of epoch 0, all committed and checkpointed; `flushed` or not.
    fn checkpointed(flushed: bool, flaw: Option<Flaw>) -> Follower {
        let mut env = Effects::default();
        let on_disk = [Offset::ZERO; 2];
        let partition = open(on_disk, flaw, &mut env);
        let (disk, facts, writing) = (TestDisk::default(), Vec::new(), [None; 2]);
        let mut follower = Follower { partition, disk, env, facts, on_disk, writing, flaw };
        follower.run();
        follower.hears(0, 2);
        follower.fetches(0, 3, 3);
        if flushed {
            follower.partition.flush(&mut follower.env);
            follower.run();
        }
        follower.write_checkpoints();
        CLAIMS.into_iter().for_each(|claim| follower.is_durable(claim));
        assert_eq!(follower.partition.high_watermark(), Offset(3));
        follower
    }

    /// Performs and delivers everything, and writes checkpoints when asked to.
    fn run(&mut self) {
        loop {
            self.disk.queue.extend(self.env.take_disk());
            if let Some(done) = self.disk.done.pop_front() {
                let image = MetadataImage::default();
                self.partition.on_disk(&done, &image, &mut self.env, &mut self.facts);
            } else if !self.disk.execute() {
                break;
            }
        }
        if core::mem::take(&mut self.facts).contains(&Fact::CutBelowClaim(ID)) {
            self.write_checkpoints();
        }
    }

    fn write_checkpoints(&mut self) {
        for (at, claim) in CLAIMS.into_iter().enumerate() {
            let offset = self.partition.claim(claim);
            self.partition.on_checkpoint_submitted(claim, offset);
            self.writing[at] = Some(offset);
        }
    }

    fn is_durable(&mut self, claim: Claim) {
        let at = claim as usize;
        if let Some(offset) = self.writing[at].take() {
            self.on_disk[at] = offset;
            let (env, facts) = (&mut self.env, &mut self.facts);
            self.partition.on_checkpoint_durable(claim, offset, env, facts);
            self.run();
        }
    }

    fn hears(&mut self, epoch: i32, leader: i32) {
        let nodes = vec![NodeId(1), NodeId(2), NodeId(3)];
        let registration = PartitionRegistration {
            replicas: nodes.clone(),
            isr: nodes,
            leader: Some(NodeId(leader)),
            leader_epoch: LeaderEpoch(epoch),
            partition_epoch: PartitionEpoch(epoch),
            ..PartitionRegistration::default()
        };
        let image = MetadataImage::default();
        self.partition.apply(&registration, &image, &mut self.env, &mut self.facts);
        self.run();
    }

    fn answered(&mut self, answer: FetchPartitionResponse) {
        let (epoch, from) = (self.partition.leader_epoch(), self.partition.log().log_end());
        let answer = FetchPartitionResponse { error: ErrorCode::None, ..answer };
        self.partition.on_fetched(epoch, from, answer, &mut self.env, &mut self.facts);
        self.run();
    }

    /// Fetches `count` records of an epoch, one per batch.
    fn fetches(&mut self, epoch: i32, count: i64, high_watermark: i64) {
        let from = self.partition.log().log_end();
        let batch = |at: i64| {
            let mut builder = BatchBuilder::new();
            builder.push(at, None, Some(b"v"), &[]);
            builder.build(Offset(at), LeaderEpoch(epoch))
        };
        let answer = FetchPartitionResponse::failed(0, ErrorCode::None);
        self.answered(FetchPartitionResponse {
            records: (from.0..from.0 + count).map(batch).collect(),
            high_watermark: Offset(high_watermark),
            ..answer
        });
    }

    /// Its leader answers that its epoch 0 ends at `end`.
    fn diverges(&mut self, end: i64) {
        let diverging = EpochEndOffset { epoch: LeaderEpoch(0), end_offset: Offset(end) };
        let answer = FetchPartitionResponse::failed(0, ErrorCode::None);
        self.answered(FetchPartitionResponse { diverging_epoch: Some(diverging), ..answer });
    }

    fn end(&self) -> Offset {
        self.partition.log().log_end()
    }

    /// The process dies and restarts from the data on disk.
    fn restarted(mut self) -> Follower {
        let mut env = Effects::default();
        self.partition = open(self.on_disk, self.flaw, &mut env);
        (self.env, self.facts, self.writing) = (env, Vec::new(), [None; 2]);
        self.disk.queue.clear();
        self.disk.done.clear();
        self.run();
        self
    }

    /// Whether only records of epoch 0 count as committed.
    fn is_right(&self) -> bool {
        let log = self.partition.log();
        let appended = log.epochs().iter().find(|(epoch, _)| *epoch == LeaderEpoch(1));
        log.is_ready() && appended.is_none_or(|(_, start)| self.partition.high_watermark() <= start)
    }
}

/// A leader of epoch 1 has lost all but the first record (everyone lost power), and appends two of
/// its own that nobody has committed. Calls `crash` at each step of the follower.
fn cut_and_appended(mut follower: Follower, mut crash: impl FnMut(&str, &Follower)) -> Follower {
    crash("checkpointed", &follower);
    follower.hears(1, 3);
    follower.diverges(1);
    crash("told to cut", &follower);
    follower.fetches(1, 2, 1);
    crash("appended at once", &follower);
    for claim in CLAIMS {
        follower.is_durable(claim);
        crash("one checkpoint durable", &follower);
        if follower.end() == Offset(1) {
            follower.fetches(1, 2, 1);
            crash("appended", &follower);
        }
    }
    follower
}

/// The replica does not count as flushed while a cut waits for the checkpoints, or reads.
#[test]
fn a_replica_with_a_cut_under_way_is_not_flushed() {
    let mut follower = Follower::checkpointed(true, None);
    assert!(follower.partition.is_flushed());
    follower.hears(1, 3);
    follower.diverges(1);
    assert!(follower.partition.pending_cut.is_some() && follower.partition.log.is_flushed());
    assert!(!follower.partition.is_flushed());
    for claim in CLAIMS {
        follower.is_durable(claim);
    }
    follower.partition.flush(&mut follower.env);
    follower.run();
    assert!(follower.end() == Offset(1) && follower.partition.is_flushed());
}

#[test]
fn no_claim_outlives_its_records_wherever_a_crash_falls() {
    for flushed in [false, true] {
        let follower = Follower::checkpointed(flushed, None);
        let recovery_point = if flushed { Offset(3) } else { Offset(0) };
        assert_eq!(follower.on_disk, [Offset(3), recovery_point]);
        let mut crashes = 0;
        let after = cut_and_appended(follower, |when, follower| {
            crashes += 1;
            let restarted = follower.clone().restarted();
            let high_watermark = restarted.partition.high_watermark();
            assert!(restarted.is_right(), "{when}, flushed {flushed}: {high_watermark}");
        });
        assert!(crashes >= 5, "{crashes}");
        assert_eq!((after.end(), after.partition.high_watermark()), (Offset(3), Offset(1)));
        assert!(after.partition.log().epochs().latest() == Some(LeaderEpoch(1)));
    }
}

#[test]
fn with_the_flaw_the_claims_outlive_the_cut() {
    for flushed in [false, true] {
        let flaw = Some(Flaw::CutBelowRecoveryPoint);
        let mut wrong = Vec::new();
        cut_and_appended(Follower::checkpointed(flushed, flaw), |when, follower| {
            if !follower.clone().restarted().is_right() {
                wrong.push(std::string::String::from(when));
            }
        });
        assert!(!wrong.is_empty(), "flushed {flushed}");
    }
}

#[test]
fn a_cut_of_what_nobody_claims_waits_for_nothing() {
    let mut follower = Follower::checkpointed(true, None);
    follower.fetches(0, 2, 3);
    follower.hears(1, 3);
    follower.diverges(3);
    assert_eq!((follower.end(), follower.writing), (Offset(3), [None; 2]));
    follower.diverges(2);
    assert_eq!(follower.end(), Offset(3), "this one waits");
    assert!(!follower.partition.may_fetch());
}

#[test]
fn a_claim_that_is_being_written_counts_already() {
    let mut follower = Follower::checkpointed(false, None);
    follower.fetches(0, 2, 5);
    follower.write_checkpoints();
    follower.hears(1, 3);
    follower.diverges(4);
    assert_eq!(follower.end(), Offset(5), "5 may be on disk");
    CLAIMS.into_iter().for_each(|claim| follower.is_durable(claim));
    assert_eq!((follower.end(), follower.on_disk[0]), (Offset(4), Offset(4)));
}

#[test]
fn recovery_tells_when_more_was_claimed_than_there_is() {
    let mut follower = Follower::checkpointed(false, None);
    assert!(!follower.clone().restarted().partition.is_overclaimed());
    follower.on_disk[Claim::HighWatermark as usize] = Offset(9);
    let mut restarted = follower.restarted();
    assert_eq!(restarted.partition.high_watermark(), Offset(3));
    assert!(restarted.partition.is_overclaimed());
    restarted.write_checkpoints();
    assert!(restarted.partition.is_overclaimed(), "9 may still be on disk");
    restarted.is_durable(Claim::HighWatermark);
    assert!(!restarted.partition.is_overclaimed());
}

/// Answers that no correct leader sends are ignored, and cause no truncation.
#[test]
fn lies_of_a_leader_cut_nothing() {
    let failed = |error| FetchPartitionResponse::failed(0, error);
    let diverging = |epoch: i32, end: i64| FetchPartitionResponse {
        diverging_epoch: Some(EpochEndOffset {
            epoch: LeaderEpoch(epoch),
            end_offset: Offset(end),
        }),
        ..failed(ErrorCode::None)
    };
    let starts = |start: i64, high_watermark: i64| FetchPartitionResponse {
        log_start_offset: Offset(start),
        high_watermark: Offset(high_watermark),
        ..failed(ErrorCode::OffsetOutOfRange)
    };
    let of_epoch = |epoch: i32| {
        let mut builder = BatchBuilder::new();
        builder.push(0, None, Some(b"v"), &[]);
        let records = vec![builder.build(Offset(3), LeaderEpoch(epoch))];
        FetchPartitionResponse { records, ..failed(ErrorCode::None) }
    };
    for (answer, why) in [
        (diverging(0, 3), Implausible::Divergence),
        (diverging(0, i64::MAX), Implausible::Divergence),
        (diverging(1, 0), Implausible::Divergence),
        (diverging(-1, -1), Implausible::Divergence),
        (diverging(i32::MIN, 2), Implausible::Divergence),
        (diverging(0, i64::MIN), Implausible::Divergence),
        (starts(9, -1), Implausible::Start),
        (starts(9, 9), Implausible::Start),
        (starts(i64::MAX, i64::MAX), Implausible::Start),
        (of_epoch(1), Implausible::Epoch),
        (of_epoch(i32::MAX), Implausible::Epoch),
    ] {
        let mut follower = Follower::checkpointed(true, None);
        let (epoch, from) = (follower.partition.leader_epoch(), follower.end());
        let (env, facts) = (&mut follower.env, &mut follower.facts);
        let after = follower.partition.on_fetched(epoch, from, answer.clone(), env, facts);
        follower.run();
        assert_eq!(after, super::follower::AfterFetch::BackOff, "{answer:?}");
        assert_eq!((follower.end(), follower.partition.high_watermark()), (Offset(3), Offset(3)));
        let told = Note::AnswerRefused { partition: KEY, peer: NodeId(2), why };
        assert!(follower.env.notes.contains(&told), "{:?}", follower.env.notes);
    }
    for (start, high_watermark) in [(-1, -1), (i64::MIN, 0), (0, 0), (0, i64::MAX)] {
        let mut follower = Follower::checkpointed(true, None);
        let (epoch, from) = (follower.partition.leader_epoch(), follower.end());
        let (env, facts) = (&mut follower.env, &mut follower.facts);
        let answer = starts(start, high_watermark);
        follower.partition.on_fetched(epoch, from, answer, env, facts);
        follower.run();
        assert_eq!(follower.end(), Offset(3), "{start} {high_watermark}");
    }
}

/// Regression: a leader that was stopped for longer than its followers may lag shrank the ISR to
/// itself when it woke, while their fetches waited.
#[test]
fn a_leader_that_stood_still_skips_one_look_for_who_fell_behind() {
    let mut leader = Follower::checkpointed(false, None);
    leader.hears(1, 1);
    let proposed = |leader: &Follower| {
        leader.env.notes.iter().filter(|note| matches!(note, Note::IsrProposed { .. })).count()
    };
    let look = |leader: &mut Follower, late: core::time::Duration| {
        let deadline = leader.partition.leader_state().expect("it leads").isr_check;
        leader.env.now = deadline.after(late);
        leader.partition.on_isr_check(deadline, &mut leader.env, &mut leader.facts);
    };
    let lag_max = core::time::Duration::from_secs(30);
    look(&mut leader, lag_max);
    assert_eq!(proposed(&leader), 0, "it stood still: what it knows of others is old");
    look(&mut leader, lag_max);
    assert_eq!(proposed(&leader), 1, "a leader that is always late must shrink, too");
    let mut leader = Follower::checkpointed(false, None);
    leader.hears(1, 1);
    look(&mut leader, core::time::Duration::ZERO);
    look(&mut leader, core::time::Duration::ZERO);
    look(&mut leader, core::time::Duration::ZERO);
    assert_eq!(proposed(&leader), 1, "in time, it looks as ever");
}
