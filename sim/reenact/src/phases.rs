//! Plays one plan on real processes, from the first start to the last read, with the tank's phases
//! and progress requirements, in real time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wavetank_core::client::{ClientFact, NamedPartition, RecordId};
use wavetank_core::types::NodeId;
use wavetank_sim::decide::{Dice, Purpose};
use wavetank_sim::invariants::{Kind, Violation};
use wavetank_sim::marks::Marks;
use wavetank_sim::node::FIRST_CLIENT;
use wavetank_sim::plan::{FaultCounts, Plan, TopicPlan};
use wavetank_sim::workload::{
    Churn, Consume, CreateTopics, Produce, Query, Record, Recorded, Stage, Workload,
};

use crate::clients::Clients;
use crate::cluster::Cluster;
use crate::nemesis::{Machine, Nemesis};
use crate::notes::{Notes, Roles};
use crate::observer::{Look, Observer};
use crate::proxy::{Effects, Proxy};
use crate::validation::{self, Validated};
use crate::{Failure, Options, config, judge};

/// The pause between two ticks.
const TICK: Duration = Duration::from_millis(2);

/// The result of playing a plan on the machine.
#[derive(Debug, Default)]
pub struct Played {
    /// Broken promises, the first of each invariant.
    pub violations: Vec<Violation>,
    /// The counts for each kind of fault.
    pub faults: BTreeMap<String, FaultCounts>,
    /// What the proxy did to the traffic.
    pub effects: Effects,
    /// Marks reached, by name.
    pub marks: BTreeMap<String, u64>,
    /// Client operations: records sent, batches read, queries answered.
    pub operations: u64,
    /// Outcomes that were checked against what was promised.
    pub compared: u64,
    /// Records acknowledged during the storm.
    pub acked_in_storm: u64,
    /// Records given up during the storm.
    pub failed_in_storm: u64,
    /// Time from the first start to the verdict.
    pub seconds: f64,
    /// Trace validation of the nodes' notes against the models.
    pub validated: Vec<Validated>,
    directory: Option<TempDir>,
    kept: Option<PathBuf>,
}

impl Played {
    /// Keeps the processes' files.
    pub fn keep(&mut self) {
        if let Some(directory) = self.directory.take() {
            self.kept = Some(directory.keep());
        }
    }

    /// Where the processes' files were kept, if they were.
    pub fn kept(&self) -> Option<&Path> {
        self.kept.as_deref()
    }
}

/// Plays a plan whose faults are all playable ([`crate::cast`]).
///
/// # Errors
/// If the machine provides no process, port, thread or directory, or the run was interrupted.
pub fn play(plan: &Plan, options: &Options) -> Result<Played, Failure> {
    // The proxy needs two descriptors per connection, and a listener per pair of hosts.
    wavetank_server::raise_file_descriptors()
        .map_err(Failure::to("raise the limit of open files"))?;
    let mut builder = tempfile::Builder::new();
    builder.prefix("wavetank-reenact-");
    let directory = match &options.workspace {
        Some(place) => builder.tempdir_in(place),
        None => builder.tempdir(),
    };
    let directory = directory.map_err(Failure::to("make a temporary directory"))?;
    let mut run = Run::new(plan, options, directory.path())?;
    let driven = run.drive();
    // Keep the processes' files on failure: they say more than the error does.
    let played = driven.and_then(|()| run.finish());
    match played {
        Ok(played) => Ok(Played { directory: Some(directory), ..played }),
        Err(Failure::Interrupted) => Err(Failure::Interrupted),
        Err(failure) => {
            let kept = directory.keep();
            let Failure::Environment { attempted, why } = failure else { return Err(failure) };
            let attempted = format!("{attempted} (see {})", kept.display());
            Err(Failure::Environment { attempted, why })
        }
    }
}

