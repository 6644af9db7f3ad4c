//! A second shard: a store of keys and values, as small as one can be that uses all of the runtime.
//!
//! It has leases (a key is deleted when its lease ends), watches (callers that wait for the next
//! change of a key) and transactions (changes that count from their commit marker on).

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::fmt;
use core::time::Duration;

use crate::coordinator::{
    Context, Decision, Failure, Outcome, Position, ReadAt, Refusal, Shard, TimerChange,
};
use crate::coordinator::{Log, ReplayLog};
use crate::env::{Env, Probe};
use crate::event::{ConnectionId, TimerKey};
use crate::types::{LeaderEpoch, Monotonic, Offset};

pub(super) const EXPIRY: TimerKey = TimerKey::Workload(0);
pub(super) const TIMERS: TimerKey = TimerKey::Workload(1);
pub(super) const LEASE: Duration = Duration::from_secs(10);
pub(super) const WATCH: Duration = Duration::from_secs(4);
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// The most records of a batch.
const MAX_BATCH: usize = 3;

/// What the log stands for, and who watches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Kv {
    /// Each key's value, and whether it has a lease.
    pub(super) values: BTreeMap<u8, (u32, bool)>,
    /// The changes of open transactions, by producer.
    pub(super) open: BTreeMap<u8, Vec<(u8, u32)>>,
    /// Soft state.
    pub(super) watches: BTreeMap<u8, BTreeSet<Caller>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Caller {
    pub(super) connection: u64,
    pub(super) number: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Command {
    Put {
        key: u8,
        value: u32,
        lease: bool,
    },
    /// As many puts in one batch.
    Fill {
        count: u8,
        value: u32,
    },
    Get {
        key: u8,
    },
    Watch {
        key: u8,
    },
    /// Part of the producer's transaction.
    Add {
        producer: u8,
        key: u8,
        value: u32,
    },
    End {
        producer: u8,
        commit: bool,
    },
    TakeOver,
    Timeout(Timer),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Timer {
    Lease(u8),
    Watch(u8, Caller),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Record {
    Put { key: u8, value: u32, lease: bool },
    Delete { key: u8 },
    Marker { commit: bool },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reply {
    Written(u32),
    Value(Option<u32>),
    Changed(u32),
    Unchanged,
}

/// What others are told: here the answers, too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fact {
    Done(Caller, Reply),
    Refused(Caller, Failure),
    Failed(Caller, Reply, Failure),
    Committed(u32),
}

#[derive(Debug)]
pub(super) enum Change {
    Watch(u8, Caller),
    Release(u8, Caller),
}

#[derive(Debug)]
pub(super) struct NoTransaction(u8);

impl fmt::Display for NoTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "producer {} has no open transaction", self.0)
    }
}

impl Kv {
    /// A change of one key outside of a transaction: releases those who watch it.
    fn put(&self, key: u8, value: u32, lease: bool) -> Decision<Kv> {
        let mut decision = Decision::records(Vec::from([Record::Put { key, value, lease }]));
        decision.reply = Some(Reply::Written(value));
        for caller in self.watches.get(&key).into_iter().flatten() {
            decision.others.push((*caller, Reply::Changed(value)));
            decision.changes.push(Change::Release(key, *caller));
            decision.timers.push((Timer::Watch(key, *caller), TimerChange::Cancel));
        }
        let lease = if lease { TimerChange::After(LEASE) } else { TimerChange::Cancel };
        decision.timers.push((Timer::Lease(key), lease));
        decision.facts.push(Fact::Committed(value));
        decision
    }

    fn timed_out(&self, timer: &Timer) -> Decision<Kv> {
        match timer {
            Timer::Lease(key) => Decision::records(Vec::from([Record::Delete { key: *key }])),
            Timer::Watch(key, caller) => Decision {
                others: Vec::from([(*caller, Reply::Unchanged)]),
                changes: Vec::from([Change::Release(*key, *caller)]),
                ..Decision::default()
            },
        }
    }
}

impl Shard for Kv {
    type Settings = ();
    type Command = Command;
    type Record = Record;
    /// The producer whose transaction the batch belongs to.
    type Attributes = Option<u8>;
    type Unfit = NoTransaction;
    type Change = Change;
    type Timer = Timer;
    type Caller = Caller;
    type Reply = Reply;
    type Fact = Fact;

    fn empty((): &()) -> Kv {
        Kv::default()
    }

    fn decide(
        &self,
        (): &(),
        caller: Option<&Caller>,
        command: &Command,
        _: &Context,
    ) -> Decision<Kv> {
        match *command {
            Command::Put { key, value, lease } => self.put(key, value, lease),
            Command::Fill { count, value } => {
                let put = |key| Record::Put { key, value, lease: false };
                let mut decision = Decision::records((0..count).map(put).collect());
                decision.reply = Some(Reply::Written(value));
                decision.timers =
                    (0..count).map(|k| (Timer::Lease(k), TimerChange::Cancel)).collect();
                decision
            }
            Command::Get { key } => {
                Decision::answer(Reply::Value(self.values.get(&key).map(|(value, _)| *value)))
            }
            Command::Watch { key } => {
                let caller = *caller.expect("somebody watches");
                Decision {
                    changes: Vec::from([Change::Watch(key, caller)]),
                    timers: Vec::from([(Timer::Watch(key, caller), TimerChange::After(WATCH))]),
                    ..Decision::default()
                }
            }
            Command::Add { producer, key, value } => Decision {
                attributes: Some(producer),
                records: Vec::from([Record::Put { key, value, lease: false }]),
                reply: Some(Reply::Written(value)),
                ..Decision::default()
            },
            Command::End { producer, commit } if self.open.contains_key(&producer) => Decision {
                attributes: Some(producer),
                records: Vec::from([Record::Marker { commit }]),
                reply: Some(Reply::Unchanged),
                ..Decision::default()
            },
            Command::End { .. } => Decision::answer(Reply::Unchanged),
            Command::TakeOver => {
                let leased = self.values.iter().filter(|(_, (_, lease))| *lease);
                let timer = |key: &u8| (Timer::Lease(*key), TimerChange::After(LEASE));
                Decision {
                    timers: leased.map(|(key, _)| timer(key)).collect(),
                    ..Decision::default()
                }
            }
            Command::Timeout(ref timer) => self.timed_out(timer),
        }
    }

