//! Epochs never go back: a process's view of a partition's leader epoch, and a voter's quorum epoch
//! even over restarts.
//!
//! Source: Raft section 3.3 and Kafka's `RaftEventSimulationTest` (`MonotonicEpoch`); KIP-631 for
//! brokers, who apply metadata in log order.
//! Reason: fencing compares epochs; a node that takes a smaller one again un-fences the past.

use super::{Invariant, Kind, Seen, View};
use std::collections::BTreeMap;
use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId, TopicPartition};

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct EpochsMonotonic {
    epochs: BTreeMap<(NodeId, TopicPartition), LeaderEpoch>,
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
                // A broker's view begins anew; the quorum's epoch is durable.
                self.epochs.retain(|(of, partition), _| {
                    *of != node || *partition == TopicPartition::METADATA
                });
                return Ok(());
            }
            Seen::Note(
                node,
                Note::BecameLeader { partition, epoch, .. }
                | Note::BecameFollower { partition, epoch, .. },
            ) => (node, *partition, *epoch),
            Seen::Note(
                node,
                Note::QuorumLeader { epoch, .. }
                | Note::QuorumFollower { epoch, .. }
                | Note::QuorumVoted { epoch, .. },
            ) => (node, TopicPartition::METADATA, *epoch),
            Seen::Note(..) | Seen::Finding(_) | Seen::Client(_) => return Ok(()),
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
        assert!(see(Seen::Started(NodeId(1))).is_ok());
        assert!(see(Seen::Note(NodeId(1), &leads(2))).unwrap_err().contains("from epoch 3 back"));
    }
}
