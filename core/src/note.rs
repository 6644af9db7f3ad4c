//! Trace points: one note for each protocol transition that a model would name, with its before and
//! after. The server turns them into log lines and metrics, the tank into traces, marks and fault
//! triggers. They are outside the fingerprint and never influence a machine.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::event::DiskOpKind;
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, TopicPartition};

/// Why a log was cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TruncationReason {
    /// The leader's log diverges from ours (KIP-101, KIP-279).
    Diverging,
    /// The leader's log ends before ours (fetch out of range).
    LeaderEndsBefore,
    /// The leader's log starts after our end: everything goes.
    LeaderStartsAfter,
    /// Recovery found bytes that are not a whole, valid batch.
    TornTail,
    /// Only under a flaw: cut to our own high watermark.
    OwnHighWatermark,
}

/// What no correct peer answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Implausible {
    /// An epoch that no election has reached, or a later one than the peer's own.
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
    /// A registration that does not follow from what was asked for.
    Registration,
}

/// A protocol transition. It can be written down and read again (`serve --notes`), under its
/// [`Note::name`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// A log has been opened and checked.
    Recovered {
        /// Which.
        partition: TopicPartition,
        /// Its start.
        log_start: Offset,
        /// Its end.
        log_end: Offset,
        /// Bytes after the last valid batch that were cut.
        torn_bytes: u64,
        /// Segments with records whose indexes were made anew from their batches.
        reindexed: u32,
        /// The leader epochs in it, each with its first offset.
        epochs: Vec<(LeaderEpoch, Offset)>,
    },
    /// A log was cut.
    Truncated {
        /// Which.
        partition: TopicPartition,
        /// Log end before.
        from: Offset,
        /// Log end after.
        to: Offset,
        /// Why.
        reason: TruncationReason,
    },
    /// A cut waits until no checkpoint on disk vouches for what it takes; `Truncated` tells that it
    /// is done.
    CutDeferred {
        /// Which.
        partition: TopicPartition,
        /// Where it will be cut.
        to: Offset,
    },
    /// A cut begins to read the log for the batch to cut at; `Truncated` tells that it is done.
    CutReads {
        /// Which.
        partition: TopicPartition,
        /// Where it is to be cut.
        to: Offset,
    },
    /// A log rolled to a new segment.
    Rolled {
        /// Which.
        partition: TopicPartition,
        /// Base of the new segment.
        base: Offset,
    },
    /// A log was found damaged where that cannot be a torn tail, and is not opened.
    LogRefused {
        /// Which.
        partition: TopicPartition,
        /// Where its whole batches end.
        end: Offset,
    },
    /// A read for a client or a follower met damage: from here on it gets an error.
    ReadRefused {
        /// Which.
        partition: TopicPartition,
        /// Where it asked to read.
        offset: Offset,
    },
    /// A log has heard that more of it is durable.
    LogSynced {
        /// Which.
        partition: TopicPartition,
        /// All below is.
        end: Offset,
    },
    /// The recovery-point checkpoint says this of a log, once it is written.
    RecoveryPoint {
        /// Which.
        partition: TopicPartition,
        /// Below it, what is missing is damage.
        point: Offset,
        /// Is it on disk, or about to be written?
        durable: bool,
    },
    /// A replica leaves this node: its directory is to get another name, when no checkpoint names it
    /// any more.
    Departed {
        /// Which; a topic that is not known has the id zero.
        partition: TopicPartition,
        /// The directory's new name, unless the process ends before.
        directory: String,
        /// The metadata do not say that it was deleted, so that it is kept for people to judge; else
        /// it is removed.
        stray: bool,
    },
    /// A leader appended.
    LeaderAppended {
        /// Where.
        partition: TopicPartition,
        /// In which epoch.
        epoch: LeaderEpoch,
        /// First offset.
        first: Offset,
        /// Log end after.
        end: Offset,
    },
    /// A follower appended.
    FollowerAppended {
        /// Where.
        partition: TopicPartition,
        /// Following in which epoch.
        epoch: LeaderEpoch,
        /// Log end before.
        first: Offset,
        /// Log end after.
        end: Offset,
        /// The epoch of its last record now.
        last_epoch: LeaderEpoch,
    },
    /// This node leads a partition from now on.
    BecameLeader {
        /// Which.
        partition: TopicPartition,
        /// In which epoch.
        epoch: LeaderEpoch,
        /// Its log end when the epoch began.
        start: Offset,
        /// Its high watermark then.
        high_watermark: Offset,
        /// ISR.
        isr: Vec<NodeId>,
        /// The registration that it is from.
        partition_epoch: PartitionEpoch,
    },
    /// This node follows from now on.
    BecameFollower {
        /// Which partition.
        partition: TopicPartition,
        /// Which epoch.
        epoch: LeaderEpoch,
        /// Whom, if anyone.
        leader: Option<NodeId>,
        /// Its log end.
        log_end: Offset,
        /// Its high watermark.
        high_watermark: Offset,
    },
    /// A high watermark moved (leader or follower).
    HighWatermark {
        /// Where.
        partition: TopicPartition,
        /// Is this the leader's?
        leader: bool,
        /// Before.
        from: Offset,
        /// After.
        to: Offset,
    },
    /// A leader asked the controller for another ISR.
    IsrProposed {
        /// Where.
        partition: TopicPartition,
        /// From.
        from: Vec<NodeId>,
        /// To.
        to: Vec<NodeId>,
        /// Based on this registration.
        partition_epoch: PartitionEpoch,
    },
    /// A leader learned of a committed registration.
    IsrCommitted {
        /// Where.
        partition: TopicPartition,
        /// ISR.
        isr: Vec<NodeId>,
        /// Registration.
        partition_epoch: PartitionEpoch,
    },
    /// The controller refused an ISR change.
    IsrRefused {
        /// Where.
        partition: TopicPartition,
        /// Why.
        error: ErrorCode,
    },
    /// A leader's request for another ISR got no answer: it may yet be executed.
    IsrUnanswered {
        /// Where.
        partition: TopicPartition,
        /// Who is not in the ISR and may come to be by this request or an earlier one.
        unsettled: Vec<NodeId>,
    },
    /// A leader acknowledged a produce.
    ProduceAcked {
        /// Where.
        partition: TopicPartition,
        /// With which acks.
        acks: i16,
        /// First offset.
        first: Offset,
        /// Log end of the batch.
        end: Offset,
    },
    /// A leader refused or gave up on a produce.
    ProduceFailed {
        /// Where.
        partition: TopicPartition,
        /// Why.
        error: ErrorCode,
    },
    /// A leader told a follower that their logs diverge.
    DivergingEpoch {
        /// Where.
        partition: TopicPartition,
        /// Whom.
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
        /// Where.
        partition: TopicPartition,
        /// `FENCED_LEADER_EPOCH` or `UNKNOWN_LEADER_EPOCH`.
        error: ErrorCode,
    },
    /// Quorum: this node wants to lead (pre-vote where `epoch` is still the old one).
    QuorumCandidate {
        /// Epoch.
        epoch: LeaderEpoch,
        /// Asking first without raising the epoch (KIP-996)?
        pre_vote: bool,
    },
    /// Quorum: this node has read its epoch and vote, and takes part from now on.
    QuorumRestored {
        /// Epoch.
        epoch: LeaderEpoch,
        /// For whom it has voted in it.
        voted: Option<NodeId>,
    },
    /// Quorum: a pre-vote is granted.
    QuorumPreVoted {
        /// Epoch.
        epoch: LeaderEpoch,
        /// To whom.
        candidate: NodeId,
    },
    /// Quorum: epoch and vote are on disk.
    QuorumStored {
        /// Epoch.
        epoch: LeaderEpoch,
        /// For whom it has voted in it.
        voted: Option<NodeId>,
    },
    /// Quorum: the metadata log is synced up to here.
    QuorumLogSynced {
        /// End of what is synced.
        end: Offset,
    },
    /// Quorum: a vote is given; it is answered when durable.
    QuorumVoted {
        /// Epoch.
        epoch: LeaderEpoch,
        /// To whom.
        candidate: NodeId,
    },
    /// Quorum: the answer granting a vote was sent.
    QuorumVoteAnswered {
        /// Epoch.
        epoch: LeaderEpoch,
        /// To whom.
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
        /// Whom.
        leader: NodeId,
    },
    /// Quorum: a leader stepped down.
    QuorumResigned {
        /// Epoch.
        epoch: LeaderEpoch,
        /// Because no majority fetched (CheckQuorum)?
        check_quorum: bool,
    },
    /// Quorum: the committed end moved.
    QuorumCommitted {
        /// Before.
        from: Offset,
        /// After.
        to: Offset,
        /// Does this node lead?
        leader: bool,
    },
    /// A peer answered what no correct one does; nothing of it was taken.
    AnswerRefused {
        /// Which log it is about.
        partition: TopicPartition,
        /// Who answered.
        peer: NodeId,
        /// What it was.
        why: Implausible,
    },
    /// This node is the active controller and has loaded its state.
    ControllerActive {
        /// Epoch.
        epoch: LeaderEpoch,
    },
    /// Controller: a broker registered.
    BrokerRegistered {
        /// Who.
        broker: NodeId,
        /// The offset its record will have.
        epoch: BrokerEpoch,
    },
    /// Controller: a broker is fenced.
    BrokerFenced {
        /// Who.
        broker: NodeId,
    },
    /// Controller: a broker is unfenced.
    BrokerUnfenced {
        /// Who.
        broker: NodeId,
    },
    /// Controller: a session timer fired so late that this node must have stood still; the broker gets
    /// another session.
    SessionRenewed {
        /// Whose.
        broker: NodeId,
    },
    /// Controller: nothing was heard of a broker for a whole session, and it is fenced.
    SessionExpired {
        /// Whose.
        broker: NodeId,
    },
    /// Controller: a partition's registration changed.
    PartitionChanged {
        /// Which.
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
        /// In the middle of what.
        op: DiskOpKind,
    },
    /// A graceful stop has finished.
    ShutDown {
        /// All was flushed and marked clean; not so if the node had not even recovered.
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
