//! Checks what readers got: each poll against its reader's position, and against the sends.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasherDefault;

use super::table::Mix;
use super::{Evidence, Judge, NONE, Part};
use crate::{Action, Change, OpId, Operation, Outcome, Partition, Polled, Position};

/// Two records that a reader got in succession, with offsets between them.
pub(super) struct Gap {
    partition: u32,
    /// The first offset that should have come next.
    resume: i64,
    before: (i64, OpId),
    next: (i64, i32, OpId),
    between: Between,
}

/// What happened between two records that a reader got in succession.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Between {
    /// Nothing: one poll or transaction returned both.
    Nothing,
    /// Another poll or transaction began.
    Polls,
    /// Like `Polls`, and a group may have moved the reader in between.
    Group,
}

/// Where a reader is in a partition.
#[derive(Clone, Copy)]
struct Cursor {
    /// The number of the process' assignment that it is from.
    generation: u32,
    /// The transaction in which it was last used, or [`NONE`].
    txn: u32,
    /// When a group last changed something at an unknown time.
    unsettled: u64,
    /// The last record: offset, epoch, and the poll that returned it. At the start of an
    /// assignment: the offset before the position, no epoch, and the assignment.
    last: Option<(i64, i32, OpId)>,
    /// Offsets read without a break, up to the last.
    scan: Option<(i64, i64)>,
}

/// A process that reads.
#[derive(Clone, Default)]
struct Reader {
    /// Counts its assignments.
    generation: u32,
    subscribed: bool,
    /// Does it report what its group assigns and revokes?
    tells: bool,
    /// For the newest transaction: the transaction, a cursor that it moved, and where that was
    /// before.
    moved: Vec<(u32, usize, Option<(i64, i32, OpId)>)>,
}

impl Reader {
    /// A cursor has a new position, whatever the transaction's outcome: it cannot go back to an
    /// earlier one.
    fn is_placed(&mut self, cursor: usize) {
        self.moved.retain(|(_, moved, _)| *moved != cursor);
    }
}

/// The processes' positions.
#[derive(Default)]
struct Cursors {
    readers: HashMap<u64, Reader, BuildHasherDefault<Mix>>,
    index: HashMap<u64, usize, BuildHasherDefault<Mix>>,
    cursors: Vec<(u32, Cursor)>,
    /// Cursors and offsets of records got while subscribed (A16), and of those got again.
    consumed: HashSet<(usize, i64)>,
    consumed_again: HashSet<(usize, i64)>,
}

impl Cursors {
    fn get(&mut self, process: u32, partition: u32, generation: u32) -> usize {
        let key = u64::from(process) << 32 | u64::from(partition);
        *self.index.entry(key).or_insert_with(|| {
            let cursor = Cursor { generation, txn: NONE, unsettled: 0, last: None, scan: None };
            self.cursors.push((partition, cursor));
            self.cursors.len() - 1
        })
    }
}

