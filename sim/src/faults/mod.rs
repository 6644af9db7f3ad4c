//! Injects a plan's faults: when each strikes, which node it hits, and how it ends.
//!
//! The nemesis knows the world and the ledger, never a broker's state. It schedules on the world's
//! own heap ([`World::schedule`]), so faults are part of the total order of events. What each kind
//! of fault does is in [`kinds`]. Which faults a plan has is drawn in [`crate::profile`]. What they
//! may damage is up to the plan and the ledger.

pub(crate) mod kinds;
mod resolve;
#[cfg(test)]
mod tests;

use crate::decide::Purpose;
use crate::ledger::Ledger;
use crate::node::Node;
use crate::plan::{AfterNote, Fault, FaultKind, Plan, When};
use crate::world::{Exit, Heal, World};
use kinds::{Effect, Gauge, Strike, Struck};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use wavetank_core::broker::Broker;
use wavetank_core::config::NodeConfig;
use wavetank_core::note::Note;
use wavetank_core::types::{NodeId, TopicPartition};

pub(crate) use resolve::Cast;

/// A directed link between two hosts.
type Link = (NodeId, NodeId);

/// How many faults of a kind there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FaultCounts {
    /// In the plans.
    pub planned: u64,
    /// Faults that struck: their moment came, and their target existed.
    pub fired: u64,
    /// Faults that took effect, each kind by its own measure ([`FaultKind::BITES`]).
    pub bit: u64,
}

impl FaultCounts {
    /// Adds another run's counts.
    pub fn add(&mut self, other: FaultCounts) {
        self.planned += other.planned;
        self.fired += other.fired;
        self.bit += other.bit;
    }
}

/// A fault that waits for its moment.
#[derive(Clone, Debug)]
struct Armed {
    fault: Fault,
    /// Not before this, ns.
    from: u64,
    /// How many more notes or disk operations it waits for.
    left: u32,
}

/// A scheduled action.
#[derive(Clone, Debug)]
enum Action {
    /// A fault strikes. The node whose note triggered it, if any.
    Strike(Fault, Option<NodeId>),
    /// A process starts (again).
    Start(NodeId),
    /// A strike's effect ends, or takes its next turn.
    End(u64),
}

