//! The implementation as a model: the components that ship are the model checker's state.
//!
//! - [`quorum`]: three voters of `core::quorum`, log and disk included.
//! - [`replica`]: three replicas of a partition, `core::replica` with logs and disks.
//!
//! # How real code becomes a finite model
//!
//! The components are plain data with `Clone`, `Eq` and `Hash`, are stepped by events, and make all
//! requests through the seam. So a state here is the components, what is in flight between them,
//! what each disk holds and how much of it is durable, and which timers are armed. An action is one
//! event.
//!
//! - *Time* stands still. A component stores deadlines and compares a firing with what it stored;
//!   the firing, in any order with everything else, is an action of the model. So deadlines are the
//!   same numbers in every state, and states repeat. (A parked fetch never times out: that timer
//!   only answers with nothing, and the fetch's sender asks again.)
//! - *Random draws* count up from zero within a step: jitter only moves deadlines.
//! - *A disk* performs at once what stays in the page cache. Syncs wait for an action, after which
//!   everything submitted is durable. A power loss takes everything that is not.
//! - *Budgets* bound what would go on forever: elections, power losses, appended records.
//!
//! What does not live here: the simulator, which runs whole brokers for a long time and visits no
//! state twice ([`crate`] explains what a model adds).

mod disk;
pub mod quorum;
pub mod replica;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::Bounds;

/// The control for a variant: the core as it ships. The small bounds, which run on each commit,
/// have none: with real code it takes longer than everything else together.
fn control<M>(variant: Option<&str>, bounds: Bounds, right: impl FnOnce() -> M) -> Option<M> {
    (variant.is_some() && bounds != Bounds::Small).then(right)
}

/// A part of a state that most actions leave unchanged: shared between states, hashed once. Real
/// components are large, and one event touches one of them.
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

    /// Gives mutable access; [`Shared::seal`] must follow before the state is compared or hashed.
    fn change(&mut self) -> &mut T {
        self.digest = 0;
        Arc::make_mut(&mut self.value)
    }

    fn seal(&mut self) {
        if self.digest == 0 {
            // The hasher's keys are constants, so the digest is the same in every run.
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
