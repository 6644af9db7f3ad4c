//! One run: `Plan -> Outcome`, a pure function.
//!
//! It builds the world that a plan describes, drives it through its phases (`crate::phases`), and
//! reports everything that happens to the marks, the ledger, the invariants and the nemesis, in
//! that order. Nothing here draws or decides. Which fault strikes when is in `crate::faults`.

use crate::disk::{DiskConfig, DiskLatency};
use crate::faults::Nemesis;
use crate::invariants::{self, Invariant, Kind, Seen, View, Violation};
use crate::ledger::{Finding, Ledger};
use crate::marks::{Mark, Marks};
use crate::plan::{FaultCounts, Plan, TopicPlan};
use crate::workload::{
    App, Churn, Consume, CreateTopics, Produce, Query, Record, Recorded, Stage, Workload,
};
use crate::world::{Exit, HostConfig, LinkConfig, Machine, Step, StepKind, World, WorldConfig};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use wavetank_core::broker::Broker;
use wavetank_core::client::ClientFact;
use wavetank_core::config::{NodeConfig, QuorumConfig};
use wavetank_core::env::Env;
use wavetank_core::event::Event;
use wavetank_core::note::Note;
use wavetank_core::types::{Endpoint, Monotonic, NodeId, Uuid};

/// What runs on a host.
#[derive(Clone, Debug)]
pub enum Node {
    /// A broker, controller or both.
    Broker(Box<Broker>),
    /// A client.
    App(Box<App>),
}

impl Machine for Node {
    fn step(&mut self, event: Event, env: &mut dyn Env) {
        match self {
            Node::Broker(broker) => broker.step(event, env),
            Node::App(app) => app.step(event, env),
        }
    }

    fn exit(&self) -> Option<Exit> {
        match self {
            Node::Broker(broker) => Machine::exit(broker.as_ref()),
            Node::App(_) => None,
        }
    }
}

/// A run that acknowledges fewer records in its storm tests too little.
const FEWEST_ACKED: u64 = 25;

/// The first client host's id. Brokers and controllers have smaller ids.
pub const FIRST_CLIENT: i32 = 101;

/// What a user may add to a run or change about it.
#[derive(Debug, Default)]
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
    /// The run was cut short by [`Options::until`].
    pub cut_short: bool,
}

/// Runs a plan.
pub fn run(plan: &Plan) -> Outcome {
    run_with(plan, Options::default())
}

/// Runs a plan with additions.
pub fn run_with(plan: &Plan, options: Options) -> Outcome {
    let mut tank = Tank::new(plan.clone(), options);
    crate::phases::drive(&mut tank);
    tank.finish()
}

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
    starts: BTreeMap<NodeId, u32>,
    findings: Vec<Finding>,
}

