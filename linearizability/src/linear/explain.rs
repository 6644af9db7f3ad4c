//! Why an operation fits nowhere, in words.

use super::check::KeyJudgement;
use super::{Ending, Model, Operation};
use crate::{Datum, OpId, Stamp, Validity};

/// Nanoseconds as seconds, as short as possible.
pub(crate) fn seconds(time: u64) -> String {
    let text = format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} s")
}

/// The state after the best order, and the operation that brought it about.
pub(crate) fn replay<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Output>],
    order: &[OpId],
) -> (M::State, Option<OpId>) {
    let (mut state, mut last) = (model.initial(), None);
    for id in order {
        let Some((next, _)) = model.step(&state, &operations[id.0 as usize].op) else { continue };
        if next != state {
            (state, last) = (next, Some(*id));
        }
    }
    (state, last)
}

/// `process 3's read: 5 (operation 17, 1.2 s to 1.4 s)`.
pub(crate) fn name<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Output>],
    id: OpId,
) -> String {
    let operation = &operations[id.0 as usize];
    let (process, from) = (operation.process, seconds(operation.invoked.time));
    let (returned, until) = match &operation.ending {
        Ending::Returned { at, output } => (Some(output), format!(" to {}", seconds(at.time))),
        Ending::Failed => (None, ", failed".into()),
        Ending::Indeterminate => (None, ", never answered".into()),
    };
    let what = model.describe(&operation.op, returned);
    format!("process {process}'s {what} (operation {}, {from}{until})", id.0)
}

/// When the operation returned.
pub(crate) fn returned<O, R>(operation: &Operation<O, R>) -> Option<Stamp> {
    match &operation.ending {
        Ending::Returned { at, .. } => Some(*at),
        Ending::Failed | Ending::Indeterminate => None,
    }
}

/// The other operations that could have taken effect before `stuck` returned, and have not in the
/// best order.
pub(crate) fn open_beside<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Output>],
    judged: &KeyJudgement,
    stuck: OpId,
) -> Vec<OpId> {
    let Some(end) = returned(&operations[stuck.0 as usize]) else { return vec![] };
    let mut placed: Vec<OpId> = judged.order.clone();
    placed.sort_unstable();
    let mut open = Vec::new();
    for (index, operation) in (0..).zip(operations) {
        let id = OpId(index);
        let failed = operation.ending == Ending::Failed;
        let idle_read =
            operation.ending == Ending::Indeterminate && model.is_read(&operation.op, None);
        if id != stuck
            && !failed
            && !idle_read
            && operation.invoked.seq <= end.seq
            && placed.binary_search(&id).is_err()
            && model.key(&operation.op) == judged.key
        {
            open.push(id);
        }
    }
    open
}

/// The result for a key, in words; empty if it is valid.
pub(crate) fn text<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Output>],
    judged: &KeyJudgement,
) -> String {
    let of_key = match &judged.key {
        Datum::Nil => String::new(),
        key => format!(" of {key}"),
    };
    let far = format!("{} of the {} operations{of_key}", judged.placed, judged.returned);
    match (judged.valid, judged.stuck) {
        (Validity::Valid, _) => String::new(),
        (Validity::Unknown, _) => {
            let why = judged.why.map_or_else(String::new, |why| format!("; {why}"));
            format!("{far} that returned could be put in order{why}")
        }
        (Validity::Invalid, None) => format!("no order fits the operations{of_key}"),
        (Validity::Invalid, Some(stuck)) => misfit(model, operations, judged, stuck, &far),
    }
}

fn misfit<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Output>],
    judged: &KeyJudgement,
    stuck: OpId,
    far: &str,
) -> String {
    const NAMED: usize = 4;
    let name = |id: OpId| name(model, operations, id);
    let (state, last) = replay(model, operations, &judged.order);
    let mut text = format!("{} fits in no order. ", name(stuck));
    if judged.placed == 0 {
        text.push_str("Nothing can come before it");
    } else {
        text.push_str(&format!("The longest order before it has {far}"));
    }
    let there = if judged.order.is_empty() { "at the start" } else { "after them" };
    text.push_str(&format!("; {there} the state is {}", model.describe_state(&state)));
    if let Some(last) = last {
        text.push_str(&format!(", since {}", name(last)));
    }
    let operation = &operations[stuck.0 as usize];
    match model.step(&state, &operation.op) {
        None => text.push_str(", and there it cannot take effect"),
        Some((_, output)) => {
            let instead = model.describe(&operation.op, Some(&output));
            text.push_str(&format!(", where it would be \"{instead}\""));
        }
    }
    text.push('.');
    let open = open_beside(model, operations, judged, stuck);
    if open.is_empty() {
        text.push_str(" No other operation was in progress that could have come between.");
    } else {
        let named: Vec<String> = open.iter().take(NAMED).map(|id| name(*id)).collect();
        let more = open.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        text.push_str(&format!(
            " Also in progress, but of no help in any order: {}{more}.",
            named.join(", ")
        ));
    }
    text
}
