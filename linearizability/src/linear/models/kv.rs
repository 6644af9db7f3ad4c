//! A key-value store: get, put, append.

use crate::Datum;
use crate::linear::{Ending, Hindsight, Model, Operation};

/// A store in which every key begins without a value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kv;

/// An operation on the store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KvOp {
    /// The key.
    pub key: Datum,
    /// The call.
    pub call: KvCall,
}

/// See [`KvOp`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KvCall {
    /// Returns [`KvOutput::Got`]: [`Datum::Nil`] for a key without a value, or an empty text.
    Get,
    /// Returns [`KvOutput::Done`].
    Put(Datum),
    /// Makes the value a text, the old one's followed by this one's; returns [`KvOutput::Done`].
    Append(Datum),
}

/// The store's answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KvOutput {
    /// It was put or appended.
    Done,
    /// The value.
    Got(Datum),
}

/// Stands for every value that is never seen; no history has it.
const UNSEEN: &str = "\0unseen";

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

    /// Uses the values that were got: a value that is a prefix of none of them is unseen until the
    /// next put. All unseen values are one state, and no unanswered operation need lead to it.
    /// Without puts, every value starts with the longest one that was got, or is a prefix of it.
    fn hindsight(
        &self,
        operations: &[&Operation<KvOp, KvOutput>],
    ) -> Option<Hindsight<Datum, KvOp>> {
        let mut got: Vec<String> = Vec::new();
        let mut is_put = false;
        for operation in operations {
            is_put |= matches!(operation.op.call, KvCall::Put(_));
            if let Ending::Returned { output: KvOutput::Got(value), .. } = &operation.ending {
                got.push(value.to_plain());
            }
        }
        if got.iter().any(|text| text.contains(UNSEEN)) {
            return None;
        }
        got.sort_unstable();
        got.dedup();
        let longest = got.iter().max_by_key(|text| text.len()).cloned().unwrap_or_default();
        let seen = move |value: &str| {
            let at = got.partition_point(|text| text.as_str() < value);
            got.get(at).is_some_and(|text| text.starts_with(value))
        };
        Some(Box::new(move |_, is_answered, state| {
            let text = state.to_plain();
            if seen(&text) {
                return Some(state);
            }
            // Without puts, an unseen value contains all that was ever got.
            let follows = is_put || text.starts_with(&longest) || text.starts_with(UNSEEN);
            (follows && is_answered).then(|| UNSEEN.into())
        }))
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
