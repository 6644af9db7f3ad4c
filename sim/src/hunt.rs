//! Hunting: many seeds, several threads, one report.
//!
//! Seeds share nothing: each thread runs whole seeds, and the report is the same at any parallelism
//! (except for the time taken). [`crate::gates`] says whether the hunt tested anything. A panic in
//! the core is a violation of that seed, not the end of the hunt. Clocks and threads are used here
//! and nowhere below.

use crate::gates::Gates;
use crate::invariants::{Kind, Violation};
use crate::marks::Mark;
use crate::plan::{FaultCounts, Plan};
use crate::profile::Profile;
use crate::run::{Options, Outcome, run_with};
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

/// Makes the user's additions (invariants, workloads) for one seed's run.
pub type Additions = Arc<dyn Fn(&Plan) -> Options + Send + Sync>;

/// Called after each seed, with how many have ended so far, and how many of those were violations
/// and weak.
pub type Progress = Arc<dyn Fn(u64, u64, u64) + Send + Sync>;

/// What to hunt.
#[derive(Clone)]
pub struct HuntOptions {
    /// Which seeds, half-open.
    pub seeds: Range<u64>,
    /// How many threads; at least one is used.
    pub jobs: usize,
    /// The family of plans.
    pub profile: Profile,
    /// Only these kinds of faults; `None` for all.
    pub faults: Option<Vec<String>>,
    /// Only producers with these acks ("acks=all", "acks=1", "acks=0"); `None` for all.
    pub workload: Option<Vec<String>>,
    /// Only the seeds that are `.0` modulo `.1`.
    pub shard: Option<(u64, u64)>,
    /// Rules that every node leaves out.
    pub flaws: Vec<String>,
    /// Start no further seed after this long.
    pub for_duration: Option<Duration>,
    /// Start no further seed after the first violation.
    pub until_found: bool,
    /// Called after each seed.
    pub progress: Option<Progress>,
    /// The user's own invariants and workloads.
    pub additions: Option<Additions>,
    /// Arguments that a replay command needs to get the same additions.
    pub additions_arguments: Vec<String>,
    /// How to run a seed again if neither `wavetank replay` nor [`SEED_VARIABLE`] can.
    pub replay: Option<Replay>,
    /// What must have been tested for the hunt to be green.
    pub require: Gates,
    /// Start no further seed once this is set.
    pub stop: Option<Arc<AtomicBool>>,
}

/// Returns how to run one seed again.
pub type Replay = Arc<dyn Fn(u64) -> String + Send + Sync>;

/// Restricts a hunt with its own additions, run as a test, to the seed in this environment
/// variable: `WAVETANK_SEED=7 cargo test NAME`.
pub const SEED_VARIABLE: &str = "WAVETANK_SEED";

impl Default for HuntOptions {
    /// Seeds 0 to 1000 of the default profile.
    fn default() -> HuntOptions {
        HuntOptions {
            seeds: 0..1000,
            jobs: std::thread::available_parallelism().map_or(1, usize::from),
            profile: Profile::Default,
            faults: None,
            workload: None,
            shard: None,
            flaws: Vec::new(),
            for_duration: None,
            until_found: false,
            progress: None,
            additions: None,
            additions_arguments: Vec::new(),
            replay: None,
            require: Gates::default(),
            stop: None,
        }
    }
}

impl fmt::Debug for HuntOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HuntOptions")
            .field("seeds", &self.seeds)
            .field("jobs", &self.jobs)
            .field("profile", &self.profile)
            .field("faults", &self.faults)
            .field("flaws", &self.flaws)
            .finish_non_exhaustive()
    }
}

