//! A bound on log lines that others can provoke: bad frames, refused connections, failed produces.
//!
//! The first line tells an operator what happens and who causes it. The ten-thousandth says nothing
//! new, fills the disk and hides the rest. So each source gets a few lines in each window, all
//! sources together get some more, and suppressed lines are counted.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The length of a window.
const WINDOW: Duration = Duration::from_secs(60);
/// Lines for each source in a window.
const PER_SOURCE: u32 = 5;
/// Lines for all sources together in a window; also the maximum number of sources kept.
const IN_ALL: u32 = 50;

/// Counts the lines of one kind by their source.
#[derive(Debug)]
pub(crate) struct Throttle<K> {
    since: Instant,
    logged: u32,
    by_source: BTreeMap<K, u32>,
    suppressed: u64,
}

impl<K: Ord> Throttle<K> {
    pub(crate) fn new() -> Throttle<K> {
        Throttle { since: Instant::now(), logged: 0, by_source: BTreeMap::new(), suppressed: 0 }
    }

    /// Whether this source may log a line now.
    pub(crate) fn allows(&mut self, source: K) -> bool {
        let count = self.by_source.get(&source).copied().unwrap_or(0);
        if count >= PER_SOURCE || self.logged >= IN_ALL {
            self.suppressed += 1;
            return false;
        }
        self.logged += 1;
        self.by_source.insert(source, count + 1);
        true
    }

    /// Starts a new window if the last one is over. Returns how many lines that one suppressed, if
    /// any.
    pub(crate) fn next_window(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since) < WINDOW {
            return None;
        }
        let suppressed = self.suppressed;
        *self = Throttle { since: now, ..Throttle::new() };
        (suppressed > 0).then_some(suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_and_all_sources_have_a_bound() {
        let mut throttle = Throttle::new();
        let allowed = (0..100).filter(|_| throttle.allows(1)).count();
        assert_eq!(allowed, PER_SOURCE as usize);
        let allowed = (0..1000).filter(|source| throttle.allows(*source)).count();
        assert_eq!(allowed, (IN_ALL - PER_SOURCE) as usize);
        assert!(throttle.by_source.len() <= IN_ALL as usize, "strangers take no memory");
        let now = throttle.since;
        assert_eq!(throttle.next_window(now + WINDOW / 2), None);
        assert_eq!(throttle.next_window(now + WINDOW), Some(95 + 955));
        assert!(throttle.allows(1), "another window");
        assert_eq!(throttle.next_window(now + 2 * WINDOW), None, "nothing was left out");
    }
}
