//! The checker for partitioned logs: sends, polls, transactions and groups as in Kafka, in
//! near-linear passes.
//!
//! There is evidence that a record is in the log, at an offset and in a leader's epoch, if a reader
//! read it there, or if a send with [`Acks::All`] was acknowledged there (and its transaction, if
//! it is in one, was committed). The promises about such records follow Jepsen's Kafka workload.
//! The A-numbers are names for cross-reference:
//!
//! | name | what happened |
//! |---|---|
//! | `inconsistent-offsets` (A1) | one offset held two records: two values, or one value in two epochs |
//! | `duplicate` (A2) | one value at two offsets; a violation in transactions, or if [`Options::forbid_duplicates`] |
//! | `lost-write` (A3) | acknowledged by all at an offset that some reader read past, and never read there |
//! | `unseen` (A4) | acknowledged by all and never read, though the history is [`Options::complete`] |
//! | `aborted-read` (A5, G1a) | the value of a send that certainly failed, or was aborted, was read |
//! | `precommitted-read` (A6) | a value was read in the transaction that sent it, or before that transaction's end was requested |
//! | `torn-transaction` (A7) | one record of a committed transaction was read, another is lost |
//! | `G1c`, `G1c-process`, `G1c-realtime` (A8) | transactions that read from each other in a cycle (with the orders of processes and of real time, too); cycles with writes in them (G0) are legal in Kafka |
//! | `poll-skip`, `int-poll-skip` (A9, A11) | between two records that a reader got in succession there is one that was read at another time; `int-`: both came in one poll or transaction |
//! | `nonmonotonic-poll`, `int-nonmonotonic-poll` (A10, A11) | a reader got a record at or before the previous one's offset |
//! | `epoch-regression` | a reader got a record of an older epoch after one of a newer epoch at a smaller offset |
//! | `nonmonotonic-send`, `int-nonmonotonic-send` (A12) | a process' later send is at or before its earlier one (`int-`: in one transaction); a violation in transactions, or if [`Options::forbid_reordered_sends`] |
//! | `garbage-read` (A13) | a value was read that nobody sent |
//! | `real-time-order` (A14) | acknowledged by all before another send began, and yet at or after that one's offset |
//! | `read-before-send` (A14) | a poll returned a value before its send began |
//! | `processed-twice` (A17) | two committed transactions (others: counted) made a record from the same source record |
//! | `processed-never` (A17) | no record was made from one between others that were processed; a violation if complete |
//! | `conservation` (A18) | the amounts of all records that were read do not add up to 0; a violation if complete |
//! | `lost-commit` (A20) | a group's committed offset was found to be one that had been overwritten |
//! | `commit-regression` (A20) | a committed offset went back, although no reader had sought |
//! | `zombie-commit` (A20) | a commit of a superseded generation was accepted |
//! | `garbage-commit` (A20) | a group's committed offset was one that nobody had committed |
//! | `uncommitted-offset` (A21) | a group's committed offset was that of a transaction which had not been committed |
//! | `double-ownership` (A22) | a partition belonged to two members of one generation, or was given to another before its owner gave it up as asked |
//!
//! Counted, and never a violation: `consumed-twice` (A16: how many records a process got more than
//! once while subscribed, outside aborted transactions). Measured on request: `realtime-lag-us`
//! (A15), the worst lag of a reader in microseconds: the time from when a record was known to be in
//! the log to the invocation of a poll that returned others before it, and not it. Kafka promises
//! nothing about that.
//!
//! **Readers.** After `assign`, a reader goes through a partition without a gap and never back.
//! After `subscribe`, a group may take partitions away and give them back at any time between two
//! polls or transactions. Such skips and returns are counted as `poll-skip-subscribed` and
//! `nonmonotonic-poll-subscribed`. Within a poll or transaction they are still violations, except
//! for the partitions of a [`Change::Changed`] in it. A process that reports what it is
//! [`Change::Assigned`] is checked strictly between one assignment and the next. A transaction that
//! aborts takes its polls back: its reader continues from where it began. After one of unknown
//! outcome, positions are unknown.
//!
//! **Transactions.** The contents of a committed transaction are promised as far as they were
//! acknowledged. So are those of an indeterminate one, as soon as one of its records has been read
//! (until then its offsets contradict no others). The contents of an aborted one may not be read,
//! whatever the outcome of the reader's own transaction; its offsets are no evidence.
//!
//! **Lineages.** Each admitted [`Loss`] opens a new lineage: promises between a record before it
//! (at or beyond its offset, of an epoch before its epoch) and one after it (of its epoch or later)
//! are void, and no others. An unknown epoch counts as both before and after.
//!
//! **Acks.** Only [`Acks::All`] promises that a record stays. Other lost records are counted as
//! `lost-acks-1` (acknowledged by the leader, never read there, though its offset was read past or
//! the history is complete).
//!
//! A process has one poll and one transaction open at a time. Readers are expected to get every
//! record from their position on: this checker is not for histories of compacted or expired logs. A
//! group is expected to begin without committed offsets.

