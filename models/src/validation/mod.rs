//! Trace validation: a run of the broker is checked against a model, step by step.
//!
//! The core's notes name its protocol transitions. A validator keeps the model's state for as many
//! partitions, replicas and records as the run has, maps each note to an action of the model, and
//! checks that the action is enabled there and leads to the state that the note reports. This takes
//! one pass and no search, because a note says all that happened. For the first note that the model
//! would not have taken, the validator returns the step, the action, the model's state and the
//! reason ([`Divergence`]).
//!
//! - [`isr`]: M1, for every partition.
//! - [`votes`]: M3, for the metadata quorum.
//! - [`recovery`]: M7, for every log on every disk.
//! - The rules are [`crate::rules`], the same functions that the bounded models call.
//!
//! What does not live here: the tank. It supplies the notes, the registrations that the metadata
//! log committed, process starts, and what the disks hold.

use dyn_clone::DynClone;
use std::fmt;

use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId, PartitionEpoch, TopicPartition};

mod cut;
mod held;
pub mod isr;
mod log;
pub mod recovery;
pub mod votes;

/// The models that a run can be validated against.
pub const MODELS: [&str; 3] = ["M1", "M3", "M7"];

/// The model of [`MODELS`] with this id or name, in any case.
pub fn find(name: &str) -> Option<&'static str> {
    let id = crate::find(name)?.id;
    MODELS.into_iter().find(|model| *model == id)
}

/// A validator for the model with that id, for a run with these voters of the metadata quorum.
pub fn validator(model: &str, voters: &[NodeId]) -> Option<Box<dyn Validator>> {
    match find(model)? {
        "M1" => Some(Box::<isr::IsrValidator>::default()),
        "M3" => Some(Box::new(votes::VotesValidator::new(voters))),
        "M7" => Some(Box::<recovery::RecoveryValidator>::default()),
        _ => None,
    }
}

/// What the controller registered for a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    /// The leader, if any.
    pub leader: Option<NodeId>,
    /// Its leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// The in-sync replicas.
    pub isr: Vec<NodeId>,
}

/// What a disk holds of a log. Each offset stands for everything below it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnDisk {
    /// Where its whole batches end; anything after that is torn. 0 if the validator did not ask.
    pub whole_end: i64,
    /// Up to where no power loss can take them; at most the offset that was asked about.
    pub durable_end: i64,
    /// The log was cut, and the disk has not performed the cut yet.
    pub cut_pending: bool,
    /// The log's recovery point in the checkpoint; 0 if it has none or the validator did not ask.
    pub recovery_point: i64,
    /// Its topic promises that each batch is flushed before it is acknowledged.
    pub flushes: bool,
    /// When the process started, a power loss would have left the log as it was. Set only then.
    pub settled: bool,
}

/// A question to the tank: how much of this log is durable between two offsets?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asks {
    /// Which log.
    pub partition: TopicPartition,
    /// Known to be durable up to here.
    pub from: i64,
    /// Asked up to here.
    pub to: i64,
    /// A recovery has ended: the question is also where the whole batches end and what the
    /// checkpoint says.
    pub recovers: bool,
}

/// Where a run and a model diverge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The model, `M1`.
    pub model: &'static str,
    /// The number of the step among those that the model was given, from 1.
    pub step: u64,
    /// What happened, and on which node.
    pub seen: String,
    /// The corresponding action of the model.
    pub action: String,
    /// Why the model does not take it, or what state it would have reached.
    pub why: String,
    /// The model's state before.
    pub state: String,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the run diverges from {} at step {}: {}; in the model {}, but {}; the model's state: \
             {}",
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

/// Validates a run in progress against one model. After the first error it checks nothing more. It
/// is a value: a copy continues independently.
pub trait Validator: DynClone + fmt::Debug + Send + Sync {
    /// The model's id.
    fn model(&self) -> &'static str;

    /// The partition whose registrations the validator must be given before this note.
    fn partition(&self, note: &Note) -> Option<TopicPartition>;

    /// A process starts on a node, with what its disk has.
    fn started(&mut self, node: NodeId);

    /// The metadata log committed a registration. Called before any node can act on it.
    ///
    /// # Errors
    /// The model's controller would not have registered this.
    fn registered(
        &mut self,
        partition: TopicPartition,
        partition_epoch: PartitionEpoch,
        registered: &Registered,
    ) -> Result<(), Box<Divergence>>;

    /// The logs on a node's disk that the validator must be told about ([`Validator::left`]) when a
    /// process has started there.
    fn logs(&self, _node: NodeId) -> Vec<TopicPartition> {
        Vec::new()
    }

    /// What the end of the previous process has left of one of these logs; `None` if its directory
    /// is gone. `clean_stop`: that process marked its stop as clean.
    ///
    /// # Errors
    /// In the model, no end of a process leaves this.
    fn left(
        &mut self,
        _node: NodeId,
        _partition: TopicPartition,
        _clean_stop: bool,
        _disk: Option<&OnDisk>,
    ) -> Result<(), Box<Divergence>> {
        Ok(())
    }

    /// What the validator must know of a disk before it is given this note.
    fn asks(&self, _node: NodeId, _note: &Note) -> Option<Asks> {
        None
    }

    /// The answer to [`Validator::asks`].
    fn on_disk(&mut self, _node: NodeId, _partition: TopicPartition, _disk: &OnDisk) {}

    /// A node noted a transition.
    ///
    /// # Errors
    /// The model would not have taken it, or would have reached another state.
    fn note(&mut self, node: NodeId, note: &Note) -> Result<(), Box<Divergence>>;
}

dyn_clone::clone_trait_object!(Validator);

/// The nodes' names, `{1,2}`.
pub(crate) fn names<'a>(nodes: impl IntoIterator<Item = &'a NodeId>) -> String {
    let names: Vec<String> = nodes.into_iter().map(NodeId::to_string).collect();
    format!("{{{}}}", names.join(","))
}

/// The protocol of several nodes that a note is a step of, if any.
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
        // About one log on one disk.
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
