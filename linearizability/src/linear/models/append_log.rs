//! An append-only log: append, tail, read at an offset.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::Datum;
use crate::hash::FastMap;
use crate::linear::{Ending, Hindsight, Model, Operation};

/// Logs that begin empty, with offsets from 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct AppendLog;

/// An operation on a log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogOp {
    /// Returns [`LogOutput::Offset`], the record's offset.
    Append {
        /// The log.
        key: Datum,
        /// The record.
        value: Datum,
    },
    /// Returns [`LogOutput::Offset`], where the next append would land.
    Tail {
        /// The log.
        key: Datum,
    },
    /// Returns [`LogOutput::Value`].
    Read {
        /// The log.
        key: Datum,
        /// The offset.
        offset: u64,
    },
}

/// A log's answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogOutput {
    /// An offset; `None` if an append's answer did not say.
    Offset(Option<u64>),
    /// What is at an offset; `None` at or beyond the tail.
    Value(Option<Datum>),
}

/// What a log holds: a chain from its newest record to its oldest, shared with earlier states.
#[derive(Clone, Debug, Default)]
pub struct LogState(Option<Arc<Link>>);

#[derive(Debug)]
struct Link {
    value: Datum,
    /// The number of records up to and including this one.
    length: u64,
    /// The hash of all of them, so that different logs seldom need comparing.
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
    /// Drops link by link: recursion over a long chain could overflow the stack.
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

    /// Uses the record at each offset, as all answers give it, unless two of them contradict each
    /// other. A record that nobody saw may as well be nothing.
    fn hindsight(
        &self,
        operations: &[&Operation<LogOp, LogOutput>],
    ) -> Option<Hindsight<LogState, LogOp>> {
        let mut seen: FastMap<u64, Datum> = FastMap::default();
        let mut appends: FastMap<&Datum, u32> = FastMap::default();
        for operation in operations {
            if let (LogOp::Append { value, .. }, false) =
                (&operation.op, operation.ending == Ending::Failed)
            {
                *appends.entry(value).or_insert(0) += 1;
            }
            let Ending::Returned { output, .. } = &operation.ending else { continue };
            let (offset, value) = match (&operation.op, output) {
                (LogOp::Append { value, .. }, LogOutput::Offset(Some(offset))) => (*offset, value),
                (LogOp::Read { offset, .. }, LogOutput::Value(Some(value))) => (*offset, value),
                _ => continue,
            };
            let known = seen.entry(offset).or_insert_with(|| value.clone());
            if known != value {
                return None;
            }
        }
        let mut places: FastMap<Datum, u64> = FastMap::default();
        for (offset, value) in &seen {
            if appends.get(value) == Some(&1) {
                let other = places.insert(value.clone(), *offset);
                if other.is_some() {
                    return None;
                }
            }
        }
        Some(Box::new(move |op, _, state| {
            let LogOp::Append { value, .. } = op else { return Some(state) };
            let offset = state.tail() - 1;
            match (seen.get(&offset), places.get(value)) {
                (Some(known), _) => (known == value).then_some(state),
                (None, Some(_)) => None,
                (None, None) => {
                    let Some(link) = &state.0 else { return Some(state) };
                    Some(link.before.append(&Datum::Nil))
                }
            }
        }))
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
