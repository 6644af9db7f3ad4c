//! Writes a history as lines.

use std::borrow::Cow;
use std::io::{self, Write};

use super::line::{Content, Function, Line, Pairs, Place, Type};
use crate::{Acks, Action, Change, History, OpId, Outcome, Value};

/// What a line reports.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Invocation,
    Ending,
    Completion,
}

type Put<'a> = &'a mut dyn FnMut(&Line<'_>) -> io::Result<()>;

/// Writes a history so that [`super::read`] reads an equal one (except that losses come first, and
/// that records in polls of several partitions are grouped).
///
/// # Errors
/// If writing fails.
pub fn write(history: &History, mut output: impl Write) -> io::Result<()> {
    let mut put = |line: &Line<'_>| -> io::Result<()> {
        serde_json::to_writer(&mut output, line)?;
        output.write_all(b"\n")
    };
    for loss in history.losses() {
        let mut line = Line::new(Type::Loss, loss.time);
        line.partition = Some(history.partition_name(loss.partition).into());
        line.offset = Some(loss.offset);
        line.epoch = Some(loss.epoch);
        put(&line)?;
    }
    let mut order: Vec<(u64, Told, OpId)> = Vec::new();
    for (id, operation) in (0..).zip(history.operations()) {
        order.push((operation.invoked.seq, Told::Invocation, OpId(id)));
        order.extend(operation.completed.map(|at| (at.seq, Told::Completion, OpId(id))));
        match operation.action {
            Action::Transaction { ending } if ending != u64::MAX => {
                order.push((ending, Told::Ending, OpId(id)));
            }
            _ => {}
        }
    }
    order.sort_unstable();
    for (_, told, op) in order {
        match told {
            Told::Invocation => invocation(history, op, &mut put)?,
            Told::Ending => {
                let operation = history.operation(op);
                let mut line = Line::new(Type::Invoke, operation.invoked.time);
                line.process = Some(operation.process);
                line.f = Some(Function::End);
                line.transaction = Some(u64::from(op.0));
                put(&line)?;
            }
            Told::Completion => completion(history, op, &mut put)?,
        }
    }
    Ok(())
}

fn invocation(history: &History, op: OpId, put: Put<'_>) -> io::Result<()> {
    let operation = history.operation(op);
    let mut line = Line::new(Type::Invoke, operation.invoked.time);
    line.process = Some(operation.process);
    line.op = Some(u64::from(op.0));
    line.transaction = operation.transaction().map(|of| u64::from(of.0));
    match operation.action {
        Action::Send { partition, value, acks, .. } => {
            line.f = Some(Function::Send);
            line.partition = Some(history.partition_name(partition).into());
            line.value = Some(content(history, value));
            line.acks = Some(match acks {
                Acks::All => -1,
                Acks::None => 0,
                Acks::Leader => 1,
            });
            if let Ok(at) = history.sources().binary_search_by_key(&op, |(op, ..)| *op) {
                let (_, partition, offset) = history.sources()[at];
                line.source = Some((history.partition_name(partition).into(), offset));
            }
            if let Ok(at) = history.amounts().binary_search_by_key(&op, |(op, _)| *op) {
                line.amount = Some(history.amounts()[at].1);
            }
        }
        Action::Poll { .. } => line.f = Some(Function::Poll),
        Action::Transaction { .. } => line.f = Some(Function::Transaction),
        Action::Commit { group, generation, .. } => {
            line.f = Some(Function::Commit);
            line.group = Some(history.group_name(group).into());
            line.generation = (generation >= 0).then_some(generation);
            line.offsets = Some(places(history, op));
        }
        Action::Committed { group, .. } => {
            line.f = Some(Function::Committed);
            line.group = Some(history.group_name(group).into());
        }
        Action::Assign { .. } | Action::Subscribe | Action::Rebalance { .. } | Action::Crash => {
            return Ok(());
        }
    }
    put(&line)
}

