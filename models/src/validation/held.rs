//! How much of its followers' logs a leader may count as synced: the part of [`super::recovery`]
//! that is about several disks.
//!
//! A follower acknowledges by its fetch offset, which has no note. What its process knows to be
//! synced has one ([`Note::LogSynced`]), and if the topic flushes each batch, no fetch may
//! acknowledge more than that. So a leader cannot count more than what the follower has known to be
//! synced *while it followed in the leader's epoch*, which is tracked here:
//!
//! - for the process that follows now, since it last cut its log (a fetch that is answered with a
//!   cut is not counted);
//! - for earlier processes, and for one that has left the epoch: their last fetch may be counted
//!   later. It is dropped once a fetch of a newer process in that epoch has brought records,
//!   because the leader has counted the newer fetch's offset by then.
//!
//! What does not live here: the log itself, and whether what a process knows is true of the media.
//! M1 checks that the ISR that a leader knows was registered.

use std::collections::{BTreeMap, BTreeSet};

use wavetank_core::error_code::ErrorCode;
use wavetank_core::note::Note;
use wavetank_core::types::{NodeId, TopicPartition};

use super::{Refused, names, refuse};

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Held {
    replicas: BTreeMap<(TopicPartition, NodeId), Replica>,
}

#[derive(Clone, Debug, Default)]
struct Replica {
    role: Role,
    /// Its process knows everything below to be synced.
    synced: i64,
    /// The highest offset that its process may have told the leader that it follows now.
    told: i64,
    /// The same for earlier processes and earlier epochs, by epoch.
    told_before: BTreeMap<i32, i64>,
}

#[derive(Clone, Debug, Default)]
enum Role {
    #[default]
    None,
    Follows {
        epoch: i32,
    },
    Leads(Leading),
}

#[derive(Clone, Debug)]
struct Leading {
    epoch: i32,
    /// The ISR that it knows.
    isr: BTreeSet<NodeId>,
    /// The ISR that it has proposed: its members count from then on (KIP-497).
    proposed: BTreeSet<NodeId>,
    /// Members named by unanswered requests: they count until the leader knows another
    /// registration.
    unsettled: BTreeSet<NodeId>,
    /// Its high watermark.
    promised: i64,
}

impl Leading {
    fn knows(&mut self, isr: &[NodeId]) {
        self.isr = isr.iter().copied().collect();
        self.proposed.clear();
        self.unsettled.clear();
    }

    fn refused(&mut self, error: ErrorCode) {
        let of_this_copy = matches!(
            error,
            ErrorCode::IneligibleReplica
                | ErrorCode::OperationNotAttempted
                | ErrorCode::InvalidRequest
        );
        // After any other error the proposal may have been accepted even so.
        if of_this_copy {
            self.proposed.clear();
        }
    }
}

impl Replica {
    /// Leaves its epoch. What it told the leader there may still be counted.
    fn leave(&mut self) {
        if let Role::Follows { epoch } = self.role {
            let before = self.told_before.entry(epoch).or_default();
            *before = self.told.max(*before);
        }
        self.role = Role::None;
    }

    fn follow(&mut self, epoch: i32) {
        self.leave();
        self.role = Role::Follows { epoch };
        self.told = self.synced;
    }

    fn lead(&mut self, epoch: i32, isr: BTreeSet<NodeId>, promised: i64) {
        self.leave();
        let (proposed, unsettled) = (BTreeSet::new(), BTreeSet::new());
        self.role = Role::Leads(Leading { epoch, isr, proposed, unsettled, promised });
    }

    /// The highest offset that the leader of this epoch may have been told.
    fn told_in(&self, epoch: i32) -> i64 {
        let before = self.told_before.get(&epoch).copied().unwrap_or(0);
        match self.role {
            Role::Follows { epoch: now } if now == epoch => self.told.max(before),
            Role::Follows { .. } | Role::Leads(_) | Role::None => before,
        }
    }
}

