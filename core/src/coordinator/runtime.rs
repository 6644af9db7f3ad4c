//! The runtime of one coordinator; its states are in the table in [`super`].

use alloc::boxed::Box;
use alloc::format;
use alloc::vec::Vec;

use super::parked::Parked;
use super::timers::Timers;
use super::{
    Context, Decision, Failure, LoadFailure, Log, Outcome, Piece, Position, RETRY_BACKOFF, ReadAt,
    ReadFailure, ReplayLog, Shard, TimerChange,
};
use crate::env::Env;
use crate::event::{ConnectionId, TimerKey};
use crate::types::{LeaderEpoch, Monotonic, Offset};

/// One coordinator: a shard, and what it needs to serve requests from its log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coordinator<S: Shard> {
    settings: S::Settings,
    state: State<S>,
}

/// The state that a coordinator is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// This node does not lead the log.
    Inactive,
    /// The log is being replayed.
    Loading,
    /// It serves requests.
    Active,
    /// The log could not be replayed.
    Failed,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum State<S: Shard> {
    Inactive,
    Loading(Box<Loading<S>>),
    Active(Box<Active<S>>),
    Failed { epoch: LeaderEpoch, why: LoadFailure },
}

/// A load. One read is under way: everything below its offset is replayed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Loading<S: Shard> {
    shard: S,
    reading: ReadAt,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Active<S: Shard> {
    epoch: LeaderEpoch,
    shard: S,
    /// Everything below is replayed: the end of the log.
    next: Offset,
    parked: Parked<S>,
    timers: Timers<S::Timer>,
}

impl<S: Shard> Coordinator<S> {
    /// A coordinator that is not active.
    pub fn new(settings: S::Settings) -> Coordinator<S> {
        Coordinator { settings, state: State::Inactive }
    }

    /// Its settings.
    pub fn settings(&self) -> &S::Settings {
        &self.settings
    }

