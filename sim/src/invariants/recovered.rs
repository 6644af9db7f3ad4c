//! A log that was recovered is what the disk holds of it: all that is whole, nothing beyond the first
//! place where something is missing or torn, and of each batch the leader epoch that it has.
//!
//! Source: Kafka's `LogLoader` and `LogSegment.recover`: what lies above the recovery point is read and
//! checked, and cut at the first bad batch; KIP-101 for the epochs. Reason: what recovery takes for
//! whole and is not, a client meets only if that replica comes to lead and somebody reads there; an
//! epoch that is wrong costs records only at the next divergence.

use super::{Invariant, Kind, Seen, View};
use crate::ledger::ReplicaLog;
use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId, Offset, TopicPartition};

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Recovered;

impl Invariant for Recovered {
    fn name(&self) -> &'static str {
        "recovered-is-whole"
    }

    fn kind(&self) -> Kind {
        Kind::Ledger
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        let Seen::Note(node, Note::Recovered { partition, log_end, epochs, .. }) = seen else {
            return Ok(());
        };
        let replica = view.ledger.replica(node, *partition);
        judge(replica, *log_end, epochs).map_err(|why| told(node, *partition, &why, view))
    }
}

fn told(node: NodeId, partition: TopicPartition, why: &str, view: &View<'_>) -> String {
    format!("node {node} recovered {} {why}", view.name(partition))
}

fn judge(
    replica: &ReplicaLog,
    log_end: Offset,
    epochs: &[(LeaderEpoch, Offset)],
) -> Result<(), String> {
    let whole = replica.whole_end();
    if log_end.0 != whole {
        return Err(format!("up to {log_end}, and its disk holds it up to {whole}"));
    }
    for batch in replica.between(0, whole) {
        let after = epochs.partition_point(|(_, start)| start.0 <= batch.base);
        let said = after.checked_sub(1).map(|at| epochs[at].0.0);
        if said != Some(batch.epoch) {
            return Err(format!(
                "and takes the batch at {} for one of epoch {}; it is of {}",
                batch.base,
                said.map_or_else(|| "none".to_owned(), |epoch| epoch.to_string()),
                batch.epoch
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{Bench, METADATA};
    use super::*;
    use crate::ledger::fixture;

    const NODE: NodeId = NodeId(1);

    fn recovered(log_end: i64, epochs: &[(i32, i64)]) -> Note {
        let of = |&(epoch, start): &(i32, i64)| (LeaderEpoch(epoch), Offset(start));
        Note::Recovered {
            partition: TopicPartition::METADATA,
            log_start: Offset(0),
            log_end: Offset(log_end),
            torn_bytes: 0,
            reindexed: 0,
            epochs: epochs.iter().map(of).collect(),
        }
    }

    #[test]
    fn what_is_not_what_the_disk_holds_is_caught() {
        let mut bench = Bench::new();
        for (offset, epoch) in [(0, 1), (1, 1), (2, 3)] {
            bench.append(NODE, offset, epoch, 7);
        }
        let whole = fixture::batch(3, 1, 3, 7);
        bench.write(NODE, METADATA, whole.slice(..whole.len() - 1));
        let see = |note: Note| Recovered.see(Seen::Note(NODE, &note), &bench.view());
        assert_eq!(see(recovered(3, &[(1, 0), (3, 2)])), Ok(()));
        assert_eq!(
            see(recovered(3, &[(1, 0), (3, 2), (4, 3)])),
            Ok(()),
            "an epoch without a batch"
        );
        let torn = see(recovered(4, &[(1, 0), (3, 2)])).unwrap_err();
        assert!(torn.contains("up to 4, and its disk holds it up to 3"), "{torn}");
        let short = see(recovered(2, &[(1, 0)])).unwrap_err();
        assert!(short.contains("up to 2, and its disk holds it up to 3"), "{short}");
        let epoch = see(recovered(3, &[(1, 0)])).unwrap_err();
        assert!(epoch.contains("the batch at 2 for one of epoch 1; it is of 3"), "{epoch}");
        let none = see(recovered(3, &[(1, 1), (3, 2)])).unwrap_err();
        assert!(none.contains("the batch at 0 for one of epoch none; it is of 1"), "{none}");
    }
}
