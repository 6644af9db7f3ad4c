//! Logs agree below every high watermark, within a lineage.
//!
//! Source: Raft's log matching; KIP-101, KIP-279; Kafka's `RaftEventSimulationTest` (committed data
//! is equal everywhere). Reason: a consumer reads below the current leader's high watermark, so two
//! values at one offset there are a contradiction. Whenever a leader or follower notes that its
//! high watermark moved, the range that it passed is checked.
//!
//! Offsets that a detected loss has made void are not compared for nodes that still lead or follow
//! in an epoch before that of the leader that started without the lost records. They keep the old
//! lineage, and may learn late that it was committed. Once a node follows in the new epoch, this
//! excuse ends.

use super::{Invariant, Kind, Seen, View};
use crate::ledger::Finding;
use crate::workload::Record;
use std::collections::BTreeMap;
use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId, Offset, TopicPartition};

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct LogMatching {
    /// How far each process's copy has been compared. A follower may know a high watermark before
    /// the records below it have reached its page cache. They are compared once they have.
    compared: BTreeMap<(NodeId, TopicPartition), Offset>,
    /// In which epoch each process leads or follows.
    epochs: BTreeMap<(NodeId, TopicPartition), LeaderEpoch>,
}

impl Invariant for LogMatching {
    fn name(&self) -> &'static str {
        "log-matching"
    }

    fn kind(&self) -> Kind {
        Kind::WhiteBox
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        let (node, partition, to) = match seen {
            Seen::Started(node) => {
                self.compared.retain(|(of, _), _| *of != node);
                self.epochs.retain(|(of, _), _| *of != node);
                return Ok(());
            }
            Seen::Note(
                node,
                Note::BecameLeader { partition, epoch, .. }
                | Note::BecameFollower { partition, epoch, .. },
            ) => {
                self.epochs.insert((node, *partition), *epoch);
                return Ok(());
            }
            Seen::Note(node, Note::Truncated { partition, to, .. }) => {
                if let Some(compared) = self.compared.get_mut(&(node, *partition)) {
                    *compared = (*compared).min(*to);
                }
                return Ok(());
            }
            Seen::Note(node, Note::HighWatermark { partition, to, .. }) => (node, *partition, *to),
            Seen::Note(node, Note::QuorumCommitted { to, .. }) => {
                (node, TopicPartition::METADATA, *to)
            }
            Seen::Note(..)
            | Seen::Finding(_)
            | Seen::Client(_)
            | Seen::Fault(..)
            | Seen::OddAnswer(..) => return Ok(()),
        };
        let furthest = view.ledger.promises(partition).map_or(Offset(0), |p| p.furthest());
        if to > furthest {
            return Err(format!(
                "{}: node {node} has the high watermark {to}, but no leader ever had more than \
                 {furthest}",
                view.name(partition)
            ));
        }
        let from = self.compared.entry((node, partition)).or_default();
        let epoch = self.epochs.get(&(node, partition));
        let void = epoch.and_then(|epoch| view.ledger.promises(partition)?.void_from(*epoch));
        let end = Offset(view.ledger.replica(node, partition).end()).min(to);
        let end = void.map_or(end, |void| void.min(end));
        match agree(node, partition, *from, end, view) {
            Ok(()) => {
                *from = (*from).max(end);
                Ok(())
            }
            // A truncation may still be on its way to the disk. Nothing else excuses a wrong copy,
            // and it is compared again afterwards.
            Err(_) if view.is_cutting(node, partition) => Ok(()),
            Err(wrong) => Err(wrong),
        }
    }

    fn at_end(&mut self, _history: &[Record], view: &View<'_>) -> Result<(), String> {
        for (partition, promises) in view.ledger.partitions() {
            let end = Offset(promises.committed_end());
            let replicas = match view.ledger.image().partition(partition) {
                Some(registration) => registration.isr.clone(),
                None => Vec::new(),
            };
            for node in replicas {
                agree_at_end(node, partition, end, view)?;
            }
        }
        Ok(())
    }
}

/// A run may end before a node that lost data to faults has caught up, so that data may still be
/// missing. [`IsrHoldsPromised`](super::IsrHoldsPromised) judges which nodes may lack it.
fn agree_at_end(
    node: NodeId,
    partition: TopicPartition,
    end: Offset,
    view: &View<'_>,
) -> Result<(), String> {
    let mut from = Offset(0);
    loop {
        match view.ledger.agrees(node, partition, from, end) {
            Err(Finding::Disagrees { committed, holds: None, .. })
                if view.ledger.replica(node, partition).lost(&committed) =>
            {
                from = Offset(committed.end());
            }
            _ => return agree(node, partition, from, end, view),
        }
    }
}

