//! Infers from what was read which transaction depends on which, and finds the anomalies that show
//! in one transaction and the orders of its keys.
//!
//! After Kingsbury and Alvaro, Elle: inferring isolation anomalies from experimental observations
//! (PVLDB 14(3), 2020). A list that was read shows the order of all its elements. So the longest
//! read of a list is the order of its versions, and every other read must be a prefix of it. A
//! log's offsets are its order.

use super::graph::{Edge, Kinds, NONE, PASS, PROCESS, REALTIME, RW, WR, WW, Why};
use super::history::{Element, History, Step};
use super::kind::Kind;
use super::report::Report;
use super::versions::{Append, Table, garbage};
use super::{Key, Options};
use crate::hash::FastMap;
use crate::{OpId, Outcome};

/// See the module.
pub(crate) struct Inference<'a> {
    history: &'a History,
    table: &'a Table,
    report: &'a mut Report,
    pub(crate) edges: Vec<Edge>,
    /// Transactions, and nodes that only gather edges.
    pub(crate) nodes: u32,
    /// For each key, the first of the nodes before its unread appends.
    beyond: Vec<u32>,
    /// For each key, what the current transaction knows of it.
    local: Vec<Local>,
    /// Transactions that read a state of a list before appending to it: key, length, transaction.
    updates: Vec<(u32, u32, u32)>,
}

/// What a transaction knows of a list, from its steps so far.
#[derive(Clone, Copy)]
struct Local {
    /// The transaction.
    op: u32,
    /// The list that it last read.
    read: Option<(u64, u32)>,
    /// How many elements it has appended since.
    appended: u32,
    /// The length of what it read before it did anything else; [`NONE`] if it did not read first.
    read_first: u32,
}

