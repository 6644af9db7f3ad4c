//! A run in progress: the tank with its world, and everything that watches it.
//!
//! It builds the world that a plan describes and drives it. What happens is reported to the marks,
//! the ledger, the invariants and the nemesis, in that order (`watch`). The phases of a run are in
//! `phases`, the client hosts in `clients`. A run is a value: all of it is in the [`Tank`], whose
//! copies share what they have in common. Nothing here draws or decides. Which fault strikes when
//! is in `crate::faults`.

mod clients;
mod phases;
mod watch;

use crate::faults::Nemesis;
use crate::invariants::{self, Invariant, Kind, View, Violation};
use crate::ledger::{Finding, Ledger};
use crate::marks::{Mark, Marks};
use crate::node::{Node, host_config, node_config};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::run::Options;
use crate::shared::Chunks;
use crate::workload::Record;
use crate::world::{LinkConfig, World, WorldConfig};
use phases::Phase;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use wavetank_core::config::NodeConfig;
use wavetank_core::types::NodeId;

/// A run in progress: a value. A clone is a snapshot that can be continued independently, with the
/// same outcome, or with other dice from there on ([`Tank::branch`]).
///
/// ```
/// use wavetank_sim::{profile::Profile, run::Options, tank::Tank};
///
/// let mut tank = Tank::new(&Profile::First.draw(40), Options::default());
/// tank.run_to(9_000_000_000);
/// let mut branch = tank.clone();
/// let outcome = tank.finish();
/// branch.branch(1);
/// assert_ne!(branch.finish().fingerprint, outcome.fingerprint);
/// ```
#[derive(Clone, Debug)]
pub struct Tank {
    plan: Arc<Plan>,
    options: Arc<Options>,
    world: World<Node>,
    ledger: Ledger,
    nemesis: Nemesis,
    marks: Marks,
    /// In the order in which they joined.
    clients: Vec<NodeId>,
    invariants: Vec<Box<dyn Invariant>>,
    phase: Phase,
    /// When the phase's time is up, ns.
    deadline: u64,
    /// The last step may have brought what the phase waits for.
    look: bool,
    storm: bool,
    /// A broker was fenced in the last step, and the plan wants workloads to react.
    fenced: bool,
    /// A violation was found, or the time is up.
    ended: bool,
    findings: Vec<Finding>,
    /// What has been counted so far. The lists below are added at the end.
    outcome: Outcome,
    history: Chunks<Record>,
    trace: Chunks<String>,
    trace_ends: Chunks<usize>,
    fingerprints: Chunks<u64>,
}

impl Tank {
    /// A run of this plan at its start.
    pub fn new(plan: &Plan, options: Options) -> Tank {
        let mut world = World::new(plan.seed, world_config(plan));
        let configs: BTreeMap<NodeId, NodeConfig> = plan
            .cluster
            .nodes()
            .into_iter()
            .map(|id| (NodeId(id), node_config(plan, id)))
            .collect();
        for &node in configs.keys() {
            world.add_host(node, host_config(plan, node, &world));
            world.observe_disk(node, true);
        }
        crate::encoded::install(&mut world, plan.network.encoded);
        world.inspect_answers(invariants::check_answer);
        world.trace(options.trace);
        let flushing: BTreeSet<String> = plan
            .topics
            .iter()
            .filter(|topic| topic.flush_each_batch)
            .map(|topic| topic.name.clone())
            .collect();
        let voters = plan.cluster.controllers.iter().copied().map(NodeId).collect();
        let mut invariants = invariants::all();
        invariants.extend(options.invariants.iter().cloned());
        let mut tank = Tank {
            ledger: Ledger::new(voters, flushing),
            nemesis: Nemesis::new(plan, configs),
            marks: Marks::default(),
            clients: Vec::new(),
            invariants,
            options: Arc::new(options),
            phase: Phase::Over,
            deadline: 0,
            look: false,
            storm: false,
            fenced: false,
            ended: false,
            findings: Vec::new(),
            outcome: Outcome::default(),
            history: Chunks::default(),
            trace: Chunks::default(),
            trace_ends: Chunks::default(),
            fingerprints: Chunks::default(),
            world,
            plan: Arc::new(plan.clone()),
        };
        tank.warm_up();
        tank
    }

    /// Makes one step of the run: of a machine, or of the faults. False if the run is over.
    pub fn step(&mut self) -> bool {
        while !self.is_over() {
            if std::mem::take(&mut self.look) && self.is_reached() {
                self.next_phase(true);
            } else if self.ended {
                self.next_phase(false);
            } else {
                let until = self.options.until;
                let deadline = until.map_or(self.deadline, |until| until.min(self.deadline));
                if let Some(step) = self.world.next_before(deadline) {
                    self.look = self.after(&step);
                    return true;
                }
                if until.is_some_and(|until| self.world.now() >= until) {
                    self.ended = true;
                    self.outcome.cut_short = true;
                }
                self.next_phase(false);
            }
        }
        false
    }