mod cycles;
mod explain;
mod groups;
mod lag;
mod lineage;
mod order;
mod page;
mod pipelines;
mod reads;
mod report;
mod table;

use std::collections::HashMap;
use std::fmt;

use crate::{Acks, Action, History, OpId, Outcome, Partition, Value, Verdict};
use groups::Groups;
use lineage::Lineages;
use report::Report;
use table::{Slots, ValueMap};

#[cfg(doc)]
use crate::{Change, Loss};

pub use explain::{Explanation, explain};
pub use page::page;

/// Which promises apply beyond those that always do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// At its end the history reads every partition from start to end: an unread record is lost.
    pub complete: bool,
    /// Are duplicates violations (idempotent producers), or only counted?
    pub forbid_duplicates: bool,
    /// Are reordered sends violations (idempotent producers), or only counted?
    pub forbid_reordered_sends: bool,
    /// Do readers see records of transactions that are not committed? Then seeing them is counted
    /// (as `uncommitted-read`), and proves nothing about the transaction.
    pub read_uncommitted: bool,
    /// Together, readers have read each partition from its start: an unread record before one that
    /// was read is lost, even if no reader is known to have passed it.
    pub covered: bool,
    /// Are generations those of single members (KIP-848's member epochs), not of a group?
    pub member_epochs: bool,
    /// Measure how far readers lag in real time (A15)? This does not affect validity.
    pub measure_lag: bool,
    /// How many anomalies of each kind are described; all are counted.
    pub witnesses: usize,
}

impl Default for Options {
    /// What Kafka promises without idempotence, for a history that may end early; ten witnesses.
    fn default() -> Options {
        Options {
            complete: false,
            forbid_duplicates: false,
            forbid_reordered_sends: false,
            read_uncommitted: false,
            covered: false,
            member_epochs: false,
            measure_lag: false,
            witnesses: 10,
        }
    }
}

/// The history cannot be checked: two sends to one partition have the same value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmbiguousValue {
    /// The partition's name.
    pub partition: String,
    /// The value, as people read it.
    pub value: String,
    /// The two sends.
    pub sends: [OpId; 2],
}

impl fmt::Display for AmbiguousValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AmbiguousValue { partition, value, sends: [first, second] } = self;
        write!(
            f,
            "value {value} was sent to {partition} twice (operations {} and {}): values must be \
             unique within a partition, so that each read matches one send",
            first.0, second.0
        )
    }
}

impl std::error::Error for AmbiguousValue {}

/// Checks the sends and polls of a history.
///
/// # Errors
/// If a value was sent twice to one partition.
pub fn check(history: &History, options: &Options) -> Result<Verdict, AmbiguousValue> {
    let mut judge = Judge::new(history, options)?;
    judge.read_polls();
    judge.prove_transactions();
    judge.judge_skips();
    judge.judge_offsets();
    judge.judge_producers();
    judge.judge_sends();
    judge.judge_transactions();
    judge.judge_real_time();
    judge.judge_pipelines();
    judge.judge_amounts();
    judge.measure_lag();
    let Judge { mut report, .. } = judge;
    if history.has_groups() {
        Groups::of(history, options).judge(&mut report);
    }
    if history.has_transactions() && !options.read_uncommitted {
        cycles::judge(history, &mut report);
    }
    Ok(report.verdict(history.operations().len() as u64))
}

