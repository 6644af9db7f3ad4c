//! If a topic flushes each batch, a leader acknowledges acks=all only for what it knows is durable
//! in its own log. This check needs only notes. The ledger checks what followers have on their
//! media.
//!
//! Source: `flush.messages=1`; Raft section 3.8; NATS 2.12.1 (Jepsen 2025). Reason: a leader that
//! answers before the sync has promised what a power loss can take.

use super::{Invariant, Kind, Seen, View};
use std::collections::BTreeMap;
use wavetank_core::note::Note;
use wavetank_core::types::{NodeId, Offset, TopicPartition};

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct AckedIsSynced {
    /// How far a process knows that its log is durable.
    synced: BTreeMap<(NodeId, TopicPartition), Offset>,
}

/// Does the partition flush each batch? If its name is unknown, it must be one of the plan's,
/// provided that there can be no others.
fn flushes(partition: TopicPartition, view: &View<'_>) -> bool {
    let name = view.name(partition);
    let topic = name.rsplit_once('-').map_or("", |(topic, _)| topic);
    match view.plan.topics.iter().find(|planned| planned.name == topic) {
        Some(planned) => planned.flush_each_batch,
        None => {
            view.ledger.name(partition).is_none()
                && view.plan.workload.churn.is_none()
                && view.plan.flushes_everywhere()
        }
    }
}

impl Invariant for AckedIsSynced {
    fn name(&self) -> &'static str {
        "acked-is-synced"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        match seen {
            Seen::Started(node) => self.synced.retain(|(of, _), _| *of != node),
            Seen::Note(node, Note::LogSynced { partition, end }) => {
                self.synced.insert((node, *partition), *end);
            }
            Seen::Note(node, Note::Truncated { partition, to, .. }) => {
                if let Some(end) = self.synced.get_mut(&(node, *partition)) {
                    *end = (*end).min(*to);
                }
            }
            Seen::Note(node, Note::ProduceAcked { partition, acks: -1, end, .. }) => {
                let synced = self.synced.get(&(node, *partition)).copied();
                let synced = synced.unwrap_or(Offset::ZERO);
                if synced < *end && flushes(*partition, view) {
                    return Err(format!(
                        "{}: leader {node} acknowledged up to {end} with acks=all, but its log is \
                         known to be durable up to {synced} only",
                        view.name(*partition)
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
    use wavetank_core::note::TruncationReason;
    use wavetank_core::types::Uuid;

    #[test]
    fn an_answer_before_the_sync_is_caught() {
        let mut bench = Bench::new();
        bench.plan_mut().workload.churn = None;
        for topic in &mut bench.plan_mut().topics {
            topic.flush_each_batch = true;
        }
        let partition = TopicPartition { topic: Uuid(78), partition: 0 };
        let mut invariant = AckedIsSynced::default();
        let acked = |end: i64| Note::ProduceAcked {
            partition,
            acks: -1,
            first: Offset(0),
            end: Offset(end),
        };
        let synced = Note::LogSynced { partition, end: Offset(4) };
        let (from, to, reason) = (Offset(4), Offset(2), TruncationReason::Diverging);
        let cut = Note::Truncated { partition, from, to, reason };
        let mut see = |note: &Note| invariant.see(Seen::Note(NodeId(1), note), &bench.view());
        assert!(see(&acked(3)).unwrap_err().contains("durable up to 0"));
        assert!(see(&synced).is_ok() && see(&acked(4)).is_ok());
        assert!(see(&acked(5)).is_err());
        assert!(see(&cut).is_ok() && see(&acked(3)).is_err(), "what was cut is synced no more");
        bench.plan_mut().topics[0].flush_each_batch = false;
        let late = Note::ProduceAcked { partition, acks: -1, first: Offset(0), end: Offset(9) };
        assert!(invariant.see(Seen::Note(NodeId(1), &late), &bench.view()).is_ok());
    }
}
