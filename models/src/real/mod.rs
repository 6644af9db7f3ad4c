//! The implementation as a model: the very components that ship are a model checker's state.
//!
//! - [`quorum`]: three voters of `core::quorum`, log and disk included.
//! - [`replica`]: three replicas of a partition, `core::replica` with logs and disks.
//!
//! # How real code becomes a finite model
//!
//! The components are plain data with `Clone`, `Eq` and `Hash`, stepped by events, and ask for all
//! they want through the seam. So a state here is: the components, what is in flight between them,
//! what each disk holds and what of it is durable, and which timers are armed. An action is one event.
//!
//! - *Time* stands still at zero. A component stores deadlines and compares a firing with what it
//!   stored; that it fires, and in which order with everything else, is an action of the model. So
//!   deadlines are the same numbers in every state, and states repeat. (What a parked fetch would time
//!   out for does not: such a timer answers with nothing, which the fetch's sender asks again.)
//! - *Draws* count up from zero within a step: jitter moves deadlines only.
//! - *A disk* performs at once what stays in the page cache; what makes durable waits for an action,
//!   after which all that was submitted is durable. A power loss takes what was not.
//! - *Budgets* bound what would go on for ever: elections, power losses, appended records.
//!
//! What does not live here: the simulator, which runs whole brokers for a long time and no state
//! twice ([`crate`] explains what a model adds).

mod disk;
pub mod quorum;
pub mod replica;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::Bounds;

/// What a variant is held against: the core as it ships, but not in the small bounds, which are those
/// of each commit: real code takes longer for that than all else together.
fn control<M>(variant: Option<&str>, bounds: Bounds, right: impl FnOnce() -> M) -> Option<M> {
    (variant.is_some() && bounds != Bounds::Small).then(right)
}

/// A part of a state that most actions leave as it is: shared between states, hashed once. Real
/// components are fat, and one event touches one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shared<T> {
    digest: u64,
    value: Arc<T>,
}

impl<T: Clone + Hash> Shared<T> {
    fn new(value: T) -> Shared<T> {
        let mut shared = Shared { digest: 0, value: Arc::new(value) };
        shared.seal();
        shared
    }

    /// For changing; [`Shared::seal`] must follow before the state is compared or hashed.
    fn change(&mut self) -> &mut T {
        self.digest = 0;
        Arc::make_mut(&mut self.value)
    }

    fn seal(&mut self) {
        if self.digest == 0 {
            // Its keys are constants: the same digest in every run.
            let mut hasher = DefaultHasher::new();
            self.value.hash(&mut hasher);
            self.digest = hasher.finish() | 1;
        }
    }
}

impl<T> std::ops::Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        assert_ne!(self.digest, 0, "a changed part is sealed before it is hashed");
        state.write_u64(self.digest);
    }
}
