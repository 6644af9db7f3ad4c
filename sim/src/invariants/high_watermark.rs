//! A leader's high watermark never recedes within its epoch. No high watermark is beyond its own
//! log's end. When a node becomes leader or follower, it is not beyond what was ever committed
//! either.
//!
//! Source: Kafka's offset order (log start <= high watermark <= log end); KIP-207. Reason: records
//! that a consumer has read would vanish again.

use super::{Invariant, Kind, Seen, View};
use std::collections::BTreeMap;
use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId, Offset, TopicPartition};

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct HighWatermark {
    /// The partitions that each process leads, with the epoch and the high watermark.
    leading: BTreeMap<(NodeId, TopicPartition), (LeaderEpoch, Offset)>,
}

impl Invariant for HighWatermark {
    fn name(&self) -> &'static str {
        "high-watermark"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        match seen {
            Seen::Started(node) => {
                self.leading.retain(|(of, _), _| *of != node);
                Ok(())
            }
            Seen::Note(
                node,
                Note::BecameLeader { partition, epoch, start, high_watermark, .. },
            ) => {
                self.leading.insert((node, *partition), (*epoch, *high_watermark));
                in_order(node, *partition, *high_watermark, *start, view)
            }
            Seen::Note(node, Note::BecameFollower { partition, log_end, high_watermark, .. }) => {
                self.leading.remove(&(node, *partition));
                in_order(node, *partition, *high_watermark, *log_end, view)
            }
            Seen::Note(node, Note::HighWatermark { partition, leader: true, from, to }) => {
                let Some((epoch, known)) = self.leading.get_mut(&(node, *partition)) else {
                    return Err(format!(
                        "{}: node {node} moves a leader's high watermark without leading",
                        view.name(*partition)
                    ));
                };
                let epoch = *epoch;
                let before = std::mem::replace(known, *to);
                if to < from || *to < before {
                    return Err(format!(
                        "{}: the high watermark of leader {node} in epoch {epoch} goes from \
                         {before} back to {to}",
                        view.name(*partition)
                    ));
                }
                let end = view.ledger.replica(node, *partition).end();
                in_order(node, *partition, *to, Offset(end), view)
            }
            Seen::Note(..)
            | Seen::Finding(_)
            | Seen::Client(_)
            | Seen::Fault(..)
            | Seen::OddAnswer(..) => Ok(()),
        }
    }
}

fn in_order(
    node: NodeId,
    partition: TopicPartition,
    high_watermark: Offset,
    end: Offset,
    view: &View<'_>,
) -> Result<(), String> {
    if high_watermark < Offset::ZERO || high_watermark > end {
        return Err(format!(
            "{}: node {node} has the high watermark {high_watermark} and the log end {end}",
            view.name(partition)
        ));
    }
    let promises = view.ledger.promises(partition);
    let furthest = promises.map_or(Offset::ZERO, |promises| promises.furthest());
    if high_watermark > furthest {
        return Err(format!(
            "{}: node {node} has the high watermark {high_watermark}, but nothing beyond \
             {furthest} was ever committed",
            view.name(partition)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Bench;
    use super::*;
    use wavetank_core::types::PartitionEpoch;

    fn leads(start: i64, high_watermark: i64) -> Note {
        Note::BecameLeader {
            partition: TopicPartition::METADATA,
            epoch: LeaderEpoch(2),
            start: Offset(start),
            high_watermark: Offset(high_watermark),
            isr: vec![NodeId(1)],
            partition_epoch: PartitionEpoch(1),
        }
    }

    fn moves(from: i64, to: i64) -> Note {
        Note::HighWatermark {
            partition: TopicPartition::METADATA,
            leader: true,
            from: Offset(from),
            to: Offset(to),
        }
    }

    #[test]
    fn a_high_watermark_that_recedes_or_runs_ahead_is_caught() {
        let mut bench = Bench::new();
        for offset in 0..5 {
            bench.append(NodeId(1), offset, 1, 7);
        }
        let (from, to) = (Offset(0), Offset(4));
        bench.note(NodeId(1), &Note::QuorumCommitted { from, to, leader: true });
        let mut invariant = HighWatermark::default();
        let mut see = |note: Note| invariant.see(Seen::Note(NodeId(1), &note), &bench.view());
        assert!(see(moves(0, 1)).unwrap_err().contains("without leading"));
        assert!(see(leads(5, 2)).is_ok());
        assert!(see(moves(2, 4)).is_ok());
        assert!(see(moves(4, 3)).unwrap_err().contains("from 4 back to 3"));
        assert!(see(moves(3, 9)).unwrap_err().contains("the log end 5"));
        assert!(see(leads(5, 6)).unwrap_err().contains("the log end 5"));
        assert!(see(leads(5, 5)).unwrap_err().contains("nothing beyond 4"));
    }
}
