//! Histories of sends, polls and assignments, held compactly: what happened, in the order in which
//! it was seen to happen.
//!
//! Only the order of invocations and completions counts for a judgement; times are for people (and
//! need not be of one clock). Files are in [`crate::json`].

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// Names an operation: its place in the order of invocations, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpId(pub u32);

/// A partition, by [`History::partition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u32);

/// A record's value, unique among the sends to its partition: a number below 2^63, or a text by
/// [`History::text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(u64);

const TEXT: u64 = 1 << 63;

impl Value {
    /// A number.
    ///
    /// # Panics
    /// If it is 2^63 or more.
    pub fn number(number: u64) -> Value {
        assert!(number < TEXT, "numbers as values are below 2^63");
        Value(number)
    }

    /// The number, unless it is a text.
    pub fn as_number(self) -> Option<u64> {
        (self.0 < TEXT).then_some(self.0)
    }

    pub(crate) fn raw(self) -> u64 {
        self.0
    }
}

/// Whom a send waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Acks {
    /// Nobody: an acknowledgement says nothing.
    None,
    /// The leader: the record may be lost with it.
    Leader,
    /// All in-sync replicas: the record stays.
    All,
}

/// When something was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Place among all invocations and completions, from 0. This is what order means.
    pub seq: u64,
    /// Nanoseconds since the history's start, for people.
    pub time: u64,
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// It happened.
    Ok,
    /// It did not happen and never will.
    Fail,
    /// Nobody knows; an operation without a completion is one of these.
    Info,
}

/// A record that a poll returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Polled {
    /// From where.
    pub partition: Partition,
    /// Its offset.
    pub offset: i64,
    /// Epoch of the leader that appended it, -1 where the client does not say.
    pub epoch: i32,
    /// Its value.
    pub value: Value,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Appends a record.
    Send {
        /// Where.
        partition: Partition,
        /// What.
        value: Value,
        /// What an acknowledgement promises.
        acks: Acks,
        /// Where it landed, -1 if the acknowledgement did not say.
        offset: i64,
        /// In which leader's epoch, -1 if unknown.
        epoch: i32,
    },
    /// Returns records; see [`History::polled`].
    Poll {
        /// Where its records start among all.
        first: u64,
        /// How many.
        count: u32,
    },
    /// Replaces what the process reads, or (`seek`) moves one position; see
    /// [`History::positions`].
    Assign {
        /// Where its positions start among all.
        first: u64,
        /// How many.
        count: u32,
        /// Are the other partitions kept?
        seek: bool,
    },
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// Who.
    pub process: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// When it was asked for.
    pub invoked: Stamp,
    /// When the answer came; `None` if none did.
    pub completed: Option<Stamp>,
    /// What it does.
    pub action: Action,
}

/// A loss of acknowledged records that the judge shall admit (an unclean election, the last intact
/// copy destroyed). It opens a new lineage of the partition: records at `offset` and beyond that
/// were appended in epochs before `epoch` may be gone, and others may take their offsets. Between a
/// record of `epoch` or later and one of those, nothing is promised; a reader can tell them apart by
/// their leader epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Loss {
    /// Where.
    pub partition: Partition,
    /// The first offset that may be lost: where the log ended when `epoch` began.
    pub offset: i64,
    /// The first leader epoch of the new lineage.
    pub epoch: i32,
    /// When, in nanoseconds, for people.
    pub time: u64,
}

/// What clients saw. Invocations and completions are recorded in the order in which they happened.
#[derive(Clone, Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
    polled: Vec<Polled>,
    positions: Vec<(Partition, Option<i64>)>,
    partitions: Names,
    texts: Names,
    losses: Vec<Loss>,
    next_seq: u64,
}

#[derive(Clone, Debug, Default)]
struct Names {
    names: Vec<String>,
    ids: HashMap<String, u32>,
}

impl Names {
    fn id(&mut self, name: &str) -> u32 {
        if let Some(id) = self.ids.get(name) {
            return *id;
        }
        let id = u32::try_from(self.names.len()).expect("fewer than 2^32 names");
        self.names.push(name.into());
        self.ids.insert(name.into(), id);
        id
    }
}

impl History {
    /// An empty one.
    pub fn new() -> History {
        History::default()
    }

    /// The partition of that name, known from now on.
    pub fn partition(&mut self, name: &str) -> Partition {
        Partition(self.partitions.id(name))
    }

    /// The value that stands for a text.
    pub fn text(&mut self, text: &str) -> Value {
        Value(TEXT | u64::from(self.texts.id(text)))
    }

    fn stamp(&mut self, time: u64) -> Stamp {
        let seq = self.next_seq;
        self.next_seq += 1;
        Stamp { seq, time }
    }

    fn invoke(&mut self, process: u32, time: u64, action: Action) -> OpId {
        let id = u32::try_from(self.operations.len()).expect("fewer than 2^32 operations");
        let invoked = self.stamp(time);
        let outcome = Outcome::Info;
        self.operations.push(Operation { process, outcome, invoked, completed: None, action });
        OpId(id)
    }

    fn complete(&mut self, op: OpId, time: u64, outcome: Outcome) -> &mut Operation {
        let stamp = self.stamp(time);
        let operation = &mut self.operations[op.0 as usize];
        assert!(operation.completed.is_none(), "an operation is completed once");
        operation.completed = Some(stamp);
        operation.outcome = outcome;
        operation
    }

    /// A process asks to append a record. Complete it by [`History::acknowledge`],
    /// [`History::fail`] or [`History::info`], or never.
    pub fn send(
        &mut self,
        process: u32,
        time: u64,
        partition: Partition,
        value: Value,
        acks: Acks,
    ) -> OpId {
        let action = Action::Send { partition, value, acks, offset: -1, epoch: -1 };
        self.invoke(process, time, action)
    }