impl HuntOptions {
    /// The plan of one seed under these options.
    pub fn plan(&self, seed: u64) -> Plan {
        let allowed = |kind: &str| {
            self.faults.as_ref().is_none_or(|kinds| kinds.iter().any(|known| known == kind))
        };
        let mut plan = self.profile.draw_with(seed, allowed);
        plan.flaws.clone_from(&self.flaws);
        if let Some(kinds) = &self.workload {
            let wanted = |acks: i16| {
                let name = if acks < 0 { "acks=all".to_owned() } else { format!("acks={acks}") };
                kinds.contains(&name)
            };
            let allowed: Vec<i16> = [-1, 1, 0].into_iter().filter(|acks| wanted(*acks)).collect();
            for (index, producer) in plan.workload.producers.iter_mut().enumerate() {
                if !wanted(producer.acks) && !allowed.is_empty() {
                    producer.acks = allowed[index % allowed.len()];
                }
            }
        }
        plan
    }

    /// Does the hunt have additions that `wavetank replay` does not know?
    fn has_own_additions(&self) -> bool {
        self.additions.is_some() && self.additions_arguments.is_empty()
    }

    /// How to run one seed again: a command or, if the additions are the caller's own, the test
    /// that calls this (by the name of its thread) with the seed.
    pub fn replay_command(&self, seed: u64) -> String {
        if let Some(replay) = &self.replay {
            return replay(seed);
        }
        if self.has_own_additions() {
            return match std::thread::current().name() {
                Some(test) if test != "main" => format!("{SEED_VARIABLE}={seed} cargo test {test}"),
                Some(_) | None => format!("{SEED_VARIABLE}={seed} with the same program"),
            };
        }
        self.replay_command_of(&seed)
    }

    /// The command that replays a seed, or a plan's file, with these options.
    pub fn replay_command_of(&self, what: &dyn fmt::Display) -> String {
        let mut command = format!("wavetank replay {what}");
        if self.profile != Profile::Default {
            command += &format!(" --profile {}", self.profile.name());
        }
        if let Some(kinds) = &self.faults {
            command += &format!(" --faults {}", kinds.join(","));
        }
        if let Some(kinds) = &self.workload {
            command += &format!(" --workload {}", kinds.join(","));
        }
        for flaw in &self.flaws {
            command += &format!(" --flaw {flaw}");
        }
        for argument in &self.additions_arguments {
            command += &format!(" {argument}");
        }
        command
    }
}

/// One violation in a [`HuntReport`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FoundViolation {
    /// The seed.
    pub seed: u64,
    /// The invariant's name.
    pub invariant: String,
    /// Who could observe it.
    pub kind: Kind,
    /// What happened, and where.
    pub message: String,
    /// The command that reproduces it.
    pub replay: String,
}

/// The result of a hunt. Serializes with the field names that `hunt --json` promises.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HuntReport {
    /// How many seeds were run.
    pub seeds: u64,
    /// Broken promises, by seed: the first of each invariant per seed.
    pub violations: Vec<FoundViolation>,
    /// How many seeds were weak: they held but tested too little.
    pub weak_seeds: u64,
    /// Virtual time of all runs.
    pub virtual_seconds: f64,
    /// Wall time of the hunt.
    pub wall_seconds: f64,
    /// CPU time of all threads.
    pub cpu_seconds: f64,
    /// Machine steps.
    pub events: u64,
    /// Client operations.
    pub operations: u64,
    /// Operations whose outcome came back and was checked against what was promised.
    pub compared: u64,
    /// Faults that struck, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Counts of each kind of fault in the plans: planned, fired, took effect.
    pub faults_by_kind: BTreeMap<String, FaultCounts>,
    /// Marks, with the number of seeds that reached each.
    pub marks: BTreeMap<String, u64>,
    /// Marks that no seed reached. A large hunt with any of these has failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missed_marks: Vec<String>,
    /// What should have been tested and was not ([`Gates`]), in words. A hunt that tested nothing
    /// is not green.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub missed_gates: Vec<String>,
    /// It was stopped before its last seed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub interrupted: bool,
    /// Records whose loss the ledger admitted.
    pub admitted_losses: u64,
    /// Of these, records that a replica outside a one-member ISR still held.
    pub admitted_alone: u64,
    /// Records acknowledged with less than acks=all that were lost, as such records may be.
    pub weakly_acked_lost: u64,
    /// Records that are in a log twice, as is allowed without idempotence.
    pub duplicates: u64,
    /// Why the first weak seeds were weak: (seed, reason).
    #[serde(skip)]
    pub weak_reasons: Vec<(u64, String)>,
    /// The XOR of all seeds' fingerprints, which separate replays give, too.
    #[serde(skip)]
    pub fingerprint: u64,
}

