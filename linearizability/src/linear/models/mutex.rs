//! A mutex, with or without owners.

use crate::Datum;
use crate::linear::Model;

/// Mutexes that begin free.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mutex;

/// An operation on a mutex, which answers `()`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MutexOp {
    /// The mutex; [`Datum::Nil`] if there is only one.
    pub key: Datum,
    /// The caller, if only the owner may release; [`Datum::Nil`] if anybody may.
    pub owner: Datum,
    /// The call.
    pub call: MutexCall,
}

/// See [`MutexOp`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MutexCall {
    /// Takes effect only while it is free.
    Acquire,
    /// Takes effect only while this owner holds it.
    Release,
}

impl Model for Mutex {
    /// The owner that holds it.
    type State = Option<Datum>;
    type Op = MutexOp;
    type Output = ();

    fn initial(&self) -> Option<Datum> {
        None
    }

    fn step(&self, state: &Option<Datum>, op: &MutexOp) -> Option<(Option<Datum>, ())> {
        match (op.call, state) {
            (MutexCall::Acquire, None) => Some((Some(op.owner.clone()), ())),
            (MutexCall::Release, Some(owner)) if *owner == op.owner => Some((None, ())),
            (MutexCall::Acquire, Some(_)) | (MutexCall::Release, _) => None,
        }
    }

    fn key(&self, op: &MutexOp) -> Datum {
        op.key.clone()
    }

    fn describe(&self, op: &MutexOp, _: Option<&()>) -> String {
        let call = match op.call {
            MutexCall::Acquire => "acquire",
            MutexCall::Release => "release",
        };
        let words = [&op.key, &op.owner].into_iter().filter(|word| **word != Datum::Nil);
        words.fold(call.to_owned(), |text, word| format!("{text} {word}"))
    }

    fn describe_state(&self, state: &Option<Datum>) -> String {
        match state {
            None => "free".into(),
            Some(Datum::Nil) => "held".into(),
            Some(owner) => format!("held by {owner}"),
        }
    }
}
