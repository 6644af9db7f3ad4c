//! Transactions and their steps, in compact form.

use std::fmt;

use crate::hash::FastMap;
use crate::{Datum, OpId, Outcome, Stamp};

/// A list or a log, from [`History::key`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(pub u32);

/// An element of a list or a record of a log, from [`History::element`]; appended at most once to
/// one key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Element(u64);

const TEXT: u64 = 1 << 63;
const SIGN: u64 = 1 << 62;

impl Element {
    /// A number.
    ///
    /// # Panics
    /// If it is not between -2^62 and 2^62 - 1.
    pub fn number(number: i64) -> Element {
        assert!((-(1 << 62)..1 << 62).contains(&number), "numbers are between -2^62 and 2^62 - 1");
        Element((number as u64).wrapping_add(SIGN) & !TEXT)
    }
}

impl fmt::Debug for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 & TEXT == 0 {
            write!(f, "{}", (self.0 as i64) - (SIGN as i64))
        } else {
            write!(f, "text {}", self.0 & !TEXT)
        }
    }
}

/// One step of a transaction, as it is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mop<'a> {
    /// Appends an element to a list.
    Append {
        /// The list.
        key: Key,
        /// The element.
        element: Element,
    },
    /// Reads a whole list; `None` if what was read is not known.
    Read {
        /// The list.
        key: Key,
        /// Its elements, oldest first.
        list: Option<&'a [Element]>,
    },
    /// Appends a record to a log.
    Send {
        /// The log.
        key: Key,
        /// The record.
        element: Element,
        /// Its offset, if known.
        offset: Option<u64>,
    },
    /// Reads some records of a log.
    Poll {
        /// The log.
        key: Key,
        /// The records, with their offsets.
        records: &'a [(u64, Element)],
    },
}

/// A step as it is stored; lists and records are in pools.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Append { key: u32, element: Element },
    Read { key: u32, first: u64, count: u32 },
    ReadUnknown { key: u32 },
    Send { key: u32, element: Element, offset: u64 },
    Poll { key: u32, first: u64, count: u32 },
}

/// No offset.
pub(crate) const NOWHERE: u64 = u64::MAX;

/// One transaction.
#[derive(Clone, Copy, Debug)]
pub struct Transaction {
    /// The process.
    pub process: u32,
    /// How it ended: [`Outcome::Fail`] is aborted, [`Outcome::Info`] may be committed.
    pub outcome: Outcome,
    /// When it began.
    pub invoked: Stamp,
    /// When it ended; `None` if that was not observed.
    pub completed: Option<Stamp>,
    first: u64,
    count: u32,
}

/// Transactions, recorded in the order in which they were observed to begin and end. [`OpId`]s
/// count beginnings from 0.
#[derive(Clone, Debug, Default)]
pub struct History {
    transactions: Vec<Transaction>,
    steps: Vec<Step>,
    elements: Vec<Element>,
    records: Vec<(u64, Element)>,
    keys: Vec<Datum>,
    key_ids: FastMap<Datum, u32>,
    texts: Vec<Datum>,
    text_ids: FastMap<Datum, u32>,
    next_seq: u64,
}

impl History {
    /// An empty history.
    pub fn new() -> History {
        History::default()
    }

    /// The list or log of that name, created if it is new.
    ///
    /// # Panics
    /// With 2^32 names or more.
    pub fn key(&mut self, name: impl Into<Datum>) -> Key {
        let name = name.into();
        if let Some(id) = self.key_ids.get(&name) {
            return Key(*id);
        }
        let id = u32::try_from(self.keys.len()).expect("fewer than 2^32 keys");
        self.keys.push(name.clone());
        self.key_ids.insert(name, id);
        Key(id)
    }

    /// The element that stands for a value.
    ///
    /// # Panics
    /// With 2^32 texts or more.
    pub fn element(&mut self, value: impl Into<Datum>) -> Element {
        let value = value.into();
        match value {
            Datum::Number(number) if (-(1 << 62)..1 << 62).contains(&number) => {
                return Element::number(number);
            }
            Datum::Nil | Datum::Number(_) | Datum::Text(_) => {}
        }
        if let Some(id) = self.text_ids.get(&value) {
            return Element(TEXT | u64::from(*id));
        }
        let id = u32::try_from(self.texts.len()).expect("fewer than 2^32 texts");
        self.texts.push(value.clone());
        self.text_ids.insert(value, id);
        Element(TEXT | u64::from(id))
    }

    fn stamp(&mut self, time: u64) -> Stamp {
        let seq = self.next_seq;
        self.next_seq += 1;
        Stamp { seq, time }
    }

