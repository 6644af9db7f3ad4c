//! Collects what the passes find, and says it in words.

use std::collections::BTreeMap;

use super::{Evidence, Options, Send};
use crate::{Acks, Action, Anomaly, History, OpId, Outcome, Partition, Polled, Validity, Verdict};

/// What was found so far.
pub(super) struct Report {
    anomalies: BTreeMap<&'static str, Vec<Anomaly>>,
    counts: BTreeMap<&'static str, u64>,
    witnesses: usize,
    /// Records that polls returned.
    pub(super) records: u64,
}

impl Report {
    pub(super) fn new(sends: &[Send], options: &Options) -> Report {
        let mut report = Report {
            anomalies: BTreeMap::new(),
            counts: BTreeMap::new(),
            witnesses: options.witnesses,
            records: 0,
        };
        let mut by_outcome = [0; 3];
        for send in sends {
            by_outcome[match send.outcome {
                Outcome::Ok => 0,
                Outcome::Fail => 1,
                Outcome::Info => 2,
            }] += 1;
        }
        report.counts.insert("sends", sends.len() as u64);
        report.counts.insert("sends-ok", by_outcome[0]);
        report.counts.insert("sends-failed", by_outcome[1]);
        report.counts.insert("sends-unknown", by_outcome[2]);
        report
    }

    pub(super) fn verdict(mut self, operations: u64) -> Verdict {
        self.counts.insert("records-read", self.records);
        let valid = if self.anomalies.is_empty() { Validity::Valid } else { Validity::Invalid };
        let anomalies = self.anomalies.into_iter().map(|(name, list)| (name.into(), list));
        let counts = self.counts.into_iter().map(|(name, count)| (name.into(), count));
        Verdict { valid, operations, anomalies: anomalies.collect(), counts: counts.collect() }
    }

    pub(super) fn count(&mut self, name: &'static str) {
        self.count_more(name, 1);
    }

    pub(super) fn count_more(&mut self, name: &'static str, more: u64) {
        *self.counts.entry(name).or_default() += more;
    }

    pub(super) fn witnesses(&self) -> usize {
        self.witnesses
    }

    /// A violation with its description.
    pub(super) fn push(&mut self, name: &'static str, ops: Vec<OpId>, text: String) {
        self.count(name);
        let list = self.anomalies.entry(name).or_default();
        if list.len() < self.witnesses {
            list.push(Anomaly { text, ops });
        }
    }

    /// Violations without descriptions.
    pub(super) fn count_forbidden(&mut self, name: &'static str, more: u64) {
        self.count_more(name, more);
        self.anomalies.entry(name).or_default();
    }

    /// A violation.
    pub(super) fn add<const N: usize>(
        &mut self,
        name: &'static str,
        ops: [OpId; N],
        text: impl FnOnce() -> String,
    ) {
        self.add_if(true, name, ops, text);
    }

    /// A violation or, if not `forbidden`, something to count.
    pub(super) fn add_if<const N: usize>(
        &mut self,
        forbidden: bool,
        name: &'static str,
        ops: [OpId; N],
        text: impl FnOnce() -> String,
    ) {
        self.count(name);
        if !forbidden {
            return;
        }
        // An entry even without witnesses: it makes the history invalid.
        let list = self.anomalies.entry(name).or_default();
        if list.len() < self.witnesses {
            let mut ops = ops.to_vec();
            ops.dedup();
            list.push(Anomaly { text: text(), ops });
        }
    }

    pub(super) fn lost(&mut self, history: &History, send: OpId) {
        self.add("lost-write", [send], || {
            let (partition, value, at) = sent(history, send);
            format!(
                "{partition}: {}'s {value} was acknowledged{at} at {}, but readers that got past \
                 that offset did not get it",
                who(history, send),
                done(history, send)
            )
        });
    }

    pub(super) fn unseen(&mut self, history: &History, forbidden: bool, send: OpId) {
        self.add_if(forbidden, "unseen", [send], || {
            let (partition, value, at) = sent(history, send);
            format!(
                "{partition}: {}'s {value} was acknowledged{at} at {}, but nobody read it",
                who(history, send),
                done(history, send)
            )
        });
    }

    /// A record of a transaction that some poll returned, and one that is lost.
    pub(super) fn torn(
        &mut self,
        history: &History,
        transaction: OpId,
        seen: (OpId, OpId),
        lost: OpId,
    ) {
        self.add("torn-transaction", [transaction, seen.0, seen.1, lost], || {
            let (partition, value, _) = sent(history, seen.0);
            let (elsewhere, missing, at) = sent(history, lost);
            format!(
                "{}'s transaction that began at {}: {} got its {value} from {partition} at {}, but \
                 its {missing}, acknowledged{at} of {elsewhere}, is lost",
                who(history, transaction),
                begun(history, transaction),
                who(history, seen.1),
                done(history, seen.1)
            )
        });
    }