fn agree(
    node: NodeId,
    partition: TopicPartition,
    from: Offset,
    to: Offset,
    view: &View<'_>,
) -> Result<(), String> {
    let name = view.name(partition);
    match view.ledger.agrees(node, partition, from, to) {
        Ok(()) => Ok(()),
        Err(Finding::Disagrees { committed, holds: Some(holds), .. }) => Err(format!(
            "{name}: node {node} has {holds} below its high watermark, where {committed} was \
             committed"
        )),
        Err(_) => Err(format!("{name}: node {node} lacks records below its high watermark {to}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Bench, EVENTS, METADATA};
    use super::*;
    use crate::ledger::fixture::batch;
    use wavetank_core::types::PartitionEpoch;

    fn moved(to: i64, leader: bool) -> Note {
        Note::QuorumCommitted { from: Offset(0), to: Offset(to), leader }
    }

    #[test]
    fn different_batches_below_the_high_watermark_are_caught() {
        let mut bench = Bench::new();
        bench.append(NodeId(1), 0, 1, 7);
        bench.append(NodeId(2), 0, 1, 8);
        bench.append(NodeId(3), 0, 1, 7);
        bench.note(NodeId(1), &moved(1, true));
        let mut invariant = LogMatching::default();
        let mut see = |node: i32, bench: &Bench| {
            invariant.see(Seen::Note(NodeId(node), &moved(1, false)), &bench.view())
        };
        assert!(see(1, &bench).is_ok());
        assert!(see(3, &bench).is_ok());
        assert!(see(2, &bench).unwrap_err().contains("was committed"), "no cut is on its way");
    }

    #[test]
    fn what_a_replica_lacks_at_the_end_is_caught_unless_a_fault_took_it() {
        let mut bench = Bench::new();
        for node in [1, 2] {
            bench.append(NodeId(node), 0, 1, 7);
            bench.append(NodeId(node), 1, 1, 7);
        }
        bench.note(NodeId(1), &moved(2, true));
        bench.lose(NodeId(2), METADATA);
        let at_end = |bench: &Bench, node| {
            agree_at_end(NodeId(node), TopicPartition::METADATA, Offset(2), &bench.view())
        };
        assert_eq!(at_end(&bench, 1), Ok(()));
        assert_eq!(at_end(&bench, 2), Ok(()), "it was taken");
        assert!(at_end(&bench, 3).unwrap_err().contains("lacks"), "it never had it");
        bench.append(NodeId(2), 0, 1, 9);
        assert!(at_end(&bench, 2).unwrap_err().contains("was committed"), "it has another");
    }

    /// Node 1 leads in epoch 1 and is paused. Node 2, the last of the ISR, loses its data, and
    /// leads in epoch 3 with an empty log.
    fn lost_behind_a_stopped_leader() -> (Bench, TopicPartition) {
        let mut bench = Bench::new();
        let partition = bench.host(&[1, 2]);
        bench.register_leader(1, 1, &[1, 2], 0);
        bench.note(NodeId(1), &leads(partition, 1));
        for node in [1, 2] {
            bench.write(NodeId(node), EVENTS, batch(0, 1, 1, 7));
            bench.write(NodeId(node), EVENTS, batch(1, 1, 1, 7));
        }
        bench.note(NodeId(1), &data_moved(partition, 1));
        bench.register_leader(2, 2, &[2], 1);
        bench.note(NodeId(2), &leads(partition, 2));
        bench.lose(NodeId(2), EVENTS);
        bench.register_leader(2, 3, &[2], 2);
        bench.note(NodeId(2), &leads(partition, 3));
        bench.write(NodeId(2), EVENTS, batch(0, 2, 3, 8));
        bench.note(NodeId(2), &data_moved(partition, 2));
        assert!(matches!(bench.findings[..], [Finding::Admitted { .. }]), "{:?}", bench.findings);
        (bench, partition)
    }

    fn leads(partition: TopicPartition, epoch: i32) -> Note {
        let epoch = LeaderEpoch(epoch);
        let partition_epoch = PartitionEpoch(epoch.0 - 1);
        let (start, high_watermark, isr) = (Offset(0), Offset(0), vec![]);
        Note::BecameLeader { partition, epoch, start, high_watermark, isr, partition_epoch }
    }

    fn data_moved(partition: TopicPartition, to: i64) -> Note {
        Note::HighWatermark { partition, leader: true, from: Offset(0), to: Offset(to) }
    }

    #[test]
    fn who_has_not_heard_of_a_loss_keeps_the_old_lineage_until_it_follows_the_new() {
        let (bench, partition) = lost_behind_a_stopped_leader();
        let mut invariant = LogMatching::default();
        let mut see = |note: &Note| invariant.see(Seen::Note(NodeId(1), note), &bench.view());
        assert!(see(&leads(partition, 1)).is_ok());
        assert_eq!(see(&data_moved(partition, 2)), Ok(()), "what its followers had was in order");
        let (epoch, leader) = (LeaderEpoch(3), Some(NodeId(2)));
        let (log_end, high_watermark) = (Offset(2), Offset(0));
        let follows = Note::BecameFollower { partition, epoch, leader, log_end, high_watermark };
        assert!(see(&follows).is_ok());
        assert!(see(&data_moved(partition, 2)).unwrap_err().contains("was committed"));
    }

    #[test]
    fn a_high_watermark_that_no_leader_had_is_caught() {
        let mut bench = Bench::new();
        bench.append(NodeId(1), 0, 1, 7);
        bench.append(NodeId(1), 1, 1, 7);
        bench.note(NodeId(1), &moved(1, true));
        let note = moved(2, false);
        let mut invariant = LogMatching::default();
        let wrong = invariant.see(Seen::Note(NodeId(1), &note), &bench.view()).unwrap_err();
        assert!(wrong.contains("no leader ever had more than 1"), "{wrong}");
    }
}
