//! A log of any length, as the rules see it: where each epoch's records begin, and the end.

use std::fmt;

use crate::rules::EpochLog;

/// Runs of records, (epoch, first offset), oldest first; epochs grow. No run is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Runs {
    runs: Vec<(i32, i64)>,
    end: i64,
}

/// Smaller than every epoch.
const NEVER: i32 = -1;

impl Runs {
    /// A log with these epochs and this end, as its node reports it. An epoch that began but has no
    /// record is not a run.
    pub(super) fn new(epochs: impl Iterator<Item = (i32, i64)>, end: i64) -> Runs {
        Runs { runs: epochs.filter(|(_, start)| *start < end).collect(), end }
    }

    /// Appends records of one epoch up to `end`.
    pub(super) fn append(&mut self, epoch: i32, end: i64) {
        if end > self.end && self.last_epoch() != epoch {
            self.runs.push((epoch, self.end));
        }
        self.end = self.end.max(end);
    }

    /// Appends what `source` has between this log's end and `end`.
    pub(super) fn append_from(&mut self, source: &Runs, end: i64) {
        let first = source.runs.partition_point(|(_, start)| *start <= self.end);
        let mut at = first.saturating_sub(1);
        while self.end < end {
            let Some((epoch, _)) = source.runs.get(at) else { return };
            let next = source.runs.get(at + 1).map_or(source.end, |(_, start)| *start);
            self.append(*epoch, next.min(end));
            at += 1;
        }
    }

    pub(super) fn has_records(&self) -> bool {
        !self.runs.is_empty()
    }

    pub(super) fn truncate(&mut self, to: i64) {
        self.end = self.end.min(to);
        while self.runs.last().is_some_and(|(_, start)| *start >= self.end) {
            self.runs.pop();
        }
    }

    /// Drops everything; the next record is at `at`.
    pub(super) fn start_anew(&mut self, at: i64) {
        *self = Runs { runs: Vec::new(), end: at };
    }

    /// Is this what is left of `other` after it loses a tail?
    pub(super) fn is_prefix_of(&self, other: &Runs) -> bool {
        let mut rest = other.clone();
        rest.truncate(self.end);
        *self == rest
    }
}

impl EpochLog for Runs {
    type Epoch = i32;
    type Offset = i64;

    fn end(&self) -> i64 {
        self.end
    }

    fn end_of(&self, epoch: i32) -> i64 {
        let larger = self.runs.partition_point(|(known, _)| *known <= epoch);
        match self.runs.get(larger) {
            Some((_, start)) => *start,
            None => self.end,
        }
    }

    fn epoch_below(&self, end: i64) -> i32 {
        let below = self.runs.partition_point(|(_, start)| *start < end);
        below.checked_sub(1).map_or(NEVER, |at| self.runs[at].0)
    }
}

impl fmt::Display for Runs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[")?;
        for (epoch, start) in &self.runs {
            write!(f, "{start}:e{epoch} ")?;
        }
        write!(f, "to {}]", self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(epochs: &[(i32, i64)], end: i64) -> Runs {
        Runs::new(epochs.iter().copied(), end)
    }

    #[test]
    fn runs_are_appended_copied_and_cut() {
        let leader = runs(&[(0, 0), (2, 5), (3, 9)], 12);
        let mut follower = runs(&[(0, 0)], 4);
        follower.append_from(&leader, 10);
        assert_eq!(follower, runs(&[(0, 0), (2, 5), (3, 9)], 10));
        assert!(follower.is_prefix_of(&leader) && !leader.is_prefix_of(&follower));
        follower.truncate(9);
        assert_eq!(follower, runs(&[(0, 0), (2, 5)], 9));
        assert!(!runs(&[(0, 0), (1, 5)], 9).is_prefix_of(&leader));
        follower.append(2, 9);
        assert_eq!(follower.to_string(), "[0:e0 5:e2 to 9]", "nothing was appended");
        assert_eq!(runs(&[(4, 12)], 12), runs(&[], 12), "an epoch without a record is no run");
    }

    #[test]
    fn epochs_end_where_the_next_one_starts() {
        let log = runs(&[(0, 0), (2, 5), (3, 9)], 12);
        let ends: Vec<i64> = (-1..5).map(|epoch| log.end_of(epoch)).collect();
        assert_eq!(ends, [0, 5, 5, 9, 12, 12]);
        let below: Vec<i32> = [0, 1, 5, 6, 10, 12].map(|end| log.epoch_below(end)).to_vec();
        assert_eq!(below, [-1, 0, 0, 2, 3, 3]);
        assert_eq!(crate::rules::end_offset_for_epoch(&log, 1), (0, 5));
    }
}