    pub(super) fn duplicate(
        &mut self,
        history: &History,
        forbidden: bool,
        send: OpId,
        [first, second]: [(i64, OpId); 2],
    ) {
        self.add_if(forbidden, "duplicate", [send, first.1, second.1], || {
            let (partition, value, _) = sent(history, send);
            format!(
                "{partition}: {}'s {value} was sent once but is at offsets {} and {}",
                who(history, send),
                first.0,
                second.0
            )
        });
    }

    pub(super) fn reordered(
        &mut self,
        history: &History,
        name: &'static str,
        forbidden: bool,
        (offset, send): (i64, OpId),
        earlier: (i64, OpId),
    ) {
        self.add_if(forbidden, name, [earlier.1, send], || {
            let (partition, value, _) = sent(history, send);
            let (_, before, _) = sent(history, earlier.1);
            format!(
                "{partition}: {} sent {before}, then {value}; they are at offsets {} and {offset}",
                who(history, send),
                earlier.0
            )
        });
    }

    pub(super) fn out_of_order(
        &mut self,
        history: &History,
        send: OpId,
        offset: i64,
        earlier: (i64, OpId),
    ) {
        self.add("real-time-order", [earlier.1, send], || {
            let (partition, value, _) = sent(history, send);
            let (_, before, _) = sent(history, earlier.1);
            format!(
                "{partition}: {before} was acknowledged at offset {} at {}, before {} began to \
                 send {value} at {}, which is at offset {offset}",
                earlier.0,
                done(history, earlier.1),
                who(history, send),
                begun(history, send)
            )
        });
    }

    pub(super) fn inconsistent(
        &mut self,
        history: &History,
        partition: Partition,
        offset: i64,
        a: Evidence,
        b: Evidence,
    ) {
        self.add("inconsistent-offsets", [a.op, b.op], || {
            let one = |e: Evidence| {
                let epoch =
                    if e.epoch < 0 { String::new() } else { format!(" of epoch {}", e.epoch) };
                let value = value_at(history, e.op, partition, offset);
                let by = match history.operation(e.op).action {
                    Action::Send { .. } => "by its acknowledgement to",
                    Action::Poll { .. }
                    | Action::Assign { .. }
                    | Action::Subscribe
                    | Action::Rebalance { .. }
                    | Action::Commit { .. }
                    | Action::Committed { .. }
                    | Action::Transaction { .. }
                    | Action::Crash => "as read by",
                };
                format!("{value}{epoch} {by} {} at {}", who(history, e.op), done(history, e.op))
            };
            let name = history.partition_name(partition);
            format!("{name}: offset {offset} is {}, and {}", one(a), one(b))
        });
    }

    pub(super) fn went_back(
        &mut self,
        history: &History,
        record: &Polled,
        op: OpId,
        before: (i64, OpId),
        within: bool,
    ) {
        let name = if within { "int-nonmonotonic-poll" } else { "nonmonotonic-poll" };
        self.add(name, [before.1, op], || {
            let at = history.partition_name(record.partition);
            let reader = who(history, op);
            match history.operation(before.1).action {
                Action::Assign { .. } | Action::Rebalance { .. } => format!(
                    "{at}: {reader} was to read from offset {}, but got offset {} at {}",
                    before.0 + 1,
                    record.offset,
                    done(history, op)
                ),
                Action::Poll { .. }
                | Action::Send { .. }
                | Action::Subscribe
                | Action::Commit { .. }
                | Action::Committed { .. }
                | Action::Transaction { .. }
                | Action::Crash => format!(
                    "{at}: {reader} got offset {}, and then offset {} at {}",
                    before.0,
                    record.offset,
                    done(history, op)
                ),
            }
        });
    }

    pub(super) fn epoch_went_back(
        &mut self,
        history: &History,
        record: &Polled,
        op: OpId,
        before: (i64, i32, OpId),
    ) {
        self.add("epoch-regression", [before.2, op], || {
            format!(
                "{}: {} got offset {} of epoch {}, and then offset {} of epoch {} at {}",
                history.partition_name(record.partition),
                who(history, op),
                before.0,
                before.1,
                record.offset,
                record.epoch,
                done(history, op)
            )
        });
    }

