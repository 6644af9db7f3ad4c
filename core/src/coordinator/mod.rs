//! One runtime for all coordinators: a state machine whose state is the replay of a replicated log.
//!
//! A [`Shard`] is the state machine. [`Shard::decide`] reads its state and returns a [`Decision`]:
//! records to write and answers to give. Only [`Shard::replay`] changes what the log stands for.
//! [`Coordinator`] is the runtime around one shard and one [`Log`]: it appends the records, replays
//! them, and answers when everything that the answer was decided on is committed. The metadata
//! quorum's controller is one ([`crate::controller`]). Group and transaction coordinators are one
//! each for every partition of their topic that this broker leads.
//!
//! The states, as in Kafka's `CoordinatorRuntime` (its INITIAL and CLOSED are `Inactive` here):
//!
//! | from | to | when |
//! |---|---|---|
//! | `Inactive`, `Failed` of an earlier epoch | `Loading` | this node leads the log ([`Coordinator::load`]) |
//! | `Loading` | `Active` | everything up to the log's end is replayed |
//! | `Loading` | `Failed` | the log cannot be read or replayed |
//! | `Inactive` | `Active` | the log was replayed elsewhere ([`Coordinator::activate`]) |
//! | any | `Inactive` | this node no longer leads ([`Coordinator::unload`]) |
//!
//! A new epoch of the same leader changes only the epoch: nothing was truncated in between.
//!
//! Differences from Kafka, all on purpose:
//!
//! - **Records are appended before they are replayed.** An append is accepted or refused within the
//!   step, so a refusal leaves nothing to revert: no timeline of snapshots, and no soft state that
//!   is ahead of the log (KAFKA-9666).
//! - **Reads wait, too.** A decision without records may depend on records that are not committed.
//!   Kafka's read operations see the last committed state instead, of which there would have to be
//!   a second copy. Here a read is linearizable, and times out while writes cannot commit.
//! - **Nothing is a callback.** Whom an answer is for, what others are told after the commit
//!   ([`Decision::facts`]), and which timers run are values.
//!
//! What does not live here: how records are encoded and stored (the log's side of [`Log`]), which
//! requests there are, and aggregating the answers of several coordinators into one response.

mod parked;
mod runtime;
mod timers;

#[cfg(test)]
mod tests;

pub use runtime::{Coordinator, Phase};

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{Debug, Display};
use core::hash::Hash;
use core::time::Duration;

use crate::env::{Env, Probe};
use crate::event::{ConnectionId, TimerKey};
use crate::note::Note;
use crate::types::{LeaderEpoch, Monotonic, Offset};

/// Plain data: it can be copied, printed, compared and hashed.
pub trait Plain: Clone + Debug + Eq + Hash {}

impl<T: Clone + Debug + Eq + Hash> Plain for T {}

/// The state machine of one coordinator.
///
/// The state that the log stands for changes only in [`Shard::replay`]. Soft state, which no log
/// holds (sessions, callers that wait for others), changes only in [`Shard::apply`].
pub trait Shard: Plain + Sized {
    /// Limits and timeouts, and for which log it is; constant.
    type Settings: Plain;
    /// What may be asked of it, including the random values that the answer may need.
    type Command;
    /// One record of its log.
    type Record: Plain;
    /// What the header of a batch says about all its records, such as the producer of a
    /// transactional batch. `()` if it says nothing.
    type Attributes: Plain + Default;
    /// Why a record cannot be replayed.
    type Unfit: Debug + Display;
    /// A change of soft state.
    type Change;
    /// Names a timer.
    type Timer: Plain + Ord;
    /// Whom an answer goes to. Unique among the requests that are not answered yet.
    type Caller: Plain + Ord;
    /// An answer.
    type Reply: Plain;
    /// What others are told once it is committed.
    type Fact: Plain;

    /// The state of an empty log.
    fn empty(settings: &Self::Settings) -> Self;

