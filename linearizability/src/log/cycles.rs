//! Cycles of transactions (A8). [`crate::txn`] finds them; this translates the log's transactions
//! for it.
//!
//! Only the cycles are taken from it: this checker finds everything else itself, and knows which
//! losses were admitted.

use super::report::Report;
use crate::txn::{self, Level, Mop};
use crate::{Action, History, OpId, Outcome};

/// A begin or an end.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Begun,
    Ended,
}

/// Cycles of reads alone are violations; others are Kafka's normal behaviour.
pub(super) fn judge(history: &History, report: &mut Report) {
    let mut order: Vec<(u64, Told, OpId)> = Vec::new();
    for (id, operation) in (0..).zip(history.operations()) {
        if let Action::Transaction { .. } = operation.action {
            order.push((operation.invoked.seq, Told::Begun, OpId(id)));
            order.extend(operation.completed.map(|at| (at.seq, Told::Ended, OpId(id))));
        }
    }
    if order.is_empty() {
        return;
    }
    order.sort_unstable();
    let mut members: Vec<(OpId, OpId)> = Vec::new();
    for (id, operation) in (0..).zip(history.operations()) {
        members.extend(operation.transaction().map(|of| (of, OpId(id))));
    }
    members.sort_unstable();
    let mut transactions = txn::History::new();
    // `txn`'s ids are indices into `ours`, in the order of the begins.
    let (mut ours, mut theirs) = (Vec::new(), std::collections::HashMap::new());
    for (_, told, op) in order {
        let operation = history.operation(op);
        let time = operation.invoked.time;
        if told == Told::Begun {
            let id = transactions.begin(operation.process, time, &[]);
            theirs.insert(op, id);
            ours.push(op);
            continue;
        }
        let from = members.partition_point(|(of, _)| *of < op);
        let of = members[from..].iter().take_while(|(of, _)| *of == op).map(|(_, member)| *member);
        let mops = steps(history, &mut transactions, of);
        let mops: Vec<Mop<'_>> = mops.iter().map(Step::mop).collect();
        let id = theirs[&op];
        match operation.outcome {
            Outcome::Ok => transactions.commit(id, time, &mops),
            Outcome::Fail => transactions.abort(id, time, None),
            Outcome::Info => transactions.info(id, time, Some(&mops)),
        }
    }
    let options = txn::Options { witnesses: report.witnesses(), ..txn::Options::of(Level::Kafka) };
    // All keys are logs, and values were checked to be unique.
    let Ok(judged) = txn::check(&transactions, &options) else { return };
    for (name, kind) in
        [("G1c", "G1c-wr"), ("G1c-process", "G1c-wr-process"), ("G1c-realtime", "G1c-wr-realtime")]
    {
        let found = judged.verdict.anomalies.get(kind).map_or(&[][..], Vec::as_slice);
        for anomaly in found {
            let ops = anomaly.ops.iter().map(|id| ours[id.0 as usize]).collect();
            report.push(name, ops, anomaly.text.clone());
        }
        let more = judged.verdict.count(kind).saturating_sub(found.len() as u64);
        if more > 0 {
            report.count_forbidden(name, more);
        }
    }
}

/// A step that owns its records.
enum Step {
    Send(txn::Key, txn::Element, Option<u64>),
    Poll(txn::Key, Vec<(u64, txn::Element)>),
}

impl Step {
    fn mop(&self) -> Mop<'_> {
        match self {
            Step::Send(key, element, offset) => {
                Mop::Send { key: *key, element: *element, offset: *offset }
            }
            Step::Poll(key, records) => Mop::Poll { key: *key, records },
        }
    }
}

fn steps(
    history: &History,
    transactions: &mut txn::History,
    members: impl Iterator<Item = OpId>,
) -> Vec<Step> {
    let mut steps = Vec::new();
    for member in members {
        let operation = history.operation(member);
        if let Action::Send { partition, value, offset, .. } = operation.action {
            if operation.outcome == Outcome::Fail {
                continue;
            }
            let key = transactions.key(history.partition_name(partition));
            let element = element(history, transactions, value);
            steps.push(Step::Send(key, element, u64::try_from(offset).ok()));
        }
        let mut records = history.polled(operation);
        while let Some(first) = records.first() {
            let of = |record: &&crate::Polled| record.partition == first.partition;
            let run = records.iter().take_while(of).count();
            let key = transactions.key(history.partition_name(first.partition));
            let list = records[..run].iter().filter_map(|record| {
                let element = element(history, transactions, record.value);
                Some((u64::try_from(record.offset).ok()?, element))
            });
            steps.push(Step::Poll(key, list.collect()));
            records = &records[run..];
        }
    }
    steps
}

fn element(
    history: &History,
    transactions: &mut txn::History,
    value: crate::Value,
) -> txn::Element {
    match (value.as_number().and_then(|number| i64::try_from(number).ok()), history.text_of(value))
    {
        (Some(number), _) => transactions.element(number),
        (None, text) => transactions.element(text.unwrap_or_default()),
    }
}
