//! Epochs never go back. Within a process this covers its view of a partition's leader epoch and of
//! the quorum's epoch. Across restarts it covers the epochs of answered votes and of quorum
//! leaderships (which rest on the leader's own vote).
//!
//! Source: Raft section 3.3 and Kafka's `RaftEventSimulationTest` (`MonotonicEpoch`); KIP-631 for
//! brokers, which apply metadata in log order. Reason: fencing compares epochs. A node that accepts
//! a smaller one again un-fences old leaders.

use super::{Invariant, Kind, Seen, View};
use std::collections::BTreeMap;
use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId, TopicPartition};

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct EpochsMonotonic {
    epochs: BTreeMap<(NodeId, TopicPartition), LeaderEpoch>,
    /// Epochs that a node must remember.
    durable: BTreeMap<NodeId, LeaderEpoch>,
}

impl Invariant for EpochsMonotonic {
    fn name(&self) -> &'static str {
        "epochs-monotonic"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, _view: &View<'_>) -> Result<(), String> {
        let (node, partition, epoch) = match seen {
            Seen::Started(node) => {
                self.epochs.retain(|(of, _), _| *of != node);
                if let Some(epoch) = self.durable.get(&node) {
                    self.epochs.insert((node, TopicPartition::METADATA), *epoch);
                }
                return Ok(());
            }
            Seen::Note(
                node,
                Note::BecameLeader { partition, epoch, .. }
                | Note::BecameFollower { partition, epoch, .. },
            ) => (node, *partition, *epoch),
            Seen::Note(
                node,
                note @ (Note::QuorumLeader { epoch, .. }
                | Note::QuorumVoteAnswered { epoch, .. }
                | Note::QuorumFollower { epoch, .. }
                | Note::QuorumVoted { epoch, .. }),
            ) => {
                if let Note::QuorumLeader { .. } | Note::QuorumVoteAnswered { .. } = note {
                    let durable = self.durable.entry(node).or_insert(*epoch);
                    *durable = (*durable).max(*epoch);
                }
                (node, TopicPartition::METADATA, *epoch)
            }
            Seen::Note(..)
            | Seen::Finding(_)
            | Seen::Client(_)
            | Seen::Fault(..)
            | Seen::OddAnswer(..) => return Ok(()),
        };
        let known = self.epochs.entry((node, partition)).or_insert(epoch);
        if epoch < *known {
            return Err(format!(
                "{partition}: node {node} goes from epoch {known} back to {epoch}"
            ));
        }
        *known = epoch;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use wavetank_core::types::Offset;

    #[test]
    fn an_epoch_that_goes_back_is_caught() {
        let (bench, mut invariant) = (Bench::new(), EpochsMonotonic::default());
        let leads = |epoch: i32| Note::QuorumLeader { epoch: LeaderEpoch(epoch), start: Offset(0) };
        let mut see = |seen: Seen<'_>| invariant.see(seen, &bench.view());
        assert!(see(Seen::Note(NodeId(1), &leads(3))).is_ok());
        assert!(see(Seen::Note(NodeId(2), &leads(2))).is_ok());
        let follows = Note::QuorumFollower { epoch: LeaderEpoch(5), leader: NodeId(2) };
        assert!(see(Seen::Note(NodeId(1), &follows)).is_ok());
        assert!(see(Seen::Started(NodeId(1))).is_ok());
        assert!(see(Seen::Note(NodeId(1), &leads(4))).is_ok(), "nothing rested on epoch 5");
        assert!(see(Seen::Started(NodeId(1))).is_ok());
        assert!(see(Seen::Note(NodeId(1), &leads(2))).unwrap_err().contains("from epoch 4 back"));
    }
}
