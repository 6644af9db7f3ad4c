//! The end of a partition that a client is told is committed, and is not below what had been
//! committed under that leader or one before it when the client asked.
//!
//! Source: KIP-207: a new leader whose high watermark has not reached its epoch's start refuses
//! (OFFSET_NOT_AVAILABLE), and does not serve an end below what was read and acknowledged before.
//! Reason: who asks for the end to see whether everything was read would stop too soon. What was
//! committed is what a leader's high watermark passed, so all that any client was acknowledged with
//! acks=all or has read; within a lineage. A leader that was deposed and does not know of it may
//! tell an old end: it is held to what leaders up to its own epoch have reached.

use super::{Invariant, Kind, Seen, View};
use crate::ledger::Lineage;
use crate::workload::Recorded;
use std::collections::BTreeMap;
use wavetank_core::client::{ClientFact, QueryId};
use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId, Offset, TopicPartition};

type Reached = BTreeMap<LeaderEpoch, Offset>;

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct EndsSettled {
    leading: BTreeMap<(NodeId, TopicPartition), LeaderEpoch>,
    /// How far the high watermark of each epoch's leader came.
    reached: BTreeMap<TopicPartition, Reached>,
    /// The same, when each query that waits was made.
    asked: BTreeMap<(NodeId, QueryId), Reached>,
}

impl EndsSettled {
    fn reach(&mut self, partition: TopicPartition, epoch: LeaderEpoch, to: Offset) {
        let reached = self.reached.entry(partition).or_default().entry(epoch).or_insert(to);
        *reached = (*reached).max(to);
    }
}

/// Below this no leader of that epoch may say that the log ends.
fn least(reached: &Reached, epoch: LeaderEpoch, lineages: &[Lineage]) -> Offset {
    let floor = |(of, to): (&LeaderEpoch, &Offset)| {
        let between = |lineage: &&Lineage| *of < lineage.epoch && lineage.epoch <= epoch;
        let void = lineages.iter().filter(between).map(|lineage| lineage.offset).min();
        void.map_or(*to, |void| void.min(*to))
    };
    reached.range(..=epoch).map(floor).max().unwrap_or(Offset::ZERO)
}

impl Invariant for EndsSettled {
    fn name(&self) -> &'static str {
        "ends-are-settled"
    }

    fn kind(&self) -> Kind {
        Kind::Ledger
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        let record = match seen {
            Seen::Started(node) => {
                self.leading.retain(|(of, _), _| *of != node);
                return Ok(());
            }
            Seen::Note(node, Note::BecameLeader { partition, epoch, high_watermark, .. }) => {
                self.leading.insert((node, *partition), *epoch);
                self.reach(*partition, *epoch, *high_watermark);
                return Ok(());
            }
            Seen::Note(node, Note::HighWatermark { partition, leader: true, to, .. }) => {
                if let Some(epoch) = self.leading.get(&(node, *partition)).copied() {
                    self.reach(*partition, epoch, *to);
                }
                return Ok(());
            }
            Seen::Note(..) | Seen::Finding(_) | Seen::Fault(..) => return Ok(()),
            Seen::Client(record) => record,
        };
        let known = |name: String| view.ledger.partition_named(&name);
        match &record.what {
            Recorded::Asked { query, partition } => {
                let reached = known(partition.to_string()).and_then(|of| self.reached.get(&of));
                let reached = reached.cloned().unwrap_or_default();
                self.asked.insert((record.client, *query), reached);
                Ok(())
            }
            Recorded::Fact(ClientFact::EndOffset { query, partition, offset, leader_epoch }) => {
                let asked = self.asked.remove(&(record.client, *query)).unwrap_or_default();
                let (Ok(offset), Some(of)) = (offset, known(partition.to_string())) else {
                    return Ok(());
                };
                let promises = view.ledger.promises(of);
                let furthest = promises.map_or(Offset::ZERO, |promises| promises.furthest());
                if *offset > furthest {
                    return Err(format!(
                        "client {} was told that {partition} ends at {offset}, and nothing beyond \
                         {furthest} was ever committed",
                        record.client
                    ));
                }
                let lineages = promises.map_or(&[][..], |promises| promises.lineages());
                let least = least(&asked, *leader_epoch, lineages);
                if *offset < least {
                    return Err(format!(
                        "client {} was told by the leader of epoch {leader_epoch} that {partition} \
                         ends at {offset}, and {least} had been committed when it asked",
                        record.client
                    ));
                }
                Ok(())
            }
            Recorded::Fact(ClientFact::OffsetAt { query, partition, found, .. }) => {
                self.asked.remove(&(record.client, *query));
                let Ok(Some((offset, _))) = found else { return Ok(()) };
                let promises = known(partition.to_string()).and_then(|of| view.ledger.promises(of));
                let furthest = promises.map_or(Offset::ZERO, |promises| promises.furthest());
                if *offset >= furthest {
                    return Err(format!(
                        "client {} was told of a record of {partition} at {offset}, and nothing \
                         beyond {furthest} was ever committed",
                        record.client
                    ));
                }
                Ok(())
            }
            Recorded::Send { .. } | Recorded::Seek { .. } | Recorded::Fact(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use crate::workload::Record;
    use wavetank_core::client::NamedPartition;
    use wavetank_core::types::METADATA_TOPIC;

    fn ends(epoch: i32, offset: i64) -> Recorded {
        Recorded::Fact(ClientFact::EndOffset {
            query: QueryId(1),
            partition: NamedPartition::new(METADATA_TOPIC, 0),
            offset: Ok(Offset(offset)),
            leader_epoch: LeaderEpoch(epoch),
        })
    }

    #[test]
    fn ends_that_are_not_committed_or_too_low_are_caught() {
        let mut bench = Bench::new();
        for offset in 0..5 {
            bench.append(NodeId(1), offset, 1, 7);
        }
        let partition = TopicPartition::METADATA;
        bench.note(
            NodeId(1),
            &Note::QuorumCommitted { from: Offset(0), to: Offset(5), leader: true },
        );
        let mut invariant = EndsSettled::default();
        invariant.reach(partition, LeaderEpoch(3), Offset(4));
        let mut see = |what: Recorded| {
            let record = Record { at: 0, client: NodeId(103), what };
            invariant.see(Seen::Client(&record), &bench.view())
        };
        let asks = || Recorded::Asked {
            query: QueryId(1),
            partition: NamedPartition::new(METADATA_TOPIC, 0),
        };
        assert!(see(ends(3, 6)).unwrap_err().contains("nothing beyond 5"));
        assert!(see(asks()).is_ok());
        assert!(see(ends(2, 1)).is_ok(), "a leader from before it");
        assert!(see(asks()).is_ok());
        assert!(see(ends(4, 3)).unwrap_err().contains("4 had been committed"));
        assert!(see(ends(4, 3)).is_ok(), "nobody knows when it was asked");
    }

    #[test]
    fn what_lies_behind_a_loss_is_not_expected() {
        let reached: Reached = [(LeaderEpoch(3), Offset(9))].into();
        let lost = Lineage { offset: Offset(6), epoch: LeaderEpoch(5), excused: true };
        assert_eq!(least(&reached, LeaderEpoch(4), &[lost]), Offset(9));
        assert_eq!(least(&reached, LeaderEpoch(5), &[lost]), Offset(6));
        assert_eq!(least(&reached, LeaderEpoch(2), &[lost]), Offset(0));
    }
}