    /// The send was acknowledged: at this offset, appended in this leader epoch, where known. With
    /// a [`Loss`] admitted, an epoch makes the judgement sharper: without one, a record beyond the
    /// loss is taken to have been lost by it.
    ///
    /// # Panics
    /// If it is not an open send, or the offset or epoch is negative.
    pub fn acknowledge(&mut self, op: OpId, time: u64, at: Option<i64>, in_epoch: Option<i32>) {
        assert!(at.is_none_or(|at| at >= 0) && in_epoch.is_none_or(|epoch| epoch >= 0));
        match &mut self.complete(op, time, Outcome::Ok).action {
            Action::Send { offset, epoch, .. } => {
                *offset = at.unwrap_or(-1);
                *epoch = in_epoch.unwrap_or(-1);
            }
            Action::Poll { .. } | Action::Assign { .. } => panic!("only sends are acknowledged"),
        }
    }

    /// The operation certainly did not happen and never will.
    ///
    /// # Panics
    /// If it is not open.
    pub fn fail(&mut self, op: OpId, time: u64) {
        self.complete(op, time, Outcome::Fail);
    }

    /// The operation may or may not have happened, or may yet.
    ///
    /// # Panics
    /// If it is not open.
    pub fn info(&mut self, op: OpId, time: u64) {
        self.complete(op, time, Outcome::Info);
    }

    /// A process asks for records. Complete it by [`History::return_records`], [`History::fail`] or
    /// [`History::info`], or never. [`History::poll`] does both at once.
    pub fn invoke_poll(&mut self, process: u32, time: u64) -> OpId {
        self.invoke(process, time, Action::Poll { first: 0, count: 0 })
    }

    /// The poll returned these, in this order.
    ///
    /// # Panics
    /// If it is not an open poll.
    pub fn return_records(&mut self, op: OpId, time: u64, records: &[Polled]) {
        let start = self.polled.len() as u64;
        self.polled.extend_from_slice(records);
        match &mut self.complete(op, time, Outcome::Ok).action {
            Action::Poll { first, count } => {
                *first = start;
                *count = u32::try_from(records.len()).expect("fewer than 2^32 records");
            }
            Action::Send { .. } | Action::Assign { .. } => panic!("only polls return records"),
        }
    }

    /// A process got these records, in this order.
    pub fn poll(&mut self, process: u32, time: u64, records: &[Polled]) -> OpId {
        let op = self.invoke_poll(process, time);
        self.return_records(op, time, records);
        op
    }

    /// From now on a process reads these partitions from these positions, and no others; `None` is
    /// a position that is not known (the end, say).
    pub fn assign(
        &mut self,
        process: u32,
        time: u64,
        positions: &[(Partition, Option<i64>)],
    ) -> OpId {
        self.assignment(process, time, positions, false)
    }

    /// From now on a process reads this partition from this position, by its own decision: nothing
    /// follows from where it was.
    pub fn seek(
        &mut self,
        process: u32,
        time: u64,
        partition: Partition,
        position: Option<i64>,
    ) -> OpId {
        self.assignment(process, time, &[(partition, position)], true)
    }

    fn assignment(
        &mut self,
        process: u32,
        time: u64,
        positions: &[(Partition, Option<i64>)],
        seek: bool,
    ) -> OpId {
        let first = self.positions.len() as u64;
        let count = u32::try_from(positions.len()).expect("fewer than 2^32 positions");
        self.positions.extend_from_slice(positions);
        let op = self.invoke(process, time, Action::Assign { first, count, seek });
        self.complete(op, time, Outcome::Ok);
        op
    }

    /// Admits a loss.
    pub fn admit(&mut self, loss: Loss) {
        self.losses.push(loss);
    }

    /// The operations, in the order of their invocations.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// One of them.
    pub fn operation(&self, op: OpId) -> &Operation {
        &self.operations[op.0 as usize]
    }

    /// The records that a poll returned; empty for other operations.
    pub fn polled(&self, operation: &Operation) -> &[Polled] {
        match operation.action {
            Action::Poll { first, count } => &self.polled[first as usize..][..count as usize],
            Action::Send { .. } | Action::Assign { .. } => &[],
        }
    }

    /// Where an assignment or seek starts to read; empty for other operations.
    pub fn positions(&self, operation: &Operation) -> &[(Partition, Option<i64>)] {
        match operation.action {
            Action::Assign { first, count, .. } => {
                &self.positions[first as usize..][..count as usize]
            }
            Action::Send { .. } | Action::Poll { .. } => &[],
        }
    }

    /// All records that polls returned.
    pub fn all_polled(&self) -> &[Polled] {
        &self.polled
    }

    /// The admitted losses.
    pub fn losses(&self) -> &[Loss] {
        &self.losses
    }

    /// How many partitions are named.
    pub fn partition_count(&self) -> usize {
        self.partitions.names.len()
    }

    /// A partition's name.
    pub fn partition_name(&self, partition: Partition) -> &str {
        &self.partitions.names[partition.0 as usize]
    }

    /// A value as people read it.
    pub fn value_text(&self, value: Value) -> String {
        match value.as_number() {
            Some(number) => number.to_string(),
            None => format!("{:?}", self.text_of(value).unwrap_or_default()),
        }
    }

    /// The text that a value stands for; `None` for a number.
    pub fn text_of(&self, value: Value) -> Option<&str> {
        let index = value.0.checked_sub(TEXT)?;
        Some(&self.texts.names[usize::try_from(index).ok()?])
    }
}