/// A hunt of at least this many seeds must reach every mark.
pub const LARGE_HUNT: u64 = 1000;

impl HuntReport {
    /// Did everything hold, was everything required tested, and was every mark reached that a hunt
    /// of this size must reach?
    pub fn is_green(&self) -> bool {
        self.complaints().is_empty()
    }

    /// Why the hunt is not green, one paragraph each.
    pub fn complaints(&self) -> Vec<String> {
        let broken = self.violations.iter().map(|found| {
            let FoundViolation { seed, invariant, kind, message, replay } = found;
            format!("seed {seed} broke {invariant} ({kind}): {message}\n  again: {replay}")
        });
        let missed = self
            .missed_marks
            .iter()
            .map(|mark| format!("no seed of {} reached the mark {mark}", self.seeds));
        broken.chain(self.missed_gates.iter().cloned()).chain(missed).collect()
    }

    /// The violations of each seed that broke a promise.
    pub fn violations_by_seed(&self) -> BTreeMap<u64, Vec<&FoundViolation>> {
        let mut seeds: BTreeMap<u64, Vec<&FoundViolation>> = BTreeMap::new();
        for violation in &self.violations {
            seeds.entry(violation.seed).or_default().push(violation);
        }
        seeds
    }

    /// The most frequent reason for a seed to be weak, with the first seed that has it and how many
    /// have it. Reasons that differ only in their numbers count as one. Later seeds of a hunt with
    /// very many weak seeds are not counted.
    pub fn most_frequent_weakness(&self) -> Option<(u64, u64, &str)> {
        let shape = |reason: &str| reason.replace(|c: char| c.is_ascii_digit(), "");
        let mut reasons: BTreeMap<String, (u64, u64, &str)> = BTreeMap::new();
        for (seed, reason) in &self.weak_reasons {
            reasons.entry(shape(reason)).or_insert((*seed, 0, reason)).1 += 1;
        }
        reasons.into_values().max_by_key(|(_, count, _)| *count)
    }

    /// For tests: panics with [`HuntReport::complaints`] unless the hunt is green.
    ///
    /// # Panics
    /// If the hunt is not green.
    #[track_caller]
    pub fn assert_green(&self) {
        let complaints = self.complaints();
        assert!(complaints.is_empty(), "the hunt is not green:\n{}", complaints.join("\n"));
    }

    fn add(&mut self, seed: u64, outcome: &Outcome, options: &HuntOptions) {
        self.seeds += 1;
        for violation in &outcome.violations {
            self.violations.push(FoundViolation {
                seed,
                invariant: violation.invariant.clone(),
                kind: violation.kind,
                message: violation.message.clone(),
                replay: options.replay_command(seed),
            });
        }
        if let Some(reason) = &outcome.weak {
            self.weak_seeds += 1;
            if self.weak_reasons.len() < 1000 {
                self.weak_reasons.push((seed, reason.clone()));
            }
        }
        self.virtual_seconds += outcome.virtual_ns as f64 / 1e9;
        self.events += outcome.events;
        self.operations += outcome.operations;
        self.compared += outcome.compared;
        for (kind, counts) in &outcome.faults {
            if counts.fired > 0 {
                *self.faults.entry(kind.clone()).or_default() += counts.fired;
            }
            self.faults_by_kind.entry(kind.clone()).or_default().add(*counts);
        }
        for mark in outcome.marks.keys() {
            *self.marks.entry(mark.clone()).or_default() += 1;
        }
        self.admitted_losses += outcome.admitted_losses;
        self.admitted_alone += outcome.admitted_alone;
        self.weakly_acked_lost += outcome.weakly_acked_lost;
        self.duplicates += outcome.duplicates;
        self.fingerprint ^= outcome.fingerprint;
    }

