//! Marks: states that a run must reach to count as a test of anything.
//!
//! A plan declares the marks that its faults and workload must reach. A run that missed one, that
//! acknowledged too few writes in the storm, or that had most operations refused is *weak*, not
//! green: it tested too little. A mark that no seed of a large hunt reached fails the hunt, because
//! the tank cannot reach that state at all. Marks are derived from the core's notes, and influence
//! nothing.

use std::collections::{BTreeMap, BTreeSet};
use wavetank_core::note::{Note, TruncationReason};
use wavetank_core::types::{NodeId, PartitionEpoch, TopicPartition};

macro_rules! marks {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        /// A state that a run may reach.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Mark {
            $($(#[$doc])* $name,)*
        }

        impl Mark {
            /// All marks.
            pub const ALL: &'static [Mark] = &[$(Mark::$name),*];

            /// The name used in plans and JSON.
            pub fn name(self) -> &'static str {
                match self { $(Mark::$name => $text),* }
            }
        }
    };
}

marks! {
    /// A partition got a new leader during the storm.
    LeaderChange = "leader_change";
    /// A partition got its second new leader during the storm.
    LeaderChangedAgain = "leader_changed_again";
    /// An ISR lost a member.
    IsrShrink = "isr_shrink";
    /// An ISR gained a member.
    IsrExpand = "isr_expand";
    /// The controller refused a proposed ISR.
    IsrRefused = "isr_refused";
    /// A leader's request to change the ISR got no answer, and named a replica that is not in the
    /// ISR.
    IsrUnanswered = "isr_unanswered";
    /// A follower learned that its log diverges from the leader's.
    DivergingEpoch = "diverging_epoch";
    /// A follower truncated its log because of that.
    Truncation = "truncation";
    /// Recovery found and cut a torn tail.
    TornTail = "torn_tail_recovered";
    /// A node recovered a partition that held records.
    DataRecovered = "data_recovered";
    /// A request was refused because of its leader epoch.
    FencedEpoch = "fenced_epoch";
    /// A log rolled to a new segment.
    SegmentRoll = "segment_roll";
    /// The metadata quorum elected a leader during the storm.
    QuorumElection = "quorum_election";
    /// A quorum leader stepped down because no majority fetched.
    CheckQuorum = "check_quorum";
    /// A node's metadata log was truncated.
    QuorumTruncation = "quorum_truncation";
    /// The controller fenced a broker during the storm.
    BrokerFenced = "broker_fenced";
    /// A topic was created in the storm while a broker was fenced.
    CreatedWhileFenced = "created_while_fenced";
    /// A broker registered again during the storm.
    BrokerReregistered = "broker_reregistered";
    /// A controller that had been paused renewed a broker's session.
    SessionRenewed = "session_renewed";
    /// A paused process's socket was full and applied backpressure.
    SocketFull = "socket_full";
    /// A truncation waited until no checkpoint covered what it cuts.
    CutDeferred = "cut_deferred";
    /// A node stopped gracefully: flushed and marked clean.
    CleanShutdown = "clean_shutdown";
    /// A log directory failed and its node stopped.
    LogDirOffline = "log_dir_offline";
    /// A new leader started with a high watermark below its log end.
    StaleHighWatermark = "stale_high_watermark";
    /// A produce was refused or given up.
    ProduceFailed = "produce_failed";
    /// A power loss took bytes that had been written.
    UnsyncedLost = "unsynced_lost";
    /// A fault reached the disk operation that it aimed at.
    DiskOpStruck = "disk_op_struck";
    /// The ledger admitted a loss of acknowledged records.
    LossAdmitted = "loss_admitted";
}

impl Mark {
    /// The mark of that name.
    pub fn from_name(name: &str) -> Option<Mark> {
        Mark::ALL.iter().copied().find(|mark| mark.name() == name)
    }
}

/// Counts marks during a run.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    counts: BTreeMap<Mark, u64>,
    isr: BTreeMap<TopicPartition, (PartitionEpoch, usize)>,
    /// New leaders of each partition during the storm.
    leaders: BTreeMap<TopicPartition, u32>,
    fenced: BTreeSet<NodeId>,
    storm: bool,
}

impl Marks {
    /// Sets whether the storm is on.
    pub fn set_storm(&mut self, storm: bool) {
        self.storm = storm;
    }

    /// Counts a mark.
    pub fn hit(&mut self, mark: Mark) {
        *self.counts.entry(mark).or_default() += 1;
    }

