//! From a model's counterexample to a plan that breaks the same kind of promise in the tank.
//!
//! A model can take steps in any order. In a cluster they happen by themselves, and faults can only
//! influence their order. So a plan is built from the steps (which node is cut off, crashed or
//! without power, after which note of the broker), and then tried: with the flaw it must break a
//! promise, and without the flaw it must hold. What the steps leave open (which of several notes,
//! which occurrence of it, for how long, the tank's seed) is varied from try to try, in a fixed
//! order, so the same counterexample gives the same plan.
//!
//! How much of a plan comes from the counterexample differs:
//!
//! - `replication` (M1, R1) follows it step by step;
//! - `disk` (M7) turns each step that is a fault into one, after the note of the step before. But
//!   if the log is cut, the plan up to the cut is written by hand, and only the faults after it
//!   come from the counterexample;
//! - `alteration` (M2) takes from the steps only which follower joins: the plan is written by hand
//!   for this shape;
//! - `quorum` (M3, R3, R3C) takes from the steps only which voter forgets, and which voters stand
//!   for election: there are two plans written by hand, one for each shape.
//!
//! The broken promise is not compared with the property that the model broke: any violation counts
//! that the zoo counts for this flaw ([`counts`]). The tests pin which one it is for each plan.
//!
//! Models are not here, and neither is the execution of faults.

mod alteration;
mod disk;
mod environment;
mod quorum;
mod replication;
#[cfg(test)]
mod tests;

use wavetank_core::flaw::Flaw;
use wavetank_core::types::TopicPartition;
use wavetank_models::{Entry, Happening, Step};
use wavetank_sim::hunt::run_caught;
use wavetank_sim::invariants::{Invariant, Kind, Seen, View, Violation};
use wavetank_sim::plan::{AfterNote, Fault, FaultKind, PartitionRef, Plan, Target, When};
use wavetank_sim::run::Options;

use std::sync::{Arc, Mutex, PoisonError};

use crate::hunt::counts;

/// How many plans are tried for a counterexample.
pub const TRIES: u64 = 2_000;

/// A plan that reproduces the counterexample.
#[derive(Debug)]
pub struct Found {
    /// With the flaw in it.
    pub plan: Plan,
    /// The number of the try, from 1.
    pub tries: u64,
    /// The violation that it causes.
    pub violation: Violation,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlan {
    /// Only the model can leave out the rule: the broker cannot be built without it.
    NotInTheBroker,
    /// No fault leads to this step, counted from 1, for this reason.
    Step(usize, &'static str),
    /// None of this many plans broke a promise with the flaw and held without it.
    NotFound(u64),
}

impl std::fmt::Display for NoPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoPlan::NotInTheBroker => {
                f.write_str("only the model has this flaw; the broker cannot be built with it")
            }
            NoPlan::Step(step, why) => write!(f, "no fault leads to step {step}: {why}"),
            NoPlan::NotFound(tries) => write!(
                f,
                "none of {tries} plans for these steps broke a promise in the tank with the flaw \
                 and held without it"
            ),
        }
    }
}

/// Searches for a plan in at most `tries` tries. `entry` is the model whose variant `flaw` failed
/// with the counterexample `steps`. Usually [`TRIES`] are enough, and the first few dozen do it.
///
/// # Errors
/// If there is none, says why.
///
/// # Panics
/// If the model is not one of `wavetank_models::ALL`.
pub fn find(entry: &Entry, flaw: &str, steps: &[Step], tries: u64) -> Result<Found, NoPlan> {
    let flaw = Flaw::from_name(flaw).ok_or(NoPlan::NotInTheBroker)?;
    let happenings: Vec<Happening> = steps.iter().map(|step| step.happening).collect();
    for number in 1..=tries {
        let mut vary = Vary::new(number);
        let mut plan = match entry.id {
            "M1" | "M1P" | "R1" => replication::plan(&happenings, &mut vary),
            "M2" => alteration::plan(&happenings, &mut vary)?,
            "M3" | "M3F" | "R3" | "R3C" => quorum::plan(&happenings, &mut vary)?,
            "M7" => disk::plan(&happenings, &mut vary),
            other => panic!("the steps of {other} are known to no translation"),
        };
        assert_eq!(plan.seed, number, "what a plan knows of its cluster goes with its seed");
        plan.flaws = vec![flaw.story().name.to_owned()];
        if let Err(error) = plan.validate() {
            panic!("a plan of {} without {flaw} is not valid: {error}", entry.id);
        }
        let with = run_caught(&plan, Options::default());
        let Some(violation) = counts(flaw, &with).cloned() else { continue };
        let sound = Plan { flaws: Vec::new(), ..plan.clone() };
        if run_caught(&sound, Options::default()).violations.is_empty() {
            return Ok(Found { plan, tries: number, violation });
        }
    }
    Err(NoPlan::NotFound(tries))
}

