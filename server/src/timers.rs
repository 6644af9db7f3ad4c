//! The armed timers of one machine, in order of deadline.
//!
//! A replaced or disarmed timer is dropped here, although the contract would allow it to fire; the
//! tank tests that case. This module does not read the clock.

use std::collections::{BTreeMap, BTreeSet};

use wavetank_core::event::TimerKey;
use wavetank_core::types::Monotonic;

/// At most one deadline for each key.
#[derive(Debug, Default)]
pub struct TimerQueue {
    by_key: BTreeMap<TimerKey, Monotonic>,
    by_deadline: BTreeSet<(Monotonic, TimerKey)>,
}

impl TimerQueue {
    /// Arms a timer, replacing the key's earlier deadline.
    pub fn arm(&mut self, key: TimerKey, deadline: Monotonic) {
        if let Some(old) = self.by_key.insert(key, deadline) {
            self.by_deadline.remove(&(old, key));
        }
        self.by_deadline.insert((deadline, key));
    }

    /// Drops the key's deadline, if it has one.
    pub fn disarm(&mut self, key: TimerKey) {
        if let Some(old) = self.by_key.remove(&key) {
            self.by_deadline.remove(&(old, key));
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Monotonic> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// Takes the earliest timer whose deadline is not after `now`.
    pub fn pop_due(&mut self, now: Monotonic) -> Option<(TimerKey, Monotonic)> {
        let &(deadline, key) = self.by_deadline.first()?;
        if deadline > now {
            return None;
        }
        self.by_deadline.remove(&(deadline, key));
        self.by_key.remove(&key);
        Some((key, deadline))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_in_order_and_only_the_last_arming() {
        let mut timers = TimerQueue::default();
        timers.arm(TimerKey::Heartbeat, Monotonic(30));
        timers.arm(TimerKey::Election, Monotonic(20));
        timers.arm(TimerKey::Heartbeat, Monotonic(10));
        timers.arm(TimerKey::Checkpoint, Monotonic(5));
        timers.disarm(TimerKey::Checkpoint);
        assert_eq!(timers.next(), Some(Monotonic(10)));
        assert_eq!(timers.pop_due(Monotonic(9)), None);
        assert_eq!(timers.pop_due(Monotonic(40)), Some((TimerKey::Heartbeat, Monotonic(10))));
        assert_eq!(timers.pop_due(Monotonic(40)), Some((TimerKey::Election, Monotonic(20))));
        assert_eq!(timers.pop_due(Monotonic(40)), None);
        assert_eq!(timers.next(), None);
    }
}