    /// The state that it is in.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Inactive => Phase::Inactive,
            State::Loading(_) => Phase::Loading,
            State::Active(_) => Phase::Active,
            State::Failed { .. } => Phase::Failed,
        }
    }

    /// Why it could not be loaded.
    pub fn load_failure(&self) -> Option<&LoadFailure> {
        match &self.state {
            State::Failed { why, .. } => Some(why),
            State::Inactive | State::Loading(_) | State::Active(_) => None,
        }
    }

    /// The epoch in which it is active.
    pub fn epoch(&self) -> Option<LeaderEpoch> {
        self.active().map(|active| active.epoch)
    }

    /// The shard with everything that was decided, committed or not, while it is active.
    pub fn shard(&self) -> Option<&S> {
        self.active().map(|active| &active.shard)
    }

    /// The number of answers that wait for a commit.
    pub fn parked(&self) -> usize {
        self.active().map_or(0, |active| active.parked.len())
    }

    /// When a timer of the shard fires.
    pub fn deadline(&self, timer: &S::Timer) -> Option<Monotonic> {
        self.active()?.timers.deadline(timer)
    }

    fn active(&self) -> Option<&Active<S>> {
        match &self.state {
            State::Active(active) => Some(active),
            State::Inactive | State::Loading(_) | State::Failed { .. } => None,
        }
    }

    fn active_mut(&mut self) -> Option<&mut Active<S>> {
        match &mut self.state {
            State::Active(active) => Some(active),
            State::Inactive | State::Loading(_) | State::Failed { .. } => None,
        }
    }

    /// This node leads the log, and `shard` is the replay of all of it, up to `next`.
    pub fn activate(
        &mut self,
        epoch: LeaderEpoch,
        shard: S,
        next: Offset,
        log: &mut dyn Log<S::Record, S::Attributes>,
        env: &mut dyn Env,
        facts: &mut Vec<S::Fact>,
    ) {
        self.unload(env, facts);
        assert_eq!(next, log.end(), "a coordinator starts from all of its log");
        let commands = shard.activation(epoch);
        let (parked, timers) = (Parked::default(), Timers::default());
        self.state = State::Active(Box::new(Active { epoch, shard, next, parked, timers }));
        for command in commands {
            // See `Shard::activation`: the refusals of a log are the shard's to foresee.
            let _ = self.run(None, &command, log, env, facts);
        }
    }

    /// This node leads the log in this epoch: loads the shard from it, unless it is loaded already.
    pub fn load(
        &mut self,
        epoch: LeaderEpoch,
        log: &mut dyn ReplayLog<S::Record, S::Attributes>,
        env: &mut dyn Env,
        facts: &mut Vec<S::Fact>,
    ) {
        match &mut self.state {
            State::Inactive => self.begin_load(epoch, log, env, facts),
            State::Failed { epoch: failed, .. } => {
                if epoch > *failed {
                    self.begin_load(epoch, log, env, facts);
                }
            }
            State::Loading(loading) => {
                if epoch > loading.reading.epoch {
                    loading.reading.epoch = epoch;
                    log.read(loading.reading, env);
                }
            }
            State::Active(active) => {
                if epoch > active.epoch {
                    active.epoch = epoch;
                    assert_eq!(active.next, log.end(), "nothing was written by another leader");
                }
            }
        }
    }

    fn begin_load(
        &mut self,
        epoch: LeaderEpoch,
        log: &mut dyn ReplayLog<S::Record, S::Attributes>,
        env: &mut dyn Env,
        facts: &mut Vec<S::Fact>,
    ) {
        let loading = Loading {
            shard: S::empty(&self.settings),
            reading: ReadAt { epoch, from: log.start() },
        };
        self.state = State::Loading(Box::new(loading));
        self.advance_load(log, env, facts);
    }

    /// Reads on, or becomes active at the end of the log.
    fn advance_load(
        &mut self,
        log: &mut dyn ReplayLog<S::Record, S::Attributes>,
        env: &mut dyn Env,
        facts: &mut Vec<S::Fact>,
    ) {
        let State::Loading(loading) = &self.state else { return };
        let ReadAt { epoch, from } = loading.reading;
        if from < log.end() {
            return log.read(loading.reading, env);
        }
        let State::Loading(loading) = core::mem::replace(&mut self.state, State::Inactive) else {
            return;
        };
        self.activate(epoch, loading.shard, from, log, env, facts);
    }

    /// The outcome of a read of a load. That of an earlier leadership changes nothing.
    pub fn on_read(
        &mut self,
        at: ReadAt,
        outcome: Result<Piece<S::Record, S::Attributes>, ReadFailure>,
        log: &mut dyn ReplayLog<S::Record, S::Attributes>,
        env: &mut dyn Env,
        facts: &mut Vec<S::Fact>,
    ) {
        let State::Loading(loading) = &mut self.state else { return };
        // If the leadership is over, or a new epoch has begun, the coordinator is about to be told.
        if loading.reading != at || log.epoch() != Some(at.epoch) {
            return;
        }
        let why = match outcome {
            Ok(piece) => match loading.replay(piece) {
                Ok(()) => return self.advance_load(log, env, facts),
                Err(why) => why,
            },
            // What was replayed may rest on records that are gone.
            Err(ReadFailure::BelowStart) if log.start() > at.from => {
                return self.begin_load(at.epoch, log, env, facts);
            }
            Err(ReadFailure::BelowStart | ReadFailure::Corrupt) => LoadFailure::Unreadable(at.from),
        };
        self.state = State::Failed { epoch: at.epoch, why };
    }

    /// This node no longer leads the log. All state is dropped. Callers that wait have to ask the
    /// next coordinator; what was written may still be committed.
    pub fn unload(&mut self, env: &mut dyn Env, facts: &mut Vec<S::Fact>) {
        let State::Active(active) = core::mem::replace(&mut self.state, State::Inactive) else {
            return;
        };
        let Active { shard, parked, mut timers, .. } = *active;
        timers.disarm_all(env);
        parked.fail_all(Failure::NotCoordinator, S::expiry_key(&self.settings), env, facts);
        for (to, reply) in shard.held() {
            S::answer(to, Outcome::Failed(reply, Failure::NotCoordinator), env, facts);
        }
    }

    /// A request, whether it writes or only reads. It is answered when everything that the answer
    /// was decided on is committed.
    pub fn on_request(
        &mut self,
        caller: S::Caller,
        command: &S::Command,
        log: &mut dyn Log<S::Record, S::Attributes>,
        env: &mut dyn Env,
        facts: &mut Vec<S::Fact>,
    ) {
        // The caller has been told of a failure.
        let _ = self.run(Some(caller), command, log, env, facts);
    }

    /// The same without a caller: something happened that the coordinator has to know.
    pub fn on_command(
        &mut self,
        command: &S::Command,
        log: &mut dyn Log<S::Record, S::Attributes>,
        env: &mut dyn Env,
        facts: &mut Vec<S::Fact>,
    ) -> Result<(), Failure> {
        self.run(None, command, log, env, facts)
    }

    /// Everything below `upto` is committed.
    pub fn on_committed(&mut self, upto: Offset, env: &mut dyn Env, facts: &mut Vec<S::Fact>) {
        if let Some(active) = self.active_mut() {
            active.parked.on_committed(upto, env, facts);
        }
    }

    /// A timer of the environment fired; a stale firing is a no-op.
    pub fn on_timer(
        &mut self,
        key: TimerKey,
        deadline: Monotonic,
        log: &mut dyn Log<S::Record, S::Attributes>,
        env: &mut dyn Env,
        facts: &mut Vec<S::Fact>,
    ) {
        let expiry = S::expiry_key(&self.settings);
        let now = env.now();
        let Some(active) = self.active_mut() else { return };
        if key == expiry {
            return active.parked.on_expiry(deadline, key, env, facts);
        }
        for (deadline, timer) in active.timers.due(key, deadline, now) {
            if !self.active_mut().is_some_and(|active| active.timers.take(&timer, deadline)) {
                continue;
            }
            let command = S::timeout(timer.clone(), deadline);
            match self.run(None, &command, log, env, facts) {
                Ok(()) | Err(Failure::NotCoordinator | Failure::Loading) => {}
                Err(Failure::NotEnoughReplicas | Failure::TooLarge | Failure::TimedOut) => {
                    self.change_timer(timer, TimerChange::After(RETRY_BACKOFF), env);
                }
            }
        }
        if let Some(active) = self.active_mut() {
            active.timers.rearm(key, env);
        }
    }

    /// The connection is gone: drops the answers that wait for it. What was written stays.
    pub fn on_connection_closed(&mut self, connection: ConnectionId) {
        if let Some(active) = self.active_mut() {
            active.parked.on_connection_closed(connection);
        }
    }

    /// Decides, appends, replays, answers, and changes the soft state.
    fn run(
        &mut self,
        caller: Option<S::Caller>,
        command: &S::Command,
        log: &mut dyn Log<S::Record, S::Attributes>,
        env: &mut dyn Env,
        facts: &mut Vec<S::Fact>,
    ) -> Result<(), Failure> {
        let active = match self.state.serve(log) {
            Ok(active) => active,
            Err(failure) => {
                if let Some(to) = caller {
                    S::answer(to, Outcome::Refused(command, failure), env, facts);
                }
                return Err(failure);
            }
        };
        assert_eq!(active.next, log.end(), "only the coordinator appends to its log");
        let context = Context { next: active.next, now: env.now() };
        let mut decision = active.shard.decide(&self.settings, caller.as_ref(), command, &context);
        for note in core::mem::take(&mut decision.notes) {
            env.note(note);
        }
        if !decision.records.is_empty() {
            match log.append(&decision.attributes, &decision.records, env) {
                Ok(end) => active.replay(&decision, end, env),
                Err(refusal) => {
                    if let (Some(to), Some(reply)) = (caller, decision.reply) {
                        S::answer(to, Outcome::Failed(reply, refusal.into()), env, facts);
                    }
                    return Err(refusal.into());
                }
            }
        }
        let own = caller.into_iter().zip(decision.reply);
        let deadline = env.now().after(S::patience(&self.settings, command));
        let committed = log.committed();
        for (to, reply) in own.chain(decision.others) {
            if active.next <= committed {
                S::answer(to, Outcome::Done(reply), env, facts);
            } else {
                let expiry = S::expiry_key(&self.settings);
                active.parked.park(active.next, to, reply, deadline, expiry, env);
            }
        }
        if active.next <= committed {
            facts.extend(decision.facts);
        } else if !decision.facts.is_empty() {
            active.parked.park_facts(active.next, decision.facts);
        }
        for change in decision.changes {
            active.shard.apply(change);
        }
        for (timer, change) in decision.timers {
            self.change_timer(timer, change, env);
        }
        Ok(())
    }

    fn change_timer(&mut self, timer: S::Timer, change: TimerChange, env: &mut dyn Env) {
        let key = S::timer_key(&self.settings, &timer);
        let now = env.now();
        let Some(active) = self.active_mut() else { return };
        match change {
            TimerChange::After(delay) => active.timers.set(timer, key, now.after(delay), env),
            TimerChange::Cancel => active.timers.cancel(&timer, key, env),
        }
    }
}

