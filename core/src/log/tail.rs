//! The newest batches in memory: the position of each, and a bounded number of bytes of the batches
//! themselves.
//!
//! It is only a cache: a log without it behaves the same, with more reads.

use alloc::collections::VecDeque;
use core::hash::{Hash, Hasher};

use crate::batch::{Batch, BatchHeader};
use crate::types::Offset;

/// Positions kept at least, whatever the cache size.
const MIN_POSITIONS: usize = 2;
/// Positions kept at most.
const MAX_POSITIONS: usize = 1024;

/// The position of a batch, and the batch itself if it is cached.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TailEntry {
    pub(super) base: Offset,
    pub(super) next: Offset,
    pub(super) segment: Offset,
    pub(super) position: u64,
    pub(super) size: usize,
    pub(super) max_timestamp: i64,
    batch: Cached,
}

impl TailEntry {
    pub(super) fn batch(&self) -> Option<&Batch> {
        self.batch.0.as_ref()
    }
}

/// A batch that may or may not be in memory, which makes no difference in comparisons of states.
#[derive(Clone, Debug)]
struct Cached(Option<Batch>);

impl PartialEq for Cached {
    fn eq(&self, _: &Cached) -> bool {
        true
    }
}

impl Eq for Cached {}

impl Hash for Cached {
    fn hash<H: Hasher>(&self, _: &mut H) {}
}

/// The newest batches, contiguous up to the log's end. Batches in memory are the newest of those.
#[derive(Clone, Debug)]
pub(super) struct Tail {
    entries: VecDeque<TailEntry>,
    max_bytes: usize,
    max_positions: usize,
    /// How many entries, from the back, have their batch.
    cached: usize,
    cached_bytes: usize,
}

impl PartialEq for Tail {
    fn eq(&self, other: &Tail) -> bool {
        self.entries == other.entries
    }
}

impl Eq for Tail {}

impl Hash for Tail {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.entries.hash(state);
    }
}

impl Tail {
    /// Keeps at most `max_bytes` of batches, and positions in proportion: a log configured to read
    /// cold must also look up positions on disk.
    pub(super) fn new(max_bytes: u32) -> Tail {
        let max_bytes = max_bytes as usize;
        let max_positions = (max_bytes / 64).clamp(MIN_POSITIONS, MAX_POSITIONS);
        Tail { entries: VecDeque::new(), max_bytes, max_positions, cached: 0, cached_bytes: 0 }
    }

    /// A batch was appended at `position` of `segment`.
    pub(super) fn push(&mut self, batch: &Batch, segment: Offset, position: u64) {
        let size = batch.size_in_bytes();
        // A batch that does not fit would only evict the others and then itself.
        let fits = size <= self.max_bytes;
        if !fits {
            self.drop_batches(0);
        }
        self.push_entry(TailEntry {
            base: batch.base_offset,
            next: batch.next_offset(),
            segment,
            position,
            size,
            max_timestamp: batch.max_timestamp(),
            batch: Cached(fits.then(|| batch.detached())),
        });
        if fits {
            self.cached += 1;
            self.cached_bytes += size;
            self.drop_batches(self.max_bytes);
        }
        while self.entries.len() > self.max_positions {
            if self.cached == self.entries.len() {
                self.drop_oldest_batch();
            }
            self.entries.pop_front();
        }
    }

    /// Recovery found a batch at `position` of `segment`.
    pub(super) fn push_found(&mut self, header: &BatchHeader, segment: Offset, position: u64) {
        if self.entries.back().is_some_and(|last| last.next != header.base_offset) {
            self.clear();
        }
        self.push_entry(TailEntry {
            base: header.base_offset,
            next: header.last_offset.next(),
            segment,
            position,
            size: header.size,
            max_timestamp: header.max_timestamp,
            batch: Cached(None),
        });
        if self.entries.len() > self.max_positions {
            self.entries.pop_front();
        }
    }

    fn push_entry(&mut self, entry: TailEntry) {
        let contiguous = self.entries.back().is_none_or(|last| last.next == entry.base);
        assert!(contiguous, "a batch at {} does not continue the log", entry.base);
        self.entries.push_back(entry);
    }

    fn drop_batches(&mut self, max_bytes: usize) {
        while self.cached_bytes > max_bytes {
            self.drop_oldest_batch();
        }
    }

    fn drop_oldest_batch(&mut self) {
        let at = self.entries.len() - self.cached;
        self.entries[at].batch = Cached(None);
        self.cached_bytes -= self.entries[at].size;
        self.cached -= 1;
    }

    /// Bytes of memory that [`Tail::shed`] would free.
    pub(super) fn sheds(&self) -> usize {
        let entries = self.entries.len().saturating_sub(MIN_POSITIONS);
        self.cached_bytes + entries * size_of::<TailEntry>()
    }

    /// Keeps a few positions, and no batch.
    pub(super) fn shed(&mut self) {
        self.drop_batches(0);
        self.entries.drain(..self.entries.len().saturating_sub(MIN_POSITIONS));
        self.entries.shrink_to_fit();
    }

    /// Drops the batches from `end` on.
    pub(super) fn truncate(&mut self, end: Offset) {
        while self.entries.back().is_some_and(|last| last.next > end) {
            if self.cached > 0 {
                self.cached -= 1;
                self.cached_bytes -= self.entries.back().map_or(0, |last| last.size);
            }
            self.entries.pop_back();
        }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        (self.cached, self.cached_bytes) = (0, 0);
    }

    /// The entries from the one that contains `offset` on, if that one is here.
    pub(super) fn from(&self, offset: Offset) -> Option<impl Iterator<Item = &TailEntry>> {
        let at = self.entries.partition_point(|entry| entry.next <= offset);
        let contains = self.entries.get(at).is_some_and(|entry| entry.base <= offset);
        contains.then(|| self.entries.range(at..))
    }

    /// Of the entries from the one that contains `offset` to `end` (exclusive): the first, the last
    /// in its segment, and whether the next segment has more. Takes few steps, however many entries
    /// there are. `None` if the first is not here, `Some(None)` if it does not end by `end`.
    pub(super) fn run(
        &self,
        offset: Offset,
        end: Offset,
    ) -> Option<Option<(&TailEntry, &TailEntry, bool)>> {
        let at = self.entries.partition_point(|entry| entry.next <= offset);
        let first = self.entries.get(at).filter(|entry| entry.base <= offset)?;
        if first.next > end {
            return Some(None);
        }
        let same = |entry: &TailEntry| entry.next <= end && entry.segment <= first.segment;
        let after = self.entries.partition_point(same);
        let goes_on = self.entries.get(after).is_some_and(|entry| entry.next <= end);
        Some(Some((first, &self.entries[after - 1], goes_on)))
    }

    /// All entries, oldest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &TailEntry> {
        self.entries.iter()
    }

    /// Offset of the oldest entry.
    pub(super) fn start(&self) -> Option<Offset> {
        self.entries.front().map(|entry| entry.base)
    }
}
