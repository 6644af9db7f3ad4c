//! Carrying a plan's faults out: when each strikes, whom it hits, and what brings back what it took.
//!
//! The nemesis knows the world and the ledger, never a broker's state. Times are kept by the world's
//! own heap ([`World::schedule`]), so faults are events in the one order of events. What faults a
//! plan has is drawn in [`crate::profile`]; what they may damage is the plan's business and the
//! ledger's.

mod resolve;

use crate::decide::{Place, Purpose};
use crate::ledger::Ledger;
use crate::plan::{Fault, FaultKind, Plan, Shape, Target, When};
use crate::run::Node;
use crate::world::{Exit, Heal, World};
use std::collections::BTreeMap;
use wavetank_core::broker::Broker;
use wavetank_core::config::NodeConfig;
use wavetank_core::note::Note;
use wavetank_core::types::{NodeId, TopicPartition};

pub(crate) use resolve::Cast;

/// A directed link between two hosts.
type Link = (NodeId, NodeId);

/// A fault that waits for its moment.
#[derive(Clone, Debug)]
struct Armed {
    fault: Fault,
    /// Not before this, ns.
    from: u64,
    /// How many more notes it waits for; 0 where the time is already scheduled.
    left: u32,
}

/// What a scheduled moment means.
#[derive(Clone, Debug)]
enum Action {
    /// A fault strikes; the node whose note triggered it, if one did.
    Strike(Fault, Option<NodeId>),
    /// A process starts (again).
    Start(NodeId),
    /// The operator reboots a machine whose process ended with a disk error.
    Resume(NodeId, u32),
    Unblock(Vec<Link>),
    EndLoss(u64),
    EndDelay(Vec<Link>),
    EndSlow(NodeId),
    /// A crash loop's next crash.
    CrashAgain {
        node: NodeId,
        times: u32,
        down: u64,
        up: u64,
    },
    /// The operator's patience with a node that stops ends: it is killed.
    Kill(NodeId, u32),
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
    /// How many partitions block each link.
    blocks: BTreeMap<Link, u32>,
    /// Shares of loss in force, per million.
    losses: Vec<u64>,
    spikes: BTreeMap<Link, Vec<u64>>,
    /// Counts pauses of a node, so that an old resume does not end a newer pause.
    pauses: BTreeMap<NodeId, u32>,
    /// Nodes on which a sync is to fail, and how long they then stay down, ns. An error that nobody
    /// saw waits for the next process, through crashes and power losses.
    failing: BTreeMap<NodeId, u64>,
    /// Nodes that were asked to stop: the how-manieth such request, and how long they stay down
    /// afterwards, ns.
    stopping: BTreeMap<NodeId, (u32, u64)>,
    stops: u32,
    /// Nodes that will be started at this time.
    restarts: BTreeMap<NodeId, u64>,
    counts: BTreeMap<&'static str, u64>,
    struck: Vec<(&'static str, Vec<NodeId>)>,
    strikes: u64,
    base_loss: u64,
    stopped: bool,
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
            blocks: BTreeMap::new(),
            losses: Vec::new(),
            spikes: BTreeMap::new(),
            pauses: BTreeMap::new(),
            failing: BTreeMap::new(),
            stopping: BTreeMap::new(),
            stops: 0,
            restarts: BTreeMap::new(),
            counts: BTreeMap::new(),
            struck: Vec::new(),
            strikes: 0,
            base_loss: plan.network.loss_per_million,
            stopped: false,
        }
    }

    /// Hosts of clients, which partitions may cut off too.
    pub(crate) fn set_clients(&mut self, clients: Vec<NodeId>) {
        self.clients = clients;
    }

    /// What has struck whom since the last call.
    pub(crate) fn drain_struck(&mut self) -> Vec<(&'static str, Vec<NodeId>)> {
        std::mem::take(&mut self.struck)
    }

    /// How often each kind of fault struck.
    pub(crate) fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// All broker and controller hosts.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.configs.keys().copied()
    }

    /// The storm begins.
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
        }
    }

    fn schedule(&mut self, at: u64, action: Action, world: &mut World<Node>) {
        let token = self.next_token;
        self.next_token += 1;
        self.actions.insert(token, action);
        world.schedule(at, token);
    }

    /// A note may be what a fault waits for.
    pub(crate) fn note(
        &mut self,
        node: NodeId,
        note: &Note,
        world: &mut World<Node>,
        ledger: &Ledger,
    ) {
        if self.stopped || self.armed.is_empty() {
            return;
        }
        let name = note.name();
        if partition_of(note) == Some(TopicPartition::METADATA) && !name.starts_with("quorum_") {
            return;
        }
        let now = world.now();
        let mut due = Vec::new();
        self.armed.retain_mut(|armed| {
            let When::AfterNote(trigger) = &armed.fault.when else { return false };
            if trigger.name != name || now < armed.from {
                return true;
            }
            armed.left -= 1;
            if armed.left > 0 {
                return true;
            }
            due.push((armed.fault.clone(), trigger.delay_us * US));
            false
        });
        for (fault, delay) in due {
            if delay == 0 {
                self.strike(fault, Some(node), world, ledger);
            } else {
                self.schedule(now + delay, Action::Strike(fault, Some(node)), world);
            }
        }
    }

    /// A moment that was scheduled has come.
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
            Action::Resume(node, count) => {
                if self.pauses.get(&node) == Some(&count) {
                    world.resume(node);
                }
            }
            Action::Unblock(links) => self.unblock(&links, world),
            Action::EndLoss(share) => {
                if let Some(at) = self.losses.iter().position(|known| *known == share) {
                    self.losses.remove(at);
                    self.apply_loss(world);
                }
            }
            Action::EndDelay(links) => {
                for link in links {
                    if let Some(extras) = self.spikes.get_mut(&link) {
                        extras.pop();
                        let extra = extras.last().copied().unwrap_or(0);
                        world.set_spike(link.0, link.1, extra);
                    }
                }
            }
            Action::EndSlow(node) => world.disk_mut(node).set_slow(100),
            Action::CrashAgain { node, times, down, up } => {
                if !self.stopped && world.is_up(node) {
                    self.crash_in_loop(node, times, down, up, world);
                }
            }
            Action::Kill(node, stop) => {
                if let Some((known, down)) = self.stopping.get(&node).copied()
                    && known == stop
                    && world.is_up(node)
                {
                    world.crash(node);
                    self.restart_after(node, down, world);
                }
            }
        }
    }

    /// A process ended by itself. True if a fault explains it: then the operator starts it again, if
    /// its disk failed after a reboot of the machine.
    pub(crate) fn exited(&mut self, node: NodeId, exit: &Exit, world: &mut World<Node>) -> bool {
        if *exit == Exit::Stopped {
            let Some((_, down)) = self.stopping.remove(&node) else { return false };
            self.restart_after(node, down, world);
            return true;
        }
        let Some(down) = self.failing.remove(&node) else { return false };
        world.power_loss(node);
        self.restart_after(node, down, world);
        true
    }

    /// Starts a process on a node that has none.
    pub(crate) fn start(&mut self, node: NodeId, world: &mut World<Node>) {
        self.restarts.remove(&node);
        self.stopping.remove(&node);
        if !world.is_up(node) {
            let config = self.configs[&node].clone();
            world.start(node, Node::Broker(Box::new(Broker::new(config))));
        }
    }

    fn restart_after(&mut self, node: NodeId, down: u64, world: &mut World<Node>) {
        let at = world.now() + down;
        self.restarts.insert(node, at);
        self.schedule(at, Action::Start(node), world);
    }

    /// No fault strikes any more; what is still out stays out until [`Nemesis::heal`].
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        self.armed.clear();
    }

    /// Brings back everything within `core` (all nodes, or some): processes, links, disks. Nodes
    /// outside are cut off from it, and from clients.
    pub(crate) fn heal(&mut self, core: &[NodeId], world: &mut World<Node>) {
        self.stop();
        self.actions.clear();
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

    fn strike(
        &mut self,
        fault: Fault,
        noted: Option<NodeId>,
        world: &mut World<Node>,
        ledger: &Ledger,
    ) {
        self.strikes += 1;
        let place = world.dice().place(Purpose::Driver).with(self.strikes);
        let (nodes, topics) = (self.nodes().collect::<Vec<_>>(), self.topics.clone());
        let cast = Cast { nodes: &nodes, topics: &topics, noted, place };
        let targets = targets(&fault.what);
        let whom =
            targets.iter().filter_map(|target| cast.resolve(target, world, ledger)).collect();
        let struck = self.inflict(&fault.what, &cast, world, ledger);
        if !struck {
            return;
        }
        *self.counts.entry(fault.what.name()).or_default() += 1;
        self.struck.push((fault.what.name(), whom));
        for next in fault.then {
            self.arm(next, noted, world);
        }
    }

    fn inflict(
        &mut self,
        what: &FaultKind,
        cast: &Cast<'_>,
        world: &mut World<Node>,
        ledger: &Ledger,
    ) -> bool {
        let now = world.now();
        let node = |target: &Target, world: &World<Node>| cast.resolve(target, world, ledger);
        match what {
            FaultKind::Crash { node: target, down_us } => {
                let Some(node) = node(target, world).filter(|node| world.is_up(*node)) else {
                    return false;
                };
                world.crash(node);
                self.restart_after(node, down_us * US, world);
            }
            FaultKind::Restart { node: target, patience_us, down_us } => {
                let Some(node) = node(target, world)
                    .filter(|node| world.is_up(*node) && !self.stopping.contains_key(node))
                else {
                    return false;
                };
                self.ask_to_stop(node, patience_us * US, down_us * US, world);
            }
            FaultKind::PowerLoss { node: target, down_us } => {
                let Some(node) = node(target, world) else { return false };
                world.power_loss(node);
                self.restart_after(node, down_us * US, world);
            }
            FaultKind::PowerLossAll { down_us, stagger_us } => {
                let nodes: Vec<NodeId> = self.nodes().collect();
                for &node in &nodes {
                    world.power_loss(node);
                }
                for node in nodes {
                    let place = cast.place.with(node.0 as u64);
                    let stagger = world.dice().range(place, 0, *stagger_us);
                    self.restart_after(node, (down_us + stagger) * US, world);
                }
            }
            FaultKind::CrashLoop { node: target, times, down_us, up_us } => {
                let Some(node) = node(target, world).filter(|node| world.is_up(*node)) else {
                    return false;
                };
                self.crash_in_loop(node, *times, down_us * US, up_us * US, world);
            }
            FaultKind::Partition { shape, one_way, clients_too, for_us } => {
                let links = self.cut(shape, *one_way, *clients_too, cast, world, ledger);
                if links.is_empty() {
                    return false;
                }
                for link in &links {
                    let blocks = self.blocks.entry(*link).or_default();
                    *blocks += 1;
                    world.block(link.0, link.1);
                }
                self.schedule(now + for_us * US, Action::Unblock(links), world);
            }
            FaultKind::Loss { permille, for_us } => {
                let share = u64::from(*permille) * 1000;
                self.losses.push(share);
                self.apply_loss(world);
                self.schedule(now + for_us * US, Action::EndLoss(share), world);
            }
            FaultKind::Delay { extra_us, node: target, for_us } => {
                let around = match target {
                    Some(target) => match node(target, world) {
                        Some(node) => Some(node),
                        None => return false,
                    },
                    None => None,
                };
                let links = self.delay(around, extra_us * US, world);
                self.schedule(now + for_us * US, Action::EndDelay(links), world);
            }
            FaultKind::Pause { node: target, for_us } => {
                let Some(node) = node(target, world).filter(|node| world.is_up(*node)) else {
                    return false;
                };
                let count = self.pauses.entry(node).or_default();
                *count += 1;
                let count = *count;
                world.pause(node);
                self.schedule(now + for_us * US, Action::Resume(node, count), world);
            }
            FaultKind::FailSync { node: target, down_us } => {
                // The budget: one failing disk at a time.
                let Some(node) = node(target, world)
                    .filter(|node| world.is_up(*node) && self.failing.is_empty())
                else {
                    return false;
                };
                world.fail_next_sync(node, None);
                self.failing.insert(node, down_us * US);
            }
            FaultKind::SlowDisk { node: target, factor, for_us } => {
                let Some(node) = node(target, world) else { return false };
                world.disk_mut(node).set_slow(u64::from(*factor) * 100);
                self.schedule(now + for_us * US, Action::EndSlow(node), world);
            }
        }
        true
    }

    fn ask_to_stop(&mut self, node: NodeId, patience: u64, down: u64, world: &mut World<Node>) {
        self.stops += 1;
        self.stopping.insert(node, (self.stops, down));
        world.shutdown(node);
        let killed = world.now() + patience;
        self.schedule(killed, Action::Kill(node, self.stops), world);
    }

    /// Slows the links around a node, or all. Returns them.
    fn delay(&mut self, around: Option<NodeId>, extra: u64, world: &mut World<Node>) -> Vec<Link> {
        let nodes: Vec<NodeId> = self.nodes().collect();
        let mut links = Vec::new();
        for &from in &nodes {
            for &to in &nodes {
                let meant = around.is_none_or(|node| node == from || node == to);
                if from != to && meant {
                    self.spikes.entry((from, to)).or_default().push(extra);
                    world.set_spike(from, to, extra);
                    links.push((from, to));
                }
            }
        }
        links
    }

    fn crash_in_loop(
        &mut self,
        node: NodeId,
        times: u32,
        down: u64,
        up: u64,
        world: &mut World<Node>,
    ) {
        world.crash(node);
        self.restart_after(node, down, world);
        if times > 1 {
            let at = world.now() + down + up;
            let times = times - 1;
            self.schedule(at, Action::CrashAgain { node, times, down, up }, world);
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

    /// The links that a partition of this shape blocks.
    fn cut(
        &self,
        shape: &Shape,
        one_way: bool,
        clients_too: bool,
        cast: &Cast<'_>,
        world: &World<Node>,
        ledger: &Ledger,
    ) -> Vec<Link> {
        let nodes: Vec<NodeId> = self.nodes().collect();
        let mut groups: Vec<Vec<NodeId>> = Vec::new();
        let mut links = Vec::new();
        match shape {
            Shape::Isolate(target) => {
                let Some(node) = cast.resolve(target, world, ledger) else { return links };
                let rest = nodes.iter().copied().filter(|other| *other != node).collect();
                groups = vec![rest, vec![node]];
                if clients_too {
                    for &client in &self.clients {
                        links.push((client, node));
                        if !one_way {
                            links.push((node, client));
                        }
                    }
                }
            }
            Shape::Groups(sets) => {
                groups.extend(sets.iter().map(|set| set.iter().copied().map(NodeId).collect()));
                let rest = nodes.iter().filter(|node| !sets.iter().flatten().any(|n| *n == node.0));
                groups.extend(rest.map(|node| vec![*node]));
            }
            Shape::Bridge(target) => {
                let Some(bridge) = cast.resolve(target, world, ledger) else { return links };
                groups = halves(&nodes, bridge, cast.place, world);
            }
            Shape::Pair(one, other) => {
                let one = cast.resolve(one, world, ledger);
                let other = cast.resolve(other, world, ledger);
                let (Some(one), Some(other)) = (one, other) else { return links };
                if one == other {
                    return links;
                }
                groups = vec![vec![one], vec![other]];
            }
            Shape::Ring => {
                for (i, &from) in nodes.iter().enumerate() {
                    for (j, &to) in nodes.iter().enumerate() {
                        let apart = i.abs_diff(j);
                        let neighbours = apart == 1 || apart == nodes.len() - 1;
                        if i != j && !neighbours && (!one_way || i < j) {
                            links.push((from, to));
                        }
                    }
                }
            }
        }
        for (i, froms) in groups.iter().enumerate() {
            for (j, tos) in groups.iter().enumerate() {
                if i == j || (one_way && i > j) {
                    continue;
                }
                for &from in froms {
                    links.extend(tos.iter().map(|to| (from, *to)));
                }
            }
        }
        links
    }
}

/// Whom a fault names.
fn targets(what: &FaultKind) -> Vec<Target> {
    match what {
        FaultKind::Crash { node, .. }
        | FaultKind::Restart { node, .. }
        | FaultKind::PowerLoss { node, .. }
        | FaultKind::CrashLoop { node, .. }
        | FaultKind::Pause { node, .. }
        | FaultKind::FailSync { node, .. }
        | FaultKind::SlowDisk { node, .. } => vec![node.clone()],
        FaultKind::Partition { shape, .. } => match shape {
            Shape::Isolate(node) | Shape::Bridge(node) => vec![node.clone()],
            Shape::Pair(one, other) => vec![one.clone(), other.clone()],
            Shape::Groups(_) | Shape::Ring => Vec::new(),
        },
        FaultKind::Delay { node, .. } => node.iter().cloned().collect(),
        FaultKind::PowerLossAll { .. } | FaultKind::Loss { .. } => Vec::new(),
    }
}

/// Everybody but the bridge, in two drawn halves of which none is empty.
fn halves(nodes: &[NodeId], bridge: NodeId, place: Place, world: &World<Node>) -> Vec<Vec<NodeId>> {
    let others: Vec<NodeId> = nodes.iter().copied().filter(|node| *node != bridge).collect();
    let mut groups = vec![Vec::new(), Vec::new()];
    let start = world.dice().decide(place.with(2), 2) as usize;
    for (index, node) in others.into_iter().enumerate() {
        let side = match index {
            0 => start,
            1 => 1 - start,
            _ => world.dice().decide(place.with(3).with(node.0 as u64), 2) as usize,
        };
        groups[side].push(node);
    }
    groups.retain(|group| !group.is_empty());
    groups
}

/// The partition that a note is about, if it is about one.
pub(crate) fn partition_of(note: &Note) -> Option<TopicPartition> {
    match note {
        Note::Recovered { partition, .. }
        | Note::Truncated { partition, .. }
        | Note::Rolled { partition, .. }
        | Note::LogRefused { partition, .. }
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
        | Note::BrokerRunning { .. }
        | Note::LogDirOffline { .. }
        | Note::ShutDown { .. } => None,
    }
}