/// The workloads of the plan's clients, one host each, as in the tank and in the same order.
fn workloads(plan: &Plan) -> Vec<Box<dyn Workload>> {
    let wanted = &plan.workload;
    let mut all: Vec<Box<dyn Workload>> = Vec::new();
    for index in 0..wanted.producers.len() {
        all.push(Box::new(Produce::new(plan, index)));
    }
    for index in 0..wanted.consumers.len() {
        all.push(Box::new(Consume::new(plan, index)));
    }
    for index in 0..wanted.queries.len() {
        all.push(Box::new(Query::new(plan, index)));
    }
    if let Some(churn) = &wanted.churn {
        all.push(Box::new(Churn::new(plan, false)));
        if churn.auto_create {
            all.push(Box::new(Churn::new(plan, true)));
        }
    }
    all
}

/// A run in progress. Fields are dropped in this order: clients before nodes, nodes before the
/// proxy.
struct Run<'a> {
    plan: &'a Plan,
    options: &'a Options,
    observer: Observer,
    clients: Clients,
    cluster: Cluster,
    proxy: Proxy,
    nemesis: Nemesis,
    notes: Notes,
    roles: Roles,
    marks: Marks,
    records: Vec<Record>,
    played: Played,
    followed: usize,
    storm: bool,
    ended: bool,
}