/// A strike whose effect continues.
#[derive(Clone, Debug)]
struct Open {
    what: FaultKind,
    effect: Effect,
    bit: bool,
}

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(crate) struct Nemesis {
    configs: BTreeMap<NodeId, NodeConfig>,
    topics: Vec<String>,
    clients: Vec<NodeId>,
    armed: Vec<Armed>,
    actions: BTreeMap<u64, Action>,
    next_token: u64,
    /// By the strike's number.
    open: BTreeMap<u64, Open>,
    /// How many partitions block each link.
    blocks: BTreeMap<Link, u32>,
    /// Loss rates in force, per million.
    losses: Vec<u64>,
    spikes: BTreeMap<Link, Vec<u64>>,
    /// The newest strike that paused a node, so that the end of an older one does not resume it.
    pauses: BTreeMap<NodeId, u64>,
    /// Nodes on which a sync is to fail, and how long they then stay down, ns. An unseen error
    /// waits for the next process, through crashes and power losses.
    failing: BTreeMap<NodeId, u64>,
    /// Nodes that were asked to stop: by which strike, and how long they stay down afterwards, ns.
    stopping: BTreeMap<NodeId, (u64, u64)>,
    /// Nodes that will be started, and when.
    restarts: BTreeMap<NodeId, u64>,
    /// Nodes that have completed a start. From then on, an empty directory means data loss.
    formatted: BTreeSet<NodeId>,
    counts: BTreeMap<&'static str, FaultCounts>,
    struck: Vec<(&'static str, Vec<NodeId>)>,
    strikes: u64,
    aimed: u64,
    base_loss: u64,
    stopped: bool,
    /// See [`Nemesis::calm_since`].
    calm_since: Option<u64>,
}

const US: u64 = 1_000;

impl Nemesis {
    pub(crate) fn new(plan: &Plan, configs: BTreeMap<NodeId, NodeConfig>) -> Nemesis {
        Nemesis {
            configs,
            topics: plan.topics.iter().map(|topic| topic.name.clone()).collect(),
            clients: Vec::new(),
            armed: Vec::new(),
            actions: BTreeMap::new(),
            next_token: 0,
            open: BTreeMap::new(),
            blocks: BTreeMap::new(),
            losses: Vec::new(),
            spikes: BTreeMap::new(),
            pauses: BTreeMap::new(),
            failing: BTreeMap::new(),
            stopping: BTreeMap::new(),
            restarts: BTreeMap::new(),
            formatted: BTreeSet::new(),
            counts: planned(&plan.faults),
            struck: Vec::new(),
            strikes: 0,
            aimed: 0,
            base_loss: plan.network.loss_per_million,
            stopped: false,
            calm_since: Some(0),
        }
    }

    /// Sets the hosts of clients, which partitions may cut off, too.
    pub(crate) fn set_clients(&mut self, clients: Vec<NodeId>) {
        self.clients = clients;
    }

    /// Which kinds of faults have struck which nodes since the last call.
    pub(crate) fn drain_struck(&mut self) -> Vec<(&'static str, Vec<NodeId>)> {
        std::mem::take(&mut self.struck)
    }

    /// Since when no fault has been in force, ns. `None` while one is. A node that was asked to
    /// stop does not count until it is gone.
    pub(crate) fn calm_since(&self) -> Option<u64> {
        self.calm_since
    }

    /// Updates `calm_since`. Called whenever a strike begins or ends, or a process is to start.
    fn look_around(&mut self, world: &World<Node>) {
        let stops = |open: &Open| matches!(open.what, FaultKind::Restart(_));
        let calm =
            self.restarts.is_empty() && self.failing.is_empty() && self.open.values().all(stops);
        self.calm_since = calm.then(|| self.calm_since.unwrap_or(world.now()));
    }

    /// The counts for each kind of fault in the plan. Call this when the run is over.
    pub(crate) fn counts(&mut self, world: &World<Node>) -> &BTreeMap<&'static str, FaultCounts> {
        for strike in self.open.keys().copied().collect::<Vec<_>>() {
            self.settle(strike, world);
        }
        &self.counts
    }

    /// All broker and controller hosts.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.configs.keys().copied()
    }

    /// Begins the storm.
    pub(crate) fn begin(&mut self, faults: &[Fault], world: &mut World<Node>) {
        for fault in faults {
            self.arm(fault.clone(), None, world);
        }
    }

    fn arm(&mut self, fault: Fault, noted: Option<NodeId>, world: &mut World<Node>) {
        let now = world.now();
        match &fault.when {
            When::AtUs(at) => {
                let at = now + at * US;
                self.schedule(at, Action::Strike(fault, noted), world);
            }
            When::AfterNote(trigger) => {
                let (from, left) = (now + trigger.from_us * US, trigger.count);
                self.armed.push(Armed { fault, from, left });
            }
            When::AtDiskOp(trigger) => {
                let (from, left) = (now + trigger.from_us * US, trigger.count);
                self.armed.push(Armed { fault, from, left });
                world.watch_disks(true);
            }
        }
    }

    fn schedule(&mut self, at: u64, action: Action, world: &mut World<Node>) {
        let token = self.next_token;
        self.next_token += 1;
        self.actions.insert(token, action);
        world.schedule(at, token);
    }

    /// Triggers the faults that wait for this note.
    pub(crate) fn note(
        &mut self,
        node: NodeId,
        note: &Note,
        world: &mut World<Node>,
        ledger: &Ledger,
    ) {
        if let Note::QuorumRestored { .. } = note {
            self.formatted.insert(node);
        }
        if self.stopped || self.armed.is_empty() {
            return;
        }
        let name = note.name();
        if partition_of(note) == Some(TopicPartition::METADATA) && !name.starts_with("quorum_") {
            return;
        }
        let now = world.now();
        let topics = &self.topics;
        let about = partition_of(note).and_then(|partition| ledger.name(partition));
        let is_meant = |trigger: &AfterNote| {
            let partition = trigger
                .partition
                .map(|meant| format!("{}-{}", topics[meant.topic as usize], meant.partition));
            trigger.name == name
                && trigger.node.is_none_or(|meant| meant == node.0)
                && partition.is_none_or(|meant| about == Some(meant.as_str()))
        };
        let due = come_true(&mut self.armed, now, |when| match when {
            When::AfterNote(trigger) => is_meant(trigger).then_some(trigger.delay_us),
            When::AtUs(_) | When::AtDiskOp(_) => None,
        });
        self.strike_soon(due, node, world, ledger);
    }

    /// Triggers the faults that wait for a disk operation that nodes submitted in the step just
    /// over.
    pub(crate) fn submitted(&mut self, world: &mut World<Node>, ledger: &Ledger) {
        for (node, op) in world.drain_submissions() {
            if self.stopped {
                continue;
            }
            let due = come_true(&mut self.armed, world.now(), |when| match when {
                When::AtDiskOp(trigger) => trigger.is(node.0, &op).then_some(trigger.delay_us),
                When::AtUs(_) | When::AfterNote(_) => None,
            });
            self.aimed += due.len() as u64;
            self.strike_soon(due, node, world, ledger);
        }
        let waits = |armed: &Armed| matches!(armed.fault.when, When::AtDiskOp(_));
        if self.stopped || !self.armed.iter().any(waits) {
            world.watch_disks(false);
        }
    }

    /// How many faults have reached the disk operation that they aimed at.
    pub(crate) fn aimed(&self) -> u64 {
        self.aimed
    }

    fn strike_soon(
        &mut self,
        due: Vec<(Fault, u64)>,
        node: NodeId,
        world: &mut World<Node>,
        ledger: &Ledger,
    ) {
        for (fault, delay) in due {
            if delay == 0 {
                self.strike(fault, Some(node), world, ledger);
            } else {
                self.schedule(world.now() + delay, Action::Strike(fault, Some(node)), world);
            }
        }
    }

    /// Performs a scheduled action.
    pub(crate) fn due(&mut self, token: u64, world: &mut World<Node>, ledger: &Ledger) {
        let Some(action) = self.actions.remove(&token) else { return };
        match action {
            Action::Strike(fault, noted) => {
                if !self.stopped {
                    self.strike(fault, noted, world, ledger);
                }
            }
            Action::Start(node) => {
                if self.restarts.get(&node) == Some(&world.now()) {
                    self.start(node, world);
                }
            }
            Action::End(strike) => self.end(strike, world),
        }
        self.look_around(world);
    }

    /// Undoes a strike, or performs its next turn.
    fn end(&mut self, strike: u64, world: &mut World<Node>) {
        self.settle(strike, world);
        // It stays in `open` meanwhile: its kind may report that it took effect.
        let Some(Open { what, mut effect, .. }) = self.open.get(&strike).cloned() else { return };
        match what.kind().end(strike, &mut effect, self, world) {
            Some(wait) => {
                if let Some(open) = self.open.get_mut(&strike) {
                    open.effect = effect;
                }
                self.schedule(world.now() + wait, Action::End(strike), world);
            }
            None => {
                self.open.remove(&strike);
            }
        }
    }

    /// Counts a strike if it has taken effect by now.
    fn settle(&mut self, strike: u64, world: &World<Node>) {
        let Some(open) = self.open.get(&strike) else { return };
        if let Some((gauge, before)) = &open.effect.gauge
            && gauge.read(world) > *before
        {
            self.bit(strike);
        }
    }

    /// Counts, once, that a strike took effect.
    fn bit(&mut self, strike: u64) {
        if let Some(open) = self.open.get_mut(&strike)
            && !std::mem::replace(&mut open.bit, true)
        {
            self.counts.entry(open.what.name()).or_default().bit += 1;
        }
    }

    /// A process ended by itself. True if a fault explains it. Then the operator starts it again,
    /// after a reboot of the machine if its disk failed.
    pub(crate) fn exited(&mut self, node: NodeId, exit: &Exit, world: &mut World<Node>) -> bool {
        if *exit == Exit::Stopped {
            let Some((strike, down)) = self.stopping.remove(&node) else { return false };
            self.bit(strike);
            self.restart_after(node, down, world);
            return true;
        }
        let Some(down) = self.failing.remove(&node) else { return false };
        world.power_loss(node);
        self.restart_after(node, down, world);
        true
    }

    /// Starts the process of a node that is down.
    pub(crate) fn start(&mut self, node: NodeId, world: &mut World<Node>) {
        self.restarts.remove(&node);
        self.stopping.remove(&node);
        if !world.is_up(node) {
            let mut config = self.configs[&node].clone();
            config.format = !self.formatted.contains(&node);
            world.start(node, Node::Broker(Box::new(Broker::new(config))));
        }
    }

    /// Cuts the power of one machine. True if that ended a process, or changed what the disk held.
    fn power_off(&mut self, node: NodeId, world: &mut World<Node>) -> bool {
        let gauge = Gauge::PowerTook(node);
        let before = gauge.read(world);
        world.power_loss(node).is_some() || gauge.read(world) > before
    }

    fn restart_after(&mut self, node: NodeId, down: u64, world: &mut World<Node>) {
        let at = world.now() + down;
        self.restarts.insert(node, at);
        self.schedule(at, Action::Start(node), world);
        self.look_around(world);
    }

    /// No fault strikes any more. What is down or cut off stays so until [`Nemesis::heal`].
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.armed.clear();
    }

    /// Heals everything within `core` (all nodes, or some): processes, links, disks. Nodes outside
    /// are cut off from it and from clients.
    pub(crate) fn heal(&mut self, core: &[NodeId], world: &mut World<Node>) {
        self.stop();
        self.close(world);
        let nodes: Vec<NodeId> = self.nodes().collect();
        let all: Vec<NodeId> = nodes.iter().chain(&self.clients).copied().collect();
        self.losses.clear();
        self.apply_loss(world);
        for &from in &all {
            for &to in &all {
                if from == to {
                    continue;
                }
                world.set_spike(from, to, 0);
                world.set_damage(from, to, 0);
                world.set_lies(from, to, 0);
                let outside = |node: NodeId| nodes.contains(&node) && !core.contains(&node);
                if outside(from) != outside(to) {
                    world.block(from, to);
                } else {
                    world.unblock(from, to, Heal::Retransmit);
                }
            }
        }
        self.blocks.clear();
        self.spikes.clear();
        for &node in core {
            world.disk_mut(node).set_slow(100);
            if world.is_up(node) {
                world.resume(node);
            } else {
                self.start(node, world);
            }
        }
    }

    /// Cancels all scheduled actions, and closes the strikes that would have ended.
    fn close(&mut self, world: &World<Node>) {
        self.actions.clear();
        for strike in self.open.keys().copied().collect::<Vec<_>>() {
            self.settle(strike, world);
            if let Some(open) = self.open.get_mut(&strike)
                && open.effect.lasts.is_some()
            {
                open.effect.gauge = None;
            }
        }
    }

    fn strike(
        &mut self,
        fault: Fault,
        noted: Option<NodeId>,
        world: &mut World<Node>,
        ledger: &Ledger,
    ) {
        self.strikes += 1;
        let number = self.strikes;
        let place = world.dice().place(Purpose::Driver).with(number);
        let (nodes, topics) = (self.nodes().collect::<Vec<_>>(), self.topics.clone());
        let cast = Cast { nodes: &nodes, topics: &topics, noted, place };
        let kind = fault.what.kind();
        let targets = kind.targets();
        let whom =
            targets.iter().filter_map(|target| cast.resolve(target, world, ledger)).collect();
        let struck = kind.strike(&mut Strike { number, nemesis: self, cast: &cast, world, ledger });
        let name = fault.what.name();
        let bit = match struck {
            Struck::Nobody => return,
            Struck::Done { bit } => bit,
            Struck::GoesOn(effect) => {
                if let Some(ns) = effect.lasts {
                    self.schedule(world.now() + ns, Action::End(number), world);
                }
                self.open.insert(number, Open { what: fault.what, effect, bit: false });
                false
            }
        };
        let counts = self.counts.entry(name).or_default();
        counts.fired += 1;
        counts.bit += u64::from(bit);
        self.struck.push((name, whom));
        self.look_around(world);
        for next in fault.then {
            self.arm(next, noted, world);
        }
    }

    fn unblock(&mut self, links: &[Link], world: &mut World<Node>) {
        for link in links {
            let Some(blocks) = self.blocks.get_mut(link) else { continue };
            *blocks -= 1;
            if *blocks == 0 {
                self.blocks.remove(link);
                let place = world.dice().place(Purpose::Driver).with(1 << 32);
                let place = place.with(world.now());
                let burst = world.dice().ratio(place, 1, 4);
                let heal = if burst { Heal::Burst } else { Heal::Retransmit };
                world.unblock(link.0, link.1, heal);
            }
        }
    }

    fn apply_loss(&mut self, world: &mut World<Node>) {
        let share = self.losses.iter().copied().max().unwrap_or(0).max(self.base_loss);
        let nodes: Vec<NodeId> = self.nodes().chain(self.clients.iter().copied()).collect();
        for &from in &nodes {
            for &to in &nodes {
                if from != to {
                    let mut link = world.link(from, to);
                    link.loss_per_million = share;
                    world.set_link(from, to, link);
                }
            }
        }
    }
}

