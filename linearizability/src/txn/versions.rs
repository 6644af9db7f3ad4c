//! The writer of each element, and the order of the elements of each key.

use super::graph::NONE;
use super::history::{Element, History, NOWHERE, Step};
use super::kind::Kind;
use super::report::Report;
use super::{Error, Key};
use crate::hash::FastMap;
use crate::{OpId, Outcome};

/// An append or send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Append {
    pub(crate) op: u32,
    pub(crate) key: u32,
    pub(crate) element: Element,
    pub(crate) outcome: Outcome,
    /// Is it its transaction's last one to that key?
    pub(crate) is_final: bool,
    /// Its position in the key's order; [`NONE`] if nobody saw it there.
    pub(crate) position: u32,
}

/// What is known about a key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Versions {
    /// The elements, oldest first: their appends, [`NONE`] if nobody appended one, or if it is a
    /// repetition.
    pub(crate) order: Vec<u32>,
    /// For a list, the first position at which `order` has [`NONE`].
    pub(crate) first_hole: u32,
    /// For a list, the longest read: where it starts among all elements, and its length.
    pub(crate) longest: (u64, u32),
    /// The transaction that read it.
    pub(crate) reader: u32,
    /// For a log, the offsets of `order`.
    pub(crate) offsets: Vec<u64>,
    /// Appends that were certainly committed, and that nobody read.
    pub(crate) unread: Vec<u32>,
    /// Positions of aborted elements.
    pub(crate) aborted: Vec<u32>,
    use_: Use,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Use {
    #[default]
    None,
    List(u32),
    Log(u32),
}

/// See the module.
pub(crate) struct Table {
    pub(crate) appends: Vec<Append>,
    index: FastMap<(u32, Element), u32>,
    pub(crate) keys: Vec<Versions>,
}

impl Table {
    /// Builds the table of a history, and reports what is wrong with the orders themselves.
    pub(crate) fn new(history: &History, report: &mut Report) -> Result<Table, Error> {
        let mut table = Table {
            appends: Vec::new(),
            index: FastMap::default(),
            keys: vec![Versions::default(); history.key_count()],
        };
        table.collect(history)?;
        let mut offsets: Vec<Vec<(u64, Element, u32)>> = vec![vec![]; table.keys.len()];
        table.find_longest(history, &mut offsets);
        for (key, records) in (0..).zip(offsets) {
            if records.is_empty() {
                table.order_list(history, key, report);
            } else {
                table.order_log(history, key, records, report);
            }
        }
        table.find_unread_and_aborted();
        Ok(table)
    }

    /// The append of an element.
    pub(crate) fn writer(&self, key: u32, element: Element) -> Option<&Append> {
        Some(&self.appends[*self.index.get(&(key, element))? as usize])
    }

    /// The append at a position; `None` beyond the end, or if nobody is known to have made it.
    pub(crate) fn at(&self, key: u32, position: usize) -> Option<&Append> {
        let append = *self.keys[key as usize].order.get(position)?;
        (append != NONE).then(|| &self.appends[append as usize])
    }

    fn collect(&mut self, history: &History) -> Result<(), Error> {
        // Where in `appends` a transaction's last append to a key is.
        let mut latest = vec![(NONE, 0); self.keys.len()];
        for (op, transaction) in (0..).zip(history.transactions()) {
            for step in history.steps(transaction) {
                let (key, is_log) = match *step {
                    Step::Append { key, .. } | Step::Read { key, .. } => (key, false),
                    Step::ReadUnknown { .. } => continue,
                    Step::Send { key, .. } | Step::Poll { key, .. } => (key, true),
                };
                self.note_use(history, key, op, is_log)?;
                let (Step::Append { element, .. } | Step::Send { element, .. }) = *step else {
                    continue;
                };
                let id = self.appends.len() as u32;
                if let Some(first) = self.index.insert((key, element), id) {
                    return Err(Error::AppendedTwice {
                        key: history.key_name(Key(key)).clone(),
                        element: history.value(element),
                        transactions: [OpId(self.appends[first as usize].op), OpId(op)],
                    });
                }
                let (by, at) = latest[key as usize];
                if by == op {
                    self.appends[at as usize].is_final = false;
                }
                latest[key as usize] = (op, id);
                let outcome = transaction.outcome;
                let position = NONE;
                self.appends.push(Append { op, key, element, outcome, is_final: true, position });
            }
        }
        Ok(())
    }

    fn note_use(
        &mut self,
        history: &History,
        key: u32,
        op: u32,
        is_log: bool,
    ) -> Result<(), Error> {
        let known = &mut self.keys[key as usize].use_;
        let other = match (*known, is_log) {
            (Use::None, true) => {
                *known = Use::Log(op);
                return Ok(());
            }
            (Use::None, false) => {
                *known = Use::List(op);
                return Ok(());
            }
            (Use::List(_), false) | (Use::Log(_), true) => return Ok(()),
            (Use::List(other), true) => [other, op],
            (Use::Log(other), false) => [op, other],
        };
        let [list, log] = other.map(OpId);
        Err(Error::ListAndLog { key: history.key_name(Key(key)).clone(), list, log })
    }

