//! Resolves a symbolic target to a node when a fault strikes. It uses the committed metadata and
//! the ledger, never a broker's own view.

use crate::decide::Place;
use crate::ledger::Ledger;
use crate::node::Node;
use crate::plan::{PartitionRef, Target};
use crate::world::World;
use wavetank_core::metadata::PartitionRegistration;
use wavetank_core::types::{NodeId, TopicPartition};

/// What resolving a target needs besides the world and the ledger.
#[derive(Clone, Debug)]
pub(crate) struct Cast<'a> {
    /// Broker and controller hosts.
    pub(crate) nodes: &'a [NodeId],
    /// The plan's topics, by name.
    pub(crate) topics: &'a [String],
    /// The node that emitted the triggering note.
    pub(crate) noted: Option<NodeId>,
    /// Keys this strike's choices.
    pub(crate) place: Place,
}

impl Cast<'_> {
    pub(crate) fn resolve(
        &self,
        target: &Target,
        world: &World<Node>,
        ledger: &Ledger,
    ) -> Option<NodeId> {
        match target {
            Target::Node(node) => Some(NodeId(*node)),
            Target::LeaderOf(partition) => self.registration(*partition, ledger)?.leader,
            Target::FollowerOf(partition) => {
                let registration = self.registration(*partition, ledger)?;
                let followers: Vec<NodeId> = registration
                    .isr
                    .iter()
                    .copied()
                    .filter(|node| Some(*node) != registration.leader)
                    .collect();
                self.pick(&followers, world)
            }
            Target::LaggingOf(partition) => {
                let registration = self.registration(*partition, ledger)?;
                let lagging: Vec<NodeId> = registration
                    .replicas
                    .iter()
                    .copied()
                    .filter(|node| !registration.isr.contains(node))
                    .collect();
                self.pick(&lagging, world)
                    .or_else(|| self.resolve(&Target::FollowerOf(*partition), world, ledger))
            }
            Target::ActiveController => ledger.active_controller(),
            Target::OtherController => {
                let active = ledger.active_controller();
                let others: Vec<NodeId> =
                    ledger.voters().iter().copied().filter(|node| Some(*node) != active).collect();
                self.pick(&others, world)
            }
            Target::Noted => self
                .noted
                .filter(|node| self.nodes.contains(node))
                .or_else(|| self.pick(self.nodes, world)),
            Target::Other => {
                let others: Vec<NodeId> =
                    self.nodes.iter().copied().filter(|node| Some(*node) != self.noted).collect();
                self.pick(&others, world)
            }
            Target::Unsynced => {
                let dirty: Vec<NodeId> =
                    self.nodes.iter().copied().filter(|node| ledger.has_unsynced(*node)).collect();
                self.pick(&dirty, world).or_else(|| self.pick(self.nodes, world))
            }
        }
    }

    fn pick(&self, from: &[NodeId], world: &World<Node>) -> Option<NodeId> {
        if from.is_empty() {
            return None;
        }
        let index = world.dice().decide(self.place.with(1), from.len() as u64);
        Some(from[index as usize])
    }

    fn registration<'l>(
        &self,
        partition: PartitionRef,
        ledger: &'l Ledger,
    ) -> Option<&'l PartitionRegistration> {
        let name = self.topics.get(partition.topic as usize)?;
        let (topic, _) = ledger.image().topic_by_name(name)?;
        ledger.image().partition(TopicPartition { topic, partition: partition.partition })
    }
}
