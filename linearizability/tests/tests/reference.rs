//! The checker's definitions, written down naively: every pair is compared with every other.

use std::collections::BTreeMap;

use wavetank_linearizability::log::Options;
use wavetank_linearizability::{
    Acks, Action, Change, History, Loss, OpId, Operation, Outcome, Polled, Position, Value,
};

use super::reference_groups as groups;

#[derive(Clone, Copy)]
struct Send {
    process: u32,
    partition: u32,
    value: Value,
    acks: Acks,
    outcome: Outcome,
    acked: i64,
    epoch: i32,
    invoked: u64,
    completed: u64,
    op: OpId,
    transaction: Option<OpId>,
    /// Was its transaction of unknown outcome, and yet committed?
    proven: bool,
}

#[derive(Clone, Copy)]
struct Evidence {
    partition: u32,
    offset: i64,
    value: Value,
    epoch: i32,
    read: bool,
}

/// What a reader got, and what it got before that in the same assignment (no epoch: the position).
struct Pair {
    before: Option<(i64, i32)>,
    same_poll: bool,
    by_group: bool,
    subscribed: bool,
    record: Polled,
    completed: u64,
    process: u32,
    transaction: Option<OpId>,
}

struct Reference<'a> {
    history: &'a History,
    options: &'a Options,
    losses: &'a [Loss],
    sends: Vec<Send>,
    pairs: Vec<Pair>,
    evidence: Vec<Evidence>,
}

/// How often each anomaly occurs, and other counts; the names are the checker's.
pub fn check(history: &History, options: &Options) -> (bool, BTreeMap<&'static str, u64>) {
    let pairs = pairs(history);
    let sends = sends(history, options, &pairs);
    let evidence = evidence(&sends, &pairs);
    let losses = history.losses();
    let reference = Reference { history, options, losses, sends, pairs, evidence };
    let counts: BTreeMap<&'static str, u64> = [
        ("inconsistent-offsets", reference.inconsistent()),
        ("duplicate", reference.duplicates()),
        ("lost-write", reference.missing(options, "lost-write")),
        ("unseen", reference.missing(options, "unseen")),
        ("excused-loss", reference.missing(options, "excused-loss")),
        ("lost-acks-1", reference.missing(options, "lost-acks-1")),
        ("aborted-read", reference.aborted()),
        ("read-before-send", reference.too_early()),
        ("garbage-read", reference.garbage()),
        ("poll-skip", reference.skips(false)),
        ("int-poll-skip", reference.skips(true)),
        ("nonmonotonic-poll", reference.backward(false)),
        ("int-nonmonotonic-poll", reference.backward(true)),
        ("epoch-regression", reference.epochs_backward()),
        ("nonmonotonic-send", reference.reordered(false)),
        ("int-nonmonotonic-send", reference.reordered(true)),
        ("precommitted-read", reference.premature(false)),
        ("uncommitted-read", reference.premature(true)),
        ("torn-transaction", reference.torn()),
        ("poll-skip-subscribed", reference.skips_by_group()),
        ("nonmonotonic-poll-subscribed", reference.backward_by_group()),
        ("consumed-twice", reference.consumed_twice()),
        ("realtime-lag-us", reference.lag()),
        ("processed-twice", reference.processed_twice(false)),
        ("processed-never", reference.processed_never()),
        ("conservation", reference.conservation()),
        ("real-time-order", reference.real_time()),
    ]
    .into();
    let mut counts = counts;
    groups::count(history, options, &mut counts);
    let allowed = |name: &str| match name {
        "duplicate" => !options.forbid_duplicates && reference.transactional_duplicates() == 0,
        "nonmonotonic-send" => {
            !options.forbid_reordered_sends && reference.transactional_disorder() == 0
        }
        "unseen" | "processed-never" | "conservation" => !options.complete,
        "processed-twice" => reference.processed_twice(true) == 0,
        "excused-loss"
        | "lost-acks-1"
        | "uncommitted-read"
        | "poll-skip-subscribed"
        | "nonmonotonic-poll-subscribed"
        | "consumed-twice"
        | "realtime-lag-us" => true,
        _ => false,
    };
    let valid = counts.iter().all(|(name, count)| *count == 0 || allowed(name));
    (valid, counts)
}