    fn close(&mut self, options: &HuntOptions) {
        let stopped = |stop: &Arc<AtomicBool>| stop.load(Ordering::SeqCst);
        self.interrupted = options.stop.as_ref().is_some_and(stopped);
        self.missed_gates = options.require.missed(self, options.faults.is_some());
        let complete = options.faults.is_none()
            && options.workload.is_none()
            && options.flaws.is_empty()
            && options.profile == Profile::Default;
        if complete && self.seeds >= LARGE_HUNT {
            let missed = |mark: &&Mark| !self.marks.contains_key(mark.name());
            self.missed_marks =
                Mark::ALL.iter().filter(missed).map(|mark| mark.name().to_owned()).collect();
        }
    }
}

/// One seed's part of a hunt.
#[derive(Debug)]
pub struct SeedResult {
    /// The seed.
    pub seed: u64,
    /// The result of its run.
    pub outcome: Outcome,
    /// CPU time of the run.
    pub cpu: Duration,
}

/// Hunts, and combines the seeds' results into one report.
pub fn hunt(options: &HuntOptions) -> HuntReport {
    let start = Instant::now();
    let narrowed;
    let options = match asked_seed(options) {
        None => options,
        Some(Ok(seeds)) => {
            narrowed = HuntOptions { seeds, shard: None, ..options.clone() };
            &narrowed
        }
        Some(Err(why)) => return HuntReport { missed_gates: vec![why], ..HuntReport::default() },
    };
    let results = hunt_seeds(options, &|_| false);
    let mut report = HuntReport::default();
    let mut cpu = Duration::ZERO;
    for result in &results {
        report.add(result.seed, &result.outcome, options);
        cpu += result.cpu;
    }
    report.close(options);
    report.cpu_seconds = cpu.as_secs_f64();
    report.wall_seconds = start.elapsed().as_secs_f64();
    report
}

/// The one seed that [`SEED_VARIABLE`] requests of a hunt with its own additions.
fn asked_seed(options: &HuntOptions) -> Option<Result<Range<u64>, String>> {
    if !options.has_own_additions() {
        return None;
    }
    let text = std::env::var(SEED_VARIABLE).ok()?;
    Some(match text.parse::<u64>() {
        Ok(seed) if seed < u64::MAX => Ok(seed..seed + 1),
        Ok(_) | Err(_) => Err(format!(
            "{SEED_VARIABLE} is {text:?}, which is not a seed: unset it, or set it to a seed"
        )),
    })
}