/// The choices of one try: pseudo-random numbers derived from the try's number.
#[derive(Clone, Debug)]
struct Vary {
    /// The try's number, and its plan's seed.
    number: u64,
    state: u64,
}

impl Vary {
    fn new(number: u64) -> Vary {
        Vary { number, state: number }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `low` to `high`, both included.
    fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.range(0, from.len() as u64 - 1) as usize].clone()
    }
}

/// The one partition of these plans.
const PARTITION: PartitionRef = PartitionRef { topic: 0, partition: 0 };

/// Faults that strike together.
#[derive(Clone, Debug)]
struct Moment {
    when: When,
    faults: Vec<FaultKind>,
}

impl Moment {
    fn at(us: u64, faults: Vec<FaultKind>) -> Moment {
        Moment { when: When::AtUs(us), faults }
    }

    fn after(name: &str, count: u64, delay_us: u64, faults: Vec<FaultKind>) -> Moment {
        let (name, count) = (name.to_owned(), count as u32);
        Moment {
            when: When::AfterNote(AfterNote {
                name,
                from_us: 0,
                count,
                delay_us,
                node: None,
                partition: None,
            }),
            faults,
        }
    }
}

/// Chains the moments: each is armed when the one before has struck.
fn chain(moments: Vec<Moment>) -> Vec<Fault> {
    let mut rest: Vec<Fault> = Vec::new();
    for Moment { when, mut faults } in moments.into_iter().rev() {
        // A fault that always strikes carries the following ones.
        faults.sort_by_key(|fault| !matches!(fault, FaultKind::Partition(_)));
        let mut now: Vec<Fault> =
            faults.into_iter().map(|what| Fault::new(when.clone(), what)).collect();
        if let Some(first) = now.first_mut() {
            first.then = rest;
            rest = now;
        }
    }
    rest
}

fn leader() -> Target {
    Target::LeaderOf(PARTITION)
}

/// The partition's replicas for this plan, in the order in which the controller elects from them.
fn replicas(plan: &Plan) -> Vec<i32> {
    #[derive(Clone, Debug)]
    struct Look(Arc<Mutex<Vec<i32>>>);
    impl Invariant for Look {
        fn name(&self) -> &'static str {
            "look"
        }

        fn kind(&self) -> Kind {
            Kind::WhiteBox
        }

        /// Remembers the partition's replicas once it exists.
        fn see(&mut self, _: Seen<'_>, view: &View<'_>) -> Result<(), String> {
            let image = view.ledger.image();
            let Some((topic, _)) = image.topic_by_name(environment::TOPIC) else { return Ok(()) };
            let at = TopicPartition { topic, partition: PARTITION.partition };
            let Some(partition) = image.partition(at) else { return Ok(()) };
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
                partition.replicas.iter().map(|node| node.0).collect();
            Ok(())
        }
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let invariants: Vec<Box<dyn Invariant>> = vec![Box::new(Look(Arc::clone(&seen)))];
    let only_start = Some(environment::START_NS);
    run_caught(plan, Options { invariants, until: only_start, ..Options::default() });
    let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(!seen.is_empty(), "without faults the topic is there after some seconds");
    seen.clone()
}