fn outcome_of(history: &History, transaction: Option<OpId>) -> Outcome {
    transaction.map_or(Outcome::Ok, |op| history.operation(op).outcome)
}

fn sends(history: &History, options: &Options, pairs: &[Pair]) -> Vec<Send> {
    let mut sends = vec![];
    for (id, operation) in (0..).zip(history.operations()) {
        if let Action::Send { partition, value, acks, offset, epoch } = operation.action {
            let of = outcome_of(history, operation.transaction());
            sends.push(Send {
                process: operation.process,
                partition: partition.0,
                value,
                acks,
                outcome: if of == Outcome::Ok { operation.outcome } else { of },
                acked: if of == Outcome::Fail { -1 } else { offset },
                epoch,
                invoked: operation.invoked.seq,
                completed: operation.completed.map_or(u64::MAX, |stamp| stamp.seq),
                op: OpId(id),
                transaction: operation.transaction(),
                proven: false,
            });
        }
    }
    // A transaction of unknown outcome was committed if anything of it was read.
    let read = |send: &Send| {
        pairs.iter().any(|pair| {
            (pair.record.partition.0, pair.record.value) == (send.partition, send.value)
        })
    };
    let proven: Vec<OpId> = sends
        .iter()
        .filter(|send| read(send) && !options.read_uncommitted)
        .filter_map(|send| send.transaction)
        .filter(|op| history.operation(*op).outcome == Outcome::Info)
        .collect();
    for send in &mut sends {
        let own = history.operation(send.op).outcome;
        if own == Outcome::Fail {
            send.outcome = Outcome::Fail;
        } else if send.transaction.is_some_and(|op| proven.contains(&op)) {
            (send.outcome, send.proven) = (own, true);
        }
    }
    sends
}

/// A process' known positions, by partition.
type Places = BTreeMap<u32, (i64, i32)>;

#[derive(Default)]
struct Reader {
    now: Places,
    /// Before its transaction; `None` outside of one.
    before: Option<(OpId, Places)>,
    /// The last records' operations, or transactions.
    units: BTreeMap<u32, OpId>,
    subscribed: bool,
    tells: bool,
    /// Partitions that its transaction has moved.
    moved: Vec<u32>,
}

impl Reader {
    /// Sets its position, and the one that it goes back to.
    fn set(&mut self, partition: u32, at: Option<i64>) {
        let places = self.before.as_mut().map(|(_, places)| places);
        for places in [Some(&mut self.now), places].into_iter().flatten() {
            match at {
                Some(at) => places.insert(partition, (at - 1, -1)),
                None => places.remove(&partition),
            };
        }
        self.units.remove(&partition);
        self.moved.retain(|moved| *moved != partition);
    }

    fn keep_only(&mut self, kept: &[u32]) {
        let places = self.before.as_mut().map(|(_, places)| places);
        for places in [Some(&mut self.now), places].into_iter().flatten() {
            places.retain(|partition, _| kept.contains(partition));
        }
        self.moved.retain(|partition| kept.contains(partition));
    }

    fn end(&mut self, outcome: Outcome) {
        let Some((_, before)) = self.before.take() else { return };
        let moved = std::mem::take(&mut self.moved);
        if outcome != Outcome::Ok {
            for partition in &moved {
                self.now.remove(partition);
                self.units.remove(partition);
            }
        }
        if outcome == Outcome::Fail {
            for partition in moved {
                if let Some(at) = before.get(&partition) {
                    self.now.insert(partition, *at);
                }
            }
        }
    }
}

