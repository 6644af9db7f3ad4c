//! Which epochs are believed, of all that others name.
//!
//! An epoch that was believed is on disk and never falls, so one lie near the end of the range would
//! leave none for any election to come, on every node that hears of it and at each restart again. An
//! epoch cannot be checked against anything, and nobody's age is a proof: who was cut off for long is
//! rightly far behind. But there are two ways to hear of one, and they are not alike:
//!
//! - *Answers to our own requests* come from where this node's configuration says that the voters are.
//!   They are believed, however far ahead, up to [`LAST_HEARD`], which leaves a million elections.
//! - *Requests* come from anybody who can reach the port. They are believed as far as elections can
//!   have come: at most [`MOST_AT_ONCE`] at a time and, beyond half of the range
//!   ([`UNCOUNTED_BELOW`]), at [`PACE`] after a burst. To use up that half by requests takes more than
//!   three years of nothing else; real elections, of which there may be one a second, 34.
//!
//! No correct peer is kept out by that. A voter that is refused because it is far ahead is heard of all
//! the same: whoever is behind follows, looks for a leader, stands or leads, and each of these roles
//! sends requests to the other voters, whose answers tell the epoch. So a refusal delays what the next
//! fetch or pre-vote brings, and raises nobody's epoch.
//!
//! What does not live here: who may send which request ([`super::voting`], [`super::serving`]).

use core::time::Duration;

use super::Quorum;
use crate::env::Clock;
use crate::types::{LeaderEpoch, Monotonic};

/// The most by which one request may raise the epoch.
const MOST_AT_ONCE: i64 = 1 << 20;
/// Up to here, requests are not counted.
const UNCOUNTED_BELOW: LeaderEpoch = LeaderEpoch(1 << 30);
/// Beyond, requests may raise the epoch by one in this time, ...
const PACE: Duration = Duration::from_millis(100);
/// ... and by so much at once.
const BURST: u32 = 1000;
/// No answer is believed that names a later epoch, unless ours is about there.
const LAST_HEARD: LeaderEpoch = LeaderEpoch(i32::MAX - (1 << 20));

/// What requests have spent of the epochs that are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Hearsay {
    /// When all of it is earned again.
    spent_until: Monotonic,
}

impl Hearsay {
    /// May a request raise the epoch from `ours` to `epoch`? If so, that is spent.
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
    /// Is an epoch believed that a request names? One that is not later than ours is no news, and is.
    pub(super) fn believes_request(&mut self, epoch: LeaderEpoch, clock: &dyn Clock) -> bool {
        self.hearsay.admit(self.ballot.epoch, epoch, clock.now())
    }

    /// Is an epoch believed that the answer to one of our requests names?
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
        // The greediest sender: the most that is admitted, again and again, for a whole day.
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