    fn replay(
        &mut self,
        _: Position,
        producer: &Option<u8>,
        record: &Record,
    ) -> Result<(), NoTransaction> {
        match (producer, record) {
            (None, Record::Put { key, value, lease }) => {
                self.values.insert(*key, (*value, *lease));
            }
            (Some(producer), Record::Put { key, value, .. }) => {
                self.open.entry(*producer).or_default().push((*key, *value));
            }
            (_, Record::Delete { key }) => {
                self.values.remove(key);
            }
            (Some(producer), Record::Marker { commit }) => {
                let changes = self.open.remove(producer).ok_or(NoTransaction(*producer))?;
                if *commit {
                    for (key, value) in changes {
                        // A lease that is there stays: its timer knows nothing of this change.
                        let lease = self.values.get(&key).is_some_and(|(_, lease)| *lease);
                        self.values.insert(key, (value, lease));
                    }
                }
            }
            (None, Record::Marker { .. }) => return Err(NoTransaction(0)),
        }
        Ok(())
    }

    fn note(&self, _: &Record, _: &mut dyn Probe) {}

    fn apply(&mut self, change: Change) {
        match change {
            Change::Watch(key, caller) => {
                self.watches.entry(key).or_default().insert(caller);
            }
            Change::Release(key, caller) => {
                if let Some(watches) = self.watches.get_mut(&key) {
                    watches.remove(&caller);
                }
                self.watches.retain(|_, watches| !watches.is_empty());
            }
        }
    }

    fn activation(&self, _: LeaderEpoch) -> Vec<Command> {
        Vec::from([Command::TakeOver])
    }

    fn timeout(timer: Timer, _: Monotonic) -> Command {
        Command::Timeout(timer)
    }

    fn patience((): &(), _: &Command) -> Duration {
        PATIENCE
    }

    fn held(&self) -> Vec<(Caller, Reply)> {
        self.watches.values().flatten().map(|caller| (*caller, Reply::Unchanged)).collect()
    }

    fn connection(caller: &Caller) -> Option<ConnectionId> {
        Some(ConnectionId(caller.connection))
    }

    fn answer(to: Caller, outcome: Outcome<'_, Kv>, _: &mut dyn Env, facts: &mut Vec<Fact>) {
        facts.push(match outcome {
            Outcome::Done(reply) => Fact::Done(to, reply),
            Outcome::Refused(_, failure) => Fact::Refused(to, failure),
            Outcome::Failed(reply, failure) => Fact::Failed(to, reply, failure),
        });
    }

    fn timer_key((): &(), _: &Timer) -> TimerKey {
        TIMERS
    }

    fn expiry_key((): &()) -> TimerKey {
        EXPIRY
    }
}

/// A record in a replica's log; its offset is its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) epoch: LeaderEpoch,
    pub(super) producer: Option<u8>,
    pub(super) record: Record,
}

/// One replica of the log.
#[derive(Clone, Debug, Default)]
pub(super) struct Replica {
    pub(super) entries: Vec<Entry>,
    pub(super) start: usize,
    pub(super) high_watermark: usize,
    pub(super) leads: Option<LeaderEpoch>,
    pub(super) under_min_isr: bool,
    /// Reads that were submitted, the newest last. None is ever removed: any may be delivered late.
    pub(super) reads: Vec<ReadAt>,
    /// A planted bug: what is appended counts as committed.
    pub(super) lies: bool,
}

impl Replica {
    /// The state that the log stands for.
    pub(super) fn replayed(&self) -> Kv {
        let mut kv = Kv::default();
        for (offset, entry) in self.entries.iter().enumerate().skip(self.start) {
            let at = Position { offset: Offset(offset as i64), epoch: entry.epoch };
            kv.replay(at, &entry.producer, &entry.record).expect("it was written");
        }
        kv
    }
}

impl Log<Record, Option<u8>> for Replica {
    fn epoch(&self) -> Option<LeaderEpoch> {
        self.leads
    }

    fn end(&self) -> Offset {
        Offset(self.entries.len() as i64)
    }

    fn committed(&self) -> Offset {
        if self.lies { self.end() } else { Offset(self.high_watermark as i64) }
    }

    fn append(
        &mut self,
        producer: &Option<u8>,
        records: &[Record],
        _: &mut dyn Env,
    ) -> Result<Offset, Refusal> {
        let epoch = self.leads.ok_or(Refusal::NotLeader)?;
        if self.under_min_isr {
            return Err(Refusal::NotEnoughReplicas);
        }
        if records.len() > MAX_BATCH {
            return Err(Refusal::TooLarge);
        }
        let entry = |record: &Record| Entry { epoch, producer: *producer, record: record.clone() };
        self.entries.extend(records.iter().map(entry));
        Ok(self.end())
    }
}

impl ReplayLog<Record, Option<u8>> for Replica {
    fn start(&self) -> Offset {
        Offset(self.start as i64)
    }

    fn read(&mut self, at: ReadAt, _: &mut dyn Env) {
        self.reads.push(at);
    }
}
