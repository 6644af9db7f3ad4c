//! A shard's timers: many timers with a deadline each, served by a few timers of the environment.
//!
//! What a timer does lives in the shard.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::Plain;
use crate::env::Timers as Env;
use crate::event::TimerKey;
use crate::types::Monotonic;

/// The timers that are set, by the environment's timer that serves them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Timers<T: Plain + Ord> {
    deadlines: BTreeMap<T, (TimerKey, Monotonic)>,
    queues: BTreeMap<TimerKey, BTreeSet<(Monotonic, T)>>,
    /// The deadline that each of the environment's timers is armed with.
    armed: BTreeMap<TimerKey, Monotonic>,
}

impl<T: Plain + Ord> Default for Timers<T> {
    fn default() -> Timers<T> {
        Timers { deadlines: BTreeMap::new(), queues: BTreeMap::new(), armed: BTreeMap::new() }
    }
}

impl<T: Plain + Ord> Timers<T> {
    /// When a timer fires.
    pub(super) fn deadline(&self, timer: &T) -> Option<Monotonic> {
        self.deadlines.get(timer).map(|(_, deadline)| *deadline)
    }

    /// Sets a timer, or moves it.
    pub(super) fn set(&mut self, timer: T, key: TimerKey, deadline: Monotonic, env: &mut dyn Env) {
        self.remove(&timer);
        self.deadlines.insert(timer.clone(), (key, deadline));
        let queue = self.queues.entry(key).or_default();
        queue.insert((deadline, timer.clone()));
        let is_first = queue.first().is_some_and(|(_, first)| *first == timer);
        if is_first || self.armed.get(&key) != self.first(key).as_ref() {
            self.arm(key, env);
        }
    }

    /// Cancels a timer. When nothing is left for it, the environment's timer is disarmed.
    pub(super) fn cancel(&mut self, timer: &T, key: TimerKey, env: &mut dyn Env) {
        self.remove(timer);
        match self.first(key) {
            None => {
                self.armed.remove(&key);
                env.disarm(key);
            }
            Some(first) if self.armed.get(&key) != Some(&first) => self.arm(key, env),
            Some(_) => {}
        }
    }

    /// The timers that are due when one of the environment's fires, in the order of their
    /// deadlines. None if the firing is stale. Each has to be [`taken`](Timers::take) before it is
    /// acted upon: what an earlier one led to may have cancelled it or moved it.
    pub(super) fn due(
        &mut self,
        key: TimerKey,
        deadline: Monotonic,
        now: Monotonic,
    ) -> Vec<(Monotonic, T)> {
        if self.armed.get(&key) != Some(&deadline) {
            return Vec::new();
        }
        self.armed.remove(&key);
        let Some(queue) = self.queues.get(&key) else { return Vec::new() };
        let is_due = |(at, _): &&(Monotonic, T)| *at <= deadline.max(now);
        queue.iter().take_while(is_due).cloned().collect()
    }

    /// Takes a timer out if it is still set for this deadline.
    pub(super) fn take(&mut self, timer: &T, deadline: Monotonic) -> bool {
        let is_set = self.deadline(timer) == Some(deadline);
        if is_set {
            self.remove(timer);
        }
        is_set
    }

    /// Arms the environment's timer again after a firing, if any timer is left for it.
    pub(super) fn rearm(&mut self, key: TimerKey, env: &mut dyn Env) {
        let first = self.first(key);
        if first.is_some() && self.armed.get(&key) != first.as_ref() {
            self.arm(key, env);
        }
    }

    /// Disarms everything.
    pub(super) fn disarm_all(&mut self, env: &mut dyn Env) {
        for key in core::mem::take(self).armed.into_keys() {
            env.disarm(key);
        }
    }

    fn remove(&mut self, timer: &T) {
        let Some((key, deadline)) = self.deadlines.remove(timer) else { return };
        if let Some(queue) = self.queues.get_mut(&key) {
            queue.remove(&(deadline, timer.clone()));
            if queue.is_empty() {
                self.queues.remove(&key);
            }
        }
    }

    fn first(&self, key: TimerKey) -> Option<Monotonic> {
        self.queues.get(&key)?.first().map(|(deadline, _)| *deadline)
    }

    fn arm(&mut self, key: TimerKey, env: &mut dyn Env) {
        if let Some(first) = self.first(key) {
            self.armed.insert(key, first);
            env.arm(key, first);
        }
    }
}
