//! Jepsen's Kafka workload: `:send`, `:poll` and `:txn` with micro-operations, `:assign`,
//! `:subscribe`, `:crash`.
//!
//! Every operation with micro-operations is a transaction, as in Jepsen's checker: reading one of
//! its records proves that all of it was committed, and its sends must be in order and without
//! duplicates.

use super::Build;
use super::form::Form;
use super::op::{Op, Type, short};
use crate::{Acks, Change, History, OpId, Partition, Polled, Position, Value};

/// Reads this workload.
#[derive(Default)]
pub(super) struct Kafka {
    pub(super) history: History,
}

/// An operation in progress.
pub(super) enum Open {
    /// An operation of which only the completion counts.
    Event,
    /// A transaction, and its sends and polls.
    Transaction(OpId, Vec<Member>),
}

#[derive(Clone, Copy)]
pub(super) enum Member {
    Send(OpId),
    Poll(OpId),
}

impl Kafka {
    fn named(&mut self, key: &Form) -> Partition {
        self.history.partition(&key.plain())
    }

    fn value(&mut self, form: &Form) -> Value {
        match form {
            Form::Int(number) if *number >= 0 => Value::number(number.unsigned_abs()),
            Form::Text(text) => self.history.text(text),
            other => self.history.text(&other.to_string()),
        }
    }

    fn begin(&mut self, op: &Op) -> Result<Open, String> {
        let mops = mops(op)?.ok_or("expected micro-operations as :value")?;
        let transaction = self.history.begin(op.process, op.time);
        let mut members = Vec::with_capacity(mops.len());
        for mop in mops {
            let member = match mop.list() {
                Some([f, key, value]) if f.name() == Some("send") => {
                    let (partition, value) = (self.named(key), self.value(value));
                    let send = self.history.send(op.process, op.time, partition, value, Acks::All);
                    self.history.join(send, transaction);
                    Member::Send(send)
                }
                Some([f, ..]) if f.name() == Some("poll") => {
                    let poll = self.history.invoke_poll(op.process, op.time);
                    self.history.join(poll, transaction);
                    Member::Poll(poll)
                }
                Some(_) | None => {
                    return Err(format!(
                        "expected [:send key value] or [:poll], not {}",
                        short(mop)
                    ));
                }
            };
            members.push(member);
        }
        Ok(Open::Transaction(transaction, members))
    }

    fn end(&mut self, transaction: OpId, members: &[Member], op: &Op) -> Result<(), String> {
        self.rebalance(op)?;
        let mops = mops(op)?.unwrap_or_default();
        if op.kind == Type::Ok && mops.len() != members.len() {
            let (found, expected) = (mops.len(), members.len());
            return Err(format!("expected {expected} micro-operations as invoked, not {found}"));
        }
        for (at, member) in members.iter().enumerate() {
            let mop = mops.get(at).and_then(Form::list).unwrap_or_default();
            match *member {
                Member::Send(send) => self.sent(send, mop, op)?,
                Member::Poll(poll) => self.polled(poll, mop, op)?,
            }
        }
        match op.kind {
            Type::Ok => self.history.done(transaction, op.time),
            Type::Fail => self.history.fail(transaction, op.time),
            Type::Info | Type::Invoke => self.history.info(transaction, op.time),
        }
        Ok(())
    }

    /// `[:send key [offset value]]` says where the record is, whatever the transaction's outcome.
    fn sent(&mut self, send: OpId, mop: &[Form], op: &Op) -> Result<(), String> {
        let place = match mop {
            [_, _, Form::List(of)] => of.first().filter(|_| of.len() == 2),
            _ => None,
        };
        let place = match place {
            Some(Form::Int(offset)) if *offset >= 0 => Some(*offset),
            Some(Form::Nil) | None => None,
            Some(other) => return Err(format!("expected an offset or nil, not {}", short(other))),
        };
        if place.is_some() || op.kind == Type::Ok {
            self.history.acknowledge(send, op.time, place, None);
        } else {
            self.history.info(send, op.time);
        }
        Ok(())
    }

    /// `[:poll {key [[offset value] ...] ...}]`.
    fn polled(&mut self, poll: OpId, mop: &[Form], op: &Op) -> Result<(), String> {
        let mut records = Vec::new();
        let pairs = match mop.get(1) {
            Some(Form::Map(pairs)) => pairs.as_slice(),
            Some(Form::Nil) | None => &[],
            Some(other) => {
                return Err(format!("expected {{key [[offset value] ...]}}, not {}", short(other)));
            }
        };
        for (key, list) in pairs {
            let partition = self.named(key);
            let list = list.list().ok_or("expected a list of [offset value]")?;
            for record in list {
                let Some([Form::Int(offset @ 0..), value]) = record.list() else {
                    return Err(format!("expected [offset value], not {}", short(record)));
                };
                let value = self.value(value);
                records.push(Polled { partition, offset: *offset, epoch: -1, value });
            }
        }
        self.history.return_records(poll, op.time, &records);
        Ok(())
    }

    fn rebalance(&mut self, op: &Op) -> Result<(), String> {
        let Some(log) = op.get("rebalance-log") else { return Ok(()) };
        let log = log.list().ok_or("expected a list as :rebalance-log")?;
        let group = self.history.group("consumers");
        for entry in log {
            let keys = entry.get("keys").and_then(Form::list);
            let keys = keys.ok_or("expected :keys in an entry of :rebalance-log")?;
            let partitions: Vec<_> =
                keys.iter().map(|key| (self.named(key), Position::Unknown)).collect();
            let history = &mut self.history;
            history.rebalance(op.process, op.time, group, None, Change::Changed, &partitions);
        }
        Ok(())
    }

    fn assign(&mut self, op: &Op) -> Result<(), String> {
        let keys = op.value.list().ok_or("expected a list of partitions as :value")?;
        let from_start = op.get("seek-to-beginning?") == Some(&Form::Bool(true));
        let position = if from_start { Position::At(0) } else { Position::Kept };
        let positions: Vec<_> = keys.iter().map(|key| (self.named(key), position)).collect();
        self.history.assign_at(op.process, op.time, &positions);
        Ok(())
    }
}

fn mops(op: &Op) -> Result<Option<&[Form]>, String> {
    match &op.value {
        Form::List(list) => Ok(Some(list)),
        Form::Nil => Ok(None),
        other => Err(format!("expected micro-operations as :value, not {}", short(other))),
    }
}

impl Build for Kafka {
    type Open = Open;

    fn invoke(&mut self, op: &Op) -> Result<Option<Open>, String> {
        match op.f.as_str() {
            "send" | "poll" | "txn" => self.begin(op).map(Some),
            "assign" | "subscribe" | "crash" | "debug-topic-partitions" => Ok(Some(Open::Event)),
            other => Err(format!(
                "expected :f send, poll, txn, assign, subscribe, crash or debug-topic-partitions, \
                 not {other}"
            )),
        }
    }

    fn complete(&mut self, open: Open, op: &Op) -> Result<(), String> {
        match (open, op.f.as_str(), op.kind) {
            (Open::Transaction(transaction, members), ..) => self.end(transaction, &members, op),
            (Open::Event, "assign", Type::Ok | Type::Info) => self.assign(op),
            (Open::Event, "subscribe", Type::Ok | Type::Info) => {
                self.history.subscribe(op.process, op.time);
                Ok(())
            }
            (Open::Event, "crash", _) => {
                self.history.crash(op.process, op.time);
                Ok(())
            }
            (Open::Event, ..) => Ok(()),
        }
    }
}