    /// The marks that have been reached, and how often.
    pub fn counts(&self) -> &BTreeMap<Mark, u64> {
        &self.counts
    }

    /// Has this mark been reached?
    pub fn reached(&self, mark: Mark) -> bool {
        self.counts.contains_key(&mark)
    }

    fn hit_in_storm(&mut self, mark: Mark) {
        if self.storm {
            self.hit(mark);
        }
    }

    /// Takes in one note.
    pub fn note(&mut self, _node: NodeId, note: &Note) {
        match note {
            Note::Recovered { partition, log_end, torn_bytes, .. } => {
                self.recovered(*partition, log_end.0 > 0, *torn_bytes > 0);
            }
            Note::Truncated { partition, from, to, reason } if from > to => {
                self.truncated(*partition, *reason);
            }
            Note::Rolled { partition, .. } if *partition != TopicPartition::METADATA => {
                self.hit(Mark::SegmentRoll);
            }
            Note::BecameLeader { partition, start, high_watermark, .. } => {
                self.became_leader(*partition, high_watermark < start);
            }
            Note::IsrRefused { .. } => self.hit(Mark::IsrRefused),
            Note::IsrUnanswered { unsettled, .. } if !unsettled.is_empty() => {
                self.hit(Mark::IsrUnanswered);
            }
            Note::ProduceFailed { .. } => self.hit(Mark::ProduceFailed),
            Note::DivergingEpoch { partition, .. } if *partition != TopicPartition::METADATA => {
                self.hit(Mark::DivergingEpoch);
            }
            Note::Fenced { .. } => self.hit(Mark::FencedEpoch),
            Note::QuorumLeader { .. } => self.hit_in_storm(Mark::QuorumElection),
            Note::QuorumResigned { check_quorum: true, .. } => self.hit(Mark::CheckQuorum),
            Note::BrokerFenced { broker } => self.fenced(*broker),
            Note::BrokerUnfenced { broker } => self.unfenced(*broker),
            Note::SessionRenewed { .. } => self.hit(Mark::SessionRenewed),
            Note::CutDeferred { .. } => self.hit(Mark::CutDeferred),
            Note::BrokerRegistered { .. } => self.hit_in_storm(Mark::BrokerReregistered),
            Note::ShutDown { clean: true } => self.hit(Mark::CleanShutdown),
            Note::LogDirOffline { .. } => self.hit(Mark::LogDirOffline),
            Note::PartitionChanged { partition, isr, partition_epoch, .. } => {
                self.partition_changed(*partition, isr.len(), *partition_epoch);
            }
            Note::DivergingEpoch { .. }
            | Note::Truncated { .. }
            | Note::Rolled { .. }
            | Note::LeaderAppended { .. }
            | Note::FollowerAppended { .. }
            | Note::BecameFollower { .. }
            | Note::HighWatermark { .. }
            | Note::IsrProposed { .. }
            | Note::IsrUnanswered { .. }
            | Note::IsrCommitted { .. }
            | Note::ProduceAcked { .. }
            | Note::QuorumCandidate { .. }
            | Note::QuorumVoted { .. }
            | Note::QuorumVoteAnswered { .. }
            | Note::QuorumRestored { .. }
            | Note::QuorumPreVoted { .. }
            | Note::QuorumStored { .. }
            | Note::QuorumLogSynced { .. }
            | Note::LogRefused { .. }
            | Note::ReadRefused { .. }
            | Note::AnswerRefused { .. }
            | Note::LogSynced { .. }
            | Note::RecoveryPoint { .. }
            | Note::Departed { .. }
            | Note::QuorumFollower { .. }
            | Note::QuorumResigned { .. }
            | Note::QuorumCommitted { .. }
            | Note::ControllerActive { .. }
            | Note::SessionExpired { .. }
            | Note::CutReads { .. }
            | Note::BrokerRunning { .. }
            | Note::ShutDown { .. } => {}
        }
    }

    fn fenced(&mut self, broker: NodeId) {
        self.fenced.insert(broker);
        self.hit_in_storm(Mark::BrokerFenced);
    }

    fn unfenced(&mut self, broker: NodeId) {
        self.fenced.remove(&broker);
    }

    fn truncated(&mut self, partition: TopicPartition, reason: TruncationReason) {
        match reason {
            TruncationReason::Diverging
            | TruncationReason::LeaderEndsBefore
            | TruncationReason::LeaderStartsAfter
            | TruncationReason::OwnHighWatermark => self.hit(match partition {
                TopicPartition::METADATA => Mark::QuorumTruncation,
                _ => Mark::Truncation,
            }),
            TruncationReason::TornTail => {}
        }
    }

