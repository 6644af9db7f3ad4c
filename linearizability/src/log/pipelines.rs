//! Records that were made from other records (A17), and amounts that must add up (A18).

use std::collections::{BTreeMap, HashMap};

use super::report::who;
use super::{Judge, NONE};
use crate::{Acks, OpId, Outcome, Partition};

impl Judge<'_> {
    /// Whether the record of a send is in the log: a reader read it, or it is promised.
    fn is_there(&self, index: u32) -> bool {
        let send = &self.sends[index as usize];
        let promised = send.outcome == Outcome::Ok && send.acks == Acks::All;
        self.is_read(index) || promised
    }

    fn is_read(&self, index: u32) -> bool {
        let send = &self.sends[index as usize];
        let part = &self.parts[send.partition as usize];
        let first = (send.first, send.first_epoch, send.op);
        let places = self.places.get(&index);
        let mut places = places.into_iter().flatten().chain([&first]);
        send.first >= 0
            && places.any(|(offset, ..)| {
                part.at(*offset).any(|e| e.read && part.sends.get(e.value) == Some(index))
            })
    }

    fn index_of(&self, op: OpId) -> u32 {
        let at = self.sends.binary_search_by_key(&op, |send| send.op);
        at.expect("said of a send") as u32
    }

    /// Checks that each source record is processed once, and none is left out.
    pub(super) fn judge_pipelines(&mut self) {
        let mut made: BTreeMap<(u32, i64), Vec<u32>> = BTreeMap::new();
        for (op, partition, offset) in self.history.sources() {
            made.entry((partition.0, *offset)).or_default().push(self.index_of(*op));
        }
        // The span of what was certainly processed, by partition.
        let mut spans: BTreeMap<u32, (i64, i64)> = BTreeMap::new();
        for ((partition, offset), sends) in &made {
            let there: Vec<u32> =
                sends.iter().copied().filter(|index| self.is_there(*index)).collect();
            if there.is_empty() {
                continue;
            }
            let span = spans.entry(*partition).or_insert((*offset, *offset));
            *span = (span.0.min(*offset), span.1.max(*offset));
            if let [first, second, ..] = there[..] {
                let forbidden =
                    [first, second].iter().all(|index| self.sends[*index as usize].txn != NONE);
                self.processed_twice(forbidden, (*partition, *offset), [first, second]);
            }
        }
        for (partition, (from, to)) in spans {
            let part = &self.parts[partition as usize];
            let to = to.min(part.lineages.witnessed_below(-1));
            let mut missed = Vec::new();
            for slot in part.slots.below(from)..part.slots.below(to) {
                let offset = part.slots.offset(slot);
                let Some(record) = part.at(offset).find(|e| e.read) else { continue };
                let tried = made.get(&(partition, offset)).is_some_and(|sends| {
                    sends.iter().any(|index| self.sends[*index as usize].outcome != Outcome::Fail)
                });
                if !tried {
                    missed.push((offset, record.op));
                }
            }
            for (offset, op) in missed {
                self.processed_never(partition, offset, op, (from, to));
            }
        }
    }

    fn processed_twice(&mut self, forbidden: bool, source: (u32, i64), sends: [u32; 2]) {
        let history = self.history;
        let [first, second] = sends.map(|index| self.sends[index as usize]);
        self.report.add_if(forbidden, "processed-twice", [first.op, second.op], || {
            let name = |index| history.partition_name(Partition(index));
            format!(
                "{}: the record at offset {} was processed twice: {} wrote {} to {} from it, and \
                 {} wrote {} to {}",
                name(source.0),
                source.1,
                who(history, first.op),
                history.value_text(first.value(history)),
                name(first.partition),
                who(history, second.op),
                history.value_text(second.value(history)),
                name(second.partition)
            )
        });
    }

    fn processed_never(&mut self, partition: u32, offset: i64, op: OpId, span: (i64, i64)) {
        let history = self.history;
        let forbidden = self.options.complete;
        self.report.add_if(forbidden, "processed-never", [op], || {
            format!(
                "{}: the record at offset {offset} was never processed, although offsets {} and {} \
                 were",
                history.partition_name(Partition(partition)),
                span.0,
                span.1
            )
        });
    }

    /// Checks that the amounts of all records that were read add up to 0.
    pub(super) fn judge_amounts(&mut self) {
        let mut total: i128 = 0;
        // By transaction, or by send outside one.
        let mut by_unit: HashMap<OpId, (i128, OpId)> = HashMap::new();
        for (op, amount) in self.history.amounts() {
            let index = self.index_of(*op);
            let send = &self.sends[index as usize];
            let part = &self.parts[send.partition as usize];
            let first = (send.first, send.first_epoch, send.op);
            let mut offsets: Vec<i64> = match self.places.get(&index) {
                Some(places) => places.iter().map(|(offset, ..)| *offset).collect(),
                None => vec![first.0],
            };
            offsets.sort_unstable();
            offsets.dedup();
            let read = offsets.iter().filter(|offset| {
                **offset >= 0
                    && part.at(**offset).any(|e| e.read && part.sends.get(e.value) == Some(index))
            });
            let sum = i128::from(*amount) * read.count() as i128;
            total += sum;
            let unit = self.history.operation(*op).transaction().unwrap_or(*op);
            by_unit.entry(unit).or_insert((0, *op)).0 += sum;
        }
        if total == 0 {
            return;
        }
        let wrong = by_unit.iter().filter(|(_, (sum, _))| *sum != 0).min_by_key(|(unit, _)| **unit);
        let Some((unit, (sum, op))) = wrong.map(|(unit, of)| (*unit, *of)) else { return };
        let history = self.history;
        let forbidden = self.options.complete;
        self.report.add_if(forbidden, "conservation", [unit, op], || {
            format!(
                "the amounts of all records that were read add up to {total}, not to 0; those of \
                 {}'s transfer add up to {sum}",
                who(history, op)
            )
        });
    }
}