impl Judge<'_> {
    /// Processes polls and what moves readers, in the order of their completion.
    pub(super) fn read_polls(&mut self) {
        let mut order: Vec<(u64, OpId)> = Vec::new();
        for (id, operation) in (0..).zip(self.history.operations()) {
            let reads = match operation.action {
                Action::Poll { .. }
                | Action::Assign { .. }
                | Action::Subscribe
                | Action::Rebalance { .. }
                | Action::Transaction { .. }
                | Action::Crash => true,
                Action::Send { .. } | Action::Commit { .. } | Action::Committed { .. } => false,
            };
            if let (true, Some(completed)) = (reads, operation.completed) {
                order.push((completed.seq, OpId(id)));
            }
        }
        order.sort_unstable();
        let history = self.history;
        let mut cursors = Cursors::default();
        for (completed, op) in order {
            let operation = history.operation(op);
            match operation.action {
                Action::Poll { .. } => self.read_poll(&mut cursors, completed, op, operation),
                Action::Assign { seek, .. } => {
                    let reader = cursors.readers.entry(operation.process.into()).or_default();
                    if !seek {
                        reader.generation += 1;
                        reader.subscribed = false;
                    }
                    self.place(&mut cursors, op, operation);
                }
                Action::Rebalance { change: Change::Changed, .. } => {
                    for (partition, _) in history.positions(operation) {
                        let reader = cursors.readers.entry(operation.process.into()).or_default();
                        let generation = reader.generation;
                        let at = cursors.get(operation.process, partition.0, generation);
                        cursors.cursors[at].1.unsettled = completed;
                    }
                }
                Action::Rebalance { change, .. } => {
                    let reader = cursors.readers.entry(operation.process.into()).or_default();
                    reader.tells = true;
                    match change {
                        Change::Assigned => self.place(&mut cursors, op, operation),
                        Change::Revoked | Change::Lost | Change::Changed => {
                            self.forget(&mut cursors, operation);
                        }
                    }
                }
                Action::Subscribe | Action::Crash => {
                    let reader = cursors.readers.entry(operation.process.into()).or_default();
                    reader.generation += 1;
                    reader.subscribed = operation.action == Action::Subscribe;
                    reader.tells = false;
                }
                Action::Transaction { .. } => self.end_polls(&mut cursors, op, operation),
                Action::Send { .. } | Action::Commit { .. } | Action::Committed { .. } => {
                    unreachable!("not collected above")
                }
            }
        }
        self.report.count_more("consumed-twice", cursors.consumed_again.len() as u64);
        for (partition, mut cursor) in cursors.cursors {
            self.parts[partition as usize].end_scan(&mut cursor);
        }
    }

    /// Moves a process' cursors to where an assignment puts them.
    fn place(&mut self, cursors: &mut Cursors, op: OpId, operation: &Operation) {
        let process = operation.process;
        let generation = cursors.readers.entry(process.into()).or_default().generation;
        for (partition, position) in self.history.positions(operation) {
            let at = cursors.get(process, partition.0, generation);
            let cursor = &mut cursors.cursors[at].1;
            cursor.last = match position {
                Position::At(position) => Some((position - 1, -1, op)),
                Position::Unknown => None,
                Position::Kept if cursor.generation + 1 >= generation => {
                    cursor.generation = generation;
                    continue;
                }
                Position::Kept => None,
            };
            self.parts[partition.0 as usize].end_scan(cursor);
            cursor.generation = generation;
            cursor.txn = NONE;
            cursors.readers.entry(process.into()).or_default().is_placed(at);
        }
    }

    /// A process no longer has these partitions.
    fn forget(&mut self, cursors: &mut Cursors, operation: &Operation) {
        let process = operation.process;
        let generation = cursors.readers.entry(process.into()).or_default().generation;
        for (partition, _) in self.history.positions(operation) {
            let at = cursors.get(process, partition.0, generation);
            let cursor = &mut cursors.cursors[at].1;
            self.parts[partition.0 as usize].end_scan(cursor);
            cursor.last = None;
            cursor.txn = NONE;
            cursors.readers.entry(process.into()).or_default().is_placed(at);
        }
    }

    /// The end of a transaction keeps the moves of its polls, or takes them back.
    fn end_polls(&mut self, cursors: &mut Cursors, op: OpId, operation: &Operation) {
        let Some(reader) = cursors.readers.get_mut(&operation.process.into()) else { return };
        if reader.moved.first().is_none_or(|(txn, ..)| *txn != op.0) {
            return;
        }
        for (txn, at, before) in reader.moved.drain(..) {
            let (partition, cursor) = &mut cursors.cursors[at];
            let elsewhere = cursor.txn != txn || cursor.generation != reader.generation;
            if operation.outcome == Outcome::Ok || elsewhere {
                continue;
            }
            self.parts[*partition as usize].end_scan(cursor);
            cursor.last = before.filter(|_| operation.outcome == Outcome::Fail);
            cursor.txn = NONE;
        }
    }

    /// A process continues in this transaction: if another one of unknown outcome has moved its
    /// cursors, their positions are unknown.
    fn change_transaction(&mut self, cursors: &mut Cursors, process: u32, txn: u32) {
        let reader = cursors.readers.entry(process.into()).or_default();
        if reader.moved.first().is_none_or(|(open, ..)| *open == txn) {
            return;
        }
        for (txn, at, _) in reader.moved.drain(..) {
            let (partition, cursor) = &mut cursors.cursors[at];
            if cursor.txn == txn && cursor.generation == reader.generation {
                self.parts[*partition as usize].end_scan(cursor);
                cursor.last = None;
            }
        }
    }

    fn read_poll(
        &mut self,
        cursors: &mut Cursors,
        completed: u64,
        op: OpId,
        operation: &Operation,
    ) {
        let records = self.history.polled(operation);
        if records.is_empty() {
            return;
        }
        self.report.records += records.len() as u64;
        let process = operation.process;
        let reader = cursors.readers.entry(process.into()).or_default();
        let (generation, subscribed) = (reader.generation, reader.subscribed);
        let by_group = subscribed && !reader.tells;
        let transaction = operation.transaction();
        let txn = transaction.map_or(NONE, |transaction| transaction.0);
        let began = transaction.unwrap_or(op);
        let began = self.history.operation(began).invoked.seq;
        let aborted = transaction
            .is_some_and(|transaction| self.history.operation(transaction).outcome != Outcome::Ok);
        self.change_transaction(cursors, process, txn);
        let mut current: Option<(Partition, usize)> = None;
        for record in records {
            let at = match current {
                Some((partition, at)) if partition == record.partition => at,
                Some(_) | None => cursors.get(process, record.partition.0, generation),
            };
            current = Some((record.partition, at));
            let cursor = &mut cursors.cursors[at].1;
            if cursor.generation != generation {
                self.parts[record.partition.0 as usize].end_scan(cursor);
                cursor.generation = generation;
                cursor.last = None;
                cursor.txn = NONE;
                cursors.readers.entry(process.into()).or_default().is_placed(at);
            }
            if cursor.txn != txn {
                cursor.txn = txn;
                if txn != NONE {
                    let reader = cursors.readers.entry(process.into()).or_default();
                    reader.moved.push((txn, at, cursor.last));
                }
            }
            if cursor.unsettled > began {
                // Its previous position says nothing.
                self.parts[record.partition.0 as usize].end_scan(cursor);
                cursor.last = None;
            }
            self.step(cursor, record, op, by_group);
            self.trace_back(record, completed, op, txn);
            let cursor = (at, record.offset);
            if subscribed && !aborted && !cursors.consumed.insert(cursor) {
                cursors.consumed_again.insert(cursor);
            }
        }
    }

    /// Checks one record against the reader's position.
    fn step(&mut self, cursor: &mut Cursor, record: &Polled, op: OpId, by_group: bool) {
        let part = &mut self.parts[record.partition.0 as usize];
        let Polled { offset, epoch, value, .. } = *record;
        part.note(offset, Evidence { value: value.raw(), epoch, op, read: true });
        if let Some((last, last_epoch, last_op)) = cursor.last {
            let (before, next) = ((last, last_op), (offset, epoch, op));
            if offset <= last {
                let resumed = part.lineages.iter().any(|loss| {
                    loss.offset <= offset
                        && (last_epoch < 0
                            || epoch < 0
                            || last_epoch < loss.epoch && loss.epoch <= epoch)
                });
                let between = self.between(last_op, op, by_group);
                if resumed {
                    self.report.count("resumed-after-loss");
                } else if between == Between::Group {
                    self.report.count("nonmonotonic-poll-subscribed");
                } else {
                    let within = between == Between::Nothing;
                    self.report.went_back(self.history, record, op, before, within);
                }
            } else {
                if last_epoch >= 0 && epoch >= 0 && epoch < last_epoch {
                    let last = (last, last_epoch, last_op);
                    self.report.epoch_went_back(self.history, record, op, last);
                }
                let mut resume = last + 1;
                if !part.lineages.is_empty() && last_epoch >= 0 && epoch >= 0 {
                    // The reader went on across a loss without going back to where the loss began.
                    for loss in part.lineages.iter() {
                        if last_epoch < loss.epoch && loss.epoch <= epoch {
                            resume = resume.min(loss.offset);
                        }
                    }
                }
                if resume < offset {
                    let partition = record.partition.0;
                    let between = self.between(last_op, op, by_group);
                    self.gaps.push(Gap { partition, resume, before, next, between });
                }
            }
        }
        let part = &mut self.parts[record.partition.0 as usize];
        part.scan(cursor, offset, epoch);
        cursor.last = Some((offset, epoch, op));
    }

    fn between(&self, last: OpId, next: OpId, by_group: bool) -> Between {
        let transaction = self.history.operation(next).transaction();
        let same =
            transaction.is_some() && transaction == self.history.operation(last).transaction();
        if same || last == next {
            Between::Nothing
        } else if by_group {
            Between::Group
        } else {
            Between::Polls
        }
    }

    /// Checks one record against its send.
    fn trace_back(&mut self, record: &Polled, completed: u64, op: OpId, txn: u32) {
        let part = &self.parts[record.partition.0 as usize];
        let Some(send) = part.sends.get(record.value.raw()) else {
            self.report.garbage(self.history, record, op);
            return;
        };
        let send = &mut self.sends[send as usize];
        let mut uncommitted = false;
        let mut premature = None;
        if send.txn != NONE {
            let of = &mut self.txns[send.txn as usize];
            uncommitted = self.options.read_uncommitted;
            if !uncommitted {
                of.seen.get_or_insert((send.op, op));
            }
            let early = of.ending != u64::MAX && completed < of.ending;
            premature = (of.op.0 == txn || early).then_some(of.op);
        }
        if send.reported {
            return;
        }
        send.reported = true;
        if send.outcome == Outcome::Fail && uncommitted && send.answered {
            self.report.count("uncommitted-read");
        } else if send.outcome == Outcome::Fail {
            self.report.aborted(self.history, record, op, send.op);
        } else if completed < send.invoked {
            self.report.too_early(self.history, record, op, send.op);
        } else if let (Some(_), true) = (premature, uncommitted) {
            self.report.count("uncommitted-read");
        } else if let Some(transaction) = premature {
            self.report.precommitted(self.history, record, op, send.op, transaction);
        } else {
            send.reported = false;
        }
    }

    /// Checks gaps in what readers got, now that everything that was read is known.
    pub(super) fn judge_skips(&mut self) {
        let gaps = std::mem::take(&mut self.gaps);
        if gaps.is_empty() {
            return;
        }
        // For each slot, how many slots below it were read.
        let read_below: Vec<Vec<u32>> = self.parts.iter().map(Part::read_below).collect();
        for gap in gaps {
            let part = &self.parts[gap.partition as usize];
            let slots = part.slots.below(gap.resume)..part.slots.below(gap.next.0);
            let below = &read_below[gap.partition as usize];
            if below[slots.start] == below[slots.end] {
                continue;
            }
            let missing = slots.map(|slot| part.slots.offset(slot)).find_map(|offset| {
                let excused =
                    |e: &&Evidence| e.read && !part.lineages.separate(offset, e.epoch, gap.next.1);
                part.at(offset).find(excused).map(|evidence| (offset, *evidence))
            });
            if let Some((offset, evidence)) = missing {
                if gap.between == Between::Group {
                    self.report.count("poll-skip-subscribed");
                    continue;
                }
                let next = (gap.next.0, gap.next.2);
                let partition = Partition(gap.partition);
                let missing = (offset, evidence.op);
                let within = gap.between == Between::Nothing;
                self.report.skipped(self.history, partition, gap.before, next, missing, within);
            }
        }
    }
}

