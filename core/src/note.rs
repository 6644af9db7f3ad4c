//! Trace points: one note for each protocol transition that a model would name, with the state
//! before and after. The server turns notes into log lines and metrics, the tank into traces, marks
//! and fault triggers. They are not part of the fingerprint and never influence a machine.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::types::{
    BrokerEpoch, DiskOpKind, LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicPartition,
};

/// Why a log was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TruncationReason {
    /// The leader's log diverges from ours (KIP-101, KIP-279).
    Diverging,
    /// The leader's log ends before ours (fetch out of range).
    LeaderEndsBefore,
    /// The leader's log starts after our end: the whole log is removed.
    LeaderStartsAfter,
    /// Recovery found bytes that are not a whole, valid batch.
    TornTail,
    /// Only under a flaw: cut to our own high watermark.
    OwnHighWatermark,
}

/// Answers that no correct peer gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Implausible {
    /// An epoch that no election can have reached, or one later than the peer's own.
    Epoch,
    /// A batch that does not continue the log.
    Place,
    /// A batch of the metadata log that cannot be read.
    Content,
    /// A divergence where there is none.
    Divergence,
    /// A cut of what is committed.
    CutOfCommitted,
    /// A start of the log beyond what is committed.
    Start,
    /// A registration that does not follow from the request.
    Registration,
}