/// A send, as the passes need it.
#[derive(Clone, Copy, Debug)]
struct Send {
    op: OpId,
    partition: u32,
    acks: Acks,
    /// Its outcome, with its transaction's taken into account.
    outcome: Outcome,
    /// Was the send itself acknowledged?
    answered: bool,
    /// Its transaction, or [`NONE`].
    txn: u32,
    /// Where it was acknowledged, or -1.
    acked: i64,
    acked_epoch: i32,
    invoked: u64,
    /// Its first offset in the log by the evidence, or -1.
    first: i64,
    first_epoch: i32,
    /// A read of it has been reported as too early, or as aborted.
    reported: bool,
}

/// No transaction.
const NONE: u32 = u32::MAX;

/// A transaction, as the passes need it.
#[derive(Clone, Copy, Debug)]
struct Txn {
    op: OpId,
    outcome: Outcome,
    /// When its end was requested, [`u64::MAX`] if that is not known.
    ending: u64,
    /// A record of it, and a poll that returned it.
    seen: Option<(OpId, OpId)>,
    /// A record of it that is lost.
    lost: Option<OpId>,
}

/// The outcome of an operation that is in a transaction of this outcome.
fn effective(own: Outcome, transaction: Option<Outcome>) -> Outcome {
    match (own, transaction) {
        (own, None | Some(Outcome::Ok)) => own,
        (Outcome::Fail, Some(Outcome::Info)) | (_, Some(Outcome::Fail)) => Outcome::Fail,
        (Outcome::Ok | Outcome::Info, Some(Outcome::Info)) => Outcome::Info,
    }
}

/// Evidence that this record is at an offset.
#[derive(Clone, Copy, Debug)]
struct Evidence {
    value: u64,
    epoch: i32,
    /// The first operation that says so.
    op: OpId,
    read: bool,
}

/// A partition's evidence, by offset.
struct Part {
    slots: Slots,
    /// For each slot the first evidence.
    first: Vec<Option<Evidence>>,
    /// Slots with evidence of more than one record.
    more: HashMap<usize, Vec<Evidence>>,
    /// For each slot, how many scans begin there minus how many end before it.
    scans: Vec<i32>,
    sends: ValueMap,
    lineages: Lineages,
}

impl Part {
    /// Adds the evidence of a send that counts as acknowledged.
    fn note_acknowledged(&mut self, send: &Send, value: Value) {
        if send.acks == Acks::All && send.acked >= 0 {
            let (value, epoch, op) = (value.raw(), send.acked_epoch, send.op);
            self.note(send.acked, Evidence { value, epoch, op, read: false });
        }
    }

    fn note(&mut self, offset: i64, new: Evidence) {
        let slot = self.slots.get(offset).expect("a slot for each offset of the history");
        let Some(first) = &mut self.first[slot] else {
            self.first[slot] = Some(new);
            return;
        };
        let same = |known: &Evidence| {
            known.value == new.value
                && (known.epoch == new.epoch || known.epoch < 0 || new.epoch < 0)
        };
        let known = if same(first) {
            first
        } else {
            let others = self.more.entry(slot).or_default();
            match others.iter_mut().find(|known| same(known)) {
                Some(known) => known,
                None => {
                    others.push(new);
                    return;
                }
            }
        };
        known.read |= new.read;
        known.epoch = known.epoch.max(new.epoch);
    }

    /// All evidence about an offset.
    fn at(&self, offset: i64) -> impl Iterator<Item = &Evidence> {
        let slot = self.slots.get(offset);
        let first = slot.and_then(|slot| self.first[slot].as_ref());
        let more = slot.and_then(|slot| self.more.get(&slot));
        first.into_iter().chain(more.into_iter().flatten())
    }
}

struct Judge<'a> {
    history: &'a History,
    options: &'a Options,
    parts: Vec<Part>,
    sends: Vec<Send>,
    txns: Vec<Txn>,
    /// Every position of the values that have more than one: (offset, epoch, operation).
    places: HashMap<u32, Vec<(i64, i32, OpId)>>,
    gaps: Vec<reads::Gap>,
    report: Report,
}

