//! At most one leader per epoch, for every partition and for the metadata quorum.
//!
//! Source: Raft (Ongaro and Ousterhout 2014), figure 3, "election safety"; Kafka's
//! `RaftEventSimulationTest`; for partitions, KIP-101: a leader epoch names one leadership. Reason:
//! (offset, epoch) identifies a record only if a single process assigns it. So a second leader may
//! be another node, or the same node after a restart (KAFKA-10527).

use super::{Invariant, Kind, Seen, View};
use std::collections::BTreeMap;
use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId, TopicPartition};

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct ElectionSafety {
    /// (partition, epoch) to (node, its number of starts so far).
    leaders: BTreeMap<(TopicPartition, LeaderEpoch), (NodeId, u32)>,
    starts: BTreeMap<NodeId, u32>,
}

impl Invariant for ElectionSafety {
    fn name(&self) -> &'static str {
        "one-leader-per-epoch"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, _view: &View<'_>) -> Result<(), String> {
        let (node, partition, epoch) = match seen {
            Seen::Started(node) => {
                *self.starts.entry(node).or_default() += 1;
                return Ok(());
            }
            Seen::Note(node, Note::BecameLeader { partition, epoch, .. }) => {
                (node, *partition, *epoch)
            }
            Seen::Note(node, Note::QuorumLeader { epoch, .. }) => {
                (node, TopicPartition::METADATA, *epoch)
            }
            Seen::Note(..)
            | Seen::Finding(_)
            | Seen::Client(_)
            | Seen::Fault(..)
            | Seen::OddAnswer(..) => return Ok(()),
        };
        let process = (node, self.starts.get(&node).copied().unwrap_or(0));
        let first = *self.leaders.entry((partition, epoch)).or_insert(process);
        if first.0 != node {
            return Err(format!(
                "{partition}: nodes {} and {node} both lead epoch {epoch}",
                first.0
            ));
        }
        if first != process {
            return Err(format!(
                "{partition}: node {node} leads epoch {epoch} again after a restart"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use wavetank_core::types::Offset;

    fn leads(epoch: i32) -> Note {
        Note::QuorumLeader { epoch: LeaderEpoch(epoch), start: Offset(0) }
    }

    #[test]
    fn two_leaders_of_one_epoch_are_caught() {
        let (bench, mut invariant) = (Bench::new(), ElectionSafety::default());
        let mut see = |seen: Seen<'_>| invariant.see(seen, &bench.view());
        assert!(see(Seen::Started(NodeId(1))).is_ok());
        assert!(see(Seen::Note(NodeId(1), &leads(3))).is_ok());
        assert!(see(Seen::Note(NodeId(2), &leads(4))).is_ok());
        let wrong = see(Seen::Note(NodeId(2), &leads(3))).unwrap_err();
        assert!(wrong.contains("nodes 1 and 2 both lead epoch 3"), "{wrong}");
    }

    #[test]
    fn a_leader_that_goes_on_after_a_restart_is_caught() {
        let (bench, mut invariant) = (Bench::new(), ElectionSafety::default());
        let mut see = |seen: Seen<'_>| invariant.see(seen, &bench.view());
        assert!(see(Seen::Started(NodeId(1))).is_ok());
        assert!(see(Seen::Note(NodeId(1), &leads(3))).is_ok());
        assert!(see(Seen::Started(NodeId(1))).is_ok());
        assert!(see(Seen::Note(NodeId(1), &leads(3))).unwrap_err().contains("after a restart"));
    }
}