    fn push(&mut self, steps: &[Mop<'_>]) -> (u64, u32) {
        let start = self.steps.len() as u64;
        for step in steps {
            let step = match *step {
                Mop::Append { key, element } => Step::Append { key: key.0, element },
                Mop::Read { key, list: None } => Step::ReadUnknown { key: key.0 },
                Mop::Read { key, list: Some(list) } => {
                    let first = self.elements.len() as u64;
                    self.elements.extend_from_slice(list);
                    let count = u32::try_from(list.len()).expect("fewer than 2^32 elements");
                    Step::Read { key: key.0, first, count }
                }
                Mop::Send { key, element, offset } => {
                    Step::Send { key: key.0, element, offset: offset.unwrap_or(NOWHERE) }
                }
                Mop::Poll { key, records } => {
                    let first = self.records.len() as u64;
                    self.records.extend_from_slice(records);
                    let count = u32::try_from(records.len()).expect("fewer than 2^32 records");
                    Step::Poll { key: key.0, first, count }
                }
            };
            self.steps.push(step);
        }
        (start, u32::try_from(steps.len()).expect("fewer than 2^32 steps"))
    }

    /// A process begins a transaction of these steps, at a time in nanoseconds (for people; only
    /// the order of the calls counts). It may have been committed, unless [`History::commit`] or
    /// [`History::abort`] says otherwise.
    ///
    /// # Panics
    /// With 2^32 transactions or more.
    pub fn begin(&mut self, process: u32, time: u64, steps: &[Mop<'_>]) -> OpId {
        let id = u32::try_from(self.transactions.len()).expect("fewer than 2^32 transactions");
        let invoked = self.stamp(time);
        let (first, count) = self.push(steps);
        let outcome = Outcome::Info;
        let completed = None;
        let transaction = Transaction { process, outcome, invoked, completed, first, count };
        self.transactions.push(transaction);
        OpId(id)
    }

    fn complete(&mut self, id: OpId, time: u64, outcome: Outcome, steps: Option<&[Mop<'_>]>) {
        let stamp = self.stamp(time);
        let pushed = steps.map(|steps| self.push(steps));
        let transaction = &mut self.transactions[id.0 as usize];
        assert!(transaction.completed.is_none(), "a transaction ends once");
        transaction.completed = Some(stamp);
        transaction.outcome = outcome;
        if let Some((first, count)) = pushed {
            (transaction.first, transaction.count) = (first, count);
        }
    }

    /// It was committed, and these were its steps, with what they read.
    ///
    /// # Panics
    /// If it ended before.
    pub fn commit(&mut self, id: OpId, time: u64, steps: &[Mop<'_>]) {
        self.complete(id, time, Outcome::Ok, Some(steps));
    }

    /// It certainly has no effect and never will. What it read until then is kept if it is given.
    ///
    /// # Panics
    /// If it ended before.
    pub fn abort(&mut self, id: OpId, time: u64, steps: Option<&[Mop<'_>]>) {
        self.complete(id, time, Outcome::Fail, steps);
    }

    /// It is unknown whether it was committed, or will be. What is known of its steps (the offsets
    /// of sends that were acknowledged before the commit failed) is kept if it is given.
    ///
    /// # Panics
    /// If it ended before.
    pub fn info(&mut self, id: OpId, time: u64, steps: Option<&[Mop<'_>]>) {
        self.complete(id, time, Outcome::Info, steps);
    }

    /// All transactions, in the order in which they began.
    pub fn transactions(&self) -> &[Transaction] {
        &self.transactions
    }

    /// One transaction.
    pub fn transaction(&self, id: OpId) -> &Transaction {
        &self.transactions[id.0 as usize]
    }

    /// Beginnings (false) and ends (true) of transactions, in order.
    pub(crate) fn moments(&self) -> Vec<(u32, bool)> {
        let mut moments = vec![(0, false); self.next_seq as usize];
        for (op, transaction) in (0..).zip(&self.transactions) {
            moments[transaction.invoked.seq as usize] = (op, false);
            if let Some(completed) = transaction.completed {
                moments[completed.seq as usize] = (op, true);
            }
        }
        moments
    }

    pub(crate) fn steps(&self, transaction: &Transaction) -> &[Step] {
        &self.steps[transaction.first as usize..][..transaction.count as usize]
    }

    pub(crate) fn list(&self, first: u64, count: u32) -> &[Element] {
        &self.elements[first as usize..][..count as usize]
    }

    pub(crate) fn polled(&self, first: u64, count: u32) -> &[(u64, Element)] {
        &self.records[first as usize..][..count as usize]
    }

    /// How many lists and logs there are.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// The name of a key.
    pub fn key_name(&self, key: Key) -> &Datum {
        &self.keys[key.0 as usize]
    }

    /// The value that an element stands for.
    pub fn value(&self, element: Element) -> Datum {
        if element.0 & TEXT == 0 {
            Datum::Number((element.0 as i64) - (SIGN as i64))
        } else {
            self.texts[(element.0 & !TEXT) as usize].clone()
        }
    }

    /// A transaction's steps in words: `append x 3, read y: [1 2]`.
    pub fn describe(&self, id: OpId) -> String {
        let mut text = String::new();
        for step in self.steps(self.transaction(id)) {
            if !text.is_empty() {
                text.push_str(", ");
            }
            text.push_str(&self.describe_step(step));
        }
        text
    }

    fn describe_step(&self, step: &Step) -> String {
        let name = |key: &u32| self.keys[*key as usize].to_string();
        match step {
            Step::Append { key, element } => {
                format!("append {} to {}", self.value(*element), name(key))
            }
            Step::Read { key, first, count } => {
                let list = self.list(*first, *count);
                format!("read {}: {}", name(key), self.describe_list(list))
            }
            Step::ReadUnknown { key } => format!("read {}", name(key)),
            Step::Send { key, element, offset } => {
                let at = if *offset == NOWHERE { String::new() } else { format!(" at {offset}") };
                format!("send {} to {}{at}", self.value(*element), name(key))
            }
            Step::Poll { key, first, count } => {
                let records = self.polled(*first, *count);
                let mut text = format!("poll {}:", name(key));
                for (offset, element) in records.iter().take(8) {
                    text.push_str(&format!(" {offset}={}", self.value(*element)));
                }
                if records.len() > 8 {
                    text.push_str(&format!(" and {} more", records.len() - 8));
                }
                text
            }
        }
    }

    /// A list in words, without its oldest elements if it is long.
    pub(crate) fn describe_list(&self, list: &[Element]) -> String {
        const SHOWN: usize = 8;
        let skipped = list.len().saturating_sub(SHOWN);
        let mut words: Vec<String> = Vec::new();
        if skipped > 0 {
            words.push(format!("... {skipped} more ..."));
        }
        words.extend(list[skipped..].iter().map(|element| self.value(*element).to_string()));
        format!("[{}]", words.join(" "))
    }
}