fn places(history: &History, op: OpId) -> Pairs<'_, Place> {
    let positions = history.positions(history.operation(op)).iter();
    let places = positions.map(|(partition, position)| {
        (Cow::Borrowed(history.partition_name(*partition)), Place(*position))
    });
    Pairs(places.collect())
}

fn completion(history: &History, op: OpId, put: Put<'_>) -> io::Result<()> {
    let operation = history.operation(op);
    let kind = match operation.outcome {
        Outcome::Ok => Type::Ok,
        Outcome::Fail => Type::Fail,
        Outcome::Info => Type::Info,
    };
    let time = operation.completed.map_or(0, |stamp| stamp.time);
    let mut line = Line::new(kind, time);
    line.process = Some(operation.process);
    line.op = Some(u64::from(op.0));
    match operation.action {
        Action::Send { offset, epoch, .. } => {
            line.f = Some(Function::Send);
            line.offset = (offset >= 0).then_some(offset);
            line.epoch = (epoch >= 0).then_some(epoch);
        }
        Action::Poll { .. } => {
            line.f = Some(Function::Poll);
            if kind == Type::Ok {
                line.records = Some(records(history, op));
            }
        }
        Action::Transaction { .. } => line.f = Some(Function::Transaction),
        Action::Commit { .. } => line.f = Some(Function::Commit),
        Action::Committed { .. } => {
            line.f = Some(Function::Committed);
            line.offsets = (kind == Type::Ok).then(|| places(history, op));
        }
        Action::Assign { .. } | Action::Subscribe | Action::Rebalance { .. } | Action::Crash => {
            line.op = None;
            event(history, op, &mut line);
        }
    }
    put(&line)
}

/// Operations without duration.
fn event<'a>(history: &'a History, op: OpId, line: &mut Line<'a>) {
    let operation = history.operation(op);
    let positions = history.positions(operation);
    match operation.action {
        Action::Assign { seek, .. } => {
            if let (true, [(partition, position)]) = (seek, positions) {
                line.f = Some(Function::Seek);
                line.partition = Some(history.partition_name(*partition).into());
                line.offset = match *position {
                    crate::Position::At(offset) => Some(offset),
                    crate::Position::Unknown | crate::Position::Kept => None,
                };
            } else {
                line.f = Some(Function::Assign);
                line.positions = Some(places(history, op));
            }
        }
        Action::Subscribe => line.f = Some(Function::Subscribe),
        Action::Crash => line.f = Some(Function::Crash),
        Action::Rebalance { group, generation, change, .. } => {
            line.f = Some(match change {
                Change::Assigned => Function::Assigned,
                Change::Revoked => Function::Revoked,
                Change::Lost => Function::Lost,
                Change::Changed => Function::Changed,
            });
            line.group = Some(history.group_name(group).into());
            line.generation = (generation >= 0).then_some(generation);
            if change == Change::Assigned {
                line.positions = Some(places(history, op));
            } else {
                let names = positions.iter().map(|(of, _)| history.partition_name(*of).into());
                line.partitions = Some(names.collect());
            }
        }
        Action::Send { .. }
        | Action::Poll { .. }
        | Action::Transaction { .. }
        | Action::Commit { .. }
        | Action::Committed { .. } => unreachable!("operations with a duration"),
    }
}

fn records(history: &History, op: OpId) -> Pairs<'_, Vec<(i64, i32, Content<'_>)>> {
    let mut records: Vec<(Cow<'_, str>, Vec<_>)> = Vec::new();
    for record in history.polled(history.operation(op)) {
        let name = history.partition_name(record.partition);
        let at = records.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            records.push((name.into(), Vec::new()));
            records.len() - 1
        });
        let content = content(history, record.value);
        records[at].1.push((record.offset, record.epoch, content));
    }
    Pairs(records)
}

fn content(history: &History, value: Value) -> Content<'_> {
    match (value.as_number(), history.text_of(value)) {
        (Some(number), _) => Content::Number(number),
        (None, text) => Content::Text(text.unwrap_or_default().into()),
    }
}
