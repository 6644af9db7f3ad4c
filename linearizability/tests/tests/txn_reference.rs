//! Transactions checked by the definitions: every pair of them compared, every cycle walked.

use std::collections::{BTreeMap, BTreeSet};

use wavetank_linearizability::txn::{Kind, Order, Shape};

use crate::txn_generate::{End, Step, Txn};

/// All kinds of anomalies in a history.
pub fn kinds(txns: &[Txn], polls_see_end: bool) -> BTreeSet<Kind> {
    let world = World::new(txns);
    let mut kinds = world.alone();
    kinds.extend(world.cycles(polls_see_end));
    kinds
}

struct World<'a> {
    txns: &'a [Txn],
    /// (key, element) -> (transaction, is its last to that key)
    writers: BTreeMap<(u32, i64), (usize, bool)>,
    /// For lists, the longest read; for logs, by offset.
    orders: BTreeMap<u32, Vec<i64>>,
    offsets: BTreeMap<u32, Vec<u64>>,
    doubled: BTreeSet<Kind>,
}

fn appended(step: &Step) -> Option<(u32, i64)> {
    match step {
        Step::Append { key, element } | Step::Send { key, element, .. } => Some((*key, *element)),
        Step::Read { .. } | Step::Poll { .. } => None,
    }
}

/// The reads of a transaction that see what others left: for lists, those before which it neither
/// read nor appended.
fn external(txn: &Txn) -> Vec<(u32, &Vec<i64>)> {
    let mut found = Vec::new();
    for (index, step) in txn.steps.iter().enumerate() {
        let Step::Read { key, list: Some(list) } = step else { continue };
        let touched = txn.steps[..index].iter().any(|before| match before {
            Step::Append { key: of, .. } | Step::Read { key: of, .. } => of == key,
            _ => false,
        });
        if !touched {
            found.push((*key, list));
        }
    }
    found
}