impl<'a> Judge<'a> {
    /// Reads the sends and makes the tables.
    fn new(history: &'a History, options: &'a Options) -> Result<Judge<'a>, AmbiguousValue> {
        let txns = txns(history);
        let sends = sends(history, &txns);
        let mut parts = parts(history, &sends);
        for (index, send) in (0..).zip(&sends) {
            let value = send.value(history);
            let part = &mut parts[send.partition as usize];
            if let Some(other) = part.sends.insert(value.raw(), index) {
                return Err(AmbiguousValue {
                    partition: history.partition_name(Partition(send.partition)).into(),
                    value: history.value_text(value),
                    sends: [sends[other as usize].op, send.op],
                });
            }
            if send.outcome == Outcome::Ok {
                part.note_acknowledged(send, value);
            }
        }
        let report = Report::new(&sends, options);
        let (places, gaps) = (HashMap::new(), Vec::new());
        Ok(Judge { history, options, parts, sends, txns, places, gaps, report })
    }

    /// Sends that were acknowledged in a transaction of unknown outcome count if one of its records
    /// was read: it was then committed.
    fn prove_transactions(&mut self) {
        if self.txns.is_empty() {
            return;
        }
        for send in &mut self.sends {
            if send.txn == NONE || send.outcome != Outcome::Info || !send.answered {
                continue;
            }
            if self.txns[send.txn as usize].seen.is_some() {
                send.outcome = Outcome::Ok;
                let value = send.value(self.history);
                self.parts[send.partition as usize].note_acknowledged(send, value);
            }
        }
    }
}

fn txns(history: &History) -> Vec<Txn> {
    let mut txns = Vec::new();
    if !history.has_transactions() {
        return txns;
    }
    for (id, operation) in (0..).zip(history.operations()) {
        if let Action::Transaction { ending } = operation.action {
            let outcome = operation.outcome;
            txns.push(Txn { op: OpId(id), outcome, ending, seen: None, lost: None });
        }
    }
    txns
}

fn sends(history: &History, txns: &[Txn]) -> Vec<Send> {
    let mut sends = Vec::new();
    for (id, operation) in (0..).zip(history.operations()) {
        if let Action::Send { partition, acks, offset, epoch, .. } = operation.action {
            let txn = operation.transaction().map(|op| {
                let at = txns.binary_search_by_key(&op, |txn| txn.op);
                at.expect("joined to a transaction of the history")
            });
            let outcome = effective(operation.outcome, txn.map(|txn| txns[txn].outcome));
            sends.push(Send {
                op: OpId(id),
                partition: partition.0,
                acks,
                outcome,
                answered: operation.outcome == Outcome::Ok,
                txn: txn.map_or(NONE, |txn| txn as u32),
                acked: if outcome == Outcome::Fail { -1 } else { offset },
                acked_epoch: epoch,
                invoked: operation.invoked.seq,
                first: -1,
                first_epoch: -1,
                reported: false,
            });
        }
    }
    sends
}

impl Send {
    fn value(&self, history: &History) -> Value {
        match history.operation(self.op).action {
            Action::Send { value, .. } => value,
            action => unreachable!("the sends were collected from sends, not {action:?}"),
        }
    }
}

/// Empty tables of the right size for each partition.
fn parts(history: &History, sends: &[Send]) -> Vec<Part> {
    let mut slots = vec![table::SlotsBuilder::default(); history.partition_count()];
    let mut values = vec![table::Range::default(); history.partition_count()];
    for send in sends {
        if let Action::Send { value, .. } = history.operation(send.op).action {
            values[send.partition as usize].add(value.raw() as i64);
        }
        if send.acked >= 0 {
            slots[send.partition as usize].range.add(send.acked);
        }
    }
    for record in history.all_polled() {
        slots[record.partition.0 as usize].range.add(record.offset);
    }
    table::collect_sparse(&mut slots, history);
    let tables = slots.into_iter().zip(values).zip(Lineages::of(history));
    let part = |((slots, values), lineages): ((table::SlotsBuilder, table::Range), Lineages)| {
        let slots = slots.build();
        Part {
            first: vec![None; slots.len()],
            scans: vec![0; slots.len() + 1],
            slots,
            more: HashMap::new(),
            sends: ValueMap::new(values),
            lineages,
        }
    };
    tables.map(part).collect()
}
