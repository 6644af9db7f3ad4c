//! One run: `Plan -> Outcome`, a pure function.

pub use crate::outcome::Outcome;

use crate::invariants::Invariant;
use crate::plan::Plan;
use crate::tank::Tank;
use crate::workload::Workload;

/// What a user may add to a run or change about it.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Further invariants, in addition to the built-in ones.
    pub invariants: Vec<Box<dyn Invariant>>,
    /// Further client hosts.
    pub workloads: Vec<Box<dyn Workload>>,
    /// Leave the built-in producers and consumers out.
    pub only_own_workloads: bool,
    /// Keep a line for each event and effect.
    pub trace: bool,
    /// Stop at this virtual time, ns.
    pub until: Option<u64>,
    /// Remember the fingerprint after each step, for [`crate::replay`]'s comparison.
    pub keep_fingerprints: bool,
    /// Continue after the first violation that a client or the ledger could observe.
    pub keep_going: bool,
    /// Keep the history in the judge's form ([`Outcome::judged`]).
    pub keep_history: bool,
}

/// Runs a plan.
pub fn run(plan: &Plan) -> Outcome {
    run_with(plan, Options::default())
}

/// Runs a plan with additions.
pub fn run_with(plan: &Plan, options: Options) -> Outcome {
    Tank::new(plan, options).finish()
}
