//! A queue, first in, first out.

use std::collections::VecDeque;

use crate::Datum;
use crate::hash::FastMap;
use crate::linear::{Ending, Hindsight, Model, Operation};

/// Queues that begin empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct FifoQueue;

/// An operation on a queue.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QueueOp {
    /// The queue; [`Datum::Nil`] if there is only one.
    pub key: Datum,
    /// The call.
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

/// A queue's answer.
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

    /// Uses when each value was dequeued: a value that was dequeued before the dequeue of another
    /// was invoked must not be behind it. Neighbours that were never dequeued can be swapped.
    fn hindsight(
        &self,
        operations: &[&Operation<QueueOp, QueueOutput>],
    ) -> Option<Hindsight<VecDeque<Datum>, QueueOp>> {
        let mut taken = Taken::default();
        for operation in operations {
            match (&operation.op.call, &operation.ending) {
                (_, Ending::Failed) => {}
                (QueueCall::Enqueue(value), _) => {
                    let first = taken.between.insert(value.clone(), NEVER).is_none();
                    taken.repeated |= !first;
                }
                (QueueCall::Dequeue, Ending::Indeterminate) => {
                    taken.perhaps.push(operation.invoked.seq);
                }
                (QueueCall::Dequeue, Ending::Returned { .. }) => {}
            }
        }
        if taken.repeated {
            return None; // Nobody can tell which of two was dequeued.
        }
        for operation in operations {
            if let Ending::Returned { at, output: QueueOutput::Front(Some(value)) } =
                &operation.ending
            {
                let between = taken.between.entry(value.clone()).or_insert(NEVER);
                let before = if *between == NEVER { (u64::MAX, 0) } else { *between };
                *between = (before.0.min(operation.invoked.seq), before.1.max(at.seq));
            }
        }
        taken.perhaps.sort_unstable();
        Some(Box::new(move |op, _, state| taken.look_back(op, state)))
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

/// Never dequeued.
const NEVER: (u64, u64) = (u64::MAX, u64::MAX);

/// When values were dequeued.
#[derive(Default)]
struct Taken {
    /// Not before the first of these moments, and by the second.
    between: FastMap<Datum, (u64, u64)>,
    /// Was a value enqueued twice?
    repeated: bool,
    /// When dequeues were invoked whose answers are unknown.
    perhaps: Vec<u64>,
}

impl Taken {
    fn look_back(&self, op: &QueueOp, mut state: VecDeque<Datum>) -> Option<VecDeque<Datum>> {
        let QueueCall::Enqueue(value) = &op.call else { return Some(state) };
        let between = |value: &Datum| self.between.get(value).copied().unwrap_or(NEVER);
        let (_, by) = between(value);
        let mut at = state.len() - 1;
        if by == NEVER.1 {
            while at > 0 && between(&state[at - 1]) == NEVER && state[at - 1] > state[at] {
                state.swap(at - 1, at);
                at -= 1;
            }
            return Some(state);
        }
        // A value without a known dequeue may be gone by a dequeue whose answer is unknown.
        let may_be_gone = self.perhaps.partition_point(|from| *from <= by);
        let never = state.iter().filter(|other| between(other) == NEVER).count();
        let behind = |other: &Datum| between(other) != NEVER && between(other).0 > by;
        let too_late = never > may_be_gone || state.iter().take(at).any(behind);
        (!too_late).then_some(state)
    }
}