    pub(super) fn skipped(
        &mut self,
        history: &History,
        partition: Partition,
        before: (i64, OpId),
        next: (i64, OpId),
        missing: (i64, OpId),
        within: bool,
    ) {
        let name = if within { "int-poll-skip" } else { "poll-skip" };
        self.add(name, [before.1, next.1, missing.1], || {
            let value = value_at(history, missing.1, partition, missing.0);
            format!(
                "{}: {} got offset {} right after offset {} at {}; between them it missed {value} \
                 at offset {}, which is there",
                history.partition_name(partition),
                who(history, next.1),
                next.0,
                before.0,
                done(history, next.1),
                missing.0
            )
        });
    }

    pub(super) fn garbage(&mut self, history: &History, record: &Polled, op: OpId) {
        self.add("garbage-read", [op], || {
            format!(
                "{}: {} got {} at offset {} at {}, which nobody sent",
                history.partition_name(record.partition),
                who(history, op),
                history.value_text(record.value),
                record.offset,
                done(history, op)
            )
        });
    }

    pub(super) fn aborted(&mut self, history: &History, record: &Polled, op: OpId, send: OpId) {
        let transaction = history.operation(send).transaction();
        let aborted = transaction.filter(|op| history.operation(*op).outcome == Outcome::Fail);
        let ops = [aborted.unwrap_or(send), send, op];
        self.add("aborted-read", ops, || {
            let (what, by) = match aborted {
                Some(transaction) => ("transaction", transaction),
                None => ("send", send),
            };
            let end = if aborted.is_some() { "been aborted" } else { "certainly failed" };
            format!(
                "{}: {} got {} at offset {} at {}, whose {what} by {} had {end} at {}",
                history.partition_name(record.partition),
                who(history, op),
                history.value_text(record.value),
                record.offset,
                done(history, op),
                who(history, send),
                done(history, by)
            )
        });
    }

    pub(super) fn precommitted(
        &mut self,
        history: &History,
        record: &Polled,
        op: OpId,
        send: OpId,
        transaction: OpId,
    ) {
        self.add("precommitted-read", [transaction, send, op], || {
            let own = history.operation(op).transaction() == Some(transaction);
            let how = if own {
                "in the transaction in which it sent it".into()
            } else {
                format!("before {} asked for the end of its transaction", who(history, send))
            };
            format!(
                "{}: {} got {} at offset {} at {}, {how}",
                history.partition_name(record.partition),
                who(history, op),
                history.value_text(record.value),
                record.offset,
                done(history, op)
            )
        });
    }

    pub(super) fn too_early(&mut self, history: &History, record: &Polled, op: OpId, send: OpId) {
        self.add("read-before-send", [op, send], || {
            format!(
                "{}: {} got {} at offset {} at {}, before {} began to send it at {}",
                history.partition_name(record.partition),
                who(history, op),
                history.value_text(record.value),
                record.offset,
                done(history, op),
                who(history, send),
                begun(history, send)
            )
        });
    }
}

pub(super) fn who(history: &History, op: OpId) -> String {
    format!("process {}", history.operation(op).process)
}

pub(super) fn begun(history: &History, op: OpId) -> String {
    seconds(history.operation(op).invoked.time)
}

pub(super) fn done(history: &History, op: OpId) -> String {
    history.operation(op).completed.map_or_else(String::new, |stamp| seconds(stamp.time))
}

pub(super) fn seconds(nanos: u64) -> String {
    format!("{}.{:06} s", nanos / 1_000_000_000, nanos / 1_000 % 1_000_000)
}

/// Partition, value, and where and how it was acknowledged.
pub(super) fn sent(history: &History, op: OpId) -> (&str, String, String) {
    let Action::Send { partition, value, acks, offset, epoch } = history.operation(op).action
    else {
        unreachable!("asked about a send");
    };
    let mut at = String::new();
    if acks == Acks::All {
        at.push_str(" by all");
    }
    if offset >= 0 {
        at.push_str(&format!(" at offset {offset}"));
    }
    if epoch >= 0 {
        at.push_str(&format!(" in epoch {epoch}"));
    }
    (history.partition_name(partition), history.value_text(value), at)
}

/// The value that an operation knows to be at an offset.
fn value_at(history: &History, op: OpId, partition: Partition, offset: i64) -> String {
    let operation = history.operation(op);
    let value = match operation.action {
        Action::Send { value, .. } => Some(value),
        Action::Poll { .. }
        | Action::Assign { .. }
        | Action::Subscribe
        | Action::Rebalance { .. }
        | Action::Commit { .. }
        | Action::Committed { .. }
        | Action::Transaction { .. }
        | Action::Crash => history
            .polled(operation)
            .iter()
            .find(|record| record.partition == partition && record.offset == offset)
            .map(|record| record.value),
    };
    value.map_or_else(String::new, |value| history.value_text(value))
}