    /// Decides a command. `caller` is whom [`Decision::reply`] goes to; `None` if the coordinator
    /// itself asks.
    fn decide(
        &self,
        settings: &Self::Settings,
        caller: Option<&Self::Caller>,
        command: &Self::Command,
        context: &Context,
    ) -> Decision<Self>;

    /// Replays a record. What the coordinator writes must be replayable.
    fn replay(
        &mut self,
        at: Position,
        attributes: &Self::Attributes,
        record: &Self::Record,
    ) -> Result<(), Self::Unfit>;

    /// Notes what a record that was written now has changed. Not called while loading.
    fn note(&self, record: &Self::Record, probe: &mut dyn Probe);

    /// Changes soft state. Called only after the decision's records were appended.
    fn apply(&mut self, change: Self::Change);

    /// What to do, in this order, when the coordinator becomes active: timers for what the log says
    /// is under way, and what the previous coordinator did not get to. A log that refuses the
    /// records drops the command; what has to be tried again belongs behind a timer.
    fn activation(&self, epoch: LeaderEpoch) -> Vec<Self::Command>;

    /// What a timer asks when it fires. It is no longer set then, and is set again, after
    /// [`RETRY_BACKOFF`], if the log refuses the records.
    fn timeout(timer: Self::Timer, deadline: Monotonic) -> Self::Command;

    /// How long the answers to a command may wait for the commit.
    fn patience(settings: &Self::Settings, command: &Self::Command) -> Duration;

    /// The callers that wait in soft state, each with the answer that fails when the coordinator is
    /// unloaded.
    fn held(&self) -> Vec<(Self::Caller, Self::Reply)>;

    /// The connection that a caller waits on, if it is a client.
    fn connection(caller: &Self::Caller) -> Option<ConnectionId>;

    /// Gives an answer.
    fn answer(
        to: Self::Caller,
        outcome: Outcome<'_, Self>,
        env: &mut dyn Env,
        facts: &mut Vec<Self::Fact>,
    );

    /// The environment's timer that serves a timer. Several timers may share one.
    fn timer_key(settings: &Self::Settings, timer: &Self::Timer) -> TimerKey;

    /// The environment's timer for answers that have waited too long.
    fn expiry_key(settings: &Self::Settings) -> TimerKey;
}

/// A timer whose records the log refused fires again after this time (Kafka: 500 ms).
pub const RETRY_BACKOFF: Duration = Duration::from_millis(500);

/// What a decision may use besides the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Context {
    /// The offset of the decision's first record.
    pub next: Offset,
    /// The time of the step.
    pub now: Monotonic,
}

/// What a command leads to. If it writes records and the log refuses them, only its caller is told,
/// and nothing else of the decision happens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Decision<S: Shard> {
    /// What happened, before the records are written.
    pub notes: Vec<Note>,
    /// The attributes of the batch.
    pub attributes: S::Attributes,
    /// Written as one atomic batch.
    pub records: Vec<S::Record>,
    /// The caller's answer; `None` if there is no caller or it waits in soft state.
    pub reply: Option<S::Reply>,
    /// Answers to callers that waited in soft state. The changes release them.
    pub others: Vec<(S::Caller, S::Reply)>,
    /// Changes of soft state, in order.
    pub changes: Vec<S::Change>,
    /// Changes of timers, in order.
    pub timers: Vec<(S::Timer, TimerChange)>,
    /// What others are told once everything decided so far is committed. Dropped if leadership is
    /// lost before: the next coordinator finds in its log what to tell ([`Shard::activation`]).
    pub facts: Vec<S::Fact>,
}

impl<S: Shard> Default for Decision<S> {
    fn default() -> Decision<S> {
        Decision {
            notes: Vec::new(),
            attributes: S::Attributes::default(),
            records: Vec::new(),
            reply: None,
            others: Vec::new(),
            changes: Vec::new(),
            timers: Vec::new(),
            facts: Vec::new(),
        }
    }
}

