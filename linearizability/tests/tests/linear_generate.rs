//! Histories of operations on an object that is linearizable by construction, and spoilt ones.

use wavetank_linearizability::linear::models::{
    AppendLog, FifoQueue, Kv, KvCall, KvOp, KvOutput, LogOp, LogOutput, Mutex, MutexCall, MutexOp,
    QueueCall, QueueOp, QueueOutput, Register, RegisterCall, RegisterOp, RegisterOutput,
};
use wavetank_linearizability::linear::{Ending, History, Model, Operation};
use wavetank_linearizability::{Datum, OpId};

use std::collections::BTreeMap;

/// A model whose operations can be drawn.
pub trait Draw: Model {
    /// An operation from two dice; `fresh` is new every time.
    fn draw(&self, process: u32, which: u8, what: u8, fresh: u32) -> Self::Op;
    /// A different answer, if there is one.
    fn spoil(&self, output: &Self::Output, die: u8) -> Option<Self::Output>;
}

/// One of two keys.
fn key(die: u8) -> Datum {
    i64::from(die & 1).into()
}

/// One of three values, so that they collide.
fn few(die: u8) -> Datum {
    i64::from(die % 3).into()
}

impl Draw for Register {
    fn draw(&self, _: u32, which: u8, what: u8, _: u32) -> RegisterOp {
        let call = match which % 3 {
            0 => RegisterCall::Read,
            1 => RegisterCall::Write(few(what >> 1)),
            _ => RegisterCall::Cas { from: few(what >> 1), to: few(what >> 4) },
        };
        RegisterOp { key: key(what), call }
    }

    fn spoil(&self, output: &RegisterOutput, die: u8) -> Option<RegisterOutput> {
        match output {
            RegisterOutput::Done => None,
            RegisterOutput::Value(_) => Some(RegisterOutput::Value(few(die))),
            RegisterOutput::Swapped(swapped) => Some(RegisterOutput::Swapped(!swapped)),
        }
    }
}

impl Draw for Kv {
    fn draw(&self, _: u32, which: u8, what: u8, fresh: u32) -> KvOp {
        let value = if what < 128 { i64::from(fresh).into() } else { few(what >> 1) };
        let call = match which % 3 {
            0 => KvCall::Get,
            1 => KvCall::Put(value),
            _ => KvCall::Append(value),
        };
        KvOp { key: key(what), call }
    }

    fn spoil(&self, output: &KvOutput, die: u8) -> Option<KvOutput> {
        match output {
            KvOutput::Done => None,
            KvOutput::Got(Datum::Text(text)) => {
                Some(KvOutput::Got(text.chars().rev().collect::<String>().into()))
            }
            KvOutput::Got(_) => Some(KvOutput::Got(few(die))),
        }
    }
}

impl Draw for Mutex {
    fn draw(&self, process: u32, which: u8, what: u8, _: u32) -> MutexOp {
        let owner = if what < 128 { i64::from(process).into() } else { Datum::Nil };
        let call = if which.is_multiple_of(2) { MutexCall::Acquire } else { MutexCall::Release };
        MutexOp { key: Datum::Nil, owner, call }
    }

    fn spoil(&self, _: &(), _: u8) -> Option<()> {
        None
    }
}

impl Draw for FifoQueue {
    fn draw(&self, _: u32, which: u8, what: u8, fresh: u32) -> QueueOp {
        let value = if what < 128 { i64::from(fresh).into() } else { few(what >> 1) };
        let call =
            if which.is_multiple_of(2) { QueueCall::Enqueue(value) } else { QueueCall::Dequeue };
        QueueOp { key: key(what), call }
    }

    fn spoil(&self, output: &QueueOutput, die: u8) -> Option<QueueOutput> {
        match output {
            QueueOutput::Done => None,
            QueueOutput::Front(_) if die.is_multiple_of(4) => Some(QueueOutput::Front(None)),
            QueueOutput::Front(_) => Some(QueueOutput::Front(Some(few(die)))),
        }
    }
}

impl Draw for AppendLog {
    fn draw(&self, _: u32, which: u8, what: u8, fresh: u32) -> LogOp {
        let key = key(what);
        match which % 3 {
            0 if what < 128 => LogOp::Append { key, value: i64::from(fresh).into() },
            0 => LogOp::Append { key, value: i64::from(fresh % 4).into() },
            1 => LogOp::Tail { key },
            _ => LogOp::Read { key, offset: u64::from(what >> 1) % 4 },
        }
    }

    fn spoil(&self, output: &LogOutput, die: u8) -> Option<LogOutput> {
        match output {
            LogOutput::Offset(_) if die % 4 == 3 => Some(LogOutput::Offset(None)),
            LogOutput::Offset(_) => Some(LogOutput::Offset(Some(u64::from(die % 3)))),
            LogOutput::Value(_) => Some(LogOutput::Value(Some(few(die)))),
        }
    }
}

/// A client's operation in progress.
enum Under<O> {
    Asked(OpId),
    Answered(OpId, O),
}

/// A history from dice: each triple lets a client ask, the object answer, or the client receive the
/// answer. Every client that receives no answer has an indeterminate operation.
pub fn history<M: Draw>(
    model: &M,
    clients: u32,
    dice: &[(u8, u8, u8)],
) -> History<M::Op, M::Output> {
    let mut history = History::new();
    let mut under: Vec<Option<Under<M::Output>>> = (0..clients).map(|_| None).collect();
    let mut processes: Vec<u32> = (0..clients).collect();
    let mut states: BTreeMap<Datum, M::State> = BTreeMap::new();
    for (time, &(who, which, what)) in (0..).zip(dice) {
        let client = (u32::from(who) % clients) as usize;
        under[client] = match under[client].take() {
            None => {
                let op = model.draw(processes[client], which, what, time as u32);
                Some(Under::Asked(history.invoke(processes[client], time, op)))
            }
            Some(Under::Asked(id)) => {
                let op = &history.operations()[id.0 as usize].op;
                let key = model.key(op);
                let state = states.get(&key).cloned().unwrap_or_else(|| model.initial());
                let died = which % 8 == 0;
                match model.step(&state, op) {
                    // It may have taken effect although its client never hears of it, or the other
                    // way round.
                    Some((next, output)) if !died || what % 2 == 0 => {
                        states.insert(key, next);
                        (!died).then_some(Under::Answered(id, output))
                    }
                    Some(_) => None,
                    None if what % 3 == 0 => {
                        history.failed(id);
                        None
                    }
                    None => Some(Under::Asked(id)),
                }
            }
            Some(Under::Answered(id, output)) => {
                history.returned(id, time, output);
                None
            }
        };
        if which % 8 == 0 && under[client].is_none() {
            processes[client] += clients; // as Jepsen's do
        }
    }
    history
}

/// The operations, with some answer replaced.
pub fn spoilt<M: Draw>(
    model: &M,
    history: &History<M::Op, M::Output>,
    spoil: &[(u8, u8)],
) -> Vec<Operation<M::Op, M::Output>> {
    let mut operations = history.operations().to_vec();
    let count = operations.len();
    for &(which, die) in spoil {
        if count == 0 {
            break;
        }
        match &mut operations[usize::from(which) % count].ending {
            Ending::Returned { output, .. } => {
                if let Some(other) = model.spoil(output, die) {
                    *output = other;
                }
            }
            Ending::Failed | Ending::Indeterminate => {}
        }
    }
    operations
}
