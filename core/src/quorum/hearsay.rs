//! Which epochs named by other nodes are believed.
//!
//! A believed epoch is stored on disk and never decreases. So one lie near the end of the range
//! would leave no epochs for later elections, on every node that hears of it and after every
//! restart. An epoch cannot be verified, and being far behind proves nothing: a node that was cut
//! off for long is legitimately far behind. But there are two ways to hear of an epoch, and they
//! differ:
//!
//! - *Answers to our own requests* come from the voters' addresses in this node's configuration.
//!   They are believed, however far ahead, up to [`LAST_HEARD`], which leaves a million elections.
//! - *Requests* come from anybody who can reach the port. They are believed as far as elections can
//!   have raised the epoch: by at most [`MOST_AT_ONCE`] at a time and, beyond half of the range
//!   ([`UNCOUNTED_BELOW`]), by one per [`PACE`] after a burst. Using up that half by requests takes
//!   more than three years of nothing else; by real elections, at up to one a second, 34 years.
//!
//! This excludes no correct peer. A voter that is refused because it is far ahead is still heard
//! of: a node that is behind follows, looks for a leader, stands or leads, and in each of these
//! roles it sends requests to the other voters, whose answers carry the epoch. So a refusal only
//! delays the news until the next fetch or pre-vote, and raises nobody's epoch.
//!
//! Who may send which request is decided in [`super::voting`] and [`super::serving`].

use core::time::Duration;

use super::Quorum;
use crate::env::Clock;
use crate::types::{LeaderEpoch, Monotonic};

/// The most by which one request may raise the epoch.
const MOST_AT_ONCE: i64 = 1 << 20;
/// Up to this epoch, requests are not rate-limited.
const UNCOUNTED_BELOW: LeaderEpoch = LeaderEpoch(1 << 30);
/// Beyond it, requests may raise the epoch by one per this interval, ...
const PACE: Duration = Duration::from_millis(100);
/// ... and by this much at once.
const BURST: u32 = 1000;
/// An answer that names a later epoch is not believed, unless that is at most [`BURST`] ahead of
/// ours.
const LAST_HEARD: LeaderEpoch = LeaderEpoch(i32::MAX - (1 << 20));

/// The budget of rate-limited epochs that requests have spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Hearsay {
    /// When the whole budget is available again.
    spent_until: Monotonic,
}

impl Hearsay {
    /// Whether a request may raise the epoch from `ours` to `epoch`. If so, spends the budget for
    /// it.
    fn admit(&mut self, ours: LeaderEpoch, epoch: LeaderEpoch, now: Monotonic) -> bool {
        let Ok(raise) = u32::try_from(ahead(ours, epoch).max(0)) else { return false };
        if i64::from(raise) > MOST_AT_ONCE {
            return false;
        }
        if raise == 0 || epoch <= UNCOUNTED_BELOW {
            return true;
        }
        let until = self.spent_until.max(now).after(PACE * raise);
        let admitted = until <= now.after(PACE * BURST);
        if admitted {
            self.spent_until = until;
        }
        admitted
    }
}

fn ahead(ours: LeaderEpoch, epoch: LeaderEpoch) -> i64 {
    i64::from(epoch.0) - i64::from(ours.0)
}

impl Quorum {
    /// Whether to believe an epoch that a request names. One that is not later than ours is no
    /// news, and is believed.
    pub(super) fn believes_request(&mut self, epoch: LeaderEpoch, clock: &dyn Clock) -> bool {
        self.hearsay.admit(self.ballot.epoch, epoch, clock.now())
    }

    /// Whether to believe an epoch that the answer to one of our requests names.
    pub(super) fn believes_answer(&self, epoch: LeaderEpoch) -> bool {
        epoch <= LAST_HEARD || ahead(self.ballot.epoch, epoch) <= i64::from(BURST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Monotonic = Monotonic(1_000_000_000_000);

    #[test]
    fn requests_never_use_the_epochs_up() {
        let (mut hearsay, mut ours) = (Hearsay::default(), LeaderEpoch(0));
        // The greediest sender takes the most that is admitted, again and again, for a whole day.
        for second in 0..86_400 {
            let now = START.after(Duration::from_secs(second));
            for raise in [MOST_AT_ONCE as i32, 1000, 10, 1] {
                while let Some(epoch) = ours.0.checked_add(raise).map(LeaderEpoch)
                    && hearsay.admit(ours, epoch, now)
                {
                    ours = epoch;
                }
            }
        }
        assert!(ours > UNCOUNTED_BELOW, "half of them go at once");
        let counted = ours.0 - UNCOUNTED_BELOW.0;
        assert!(counted <= 10 * 86_400 + 1000, "{counted} of the other half in a day");
    }

    #[test]
    fn elections_go_on_wherever_the_epoch_is() {
        for ours in [0, 1, 1 << 20, (1 << 30) - 1, 1 << 30, i32::MAX - 2] {
            let mut hearsay = Hearsay::default();
            let (ours, next) = (LeaderEpoch(ours), LeaderEpoch(ours + 1));
            assert!(hearsay.admit(ours, next, START), "{ours}");
            assert!(hearsay.admit(next, next, START), "{ours}: no news");
            assert!(hearsay.admit(next, LeaderEpoch(i32::MIN), START), "{ours}: old news");
        }
        let far = LeaderEpoch(i32::MAX);
        assert!(!Hearsay::default().admit(LeaderEpoch(0), far, START));
        assert!(!Hearsay::default().admit(LeaderEpoch(i32::MIN), far, START));
    }
}
