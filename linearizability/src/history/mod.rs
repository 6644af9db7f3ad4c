//! Histories of partitioned logs in compact form: sends, polls, assignments, transactions,
//! committed offsets and rebalances, in the order in which they were observed.
//!
//! Checkers use only the order of invocations and completions; times are for people (and need not
//! come from one clock). `record` records histories, `view` reads them; files are in
//! [`crate::json`].

mod record;
mod view;

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

/// Identifies an operation: its index in the order of invocations, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct OpId(pub u32);

/// A partition, from [`History::partition`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u32);

/// A record's value, unique among the sends to its partition: a number below 2^63, or a text from
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

/// Which acknowledgements a send waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Acks {
    /// None: an acknowledgement says nothing.
    None,
    /// The leader: the record may be lost with it.
    Leader,
    /// All in-sync replicas: the record stays.
    All,
}

/// A consumer group, from [`History::group`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub u32);

/// Where a reader continues in a partition that it is assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Position {
    /// At this offset.
    At(i64),
    /// Unknown: for example at the end, or at the offset that its group has committed.
    Unknown,
    /// Where it was before, if it read the partition before.
    Kept,
}

impl From<Option<i64>> for Position {
    fn from(position: Option<i64>) -> Position {
        position.map_or(Position::Unknown, Position::At)
    }
}

/// How a group changed the partitions of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// They are the member's from now on, in addition to those that it has.
    Assigned,
    /// The member was asked to give them up, and has done so.
    Revoked,
    /// The member learned that it had lost them: they may already have been another member's.
    Lost,
    /// One of the above, at some time during the member's current operation.
    Changed,
}

/// When something was observed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Index among all invocations and completions, from 0. This defines the order.
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
    /// Unknown; an operation without a completion is one of these.
    Info,
}

/// A record that a poll returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Polled {
    /// The partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: i64,
    /// Epoch of the leader that appended it, -1 if the client does not say.
    pub epoch: i32,
    /// Its value.
    pub value: Value,
}

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Appends a record.
    Send {
        /// The partition.
        partition: Partition,
        /// The record's value.
        value: Value,
        /// What an acknowledgement promises.
        acks: Acks,
        /// The record's offset, -1 if the acknowledgement did not say.
        offset: i64,
        /// The leader's epoch, -1 if unknown.
        epoch: i32,
    },
    /// Returns records; see [`History::polled`].
    Poll {
        /// The index of its first record among all.
        first: u64,
        /// How many records.
        count: u32,
    },
    /// Replaces what the process reads, or (`seek`) moves one position; see
    /// [`History::positions`].
    Assign {
        /// The index of its first position among all.
        first: u64,
        /// How many positions.
        count: u32,
        /// Are the other partitions kept?
        seek: bool,
    },
    /// From now on a group decides what the process reads, and from where.
    Subscribe,
    /// A group took partitions from the process or gave it some; see [`History::positions`].
    Rebalance {
        /// The index of its first partition among all positions.
        first: u64,
        /// How many partitions.
        count: u32,
        /// The group.
        group: Group,
        /// The generation of the group (or epoch of the member), -1 if unknown.
        generation: i32,
        /// What changed.
        change: Change,
    },
    /// Commits offsets to a group; see [`History::positions`].
    Commit {
        /// The index of its first offset among all positions.
        first: u64,
        /// How many offsets.
        count: u32,
        /// The group.
        group: Group,
        /// The generation (or member epoch) that the member commits in, -1 if unknown.
        generation: i32,
    },
    /// Returns the offsets that a group has committed; see [`History::positions`].
    Committed {
        /// The index of its first offset among all positions.
        first: u64,
        /// How many offsets.
        count: u32,
        /// The group.
        group: Group,
    },
    /// A transaction, from its begin to its outcome: [`Outcome::Ok`] is committed,
    /// [`Outcome::Fail`] aborted. [`Operation::transaction`] says which operations are in it.
    Transaction {
        /// When its end was requested (as [`Stamp::seq`]), [`u64::MAX`] if that is not recorded.
        ending: u64,
    },
    /// The process ended; a later process with its number knows nothing of what came before.
    Crash,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operation {
    /// The process.
    pub process: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// When it was invoked.
    pub invoked: Stamp,
    /// When the answer came; `None` if none did.
    pub completed: Option<Stamp>,
    /// What it does.
    pub action: Action,
    /// The transaction that it is in, or [`NO_TRANSACTION`].
    member_of: u32,
}

const NO_TRANSACTION: u32 = u32::MAX;

impl Operation {
    /// The transaction that it is in.
    pub fn transaction(&self) -> Option<OpId> {
        (self.member_of != NO_TRANSACTION).then_some(OpId(self.member_of))
    }
}

/// A loss of acknowledged records that the checker must admit (an unclean election, the last intact
/// copy destroyed). It opens a new lineage of the partition: records at `offset` and beyond that
/// were appended in epochs before `epoch` may be gone, and others may take their offsets. Nothing
/// is promised between a record of `epoch` or later and one of those; a reader can distinguish them
/// by their leader epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Loss {
    /// The partition.
    pub partition: Partition,
    /// The first offset that may be lost: where the log ended when `epoch` began.
    pub offset: i64,
    /// The first leader epoch of the new lineage.
    pub epoch: i32,
    /// The time in nanoseconds, for people.
    pub time: u64,
}

/// What clients saw. Invocations and completions are recorded in the order in which they happened.
#[derive(Clone, Debug, Default)]
pub struct History {
    operations: Vec<Operation>,
    polled: Vec<Polled>,
    positions: Vec<(Partition, Position)>,
    partitions: Names,
    groups: Names,
    texts: Names,
    /// Sends and the records that they were made from, by operation.
    sources: Vec<(OpId, Partition, i64)>,
    /// Sends and the amounts that they move, by operation.
    amounts: Vec<(OpId, i64)>,
    losses: Vec<Loss>,
    next_seq: u64,
    /// Are there transactions, and operations of groups? If not, passes over all operations can be
    /// skipped.
    transactions: bool,
    groups_used: bool,
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
