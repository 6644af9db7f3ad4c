//! Conformance: a run of the broker, held against a model, step by step.
//!
//! The core's notes name its protocol transitions. A checker keeps the model's state for as many
//! partitions, replicas and records as the run has, maps each note to an action of the model, and
//! checks that the action is enabled there and leads to the state that the note tells of. It is one
//! pass, with nothing to search: what a note says is all that happened. The first note that the model
//! would not have taken is answered with the step, the action, the model's state and why ([`Parted`]).
//!
//! - [`isr`]: M1, for every partition.
//! - [`votes`]: M3, for the metadata quorum.
//! - [`recovery`]: M7, for every log on every disk.
//! - Rules are [`crate::rules`], the same functions that the bounded models ask.
//!
//! What does not live here: the tank. It hands over the notes, the registrations that the metadata log
//! committed, when a process starts, and what the disks hold.

use std::fmt;

use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId, PartitionEpoch, TopicPartition};

mod cut;
mod held;
pub mod isr;
mod log;
pub mod recovery;
pub mod votes;

/// The models that a run can be held against.
pub const MODELS: [&str; 3] = ["M1", "M3", "M7"];

/// The model of [`MODELS`] with this id or name, in any case.
pub fn find(name: &str) -> Option<&'static str> {
    let id = crate::find(name)?.id;
    MODELS.into_iter().find(|model| *model == id)
}

/// A checker of the model of that id, for a run with these voters of the metadata quorum.
pub fn checker(model: &str, voters: &[NodeId]) -> Option<Box<dyn Conforms>> {
    match find(model)? {
        "M1" => Some(Box::<isr::Conformance>::default()),
        "M3" => Some(Box::new(votes::Conformance::new(voters))),
        "M7" => Some(Box::<recovery::Conformance>::default()),
        _ => None,
    }
}

/// What the controller registered of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// Who leads, if anyone.
    pub leader: Option<NodeId>,
    /// In which epoch.
    pub leader_epoch: LeaderEpoch,
    /// In sync.
    pub isr: Vec<NodeId>,
}

/// What a disk holds of a log, in offsets: all below is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnDisk {
    /// Where its whole batches end; what lies behind, if anything, is torn. 0 where nobody asked.
    pub whole_end: i64,
    /// How far no power loss can take them, at most to where that was asked.
    pub durable_end: i64,
    /// The log was cut, and the disk has not come to it yet.
    pub cut_pending: bool,
    /// The log's recovery point in the checkpoint; 0 if it has none, or nobody asked.
    pub recovery_point: i64,
    /// Its topic promises that each batch is flushed before it is acknowledged.
    pub flushes: bool,
    /// A power loss would have left it as it was when the process started. Said only then.
    pub settled: bool,
}

/// A question to the tank: what of this log is durable between two offsets?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asks {
    /// Which log.
    pub partition: TopicPartition,
    /// Known to be durable up to here.
    pub from: i64,
    /// Asked up to here.
    pub to: i64,
    /// A recovery has ended: where the whole batches end and what the checkpoint says is asked, too.
    pub recovers: bool,
}

/// Where a run and a model part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parted {
    /// The model, `M1`.
    pub model: &'static str,
    /// Which of the steps that the model was told of, from 1.
    pub step: u64,
    /// What happened, of which node.
    pub seen: String,
    /// The model's action that this is.
    pub action: String,
    /// Why the model does not take it, or what it would have come to.
    pub why: String,
    /// The model's state before.
    pub state: String,
}

impl fmt::Display for Parted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the run and {} part at step {}: {}; in the model {}, but {}; the model's state: {}",
            self.model, self.step, self.seen, self.action, self.why, self.state
        )
    }
}

/// Why the model does not take a step: its action in words, and the reason.
pub(crate) struct Refused {
    pub(crate) action: String,
    pub(crate) why: String,
}

pub(crate) fn refuse<T>(
    action: impl Into<String>,
    why: impl Into<String>,
) -> Result<T, Box<Refused>> {
    Err(Box::new(Refused { action: action.into(), why: why.into() }))
}