impl<'a> World<'a> {
    fn new(txns: &'a [Txn]) -> World<'a> {
        let mut world = World {
            txns,
            writers: BTreeMap::new(),
            orders: BTreeMap::new(),
            offsets: BTreeMap::new(),
            doubled: BTreeSet::new(),
        };
        let mut logs: BTreeMap<u32, BTreeSet<(u64, i64)>> = BTreeMap::new();
        for (index, txn) in txns.iter().enumerate() {
            for (at, step) in txn.steps.iter().enumerate() {
                if let Some((key, element)) = appended(step) {
                    let more = txn.steps[at + 1..].iter().filter_map(appended);
                    let last = more.into_iter().all(|(other, _)| other != key);
                    world.writers.insert((key, element), (index, last));
                }
                match step {
                    Step::Read { key, list: Some(list) } if txn.end == End::Commit => {
                        let longest = world.orders.entry(*key).or_default();
                        if list.len() > longest.len() {
                            *longest = list.clone();
                        }
                    }
                    // Offsets of sends count unless the transaction aborts.
                    Step::Send { key, element, offset: Some(offset) } if txn.end != End::Abort => {
                        logs.entry(*key).or_default().insert((*offset, *element));
                    }
                    Step::Poll { key, records } => {
                        logs.entry(*key).or_default().extend(records.iter().copied());
                    }
                    _ => {}
                }
            }
        }
        for (key, records) in logs {
            world.order_log(key, &records);
        }
        world
    }

    fn order_log(&mut self, key: u32, records: &BTreeSet<(u64, i64)>) {
        let (mut order, mut offsets): (Vec<i64>, Vec<u64>) = (vec![], vec![]);
        for (offset, element) in records {
            if offsets.last() == Some(offset) {
                self.doubled.insert(Kind::InconsistentOffsets);
                continue;
            }
            if !self.writers.contains_key(&(key, *element)) {
                self.doubled.insert(Kind::GarbageRead);
            } else if order.contains(element) {
                self.doubled.insert(Kind::DuplicateElements);
            }
            order.push(*element);
            offsets.push(*offset);
        }
        self.orders.insert(key, order);
        self.offsets.insert(key, offsets);
    }

    fn end(&self, key: u32, element: i64) -> Option<End> {
        self.writers.get(&(key, element)).map(|(index, _)| self.txns[*index].end)
    }

    /// Certainly committed: it says so, or something that it appended to a list was read.
    fn committed(&self, index: usize) -> bool {
        let seen = self.txns[index].steps.iter().filter_map(appended).any(|(key, element)| {
            key < 3 && self.orders.get(&key).is_some_and(|order| order.contains(&element))
        });
        match self.txns[index].end {
            End::Commit => true,
            End::Abort => false,
            End::Unknown => seen,
        }
    }

    /// What is wrong with single transactions and orders.
    fn alone(&self) -> BTreeSet<Kind> {
        let mut kinds = self.doubled.clone();
        let mut updates: BTreeMap<(u32, &Vec<i64>), usize> = BTreeMap::new();
        for (index, txn) in self.txns.iter().enumerate() {
            if txn.end != End::Commit {
                continue;
            }
            kinds.extend(self.internal(txn));
            for step in &txn.steps {
                let Step::Poll { key, records } = step else { continue };
                for (_, element) in records {
                    match self.writers.get(&(*key, *element)) {
                        Some((writer, _)) if *writer == index => {
                            kinds.insert(Kind::PrecommittedRead);
                        }
                        Some((writer, _)) if self.txns[*writer].end == End::Abort => {
                            kinds.insert(Kind::G1a);
                        }
                        Some(_) | None => {}
                    }
                }
            }
            for (key, list) in external(txn) {
                kinds.extend(self.read(index, key, list));
                let appends = txn.steps.iter().filter_map(appended).any(|(of, _)| of == key);
                if appends && self.orders[&key].starts_with(list) {
                    *updates.entry((key, list)).or_default() += 1;
                }
            }
        }
        if updates.values().any(|count| *count > 1) {
            kinds.insert(Kind::LostUpdate);
        }
        for (key, order) in &self.orders {
            if order.iter().any(|element| !self.writers.contains_key(&(*key, *element))) {
                kinds.insert(Kind::GarbageRead);
            }
            let aborted = order.iter().position(|at| self.end(*key, *at) == Some(End::Abort));
            let Some(aborted) = aborted.filter(|_| *key < 3) else { continue };
            // A repeated element counts where it is first.
            let behind = (aborted..order.len()).filter(|at| !order[..*at].contains(&order[*at]));
            if behind.into_iter().any(|at| self.end(*key, order[at]) == Some(End::Commit)) {
                kinds.insert(Kind::DirtyUpdate);
            }
        }
        kinds
    }

    fn internal(&self, txn: &Txn) -> Option<Kind> {
        let mut known: BTreeMap<u32, (bool, Vec<i64>)> = BTreeMap::new();
        for step in &txn.steps {
            match step {
                Step::Append { key, element } => known.entry(*key).or_default().1.push(*element),
                Step::Read { key, list: Some(list) } => {
                    let (whole, expected) = known.get(key).cloned().unwrap_or_default();
                    let agrees = if whole { *list == expected } else { list.ends_with(&expected) };
                    if !agrees {
                        return Some(Kind::Internal);
                    }
                    known.insert(*key, (true, list.clone()));
                }
                _ => {}
            }
        }
        None
    }

    fn read(&self, index: usize, key: u32, list: &[i64]) -> Vec<Kind> {
        let mut kinds = Vec::new();
        if !self.orders[&key].starts_with(list) {
            kinds.push(Kind::IncompatibleOrder);
        }
        if list.iter().any(|element| self.end(key, *element) == Some(End::Abort)) {
            kinds.push(Kind::G1a);
        }
        if list.iter().any(|element| !self.writers.contains_key(&(key, *element))) {
            kinds.push(Kind::GarbageRead);
        }
        if (0..list.len()).any(|at| list[..at].contains(&list[at])) {
            kinds.push(Kind::DuplicateElements);
        }
        if let Some((writer, last)) = list.last().and_then(|at| self.writers.get(&(key, *at))) {
            if *writer == index {
                kinds.push(Kind::Internal);
            } else if !last && self.txns[*writer].end != End::Abort {
                kinds.push(Kind::G1b);
            }
        }
        kinds
    }

    /// Every dependency, by the kind's bit (ww, wr, rw, process, realtime).
    fn edges(&self, polls_see_end: bool) -> BTreeMap<(usize, usize), u8> {
        let mut edges: BTreeMap<(usize, usize), u8> = BTreeMap::new();
        let mut add = |from: usize, to: usize, kind: u8| {
            if from != to {
                *edges.entry((from, to)).or_default() |= kind;
            }
        };
        // Each order: its live writers, each element where it is first, and its live positions.
        let live = |key: u32| -> Vec<(usize, usize)> {
            let order = self.orders.get(&key).map_or(&[][..], |order| order);
            let firsts = (0..order.len()).filter(|at| !order[..*at].contains(&order[*at]));
            firsts
                .filter(|at| self.end(key, order[*at]).is_some_and(|end| end != End::Abort))
                .map(|at| (at, self.writers[&(key, order[at])].0))
                .collect()
        };
        let unread = |key: u32| -> Vec<usize> {
            let order = self.orders.get(&key).map_or(&[][..], |order| order);
            let of_key = self.writers.iter().filter(|((of, _), _)| *of == key);
            of_key
                .filter(|((_, element), (writer, _))| {
                    self.committed(*writer) && !order.contains(element)
                })
                .map(|(_, (writer, _))| *writer)
                .collect()
        };
        for key in 0..6 {
            let live = live(key);
            for pair in live.windows(2) {
                add(pair[0].1, pair[1].1, 1);
            }
            if let Some((_, last)) = live.last().filter(|_| key < 3) {
                unread(key).iter().for_each(|writer| add(*last, *writer, 1));
            }
        }
        let committed = (0..self.txns.len()).filter(|at| self.txns[*at].end == End::Commit);
        for reader in committed {
            let txn = &self.txns[reader];
            let mut overtaken =
                |key: u32, length: usize| match live(key).iter().find(|(at, _)| *at >= length) {
                    Some((_, writer)) => add(reader, *writer, 4),
                    None => unread(key).iter().for_each(|writer| add(reader, *writer, 4)),
                };
            for (key, list) in external(txn) {
                if self.orders[&key].starts_with(list) {
                    overtaken(key, list.len());
                }
            }
            for step in &txn.steps {
                let Step::Poll { key, records } = step else { continue };
                let end = records.iter().map(|record| record.0).max();
                if let Some(end) = end.filter(|_| polls_see_end) {
                    overtaken(*key, self.offsets[key].iter().filter(|at| **at <= end).count());
                }
            }
            let lists =
                external(txn).into_iter().filter_map(|(key, list)| Some((key, *list.last()?)));
            let polls = txn.steps.iter().flat_map(|step| match step {
                Step::Poll { key, records } => records.iter().map(|at| (*key, at.1)).collect(),
                _ => vec![],
            });
            for (key, element) in lists.chain(polls) {
                let writer = self.writers.get(&(key, element));
                if let Some((writer, _)) = writer.filter(|at| self.txns[at.0].end != End::Abort) {
                    add(*writer, reader, 2);
                }
            }
        }
        for (from, a) in self.txns.iter().enumerate().filter(|(_, a)| a.end == End::Commit) {
            for (to, b) in self.txns.iter().enumerate().filter(|(_, b)| b.end != End::Abort) {
                if a.ended < b.begun {
                    add(from, to, if a.process == b.process { 24 } else { 16 });
                }
            }
        }
        edges
    }

    fn cycles(&self, polls_see_end: bool) -> BTreeSet<Kind> {
        let edges = self.edges(polls_see_end);
        let mut kinds = BTreeSet::new();
        for start in 0..self.txns.len() {
            walk(&edges, self.txns.len(), &mut vec![start], &BTreeSet::from([[0; 5]]), &mut kinds);
        }
        kinds
    }
}

/// Extends a path whose first node is its smallest; `counts` are the kinds of edges (each up to 2)
/// with which it can be walked.
fn walk(
    edges: &BTreeMap<(usize, usize), u8>,
    nodes: usize,
    path: &mut Vec<usize>,
    counts: &BTreeSet<[u8; 5]>,
    kinds: &mut BTreeSet<Kind>,
) {
    let (first, last) = (path[0], path[path.len() - 1]);
    for next in first..nodes {
        let Some(bits) = edges.get(&(last, next)) else { continue };
        if next != first && path.contains(&next) {
            continue;
        }
        let mut after = BTreeSet::new();
        for count in counts {
            for kind in (0..5).filter(|kind| bits & (1 << kind) != 0) {
                let mut count = *count;
                count[kind] = (count[kind] + 1).min(2);
                after.insert(count);
            }
        }
        if next == first {
            kinds.extend(after.iter().filter_map(kind_of));
        } else {
            path.push(next);
            walk(edges, nodes, path, &after, kinds);
            path.pop();
        }
    }
}

fn kind_of([ww, wr, rw, process, realtime]: &[u8; 5]) -> Option<Kind> {
    let shape = match (rw, wr, ww) {
        (0, 0, 0) => return None,
        (0, 0, _) => Shape::G0,
        (0, _, 0) => Shape::G1cWr,
        (0, _, _) => Shape::G1c,
        (1, _, _) => Shape::GSingle,
        (_, _, _) => Shape::G2Item,
    };
    let order = match (realtime, process) {
        (0, 0) => Order::Plain,
        (0, _) => Order::Process,
        (_, _) => Order::Realtime,
    };
    Some(Kind::Cycle(shape, order))
}