/// A protocol transition. Notes can be written out (`serve --notes`) and read back, under their
/// [`Note::name`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// A log has been opened and checked.
    Recovered {
        /// The partition.
        partition: TopicPartition,
        /// Its start.
        log_start: Offset,
        /// Its end.
        log_end: Offset,
        /// Bytes after the last valid batch that were cut.
        torn_bytes: u64,
        /// Segments with records whose indexes were rebuilt from their batches.
        reindexed: u32,
        /// The leader epochs in it, each with its first offset.
        epochs: Vec<(LeaderEpoch, Offset)>,
    },
    /// A log was cut.
    Truncated {
        /// The partition.
        partition: TopicPartition,
        /// Log end before.
        from: Offset,
        /// Log end after.
        to: Offset,
        /// The reason.
        reason: TruncationReason,
    },
    /// A cut waits until no checkpoint on disk vouches for the records it removes. `Truncated`
    /// follows when it is done.
    CutDeferred {
        /// The partition.
        partition: TopicPartition,
        /// Where it will be cut.
        to: Offset,
    },
    /// A cut starts reading the log to find the batch to cut at. `Truncated` follows when it is
    /// done.
    CutReads {
        /// The partition.
        partition: TopicPartition,
        /// Where it will be cut.
        to: Offset,
    },
    /// A log rolled to a new segment.
    Rolled {
        /// The partition.
        partition: TopicPartition,
        /// Base offset of the new segment.
        base: Offset,
    },
    /// A log is damaged where that cannot be a torn tail, and is not opened.
    LogRefused {
        /// The partition.
        partition: TopicPartition,
        /// Where its intact batches end.
        end: Offset,
    },
    /// A read for a client or a follower found damage, and is answered with an error.
    ReadRefused {
        /// The partition.
        partition: TopicPartition,
        /// The offset that it asked for.
        offset: Offset,
    },
    /// More of a log is known to be durable.
    LogSynced {
        /// The partition.
        partition: TopicPartition,
        /// Everything below this offset is durable.
        end: Offset,
    },
    /// The recovery-point checkpoint has, or will have once written, this line for a log.
    RecoveryPoint {
        /// The partition.
        partition: TopicPartition,
        /// The recovery point: below it, missing data is damage.
        point: Offset,
        /// Whether it is on disk, rather than about to be written.
        durable: bool,
    },
    /// A replica leaves this node. Its directory will be renamed once no checkpoint names it any
    /// more.
    Departed {
        /// The partition; the topic id is zero if the topic is not known.
        partition: TopicPartition,
        /// The directory's new name, unless the process ends first.
        directory: String,
        /// The metadata does not say that it was deleted, so it is kept for people to examine. If
        /// false, it is removed.
        stray: bool,
    },
    /// A leader appended.
    LeaderAppended {
        /// The partition.
        partition: TopicPartition,
        /// The leader epoch.
        epoch: LeaderEpoch,
        /// First offset.
        first: Offset,
        /// Log end after.
        end: Offset,
    },
    /// A follower appended.
    FollowerAppended {
        /// The partition.
        partition: TopicPartition,
        /// The leader epoch that it follows.
        epoch: LeaderEpoch,
        /// Log end before.
        first: Offset,
        /// Log end after.
        end: Offset,
        /// The epoch of its last record now.
        last_epoch: LeaderEpoch,
    },
    /// This node becomes leader of a partition.
    BecameLeader {
        /// The partition.
        partition: TopicPartition,
        /// The leader epoch.
        epoch: LeaderEpoch,
        /// Its log end when the epoch began.
        start: Offset,
        /// Its high watermark then.
        high_watermark: Offset,
        /// ISR.
        isr: Vec<NodeId>,
        /// The partition epoch of the registration.
        partition_epoch: PartitionEpoch,
    },
    /// This node becomes follower of a partition.
    BecameFollower {
        /// The partition.
        partition: TopicPartition,
        /// The leader epoch.
        epoch: LeaderEpoch,
        /// The leader, if there is one.
        leader: Option<NodeId>,
        /// Its log end.
        log_end: Offset,
        /// Its high watermark.
        high_watermark: Offset,
    },
    /// A high watermark moved (leader or follower).
    HighWatermark {
        /// The partition.
        partition: TopicPartition,
        /// Whether this is the leader's.
        leader: bool,
        /// Before.
        from: Offset,
        /// After.
        to: Offset,
    },
    /// A leader asked the controller for a different ISR.
    IsrProposed {
        /// The partition.
        partition: TopicPartition,
        /// From.
        from: Vec<NodeId>,
        /// To.
        to: Vec<NodeId>,
        /// The registration that it is based on.
        partition_epoch: PartitionEpoch,
    },
    /// A leader learned of a committed registration.
    IsrCommitted {
        /// The partition.
        partition: TopicPartition,
        /// ISR.
        isr: Vec<NodeId>,
        /// Registration.
        partition_epoch: PartitionEpoch,
    },
    /// The controller refused an ISR change.
    IsrRefused {
        /// The partition.
        partition: TopicPartition,
        /// The reason.
        error: ErrorCode,
    },
    /// A leader's ISR change request got no answer and may still be executed.
    IsrUnanswered {
        /// The partition.
        partition: TopicPartition,
        /// Nodes outside the ISR that this request or an earlier one may still add.
        unsettled: Vec<NodeId>,
    },
    /// A leader acknowledged a produce.
    ProduceAcked {
        /// The partition.
        partition: TopicPartition,
        /// The `acks` of the request.
        acks: i16,
        /// First offset.
        first: Offset,
        /// The end offset of the batch.
        end: Offset,
    },
    /// A leader refused or gave up on a produce.
    ProduceFailed {
        /// The partition.
        partition: TopicPartition,
        /// The reason.
        error: ErrorCode,
    },
    /// A leader told a follower that their logs diverge.
    DivergingEpoch {
        /// The partition.
        partition: TopicPartition,
        /// The follower.
        follower: NodeId,
        /// The follower's last epoch.
        asked: LeaderEpoch,
        /// The leader's answer: epoch.
        epoch: LeaderEpoch,
        /// The leader's answer: end.
        end_offset: Offset,
    },
    /// A request carried an epoch that is not the current one.
    Fenced {
        /// The partition.
        partition: TopicPartition,
        /// `FENCED_LEADER_EPOCH` or `UNKNOWN_LEADER_EPOCH`.
        error: ErrorCode,
    },
    /// Quorum: this node stands for election (in a pre-vote, `epoch` is still the old one).
    QuorumCandidate {
        /// Epoch.
        epoch: LeaderEpoch,
        /// Whether it asks first, without raising the epoch (KIP-996).
        pre_vote: bool,
    },
    /// Quorum: this node has read its epoch and vote, and participates from now on.
    QuorumRestored {
        /// Epoch.
        epoch: LeaderEpoch,
        /// The candidate it voted for in this epoch.
        voted: Option<NodeId>,
    },
    /// Quorum: a pre-vote is granted.
    QuorumPreVoted {
        /// Epoch.
        epoch: LeaderEpoch,
        /// The candidate.
        candidate: NodeId,
    },
    /// Quorum: epoch and vote are on disk.
    QuorumStored {
        /// Epoch.
        epoch: LeaderEpoch,
        /// The candidate it voted for in this epoch.
        voted: Option<NodeId>,
    },
    /// Quorum: the metadata log is synced up to here.
    QuorumLogSynced {
        /// The end of the synced log.
        end: Offset,
    },
    /// Quorum: a vote was cast. It is answered when durable.
    QuorumVoted {
        /// Epoch.
        epoch: LeaderEpoch,
        /// The candidate.
        candidate: NodeId,
    },
    /// Quorum: the answer granting a vote was sent.
    QuorumVoteAnswered {
        /// Epoch.
        epoch: LeaderEpoch,
        /// The candidate.
        candidate: NodeId,
    },
    /// Quorum: this node leads.
    QuorumLeader {
        /// Epoch.
        epoch: LeaderEpoch,
        /// Its log end when the epoch began.
        start: Offset,
    },
    /// Quorum: this node follows.
    QuorumFollower {
        /// Epoch.
        epoch: LeaderEpoch,
        /// The leader.
        leader: NodeId,
    },
    /// Quorum: a leader stepped down.
    QuorumResigned {
        /// Epoch.
        epoch: LeaderEpoch,
        /// Whether this was because no majority fetched (CheckQuorum).
        check_quorum: bool,
    },
    /// Quorum: the committed end moved.
    QuorumCommitted {
        /// Before.
        from: Offset,
        /// After.
        to: Offset,
        /// Whether this node leads.
        leader: bool,
    },
    /// A peer gave an answer that no correct peer gives. Nothing of it was used.
    AnswerRefused {
        /// The log that it is about.
        partition: TopicPartition,
        /// The peer that answered.
        peer: NodeId,
        /// What was wrong with it.
        why: Implausible,
    },
    /// This node is the active controller and has loaded its state.
    ControllerActive {
        /// Epoch.
        epoch: LeaderEpoch,
    },
    /// Controller: a broker registered.
    BrokerRegistered {
        /// The broker.
        broker: NodeId,
        /// The offset its record will have.
        epoch: BrokerEpoch,
    },
    /// Controller: a broker is fenced.
    BrokerFenced {
        /// The broker.
        broker: NodeId,
    },
    /// Controller: a broker is unfenced.
    BrokerUnfenced {
        /// The broker.
        broker: NodeId,
    },
    /// Controller: a session timer fired so late that this node must have been paused. The broker
    /// gets another session.
    SessionRenewed {
        /// The broker.
        broker: NodeId,
    },
    /// Controller: a broker sent no heartbeat for a whole session, and is fenced.
    SessionExpired {
        /// The broker.
        broker: NodeId,
    },
    /// Controller: a partition's registration changed.
    PartitionChanged {
        /// The partition.
        partition: TopicPartition,
        /// Leader, if any.
        leader: Option<NodeId>,
        /// Leader epoch.
        leader_epoch: LeaderEpoch,
        /// ISR.
        isr: Vec<NodeId>,
        /// Partition epoch.
        partition_epoch: PartitionEpoch,
    },
    /// Broker: registered and unfenced, serving.
    BrokerRunning {
        /// Epoch.
        epoch: BrokerEpoch,
    },
    /// The log directory failed; the node stops.
    LogDirOffline {
        /// The operation that failed.
        op: DiskOpKind,
    },
    /// A graceful stop has finished.
    ShutDown {
        /// Whether everything was flushed and marked clean. False if the node had not finished
        /// recovery.
        clean: bool,
    },
}