/// A run under way, held against one model. After the first error it holds nothing any more.
pub trait Conforms: fmt::Debug + Send + Sync {
    /// The model's id.
    fn model(&self) -> &'static str;

    /// The partition whose registrations must be told before this note is.
    fn partition(&self, note: &Note) -> Option<TopicPartition>;

    /// A process starts on a node, with what its disk has.
    fn started(&mut self, node: NodeId);

    /// The metadata log committed a registration. Told before anybody can act on it.
    ///
    /// # Errors
    /// The model's controller would not have registered this.
    fn registered(
        &mut self,
        partition: TopicPartition,
        partition_epoch: PartitionEpoch,
        registered: &Registered,
    ) -> Result<(), Box<Parted>>;

    /// The logs on a node's disk that the checker must be told of when a process has started there.
    fn logs(&self, _node: NodeId) -> Vec<TopicPartition> {
        Vec::new()
    }

    /// What the end of the process before has left of one of these; `None` if the log's directory is
    /// gone. `clean_stop`: that process has marked its stop as clean.
    ///
    /// # Errors
    /// No end of a process leaves this in the model.
    fn left(
        &mut self,
        _node: NodeId,
        _partition: TopicPartition,
        _clean_stop: bool,
        _disk: Option<&OnDisk>,
    ) -> Result<(), Box<Parted>> {
        Ok(())
    }

    /// What must be told of a disk before this note is.
    fn asks(&self, _node: NodeId, _note: &Note) -> Option<Asks> {
        None
    }

    /// The answer.
    fn on_disk(&mut self, _node: NodeId, _partition: TopicPartition, _disk: &OnDisk) {}

    /// A node noted a transition.
    ///
    /// # Errors
    /// The model would not have taken it, or would have come to another state.
    fn note(&mut self, node: NodeId, note: &Note) -> Result<(), Box<Parted>>;
}

/// The nodes' names, `{1,2}`.
pub(crate) fn names<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    let names: Vec<String> = nodes.into_iter().map(NodeId::to_string).collect();
    format!("{{{}}}", names.join(","))
}

/// What a note is a step of, where several nodes take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    Partition(TopicPartition),
    Quorum,
    Neither,
}

pub(crate) fn of(note: &Note) -> Of {
    match note {
        Note::Recovered { partition, .. }
        | Note::Truncated { partition, .. }
        | Note::LeaderAppended { partition, .. }
        | Note::FollowerAppended { partition, .. }
        | Note::BecameLeader { partition, .. }
        | Note::BecameFollower { partition, .. }
        | Note::HighWatermark { partition, .. }
        | Note::IsrCommitted { partition, .. }
        | Note::ProduceAcked { partition, .. }
        | Note::DivergingEpoch { partition, .. } => match *partition {
            TopicPartition::METADATA => Of::Quorum,
            partition => Of::Partition(partition),
        },
        Note::QuorumRestored { .. }
        | Note::QuorumPreVoted { .. }
        | Note::QuorumCandidate { .. }
        | Note::QuorumVoted { .. }
        | Note::QuorumStored { .. }
        | Note::QuorumVoteAnswered { .. }
        | Note::QuorumLeader { .. }
        | Note::QuorumFollower { .. }
        | Note::QuorumResigned { .. }
        | Note::QuorumLogSynced { .. }
        | Note::QuorumCommitted { .. } => Of::Quorum,
        // Of one log on one disk.
        Note::LogRefused { .. }
        | Note::ReadRefused { .. }
        | Note::LogSynced { .. }
        | Note::RecoveryPoint { .. }
        | Note::AnswerRefused { .. } => Of::Neither,
        Note::Rolled { .. }
        | Note::Departed { .. }
        | Note::IsrProposed { .. }
        | Note::IsrRefused { .. }
        | Note::IsrUnanswered { .. }
        | Note::ProduceFailed { .. }
        | Note::Fenced { .. }
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
        | Note::ShutDown { .. } => Of::Neither,
    }
}
