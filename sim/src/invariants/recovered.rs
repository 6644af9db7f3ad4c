//! A recovered log matches the disk: everything that is whole, nothing beyond the first missing or
//! torn place, and each batch's leader epoch. The reported number of torn bytes is right.
//!
//! Source: Kafka's `LogLoader` and `LogSegment.recover`: everything above the recovery point is
//! read and checked, and cut at the first bad batch; KIP-101 for the epochs. Reason: if recovery
//! takes a damaged batch for whole, a client meets it only if that replica becomes leader and
//! somebody reads there. A wrong epoch costs records only at the next divergence.

use super::{Invariant, Kind, Seen, View};
use crate::disk::SimDisk;
use crate::ledger::ReplicaLog;
use std::collections::BTreeMap;
use wavetank_core::env::FileKind;
use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId, Offset, TopicPartition};

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// How many bytes of log each directory had when its process started. Only for directories that
    /// have not been recovered yet.
    found: BTreeMap<(NodeId, String), u64>,
}

impl Recovered {
    fn started(&mut self, node: NodeId, disk: &SimDisk) {
        self.found.retain(|(of, _), _| *of != node);
        for dir in disk.dir_names() {
            let files = disk.files(&dir).into_iter();
            let logs = files.filter(|(kind, _)| matches!(kind, FileKind::Log(_)));
            let bytes = logs.map(|(_, len)| len).sum();
            self.found.insert((node, dir), bytes);
        }
    }
}

impl Invariant for Recovered {
    fn name(&self) -> &'static str {
        "recovered-is-whole"
    }

    fn kind(&self) -> Kind {
        Kind::Ledger
    }

    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String> {
        if let Seen::Started(node) = seen {
            if let Some(disk) = view.world.find_disk(node) {
                self.started(node, disk);
            }
            return Ok(());
        }
        let Seen::Note(node, Note::Recovered { partition, log_end, torn_bytes, epochs, .. }) = seen
        else {
            return Ok(());
        };
        let replica = view.ledger.replica(node, *partition);
        judge(replica, *log_end, epochs).map_err(|why| told(node, *partition, &why, view))?;
        let found = view.ledger.name(*partition).map(|name| (node, name.to_owned()));
        let found = found.and_then(|at| self.found.remove(&at));
        // A log of the same name that is recreated in the same process is empty.
        let Some(found) = found.filter(|_| *torn_bytes > 0 || log_end.0 > 0) else { return Ok(()) };
        judge_torn(found, replica.whole_bytes(), *torn_bytes)
            .map_err(|why| told(node, *partition, &why, view))
    }
}

fn told(node: NodeId, partition: TopicPartition, why: &str, view: &View<'_>) -> String {
    format!("node {node} recovered {} {why}", view.name(partition))
}

fn judge_torn(found: u64, whole: u64, torn: u64) -> Result<(), String> {
    if whole + torn == found {
        return Ok(());
    }
    Err(format!(
        "and reports {torn} torn bytes; its files had {found} bytes, {whole} of them in whole \
         batches"
    ))
}

fn judge(
    replica: &ReplicaLog,
    log_end: Offset,
    epochs: &[(LeaderEpoch, Offset)],
) -> Result<(), String> {
    let whole = replica.whole_end();
    if log_end.0 != whole {
        return Err(format!("up to {log_end}, but its disk has whole batches up to {whole}"));
    }
    for batch in replica.between(0, whole) {
        let after = epochs.partition_point(|(_, start)| start.0 <= batch.base);
        let said = after.checked_sub(1).map(|at| epochs[at].0.0);
        if said != Some(batch.epoch) {
            return Err(format!(
                "and assigns the batch at {} to epoch {}; its epoch is {}",
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
        let see = |note: Note| Recovered::default().see(Seen::Note(NODE, &note), &bench.view());
        assert_eq!(see(recovered(3, &[(1, 0), (3, 2)])), Ok(()));
        assert_eq!(
            see(recovered(3, &[(1, 0), (3, 2), (4, 3)])),
            Ok(()),
            "an epoch without a batch"
        );
        let torn = see(recovered(4, &[(1, 0), (3, 2)])).unwrap_err();
        assert!(torn.contains("up to 4, but its disk has whole batches up to 3"), "{torn}");
        let short = see(recovered(2, &[(1, 0)])).unwrap_err();
        assert!(short.contains("up to 2, but its disk has whole batches up to 3"), "{short}");
        let epoch = see(recovered(3, &[(1, 0)])).unwrap_err();
        assert!(epoch.contains("the batch at 2 to epoch 1; its epoch is 3"), "{epoch}");
        assert_eq!(judge_torn(70, 60, 10), Ok(()));
        assert!(judge_torn(70, 60, 11).unwrap_err().contains("reports 11 torn bytes"));
        let none = see(recovered(3, &[(1, 1), (3, 2)])).unwrap_err();
        assert!(none.contains("the batch at 0 to epoch none; its epoch is 1"), "{none}");
    }
}
