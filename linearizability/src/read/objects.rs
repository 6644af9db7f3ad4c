//! Operations on one object: what was asked and what was answered, by kind of object.

use super::form::Form;
use super::op::{Op, Type, short};
use super::{Build, Kind};
use crate::linear::models::{
    KvCall, KvOp, KvOutput, LogOp, LogOutput, MutexCall, MutexOp, QueueCall, QueueOp, QueueOutput,
    RegisterCall, RegisterOp, RegisterOutput,
};
use crate::linear::{History, Model};
use crate::{Datum, OpId};

/// How a kind of object is read.
pub(super) trait Object {
    /// Its specification's types.
    type Model: Model;

    /// What was asked.
    fn call(op: &Op) -> Result<<Self::Model as Model>::Op, String>;

    /// What was answered.
    fn output(
        call: &<Self::Model as Model>::Op,
        op: &Op,
    ) -> Result<<Self::Model as Model>::Output, String>;
}

/// Reads one object.
pub(super) struct Objects<O: Object> {
    history: History<<O::Model as Model>::Op, <O::Model as Model>::Output>,
}

impl<O: Object> Objects<O> {
    pub(super) fn new() -> Objects<O> {
        Objects { history: History::new() }
    }

    pub(super) fn into_history(
        self,
    ) -> History<<O::Model as Model>::Op, <O::Model as Model>::Output> {
        self.history
    }
}

impl<O: Object> Build for Objects<O> {
    type Open = OpId;

    fn invoke(&mut self, op: &Op) -> Result<Option<OpId>, String> {
        Ok(Some(self.history.invoke(op.process, op.time, O::call(op)?)))
    }

    fn complete(&mut self, id: OpId, op: &Op) -> Result<(), String> {
        match op.kind {
            Type::Ok => {
                let call = &self.history.operations()[id.0 as usize].op;
                let output = O::output(call, op)?;
                self.history.returned(id, op.time, output);
            }
            Type::Fail => self.history.failed(id),
            Type::Info | Type::Invoke => {}
        }
        Ok(())
    }
}

/// The key and the value: from `:key`, or from `:value [key value]` if `keyed`.
fn split(op: &Op, keyed: bool) -> (Datum, &Form) {
    match (op.get("key"), &op.value) {
        (Some(key), value) => (key.datum(), value),
        (None, Form::List(list)) if keyed && list.len() == 2 => (list[0].datum(), &list[1]),
        (None, value) => (Datum::Nil, value),
    }
}

fn unknown(op: &Op, kind: Kind) -> String {
    format!("expected :f of a {kind}, not {}", op.f)
}

/// Two values.
fn pair(form: &Form) -> Result<(Datum, Datum), String> {
    match form.list() {
        Some([from, to]) => Ok((from.datum(), to.datum())),
        Some(_) | None => Err(format!("expected [old new], not {}", short(form))),
    }
}

pub(super) struct Register;

impl Object for Register {
    type Model = crate::linear::models::Register;

    fn call(op: &Op) -> Result<RegisterOp, String> {
        let (key, call) = match op.f.as_str() {
            "read" => (split(op, true).0, RegisterCall::Read),
            "write" => {
                let (key, value) = split(op, true);
                (key, RegisterCall::Write(value.datum()))
            }
            "cas" => {
                // [old new], or [key [old new]].
                let nested = op.value.list().is_some_and(|l| l.len() == 2 && l[1].list().is_some());
                let (key, value) = split(op, nested);
                let (from, to) = pair(value)?;
                (key, RegisterCall::Cas { from, to })
            }
            _ => return Err(unknown(op, Kind::Register)),
        };
        Ok(RegisterOp { key, call })
    }

    fn output(call: &RegisterOp, op: &Op) -> Result<RegisterOutput, String> {
        Ok(match call.call {
            RegisterCall::Read => RegisterOutput::Value(split(op, true).1.datum()),
            RegisterCall::Write(_) => RegisterOutput::Done,
            RegisterCall::Cas { .. } => RegisterOutput::Swapped(op.value != Form::Bool(false)),
        })
    }
}

pub(super) struct Kv;

