//! The smallest part of a history that still shows an anomaly.
//!
//! The operations that an anomaly names are always in it. Others are removed, a half at a time,
//! then quarters, and so on (delta debugging), as long as the checker finds the same anomaly of the
//! same operations in the rest. For example, a lost write needs the poll that went past it, which
//! its anomaly does not name. Removing operations may create other anomalies, but not this one of
//! these operations: nothing in the whole history excuses it either.

use std::collections::BTreeSet;

use super::page::line;
use super::{Options, check};
use crate::{Action, Anomaly, History, OpId};

/// How many operations are considered before, between and after the named ones, each; the nearest.
const NEAR: usize = 2_000;
/// How often the checker is run, at most.
const ASKED: usize = 400;

/// Operations that show an anomaly on their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The operations, in the order of their invocations.
    pub ops: Vec<OpId>,
    /// Each in words, with its times.
    pub lines: Vec<String>,
}

/// The smallest part of a history in which the checker, with these options, still finds this
/// anomaly. If that needs operations far from the ones that the anomaly names, only the named ones.
pub fn explain(history: &History, options: &Options, name: &str, anomaly: &Anomaly) -> Explanation {
    let named: BTreeSet<OpId> = anomaly.ops.iter().copied().collect();
    let mut ops: Vec<OpId> = named.iter().copied().collect();
    let shows = |ops: &[OpId]| shows(history, options, name, anomaly, ops);
    if !shows(&ops) {
        let near = near(history, &named);
        if shows(&near) {
            ops = smallest(near, &named, shows);
        }
    }
    let lines = ops.iter().map(|op| line(history, *op)).collect();
    Explanation { ops, lines }
}

/// Does the checker find the same anomaly in these operations alone?
fn shows(
    history: &History,
    options: &Options,
    name: &str,
    anomaly: &Anomaly,
    ops: &[OpId],
) -> bool {
    let (part, kept) = history.restricted(ops, |_, _| true);
    let options = Options { witnesses: usize::MAX, ..*options };
    let Ok(verdict) = check(&part, &options) else { return false };
    let same = |found: &Anomaly| {
        found.ops.iter().map(|op| kept[op.0 as usize]).eq(anomaly.ops.iter().copied())
    };
    verdict.anomalies.get(name).is_some_and(|found| found.iter().any(same))
}

/// Partitions that an operation is about.
fn partitions(history: &History, op: OpId) -> BTreeSet<u32> {
    let operation = history.operation(op);
    let sent = match operation.action {
        Action::Send { partition, .. } => Some(partition.0),
        Action::Poll { .. }
        | Action::Assign { .. }
        | Action::Subscribe
        | Action::Rebalance { .. }
        | Action::Commit { .. }
        | Action::Committed { .. }
        | Action::Transaction { .. }
        | Action::Crash => None,
    };
    let polled = history.polled(operation).iter().map(|record| record.partition.0);
    let positions = history.positions(operation).iter().map(|(partition, _)| partition.0);
    sent.into_iter().chain(polled).chain(positions).collect()
}

/// The named operations, and the nearest ones about the same partitions or about none, in order.
fn near(history: &History, named: &BTreeSet<OpId>) -> Vec<OpId> {
    let mut about = BTreeSet::new();
    for op in named {
        about.append(&mut partitions(history, *op));
    }
    let count = history.operations().len() as u32;
    let mut near = named.clone();
    let from = named.iter().map(|op| op.0).min().unwrap_or(0);
    let to = named.iter().map(|op| op.0).max().unwrap_or(0);
    let fits = |op: &OpId| {
        let of = partitions(history, *op);
        of.is_empty() || !of.is_disjoint(&about)
    };
    let between = (from..to).map(OpId).filter(fits);
    near.extend(between.take(NEAR));
    let after = (to + 1..count).map(OpId).filter(fits);
    near.extend(after.take(NEAR));
    let before = (0..from).rev().map(OpId).filter(fits);
    near.extend(before.take(NEAR));
    near.into_iter().collect()
}

/// Removes what is not needed.
fn smallest(
    mut ops: Vec<OpId>,
    named: &BTreeSet<OpId>,
    shows: impl Fn(&[OpId]) -> bool,
) -> Vec<OpId> {
    let mut size = ops.len().div_ceil(2);
    let mut asked = 0;
    loop {
        let mut at = 0;
        let mut changed = false;
        while at < ops.len() && asked < ASKED {
            let end = (at + size).min(ops.len());
            let kept = |(place, op): (usize, &OpId)| {
                (!(at..end).contains(&place) || named.contains(op)).then_some(*op)
            };
            let fewer: Vec<OpId> = ops.iter().enumerate().filter_map(kept).collect();
            if fewer.len() == ops.len() {
                at = end;
                continue;
            }
            asked += 1;
            if shows(&fewer) {
                at += fewer.len() + (end - at) - ops.len();
                ops = fewer;
                changed = true;
            } else {
                at = end;
            }
        }
        if asked >= ASKED || size == 1 && !changed {
            return ops;
        }
        if size > 1 {
            size = size.div_ceil(2);
        }
    }
}