    fn became_leader(&mut self, partition: TopicPartition, is_stale: bool) {
        if is_stale {
            self.hit(Mark::StaleHighWatermark);
        }
        if !self.storm {
            return;
        }
        self.hit(Mark::LeaderChange);
        let leaders = self.leaders.entry(partition).or_default();
        *leaders += 1;
        if *leaders > 1 {
            self.hit(Mark::LeaderChangedAgain);
        }
    }

    fn recovered(&mut self, partition: TopicPartition, has_records: bool, is_torn: bool) {
        if is_torn {
            self.hit(Mark::TornTail);
        }
        if has_records && partition != TopicPartition::METADATA {
            self.hit(Mark::DataRecovered);
        }
    }

    fn partition_changed(
        &mut self,
        partition: TopicPartition,
        isr: usize,
        partition_epoch: PartitionEpoch,
    ) {
        let known = self.isr.get(&partition).copied();
        if known.is_none() && partition_epoch == PartitionEpoch(0) && !self.fenced.is_empty() {
            self.hit_in_storm(Mark::CreatedWhileFenced);
        }
        let (epoch, before) = known.unwrap_or((partition_epoch, isr));
        // Several controllers may note the same change.
        if known.is_some() && partition_epoch <= epoch {
            return;
        }
        if isr < before {
            self.hit(Mark::IsrShrink);
        }
        if isr > before {
            self.hit(Mark::IsrExpand);
        }
        self.isr.insert(partition, (partition_epoch, isr));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_core::types::{LeaderEpoch, Offset};

    fn changed(isr: &[i32], epoch: i32) -> Note {
        Note::PartitionChanged {
            partition: TopicPartition { topic: wavetank_core::types::Uuid(9), partition: 0 },
            leader: Some(NodeId(1)),
            leader_epoch: LeaderEpoch(0),
            isr: isr.iter().copied().map(NodeId).collect(),
            partition_epoch: PartitionEpoch(epoch),
        }
    }

    #[test]
    fn shrinking_and_growing_are_told_apart() {
        let mut marks = Marks::default();
        marks.note(NodeId(1), &changed(&[1, 2, 3], 0));
        assert!(!marks.reached(Mark::IsrShrink) && !marks.reached(Mark::IsrExpand));
        marks.note(NodeId(1), &changed(&[1, 2], 1));
        marks.note(NodeId(2), &changed(&[1, 2], 1));
        assert_eq!(marks.counts()[&Mark::IsrShrink], 1);
        marks.note(NodeId(1), &changed(&[1, 2, 3], 2));
        assert_eq!(marks.counts()[&Mark::IsrExpand], 1);
    }

    #[test]
    fn a_creation_counts_while_somebody_is_fenced() {
        let mut marks = Marks::default();
        marks.set_storm(true);
        let (node, broker) = (NodeId(1), NodeId(3));
        marks.note(node, &Note::BrokerFenced { broker });
        marks.note(node, &changed(&[1, 2], 1));
        assert!(!marks.reached(Mark::CreatedWhileFenced), "it is not new");
        let mut marks = Marks { fenced: marks.fenced, storm: true, ..Marks::default() };
        marks.note(node, &changed(&[1, 2], 0));
        assert!(marks.reached(Mark::CreatedWhileFenced));
        let mut marks = Marks { fenced: marks.fenced, storm: true, ..Marks::default() };
        marks.note(node, &Note::BrokerUnfenced { broker });
        marks.note(node, &changed(&[1, 2], 0));
        assert!(!marks.reached(Mark::CreatedWhileFenced), "nobody is fenced any more");
    }

    #[test]
    fn elections_count_in_the_storm_only() {
        let mut marks = Marks::default();
        let note = Note::QuorumLeader { epoch: LeaderEpoch(1), start: Offset(0) };
        marks.note(NodeId(1), &note);
        assert!(!marks.reached(Mark::QuorumElection));
        marks.set_storm(true);
        marks.note(NodeId(1), &note);
        assert!(marks.reached(Mark::QuorumElection));
    }

    #[test]
    fn names_lead_back() {
        for &mark in Mark::ALL {
            assert_eq!(Mark::from_name(mark.name()), Some(mark));
        }
    }
}
