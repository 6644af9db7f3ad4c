//! Histories of partitioned logs, held compactly: sends, polls, assignments, transactions, committed
//! offsets, rebalances; in the order in which they were seen to happen.
//!
//! Only the order of invocations and completions counts for a judgement; times are for people (and
//! need not be of one clock). How they are recorded is in `record`, what they say in `view`; files
//! are in [`crate::json`].

mod record;
mod view;

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

/// A consumer group, by [`History::group`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub u32);

/// Where a reader goes on in a partition that it is assigned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Position {
    /// At this offset.
    At(i64),
    /// Nobody knows: at the end, say, or where its group has committed.
    Unknown,
    /// Where it was before, if it read the partition before.
    Kept,
}

impl From<Option<i64>> for Position {
    fn from(position: Option<i64>) -> Position {
        position.map_or(Position::Unknown, Position::At)
    }
}

/// What a group did to the partitions of a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// They are the member's from now on, beside those that it has.
    Assigned,
    /// The member was asked to give them up, and has.
    Revoked,
    /// The member learnt that they had been taken from it: they may have been another's before.
    Lost,
    /// Something of the above, at some time in the operation that the member has under way.
    Changed,
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
    /// From now on a group decides what the process reads, and from where.
    Subscribe,
    /// A group took partitions from the process or gave it some; see [`History::positions`].
    Rebalance {
        /// Where its partitions start among all positions.
        first: u64,
        /// How many.
        count: u32,
        /// Which group.
        group: Group,
        /// In which generation of the group (or epoch of the member), -1 if unknown.
        generation: i32,
        /// What.
        change: Change,
    },
    /// Commits offsets to a group; see [`History::positions`].
    Commit {
        /// Where its offsets start among all positions.
        first: u64,
        /// How many.
        count: u32,
        /// Which group.
        group: Group,
        /// As a member of this generation (or in this epoch of the member), -1 if unknown.
        generation: i32,
    },
    /// Returns the offsets that a group has committed; see [`History::positions`].
    Committed {
        /// Where its offsets start among all positions.
        first: u64,
        /// How many.
        count: u32,
        /// Which group.
        group: Group,
    },
    /// A transaction, from its begin to what came of it: [`Outcome::Ok`] is committed,
    /// [`Outcome::Fail`] aborted. [`Operation::transaction`] says what is in it.
    Transaction {
        /// When its end was asked for (as [`Stamp::seq`]), [`u64::MAX`] if that is not said.
        ending: u64,
    },
    /// The process ended; whoever goes on by its number knows nothing of what was before.
    Crash,
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
    /// Are there any, so that passes over all operations can be spared?
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
