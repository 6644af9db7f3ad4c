//! Cuts of a log: where it diverges from its leader's, how far a leader's answer lets it be cut,
//! and which cuts a crash may still undo.
//!
//! What does not live here: whose log it is and what role its node has.

use wavetank_core::note::TruncationReason;

use super::log::Runs;
use crate::rules::{self, EpochLog};

/// Where the logs diverge, if they do. A log without records cannot diverge, wherever it ends.
pub(super) fn diverge_at(follower: &Runs, leader: &Runs) -> Option<i64> {
    if !follower.has_records() {
        return None;
    }
    let answer = rules::end_offset_for_epoch(leader, follower.last_epoch());
    rules::where_they_diverge(follower, answer)
}

/// What the leader of an epoch has now. Its end and high watermark have only grown since it
/// answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leads<'a> {
    pub(super) log: &'a Runs,
    /// Its end when the epoch began.
    pub(super) start: i64,
    pub(super) high_watermark: i64,
}

impl Leads<'_> {
    /// May a follower cut this log to `to`, for this reason?
    ///
    /// # Errors
    /// Why not.
    pub(super) fn lets_cut(
        &self,
        follower: &Runs,
        to: i64,
        reason: TruncationReason,
    ) -> Result<(), String> {
        let end = follower.end();
        let right = match reason {
            TruncationReason::Diverging => match diverge_at(follower, self.log) {
                Some(most) if most <= to => return Ok(()),
                Some(most) => return Err(format!("the logs diverge at {most}, not before")),
                None => return Err("the logs do not diverge".to_owned()),
            },
            // With a record it would have sent that record's epoch, and heard where the logs
            // diverge.
            TruncationReason::LeaderEndsBefore if follower.has_records() => {
                return Err(format!("it has records, the last of epoch {}", follower.last_epoch()));
            }
            TruncationReason::LeaderEndsBefore => {
                self.start < end && (0..end).contains(&to) && to <= self.high_watermark
            }
            TruncationReason::LeaderStartsAfter => end < to && to <= self.log.end(),
            TruncationReason::TornTail | TruncationReason::OwnHighWatermark => {
                return Err("no leader gives this answer".to_owned());
            }
        };
        let Leads { log, start, high_watermark } = self;
        let leaders = log.end();
        right.then_some(()).ok_or_else(|| {
            format!(
                "its log ends at {end}, and its leader's epoch began at {start}, with high \
                 watermark {high_watermark} and log end {leaders}"
            )
        })
    }
}

/// Logs as they were before cuts that a crash may still undo, oldest first, each with its cut's
/// offset.
///
/// A sync beyond a cut makes that cut and those before it final: records after the cut count as
/// synced only once the dropped ones cannot come back. A sync up to the cut or less may cover only
/// what was kept, and says nothing about the cut.
#[derive(Clone, Debug, Default)]
pub(super) struct BeforeCuts(Vec<(Runs, i64)>);

impl BeforeCuts {
    /// `log` is about to be cut at `to`.
    pub(super) fn push(&mut self, log: &Runs, to: i64) {
        self.0.push((log.clone(), to));
    }

    /// The log was synced up to `end` after these cuts.
    pub(super) fn synced(&mut self, end: i64) {
        if let Some(last) = self.0.iter().rposition(|(_, to)| *to < end) {
            self.0.drain(..=last);
        }
    }

    /// Is `log` what is left of one of them?
    pub(super) fn may_bring_back(&self, log: &Runs) -> bool {
        self.0.iter().any(|(before, _)| log.is_prefix_of(before))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(epochs: &[(i32, i64)], end: i64) -> Runs {
        Runs::new(epochs.iter().copied(), end)
    }

    #[test]
    fn a_sync_beyond_a_cut_makes_it_final_and_those_before_it() {
        let mut cuts = BeforeCuts::default();
        cuts.push(&runs(&[(0, 0)], 9), 7);
        cuts.push(&runs(&[(0, 0), (1, 7)], 8), 3);
        cuts.push(&runs(&[(0, 0), (2, 3)], 6), 5);
        cuts.synced(3);
        assert!(cuts.may_bring_back(&runs(&[(0, 0)], 9)), "a sync of what was kept");
        cuts.synced(4);
        assert!(!cuts.may_bring_back(&runs(&[(0, 0)], 9)), "cut before the one that is final");
        assert!(cuts.may_bring_back(&runs(&[(0, 0), (2, 3)], 6)), "cut later, at 5");
        cuts.synced(6);
        assert!(!cuts.may_bring_back(&Runs::default()));
    }
}
