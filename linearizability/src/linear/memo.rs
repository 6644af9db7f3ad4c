//! States, each kept once and identified by a number, and the steps between them, each taken once.

use std::hash::{Hash, Hasher};

use super::{Hindsight, Model};
use crate::hash::{FastMap, Hasher64};

/// A step that cannot be taken, or whose answer is not the one that was returned.
pub(crate) const IMPOSSIBLE: u32 = u32::MAX - 1;
const UNKNOWN: u32 = u32::MAX;
/// With more classes than this, steps are looked up by hash instead of in a row for each state.
const ROW: usize = 32;

/// An operation with its answer: one class for all operations with the same question and answer.
pub(crate) struct Class<M: Model> {
    pub(crate) op: M::Op,
    /// `None`: any answer fits.
    pub(crate) returned: Option<M::Output>,
}

/// See the module.
pub(crate) struct Memo<'a, M: Model> {
    model: &'a M,
    hindsight: Option<&'a Hindsight<M::State, M::Op>>,
    classes: &'a [Class<M>],
    states: Vec<M::State>,
    /// From a hash to the last state with that hash, and from each state to the one before.
    by_hash: FastMap<u64, u32>,
    same_hash: Vec<u32>,
    rows: Vec<Option<Box<[u32]>>>,
    steps: FastMap<u64, u32>,
    heap_bytes: usize,
}

impl<'a, M: Model> Memo<'a, M> {
    /// A memo that knows the initial state, as 0.
    pub(crate) fn new(
        model: &'a M,
        hindsight: Option<&'a Hindsight<M::State, M::Op>>,
        classes: &'a [Class<M>],
    ) -> Memo<'a, M> {
        let mut memo = Memo {
            model,
            hindsight,
            classes,
            states: Vec::new(),
            by_hash: FastMap::default(),
            same_hash: Vec::new(),
            rows: Vec::new(),
            steps: FastMap::default(),
            heap_bytes: 0,
        };
        memo.intern(model.initial());
        memo
    }

    fn intern(&mut self, state: M::State) -> u32 {
        let mut hasher = Hasher64::default();
        state.hash(&mut hasher);
        let hash = hasher.finish();
        let newest = self.by_hash.get(&hash).copied().unwrap_or(UNKNOWN);
        let mut at = newest;
        while at != UNKNOWN {
            if self.states[at as usize] == state {
                return at;
            }
            at = self.same_hash[at as usize];
        }
        let id = u32::try_from(self.states.len()).expect("the limit of memory is reached before");
        assert!(id < IMPOSSIBLE, "the limit of memory is reached before");
        self.heap_bytes += self.model.heap_bytes(&state);
        self.states.push(state);
        self.same_hash.push(newest);
        self.by_hash.insert(hash, id);
        self.rows.push(None);
        id
    }

    /// The state after an operation of this class, or [`IMPOSSIBLE`].
    pub(crate) fn step(&mut self, state: u32, class: u32) -> u32 {
        let (index, wide) = (class as usize, self.classes.len() > ROW);
        let both = u64::from(state) << 32 | u64::from(class);
        let known = if wide {
            self.steps.get(&both).copied()
        } else {
            let known = self.rows[state as usize].as_ref().map(|row| row[index]);
            known.filter(|known| *known != UNKNOWN)
        };
        if let Some(known) = known {
            return known;
        }
        let next = self.take(state, class);
        if wide {
            self.steps.insert(both, next);
        } else {
            let classes = self.classes.len();
            let row = &mut self.rows[state as usize];
            if row.is_none() {
                self.heap_bytes += classes * size_of::<u32>();
            }
            row.get_or_insert_with(|| vec![UNKNOWN; classes].into())[index] = next;
        }
        next
    }

    fn take(&mut self, state: u32, class: u32) -> u32 {
        let Class { op, returned } = &self.classes[class as usize];
        let Some((next, output)) = self.model.step(&self.states[state as usize], op) else {
            return IMPOSSIBLE;
        };
        if returned.as_ref().is_some_and(|returned| !self.model.accepts(&output, returned)) {
            return IMPOSSIBLE;
        }
        if next == self.states[state as usize] {
            return state;
        }
        match self.hindsight {
            None => self.intern(next),
            Some(hindsight) => {
                hindsight(op, returned.is_some(), next).map_or(IMPOSSIBLE, |next| self.intern(next))
            }
        }
    }

    /// Approximate memory in use.
    pub(crate) fn bytes(&self) -> usize {
        let of_state = size_of::<M::State>() + size_of::<Option<Box<[u32]>>>() + 4;
        self.heap_bytes
            + self.states.capacity() * of_state
            + (self.by_hash.capacity() + self.steps.capacity()) * 18
    }
}