fn pairs(history: &History) -> Vec<Pair> {
    let mut operations: Vec<_> = (0..)
        .zip(history.operations())
        .filter(|(_, op)| op.completed.is_some())
        .map(|(id, op)| (OpId(id), op))
        .collect();
    operations.sort_by_key(|(_, op)| op.completed);
    let mut readers: BTreeMap<u32, Reader> = BTreeMap::new();
    let mut pairs = vec![];
    for (id, operation) in operations {
        let reader = readers.entry(operation.process).or_default();
        let positions = history.positions(operation);
        match operation.action {
            Action::Assign { seek, .. } => {
                if !seek {
                    reader.subscribed = false;
                    let listed: Vec<u32> = positions.iter().map(|(p, _)| p.0).collect();
                    reader.keep_only(&listed);
                }
                for (partition, position) in positions {
                    match position {
                        Position::At(at) => reader.set(partition.0, Some(*at)),
                        Position::Unknown => reader.set(partition.0, None),
                        Position::Kept => {}
                    }
                }
            }
            Action::Subscribe | Action::Crash => {
                reader.keep_only(&[]);
                reader.subscribed = operation.action == Action::Subscribe;
                reader.tells = false;
            }
            Action::Rebalance { change, .. } if change != Change::Changed => {
                reader.tells = true;
                for (partition, _) in positions {
                    reader.set(partition.0, None);
                }
            }
            Action::Transaction { .. }
                if reader.before.as_ref().is_some_and(|(open, _)| *open == id) =>
            {
                reader.end(operation.outcome);
            }
            Action::Poll { .. } => read_poll(history, id, operation, reader, &mut pairs),
            _ => {}
        }
    }
    pairs
}

fn read_poll(
    history: &History,
    id: OpId,
    operation: &Operation,
    reader: &mut Reader,
    pairs: &mut Vec<Pair>,
) {
    let transaction = operation.transaction();
    if history.polled(operation).is_empty() {
        return;
    }
    if reader.before.as_ref().is_some_and(|(open, _)| Some(*open) != transaction) {
        // The outcome of that one is unknown.
        reader.end(Outcome::Info);
    }
    if let (Some(transaction), None) = (transaction, &reader.before) {
        reader.before = Some((transaction, reader.now.clone()));
    }
    let unit = transaction.unwrap_or(id);
    let began = history.operation(unit).invoked.seq;
    let completed = operation.completed.unwrap().seq;
    for record in history.polled(operation) {
        let partition = record.partition.0;
        let unsettled = history.operations().iter().any(|op| {
            let changed = matches!(op.action, Action::Rebalance { change: Change::Changed, .. });
            changed
                && op.process == operation.process
                && (began..completed).contains(&op.invoked.seq)
                && history.positions(op).iter().any(|(p, _)| p.0 == partition)
        });
        let before = reader.now.insert(partition, (record.offset, record.epoch));
        let last = reader.units.insert(partition, unit);
        if transaction.is_some() {
            reader.moved.push(partition);
        }
        let same_poll = last == Some(unit);
        pairs.push(Pair {
            before: before.filter(|_| !unsettled),
            same_poll,
            by_group: reader.subscribed && !reader.tells && !same_poll,
            subscribed: reader.subscribed,
            record: *record,
            completed,
            process: operation.process,
            transaction,
        });
    }
}

fn evidence(sends: &[Send], pairs: &[Pair]) -> Vec<Evidence> {
    let acknowledged = |proven: bool| {
        let counts = move |s: &&Send| {
            s.acks == Acks::All && s.acked >= 0 && s.outcome == Outcome::Ok && s.proven == proven
        };
        sends.iter().filter(counts).map(|s| {
            let Send { partition, acked, value, epoch, .. } = *s;
            Evidence { partition, offset: acked, value, epoch, read: false }
        })
    };
    let read = pairs.iter().map(|pair| {
        let Polled { partition, offset, epoch, value } = pair.record;
        Evidence { partition: partition.0, offset, value, epoch, read: true }
    });
    let mut evidence: Vec<Evidence> = vec![];
    // Evidence without an epoch is taken for the first that is known.
    for new in acknowledged(false).chain(read).chain(acknowledged(true)) {
        let known = evidence.iter_mut().find(|known| {
            (known.partition, known.offset, known.value) == (new.partition, new.offset, new.value)
                && (known.epoch == new.epoch || known.epoch == -1 || new.epoch == -1)
        });
        match known {
            Some(known) => {
                known.read |= new.read;
                known.epoch = known.epoch.max(new.epoch);
            }
            None => evidence.push(new),
        }
    }
    evidence
}