impl Object for Kv {
    type Model = crate::linear::models::Kv;

    fn call(op: &Op) -> Result<KvOp, String> {
        let (key, value) = split(op, true);
        let call = match op.f.as_str() {
            "get" | "read" => KvCall::Get,
            "put" | "write" => KvCall::Put(value.datum()),
            "append" => KvCall::Append(value.datum()),
            _ => return Err(unknown(op, Kind::Kv)),
        };
        if key == Datum::Nil {
            return Err("expected a key: \":key k\", or \":value [k v]\"".into());
        }
        Ok(KvOp { key, call })
    }

    fn output(call: &KvOp, op: &Op) -> Result<KvOutput, String> {
        Ok(match call.call {
            KvCall::Get => KvOutput::Got(split(op, true).1.datum()),
            KvCall::Put(_) | KvCall::Append(_) => KvOutput::Done,
        })
    }
}

pub(super) struct Mutex;

impl Object for Mutex {
    type Model = crate::linear::models::Mutex;

    fn call(op: &Op) -> Result<MutexOp, String> {
        let call = match op.f.as_str() {
            "acquire" | "lock" => MutexCall::Acquire,
            "release" | "unlock" => MutexCall::Release,
            _ => return Err(unknown(op, Kind::Mutex)),
        };
        let key = op.get("key").map_or(Datum::Nil, Form::datum);
        Ok(MutexOp { key, owner: Datum::Nil, call })
    }

    fn output(_: &MutexOp, _: &Op) -> Result<(), String> {
        Ok(())
    }
}

pub(super) struct Queue;

impl Object for Queue {
    type Model = crate::linear::models::FifoQueue;

    fn call(op: &Op) -> Result<QueueOp, String> {
        let (key, value) = split(op, false);
        let call = match op.f.as_str() {
            "enqueue" => QueueCall::Enqueue(value.datum()),
            "dequeue" => QueueCall::Dequeue,
            _ => return Err(unknown(op, Kind::Queue)),
        };
        Ok(QueueOp { key, call })
    }

    fn output(call: &QueueOp, op: &Op) -> Result<QueueOutput, String> {
        Ok(match call.call {
            QueueCall::Enqueue(_) => QueueOutput::Done,
            QueueCall::Dequeue => {
                let value = &op.value;
                QueueOutput::Front((*value != Form::Nil).then(|| value.datum()))
            }
        })
    }
}

pub(super) struct AppendLog;

impl Object for AppendLog {
    type Model = crate::linear::models::AppendLog;

    fn call(op: &Op) -> Result<LogOp, String> {
        let (key, value) = split(op, false);
        Ok(match op.f.as_str() {
            "append" => LogOp::Append { key, value: value.datum() },
            "tail" => LogOp::Tail { key },
            "read" => {
                let at = value.list().and_then(<[Form]>::first).unwrap_or(value);
                let offset = offset(at)?.ok_or("expected the offset to read")?;
                LogOp::Read { key, offset }
            }
            _ => return Err(unknown(op, Kind::AppendLog)),
        })
    }

    fn output(call: &LogOp, op: &Op) -> Result<LogOutput, String> {
        let value = split(op, false).1;
        Ok(match call {
            LogOp::Append { .. } => LogOutput::Offset(match value {
                Form::List(list) => list.first().map_or(Ok(None), offset)?,
                value => offset(value)?,
            }),
            LogOp::Tail { .. } => {
                LogOutput::Offset(Some(offset(value)?.ok_or("expected the tail")?))
            }
            LogOp::Read { .. } => {
                let Some([_, value]) = value.list() else {
                    return Err(format!("expected [offset value], not {}", short(value)));
                };
                LogOutput::Value((*value != Form::Nil).then(|| value.datum()))
            }
        })
    }
}

fn offset(form: &Form) -> Result<Option<u64>, String> {
    match form {
        Form::Nil => Ok(None),
        Form::Int(number) => {
            let offset = u64::try_from(*number);
            Ok(Some(offset.map_err(|_| format!("expected an offset from 0, not {number}"))?))
        }
        other => Err(format!("expected an offset, not {}", short(other))),
    }
}
