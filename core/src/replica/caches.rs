//! What the logs of a node keep in memory of their newest batches, all together: where it is more than
//! the node has for it, those that were longest not written to lose theirs.
//!
//! A cache: without it all is the same, with more reads.

use alloc::collections::{BTreeMap, BTreeSet};

use super::Partition;
use crate::types::PartitionId;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caches {
    most: u64,
    total: u64,
    /// What each can give up, and its place in the order.
    held: BTreeMap<PartitionId, (u64, u64)>,
    /// Oldest change first.
    order: BTreeSet<(u64, PartitionId)>,
    changes: u64,
}

impl Caches {
    /// Of at most so many bytes.
    pub fn new(most: u64) -> Caches {
        let (held, order) = (BTreeMap::new(), BTreeSet::new());
        Caches { most, total: 0, held, order, changes: 0 }
    }

    /// Something was appended to this log, it was cut, or it is gone.
    pub fn on_changed(&mut self, id: PartitionId, partitions: &mut [Option<Partition>]) {
        let of = |id: PartitionId| id.0 as usize;
        let partition = partitions.get(of(id)).and_then(Option::as_ref);
        self.count(id, partition.map_or(0, |partition| partition.log().cached_bytes()));
        while self.total > self.most
            && let Some((_, oldest)) = self.order.first().copied()
        {
            if let Some(Some(partition)) = partitions.get_mut(of(oldest)) {
                partition.drop_cache();
            }
            self.count(oldest, 0);
        }
    }

    fn count(&mut self, id: PartitionId, bytes: u64) {
        if let Some((before, change)) = self.held.remove(&id) {
            self.order.remove(&(change, id));
            self.total -= before;
        }
        if bytes > 0 {
            self.changes += 1;
            self.held.insert(id, (bytes, self.changes));
            self.order.insert((self.changes, id));
            self.total += bytes;
        }
    }

    /// Bytes that they hold now.
    pub fn total(&self) -> u64 {
        self.total
    }
}
