//! What readers got: each poll against its reader's position, and against the sends.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::table::Mix;
use super::{Evidence, Judge, Part};
use crate::{Action, OpId, Outcome, Partition, Polled};

/// Two records that a reader got one after the other, with offsets between them.
pub(super) struct Gap {
    partition: u32,
    /// The first offset that should have come next.
    resume: i64,
    before: (i64, OpId),
    next: (i64, i32, OpId),
}

/// Where a reader is in a partition.
#[derive(Clone, Copy)]
struct Cursor {
    /// Of which of the process' assignments.
    generation: u32,
    /// The last record: offset, epoch, and the poll that it came by. At the start of an assignment
    /// the offset before the position, no epoch, and the assignment.
    last: Option<(i64, i32, OpId)>,
    /// Offsets read without a break, up to the last.
    scan: Option<(i64, i64)>,
}

/// The processes' positions.
#[derive(Default)]
struct Cursors {
    generations: HashMap<u64, u32, BuildHasherDefault<Mix>>,
    index: HashMap<u64, usize, BuildHasherDefault<Mix>>,
    cursors: Vec<(u32, Cursor)>,
}

impl Cursors {
    fn get(&mut self, process: u32, partition: u32, generation: u32) -> usize {
        let key = u64::from(process) << 32 | u64::from(partition);
        *self.index.entry(key).or_insert_with(|| {
            self.cursors.push((partition, Cursor { generation, last: None, scan: None }));
            self.cursors.len() - 1
        })
    }
}

impl Judge<'_> {
    /// Polls and assignments, in the order of their completion.
    pub(super) fn read_polls(&mut self) {
        let mut order: Vec<(u64, OpId)> = Vec::new();
        for (id, operation) in (0..).zip(self.history.operations()) {
            let reads = matches!(operation.action, Action::Poll { .. } | Action::Assign { .. });
            if let (true, Some(completed)) = (reads, operation.completed) {
                order.push((completed.seq, OpId(id)));
            }
        }
        order.sort_unstable();
        let history = self.history;
        let mut cursors = Cursors::default();
        for (completed, op) in order {
            let operation = history.operation(op);
            let process = operation.process;
            if let Action::Assign { seek, .. } = operation.action {
                let generation = cursors.generations.entry(process.into()).or_default();
                *generation += u32::from(!seek);
                let generation = *generation;
                for (partition, position) in history.positions(operation) {
                    let at = cursors.get(process, partition.0, generation);
                    let cursor = &mut cursors.cursors[at].1;
                    self.parts[partition.0 as usize].end_scan(cursor);
                    cursor.generation = generation;
                    cursor.last = position.map(|position| (position - 1, -1, op));
                }
                continue;
            }
            let generation = cursors.generations.get(&process.into()).copied().unwrap_or(0);
            let mut current: Option<(Partition, usize)> = None;
            let records = history.polled(operation);
            self.report.records += records.len() as u64;
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
                }
                self.step(cursor, record, op);
                self.trace_back(record, completed, op);
            }
        }
        for (partition, mut cursor) in cursors.cursors {
            self.parts[partition as usize].end_scan(&mut cursor);
        }
    }

    /// One record against the reader's position.
    fn step(&mut self, cursor: &mut Cursor, record: &Polled, op: OpId) {
        let part = &mut self.parts[record.partition.0 as usize];
        let Polled { offset, epoch, value, .. } = *record;
        part.note(offset, Evidence { value: value.raw(), epoch, op, read: true });
        if let Some((last, last_epoch, last_op)) = cursor.last {
            if offset <= last {
                let resumed = part.lineages.iter().any(|loss| {
                    loss.offset <= offset
                        && (last_epoch < 0
                            || epoch < 0
                            || last_epoch < loss.epoch && loss.epoch <= epoch)
                });
                if resumed {
                    self.report.count("resumed-after-loss");
                } else {
                    self.report.went_back(self.history, record, op, (last, last_op));
                }
            } else {
                if last_epoch >= 0 && epoch >= 0 && epoch < last_epoch {
                    let last = (last, last_epoch, last_op);
                    self.report.epoch_went_back(self.history, record, op, last);
                }
                let mut resume = last + 1;
                if !part.lineages.is_empty() && last_epoch >= 0 && epoch >= 0 {
                    // Reading on across a loss without going back to where it began.
                    for loss in part.lineages.iter() {
                        if last_epoch < loss.epoch && loss.epoch <= epoch {
                            resume = resume.min(loss.offset);
                        }
                    }
                }
                if resume < offset {
                    let (before, next) = ((last, last_op), (offset, epoch, op));
                    let partition = record.partition.0;
                    self.gaps.push(Gap { partition, resume, before, next });
                }
            }
        }
        let part = &mut self.parts[record.partition.0 as usize];
        part.scan(cursor, offset, epoch);
        cursor.last = Some((offset, epoch, op));
    }

    /// One record against its send.
    fn trace_back(&mut self, record: &Polled, completed: u64, op: OpId) {
        let part = &self.parts[record.partition.0 as usize];
        let Some(send) = part.sends.get(record.value.raw()) else {
            self.report.garbage(self.history, record, op);
            return;
        };
        let send = &mut self.sends[send as usize];
        if send.reported {
            return;
        }
        if send.outcome == Outcome::Fail {
            send.reported = true;
            self.report.aborted(self.history, record, op, send.op);
        } else if completed < send.invoked {
            send.reported = true;
            self.report.too_early(self.history, record, op, send.op);
        }
    }

    /// Gaps in what readers got, now that all that anyone got is known.
    pub(super) fn judge_skips(&mut self) {
        let gaps = std::mem::take(&mut self.gaps);
        if gaps.is_empty() {
            return;
        }
        // For each slot, how many below it were read by anyone.
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
                let next = (gap.next.0, gap.next.2);
                let partition = Partition(gap.partition);
                let missing = (offset, evidence.op);
                self.report.skipped(self.history, partition, gap.before, next, missing);
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
            // The record's epoch says which lineage the reader looked at.
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

    fn witness(&mut self, from: i64, to: i64) {
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