/// Runs the seeds in order, on several threads, until `enough` accepts one. Seeds after that one
/// are left out. The results are in seed order. [`hunt`] combines them into a report; this is for
/// callers that need each run's result.
pub fn hunt_seeds(
    options: &HuntOptions,
    enough: &(dyn Fn(&Outcome) -> bool + Sync),
) -> Vec<SeedResult> {
    let start = Instant::now();
    let next = AtomicU64::new(options.seeds.start);
    let stop_after = AtomicU64::new(u64::MAX);
    let out_of_time = AtomicBool::new(false);
    let results = Mutex::new(Vec::new());
    let (done, violated, weak) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        loop {
            let stopped = options.stop.as_ref().is_some_and(|stop| stop.load(Ordering::SeqCst));
            let late = options.for_duration.is_some_and(|limit| start.elapsed() >= limit);
            if stopped || late || out_of_time.load(Ordering::SeqCst) {
                out_of_time.store(true, Ordering::SeqCst);
                return;
            }
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= options.seeds.end || seed > stop_after.load(Ordering::SeqCst) {
                return;
            }
            if options.shard.is_some_and(|(index, of)| seed % of.max(1) != index) {
                continue;
            }
            let plan = options.plan(seed);
            let additions = options.additions.as_ref().map(|make| make(&plan));
            let before = thread_cpu();
            let mut outcome = run_caught(&plan, additions.unwrap_or_default());
            let cpu = thread_cpu().saturating_sub(before);
            outcome.history = Vec::new();
            if enough(&outcome) || (options.until_found && !outcome.violations.is_empty()) {
                stop_after.fetch_min(seed, Ordering::SeqCst);
            }
            violated.fetch_add(u64::from(!outcome.violations.is_empty()), Ordering::SeqCst);
            weak.fetch_add(u64::from(outcome.weak.is_some()), Ordering::SeqCst);
            let so_far = done.fetch_add(1, Ordering::SeqCst) + 1;
            results.lock().expect("no thread panics").push(SeedResult { seed, outcome, cpu });
            if let Some(progress) = &options.progress {
                let (violated, weak) =
                    (violated.load(Ordering::SeqCst), weak.load(Ordering::SeqCst));
                progress(so_far, violated, weak);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..options.jobs {
            scope.spawn(work);
        }
        work();
    });
    let mut results = results.into_inner().expect("no thread panics");
    results.sort_unstable_by_key(|result: &SeedResult| result.seed);
    let last = stop_after.into_inner();
    results.retain(|result| result.seed <= last);
    results
}

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs a plan. A panic in it becomes the violation "assertion".
pub fn run_caught(plan: &Plan, options: Options) -> Outcome {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if CATCHING.get() {
                MESSAGE.set(info.to_string().replace('\n', " "));
            } else {
                before(info);
            }
        }));
    });
    CATCHING.set(true);
    let result = catch_unwind(AssertUnwindSafe(|| run_with(plan, options)));
    CATCHING.set(false);
    result.unwrap_or_else(|_| {
        let violation = Violation {
            invariant: "assertion".into(),
            kind: Kind::WhiteBox,
            message: MESSAGE.take(),
            at_us: 0,
        };
        Outcome { violations: vec![violation], ..Outcome::default() }
    })
}

