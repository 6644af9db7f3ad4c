//! Linearizability by trying every order: no cache, no keys, nothing pruned but what real time
//! forbids.

use std::collections::BTreeMap;

use wavetank_linearizability::linear::{Ending, Model, Operation};
use wavetank_linearizability::{Datum, OpId};

type Op<M> = Operation<<M as Model>::Op, <M as Model>::Output>;

fn returns_at<M: Model>(operation: &Op<M>) -> Option<u64> {
    match &operation.ending {
        Ending::Returned { at, .. } => Some(at.seq),
        Ending::Failed | Ending::Indeterminate => None,
    }
}

/// Is there an order?
pub fn linearizable<M: Model>(model: &M, operations: &[Op<M>]) -> bool {
    linearizable_until(model, operations, u64::MAX)
}

/// Is there an order of all operations that returned up to this moment, among those in progress and
/// with their answers?
pub fn linearizable_until<M: Model>(model: &M, operations: &[Op<M>], seq: u64) -> bool {
    let left: Vec<&Op<M>> = operations.iter().filter(|op| op.ending != Ending::Failed).collect();
    place(model, &BTreeMap::new(), &left, seq)
}

fn place<M: Model>(
    model: &M,
    states: &BTreeMap<Datum, M::State>,
    left: &[&Op<M>],
    seq: u64,
) -> bool {
    if left.iter().all(|operation| returns_at::<M>(operation).is_none_or(|at| at > seq)) {
        return true;
    }
    (0..left.len()).any(|index| {
        let mut rest = left.to_vec();
        let operation = rest.remove(index);
        let too_late = rest.iter().any(|other| {
            returns_at::<M>(other).is_some_and(|returned| returned < operation.invoked.seq)
        });
        if too_late {
            return false;
        }
        let Some(next) = after(model, states, operation) else { return false };
        place(model, &next, &rest, seq)
    })
}

fn after<M: Model>(
    model: &M,
    states: &BTreeMap<Datum, M::State>,
    operation: &Op<M>,
) -> Option<BTreeMap<Datum, M::State>> {
    let key = model.key(&operation.op);
    let state = states.get(&key).cloned().unwrap_or_else(|| model.initial());
    let (state, output) = model.step(&state, &operation.op)?;
    let fits = match &operation.ending {
        Ending::Returned { output: returned, .. } => model.accepts(&output, returned),
        Ending::Failed | Ending::Indeterminate => true,
    };
    let mut next = states.clone();
    next.insert(key, state);
    fits.then_some(next)
}

/// Panics unless the order is one in which the operations of that key may have taken effect.
pub fn assert_order<M: Model>(model: &M, operations: &[Op<M>], key: &Datum, order: &[OpId]) {
    let mut states = BTreeMap::new();
    let mut latest_invocation = 0;
    for (index, id) in order.iter().enumerate() {
        assert!(!order[..index].contains(id), "{id:?} is placed twice");
        let operation = &operations[id.0 as usize];
        assert_eq!(model.key(&operation.op), *key);
        assert_ne!(operation.ending, Ending::Failed);
        let returned = returns_at::<M>(operation);
        assert!(returned.is_none_or(|at| at > latest_invocation), "{id:?} returned before that");
        latest_invocation = latest_invocation.max(operation.invoked.seq);
        states = after(model, &states, operation).expect("it fits there");
    }
}
