//! Records that were committed or acknowledged with acks=all stay, unless the ledger admits their
//! loss.
//!
//! Source: Kafka's durability contract (its design document, 4.7); leader completeness (KIP-966).
//! Reason: this is the purpose of acks=all. [`crate::ledger`] explains how the ledger decides.

use super::{Invariant, Kind, Seen, View};
use crate::ledger::Finding;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct AckedStays;

impl Invariant for AckedStays {
    fn name(&self) -> &'static str {
        "acked-stays"
    }

    fn kind(&self) -> Kind {
        Kind::Ledger
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        let Seen::Finding(finding) = seen else { return Ok(()) };
        match finding {
            Finding::Lost { partition, leader, epoch, batch, isr, because } => Err(format!(
                "{}: node {leader} leads epoch {epoch} without {batch}, elected from the ISR \
                 {isr:?}: {because}",
                view.name(*partition)
            )),
            Finding::Cut { partition, node, batch } => Err(format!(
                "{}: node {node}, a member of the ISR, truncated {batch}, which was committed or \
                 acknowledged",
                view.name(*partition)
            )),
            Finding::Replaced { partition, acked, committed } => Err(format!(
                "{}: {acked} was acknowledged, but {committed} is committed there",
                view.name(*partition)
            )),
            Finding::Admitted { .. }
            | Finding::Disagrees { .. }
            | Finding::Beyond { .. }
            | Finding::Missing { .. }
            | Finding::Unfit { .. }
            | Finding::Unreadable { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use wavetank_core::types::{NodeId, TopicPartition};

    #[test]
    fn each_finding_of_a_loss_is_a_violation() {
        let bench = Bench::new();
        let batch = bench.batch();
        let partition = TopicPartition::METADATA;
        let lost = Finding::Lost {
            partition,
            leader: NodeId(2),
            epoch: wavetank_core::types::LeaderEpoch(4),
            batch,
            isr: vec![NodeId(1), NodeId(2)],
            because: "node 1 holds it".into(),
        };
        let cut = Finding::Cut { partition, node: NodeId(1), batch };
        let replaced = Finding::Replaced { partition, acked: batch, committed: batch };
        for (finding, says) in
            [(lost, "node 1 holds it"), (cut, "truncated 0..1"), (replaced, "was acknowledged")]
        {
            let wrong = AckedStays.see(Seen::Finding(&finding), &bench.view()).unwrap_err();
            assert!(wrong.contains(says), "{wrong}");
        }
        let admitted =
            Finding::Admitted { partition, batch, epoch: wavetank_core::types::LeaderEpoch(4) };
        assert!(AckedStays.see(Seen::Finding(&admitted), &bench.view()).is_ok());
    }
}
