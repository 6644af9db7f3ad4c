//! What an object is, as far as the checker needs to know: its sequential specification.

use std::fmt::Debug;
use std::hash::Hash;

use super::Operation;
use crate::Datum;

/// What [`Model::hindsight`] returns: a function of an operation, whether it was answered, and the
/// state that it led to. It gives the state to continue from; or `None` if some answers can no
/// longer be given from there, or if an operation that was never answered does not help there.
pub type Hindsight<S, O> = Box<dyn Fn(&O, bool, S) -> Option<S>>;

/// A sequential specification: what the object does when operations come one at a time. Write it as
/// you would write the simplest single-threaded implementation:
///
/// ```
/// use wavetank_linearizability::linear::{self, History, Model, Options};
///
/// /// A counter; `Add` returns the sum.
/// struct Counter;
///
/// #[derive(Clone, Debug, PartialEq, Eq, Hash)]
/// struct Add(i64);
///
/// impl Model for Counter {
///     type State = i64;
///     type Op = Add;
///     type Output = i64;
///
///     fn initial(&self) -> i64 {
///         0
///     }
///
///     fn step(&self, sum: &i64, op: &Add) -> Option<(i64, i64)> {
///         let sum = sum + op.0;
///         Some((sum, sum)) // the next state, and what is returned
///     }
///
///     fn is_read(&self, op: &Add, _: Option<&i64>) -> bool {
///         op.0 == 0
///     }
/// }
///
/// let mut history = History::new();
/// let one = history.invoke(1, 100, Add(1));
/// let two = history.invoke(2, 200, Add(1)); // at the same time
/// history.returned(one, 300, 1);
/// history.returned(two, 400, 1); // both cannot have got 1
/// let judged = linear::check(&Counter, history.operations(), &Options::default()).unwrap();
/// assert!(!judged.verdict.is_valid());
/// println!("{}", judged.verdict);
/// ```
///
/// Only `initial` and `step` are needed; the rest makes checking faster and explanations better.
pub trait Model {
    /// What the object remembers.
    type State: Clone + Eq + Hash + Debug;
    /// Its operations.
    type Op: Clone + Eq + Hash + Debug;
    /// Its answers.
    type Output: Clone + Eq + Hash + Debug;

    /// The initial state.
    fn initial(&self) -> Self::State;

    /// The next state and what is returned; `None` if the operation cannot take effect now
    /// (acquiring a mutex that is held). It must depend on nothing but its arguments.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<(Self::State, Self::Output)>;

    /// Whether what was returned to the client agrees with what the specification returns. That is
    /// equality, unless a client may get less (an acknowledgement without an offset).
    fn accepts(&self, specified: &Self::Output, returned: &Self::Output) -> bool {
        specified == returned
    }

    /// Whether the operation, having returned this (`None`: whatever it may have returned), changed
    /// nothing, in any state. Such operations are placed as soon as they fit, and left out if they
    /// are indeterminate, which makes checking much faster. `false` is always correct.
    fn is_read(&self, op: &Self::Op, returned: Option<&Self::Output>) -> bool {
        let _ = (op, returned);
        false
    }

    /// The independent object that the operation is about. Each object is checked on its own
    /// (linearizability composes), beginning in [`Model::initial`], which makes checking much
    /// faster. Operations on different keys must not influence each other.
    fn key(&self, op: &Self::Op) -> Datum {
        let _ = op;
        Datum::Nil
    }

    /// What the whole history of a key says about states: that some answers can no longer be given
    /// from a state, or that two states lead to the same answers (then it returns one for both).
    /// The search then backtracks early. If any order explains all operations, hindsight must admit
    /// one. `None` is always correct.
    fn hindsight(
        &self,
        operations: &[&Operation<Self::Op, Self::Output>],
    ) -> Option<Hindsight<Self::State, Self::Op>> {
        let _ = operations;
        None
    }

    /// Approximate bytes of a state on the heap: they count against the memory limit.
    fn heap_bytes(&self, state: &Self::State) -> usize {
        let _ = state;
        0
    }

    /// An operation in words, for explanations: `write 7`, `read: 5`; `None` is an operation whose
    /// answer never came.
    fn describe(&self, op: &Self::Op, returned: Option<&Self::Output>) -> String {
        match returned {
            Some(returned) => format!("{op:?}: {returned:?}"),
            None => format!("{op:?}"),
        }
    }

    /// A state in words, to end the sentence "the object is ...".
    fn describe_state(&self, state: &Self::State) -> String {
        format!("{state:?}")
    }
}