    /// Finds the longest list that a committed transaction read, and all that is known of offsets.
    /// Polled records count whatever the transaction's outcome, because they were in the log.
    fn find_longest(&mut self, history: &History, offsets: &mut [Vec<(u64, Element, u32)>]) {
        for (op, transaction) in (0..).zip(history.transactions()) {
            for step in history.steps(transaction) {
                match *step {
                    Step::Read { key, first, count } => {
                        let versions = &mut self.keys[key as usize];
                        if transaction.outcome == Outcome::Ok && count > versions.longest.1 {
                            versions.longest = (first, count);
                            versions.reader = op;
                        }
                    }
                    Step::Send { key, element, offset } => {
                        if transaction.outcome != Outcome::Fail && offset != NOWHERE {
                            offsets[key as usize].push((offset, element, op));
                        }
                    }
                    Step::Poll { key, first, count } => {
                        let records = history.polled(first, count).iter();
                        offsets[key as usize]
                            .extend(records.map(|(offset, element)| (*offset, *element, op)));
                    }
                    Step::Append { .. } | Step::ReadUnknown { .. } => {}
                }
            }
        }
    }

    fn order_list(&mut self, history: &History, key: u32, report: &mut Report) {
        let (first, count) = self.keys[key as usize].longest;
        let reader = OpId(self.keys[key as usize].reader);
        let list = history.list(first, count);
        let mut order = Vec::with_capacity(list.len());
        for (position, element) in (0..).zip(list) {
            let Some(&append) = self.index.get(&(key, *element)) else {
                report.add(Kind::GarbageRead, || garbage(history, key, *element, reader));
                order.push(NONE);
                continue;
            };
            let seen = &mut self.appends[append as usize].position;
            if *seen == NONE {
                *seen = position;
                order.push(append);
            } else {
                order.push(NONE);
            }
        }
        let hole = order.iter().position(|append| *append == NONE).unwrap_or(order.len());
        self.keys[key as usize].first_hole = hole as u32;
        self.keys[key as usize].order = order;
    }

    fn order_log(
        &mut self,
        history: &History,
        key: u32,
        mut records: Vec<(u64, Element, u32)>,
        report: &mut Report,
    ) {
        records.sort_unstable();
        records.dedup_by_key(|(offset, element, _)| (*offset, *element));
        let name = history.key_name(Key(key));
        let (mut order, mut offsets): (Vec<u32>, Vec<u64>) = (Vec::new(), Vec::new());
        let mut last: Option<(u64, Element, u32)> = None;
        for &(offset, element, op) in &records {
            if let Some((at, other, by)) = last.filter(|(at, ..)| *at == offset) {
                report.add(Kind::InconsistentOffsets, || {
                    let (one, two) = (history.value(other), history.value(element));
                    let text = format!(
                        "offset {at} of {name} is {one} for operation {by} and {two} for operation {op}"
                    );
                    (text, vec![OpId(by), OpId(op)])
                });
                continue;
            }
            last = Some((offset, element, op));
            offsets.push(offset);
            let Some(&append) = self.index.get(&(key, element)) else {
                report.add(Kind::GarbageRead, || garbage(history, key, element, OpId(op)));
                order.push(NONE);
                continue;
            };
            let position = order.len() as u32;
            let seen = self.appends[append as usize].position;
            if seen == NONE {
                self.appends[append as usize].position = position;
                order.push(append);
                continue;
            }
            order.push(NONE);
            report.add(Kind::DuplicateElements, || {
                let (value, at) = (history.value(element), offsets[seen as usize]);
                let text = format!("{value} is in {name} at offset {at} and at offset {offset}");
                (text, vec![OpId(self.appends[append as usize].op), OpId(op)])
            });
        }
        let versions = &mut self.keys[key as usize];
        (versions.order, versions.offsets) = (order, offsets);
    }

    fn find_unread_and_aborted(&mut self) {
        // A transaction whose append is in a list that was read is committed, whatever it heard
        // itself.
        let mut committed: Vec<u32> = Vec::new();
        for append in &self.appends {
            let is_list = self.keys[append.key as usize].offsets.is_empty();
            let seen = append.outcome == Outcome::Info && append.position != NONE && is_list;
            if seen && committed.last() != Some(&append.op) {
                committed.push(append.op);
            }
        }
        for (id, append) in (0..).zip(&self.appends) {
            let versions = &mut self.keys[append.key as usize];
            match (append.outcome, append.position) {
                (Outcome::Ok, NONE) => versions.unread.push(id),
                (Outcome::Info, NONE) if committed.binary_search(&append.op).is_ok() => {
                    versions.unread.push(id);
                }
                (Outcome::Fail, position) if position != NONE => versions.aborted.push(position),
                (Outcome::Ok | Outcome::Fail | Outcome::Info, _) => {}
            }
        }
        for versions in &mut self.keys {
            versions.aborted.sort_unstable();
        }
    }
}

pub(crate) fn garbage(
    history: &History,
    key: u32,
    element: Element,
    reader: OpId,
) -> (String, Vec<OpId>) {
    let (value, name) = (history.value(element), history.key_name(Key(key)));
    let process = history.transaction(reader).process;
    let text = format!(
        "process {process} read {value} from {name} (operation {}); nobody appended it",
        reader.0
    );
    (text, vec![reader])
}
