//! The judge of partitioned logs: sends and polls, in the shape of Kafka, as near-linear passes.
//!
//! Evidence that a record is in the log, at an offset and in a leader's epoch, is that somebody read
//! it there, or that a send with [`Acks::All`] was acknowledged there. What is
//! promised about it, after Jepsen's Kafka workload (A-numbers: CORRECTNESS.md, section 1):
//!
//! | name | what happened |
//! |---|---|
//! | `inconsistent-offsets` (A1) | one offset held two records: other values, or one value in two epochs |
//! | `duplicate` (A2) | one value at two offsets; a violation only if [`Options::forbid_duplicates`] |
//! | `lost-write` (A3) | acknowledged by all at an offset that some reader read past, and never read there |
//! | `unseen` (A4) | acknowledged by all and never read, though the history is [`Options::complete`] |
//! | `aborted-read` (A5, G1a) | the value of a send that certainly failed was read |
//! | `poll-skip`, `int-poll-skip` (A9, A11) | between two records that a reader got one after the other lies one that others got; `int-`: both came in one poll |
//! | `nonmonotonic-poll`, `int-nonmonotonic-poll` (A10, A11) | a reader got a record at or before the one it got before |
//! | `epoch-regression` | a reader got a record of an older epoch after one of a newer epoch at a smaller offset |
//! | `reordered-send` (A12) | a process' later send lies at or before its earlier one; a violation only if [`Options::forbid_reordered_sends`] |
//! | `garbage-read` (A13) | a value was read that nobody sent |
//! | `real-time-order` (A14) | acknowledged by all before another send began, and yet at or behind that one's offset |
//! | `read-before-send` (A14) | a poll returned a value before its send began |
//!
//! **Lineages.** Each admitted [`Loss`] opens a new lineage: promises between a record before it (at
//! or beyond its offset, of an epoch before its epoch) and one after it (of its epoch or later) are
//! void, and nothing else is. Where an epoch is not known, both are taken to be so.
//!
//! **Acks.** Only [`Acks::All`] promises that a record stays. How many others were
//! lost is counted as `lost-acks-1` (acknowledged by the leader, never read
//! there, though its offset was read past or the history is complete).
//!
//! A process has one poll open at a time. Readers are expected to get every record from their
//! position on: histories of compacted or expired logs are not for this judge.

mod lineage;
mod order;
mod reads;
mod report;
mod table;

use std::collections::HashMap;
use std::fmt;

use crate::{Acks, Action, History, OpId, Outcome, Verdict};
use lineage::Lineages;
use report::Report;
use table::{Slots, ValueMap};

#[cfg(doc)]
use crate::Loss;

/// Which promises apply beyond those that always do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// At its end the history reads every partition from start to end: what is not read is lost.
    pub complete: bool,
    /// Are duplicates violations (idempotent producers), or only counted?
    pub forbid_duplicates: bool,
    /// Are reordered sends violations (idempotent producers), or only counted?
    pub forbid_reordered_sends: bool,
    /// How many anomalies of each kind are described; all are counted.
    pub witnesses: usize,
}

impl Default for Options {
    /// What Kafka promises without idempotence, of a history that may end early; ten witnesses.
    fn default() -> Options {
        Options {
            complete: false,
            forbid_duplicates: false,
            forbid_reordered_sends: false,
            witnesses: 10,
        }
    }
}

/// The history cannot be judged: two sends to one partition have the same value.
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
             unique within a partition, or nobody can tell which of the two was read",
            first.0, second.0
        )
    }
}

impl std::error::Error for AmbiguousValue {}

/// Judges the sends and polls of a history.
///
/// # Errors
/// If a value was sent twice to one partition.
pub fn check(history: &History, options: &Options) -> Result<Verdict, AmbiguousValue> {
    let mut judge = Judge::new(history, options)?;
    judge.read_polls();
    judge.judge_skips();
    judge.judge_offsets();
    judge.judge_sends();
    judge.judge_real_time();
    Ok(judge.report.verdict(history.operations().len() as u64, options))
}

/// A send, as the passes need it.
#[derive(Clone, Copy, Debug)]
struct Send {
    op: OpId,
    partition: u32,
    acks: Acks,
    outcome: Outcome,
    /// Where it was acknowledged, or -1.
    acked: i64,
    acked_epoch: i32,
    invoked: u64,
    /// Its first place in the log by the evidence, or -1.
    first: i64,
    first_epoch: i32,
    /// A read of it has been reported as too early, or as aborted.
    reported: bool,
}

/// Someone knows that this record is at an offset.
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
    /// For each slot how many scans begin there less how many end before it.
    scans: Vec<i32>,
    sends: ValueMap,
    lineages: Lineages,
}

impl Part {
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
    /// Every place of the values that have more than one: (offset, epoch, operation).
    places: HashMap<u32, Vec<(i64, i32, OpId)>>,
    gaps: Vec<reads::Gap>,
    report: Report,
}

impl<'a> Judge<'a> {
    /// Reads the sends and makes the tables.
    fn new(history: &'a History, options: &'a Options) -> Result<Judge<'a>, AmbiguousValue> {
        let sends = sends(history);
        let mut parts = parts(history, &sends);
        for (index, send) in (0..).zip(&sends) {
            let Action::Send { partition, value, .. } = history.operation(send.op).action else {
                unreachable!("the sends were collected from sends")
            };
            let part = &mut parts[send.partition as usize];
            if let Some(other) = part.sends.insert(value.raw(), index) {
                return Err(AmbiguousValue {
                    partition: history.partition_name(partition).into(),
                    value: history.value_text(value),
                    sends: [sends[other as usize].op, send.op],
                });
            }
            if send.acks == Acks::All && send.acked >= 0 {
                let (epoch, op) = (send.acked_epoch, send.op);
                part.note(send.acked, Evidence { value: value.raw(), epoch, op, read: false });
            }
        }
        let report = Report::new(&sends, options);
        let (places, gaps) = (HashMap::new(), Vec::new());
        Ok(Judge { history, options, parts, sends, places, gaps, report })
    }
}

fn sends(history: &History) -> Vec<Send> {
    let mut sends = Vec::new();
    for (id, operation) in (0..).zip(history.operations()) {
        if let Action::Send { partition, acks, offset, epoch, .. } = operation.action {
            sends.push(Send {
                op: OpId(id),
                partition: partition.0,
                acks,
                outcome: operation.outcome,
                acked: offset,
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
