//! Both verdicts on a plan, the tank's and the processes', and whether they agree.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use wavetank_sim::hunt::Additions;
use wavetank_sim::invariants::Violation;
use wavetank_sim::plan::{FaultCounts, Plan};
use wavetank_sim::run::{Outcome, run_with};

use crate::cast::Cast;
use crate::phases::Played;
use crate::validation::Validated;

/// The result of one side.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Side {
    /// Broken promises, the first of each invariant.
    pub violations: Vec<Violation>,
    /// Faults by kind: planned, fired, took effect.
    pub faults: BTreeMap<String, FaultCounts>,
    /// Operations: records sent, batches read, queries answered.
    pub operations: u64,
    /// Outcomes that were compared with what was promised: acknowledgements, batches, answers.
    pub compared: u64,
    /// Records acknowledged in the storm.
    pub acked_in_storm: u64,
    /// Records given up in the storm.
    pub failed_in_storm: u64,
    /// Marks reached.
    pub marks: BTreeMap<String, u64>,
    /// How long it took, in virtual or real time.
    pub seconds: f64,
}

impl Side {
    /// Why this side tested nothing, if that is the case. `planned`: there were faults to fire.
    fn emptiness(&self, planned: bool) -> Option<&'static str> {
        if !self.violations.is_empty() {
            return None;
        }
        if self.compared == 0 || self.acked_in_storm == 0 {
            return Some("nothing was acknowledged in the storm");
        }
        (planned && !self.faults.values().any(|counts| counts.bit > 0))
            .then_some("no fault took effect")
    }
}

/// See the module's documentation. Serializes with the field names that `reenact --json` promises.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The plan's seed.
    pub seed: u64,
    /// Faults that were left out, by kind.
    pub left_out: BTreeMap<&'static str, u64>,
    /// Settings that are not played.
    pub unset: Vec<&'static str>,
    /// Faults of the plan that are played.
    pub planned: usize,
    /// The tank's run of the plan without what is left out.
    pub tank: Side,
    /// The processes.
    pub processes: Side,
    /// Chunks of traffic that the proxy held back, lost or delayed because of a fault.
    pub held: u64,
    /// See `held`.
    pub lost: u64,
    /// See `held`.
    pub delayed: u64,
    /// Trace validation of the nodes' notes against the models.
    pub validated: Vec<Validated>,
    /// Do both keep every promise, or both break one?
    pub agree: bool,
    /// Why this tested nothing, if that is the case.
    pub empty: Option<String>,
    /// Where the processes' files were kept, if they were.
    pub logs: Option<PathBuf>,
}

/// Runs a plan in the tank, with these additions.
pub fn tank(plan: &Plan, additions: Option<&Additions>) -> Side {
    let Outcome {
        violations,
        faults,
        operations,
        compared,
        acked_in_storm,
        failed_in_storm,
        marks,
        virtual_ns,
        ..
    } = run_with(plan, additions.map(|make| make(plan)).unwrap_or_default());
    let seconds = virtual_ns as f64 / 1e9;
    Side {
        violations,
        faults,
        operations,
        compared,
        acked_in_storm,
        failed_in_storm,
        marks,
        seconds,
    }
}

impl Report {
    /// The report on a plan that was cast, run in the tank, and played.
    pub fn new(plan: &Plan, cast: Cast, tank: Side, played: &Played) -> Report {
        let processes = Side {
            violations: played.violations.clone(),
            faults: played.faults.clone(),
            operations: played.operations,
            compared: played.compared,
            acked_in_storm: played.acked_in_storm,
            failed_in_storm: played.failed_in_storm,
            marks: played.marks.clone(),
            seconds: played.seconds,
        };
        let planned = cast.faults();
        let sides = [("the tank", &tank), ("the processes", &processes)];
        let empty = sides.into_iter().find_map(|(name, side)| {
            side.emptiness(planned > 0).map(|why| format!("{name}: {why}"))
        });
        Report {
            seed: plan.seed,
            left_out: cast.left_out,
            unset: cast.unset,
            planned,
            agree: tank.violations.is_empty() == processes.violations.is_empty(),
            tank,
            processes,
            held: played.effects.held,
            lost: played.effects.lost,
            delayed: played.effects.delayed,
            validated: played.validated.clone(),
            empty,
            logs: None,
        }
    }

    /// The report on a plan that is not played, and why.
    pub fn empty(plan: &Plan, cast: Cast, why: String) -> Report {
        Report {
            seed: plan.seed,
            planned: cast.faults(),
            left_out: cast.left_out,
            unset: cast.unset,
            tank: Side::default(),
            processes: Side::default(),
            held: 0,
            lost: 0,
            delayed: 0,
            validated: Vec::new(),
            agree: true,
            empty: Some(why),
            logs: None,
        }
    }

    /// Do both verdicts agree?
    pub fn agrees(&self) -> bool {
        self.agree
    }

    /// Was the plan played at all?
    pub fn played(&self) -> bool {
        self.processes != Side::default()
    }

    /// Was a promise broken on either side?
    pub fn is_violated(&self) -> bool {
        !self.tank.violations.is_empty() || !self.processes.violations.is_empty()
    }
}