impl Note {
    /// A stable name for counting, marks and triggers.
    pub fn name(&self) -> &'static str {
        match self {
            Note::Recovered { .. } => "recovered",
            Note::Truncated { .. } => "truncated",
            Note::CutDeferred { .. } => "cut_deferred",
            Note::CutReads { .. } => "cut_reads",
            Note::Rolled { .. } => "rolled",
            Note::LogRefused { .. } => "log_refused",
            Note::ReadRefused { .. } => "read_refused",
            Note::LogSynced { .. } => "log_synced",
            Note::RecoveryPoint { .. } => "recovery_point",
            Note::Departed { .. } => "departed",
            Note::LeaderAppended { .. } => "leader_appended",
            Note::FollowerAppended { .. } => "follower_appended",
            Note::BecameLeader { .. } => "became_leader",
            Note::BecameFollower { .. } => "became_follower",
            Note::HighWatermark { .. } => "high_watermark",
            Note::IsrProposed { .. } => "isr_proposed",
            Note::IsrCommitted { .. } => "isr_committed",
            Note::IsrRefused { .. } => "isr_refused",
            Note::IsrUnanswered { .. } => "isr_unanswered",
            Note::ProduceAcked { .. } => "produce_acked",
            Note::ProduceFailed { .. } => "produce_failed",
            Note::DivergingEpoch { .. } => "diverging_epoch",
            Note::Fenced { .. } => "fenced",
            Note::QuorumCandidate { .. } => "quorum_candidate",
            Note::QuorumRestored { .. } => "quorum_restored",
            Note::QuorumPreVoted { .. } => "quorum_pre_voted",
            Note::QuorumStored { .. } => "quorum_stored",
            Note::QuorumLogSynced { .. } => "quorum_log_synced",
            Note::QuorumVoted { .. } => "quorum_voted",
            Note::QuorumVoteAnswered { .. } => "quorum_vote_answered",
            Note::QuorumLeader { .. } => "quorum_leader",
            Note::QuorumFollower { .. } => "quorum_follower",
            Note::QuorumResigned { .. } => "quorum_resigned",
            Note::QuorumCommitted { .. } => "quorum_committed",
            Note::AnswerRefused { .. } => "answer_refused",
            Note::ControllerActive { .. } => "controller_active",
            Note::BrokerRegistered { .. } => "broker_registered",
            Note::BrokerFenced { .. } => "broker_fenced",
            Note::BrokerUnfenced { .. } => "broker_unfenced",
            Note::SessionRenewed { .. } => "session_renewed",
            Note::SessionExpired { .. } => "session_expired",
            Note::PartitionChanged { .. } => "partition_changed",
            Note::BrokerRunning { .. } => "broker_running",
            Note::LogDirOffline { .. } => "log_dir_offline",
            Note::ShutDown { .. } => "shut_down",
        }
    }
}
