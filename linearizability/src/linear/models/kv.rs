//! A key-value store: get, put, append.

use crate::Datum;
use crate::linear::Model;

/// A store in which every key begins without a value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kv;

/// What the store is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KvOp {
    /// Which key.
    pub key: Datum,
    /// What.
    pub call: KvCall,
}

/// See [`KvOp`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KvCall {
    /// Returns [`KvOutput::Got`]: [`Datum::Nil`] for a key without a value, or an empty text.
    Get,
    /// Returns [`KvOutput::Done`].
    Put(Datum),
    /// Makes the value a text, the old one with this one's text behind it; returns
    /// [`KvOutput::Done`].
    Append(Datum),
}

/// What the store answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KvOutput {
    /// It was put or appended.
    Done,
    /// The value.
    Got(Datum),
}

impl Model for Kv {
    type State = Datum;
    type Op = KvOp;
    type Output = KvOutput;

    fn initial(&self) -> Datum {
        Datum::Nil
    }

    fn step(&self, state: &Datum, op: &KvOp) -> Option<(Datum, KvOutput)> {
        Some(match &op.call {
            KvCall::Get => (state.clone(), KvOutput::Got(state.clone())),
            KvCall::Put(value) => (value.clone(), KvOutput::Done),
            KvCall::Append(value) => {
                let mut text = state.to_plain();
                text.push_str(&value.to_plain());
                (text.into(), KvOutput::Done)
            }
        })
    }

    fn accepts(&self, specified: &KvOutput, returned: &KvOutput) -> bool {
        let empty = KvOutput::Got("".into());
        specified == returned || (*specified == KvOutput::Got(Datum::Nil) && *returned == empty)
    }

    fn is_read(&self, op: &KvOp, _: Option<&KvOutput>) -> bool {
        op.call == KvCall::Get
    }

    fn key(&self, op: &KvOp) -> Datum {
        op.key.clone()
    }

    fn heap_bytes(&self, state: &Datum) -> usize {
        match state {
            Datum::Nil | Datum::Number(_) => 0,
            Datum::Text(text) => text.len() + 16,
        }
    }

    fn describe(&self, op: &KvOp, returned: Option<&KvOutput>) -> String {
        let key = &op.key;
        match (&op.call, returned) {
            (KvCall::Get, Some(KvOutput::Got(value))) => format!("get {key}: {value}"),
            (KvCall::Get, _) => format!("get {key}"),
            (KvCall::Put(value), _) => format!("put {key}: {value}"),
            (KvCall::Append(value), _) => format!("append {key}: {value}"),
        }
    }

    fn describe_state(&self, state: &Datum) -> String {
        state.to_string()
    }
}
