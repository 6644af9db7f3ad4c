//! A queue, first in, first out.

use std::collections::VecDeque;

use crate::Datum;
use crate::linear::Model;

/// Queues that begin empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct FifoQueue;

/// What a queue is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueueOp {
    /// Which queue; [`Datum::Nil`] if there is one.
    pub key: Datum,
    /// What.
    pub call: QueueCall,
}

/// See [`QueueOp`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum QueueCall {
    /// Returns [`QueueOutput::Done`].
    Enqueue(Datum),
    /// Returns [`QueueOutput::Front`].
    Dequeue,
}

/// What a queue answers.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum QueueOutput {
    /// It was put at the end.
    Done,
    /// What was at the front, and no longer is; `None` if the queue was empty.
    Front(Option<Datum>),
}

impl Model for FifoQueue {
    type State = VecDeque<Datum>;
    type Op = QueueOp;
    type Output = QueueOutput;

    fn initial(&self) -> VecDeque<Datum> {
        VecDeque::new()
    }

    fn step(
        &self,
        state: &VecDeque<Datum>,
        op: &QueueOp,
    ) -> Option<(VecDeque<Datum>, QueueOutput)> {
        let mut next = state.clone();
        let output = match &op.call {
            QueueCall::Enqueue(value) => {
                next.push_back(value.clone());
                QueueOutput::Done
            }
            QueueCall::Dequeue => QueueOutput::Front(next.pop_front()),
        };
        Some((next, output))
    }

    fn is_read(&self, op: &QueueOp, returned: Option<&QueueOutput>) -> bool {
        op.call == QueueCall::Dequeue && returned == Some(&QueueOutput::Front(None))
    }

    fn key(&self, op: &QueueOp) -> Datum {
        op.key.clone()
    }

    fn heap_bytes(&self, state: &VecDeque<Datum>) -> usize {
        state.capacity() * std::mem::size_of::<Datum>()
    }

    fn describe(&self, op: &QueueOp, returned: Option<&QueueOutput>) -> String {
        let of = match &op.key {
            Datum::Nil => String::new(),
            key => format!(" {key}"),
        };
        match (&op.call, returned) {
            (QueueCall::Enqueue(value), _) => format!("enqueue{of}: {value}"),
            (QueueCall::Dequeue, Some(QueueOutput::Front(Some(value)))) => {
                format!("dequeue{of}: {value}")
            }
            (QueueCall::Dequeue, Some(QueueOutput::Front(None))) => format!("dequeue{of}: empty"),
            (QueueCall::Dequeue, _) => format!("dequeue{of}"),
        }
    }

    fn describe_state(&self, state: &VecDeque<Datum>) -> String {
        match (state.front(), state.len()) {
            (None, _) => "empty".into(),
            (Some(front), 1) => format!("a queue of just {front}"),
            (Some(front), length) => format!("a queue of {length} with {front} at its front"),
        }
    }
}
