//! A leader acts on an ISR only as the metadata log registered it: the ISR that it takes as
//! committed is the one in the log under that partition epoch.
//!
//! Source: KIP-497 (AlterPartition guarded by the partition epoch), KAFKA-6082. Reason: two views
//! of the ISR disagree on which replicas must have a record before it is acknowledged.

use super::{Invariant, Kind, Seen, View};
use std::collections::BTreeMap;
use wavetank_core::note::Note;
use wavetank_core::types::{NodeId, PartitionEpoch, TopicPartition};

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct IsrByRegistration {
    newest: BTreeMap<(NodeId, TopicPartition), PartitionEpoch>,
}

impl Invariant for IsrByRegistration {
    fn name(&self) -> &'static str {
        "isr-by-registration"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        let (node, partition, isr, partition_epoch) = match seen {
            Seen::Started(node) => {
                self.newest.retain(|(of, _), _| *of != node);
                return Ok(());
            }
            Seen::Note(node, Note::IsrCommitted { partition, isr, partition_epoch }) => {
                (node, *partition, isr, *partition_epoch)
            }
            Seen::Note(..)
            | Seen::Finding(_)
            | Seen::Client(_)
            | Seen::Fault(..)
            | Seen::OddAnswer(..) => return Ok(()),
        };
        let name = view.name(partition);
        let newest = self.newest.entry((node, partition)).or_insert(partition_epoch);
        if partition_epoch < *newest {
            return Err(format!(
                "{name}: node {node} goes from partition epoch {newest} back to {partition_epoch}"
            ));
        }
        *newest = partition_epoch;
        let registered = view
            .ledger
            .promises(partition)
            .and_then(|promises| promises.registrations().get(&partition_epoch));
        let Some(registered) = registered else {
            return Err(format!(
                "{name}: node {node} treats partition epoch {partition_epoch} as committed, but \
                 the metadata log does not have it"
            ));
        };
        let (mut has, mut should) = (isr.clone(), registered.isr.clone());
        has.sort_unstable();
        should.sort_unstable();
        if has != should {
            return Err(format!(
                "{name}: node {node} treats the ISR {has:?} as committed at partition epoch \
                 {partition_epoch}; the metadata log says {should:?}"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;

    #[test]
    fn an_isr_that_nobody_registered_is_caught() {
        let mut bench = Bench::new();
        let partition = bench.register(&[1, 2], 4);
        let committed = |isr: &[i32], epoch: i32| Note::IsrCommitted {
            partition,
            isr: isr.iter().copied().map(NodeId).collect(),
            partition_epoch: PartitionEpoch(epoch),
        };
        let mut invariant = IsrByRegistration::default();
        let mut see = |note: Note| invariant.see(Seen::Note(NodeId(1), &note), &bench.view());
        assert!(see(committed(&[2, 1], 4)).is_ok());
        assert!(see(committed(&[1, 2, 3], 4)).unwrap_err().contains("the metadata log says"));
        assert!(see(committed(&[1], 5)).unwrap_err().contains("does not have"));
        assert!(see(committed(&[1, 2], 4)).unwrap_err().contains("back to 4"));
    }
}
