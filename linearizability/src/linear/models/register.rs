//! A register: read, write, compare-and-set.

use std::collections::BTreeSet;

use crate::Datum;
use crate::linear::{Ending, Hindsight, Model, Operation};

/// Registers that begin as `initial`.
#[derive(Clone, Debug, Default)]
pub struct Register {
    /// What is read before the first write.
    pub initial: Datum,
}

/// An operation on a register.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RegisterOp {
    /// The register; [`Datum::Nil`] if there is only one.
    pub key: Datum,
    /// The call.
    pub call: RegisterCall,
}

/// See [`RegisterOp`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RegisterCall {
    /// Returns [`RegisterOutput::Value`].
    Read,
    /// Returns [`RegisterOutput::Done`].
    Write(Datum),
    /// Writes `to` if the value is `from`; returns [`RegisterOutput::Swapped`].
    Cas {
        /// The expected value.
        from: Datum,
        /// The new value.
        to: Datum,
    },
}

/// A register's answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RegisterOutput {
    /// It was written.
    Done,
    /// What was read.
    Value(Datum),
    /// Whether the value was as expected, and so was replaced.
    Swapped(bool),
}

/// Stands for every value that is never seen; no history has it.
const UNSEEN: &str = "\0unseen";

impl Model for Register {
    type State = Datum;
    type Op = RegisterOp;
    type Output = RegisterOutput;

    fn initial(&self) -> Datum {
        self.initial.clone()
    }

    fn step(&self, state: &Datum, op: &RegisterOp) -> Option<(Datum, RegisterOutput)> {
        Some(match &op.call {
            RegisterCall::Read => (state.clone(), RegisterOutput::Value(state.clone())),
            RegisterCall::Write(value) => (value.clone(), RegisterOutput::Done),
            RegisterCall::Cas { from, to } if state == from => {
                (to.clone(), RegisterOutput::Swapped(true))
            }
            RegisterCall::Cas { .. } => (state.clone(), RegisterOutput::Swapped(false)),
        })
    }

    fn is_read(&self, op: &RegisterOp, returned: Option<&RegisterOutput>) -> bool {
        op.call == RegisterCall::Read || returned == Some(&RegisterOutput::Swapped(false))
    }

    fn key(&self, op: &RegisterOp) -> Datum {
        op.key.clone()
    }

    /// Values that are neither read nor compared with are all one state. No unanswered operation
    /// need lead to it, except for a comparison that fails.
    fn hindsight(
        &self,
        operations: &[&Operation<RegisterOp, RegisterOutput>],
    ) -> Option<Hindsight<Datum, RegisterOp>> {
        let mut seen: BTreeSet<Datum> = BTreeSet::new();
        let mut refused = false;
        for operation in operations {
            if let RegisterCall::Cas { from, .. } = &operation.op.call {
                seen.insert(from.clone());
            }
            match &operation.ending {
                Ending::Returned { output: RegisterOutput::Value(value), .. } => {
                    seen.insert(value.clone());
                }
                Ending::Returned { output, .. } => {
                    refused |= *output == RegisterOutput::Swapped(false);
                }
                Ending::Failed | Ending::Indeterminate => {}
            }
        }
        let unseen = Datum::from(UNSEEN);
        if seen.contains(&unseen) {
            return None;
        }
        Some(Box::new(move |_, is_answered, state| {
            if seen.contains(&state) {
                Some(state)
            } else {
                (is_answered || refused).then(|| unseen.clone())
            }
        }))
    }

    fn describe(&self, op: &RegisterOp, returned: Option<&RegisterOutput>) -> String {
        let of = match &op.key {
            Datum::Nil => String::new(),
            key => format!(" {key}"),
        };
        match (&op.call, returned) {
            (RegisterCall::Read, Some(RegisterOutput::Value(value))) => {
                format!("read{of}: {value}")
            }
            (RegisterCall::Read, _) => format!("read{of}"),
            (RegisterCall::Write(value), _) => format!("write{of}: {value}"),
            (RegisterCall::Cas { from, to }, Some(RegisterOutput::Swapped(false))) => {
                format!("cas{of} {from} to {to}: refused")
            }
            (RegisterCall::Cas { from, to }, _) => format!("cas{of} {from} to {to}"),
        }
    }

    fn describe_state(&self, state: &Datum) -> String {
        state.to_string()
    }
}