impl Part {
    /// A reader that got this record, and the ones before it in its scan, has seen everything
    /// between them.
    fn scan(&mut self, cursor: &mut Cursor, offset: i64, epoch: i32) {
        let from = match cursor.last {
            Some((last, _, _)) if last < offset => last + 1,
            Some(_) | None => offset,
        };
        if !self.lineages.is_empty() {
            // The record's epoch says which lineage the reader saw.
            let to = offset.min(self.lineages.witnessed_below(epoch).saturating_sub(1));
            self.witness(from, to);
            return;
        }
        cursor.scan = match cursor.scan {
            Some((start, end)) if end < offset => Some((start, offset)),
            Some((start, end)) => {
                self.witness(start, end);
                Some((offset, offset))
            }
            None => Some((from, offset)),
        };
    }

    fn end_scan(&mut self, cursor: &mut Cursor) {
        if let Some((start, end)) = cursor.scan.take() {
            self.witness(start, end);
        }
    }

    pub(super) fn witness(&mut self, from: i64, to: i64) {
        if from <= to {
            let (start, end) = (self.slots.below(from), self.slots.below(to.saturating_add(1)));
            self.scans[start] += 1;
            self.scans[end] -= 1;
        }
    }

    fn read_below(&self) -> Vec<u32> {
        let mut below = Vec::with_capacity(self.first.len() + 1);
        let mut count = 0;
        for (slot, first) in self.first.iter().enumerate() {
            below.push(count);
            let read = first.is_some_and(|first| first.read)
                || self.more.get(&slot).is_some_and(|more| more.iter().any(|e| e.read));
            count += u32::from(read);
        }
        below.push(count);
        below
    }
}
