//! Replays one run, with its trace, history and fingerprint, and optionally twice.

use crate::hunt::{Additions, run_caught};
use crate::invariants::Violation;
use crate::plan::{FaultCounts, Plan};
use crate::run::{Options, Outcome};
use serde::{Serialize, Serializer};
use std::collections::BTreeMap;

/// What to show.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplayOptions {
    /// A line for each event and effect.
    pub trace: bool,
    /// Stop at this virtual time, ns.
    pub until: Option<u64>,
    /// Run twice and compare.
    pub twice: bool,
    /// Continue after the first violation.
    pub keep_going: bool,
    /// Keep the history in the judge's form ([`Outcome::judged`]).
    pub history: bool,
}

/// The digest of every event and effect of a run. Prints and serializes as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub u64);

impl std::fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where two runs of one plan diverge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The index of the first event that differs, from 0.
    pub event: u64,
    /// What it was in the first run.
    pub first: Vec<String>,
    /// What it was in the second run.
    pub second: Vec<String>,
}

/// The result of a replay. Serializes with the field names that `replay --json` promises.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayReport {
    /// The plan's seed.
    pub seed: u64,
    /// The run's fingerprint.
    pub fingerprint: Fingerprint,
    /// Broken promises.
    pub violations: Vec<Violation>,
    /// Virtual time.
    pub virtual_seconds: f64,
    /// Machine steps.
    pub events: u64,
    /// Client operations.
    pub operations: u64,
    /// Counts of each kind of fault in the plan: planned, fired, took effect.
    pub faults_by_kind: BTreeMap<String, FaultCounts>,
    /// Why the run tested too little, if it did.
    pub weak: Option<String>,
    /// With `twice`: where the runs diverge, if they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<Difference>,
    /// Everything else about the run.
    #[serde(skip)]
    pub outcome: Outcome,
}

impl ReplayReport {
    /// Did everything hold, did a second run (if there was one) do the same, and was anything
    /// tested?
    pub fn is_green(&self) -> bool {
        self.violations.is_empty() && self.difference.is_none() && self.outcome.empty.is_none()
    }
}

/// Runs a plan again.
pub fn replay(plan: &Plan, options: ReplayOptions) -> ReplayReport {
    replay_with(plan, options, None)
}

/// Runs a plan again, with additions.
pub fn replay_with(
    plan: &Plan,
    options: ReplayOptions,
    additions: Option<&Additions>,
) -> ReplayReport {
    let once = || {
        run_caught(
            plan,
            Options {
                trace: options.trace,
                until: options.until,
                keep_going: options.keep_going,
                keep_fingerprints: options.twice,
                keep_history: options.history,
                ..additions.map_or_else(Options::default, |make| make(plan))
            },
        )
    };
    let outcome = once();
    let difference = options.twice.then(|| compare(plan, &options, &outcome, &once())).flatten();
    ReplayReport {
        seed: plan.seed,
        fingerprint: Fingerprint(outcome.fingerprint),
        violations: outcome.violations.clone(),
        virtual_seconds: outcome.virtual_ns as f64 / 1e9,
        events: outcome.events,
        operations: outcome.operations,
        faults_by_kind: outcome.faults.clone(),
        weak: outcome.weak.clone(),
        difference,
        outcome,
    }
}

/// The first event at which two runs differ.
fn compare(
    plan: &Plan,
    options: &ReplayOptions,
    first: &Outcome,
    second: &Outcome,
) -> Option<Difference> {
    let event = first_difference(&first.fingerprints, &second.fingerprints)?;
    // Run again with traces, to describe the event.
    let traced = || {
        let traced = Options {
            trace: true,
            until: options.until,
            keep_going: options.keep_going,
            keep_fingerprints: true,
            ..Options::default()
        };
        let outcome = run_caught(plan, traced);
        lines_of(&outcome, event)
    };
    Some(Difference { event: event as u64, first: traced(), second: traced() })
}

/// Where two sequences diverge. `None` if they are equal.
fn first_difference(first: &[u64], second: &[u64]) -> Option<usize> {
    let common = first.iter().zip(second).take_while(|(one, other)| one == other).count();
    (common < first.len() || common < second.len()).then_some(common)
}

/// The trace's lines of one event.
fn lines_of(outcome: &Outcome, event: usize) -> Vec<String> {
    let Some(&to) = outcome.trace_ends.get(event) else {
        return vec!["(the run had ended)".into()];
    };
    let from = event.checked_sub(1).and_then(|before| outcome.trace_ends.get(before)).copied();
    outcome.trace[from.unwrap_or(0)..to].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Profile;

    #[test]
    fn the_first_difference_is_named() {
        assert_eq!(first_difference(&[1, 2, 3], &[1, 2, 3]), None);
        assert_eq!(first_difference(&[1, 2, 3], &[1, 5, 3]), Some(1));
        assert_eq!(first_difference(&[1, 2], &[1, 2, 3]), Some(2));
        let outcome = Outcome {
            trace: ["a", "b", "c"].map(String::from).to_vec(),
            trace_ends: vec![1, 3],
            ..Outcome::default()
        };
        assert_eq!(lines_of(&outcome, 0), ["a"]);
        assert_eq!(lines_of(&outcome, 1), ["b", "c"]);
        assert_eq!(lines_of(&outcome, 2), ["(the run had ended)"]);
    }

    #[test]
    fn a_plan_runs_the_same_way_twice() {
        let plan = Profile::Default.draw(5);
        let options =
            ReplayOptions { twice: true, until: Some(6_000_000_000), ..ReplayOptions::default() };
        let report = replay(&plan, options);
        assert_eq!(report.difference, None);
        assert!(report.events > 0);
    }
}
