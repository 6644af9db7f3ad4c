//! Checks sends: where their values are, whether acknowledged ones are in the log, and in which
//! order.

use std::collections::{BTreeMap, HashMap};
use std::hash::BuildHasherDefault;

use super::lineage::Lineages;
use super::table::Mix;
use super::{Judge, NONE, Send};
use crate::{Acks, OpId, Outcome, Partition};

/// The furthest offsets of some records, grouped by the losses that could excuse them: two records
/// in one cell are excused by the same losses.
#[derive(Default)]
struct Furthest {
    /// Used if there are no losses: all records are in one cell.
    only: Option<Far>,
    /// By (losses that begin at or before the offset, the epoch's lineage).
    cells: BTreeMap<(usize, usize), Far>,
}

/// A record's offset and epoch, and its send.
type Far = (i64, i32, OpId);

impl Furthest {
    fn add(&mut self, lineages: &Lineages, offset: i64, epoch: i32, op: OpId) {
        let new = (offset, epoch, op);
        let furthest = if lineages.is_empty() {
            self.only.get_or_insert(new)
        } else {
            let begun = lineages.iter().filter(|loss| loss.offset <= offset).count();
            let lineage = lineages.iter().filter(|loss| loss.epoch <= epoch).count();
            let lineage = if epoch < 0 { usize::MAX } else { lineage };
            self.cells.entry((begun, lineage)).or_insert(new)
        };
        if furthest.0 < offset {
            *furthest = new;
        }
    }

    /// A record at or after a position that it should be before.
    fn behind(&self, lineages: &Lineages, offset: i64, epoch: i32) -> Option<(i64, OpId)> {
        let not_excused = |far: &&Far| !lineages.lost_before(far.0, far.1, epoch);
        let cells = self.cells.values().filter(not_excused);
        let far = self.only.iter().chain(cells).filter(|far| far.0 >= offset);
        far.map(|(far, _, op)| (*far, *op)).max()
    }
}