impl Held {
    /// A process starts: it follows and leads nothing yet, and knows nothing to be synced.
    pub(super) fn started(&mut self, node: NodeId) {
        for ((_, of), replica) in &mut self.replicas {
            if *of == node {
                replica.leave();
                replica.synced = 0;
            }
        }
    }

    /// A process knows everything below `synced` to be synced; `cut`: because its log was cut.
    pub(super) fn knows(
        &mut self,
        node: NodeId,
        partition: TopicPartition,
        synced: i64,
        cut: bool,
    ) {
        let replica = self.replica(node, partition);
        replica.synced = synced;
        replica.told = if cut { synced } else { replica.told.max(synced) };
    }

    /// Takes what a note says about the leader, the followers and the ISR.
    pub(super) fn hear(&mut self, node: NodeId, note: &Note) {
        match note {
            Note::BecameLeader { partition, epoch, high_watermark, isr, .. } => {
                let isr = isr.iter().copied().collect();
                self.replica(node, *partition).lead(epoch.0, isr, high_watermark.0);
            }
            Note::BecameFollower { partition, epoch, .. } => {
                self.replica(node, *partition).follow(epoch.0);
            }
            Note::FollowerAppended { partition, epoch, .. } => {
                if let Some(replica) = self.replicas.get_mut(&(*partition, node)) {
                    replica.told_before.remove(&epoch.0);
                }
            }
            Note::IsrCommitted { partition, isr, .. } => {
                self.tell(node, *partition, |leading| leading.knows(isr));
            }
            Note::IsrProposed { partition, to, .. } => {
                let to = to.iter().copied().collect();
                self.tell(node, *partition, |leading| leading.proposed = to);
            }
            Note::IsrUnanswered { partition, .. } => {
                self.tell(node, *partition, |leading| leading.unsettled.extend(&leading.proposed));
            }
            Note::IsrRefused { partition, error } => {
                self.tell(node, *partition, |leading| leading.refused(*error));
            }
            Note::Recovered { .. }
            | Note::Truncated { .. }
            | Note::Rolled { .. }
            | Note::Departed { .. }
            | Note::LogRefused { .. }
            | Note::ReadRefused { .. }
            | Note::AnswerRefused { .. }
            | Note::LogSynced { .. }
            | Note::RecoveryPoint { .. }
            | Note::LeaderAppended { .. }
            | Note::HighWatermark { .. }
            | Note::ProduceAcked { .. }
            | Note::ProduceFailed { .. }
            | Note::DivergingEpoch { .. }
            | Note::Fenced { .. }
            | Note::QuorumCandidate { .. }
            | Note::QuorumRestored { .. }
            | Note::QuorumPreVoted { .. }
            | Note::QuorumStored { .. }
            | Note::QuorumLogSynced { .. }
            | Note::QuorumVoted { .. }
            | Note::QuorumVoteAnswered { .. }
            | Note::QuorumLeader { .. }
            | Note::QuorumFollower { .. }
            | Note::QuorumResigned { .. }
            | Note::QuorumCommitted { .. }
            | Note::ControllerActive { .. }
            | Note::BrokerRegistered { .. }
            | Note::BrokerFenced { .. }
            | Note::BrokerUnfenced { .. }
            | Note::SessionExpired { .. }
            | Note::SessionRenewed { .. }
            | Note::CutDeferred { .. }
            | Note::CutReads { .. }
            | Note::PartitionChanged { .. }
            | Note::BrokerRunning { .. }
            | Note::LogDirOffline { .. }
            | Note::ShutDown { .. } => {}
        }
    }

    fn replica(&mut self, node: NodeId, partition: TopicPartition) -> &mut Replica {
        self.replicas.entry((partition, node)).or_default()
    }

    fn tell(&mut self, node: NodeId, of: TopicPartition, change: impl FnOnce(&mut Leading)) {
        if let Some(leading) = self.leading(node, of) {
            change(leading);
        }
    }