    /// Makes steps until the virtual time is `at` ns or more. False if the run is over.
    pub fn run_to(&mut self, at: u64) -> bool {
        while self.world.now() < at {
            if !self.step() {
                return false;
            }
        }
        true
    }

    /// Is the run over?
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    /// The name of the phase that the run is in.
    pub fn phase(&self) -> &'static str {
        self.phase.name()
    }

    /// Uses other dice from here on. 0 stands for the dice of the plan's seed.
    pub fn branch(&mut self, salt: u64) {
        self.world.branch(salt);
    }

    /// The run's plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The world, with the machines in it.
    pub fn world(&self) -> &World<Node> {
        &self.world
    }

    /// What the tank knows of the disks, and what was promised.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The promises broken so far, the first of each invariant.
    pub fn violations(&self) -> &[Violation] {
        &self.outcome.violations
    }

    /// What clients have done and learned so far.
    pub fn history(&self) -> &Chunks<Record> {
        &self.history
    }

    /// Sets whether the storm is on.
    fn set_storm(&mut self, storm: bool) {
        self.storm = storm;
        self.marks.set_storm(storm);
    }

    /// Records a broken promise. Only the first of each invariant counts.
    fn violation(&mut self, name: &str, kind: Kind, message: String) {
        if !self.outcome.violations.iter().any(|violation| violation.invariant == name) {
            let at_us = self.world.now() / 1_000;
            let invariant = name.to_owned();
            self.outcome.violations.push(Violation { invariant, kind, message, at_us });
        }
        // After a white-box violation the run continues, until the fault becomes observable from
        // outside.
        if kind != Kind::WhiteBox && !self.options.keep_going {
            self.ended = true;
        }
    }

    /// Judges the whole history. `complete`: everything has been read.
    fn judge_history(&mut self, complete: bool) {
        self.outcome.history = std::mem::take(&mut self.history).into_vec();
        let view = View {
            plan: &self.plan,
            ledger: &self.ledger,
            world: &self.world,
            calm_since: self.nemesis.calm_since(),
        };
        let mut wrong = Vec::new();
        for invariant in &mut self.invariants {
            if let Err(message) = invariant.at_end(&self.outcome.history, &view) {
                wrong.push((invariant.name().to_owned(), invariant.kind(), message));
            }
        }
        let verdict =
            crate::history::judge(&self.outcome.history, &self.plan, &self.ledger, complete);
        self.outcome.duplicates = verdict.duplicates;
        self.outcome.weakly_acked_lost = verdict.weakly_acked_lost;
        for (name, message) in verdict.violations {
            wrong.push((name, Kind::Client, message));
        }
        for (name, kind, message) in wrong {
            self.violation(&name, kind, message);
        }
    }

    /// Runs to the end, and sums up.
    pub fn finish(mut self) -> Outcome {
        while self.step() {}
        self.outcome.history.extend(self.history.into_vec());
        self.outcome.trace = self.trace.into_vec();
        self.outcome.trace_ends = self.trace_ends.into_vec();
        self.outcome.fingerprints = self.fingerprints.into_vec();
        self.outcome.fingerprint = self.world.fingerprint();
        self.outcome.virtual_ns = self.world.now();
        if self.options.keep_history {
            let records = &self.outcome.history;
            let judged = crate::history::history(records, &self.plan, &self.ledger, true);
            self.outcome.judged = Some(judged);
        }
        self.outcome.events = self.world.steps();
        if self.world.pushed_back() > 0 {
            self.marks.hit(Mark::SocketFull);
        }
        if self.nemesis.aimed() > 0 {
            self.marks.hit(Mark::DiskOpStruck);
        }
        let counts = self.nemesis.counts(&self.world);
        self.outcome.faults = counts.iter().map(|(kind, n)| ((*kind).to_owned(), *n)).collect();
        let marks = self.marks.counts();
        self.outcome.marks = marks.iter().map(|(mark, n)| (mark.name().to_owned(), *n)).collect();
        self.outcome.admitted_losses =
            self.ledger.partitions().map(|(_, promises)| promises.admitted_records()).sum();
        let topics = self.ledger.image().topics.iter();
        self.outcome.topics = topics.map(|(id, topic)| (*id, topic.name.clone())).collect();
        self.outcome.admitted_alone =
            self.ledger.partitions().map(|(_, promises)| promises.admitted_alone()).sum();
        self.outcome.weigh(&self.plan, self.options.only_own_workloads);
        self.outcome
    }
}

const MS: u64 = 1_000_000;
const US: u64 = 1_000;

fn world_config(plan: &Plan) -> WorldConfig {
    let network = &plan.network;
    WorldConfig {
        link: LinkConfig {
            min: network.latency_min_us * US,
            mean: network.latency_mean_us * US,
            tail_per_million: network.tail_per_million,
            tail_mean: network.tail_mean_us * US,
            loss_per_million: network.loss_per_million,
        },
        connect_timeout: 2_000 * MS,
        keepalive: 10_000 * MS,
        ..WorldConfig::default()
    }
}
