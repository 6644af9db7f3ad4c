//! A leader acknowledges acks=all only while the ISR that it knows as committed has at least
//! `min.insync.replicas` members.
//!
//! Source: `min.insync.replicas` and NOT_ENOUGH_REPLICAS_AFTER_APPEND in Kafka's broker
//! configuration; KIP-966. Reason: the writer was promised that number of copies. A leader that
//! does not know yet that its ISR shrank uses the ISR that it knows. That ISR had the record, since
//! its members count for the high watermark until the change is committed.

use super::{Invariant, Kind, Seen, View};
use std::collections::BTreeMap;
use wavetank_core::note::Note;
use wavetank_core::types::{NodeId, TopicPartition};

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct AckedByMinIsr {
    /// The size of the ISR, as each leader knows it.
    known: BTreeMap<(NodeId, TopicPartition), usize>,
}

impl Invariant for AckedByMinIsr {
    fn name(&self) -> &'static str {
        "acked-by-min-isr"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        match seen {
            Seen::Started(node) => self.known.retain(|(of, _), _| *of != node),
            Seen::Note(
                node,
                Note::BecameLeader { partition, isr, .. }
                | Note::IsrCommitted { partition, isr, .. },
            ) => {
                self.known.insert((node, *partition), isr.len());
            }
            Seen::Note(node, Note::ProduceAcked { partition, acks: -1, end, .. }) => {
                let name = view.name(*partition);
                let topic = name.rsplit_once('-').map_or("", |(topic, _)| topic);
                let planned = view.plan.topics.iter().find(|planned| planned.name == topic);
                let least = planned.map_or(1, |planned| planned.min_insync_replicas as usize);
                let isr = self.known.get(&(node, *partition)).copied().unwrap_or(0);
                if isr < least {
                    return Err(format!(
                        "{name}: leader {node} acknowledged up to {end} with acks=all, but its ISR \
                         has {isr} members and min.insync.replicas is {least}"
                    ));
                }
            }
            Seen::Note(..)
            | Seen::Finding(_)
            | Seen::Client(_)
            | Seen::Fault(..)
            | Seen::OddAnswer(..) => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use wavetank_core::types::{Offset, PartitionEpoch};

    #[test]
    fn an_answer_by_too_small_an_isr_is_caught() {
        let bench = Bench::new();
        let partition = TopicPartition::METADATA;
        let mut invariant = AckedByMinIsr::default();
        let mut see = |note: Note| invariant.see(Seen::Note(NodeId(1), &note), &bench.view());
        let (first, end) = (Offset(0), Offset(4));
        let acked = |acks| Note::ProduceAcked { partition, acks, first, end };
        assert!(see(acked(1)).is_ok());
        assert!(see(acked(-1)).unwrap_err().contains("0 members"), "it never led");
        let (isr, partition_epoch) = (vec![NodeId(1)], PartitionEpoch(3));
        assert!(see(Note::IsrCommitted { partition, isr, partition_epoch }).is_ok());
        assert!(see(acked(-1)).is_ok());
    }
}