impl<'a> Inference<'a> {
    pub(crate) fn new(
        history: &'a History,
        table: &'a Table,
        report: &'a mut Report,
    ) -> Inference<'a> {
        let nodes = history.transactions().len() as u32;
        let keys = history.key_count();
        let local = Local { op: NONE, read: None, appended: 0, read_first: NONE };
        Inference {
            history,
            table,
            report,
            edges: Vec::new(),
            nodes,
            beyond: vec![NONE; keys],
            local: vec![local; keys],
            updates: Vec::new(),
        }
    }

    fn edge(&mut self, from: u32, to: u32, kind: Kinds, why: Why) {
        self.edges.push(Edge { from, to, kind, why });
    }

    /// Infers from writes: which came after which, and which were applied on top of an aborted one.
    pub(crate) fn writes(&mut self) {
        for key in 0..self.table.keys.len() as u32 {
            let versions = &self.table.keys[key as usize];
            let mut before: Option<&Append> = None;
            let mut aborted: Option<&Append> = None;
            for position in 0..versions.order.len() {
                let Some(append) = self.table.at(key, position) else { continue };
                if append.outcome == Outcome::Fail {
                    aborted = Some(append);
                    continue;
                }
                if let Some(before) = before.filter(|before| before.op != append.op) {
                    self.edge(before.op, append.op, WW, (key, position as u32));
                }
                before = Some(append);
                let may = append.outcome == Outcome::Ok && versions.offsets.is_empty();
                if let Some(aborted) = aborted.take_if(|_| may) {
                    self.dirty_update(aborted, append);
                }
            }
            let Some(before) = before else { continue };
            if versions.offsets.is_empty() {
                for unread in &versions.unread {
                    let to = self.table.appends[*unread as usize].op;
                    if to != before.op {
                        self.edge(before.op, to, WW, (key, NONE));
                    }
                }
            }
        }
    }

    fn dirty_update(&mut self, aborted: &Append, append: &Append) {
        let history = self.history;
        self.report.add(Kind::DirtyUpdate, || {
            let (first, second) = (history.value(aborted.element), history.value(append.element));
            let name = history.key_name(Key(append.key));
            let text = format!(
                "operation {} appended {second} to {name}, after {first} of operation {}, which \
                 was aborted",
                append.op, aborted.op
            );
            (text, vec![OpId(append.op), OpId(aborted.op)])
        });
    }

    /// Infers from reads.
    pub(crate) fn reads(&mut self, options: &Options) {
        let history = self.history;
        for (op, transaction) in (0..).zip(history.transactions()) {
            if transaction.outcome != Outcome::Ok {
                continue;
            }
            let steps = history.steps(transaction);
            for (index, step) in steps.iter().enumerate() {
                match *step {
                    Step::Read { key, first, count } => {
                        self.read(op, &steps[..index], key, (first, count));
                    }
                    Step::Append { key, .. } => self.append(op, key),
                    Step::Poll { key, first, count } => {
                        self.poll(op, key, history.polled(first, count), options);
                    }
                    Step::Send { .. } | Step::ReadUnknown { .. } => {}
                }
            }
        }
        self.lost_updates();
    }

    fn local(&mut self, op: u32, key: u32) -> &mut Local {
        let local = &mut self.local[key as usize];
        if local.op != op {
            *local = Local { op, read: None, appended: 0, read_first: NONE };
        }
        local
    }

    fn append(&mut self, op: u32, key: u32) {
        let local = self.local(op, key);
        local.appended += 1;
        let first = std::mem::replace(&mut local.read_first, NONE);
        if first != NONE {
            self.updates.push((key, first, op));
        }
    }

    fn read(&mut self, op: u32, before: &[Step], key: u32, (first, count): (u64, u32)) {
        let history = self.history;
        let list = history.list(first, count);
        let local = *self.local(op, key);
        *self.local(op, key) = Local { read: Some((first, count)), appended: 0, ..local };
        if local.read.is_some() || local.appended > 0 {
            let own = own_appends(before, key, local.appended);
            let known = local.read.map(|(first, count)| history.list(first, count));
            let agrees = match known {
                Some(known) => {
                    list.len() == known.len() + own.len()
                        && list.starts_with(known)
                        && list.ends_with(&own)
                }
                None => list.ends_with(&own),
            };
            if !agrees {
                self.internal(op, key, list, known, &own);
            }
            return;
        }
        self.external_read(op, key, list);
    }

    fn internal(
        &mut self,
        op: u32,
        key: u32,
        list: &[Element],
        known: Option<&[Element]>,
        own: &[Element],
    ) {
        let history = self.history;
        self.report.add(Kind::Internal, || {
            let name = history.key_name(Key(key));
            let list = history.describe_list(list);
            let mut expected = known.map(<[Element]>::to_vec).unwrap_or_default();
            expected.extend_from_slice(own);
            let rest = if known.is_some() { "" } else { "a list that ends with " };
            let text = format!(
                "operation {op} read {name} as {list}; by its own reads and appends it should be \
                 {rest}{}",
                history.describe_list(&expected)
            );
            (text, vec![OpId(op)])
        });
    }

    /// A read of what other transactions left.
    fn external_read(&mut self, op: u32, key: u32, list: &[Element]) {
        let (history, table) = (self.history, self.table);
        let versions = &table.keys[key as usize];
        let longest = history.list(versions.longest.0, versions.longest.1);
        let compatible = longest.starts_with(list);
        if compatible {
            let aborted = versions.aborted.first().filter(|at| (**at as usize) < list.len());
            if let Some(append) = aborted.and_then(|at| table.at(key, *at as usize)) {
                self.aborted_read(op, append);
            }
        } else {
            self.incompatible(op, key, list);
        }
        self.duplicates(op, key, list, compatible);
        if let Some(append) = list.last().and_then(|last| table.writer(key, *last)) {
            self.read_of(op, append);
        }
        if compatible {
            self.local(op, key).read_first = list.len() as u32;
            self.overwritten(op, key, list.len());
        }
    }

    /// Checks the writer of the last element that was read, and adds the wr edge from it.
    fn read_of(&mut self, op: u32, append: &'a Append) {
        let history = self.history;
        if append.op == op {
            self.report.add(Kind::Internal, || {
                let (value, name) =
                    (history.value(append.element), history.key_name(Key(append.key)));
                let text = format!(
                    "operation {op} read {value} from {name} before it had appended that itself"
                );
                (text, vec![OpId(op)])
            });
            return;
        }
        if append.outcome == Outcome::Fail {
            return; // Nothing depends on an aborted write.
        }
        if !append.is_final {
            self.report.add(Kind::G1b, || {
                let (value, name) =
                    (history.value(append.element), history.key_name(Key(append.key)));
                let text = format!(
                    "operation {op} read {name} up to {value}, in the middle of operation {}, \
                     which appended more to it",
                    append.op
                );
                (text, vec![OpId(op), OpId(append.op)])
            });
        }
        self.edge(append.op, op, WR, (append.key, append.position));
    }

    /// Adds the rw edge from a read to the next version, at that position or later.
    fn overwritten(&mut self, op: u32, key: u32, position: usize) {
        let versions = &self.table.keys[key as usize];
        for at in position..versions.order.len() {
            match self.table.at(key, at) {
                Some(next) if next.outcome != Outcome::Fail => {
                    if next.op != op {
                        self.edge(op, next.op, RW, (key, at as u32));
                    }
                    return;
                }
                Some(_) | None => {}
            }
        }
        self.before_unread(op, key);
    }

    /// Everything that anybody read was read: unread appends came later, except the reader's own.
    fn before_unread(&mut self, op: u32, key: u32) {
        let table = self.table;
        let unread = &table.keys[key as usize].unread;
        if unread.is_empty() {
            return;
        }
        let writer = |id: &u32| table.appends[*id as usize].op;
        let (from, up_to) = self.gather_unread(key);
        let own = unread.partition_point(|id| writer(id) < op);
        let behind = unread.partition_point(|id| writer(id) <= op);
        if behind < unread.len() {
            self.edge(op, from + if own == behind { 0 } else { behind as u32 }, RW, (key, NONE));
        }
        if own > 0 && (own < behind || behind == unread.len()) {
            self.edge(op, up_to + own as u32 - 1, RW, (key, NONE));
        }
    }

    /// Nodes before all unread appends of a key from one on, and nodes before all up to one.
    fn gather_unread(&mut self, key: u32) -> (u32, u32) {
        let unread = &self.table.keys[key as usize].unread;
        let count = unread.len() as u32;
        if self.beyond[key as usize] == NONE {
            self.beyond[key as usize] = self.nodes;
            let (from, up_to) = (self.nodes, self.nodes + count);
            self.nodes += 2 * count;
            for (index, id) in (0..).zip(unread) {
                let to = self.table.appends[*id as usize].op;
                self.edge(from + index, to, PASS, (key, NONE));
                self.edge(up_to + index, to, PASS, (key, NONE));
                if index > 0 {
                    self.edge(from + index - 1, from + index, PASS, (key, NONE));
                    self.edge(up_to + index, up_to + index - 1, PASS, (key, NONE));
                }
            }
        }
        let from = self.beyond[key as usize];
        (from, from + count)
    }

    fn incompatible(&mut self, op: u32, key: u32, list: &[Element]) {
        let (history, table) = (self.history, self.table);
        let versions = &table.keys[key as usize];
        self.report.add(Kind::IncompatibleOrder, || {
            let name = history.key_name(Key(key));
            let longest = history.list(versions.longest.0, versions.longest.1);
            let at = list.iter().zip(longest).take_while(|(a, b)| a == b).count();
            let (reader, from) = (versions.reader, at.saturating_sub(1));
            let text = format!(
                "operation {op} read {name} as {}, operation {reader} as {}; they diverge at \
                 position {at} (from {from} on: {} and {}), so neither came before the other",
                history.describe_list(list),
                history.describe_list(longest),
                history.describe_list(&list[from..list.len().min(from + 4)]),
                history.describe_list(&longest[from..longest.len().min(from + 4)]),
            );
            (text, vec![OpId(op), OpId(reader)])
        });
        let aborted = |append: &&Append| append.outcome == Outcome::Fail;
        let mut writers = list.iter().filter_map(|element| table.writer(key, *element));
        if let Some(append) = writers.find(aborted) {
            self.aborted_read(op, append);
        }
        if let Some(element) = list.iter().find(|element| table.writer(key, **element).is_none()) {
            self.report.add(Kind::GarbageRead, || garbage(history, key, *element, OpId(op)));
        }
    }

    fn aborted_read(&mut self, op: u32, append: &Append) {
        let history = self.history;
        self.report.add(Kind::G1a, || {
            let (value, name) = (history.value(append.element), history.key_name(Key(append.key)));
            let text = format!(
                "operation {op} read {value} from {name}, of operation {}, which was aborted",
                append.op
            );
            (text, vec![OpId(op), OpId(append.op)])
        });
    }

    /// Finds elements that a list has twice. A list that is a prefix of the longest has them only
    /// if that does.
    fn duplicates(&mut self, op: u32, key: u32, list: &[Element], compatible: bool) {
        let history = self.history;
        let versions = &self.table.keys[key as usize];
        if compatible && list.len() <= versions.first_hole as usize {
            return;
        }
        let mut sorted = list.to_vec();
        sorted.sort_unstable();
        let Some(twice) = sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
        else {
            return;
        };
        self.report.add(Kind::DuplicateElements, || {
            let (value, name) = (history.value(twice), history.key_name(Key(key)));
            let list = history.describe_list(list);
            (format!("operation {op} read {name} as {list}, with {value} twice"), vec![OpId(op)])
        });
    }

    fn poll(&mut self, op: u32, key: u32, records: &[(u64, Element)], options: &Options) {
        let (history, table) = (self.history, self.table);
        let mut last = NONE;
        for (offset, element) in records {
            let Some(append) = table.writer(key, *element) else { continue };
            if append.op == op {
                self.report.add(Kind::PrecommittedRead, || {
                    let (value, name) = (history.value(*element), history.key_name(Key(key)));
                    let text = format!(
                        "operation {op} polled {value} from {name} at offset {offset}, which it \
                         had sent itself and not yet committed"
                    );
                    (text, vec![OpId(op)])
                });
            } else if append.outcome == Outcome::Fail {
                self.aborted_read(op, append);
            } else if append.op != last {
                self.edge(append.op, op, WR, (key, append.position));
            }
            last = append.op;
        }
        let end = records.iter().map(|(offset, _)| *offset).max();
        if let Some(end) = end.filter(|_| options.polls_see_end) {
            let offsets = &table.keys[key as usize].offsets;
            self.overwritten(op, key, offsets.partition_point(|offset| *offset <= end));
        }
    }

    fn lost_updates(&mut self) {
        let history = self.history;
        let mut updates = std::mem::take(&mut self.updates);
        updates.sort_unstable();
        for group in updates.chunk_by(|a, b| (a.0, a.1) == (b.0, b.1)) {
            // Two reads of one length that are not the same state are an incompatible order.
            let [(key, length, _), _, ..] = group else { continue };
            self.report.add(Kind::LostUpdate, || {
                let name = history.key_name(Key(*key));
                let ops: Vec<OpId> = group.iter().map(|(.., op)| OpId(*op)).collect();
                let named: Vec<String> = ops.iter().take(8).map(|op| op.0.to_string()).collect();
                let more = if ops.len() > 8 { ", ..." } else { "" };
                let text = format!(
                    "operations {}{more} all read {name} with {length} elements and then appended \
                     to it: only one of them can have found what it had read",
                    named.join(", ")
                );
                (text, ops)
            });
        }
    }

    /// The orders besides the dependencies: the order of each process, and real time. The latter
    /// takes three edges per transaction: transactions that ended before some moment are gathered
    /// in a node, and all that begin later come after it.
    pub(crate) fn orders(&mut self, process: bool, realtime: bool) {
        let history = self.history;
        let mut last: FastMap<u32, u32> = FastMap::default();
        let mut ended: Vec<u32> = Vec::new();
        let mut gathered = NONE;
        for (op, is_end) in history.moments() {
            let transaction = history.transaction(OpId(op));
            match (transaction.outcome, is_end) {
                (Outcome::Ok, true) => {
                    last.insert(transaction.process, op);
                    ended.push(op);
                }
                (Outcome::Fail, _) | (Outcome::Info, true) => {}
                (Outcome::Ok | Outcome::Info, false) => {
                    if let Some(before) = last.get(&transaction.process).filter(|_| process) {
                        self.edge(*before, op, PROCESS, (NONE, NONE));
                    }
                    if !realtime {
                        continue;
                    }
                    if !ended.is_empty() {
                        let node = self.nodes;
                        self.nodes += 1;
                        if gathered != NONE {
                            self.edge(gathered, node, PASS, (NONE, NONE));
                        }
                        for before in ended.drain(..) {
                            let why = (NONE, NONE);
                            self.edges.push(Edge { from: before, to: node, kind: REALTIME, why });
                        }
                        gathered = node;
                    }
                    if gathered != NONE {
                        self.edge(gathered, op, PASS, (NONE, NONE));
                    }
                }
            }
        }
    }
}

/// The latest `count` elements that a transaction appended to a key, among these steps.
fn own_appends(steps: &[Step], key: u32, count: u32) -> Vec<Element> {
    let mut own: Vec<Element> = steps
        .iter()
        .rev()
        .filter_map(|step| match *step {
            Step::Append { key: of, element } if of == key => Some(element),
            _ => None,
        })
        .take(count as usize)
        .collect();
    own.reverse();
    own
}
