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
//! - Rules are [`crate::rules`], the same functions that the bounded models ask.
//!
//! What does not live here: the tank. It hands over the notes, the registrations that the metadata log
//! committed, and when a process starts.

use std::fmt;

use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId, PartitionEpoch, TopicPartition};

pub mod isr;
mod log;
pub mod votes;

/// The models that a run can be held against.
pub const MODELS: [&str; 2] = ["M1", "M3"];

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

/// What a note is a step of.
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
        Note::Rolled { .. }
        | Note::IsrProposed { .. }
        | Note::IsrRefused { .. }
        | Note::ProduceFailed { .. }
        | Note::Fenced { .. }
        | Note::ControllerActive { .. }
        | Note::BrokerRegistered { .. }
        | Note::BrokerFenced { .. }
        | Note::BrokerUnfenced { .. }
        | Note::PartitionChanged { .. }
        | Note::BrokerRunning { .. }
        | Note::LogDirOffline { .. }
        | Note::ShutDown { .. } => Of::Neither,
    }
}
