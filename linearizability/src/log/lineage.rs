//! What admitted losses excuse: the four questions that the passes ask, and nothing else.

use crate::{History, Loss};

/// The admitted losses of one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct Lineages {
    losses: Vec<Loss>,
}

impl Lineages {
    /// The admitted losses of each partition of the history.
    pub(super) fn of(history: &History) -> Vec<Lineages> {
        let mut all = vec![Lineages::default(); history.partition_count()];
        for loss in history.losses() {
            all[loss.partition.0 as usize].losses.push(*loss);
        }
        all
    }

    pub(super) fn is_empty(&self) -> bool {
        self.losses.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Loss> {
        self.losses.iter()
    }

    /// Does a loss lie between two records, both at or beyond its offset, of these epochs?
    pub(super) fn separate(&self, offset: i64, epoch: i32, other: i32) -> bool {
        let (low, high) = (epoch.min(other), epoch.max(other));
        self.losses.iter().any(|loss| {
            loss.offset <= offset && (low < 0 || low < loss.epoch && loss.epoch <= high)
        })
    }

    /// May the record at this offset and epoch be gone?
    pub(super) fn lost(&self, offset: i64, epoch: i32) -> bool {
        self.losses.iter().any(|loss| loss.offset <= offset && (epoch < 0 || epoch < loss.epoch))
    }

    /// May the record at this offset and epoch have been lost before one of epoch `later` was
    /// appended?
    pub(super) fn lost_before(&self, offset: i64, epoch: i32, later: i32) -> bool {
        self.losses.iter().any(|loss| {
            loss.offset <= offset
                && (epoch < 0 || epoch < loss.epoch)
                && (later < 0 || loss.epoch <= later)
        })
    }

    /// A reader that gets records of this epoch is a witness below this offset only, because from
    /// there on newer lineages may hold others. [`i64::MAX`] if there are no newer ones.
    pub(super) fn witnessed_below(&self, epoch: i32) -> i64 {
        self.losses
            .iter()
            .filter(|loss| epoch < 0 || epoch < loss.epoch)
            .map(|loss| loss.offset)
            .min()
            .unwrap_or(i64::MAX)
    }
}