impl Tank {
    fn new(plan: Plan, mut options: Options) -> Tank {
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
            starts: BTreeMap::new(),
            findings: Vec::new(),
            world,
            plan,
        }
    }

    /// Adds a client host and starts it.
    pub(crate) fn add_client(&mut self, workload: Box<dyn Workload>) -> NodeId {
        let node = NodeId(FIRST_CLIENT + self.clients.len() as i32);
        self.world.add_host(node, HostConfig { wall_offset_ms: 0, ..HostConfig::default() });
        self.clients.push(node);
        let app = App::new(node, &self.plan, workload);
        self.world.start(node, Node::App(Box::new(app)));
        node
    }

    /// Adds the admin client that creates the topics.
    pub(crate) fn add_admin(&mut self) -> NodeId {
        self.add_client(Box::new(CreateTopics::new(&self.plan)))
    }

    /// Adds the plan's clients and the user's.
    pub(crate) fn add_workloads(&mut self) {
        if !self.options.only_own_workloads {
            for index in 0..self.plan.workload.producers.len() {
                self.add_client(Box::new(Produce::new(&self.plan, index)));
            }
            for index in 0..self.plan.workload.consumers.len() {
                self.add_client(Box::new(Consume::new(&self.plan, index)));
            }
            for index in 0..self.plan.workload.queries.len() {
                self.add_client(Box::new(Query::new(&self.plan, index)));
            }
            if let Some(churn) = self.plan.workload.churn.clone() {
                self.add_client(Box::new(Churn::new(&self.plan, false)));
                if churn.auto_create {
                    self.add_client(Box::new(Churn::new(&self.plan, true)));
                }
            }
        }
        for workload in std::mem::take(&mut self.own_workloads) {
            self.add_client(workload);
        }
        self.nemesis.set_clients(self.clients.clone());
    }

    /// Adds the consumer that reads everything at the end.
    pub(crate) fn add_last_reader(&mut self) -> NodeId {
        self.add_client(Box::new(Consume::last_reader(&self.plan)))
    }

    pub(crate) fn app(&self, node: NodeId) -> Option<&App> {
        match self.world.machine(node)? {
            Node::App(app) => Some(app),
            Node::Broker(_) => None,
        }
    }

    /// Announces a new stage to all workloads.
    pub(crate) fn set_stage(&mut self, stage: Stage) {
        for node in self.clients.clone() {
            self.world.act(node, |machine, env| {
                if let Node::App(app) = machine {
                    app.stage(stage, env);
                }
            });
            self.observe(node);
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

    /// Handles everything that follows from one step. True if `stop` should be checked.
    fn after(&mut self, step: &Step) -> bool {
        if self.options.keep_fingerprints {
            self.outcome.fingerprints.push(self.world.fingerprint());
        }
        if self.options.trace {
            let mut lines = self.world.drain_trace();
            self.outcome.trace.append(&mut lines);
            self.outcome.trace_ends.push(self.outcome.trace.len());
        }
        if let StepKind::Control(token) = step.kind {
            self.nemesis.due(token, &mut self.world, &self.ledger);
            self.tell_struck();
            self.observe(NodeId::NONE);
            return true;
        }
        if step.kind == StepKind::Start {
            *self.starts.entry(step.node).or_default() += 1;
            self.tell(Seen::Started(step.node));
        }
        let mut noted = self.observe(step.node);
        if self.world.conclude() {
            noted |= self.observe(NodeId::NONE);
        }
        if std::mem::take(&mut self.fenced) {
            self.tell_fenced();
        }
        if let Some(exit) = &step.exit
            && !self.nemesis.exited(step.node, exit, &mut self.world)
        {
            let message = match exit {
                Exit::Stopped => format!("node {} stopped without being asked to", step.node),
                Exit::Failed(why) => {
                    format!("node {} failed although no fault caused it: {why}", step.node)
                }
            };
            self.violation("process-exit", Kind::WhiteBox, message);
            self.ended = true;
        }
        noted || step.exit.is_some()
    }

    /// Reports what the last step did. True if there was anything.
    fn observe(&mut self, node: NodeId) -> bool {
        let mut something = false;
        let changes: Vec<_> = self.world.drain_disk_changes().collect();
        let mut from = 0;
        while from < changes.len() {
            let owner = changes[from].node;
            let count = changes[from..].iter().take_while(|change| change.node == owner).count();
            let disk = self.world.disk(owner);
            let taken = self.ledger.disk(&changes[from..from + count], disk, &mut self.findings);
            if taken > 0 {
                self.marks.hit(Mark::UnsyncedLost);
            }
            from += count;
        }
        self.judge_findings();
        let notes: Vec<_> = self.world.drain_notes().collect();
        for (_, node, note) in &notes {
            // Steps with only these notes never triggered a `stop` check, and must not start to:
            // the end of a phase is part of what a seed means.
            something |= !matches!(
                note,
                Note::QuorumRestored { .. }
                    | Note::QuorumPreVoted { .. }
                    | Note::QuorumStored { .. }
                    | Note::QuorumLogSynced { .. }
                    | Note::LogRefused { .. }
                    | Note::ReadRefused { .. }
                    | Note::AnswerRefused { .. }
                    | Note::LogSynced { .. }
                    | Note::RecoveryPoint { .. }
            );
            self.marks.note(*node, note);
            self.fenced |= matches!(note, Note::BrokerFenced { .. }) && self.creates_at_fencing();
            let disk = self.world.disk(*node);
            self.ledger.note(*node, note, disk, &mut self.findings);
            self.judge_findings();
            self.tell(Seen::Note(*node, note));
        }
        let odd: Vec<_> = self.world.drain_odd_answers().collect();
        for (node, why) in &odd {
            self.tell(Seen::OddAnswer(*node, why));
        }
        if node.0 >= FIRST_CLIENT {
            something |= self.observe_client(node);
        }
        // Last, because a fault may strike at once.
        for (_, node, note) in &notes {
            self.nemesis.note(*node, note, &mut self.world, &self.ledger);
        }
        if self.world.watches_disks() {
            self.nemesis.submitted(&mut self.world, &self.ledger);
        }
        self.tell_struck();
        something
    }

    fn creates_at_fencing(&self) -> bool {
        self.storm && self.plan.workload.churn.as_ref().is_some_and(|churn| churn.at_fencing)
    }

    /// Tells the workloads that a broker was fenced, in a separate step.
    fn tell_fenced(&mut self) {
        for node in self.clients.clone() {
            self.world.act(node, |machine, env| {
                if let Node::App(app) = machine {
                    app.fenced(env);
                }
            });
            self.observe(node);
        }
    }

    fn observe_client(&mut self, node: NodeId) -> bool {
        let Some(Node::App(app)) = self.world.machine_mut(node) else { return false };
        let records: Vec<Record> = app.drain().collect();
        for record in &records {
            self.outcome.operations += u64::from(record.what.is_operation());
            self.outcome.compared += u64::from(record.what.is_compared());
            let storm = u64::from(self.storm);
            match &record.what {
                Recorded::Send { .. } => self.outcome.sent_in_storm += storm,
                Recorded::Fact(ClientFact::Acked { .. }) => self.outcome.acked_in_storm += storm,
                Recorded::Fact(ClientFact::Failed { .. }) => self.outcome.failed_in_storm += storm,
                Recorded::Fact(_) | Recorded::Asked { .. } | Recorded::Seek { .. } => {}
            }
            self.tell(Seen::Client(record));
        }
        let any = !records.is_empty();
        self.outcome.history.extend(records);
        any
    }

    fn judge_findings(&mut self) {
        if self.findings.is_empty() {
            return;
        }
        for finding in std::mem::take(&mut self.findings) {
            if let Finding::Admitted { .. } = finding {
                self.marks.hit(Mark::LossAdmitted);
            }
            self.tell(Seen::Finding(&finding));
        }
    }

    fn tell_struck(&mut self) {
        for (kind, nodes) in self.nemesis.drain_struck() {
            if self.options.trace {
                let now = Monotonic(self.world.now());
                self.outcome.trace.push(format!("{now} 0 * fault {kind} {nodes:?}"));
            }
            self.tell(Seen::Fault(kind, &nodes));
        }
    }

    fn tell(&mut self, seen: Seen<'_>) {
        let view = View {
            plan: &self.plan,
            ledger: &self.ledger,
            world: &self.world,
            calm_since: self.nemesis.calm_since(),
        };
        let mut wrong = Vec::new();
        for invariant in &mut self.invariants {
            if let Err(message) = invariant.see(seen, &view) {
                wrong.push((invariant.name(), invariant.kind(), message));
            }
        }
        for (name, kind, message) in wrong {
            self.violation(name, kind, message);
        }
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

    fn finish(mut self) -> Outcome {
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
        if self.outcome.violations.is_empty() && !self.outcome.cut_short {
            self.outcome.empty = self.emptiness();
            self.outcome.weak = self.outcome.empty.clone().or_else(|| self.weakness());
        }
        self.outcome
    }

    /// Why this run tested nothing, if that is the case.
    fn emptiness(&self) -> Option<String> {
        if self.outcome.compared == 0 {
            return Some(
                "nothing was compared: no client got an acknowledgement, read a record or had a \
                 query answered"
                    .into(),
            );
        }
        let faults = self.outcome.faults.values();
        let (planned, fired) = faults.fold((0, 0), |(planned, fired), counts| {
            (planned + counts.planned, fired + counts.fired)
        });
        (planned > 0 && fired == 0).then(|| format!("none of the {planned} planned faults struck"))
    }

    /// Why this run tested too little, if it did.
    fn weakness(&self) -> Option<String> {
        for name in &self.plan.marks {
            if !self.outcome.marks.contains_key(name) {
                return Some(format!("the declared mark {name} was not reached"));
            }
        }
        if self.options.only_own_workloads || self.plan.workload.producers.is_empty() {
            return None;
        }
        let (acked, failed) = (self.outcome.acked_in_storm, self.outcome.failed_in_storm);
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

fn host_config(plan: &Plan, node: NodeId, world: &World<Node>) -> HostConfig {
    let (disk, process) = (&plan.disk, &plan.process);
    let place = world.dice().place(crate::decide::Purpose::Driver);
    let place = place.with(0xc10c).with(node.0 as u64);
    let skew = world.dice().range(place, 0, 2 * process.wall_skew_ms) as i64;
    let drift = world.dice().range(place.with(1), 0, 2 * process.clock_drift_ppm) as i64;
    let latency = |min: u64, mean: u64| DiskLatency { min: min * US, mean: mean * US };
    HostConfig {
        cost_min: process.step_min_us * US,
        cost_max: process.step_max_us * US,
        wall_offset_ms: skew - process.wall_skew_ms as i64,
        clock_ppm: drift - process.clock_drift_ppm as i64,
        disk: DiskConfig {
            write: latency(1, disk.write_mean_us),
            sync: latency(disk.sync_min_us, disk.sync_mean_us),
            read: latency(1, disk.read_mean_us),
            namespace: latency(1, disk.namespace_mean_us),
            torn: disk.torn,
        },
    }
}

/// The configuration of a node in this plan.
pub fn node_config(plan: &Plan, id: i32) -> NodeConfig {
    let voters = plan.cluster.controllers.iter().copied().map(NodeId).collect();
    let node = &plan.node;
    let ms = Duration::from_millis;
    let mut config = NodeConfig::new(NodeId(id), voters);
    config.is_broker = plan.cluster.brokers.contains(&id);
    config.listeners[0].1 = Endpoint { host: format!("node{id}"), port: 9092 };
    config.quorum = QuorumConfig {
        election_timeout: ms(node.election_timeout_ms),
        fetch_timeout: ms(node.quorum_fetch_timeout_ms),
        election_backoff_max: ms(node.election_backoff_max_ms),
        request_timeout: ms(node.quorum_request_timeout_ms),
        fetch_wait_max: ms(node.quorum_fetch_wait_ms),
        ..QuorumConfig::default()
    };
    config.heartbeat_interval = ms(node.heartbeat_interval_ms);
    config.session_timeout = ms(node.session_timeout_ms);
    config.replica_lag_time_max = ms(node.replica_lag_time_max_ms);
    config.replica_fetch_wait_max = ms(node.replica_fetch_wait_ms);
    config.replica_fetch_max_bytes = node.replica_fetch_max_bytes;
    config.replica_fetch_backoff = ms(node.replica_fetch_backoff_ms);
    config.request_timeout = ms(node.request_timeout_ms);
    config.checkpoint_interval = ms(node.checkpoint_interval_ms);
    config.tail_cache_bytes = node.tail_cache_bytes;
    // With several partitions, the one written last evicts another's cache.
    config.tail_caches_bytes = 2 * u64::from(node.tail_cache_bytes);
    config.read_chunk_bytes = node.read_chunk_bytes;
    config.auto_create_topics = plan.workload.churn.as_ref().is_some_and(|c| c.auto_create);
    config.flaws = plan.flaw_set();
    config
}

/// All partitions of a plan, as (topic, index).
pub(crate) fn partitions(plan: &Plan) -> impl Iterator<Item = (&TopicPlan, i32)> {
    plan.topics.iter().flat_map(|topic| (0..topic.partitions).map(move |index| (topic, index)))
}