    fn leading(&mut self, node: NodeId, partition: TopicPartition) -> Option<&mut Leading> {
        match &mut self.replicas.get_mut(&(partition, node))?.role {
            Role::Leads(leading) => Some(leading),
            Role::Follows { .. } | Role::None => None,
        }
    }

    /// Takes a note about one log, after the check of that log itself has accepted it.
    ///
    /// # Errors
    /// It promises more than all members of the ISR have synced.
    pub(super) fn take(
        &mut self,
        node: NodeId,
        partition: TopicPartition,
        note: &Note,
        flushes: bool,
    ) -> Result<(), Box<Refused>> {
        match note {
            Note::HighWatermark { leader: true, to, .. } => {
                self.promise(node, partition, to.0, flushes)
            }
            Note::ProduceAcked { acks: -1, end, .. } => {
                self.promise(node, partition, end.0, flushes)
            }
            note => {
                self.hear(node, note);
                Ok(())
            }
        }
    }

    /// A leader promises that all members of the ISR have everything below `upto`, synced if the
    /// topic `flushes` each batch.
    fn promise(
        &mut self,
        node: NodeId,
        partition: TopicPartition,
        upto: i64,
        flushes: bool,
    ) -> Result<(), Box<Refused>> {
        let Some(leading) = self.leading(node, partition).filter(|of| upto > of.promised) else {
            return Ok(());
        };
        leading.promised = upto;
        let epoch = leading.epoch;
        let Leading { isr, proposed, unsettled, .. } = leading;
        let counted: BTreeSet<NodeId> =
            isr.iter().chain(&*proposed).chain(&*unsettled).copied().collect();
        for member in counted.iter().filter(|member| flushes && **member != node) {
            let replica = self.replicas.get(&(partition, *member));
            let told = replica.map_or(0, |replica| replica.told_in(epoch));
            if told < upto {
                return refuse(
                    format!("{node} promises that all in-sync replicas hold all below {upto}"),
                    format!(
                        "of {} in sync, {member} knew its log to be synced only up to {told} in \
                         epoch {epoch}",
                        names(&counted)
                    ),
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::validation::{Divergence, OnDisk, Validator, recovery};
    use wavetank_core::types::{LeaderEpoch, Offset, PartitionEpoch, Uuid};

    const P: TopicPartition = TopicPartition { topic: Uuid(77), partition: 0 };
    const LEADER: NodeId = NodeId(1);
    const FOLLOWER: NodeId = NodeId(2);
    const OTHER: NodeId = NodeId(3);

    /// Three replicas of a partition, each recovered and empty; `flushes`: its topic flushes each
    /// batch.
    struct Bench {
        model: recovery::RecoveryValidator,
        flushes: bool,
    }

    impl Bench {
        /// Epoch 0: the leader and the follower are in the ISR; the other one follows outside it.
        fn new(flushes: bool) -> Bench {
            let mut bench = Bench { model: recovery::RecoveryValidator::default(), flushes };
            for node in [LEADER, FOLLOWER, OTHER] {
                bench.recovers(node, 0);
            }
            bench.leads(LEADER, 0, &[LEADER, FOLLOWER]);
            for node in [FOLLOWER, OTHER] {
                bench.follows(node, 0);
            }
            bench.note(LEADER, appended(0, 10)).unwrap();
            bench.syncs(LEADER, 10);
            bench
        }

        /// The media hold whatever is asked for.
        fn note(&mut self, node: NodeId, note: Note) -> Result<(), Box<Divergence>> {
            if let Some(asks) = self.model.asks(node, &note) {
                let disk = OnDisk {
                    whole_end: asks.to,
                    durable_end: asks.to,
                    flushes: self.flushes,
                    ..OnDisk::default()
                };
                self.model.on_disk(node, asks.partition, &disk);
            }
            self.model.note(node, &note)
        }

        fn recovers(&mut self, node: NodeId, end: i64) {
            let (log_start, log_end, epochs) = (Offset(0), Offset(end), Vec::new());
            self.note(
                node,
                Note::Recovered {
                    partition: P,
                    log_start,
                    log_end,
                    torn_bytes: 0,
                    reindexed: 0,
                    epochs,
                },
            )
            .unwrap();
        }

        fn leads(&mut self, node: NodeId, epoch: i32, isr: &[NodeId]) {
            let note = Note::BecameLeader {
                partition: P,
                epoch: LeaderEpoch(epoch),
                start: Offset(0),
                high_watermark: Offset(0),
                isr: isr.to_vec(),
                partition_epoch: PartitionEpoch(epoch),
            };
            self.note(node, note).unwrap();
        }

        fn follows(&mut self, node: NodeId, epoch: i32) {
            let note = Note::BecameFollower {
                partition: P,
                epoch: LeaderEpoch(epoch),
                leader: Some(LEADER),
                log_end: Offset(0),
                high_watermark: Offset(0),
            };
            self.note(node, note).unwrap();
        }

        fn fetches(&mut self, node: NodeId, epoch: i32, first: i64, end: i64) {
            let (epoch, first, end) = (LeaderEpoch(epoch), Offset(first), Offset(end));
            let note =
                Note::FollowerAppended { partition: P, epoch, first, end, last_epoch: epoch };
            self.note(node, note).unwrap();
        }

        fn syncs(&mut self, node: NodeId, end: i64) {
            self.note(node, Note::LogSynced { partition: P, end: Offset(end) }).unwrap();
        }

        /// The node's process ends, and the disk keeps this much.
        fn restarts(&mut self, node: NodeId, end: i64) {
            self.model.started(node);
            let disk = OnDisk { whole_end: end, flushes: self.flushes, ..OnDisk::default() };
            self.model.left(node, P, false, Some(&disk)).unwrap();
            self.recovers(node, end);
        }

        fn moves(&mut self, to: i64) -> Result<(), Box<Divergence>> {
            let (from, to) = (Offset(0), Offset(to));
            self.note(LEADER, Note::HighWatermark { partition: P, leader: true, from, to })
        }

        fn answers(&mut self, acks: i16, end: i64) -> Result<(), Box<Divergence>> {
            let (first, end) = (Offset(0), Offset(end));
            self.note(LEADER, Note::ProduceAcked { partition: P, acks, first, end })
        }

        fn diverges(&mut self, to: i64, says: &str) {
            let why = self.moves(to).expect_err("it diverges").why;
            assert!(why.contains(says), "{why}");
        }
    }

    fn appended(first: i64, end: i64) -> Note {
        let (first, end, epoch) = (Offset(first), Offset(end), LeaderEpoch(0));
        Note::LeaderAppended { partition: P, epoch, first, end }
    }

    #[test]
    fn a_leader_promises_what_all_in_sync_have_synced() {
        let mut bench = Bench::new(true);
        bench.fetches(FOLLOWER, 0, 0, 10);
        bench.syncs(FOLLOWER, 6);
        // The replica outside the ISR has nothing, and is not checked.
        bench.moves(6).unwrap();
        bench.diverges(7, "of {1,2} in sync, 2 knew its log to be synced only up to");

        let mut bench = Bench::new(false);
        bench.fetches(FOLLOWER, 0, 0, 10);
        bench.syncs(FOLLOWER, 6);
        bench.moves(7).unwrap();
    }

    #[test]
    fn an_answer_to_acks_all_is_a_promise_and_one_to_acks_1_is_not() {
        for (acks, end, holds) in [(-1, 6, true), (-1, 7, false), (1, 7, true)] {
            let mut bench = Bench::new(true);
            bench.fetches(FOLLOWER, 0, 0, 10);
            bench.syncs(FOLLOWER, 6);
            let answered = bench.answers(acks, end);
            assert_eq!(answered.is_ok(), holds, "acks={acks}, {end}: {answered:?}");
        }
    }

    #[test]
    fn who_is_asked_for_as_a_member_counts() {
        let proposed = || Note::IsrProposed {
            partition: P,
            from: vec![LEADER, FOLLOWER],
            to: vec![LEADER, FOLLOWER, OTHER],
            partition_epoch: PartitionEpoch(0),
        };
        let with_follower = || {
            let mut bench = Bench::new(true);
            bench.fetches(FOLLOWER, 0, 0, 10);
            bench.syncs(FOLLOWER, 10);
            bench
        };
        let mut bench = with_follower();
        bench.note(LEADER, proposed()).unwrap();
        bench.diverges(5, "3 knew its log to be synced only");
        // After a final refusal the member does not count; after any other error the proposal may
        // have been accepted.
        for (error, holds) in
            [(ErrorCode::IneligibleReplica, true), (ErrorCode::FencedLeaderEpoch, false)]
        {
            let mut bench = with_follower();
            bench.note(LEADER, proposed()).unwrap();
            bench.note(LEADER, Note::IsrRefused { partition: P, error }).unwrap();
            assert_eq!(bench.moves(5).is_ok(), holds, "{error:?}");
        }
        // A refusal concerns one copy, and an unanswered copy may be accepted later.
        let mut bench = with_follower();
        bench.note(LEADER, proposed()).unwrap();
        let unsettled = vec![OTHER];
        bench.note(LEADER, Note::IsrUnanswered { partition: P, unsettled }).unwrap();
        let error = ErrorCode::IneligibleReplica;
        bench.note(LEADER, Note::IsrRefused { partition: P, error }).unwrap();
        bench.diverges(5, "3 knew its log to be synced only");
        let (isr, partition_epoch) = (vec![LEADER, FOLLOWER], PartitionEpoch(1));
        bench.note(LEADER, Note::IsrCommitted { partition: P, isr, partition_epoch }).unwrap();
        bench.moves(6).unwrap();
        // A member that has left does not count either.
        let mut bench = Bench::new(true);
        let (isr, partition_epoch) = (vec![LEADER], PartitionEpoch(1));
        bench.note(LEADER, Note::IsrCommitted { partition: P, isr, partition_epoch }).unwrap();
        bench.moves(10).unwrap();
    }

    #[test]
    fn what_a_process_told_counts_until_a_newer_one_fetches() {
        for (fetches, holds) in [(false, true), (true, false)] {
            let mut bench = Bench::new(true);
            bench.fetches(FOLLOWER, 0, 0, 10);
            bench.syncs(FOLLOWER, 6);
            bench.restarts(FOLLOWER, 6);
            bench.follows(FOLLOWER, 0);
            if fetches {
                bench.fetches(FOLLOWER, 0, 6, 10);
            }
            assert_eq!(bench.moves(6).is_ok(), holds);
        }
    }

    #[test]
    fn what_is_told_in_another_epoch_or_before_a_cut_is_not_told_to_this_leader() {
        // The follower is in the next epoch, and syncs more there.
        let mut bench = Bench::new(true);
        bench.fetches(FOLLOWER, 0, 0, 10);
        bench.syncs(FOLLOWER, 6);
        bench.follows(FOLLOWER, 1);
        bench.syncs(FOLLOWER, 10);
        bench.moves(6).unwrap();
        bench.diverges(7, "2 knew its log to be synced only up to 6 in epoch 0");

        // The follower enters the epoch with more, and cuts that.
        let mut bench = Bench::new(true);
        bench.fetches(FOLLOWER, 0, 0, 10);
        bench.syncs(FOLLOWER, 10);
        bench.leads(LEADER, 1, &[LEADER, FOLLOWER]);
        bench.follows(FOLLOWER, 1);
        let reason = wavetank_core::note::TruncationReason::Diverging;
        let (from, to) = (Offset(10), Offset(4));
        bench.note(FOLLOWER, Note::Truncated { partition: P, from, to, reason }).unwrap();
        bench.moves(4).unwrap();
        bench.diverges(5, "up to 4 in epoch 1");
    }
}