impl Reference<'_> {
    /// Is there a loss at or before the offset between records of these epochs?
    fn separate(&self, partition: u32, offset: i64, a: i32, b: i32) -> bool {
        self.losses.iter().any(|loss| {
            let between = a < loss.epoch && loss.epoch <= b || b < loss.epoch && loss.epoch <= a;
            loss.partition.0 == partition
                && loss.offset <= offset
                && (a == -1 || b == -1 || between)
        })
    }

    /// Was the record of this offset and epoch lost before records of epoch `later` were appended?
    fn lost_before(&self, partition: u32, offset: i64, epoch: i32, later: i32) -> bool {
        self.losses.iter().any(|loss| {
            loss.partition.0 == partition
                && loss.offset <= offset
                && (epoch == -1 || epoch < loss.epoch)
                && (later == -1 || later >= loss.epoch)
        })
    }

    /// Where a value is, by offset.
    fn places(&self, send: &Send) -> Vec<Evidence> {
        let mut places: Vec<Evidence> = self
            .evidence
            .iter()
            .filter(|e| (e.partition, e.value) == (send.partition, send.value))
            .copied()
            .collect();
        places.sort_by_key(|e| (e.offset, e.epoch));
        places
    }

    fn count<T>(items: &[T], wrong: impl Fn(&T) -> bool) -> u64 {
        items.iter().filter(|item| wrong(item)).count() as u64
    }

    fn inconsistent(&self) -> u64 {
        let mut offsets: Vec<(u32, i64)> =
            self.evidence.iter().map(|e| (e.partition, e.offset)).collect();
        offsets.sort_unstable();
        offsets.dedup();
        Self::count(&offsets, |at| {
            let here: Vec<&Evidence> =
                self.evidence.iter().filter(|e| (e.partition, e.offset) == *at).collect();
            (0..here.len())
                .any(|i| (0..i).any(|j| !self.separate(at.0, at.1, here[i].epoch, here[j].epoch)))
        })
    }

    fn transactional_duplicates(&self) -> u64 {
        Self::count(&self.sends, |send| send.transaction.is_some() && self.is_duplicate(send))
    }

    fn duplicates(&self) -> u64 {
        Self::count(&self.sends, |send| self.is_duplicate(send))
    }

    fn is_duplicate(&self, send: &Send) -> bool {
        {
            let places = self.places(send);
            places.iter().any(|a| {
                places.iter().any(|b| {
                    // Was the older of the two gone before the newer was appended?
                    let excused = if a.epoch < b.epoch {
                        self.lost_before(a.partition, a.offset, a.epoch, b.epoch)
                    } else if b.epoch < a.epoch {
                        self.lost_before(a.partition, b.offset, b.epoch, a.epoch)
                    } else {
                        // Both unknown: a loss before the first of them.
                        let first = a.offset.min(b.offset);
                        a.epoch == -1 && self.lost_before(a.partition, first, -1, -1)
                    };
                    a.offset != b.offset && !excused
                })
            })
        }
    }

    /// Has a reader got past this offset, in the newest lineage that begins at or before it?
    fn passed(&self, partition: u32, offset: i64) -> bool {
        if self.options.covered && offset <= self.covered(partition) {
            return true;
        }
        self.pairs.iter().any(|pair| {
            let next = pair.record;
            let between = match pair.before {
                Some((before, _)) if before < next.offset => {
                    before < offset && offset <= next.offset
                }
                _ => offset == next.offset,
            };
            let newest = !self.losses.iter().any(|loss| {
                loss.partition.0 == partition
                    && loss.offset <= offset
                    && (next.epoch == -1 || next.epoch < loss.epoch)
            });
            next.partition.0 == partition && between && newest
        })
    }

    /// The last offset before which everything counts as passed.
    fn covered(&self, partition: u32) -> i64 {
        let read =
            |send: &&Send| send.partition == partition && self.places(send).iter().any(|e| e.read);
        let first = |send: &Send| self.places(send)[0].offset;
        let last = self.sends.iter().filter(read).map(first).max().unwrap_or(-1);
        let lost = self.losses.iter().filter(|loss| loss.partition.0 == partition);
        last.min(lost.map(|loss| loss.offset - 1).min().unwrap_or(i64::MAX))
    }

    fn missing(&self, options: &Options, kind: &str) -> u64 {
        Self::count(&self.sends, |send| self.what_became_of(send, options) == Some(kind))
    }

    fn what_became_of(&self, send: &Send, options: &Options) -> Option<&'static str> {
        {
            let Send { partition, acked, acks, epoch, .. } = *send;
            let read = self.places(send).iter().any(|e| {
                let there = e.offset == acked && (epoch == -1 || e.epoch == -1 || e.epoch == epoch);
                e.read && (acked == -1 || there)
            });
            if send.outcome != Outcome::Ok || acks == Acks::None || read {
                return None;
            }
            let passed = acked >= 0 && self.passed(partition, acked);
            let excused = self.losses.iter().any(|loss| {
                loss.partition.0 == partition
                    && (acked == -1 || loss.offset <= acked && (epoch == -1 || epoch < loss.epoch))
            });
            let is = if acks == Acks::Leader {
                if passed || options.complete { "lost-acks-1" } else { "unread" }
            } else if excused && (passed || options.complete) {
                "excused-loss"
            } else if passed {
                "lost-write"
            } else {
                "unseen"
            };
            Some(is)
        }
    }

    fn reads(&self, send: &Send) -> Vec<&Pair> {
        let of = |pair: &&Pair| {
            (pair.record.partition.0, pair.record.value) == (send.partition, send.value)
        };
        self.pairs.iter().filter(of).collect()
    }

    /// The first thing wrong with a read of it.
    fn wrong_read(&self, send: &Send) -> Option<&'static str> {
        let uncommitted = self.options.read_uncommitted && send.transaction.is_some();
        let own = self.history.operation(send.op).outcome;
        self.reads(send).into_iter().find_map(|pair| {
            let early = send.transaction.is_some_and(|of| {
                let Action::Transaction { ending } = self.history.operation(of).action else {
                    unreachable!()
                };
                pair.transaction == Some(of) || ending != u64::MAX && pair.completed < ending
            });
            if send.outcome == Outcome::Fail {
                let visible = uncommitted && own == Outcome::Ok;
                Some(if visible { "uncommitted" } else { "aborted" })
            } else if pair.completed < send.invoked {
                Some("too early")
            } else if early {
                Some(if uncommitted { "uncommitted" } else { "premature" })
            } else {
                None
            }
        })
    }

    fn aborted(&self) -> u64 {
        Self::count(&self.sends, |send| self.wrong_read(send) == Some("aborted"))
    }

    fn too_early(&self) -> u64 {
        Self::count(&self.sends, |send| self.wrong_read(send) == Some("too early"))
    }

    fn premature(&self, uncommitted: bool) -> u64 {
        let name = if uncommitted { "uncommitted" } else { "premature" };
        Self::count(&self.sends, |send| self.wrong_read(send) == Some(name))
    }

    fn torn(&self) -> u64 {
        let transactions: Vec<OpId> = (0..)
            .zip(self.history.operations())
            .filter(|(_, op)| matches!(op.action, Action::Transaction { .. }))
            .map(|(id, _)| OpId(id))
            .collect();
        Self::count(&transactions, |of| {
            let sends: Vec<&Send> =
                self.sends.iter().filter(|send| send.transaction == Some(*of)).collect();
            !self.options.read_uncommitted
                && sends.iter().any(|send| !self.reads(send).is_empty())
                && sends
                    .iter()
                    .any(|send| self.what_became_of(send, self.options) == Some("lost-write"))
        })
    }

    fn consumed_twice(&self) -> u64 {
        let mut counts: BTreeMap<(u32, u32, i64), u64> = BTreeMap::new();
        for pair in &self.pairs {
            if pair.subscribed && outcome_of(self.history, pair.transaction) == Outcome::Ok {
                let key = (pair.process, pair.record.partition.0, pair.record.offset);
                *counts.entry(key).or_default() += 1;
            }
        }
        counts.values().filter(|count| **count > 1).count() as u64
    }

    /// Compares every poll with every send beyond what it returned.
    fn lag(&self) -> u64 {
        let mut worst = 0;
        if !self.options.measure_lag {
            return worst;
        }
        for poll in self.history.operations() {
            let records: Vec<&Polled> = self.history.polled(poll).iter().collect();
            if poll.completed.is_none() {
                continue;
            }
            for record in &records {
                let end = records.iter().filter(|other| other.partition == record.partition);
                let end = end.map(|other| other.offset).max().unwrap();
                for send in &self.sends {
                    let of = outcome_of(self.history, send.transaction);
                    let hidden = of != Outcome::Ok && !self.options.read_uncommitted;
                    let lost = self.losses.iter().any(|loss| {
                        loss.partition.0 == send.partition
                            && loss.offset <= send.acked
                            && (send.epoch < 0 || send.epoch < loss.epoch)
                    });
                    let answered = self.history.operation(send.op);
                    let promised = send.acks == Acks::All
                        && send.outcome == Outcome::Ok
                        && answered.outcome == Outcome::Ok;
                    let beyond = send.partition == record.partition.0 && send.acked > end;
                    if !beyond || !promised || hidden || lost {
                        continue;
                    }
                    let mut since = answered.completed.unwrap();
                    if let Some(transaction) = send.transaction
                        && !self.options.read_uncommitted
                    {
                        let committed = self.history.operation(transaction).completed.unwrap();
                        since = since.max(committed);
                    }
                    if since.seq < poll.invoked.seq {
                        worst = worst.max((poll.invoked.time - since.time) / 1_000);
                    }
                }
            }
        }
        worst
    }

    fn is_read(&self, send: &Send) -> bool {
        self.places(send).iter().any(|e| e.read)
    }

    fn is_there(&self, send: &Send) -> bool {
        send.outcome == Outcome::Ok && send.acks == Acks::All || self.is_read(send)
    }

    fn send_of(&self, op: OpId) -> &Send {
        self.sends.iter().find(|send| send.op == op).unwrap()
    }

    /// The sends made from each record.
    fn made(&self) -> BTreeMap<(u32, i64), Vec<&Send>> {
        let mut made: BTreeMap<(u32, i64), Vec<&Send>> = BTreeMap::new();
        for (op, partition, offset) in self.history.sources() {
            made.entry((partition.0, *offset)).or_default().push(self.send_of(*op));
        }
        made
    }

    fn processed_twice(&self, transactional: bool) -> u64 {
        let twice = |sends: &&Vec<&Send>| {
            let there: Vec<&&Send> = sends.iter().filter(|send| self.is_there(send)).collect();
            there.len() > 1
                && (!transactional || there[..2].iter().all(|send| send.transaction.is_some()))
        };
        self.made().values().filter(twice).count() as u64
    }

    fn processed_never(&self) -> u64 {
        let made = self.made();
        let mut records: Vec<(u32, i64)> =
            self.evidence.iter().filter(|e| e.read).map(|e| (e.partition, e.offset)).collect();
        records.sort_unstable();
        records.dedup();
        Self::count(&records, |(partition, offset)| {
            let processed = |at: &i64| {
                made.iter().any(|((p, o), sends)| {
                    p == partition
                        && (o == at || *at < 0 && o < offset || *at == i64::MAX && o > offset)
                        && sends.iter().any(|send| self.is_there(send))
                })
            };
            let tried = made
                .get(&(*partition, *offset))
                .is_some_and(|sends| sends.iter().any(|send| send.outcome != Outcome::Fail));
            let lost = self
                .losses
                .iter()
                .any(|loss| loss.partition.0 == *partition && loss.offset <= *offset);
            !tried && !lost && (processed(&-1) || processed(offset)) && processed(&i64::MAX)
        })
    }

    fn conservation(&self) -> u64 {
        let mut sum = 0;
        for (op, amount) in self.history.amounts() {
            let mut offsets: Vec<i64> = self
                .places(self.send_of(*op))
                .iter()
                .filter(|e| e.read)
                .map(|e| e.offset)
                .collect();
            offsets.dedup();
            sum += amount * offsets.len() as i64;
        }
        u64::from(sum != 0)
    }

    fn skips_by_group(&self) -> u64 {
        Self::count(&self.pairs, |pair| pair.by_group && self.is_skip(pair))
    }

    fn backward_by_group(&self) -> u64 {
        Self::count(&self.pairs, |pair| pair.by_group && self.is_backward(pair))
    }

    fn garbage(&self) -> u64 {
        Self::count(&self.pairs, |pair| {
            !self.sends.iter().any(|send| {
                (send.partition, send.value) == (pair.record.partition.0, pair.record.value)
            })
        })
    }

    fn skips(&self, same_poll: bool) -> u64 {
        Self::count(&self.pairs, |pair| {
            pair.same_poll == same_poll && !pair.by_group && self.is_skip(pair)
        })
    }

    fn is_skip(&self, pair: &Pair) -> bool {
        {
            let Some((before, epoch)) = pair.before else { return false };
            let next = pair.record;
            let partition = next.partition.0;
            if next.offset <= before {
                return false;
            }
            // Across a loss, the log from its offset on is another one: the reader should have gone
            // back.
            let crossed = |offset: i64| {
                epoch != -1
                    && next.epoch != -1
                    && self.losses.iter().any(|loss| {
                        loss.partition.0 == partition
                            && loss.offset <= offset
                            && epoch < loss.epoch
                            && loss.epoch <= next.epoch
                    })
            };
            self.evidence.iter().any(|e| {
                e.partition == partition
                    && e.read
                    && e.offset < next.offset
                    && (e.offset > before || crossed(e.offset))
                    && !self.separate(partition, e.offset, e.epoch, next.epoch)
            })
        }
    }

    fn backward(&self, same_poll: bool) -> u64 {
        Self::count(&self.pairs, |pair| {
            pair.same_poll == same_poll && !pair.by_group && self.is_backward(pair)
        })
    }

    fn is_backward(&self, pair: &Pair) -> bool {
        {
            let Some((before, epoch)) = pair.before else { return false };
            let next = pair.record;
            let resumed = self.losses.iter().any(|loss| {
                loss.partition == next.partition
                    && loss.offset <= next.offset
                    && (epoch == -1
                        || next.epoch == -1
                        || epoch < loss.epoch && loss.epoch <= next.epoch)
            });
            next.offset <= before && !resumed
        }
    }

    fn epochs_backward(&self) -> u64 {
        Self::count(&self.pairs, |pair| {
            pair.before.is_some_and(|(before, epoch)| {
                let next = pair.record;
                next.offset > before && epoch != -1 && next.epoch != -1 && next.epoch < epoch
            })
        })
    }

    fn reordered(&self, within: bool) -> u64 {
        Self::count(&self.sends, |later| {
            let within_its_own = self.is_behind(later, |earlier| {
                later.transaction.is_some() && earlier.transaction == later.transaction
            });
            let external = self.is_behind(later, |earlier| {
                earlier.process == later.process
                    && earlier.transaction.is_some() == later.transaction.is_some()
            });
            if within { within_its_own } else { external && !within_its_own }
        })
    }

    /// Is it at or before an earlier one of these?
    fn is_behind(&self, later: &Send, of: impl Fn(&Send) -> bool) -> bool {
        let Some(at) = self.places(later).first().copied() else { return false };
        self.sends.iter().filter(|earlier| of(earlier)).any(|earlier| {
            let Some(before) = self.places(earlier).first().copied() else { return false };
            earlier.op < later.op
                && earlier.partition == later.partition
                && before.offset >= at.offset
                && !self.lost_before(at.partition, before.offset, before.epoch, at.epoch)
        })
    }

    fn transactional_disorder(&self) -> u64 {
        Self::count(&self.sends, |later| {
            later.transaction.is_some()
                && self.is_behind(later, |earlier| {
                    earlier.process == later.process && earlier.transaction.is_some()
                })
        })
    }

    fn real_time(&self) -> u64 {
        Self::count(&self.sends, |later| {
            self.places(later).iter().any(|at| {
                self.sends.iter().any(|earlier| {
                    if earlier.acks != Acks::All
                        || earlier.outcome != Outcome::Ok
                        || earlier.acked < 0
                        || earlier.partition != later.partition
                    {
                        return false;
                    }
                    let places = self.places(earlier);
                    let there = places.iter().find(|e| e.offset == earlier.acked);
                    let said = (earlier.epoch != -1).then_some(earlier.epoch);
                    let epoch = said.or(there.map(|e| e.epoch)).unwrap_or(-1);
                    earlier.completed < later.invoked
                        && earlier.acked >= at.offset
                        && !self.lost_before(at.partition, earlier.acked, epoch, at.epoch)
                })
            })
        })
    }
}
