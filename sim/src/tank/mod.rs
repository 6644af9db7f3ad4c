//! A run in progress: the tank with its world, and everything that watches it.
//!
//! It builds the world that a plan describes and drives it. What happens is reported to the marks,
//! the ledger, the invariants and the nemesis, in that order (`watch`). The phases of a run are in
//! `phases`, the client hosts in `clients`. Nothing here draws or decides. Which fault strikes when
//! is in [`crate::faults`].

mod clients;
pub(crate) mod phases;
mod watch;

use crate::faults::Nemesis;
use crate::invariants::{self, Invariant, Kind, View, Violation};
use crate::ledger::{Finding, Ledger};
use crate::marks::{Mark, Marks};
use crate::node::{Node, host_config, node_config};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::run::Options;
use crate::workload::Workload;
use crate::world::{LinkConfig, World, WorldConfig};
use std::collections::{BTreeMap, BTreeSet};
use wavetank_core::config::NodeConfig;
use wavetank_core::types::NodeId;

/// A run in progress.
#[derive(Debug)]
pub(crate) struct Tank {
    pub(crate) plan: Plan,
    pub(crate) world: World<Node>,
    pub(crate) ledger: Ledger,
    pub(crate) nemesis: Nemesis,
    pub(crate) marks: Marks,
    pub(crate) outcome: Outcome,
    pub(crate) clients: Vec<NodeId>,
    invariants: Vec<Box<dyn Invariant>>,
    own_workloads: Vec<Box<dyn Workload>>,
    options: Options,
    storm: bool,
    /// A broker was fenced in the last step, and the plan wants workloads to react.
    fenced: bool,
    ended: bool,
    findings: Vec<Finding>,
}

impl Tank {
    pub(crate) fn new(plan: Plan, mut options: Options) -> Tank {
        let mut world = World::new(plan.seed, world_config(&plan));
        let configs: BTreeMap<NodeId, NodeConfig> = plan
            .cluster
            .nodes()
            .into_iter()
            .map(|id| (NodeId(id), node_config(&plan, id)))
            .collect();
        for &node in configs.keys() {
            world.add_host(node, host_config(&plan, node, &world));
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
        invariants.append(&mut options.invariants);
        let own_workloads = std::mem::take(&mut options.workloads);
        Tank {
            ledger: Ledger::new(voters, flushing),
            nemesis: Nemesis::new(&plan, configs),
            marks: Marks::default(),
            outcome: Outcome::default(),
            clients: Vec::new(),
            invariants,
            own_workloads,
            options,
            storm: false,
            fenced: false,
            ended: false,
            findings: Vec::new(),
            world,
            plan,
        }
    }

    /// Sets whether the storm is on.
    pub(crate) fn set_storm(&mut self, storm: bool) {
        self.storm = storm;
        self.marks.set_storm(storm);
    }

    /// Is the run over, because a violation was found or the time is up?
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// Runs until `deadline` (ns), or until `stop` returns true. It is called after steps that
    /// noted something or concern a client. True if `stop` returned true.
    pub(crate) fn run_until(
        &mut self,
        deadline: u64,
        mut stop: impl FnMut(&mut Tank) -> bool,
    ) -> bool {
        let deadline = self.options.until.map_or(deadline, |until| until.min(deadline));
        if stop(self) {
            return true;
        }
        while !self.ended {
            let Some(step) = self.world.next_before(deadline) else {
                if self.options.until.is_some_and(|until| self.world.now() >= until) {
                    self.ended = true;
                    self.outcome.cut_short = true;
                }
                return false;
            };
            if self.after(&step) && stop(self) {
                return true;
            }
        }
        false
    }

    /// Records a broken promise. Only the first of each invariant counts.
    pub(crate) fn violation(&mut self, name: &str, kind: Kind, message: String) {
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
    pub(crate) fn judge_history(&mut self, complete: bool) {
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

    /// Ends the run and sums it up.
    pub(crate) fn finish(mut self) -> Outcome {
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
