//! The result of a run, and whether the run tested anything.

use crate::invariants::Violation;
use crate::plan::{FaultCounts, Plan};
use crate::workload::Record;
use std::collections::BTreeMap;
use wavetank_core::types::Uuid;

/// A run that acknowledges fewer records in its storm tests too little.
const FEWEST_ACKED: u64 = 25;

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Broken promises, the first of each invariant.
    pub violations: Vec<Violation>,
    /// Why the run tested too little, if it did.
    pub weak: Option<String>,
    /// The digest of every event and effect.
    pub fingerprint: u64,
    /// Virtual time, ns.
    pub virtual_ns: u64,
    /// Machine steps.
    pub events: u64,
    /// Client operations: records sent, batches read.
    pub operations: u64,
    /// Operations whose outcome came back and was checked against what was promised:
    /// acknowledgements, batches read, queries answered.
    pub compared: u64,
    /// Why the run tested nothing, if that is the case.
    pub empty: Option<String>,
    /// Records acknowledged during the storm.
    pub acked_in_storm: u64,
    /// Records sent during the storm.
    pub sent_in_storm: u64,
    /// Records given up during the storm.
    pub failed_in_storm: u64,
    /// The counts for each kind of fault in the plan.
    pub faults: BTreeMap<String, FaultCounts>,
    /// Marks reached, by name.
    pub marks: BTreeMap<String, u64>,
    /// What clients did and learned.
    pub history: Vec<Record>,
    /// Records whose loss the ledger admitted.
    pub admitted_losses: u64,
    /// Of these, records that a replica outside a one-member ISR still held.
    pub admitted_alone: u64,
    /// Records sent with acks=1 or 0 that were acknowledged and lost, which is no violation.
    pub weakly_acked_lost: u64,
    /// Records that are in the log more than once, which is no violation without idempotence.
    pub duplicates: u64,
    /// The history as it is judged, if requested.
    pub judged: Option<wavetank_linearizability::History>,
    /// The names of topics, by id.
    pub topics: BTreeMap<Uuid, String>,
    /// The trace, if requested.
    pub trace: Vec<String>,
    /// How many lines of the trace there were after each step.
    pub trace_ends: Vec<usize>,
    /// The fingerprint after each step, if requested.
    pub fingerprints: Vec<u64>,
    /// The run was cut short by [`Options::until`](crate::run::Options::until).
    pub cut_short: bool,
}

impl Outcome {
    /// Judges whether this run tested enough. `own`: only the user's own workloads ran.
    pub(crate) fn weigh(&mut self, plan: &Plan, own: bool) {
        if self.violations.is_empty() && !self.cut_short {
            self.empty = self.emptiness();
            self.weak = self.empty.clone().or_else(|| self.weakness(plan, own));
        }
    }

    /// Why this run tested nothing, if that is the case.
    fn emptiness(&self) -> Option<String> {
        if self.compared == 0 {
            return Some(
                "nothing was compared: no client got an acknowledgement, read a record or had a \
                 query answered"
                    .into(),
            );
        }
        let faults = self.faults.values();
        let (planned, fired) = faults.fold((0, 0), |(planned, fired), counts| {
            (planned + counts.planned, fired + counts.fired)
        });
        (planned > 0 && fired == 0).then(|| format!("none of the {planned} planned faults struck"))
    }

    /// Why this run tested too little, if it did.
    fn weakness(&self, plan: &Plan, own: bool) -> Option<String> {
        for name in &plan.marks {
            if !self.marks.contains_key(name) {
                return Some(format!("the declared mark {name} was not reached"));
            }
        }
        if own || plan.workload.producers.is_empty() {
            return None;
        }
        let (acked, failed) = (self.acked_in_storm, self.failed_in_storm);
        if acked < FEWEST_ACKED {
            return Some(format!("only {acked} records were acknowledged in the storm"));
        }
        if failed > acked {
            return Some(format!(
                "{failed} records failed in the storm; {acked} were acknowledged"
            ));
        }
        None
    }
}