impl Judge<'_> {
    /// Checks that each offset is one record, and finds where each value is.
    pub(super) fn judge_offsets(&mut self) {
        for (index, part) in (0..).zip(&self.parts) {
            let partition = Partition(index);
            for (slot, first) in part.first.iter().enumerate() {
                let Some(first) = first else { continue };
                let offset = part.slots.offset(slot);
                let more = if part.more.is_empty() { None } else { part.more.get(&slot) };
                let more = more.map_or(&[][..], Vec::as_slice);
                let all = || std::iter::once(first).chain(more);
                for evidence in all() {
                    let Some(send) = part.sends.get(evidence.value) else { continue };
                    let place = (offset, evidence.epoch, evidence.op);
                    let known = &mut self.sends[send as usize];
                    if known.first < 0 {
                        (known.first, known.first_epoch) = (offset, evidence.epoch);
                        continue;
                    }
                    let places = self.places.entry(send).or_default();
                    if places.is_empty() {
                        let op = part
                            .at(known.first)
                            .find(|e| e.value == evidence.value)
                            .map_or(known.op, |e| e.op);
                        places.push((known.first, known.first_epoch, op));
                    }
                    places.push(place);
                    if known.first == offset {
                        known.first_epoch = known.first_epoch.min(evidence.epoch);
                    }
                }
                let pairs =
                    all().enumerate().flat_map(|(i, a)| all().skip(i + 1).map(move |b| (a, b)));
                let clash = pairs
                    .into_iter()
                    .find(|(a, b)| !part.lineages.separate(offset, a.epoch, b.epoch));
                if let Some((a, b)) = clash {
                    self.report.inconsistent(self.history, partition, offset, *a, *b);
                }
            }
        }
        let mut places: Vec<(&u32, &Vec<(i64, i32, OpId)>)> = self.places.iter().collect();
        places.sort_unstable();
        for (send, places) in places {
            let send = &self.sends[*send as usize];
            let lineages = &self.parts[send.partition as usize].lineages;
            let twice = places.iter().enumerate().find_map(|(i, a)| {
                let b = places[i + 1..].iter().find(|b| {
                    // An unknown epoch counts as the older one.
                    let (low, high) = if a.1 <= b.1 { (a, *b) } else { (*b, a) };
                    a.0 != b.0 && !lineages.lost_before(low.0, low.1, high.1)
                })?;
                Some((a, b))
            });
            if let Some((a, b)) = twice {
                let forbidden = self.options.forbid_duplicates || send.txn != NONE;
                let places = [(a.0, a.2), (b.0, b.2)];
                self.report.duplicate(self.history, forbidden, send.op, places);
            }
        }
    }

    /// Checks the order of each process' sends. Those in transactions and the others count as two
    /// producers.
    pub(super) fn judge_producers(&mut self) {
        let mut produced: HashMap<u64, Furthest, BuildHasherDefault<Mix>> = HashMap::default();
        let mut within: HashMap<u64, Furthest, BuildHasherDefault<Mix>> = HashMap::default();
        for send in self.sends.iter().filter(|send| send.first >= 0) {
            let lineages = &self.parts[send.partition as usize].lineages;
            let (first, epoch) = (send.first, send.first_epoch);
            let key = |of: u32, kind: u32| u64::from(of) << 32 | u64::from(send.partition ^ kind);
            let process = self.history.operation(send.op).process;
            let kind = if send.txn == NONE { 0 } else { 1 << 31 };
            let mut internal = false;
            if send.txn != NONE {
                let before = within.entry(key(send.txn, 0)).or_default();
                if let Some(earlier) = before.behind(lineages, first, epoch) {
                    internal = true;
                    let name = "int-nonmonotonic-send";
                    self.report.reordered(self.history, name, true, (first, send.op), earlier);
                }
                before.add(lineages, first, epoch, send.op);
            }
            let before = produced.entry(key(process, kind)).or_default();
            if let Some(earlier) = before.behind(lineages, first, epoch).filter(|_| !internal) {
                let forbidden = self.options.forbid_reordered_sends || send.txn != NONE;
                let name = "nonmonotonic-send";
                self.report.reordered(self.history, name, forbidden, (first, send.op), earlier);
            }
            before.add(lineages, first, epoch, send.op);
        }
    }

    /// Finds acknowledged records that are not in the log.
    pub(super) fn judge_sends(&mut self) {
        self.cover();
        let scanned: Vec<Vec<bool>> = self
            .parts
            .iter()
            .map(|part| {
                let counts = part.scans.iter().scan(0, |open, change| {
                    *open += change;
                    Some(*open > 0)
                });
                counts.collect()
            })
            .collect();
        for (index, send) in (0..).zip(&self.sends) {
            let part = &self.parts[send.partition as usize];
            if send.outcome != Outcome::Ok || send.acks == Acks::None {
                continue;
            }
            if self.read_where_acked(index, send) {
                continue;
            }
            let slot = part.slots.get(send.acked).filter(|_| send.acked >= 0);
            let passed = slot.is_some_and(|slot| scanned[send.partition as usize][slot]);
            // Without an offset it is unknown on which side of a loss it was.
            let excused = part.lineages.lost(send.acked, send.acked_epoch)
                || send.acked < 0 && !part.lineages.is_empty();
            match (send.acks, passed) {
                (Acks::Leader, true) => self.report.count("lost-acks-1"),
                (Acks::Leader, false) if self.options.complete => {
                    self.report.count("lost-acks-1");
                }
                (Acks::All, true) if excused => self.report.count("excused-loss"),
                (Acks::All, true) => {
                    self.report.lost(self.history, send.op);
                    if send.txn != NONE {
                        self.txns[send.txn as usize].lost.get_or_insert(send.op);
                    }
                }
                (Acks::All, false) if excused && self.options.complete => {
                    self.report.count("excused-loss");
                }
                (Acks::All, false) => {
                    self.report.unseen(self.history, self.options.complete, send.op);
                }
                (Acks::Leader, false) | (Acks::None, _) => self.report.count("unread"),
            }
        }
    }

    /// With [`super::Options::covered`]: everything before the last record that was read has been
    /// passed. For a record with several positions, the first counts.
    fn cover(&mut self) {
        if !self.options.covered {
            return;
        }
        for part in &mut self.parts {
            let mut last = -1;
            for slot in 0..part.first.len() {
                for evidence in part.at(part.slots.offset(slot)).filter(|e| e.read) {
                    if let Some(send) = part.sends.get(evidence.value) {
                        last = last.max(self.sends[send as usize].first);
                    }
                }
            }
            let last = last.min(part.lineages.witnessed_below(-1).saturating_sub(1));
            part.witness(0, last);
        }
    }

    /// Finds transactions that are partly visible and partly lost (A7).
    pub(super) fn judge_transactions(&mut self) {
        for txn in &self.txns {
            if let (Some(seen), Some(lost)) = (txn.seen, txn.lost) {
                self.report.torn(self.history, txn.op, seen, lost);
            }
        }
    }

    /// Was an acknowledged record read where it was acknowledged (or anywhere, if its offset is
    /// unknown)?
    fn read_where_acked(&self, index: u32, send: &Send) -> bool {
        if send.acked < 0 {
            return send.first >= 0;
        }
        let part = &self.parts[send.partition as usize];
        let (acked, epoch) = (send.acked, send.acked_epoch);
        part.at(acked).any(|e| {
            e.read
                && (epoch < 0 || e.epoch < 0 || e.epoch == epoch)
                && part.sends.get(e.value) == Some(index)
        })
    }

    /// Checks that a record acknowledged by all before another send began is before that send's
    /// (A14).
    pub(super) fn judge_real_time(&mut self) {
        let mut acknowledged: Vec<(u64, u32)> = Vec::new();
        for (index, send) in (0..).zip(&self.sends) {
            if send.acks == Acks::All
                && send.outcome == Outcome::Ok
                && send.acked >= 0
                && let Some(completed) = self.history.operation(send.op).completed
            {
                acknowledged.push((completed.seq, index));
            }
        }
        acknowledged.sort_unstable();
        let mut acknowledged = acknowledged.into_iter().peekable();
        let mut furthest: Vec<Furthest> = self.parts.iter().map(|_| Furthest::default()).collect();
        for (index, send) in (0..).zip(&self.sends) {
            while let Some((_, done)) = acknowledged.next_if(|(seq, _)| *seq < send.invoked) {
                let done = &self.sends[done as usize];
                let part = &self.parts[done.partition as usize];
                let epoch = self.acked_epoch(done);
                furthest[done.partition as usize].add(&part.lineages, done.acked, epoch, done.op);
            }
            if send.first < 0 {
                continue;
            }
            let lineages = &self.parts[send.partition as usize].lineages;
            let before = &furthest[send.partition as usize];
            let first = [(send.first, send.first_epoch, send.op)];
            let places = self.places.get(&index).map_or(&first[..], Vec::as_slice);
            let wrong = places.iter().find_map(|(offset, epoch, _)| {
                Some((*offset, before.behind(lineages, *offset, *epoch)?))
            });
            if let Some((offset, earlier)) = wrong {
                self.report.out_of_order(self.history, send.op, offset, earlier);
            }
        }
    }

    /// The epoch in which a record was acknowledged, if the acknowledgement or a reader said so.
    fn acked_epoch(&self, send: &Send) -> i32 {
        let part = &self.parts[send.partition as usize];
        if send.acked_epoch >= 0 || part.lineages.is_empty() {
            return send.acked_epoch;
        }
        let here = part.at(send.acked).filter(|evidence| {
            let of = part.sends.get(evidence.value);
            of.is_some_and(|index| self.sends[index as usize].op == send.op)
        });
        here.map(|evidence| evidence.epoch).min().unwrap_or(-1)
    }
}
