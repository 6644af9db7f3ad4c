//! An append-only log: append, tail, read at an offset.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::Datum;
use crate::linear::Model;

/// Logs that begin empty, with offsets from 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppendLog;

/// What a log is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogOp {
    /// Returns [`LogOutput::Offset`], where it landed.
    Append {
        /// Which log.
        key: Datum,
        /// What.
        value: Datum,
    },
    /// Returns [`LogOutput::Offset`], where the next append would land.
    Tail {
        /// Which log.
        key: Datum,
    },
    /// Returns [`LogOutput::Value`].
    Read {
        /// Which log.
        key: Datum,
        /// Where.
        offset: u64,
    },
}

/// What a log answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogOutput {
    /// An offset; `None` as an append's answer if it did not say.
    Offset(Option<u64>),
    /// What is at an offset; `None` at or beyond the tail.
    Value(Option<Datum>),
}

/// What a log holds: a chain from its newest record to its oldest, shared with the states before.
#[derive(Clone, Debug, Default)]
pub struct LogState(Option<Arc<Link>>);

#[derive(Debug)]
struct Link {
    value: Datum,
    /// Records up to and with this one.
    length: u64,
    /// Of them all, so that different logs seldom need comparing.
    hash: u64,
    before: LogState,
}

impl LogState {
    /// The tail: how many records it holds.
    pub fn tail(&self) -> u64 {
        self.0.as_ref().map_or(0, |link| link.length)
    }

    /// The record at an offset, `None` at or beyond the tail.
    pub fn get(&self, offset: u64) -> Option<&Datum> {
        let mut link = self.0.as_ref()?;
        while link.length > offset + 1 {
            link = link.before.0.as_ref()?;
        }
        (link.length == offset + 1).then_some(&link.value)
    }

    fn append(&self, value: &Datum) -> LogState {
        let mut hasher = crate::hash::Hasher64::default();
        (self.0.as_ref().map_or(0, |link| link.hash), value).hash(&mut hasher);
        LogState(Some(Arc::new(Link {
            value: value.clone(),
            length: self.tail() + 1,
            hash: hasher.finish(),
            before: self.clone(),
        })))
    }
}

impl PartialEq for LogState {
    fn eq(&self, other: &LogState) -> bool {
        let (mut a, mut b) = (&self.0, &other.0);
        loop {
            match (a, b) {
                (None, None) => return true,
                (Some(x), Some(y)) if Arc::ptr_eq(x, y) => return true,
                (Some(x), Some(y))
                    if x.length == y.length && x.hash == y.hash && x.value == y.value =>
                {
                    (a, b) = (&x.before.0, &y.before.0);
                }
                _ => return false,
            }
        }
    }
}

impl Eq for LogState {}

impl Hash for LogState {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.as_ref().map_or(0, |link| link.hash).hash(hasher);
    }
}

impl Drop for LogState {
    /// Link by link: the chain may be longer than the stack is deep.
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(link) = next {
            next = match Arc::try_unwrap(link) {
                Ok(mut link) => link.before.0.take(),
                Err(_) => None,
            };
        }
    }
}

impl Model for AppendLog {
    type State = LogState;
    type Op = LogOp;
    type Output = LogOutput;

    fn initial(&self) -> LogState {
        LogState::default()
    }

    fn step(&self, state: &LogState, op: &LogOp) -> Option<(LogState, LogOutput)> {
        let tail = LogOutput::Offset(Some(state.tail()));
        Some(match op {
            LogOp::Append { value, .. } => (state.append(value), tail),
            LogOp::Tail { .. } => (state.clone(), tail),
            LogOp::Read { offset, .. } => {
                (state.clone(), LogOutput::Value(state.get(*offset).cloned()))
            }
        })
    }

    fn accepts(&self, specified: &LogOutput, returned: &LogOutput) -> bool {
        specified == returned
            || matches!((specified, returned), (LogOutput::Offset(_), LogOutput::Offset(None)))
    }

    fn is_read(&self, op: &LogOp, _: Option<&LogOutput>) -> bool {
        !matches!(op, LogOp::Append { .. })
    }

    fn key(&self, op: &LogOp) -> Datum {
        match op {
            LogOp::Append { key, .. } | LogOp::Tail { key } | LogOp::Read { key, .. } => {
                key.clone()
            }
        }
    }

    fn heap_bytes(&self, _: &LogState) -> usize {
        std::mem::size_of::<Link>() + 16
    }

    fn describe(&self, op: &LogOp, returned: Option<&LogOutput>) -> String {
        let of = match self.key(op) {
            Datum::Nil => String::new(),
            key => format!(" {key}"),
        };
        let asked = match op {
            LogOp::Append { value, .. } => format!("append{of}: {value}"),
            LogOp::Tail { .. } => format!("tail{of}"),
            LogOp::Read { offset, .. } => format!("read{of} at {offset}"),
        };
        match (op, returned) {
            (LogOp::Append { .. }, Some(LogOutput::Offset(Some(at)))) => format!("{asked} at {at}"),
            (_, Some(LogOutput::Offset(Some(at)))) => format!("{asked}: {at}"),
            (_, Some(LogOutput::Value(Some(value)))) => format!("{asked}: {value}"),
            (_, Some(LogOutput::Value(None))) => format!("{asked}: nothing"),
            (_, Some(LogOutput::Offset(None)) | None) => asked,
        }
    }

    fn describe_state(&self, state: &LogState) -> String {
        match state.0.as_ref() {
            None => "an empty log".into(),
            Some(link) => format!("a log of {} that ends with {}", link.length, link.value),
        }
    }
}
