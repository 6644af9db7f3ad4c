//! The newest batches that a node's logs cache in memory, in total. Over the node's limit, the logs
//! least recently written to lose theirs.
//!
//! It is only a cache: without it the behaviour is the same, with more reads.

use alloc::collections::{BTreeMap, BTreeSet};

use super::Partition;
use crate::types::PartitionId;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Caches {
    most: u64,
    total: u64,
    /// The bytes that each log can give up, and its place in the order.
    held: BTreeMap<PartitionId, (u64, u64)>,
    /// Oldest change first.
    order: BTreeSet<(u64, PartitionId)>,
    changes: u64,
}

impl Caches {
    /// Caches of at most this many bytes in total.
    pub fn new(most: u64) -> Caches {
        let (held, order) = (BTreeMap::new(), BTreeSet::new());
        Caches { most, total: 0, held, order, changes: 0 }
    }

    /// This log was appended to, cut or removed.
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

    /// Bytes cached now.
    pub fn total(&self) -> u64 {
        self.total
    }
}
