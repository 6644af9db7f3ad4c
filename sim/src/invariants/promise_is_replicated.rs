//! What is promised has been replicated. When a high watermark passes a record, or an acks=all
//! answer leaves, each member of the committed ISR has the record (on its media if the topic
//! flushes). For the metadata log, a majority of the voters has it on their media.
//!
//! Source: Kafka's replication design (4.7), KIP-497 (maximal ISR), KIP-966's properties; Raft
//! section 3.8. Reason: this is why losing any minority of them cannot lose the record. A broker
//! that breaks this has not lost anything yet.

use super::{Invariant, Kind, Seen, View};
use crate::ledger::Finding;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct PromiseIsReplicated;

impl Invariant for PromiseIsReplicated {
    fn name(&self) -> &'static str {
        "promise-is-replicated"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        let Seen::Finding(finding) = seen else { return Ok(()) };
        match finding {
            Finding::Missing { partition, leader, member, batch, durably } => Err(format!(
                "{}: node {leader} promised {batch}, but node {member} does not have it{}",
                view.name(*partition),
                if *durably { " on its media" } else { "" }
            )),
            Finding::Beyond { partition, node, offset, end } => Err(format!(
                "{}: node {node} promised all below {offset}, but has written only up to {end}",
                view.name(*partition)
            )),
            Finding::Lost { .. }
            | Finding::Cut { .. }
            | Finding::Admitted { .. }
            | Finding::Disagrees { .. }
            | Finding::Replaced { .. }
            | Finding::Unfit { .. }
            | Finding::Unreadable { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use wavetank_core::types::{NodeId, Offset, TopicPartition};

    #[test]
    fn a_promise_without_copies_is_a_violation() {
        let bench = Bench::new();
        let partition = TopicPartition::METADATA;
        let (leader, member) = (NodeId(1), NodeId(3));
        let batch = bench.batch();
        let missing = Finding::Missing { partition, leader, member, batch, durably: true };
        let wrong = PromiseIsReplicated.see(Seen::Finding(&missing), &bench.view()).unwrap_err();
        assert!(wrong.contains("node 3 does not have it on its media"), "{wrong}");
        let beyond = Finding::Beyond { partition, node: leader, offset: Offset(9), end: Offset(4) };
        let wrong = PromiseIsReplicated.see(Seen::Finding(&beyond), &bench.view()).unwrap_err();
        assert!(wrong.contains("only up to 4"), "{wrong}");
    }
}
