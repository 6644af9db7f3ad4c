//! What waits for a commit: answers, until their deadline, and facts.
//!
//! An answer waits for the log end that it was decided on, even if its command wrote nothing: it
//! may depend on records that are not committed yet.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;

use super::{Failure, Outcome, Shard};
use crate::env::{Env, Timers};
use crate::event::{ConnectionId, TimerKey};
use crate::types::{Monotonic, Offset};

/// An answer that waits for its records.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Waiting<S: Shard> {
    reply: S::Reply,
    deadline: Monotonic,
}

/// Keyed by the log end that has to be committed first.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Parked<S: Shard> {
    replies: BTreeMap<(Offset, S::Caller), Waiting<S>>,
    deadlines: BTreeSet<(Monotonic, Offset, S::Caller)>,
    facts: BTreeMap<Offset, Vec<S::Fact>>,
    /// When the first answer times out. The timer may be armed earlier, never later.
    armed: Option<Monotonic>,
}

impl<S: Shard> Default for Parked<S> {
    fn default() -> Parked<S> {
        Parked {
            replies: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            facts: BTreeMap::new(),
            armed: None,
        }
    }
}

impl<S: Shard> Parked<S> {
    /// The number of answers that wait.
    pub(super) fn len(&self) -> usize {
        self.replies.len()
    }

    /// An answer that waits until everything below `needs` is committed.
    pub(super) fn park(
        &mut self,
        needs: Offset,
        to: S::Caller,
        reply: S::Reply,
        deadline: Monotonic,
        expiry: TimerKey,
        env: &mut dyn Timers,
    ) {
        self.deadlines.insert((deadline, needs, to.clone()));
        let before = self.replies.insert((needs, to), Waiting { reply, deadline });
        assert!(before.is_none(), "a caller waits for one answer");
        self.arm(deadline, expiry, env);
    }

    /// Facts that wait for the same.
    pub(super) fn park_facts(&mut self, needs: Offset, facts: Vec<S::Fact>) {
        self.facts.entry(needs).or_default().extend(facts);
    }

    /// Everything below `upto` is committed.
    pub(super) fn on_committed(
        &mut self,
        upto: Offset,
        env: &mut dyn Env,
        facts: &mut Vec<S::Fact>,
    ) {
        while let Some(needs) = self.first().filter(|needs| *needs <= upto) {
            while let Some(entry) = self.replies.first_entry().filter(|e| e.key().0 == needs) {
                let ((_, to), waiting) = entry.remove_entry();
                self.deadlines.remove(&(waiting.deadline, needs, to.clone()));
                S::answer(to, Outcome::Done(waiting.reply), env, facts);
            }
            facts.extend(self.facts.remove(&needs).unwrap_or_default());
        }
    }

    fn first(&self) -> Option<Offset> {
        let reply = self.replies.first_key_value().map(|((needs, _), _)| *needs);
        let fact = self.facts.first_key_value().map(|(needs, _)| *needs);
        reply.into_iter().chain(fact).min()
    }

    /// The expiry timer fired: answers what has waited too long. A stale firing is a no-op.
    pub(super) fn on_expiry(
        &mut self,
        deadline: Monotonic,
        expiry: TimerKey,
        env: &mut dyn Env,
        facts: &mut Vec<S::Fact>,
    ) {
        if self.armed != Some(deadline) {
            return;
        }
        self.armed = None;
        let now = env.now();
        let mut late = BTreeSet::new();
        while self.deadlines.first().is_some_and(|(deadline, ..)| *deadline <= now) {
            late.extend(self.deadlines.pop_first().map(|(_, needs, to)| (needs, to)));
        }
        for key in late {
            if let Some(waiting) = self.replies.remove(&key) {
                let outcome = Outcome::Failed(waiting.reply, Failure::TimedOut);
                S::answer(key.1, outcome, env, facts);
            }
        }
        if let Some((first, ..)) = self.deadlines.first() {
            self.arm(*first, expiry, env);
        }
    }

    fn arm(&mut self, deadline: Monotonic, expiry: TimerKey, env: &mut dyn Timers) {
        if self.armed.is_none_or(|armed| deadline < armed) {
            self.armed = Some(deadline);
            env.arm(expiry, deadline);
        }
    }

    /// Drops the answers for this connection.
    pub(super) fn on_connection_closed(&mut self, connection: ConnectionId) {
        let stays = |to: &S::Caller| S::connection(to) != Some(connection);
        self.replies.retain(|(_, to), _| stays(to));
        self.deadlines.retain(|(_, _, to)| stays(to));
    }

    /// Leadership is lost: the answers fail, the facts are dropped.
    pub(super) fn fail_all(
        self,
        failure: Failure,
        expiry: TimerKey,
        env: &mut dyn Env,
        facts: &mut Vec<S::Fact>,
    ) {
        if self.armed.is_some() {
            env.disarm(expiry);
        }
        for ((_, to), waiting) in self.replies {
            S::answer(to, Outcome::Failed(waiting.reply, failure), env, facts);
        }
    }
}