impl<S: Shard> Decision<S> {
    /// A decision that only answers.
    pub fn answer(reply: S::Reply) -> Decision<S> {
        Decision { reply: Some(reply), ..Decision::default() }
    }

    /// A decision that only writes records.
    pub fn records(records: Vec<S::Record>) -> Decision<S> {
        Decision { records, ..Decision::default() }
    }
}

/// A change of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TimerChange {
    /// Fires once, after this time. Replaces its earlier deadline.
    After(Duration),
    /// Does not fire.
    Cancel,
}

/// What a caller learns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'a, S: Shard> {
    /// The answer, with everything that it depends on committed.
    Done(S::Reply),
    /// The command was not decided.
    Refused(&'a S::Command, Failure),
    /// Each success in the answer has failed, or its outcome is unknown.
    Failed(S::Reply, Failure),
}

/// Why there is no success.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// This node is not the coordinator. What was written may still be committed.
    NotCoordinator,
    /// The coordinator is still loading.
    Loading,
    /// The log takes nothing while it has too few in-sync replicas. Nothing was written.
    NotEnoughReplicas,
    /// The records exceed what one batch of the log may hold. Nothing was written.
    TooLarge,
    /// It was written, but not committed in time. It stays written.
    TimedOut,
}

/// Why a log appended nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// This node may not (or may no longer) append.
    NotLeader,
    /// There are too few in-sync replicas.
    NotEnoughReplicas,
    /// The records exceed what one batch may hold.
    TooLarge,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        match refusal {
            Refusal::NotLeader => Failure::NotCoordinator,
            Refusal::NotEnoughReplicas => Failure::NotEnoughReplicas,
            Refusal::TooLarge => Failure::TooLarge,
        }
    }
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Its offset.
    pub offset: Offset,
    /// The epoch of the leader that wrote it.
    pub epoch: LeaderEpoch,
}

/// The log of a coordinator. While this node leads it, only the coordinator appends to it.
pub trait Log<R, A> {
    /// The epoch in which this node may append, or `None` if it may not.
    fn epoch(&self) -> Option<LeaderEpoch>;
    /// The offset of the next record.
    fn end(&self) -> Offset;
    /// Everything below this offset is committed and was reported as committed.
    fn committed(&self) -> Offset;
    /// Appends records as one atomic batch, with consecutive offsets from [`Log::end`] on. Returns
    /// the end after them. Whether they become committed shows later.
    fn append(
        &mut self,
        attributes: &A,
        records: &[R],
        env: &mut dyn Env,
    ) -> Result<Offset, Refusal>;
}

/// A log that a coordinator can be loaded from.
pub trait ReplayLog<R, A>: Log<R, A> {
    /// The offset of the first record that is still there.
    fn start(&self) -> Offset;
    /// Submits a read. Its outcome arrives in [`Coordinator::on_read`], with the same `at`, in this
    /// or a later step; or never, if leadership is lost before. One read is under way at a time.
    fn read(&mut self, at: ReadAt, env: &mut dyn Env);
}

/// Names a read of a load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadAt {
    /// The epoch of the coordinator that is being loaded.
    pub epoch: LeaderEpoch,
    /// The first offset to read.
    pub from: Offset,
}

/// A part of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Piece<R, A> {
    /// The records, with ascending offsets (there may be gaps), each with its batch's attributes.
    pub records: Vec<(Position, A, R)>,
    /// Where to go on: above the last record, and above a gap behind it. Always above the first
    /// offset that was asked for, even if there is no record.
    pub next: Offset,
}

/// Why a read of a load has no records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadFailure {
    /// The log starts above the offset now.
    BelowStart,
    /// The bytes are not valid records.
    Corrupt,
}

/// Why a coordinator could not be loaded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LoadFailure {
    /// A read from this offset did not get any further.
    Unreadable(Offset),
    /// The record at this offset cannot be replayed, and why.
    Unfit(Offset, String),
}