/// CPU time of this thread, or wall time if the system does not report CPU time.
fn thread_cpu() -> Duration {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = spent.and_then(|text| text.split_whitespace().next()?.parse().ok());
    match nanos {
        Some(nanos) => Duration::from_nanos(nanos),
        None => {
            static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
            START.get_or_init(Instant::now).elapsed()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::{Invariant, Seen, View};

    #[derive(Clone, Debug)]
    struct Never(u64);

    impl Invariant for Never {
        fn name(&self) -> &'static str {
            "never"
        }
        fn kind(&self) -> Kind {
            Kind::Client
        }
        fn see(&mut self, seen: Seen<'_>, _view: &View<'_>) -> Result<(), String> {
            match seen {
                Seen::Started(_) if self.0.is_multiple_of(3) => panic!("a bug of ours"),
                Seen::Started(_) if self.0 % 3 == 1 => Err(format!("seed {}", self.0)),
                Seen::Started(_)
                | Seen::Note(..)
                | Seen::Finding(_)
                | Seen::Client(_)
                | Seen::Fault(..)
                | Seen::OddAnswer(..) => Ok(()),
            }
        }
    }

    fn options() -> HuntOptions {
        HuntOptions {
            seeds: 0..9,
            additions: Some(Arc::new(|plan| Options {
                invariants: vec![Box::new(Never(plan.seed))],
                until: Some(1_000_000),
                ..Options::default()
            })),
            ..HuntOptions::default()
        }
    }

    #[test]
    fn a_panic_is_a_violation_of_its_seed_and_the_hunt_goes_on() {
        let report = hunt(&options());
        assert_eq!(report.seeds, 9);
        let of = |name: &str| {
            let of = report.violations.iter().filter(|found| found.invariant == name);
            of.map(|found| found.seed).collect::<Vec<_>>()
        };
        assert_eq!(of("assertion"), [0, 3, 6]);
        assert_eq!(of("never"), [1, 4, 7]);
        let message = &report.violations[0].message;
        assert!(message.contains("a bug of ours"), "{message}");
    }

    #[test]
    fn one_job_and_four_report_the_same() {
        let (one, four) = (
            hunt(&HuntOptions { jobs: 1, ..options() }),
            hunt(&HuntOptions { jobs: 4, ..options() }),
        );
        assert_eq!(one.violations, four.violations);
        assert_eq!((one.fingerprint, one.events), (four.fingerprint, four.events));
    }

    #[test]
    fn shards_split_the_seeds_and_early_ends_are_in_order() {
        let shards: Vec<u64> = (0..2)
            .map(|index| hunt(&HuntOptions { shard: Some((index, 2)), ..options() }).seeds)
            .collect();
        assert_eq!(shards, [5, 4]);
        let first = hunt(&HuntOptions { until_found: true, ..options() });
        assert_eq!(first.seeds, 1);
    }

    #[test]
    fn what_own_additions_find_is_told_as_the_test_and_the_seed() {
        let report = hunt(&options());
        let test = "hunt::tests::what_own_additions_find_is_told_as_the_test_and_the_seed";
        let again = format!("WAVETANK_SEED=1 cargo test {test}");
        let found = report.violations.iter().find(|found| found.seed == 1).unwrap();
        assert_eq!(found.replay, again);
        assert!(report.complaints().iter().any(|why| why.contains(&again)), "{report:#?}");
        let said: Replay = Arc::new(|seed| format!("just test {seed}"));
        let options = HuntOptions { replay: Some(said), ..options() };
        assert_eq!(options.replay_command(3), "just test 3");
    }

    #[test]
    fn a_hunt_that_compared_nothing_is_not_green() {
        // It ends after a millisecond: seed 2 has no violation, and no answer either.
        let report = hunt(&HuntOptions { seeds: 2..3, ..options() });
        assert!(report.violations.is_empty() && !report.is_green());
        assert!(report.complaints()[0].contains("nothing was compared"), "{report:#?}");
        assert!(std::panic::catch_unwind(|| report.assert_green()).is_err());
        let none = hunt(&HuntOptions { seeds: 3..3, ..options() });
        assert_eq!(none.complaints(), ["no seed was run"]);
    }

    #[test]
    fn a_hunt_that_is_stopped_reports_what_it_has() {
        let stop = Arc::new(AtomicBool::new(false));
        let after = stop.clone();
        let report = hunt(&HuntOptions {
            jobs: 1,
            stop: Some(stop),
            progress: Some(Arc::new(move |done, _, _| after.store(done == 2, Ordering::SeqCst))),
            ..options()
        });
        assert_eq!((report.seeds, report.interrupted), (2, true));
    }

    #[test]
    fn reasons_that_differ_in_numbers_are_one() {
        let reason = |seed, text: &str| (seed, text.to_owned());
        let report = HuntReport {
            weak_reasons: vec![
                reason(3, "no fault fired"),
                reason(5, "only 4 of 9 acknowledged"),
                reason(8, "only 11 of 20 acknowledged"),
            ],
            ..HuntReport::default()
        };
        let found = report.most_frequent_weakness();
        assert_eq!(found, Some((5, 2, "only 4 of 9 acknowledged")));
        assert_eq!(HuntReport::default().most_frequent_weakness(), None);
    }

    #[test]
    fn filters_are_part_of_the_replay_command() {
        let options = HuntOptions {
            faults: Some(vec!["crash".into()]),
            workload: Some(vec!["acks=all".into()]),
            flaws: vec!["ack-at-leader-append".into()],
            profile: Profile::First,
            ..HuntOptions::default()
        };
        assert_eq!(
            options.replay_command(7),
            "wavetank replay 7 --profile first --faults crash --workload acks=all \
             --flaw ack-at-leader-append"
        );
        let plan = options.plan(7);
        assert!(plan.faults.iter().all(|fault| fault.what.name() == "crash"));
        assert!(plan.workload.producers.iter().all(|producer| producer.acks == -1));
    }
}