/// Removes the faults whose moment has come, each with its delay in ns. `is_meant` says whether a
/// fault waits for what has just happened, and returns its delay in us.
fn come_true(
    armed: &mut Vec<Armed>,
    now: u64,
    is_meant: impl Fn(&When) -> Option<u64>,
) -> Vec<(Fault, u64)> {
    let mut due = Vec::new();
    armed.retain_mut(|armed| {
        let Some(delay) = is_meant(&armed.fault.when).filter(|_| now >= armed.from) else {
            return true;
        };
        armed.left -= 1;
        if armed.left == 0 {
            due.push((armed.fault.clone(), delay * US));
        }
        armed.left > 0
    });
    due
}

/// How many faults of each kind are planned.
fn planned(faults: &[Fault]) -> BTreeMap<&'static str, FaultCounts> {
    let mut counts: BTreeMap<&'static str, FaultCounts> = BTreeMap::new();
    let mut rest: Vec<&Fault> = faults.iter().collect();
    while let Some(fault) = rest.pop() {
        counts.entry(fault.what.name()).or_default().planned += 1;
        rest.extend(&fault.then);
    }
    counts
}

/// The partition that a note is about, if any.
pub fn partition_of(note: &Note) -> Option<TopicPartition> {
    match note {
        Note::Recovered { partition, .. }
        | Note::Truncated { partition, .. }
        | Note::CutDeferred { partition, .. }
        | Note::CutReads { partition, .. }
        | Note::Rolled { partition, .. }
        | Note::Departed { partition, .. }
        | Note::LogRefused { partition, .. }
        | Note::ReadRefused { partition, .. }
        | Note::AnswerRefused { partition, .. }
        | Note::LogSynced { partition, .. }
        | Note::RecoveryPoint { partition, .. }
        | Note::LeaderAppended { partition, .. }
        | Note::FollowerAppended { partition, .. }
        | Note::BecameLeader { partition, .. }
        | Note::BecameFollower { partition, .. }
        | Note::HighWatermark { partition, .. }
        | Note::IsrProposed { partition, .. }
        | Note::IsrCommitted { partition, .. }
        | Note::IsrRefused { partition, .. }
        | Note::IsrUnanswered { partition, .. }
        | Note::ProduceAcked { partition, .. }
        | Note::ProduceFailed { partition, .. }
        | Note::DivergingEpoch { partition, .. }
        | Note::Fenced { partition, .. }
        | Note::PartitionChanged { partition, .. } => Some(*partition),
        Note::QuorumCandidate { .. }
        | Note::QuorumVoted { .. }
        | Note::QuorumVoteAnswered { .. }
        | Note::QuorumRestored { .. }
        | Note::QuorumPreVoted { .. }
        | Note::QuorumStored { .. }
        | Note::QuorumLogSynced { .. }
        | Note::QuorumLeader { .. }
        | Note::QuorumFollower { .. }
        | Note::QuorumResigned { .. }
        | Note::QuorumCommitted { .. } => Some(TopicPartition::METADATA),
        Note::ControllerActive { .. }
        | Note::BrokerRegistered { .. }
        | Note::BrokerFenced { .. }
        | Note::BrokerUnfenced { .. }
        | Note::SessionExpired { .. }
        | Note::SessionRenewed { .. }
        | Note::BrokerRunning { .. }
        | Note::LogDirOffline { .. }
        | Note::ShutDown { .. } => None,
    }
}
