//! Where each leader epoch starts in a log: Kafka's `LeaderEpochFileCache` (KIP-101, KIP-279).
//!
//! Plain values; the log keeps them on disk.

use alloc::vec::Vec;

use crate::flaw::{Flaw, FlawSet};
use crate::types::{EpochEndOffset, LeaderEpoch, Offset};

/// Epochs and their first offsets; both are strictly ascending.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LeaderEpochs {
    entries: Vec<(LeaderEpoch, Offset)>,
    flaws: FlawSet,
}

impl LeaderEpochs {
    /// No epochs yet.
    pub fn new(flaws: FlawSet) -> LeaderEpochs {
        LeaderEpochs { entries: Vec::new(), flaws }
    }

    /// The newest epoch.
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|(epoch, _)| *epoch)
    }

    /// Epochs with their first offsets, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (LeaderEpoch, Offset)> + '_ {
        self.entries.iter().copied()
    }

    /// The epoch that the record at `offset` was appended in, if there is one.
    pub fn epoch_of(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|(_, start)| *start <= offset);
        after.checked_sub(1).map(|at| self.entries[at].0)
    }

    /// Where `epoch` ends, as a leader answers it (Kafka's `endOffsetFor`): the newest
    /// epoch ends at the log's end; an older one where the next starts; one that was never here is
    /// answered with the largest smaller one and its end (KIP-279); one below the first ends where
    /// the first starts. `None` for an epoch that is larger than all of them, or for -1.
    pub fn end_offset_for(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<EpochEndOffset> {
        if epoch == LeaderEpoch::NONE {
            return None;
        }
        if self.latest() == Some(epoch) {
            return Some(EpochEndOffset { epoch, end_offset: log_end });
        }
        let higher = self.entries.partition_point(|(known, _)| *known <= epoch);
        let end_offset = self.entries.get(higher)?.1;
        let floor = higher.checked_sub(1).map(|at| self.entries[at].0);
        let floor = floor.filter(|_| !self.flaws.has(Flaw::UnknownEpochAnsweredWithNext));
        Some(EpochEndOffset { epoch: floor.unwrap_or(epoch), end_offset })
    }

    /// Records that `epoch` starts at `start`, unless it is the newest already (and started no
    /// later). Entries that this contradicts (a newer epoch, or one that got no record) are
    /// removed. Returns whether anything changed.
    pub(super) fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if self.entries.last().is_some_and(|last| last.0 == epoch && last.1 <= start) {
            return false;
        }
        while self.entries.last().is_some_and(|last| last.0 >= epoch || last.1 >= start) {
            self.entries.pop();
        }
        self.entries.push((epoch, start));
        true
    }

    /// Drops the epochs that start at `end` or later. Returns whether there were any.
    pub(super) fn truncate_from_end(&mut self, end: Offset) -> bool {
        let keep = self.entries.partition_point(|(_, start)| *start < end);
        let changed = keep < self.entries.len();
        self.entries.truncate(keep);
        changed
    }

    /// The log now starts at `start`: of the epochs before it, only the one that continues is kept,
    /// starting here.
    pub(super) fn truncate_from_start(&mut self, start: Offset) {
        let before = self.entries.partition_point(|(_, from)| *from <= start);
        self.entries.drain(..before.saturating_sub(1));
        if let Some(first) = self.entries.first_mut() {
            first.1 = first.1.max(start);
        }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// Replaces everything with the content of a checkpoint, which was checked to be ascending.
    pub(super) fn load(&mut self, entries: Vec<(LeaderEpoch, Offset)>) {
        self.entries = entries;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}