impl<'a> Run<'a> {
    fn new(plan: &'a Plan, options: &'a Options, root: &Path) -> Result<Run<'a>, Failure> {
        let nodes: Vec<NodeId> = plan.cluster.nodes().into_iter().map(NodeId).collect();
        let mut program = options.program.clone();
        for flaw in &plan.flaws {
            program.extend([PathBuf::from("--flaw"), PathBuf::from(flaw)]);
        }
        let cluster = Cluster::new(&program, root, &nodes)?;
        // The admin, the plan's clients, and the last reader.
        let clients = 2 + workloads(plan).len();
        let hosts = (0..clients as i32).map(|index| NodeId(FIRST_CLIENT + index));
        let hosts: Vec<NodeId> = nodes.iter().copied().chain(hosts).collect();
        let proxy = Proxy::start(&hosts, &cluster.addresses(), plan.seed, &plan.network)?;
        for (node, listen) in cluster.addresses() {
            let text = config::text(plan, node, listen, &proxy.addresses_of(node));
            cluster.configure(node, &text)?;
        }
        Ok(Run {
            plan,
            options,
            observer: Observer::start(plan, cluster.addresses())?,
            clients: Clients::new(plan),
            cluster,
            proxy,
            nemesis: Nemesis::new(plan),
            notes: Notes::default(),
            roles: Roles::new(plan),
            marks: Marks::default(),
            records: Vec::new(),
            played: Played::default(),
            followed: 0,
            storm: false,
            ended: false,
        })
    }

    fn drive(&mut self) -> Result<(), Failure> {
        self.warm_up()?;
        if !self.ended {
            self.storm()?;
        }
        if !self.ended && self.plan.phases.heal_core_ms > 0 {
            self.heal_core()?;
        }
        if !self.ended {
            self.heal_all()?;
        }
        if !self.ended {
            self.read_everything()?;
        }
        Ok(())
    }

    fn add_client(&mut self, workload: Box<dyn Workload>) -> Result<NodeId, Failure> {
        let node = NodeId(FIRST_CLIENT + self.clients.nodes().count() as i32);
        self.clients.add(node, workload, &self.proxy.addresses_of(node))?;
        Ok(node)
    }

    fn warm_up(&mut self) -> Result<(), Failure> {
        for node in self.cluster.addresses().into_keys() {
            self.cluster.start(node)?;
        }
        let admin = self.add_client(Box::new(CreateTopics::new(self.plan)))?;
        let since = Instant::now();
        let up = self.run_until(self.plan.phases.warm_up_ms, |run| {
            run.clients.done(admin) && run.unhealthy(since).is_none()
        })?;
        if let Some(Look { healthy: Ok(partitions), .. }) = self.observer.newest(since) {
            for (named, partition) in &partitions {
                self.roles.learn(&named.topic, partition);
            }
        }
        if !up {
            let why = self.unhealthy(since);
            self.no_progress("warm-up", &why.unwrap_or("the topics were not created".into()));
        }
        Ok(())
    }

    fn storm(&mut self) -> Result<(), Failure> {
        for workload in workloads(self.plan) {
            self.add_client(workload)?;
        }
        self.nemesis.set_clients(self.clients.nodes().collect());
        self.run_until(self.plan.phases.calm_ms, |_| false)?;
        self.storm = true;
        self.marks.set_storm(true);
        self.nemesis.begin(&self.plan.faults, Instant::now());
        self.run_until(self.plan.phases.storm_ms, |_| false)?;
        self.nemesis.stop();
        self.storm = false;
        self.marks.set_storm(false);
        Ok(())
    }

    fn heal_core(&mut self) -> Result<(), Failure> {
        let core = self.core();
        self.heal(&core)?;
        // Records sent before the healing do not count, even those not drained yet.
        self.take_records();
        let start = self.records.len();
        let strong = self.plan.workload.producers.iter().any(|producer| producer.acks == -1);
        let stuck = |run: &Run<'_>| run.stuck_in_core(&core, strong.then_some(start));
        let done = self.run_until(self.plan.phases.heal_core_ms, |run| stuck(run).is_none())?;
        if !done {
            let why = stuck(self).unwrap_or_default();
            self.no_progress(&format!("healing the core {core:?}"), &why);
        }
        Ok(())
    }

    fn heal_all(&mut self) -> Result<(), Failure> {
        let all: Vec<NodeId> = self.cluster.addresses().into_keys().collect();
        self.heal(&all)?;
        self.clients.set_stage(Stage::WindingDown);
        let since = Instant::now();
        let open = |run: &Run<'_>| run.unhealthy(since).or_else(|| run.waiting(since));
        let done = self.run_until(self.plan.phases.heal_all_ms, |run| open(run).is_none())?;
        if !done {
            let why = open(self).unwrap_or_default();
            self.no_progress("healing all", &why);
        }
        Ok(())
    }

    fn read_everything(&mut self) -> Result<(), Failure> {
        let reader = self.add_client(Box::new(Consume::last_reader(self.plan)))?;
        let since = Instant::now();
        let within = self.plan.phases.heal_all_ms;
        let done = self.run_until(within, |run| run.behind(reader, since).is_none())?;
        if !done {
            let why = self.behind(reader, since).unwrap_or_default();
            self.no_progress("reading everything", &why);
        }
        // Unread records count as lost only now, and only if the reader reached the end.
        self.judge(done);
        Ok(())
    }

    /// Draws the same core as the tank.
    fn core(&self) -> Vec<NodeId> {
        let dice = Dice::new(self.plan.seed);
        let place = dice.place(Purpose::Driver).with(0xc0e);
        let controllers = &self.plan.cluster.controllers;
        let majority = controllers.len() / 2 + 1;
        let start = dice.decide(place, controllers.len() as u64) as usize;
        let chosen = (0..majority).map(|index| controllers[(start + index) % controllers.len()]);
        let mut core: Vec<NodeId> = chosen.map(NodeId).collect();
        for node in self.plan.cluster.nodes().into_iter().map(NodeId) {
            if !core.contains(&node) && dice.ratio(place.with(node.0 as u64), 1, 2) {
                core.push(node);
            }
        }
        core.sort_unstable();
        core
    }

    fn heal(&mut self, core: &[NodeId]) -> Result<(), Failure> {
        let (cluster, proxy, roles) = (&mut self.cluster, &self.proxy, &self.roles);
        self.nemesis.heal(core, &mut Machine { cluster, proxy, roles })
    }

    /// Runs for `within_ms`, or until `stop` returns true. True if it did. False also if a
    /// violation ended the run.
    fn run_until(
        &mut self,
        within_ms: u64,
        mut stop: impl FnMut(&mut Run<'a>) -> bool,
    ) -> Result<bool, Failure> {
        let deadline = Instant::now() + Duration::from_millis(within_ms);
        loop {
            self.tick()?;
            if self.ended {
                return Ok(false);
            }
            if stop(self) {
                return Ok(true);
            }
            if Instant::now() >= deadline {
                return Ok(false);
            }
            std::thread::sleep(TICK);
        }
    }

    /// Processes everything that has happened since the last tick.
    fn tick(&mut self) -> Result<(), Failure> {
        if self.options.interrupt.load(Ordering::Relaxed) {
            return Err(Failure::Interrupted);
        }
        self.clients.check();
        self.take_records();
        let new = self.read_notes()?;
        let now = Instant::now();
        let (cluster, proxy, roles) = (&mut self.cluster, &self.proxy, &self.roles);
        let mut machine = Machine { cluster, proxy, roles };
        for noted in &new {
            self.nemesis.note(noted, now, &mut machine);
        }
        self.nemesis.due(now, &mut machine)?;
        for ended in self.cluster.ended()? {
            if !self.nemesis.exited(ended.node, ended.well, now) {
                let message =
                    format!("node {} ended although no fault caused it: {}", ended.node, ended.how);
                self.violation("process-exit", Kind::WhiteBox, message);
                self.ended = true;
            }
        }
        Ok(())
    }

    fn take_records(&mut self) {
        let records = self.clients.drain();
        for record in &records {
            self.count(record);
        }
        self.records.extend(records);
    }

    fn read_notes(&mut self) -> Result<Vec<wavetank_server::NotedAt>, Failure> {
        for start in &self.cluster.starts()[self.followed..] {
            self.notes.follow(start.notes.clone());
        }
        self.followed = self.cluster.starts().len();
        let new = self.notes.read()?;
        for noted in &new {
            self.marks.note(noted.node, &noted.note);
            self.roles.note(noted.node, &noted.note);
        }
        Ok(new)
    }

    fn count(&mut self, record: &Record) {
        let storm = u64::from(self.storm);
        self.played.operations += u64::from(record.what.is_operation());
        self.played.compared += u64::from(record.what.is_compared());
        match &record.what {
            Recorded::Fact(ClientFact::Acked { .. }) => self.played.acked_in_storm += storm,
            Recorded::Fact(ClientFact::Failed { .. }) => self.played.failed_in_storm += storm,
            Recorded::Send { .. }
            | Recorded::Fact(_)
            | Recorded::Asked { .. }
            | Recorded::Seek { .. } => {}
        }
    }

    /// Records a broken promise. Only the first of each invariant counts.
    fn violation(&mut self, name: &str, kind: Kind, message: String) {
        if !self.played.violations.iter().any(|violation| violation.invariant == name) {
            let at_us = self.clients.origin().elapsed().as_micros() as u64;
            let invariant = name.to_owned();
            self.played.violations.push(Violation { invariant, kind, message, at_us });
        }
    }

    fn no_progress(&mut self, phase: &str, why: &str) {
        // If something else has ended the run, that explains the lack of progress.
        if !self.ended {
            let message = format!("no progress in {phase}: {why}");
            self.violation("progress", Kind::Client, message);
            self.ended = true;
        }
    }

    /// Judges the whole history, as the tank does.
    fn judge(&mut self, complete: bool) {
        // The records that brought the last reader to the end have not been drained yet.
        self.take_records();
        // Each host's records are in order. The shared clock orders them all.
        self.records.sort_by_key(|record| record.at);
        for (name, kind, message) in judge::history(&self.records, self.plan, complete) {
            self.violation(&name, kind, message);
        }
    }

    /// Ends the processes and checks their notes against the invariants and the models.
    fn finish(mut self) -> Result<Played, Failure> {
        let nodes: Vec<NodeId> = self.cluster.addresses().into_keys().collect();
        for &node in &nodes {
            self.cluster.kill(node);
        }
        self.read_notes()?;
        let starts = self.cluster.starts().to_vec();
        self.records.sort_by_key(|record| record.at);
        let wrong = judge::invariants(self.plan, &starts, self.notes.all(), &self.records);
        let living = judge::living_stay(self.plan, self.cluster.wakes(), self.notes.all());
        for (name, kind, message) in wrong.into_iter().chain(living) {
            self.violation(&name, kind, message);
        }
        let data = |node| self.cluster.data(node).to_path_buf();
        let validated = validation::validate(self.notes.all(), &starts, self.roles.voters(), data);
        for one in &validated {
            if let Some(divergence) = &one.divergence {
                let name = format!("trace-of-{}", one.model);
                self.violation(&name, Kind::WhiteBox, divergence.clone());
            }
        }
        let seconds = self.clients.origin().elapsed().as_secs_f64();
        let counts = self.nemesis.counts(&self.proxy);
        let faults = counts.iter().map(|(kind, n)| ((*kind).to_owned(), *n)).collect();
        let marks = self.marks.counts();
        let marks = marks.iter().map(|(mark, n)| (mark.name().to_owned(), *n)).collect();
        let effects = self.proxy.effects();
        let played = std::mem::take(&mut self.played);
        Ok(Played { faults, effects, marks, validated, seconds, ..played })
    }

    /// What the nodes report as missing, by a poll that began after `since`.
    fn unhealthy(&self, since: Instant) -> Option<String> {
        match self.observer.newest(since) {
            None => Some("no node has answered yet".into()),
            Some(look) => look.healthy.err(),
        }
    }

    /// Describes a client that still waits for something.
    fn waiting(&self, since: Instant) -> Option<String> {
        for client in self.clients.nodes() {
            let name = self.clients.name(client);
            if name == "consume" {
                if let Some(why) = self.behind(client, since) {
                    return Some(why);
                }
            } else if !self.clients.done(client) {
                return Some(format!("client {client} ({name}) is waiting for answers"));
            }
        }
        None
    }

    /// Describes a partition whose end a consumer has not reached.
    fn behind(&self, reader: NodeId, since: Instant) -> Option<String> {
        let Some(Look { healthy: Ok(partitions), .. }) = self.observer.newest(since) else {
            return Some("the ends of the logs are not known".into());
        };
        for (named, partition) in &partitions {
            let position = self.clients.position(reader, named);
            if position.is_none_or(|position| position.0 < partition.end) {
                return Some(format!(
                    "consumer {reader} is at {position:?} of {named}, which ends at {}",
                    partition.end
                ));
            }
        }
        None
    }

    /// What the healed core still has to achieve, if anything. `acked_from`: also requires that
    /// each partition has acknowledged a record with acks=all that was sent since this record.
    fn stuck_in_core(&self, core: &[NodeId], acked_from: Option<usize>) -> Option<String> {
        let acked = acked_from.map(|from| self.acked_since(from));
        for topic in &self.plan.topics {
            for index in 0..topic.partitions {
                if let Some(why) = self.stuck(topic, index, core, acked.as_ref()) {
                    return Some(why);
                }
            }
        }
        None
    }

    fn stuck(
        &self,
        topic: &TopicPlan,
        index: i32,
        core: &[NodeId],
        acked: Option<&BTreeSet<NamedPartition>>,
    ) -> Option<String> {
        let named = NamedPartition::new(topic.name.clone(), index);
        let Some(registered) = self.roles.registered(&topic.name, index) else {
            return Some(format!("no controller has reported {named}"));
        };
        let (leader, isr) = (registered.leader, &registered.isr);
        // All nodes that could lead are outside the core, so nothing can be required.
        if !isr.iter().any(|node| core.contains(node)) {
            return None;
        }
        if !leader.is_some_and(|leader| core.contains(&leader)) {
            return Some(format!("{named} has the leader {leader:?} and the ISR {isr:?}"));
        }
        let replicas = self.roles.replicas(&topic.name, index).iter();
        let inside = replicas.filter(|node| core.contains(node)).count();
        let enough = inside as i32 >= topic.min_insync_replicas;
        if enough && acked.is_some_and(|acked| !acked.contains(&named)) {
            return Some(format!("{named} acknowledged no write; leader {leader:?}, ISR {isr:?}"));
        }
        None
    }

    /// Partitions that acknowledged a record with acks=all that was sent since this record.
    fn acked_since(&self, from: usize) -> BTreeSet<NamedPartition> {
        let mut sent: BTreeSet<(NodeId, RecordId)> = BTreeSet::new();
        let mut acked = BTreeSet::new();
        for record in &self.records[from..] {
            match &record.what {
                Recorded::Send { id, acks: -1, .. } => {
                    sent.insert((record.client, *id));
                }
                Recorded::Fact(ClientFact::Acked { id, partition, offset: Some(_) })
                    if sent.contains(&(record.client, *id)) =>
                {
                    acked.insert(partition.clone());
                }
                Recorded::Send { .. }
                | Recorded::Fact(_)
                | Recorded::Asked { .. }
                | Recorded::Seek { .. } => {}
            }
        }
        acked
    }
}