impl<S: Shard> State<S> {
    /// The coordinator, if it serves requests.
    fn serve(
        &mut self,
        log: &dyn Log<S::Record, S::Attributes>,
    ) -> Result<&mut Active<S>, Failure> {
        match self {
            State::Active(active) if log.epoch() == Some(active.epoch) => Ok(active),
            // If active: the leadership is over, and the coordinator is about to be told.
            State::Active(_) | State::Inactive | State::Failed { .. } => {
                Err(Failure::NotCoordinator)
            }
            State::Loading(_) => Err(Failure::Loading),
        }
    }
}

impl<S: Shard> Loading<S> {
    fn replay(&mut self, piece: Piece<S::Record, S::Attributes>) -> Result<(), LoadFailure> {
        let from = self.reading.from;
        if piece.next <= from {
            return Err(LoadFailure::Unreadable(from));
        }
        for (at, attributes, record) in piece.records {
            // A read may begin in the middle of a batch.
            if at.offset >= self.reading.from {
                self.shard
                    .replay(at, &attributes, &record)
                    .map_err(|unfit| LoadFailure::Unfit(at.offset, format!("{unfit}")))?;
                self.reading.from = at.offset.next();
            }
        }
        self.reading.from = piece.next.max(self.reading.from);
        Ok(())
    }
}

impl<S: Shard> Active<S> {
    /// Replays what was appended.
    fn replay(&mut self, decision: &Decision<S>, end: Offset, env: &mut dyn Env) {
        for record in &decision.records {
            let at = Position { offset: self.next, epoch: self.epoch };
            if let Err(unfit) = self.shard.replay(at, &decision.attributes, record) {
                panic!("a coordinator writes only records that fit its state: {unfit}");
            }
            self.shard.note(record, env);
            self.next = self.next.next();
        }
        assert_eq!(self.next, end, "the log appends exactly the records");
    }
}
