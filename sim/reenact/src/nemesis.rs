//! Injects a plan's faults into processes and the proxy: when each strikes, which node it hits, and
//! how it ends. It makes the same choices as the tank's own nemesis, but in the machine's time, and
//! it resolves symbolic targets from the nodes' notes.
//!
//! It does not inject faults that a machine cannot play ([`crate::cast`]).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use wavetank_core::note::Note;
use wavetank_core::types::{NodeId, TopicPartition};
use wavetank_server::NotedAt;
use wavetank_sim::decide::{Dice, Place, Purpose};
use wavetank_sim::plan::{
    AfterNote, Crash, CrashLoop, Delay, Fault, FaultCounts, FaultKind, Loss, Partition,
    PartitionRef, Pause, Plan, Restart, Shape, Target, When,
};

use crate::Failure;
use crate::cluster::Cluster;
use crate::notes::Roles;
use crate::proxy::{Effects, Link, Proxy};

/// What faults are injected into.
pub struct Machine<'a> {
    /// The processes.
    pub cluster: &'a mut Cluster,
    /// The network between them.
    pub proxy: &'a Proxy,
    /// The current roles of the nodes.
    pub roles: &'a Roles,
}

/// A fault that waits for a note.
struct Armed {
    fault: Fault,
    from: Instant,
    left: u32,
}

/// A scheduled action.
enum Action {
    Strike(Fault, Option<NodeId>),
    Start(NodeId),
    /// A strike ends.
    End(u64, Ending),
}

/// How a strike ends, or continues.
enum Ending {
    /// Resumes the node, unless a later strike has paused it again.
    Resume(NodeId),
    Unblock(Vec<Link>),
    EndLoss(u64),
    EndDelay(Vec<Link>),
    CrashAgain {
        node: NodeId,
        times: u32,
        down: Duration,
        up: Duration,
    },
    /// Kills a stopping node whose patience has run out.
    Kill(NodeId),
}

/// The proxy counter that increases when a strike takes effect.
enum Gauge {
    Held(Vec<Link>),
    Delayed(Vec<Link>),
    Lost,
}

impl Gauge {
    fn read(&self, proxy: &Proxy) -> u64 {
        let sum = |links: &[Link], of: fn(Effects) -> u64| -> u64 {
            links.iter().map(|link| of(proxy.effects_on(*link))).sum()
        };
        match self {
            Gauge::Held(links) => sum(links, |effects| effects.held),
            Gauge::Delayed(links) => sum(links, |effects| effects.delayed),
            Gauge::Lost => proxy.effects().lost,
        }
    }
}

/// A strike that has not taken effect yet, but still may.
struct Open {
    name: &'static str,
    /// The gauge and its reading before the strike. `None` if the effect is detected otherwise.
    gauge: Option<(Gauge, u64)>,
}

/// See the module's documentation.
pub struct Nemesis {
    nodes: Vec<NodeId>,
    clients: Vec<NodeId>,
    dice: Dice,
    armed: Vec<Armed>,
    actions: BTreeMap<(Instant, u64), Action>,
    next: u64,
    /// By the strike's number.
    open: BTreeMap<u64, Open>,
    /// The newest strike that paused a node.
    pauses: BTreeMap<NodeId, u64>,
    /// Nodes that were asked to stop: by which strike, and how long they stay down afterwards.
    stopping: BTreeMap<NodeId, (u64, Duration)>,
    /// Nodes that will be started, and when.
    restarts: BTreeMap<NodeId, Instant>,
    counts: BTreeMap<&'static str, FaultCounts>,
    strikes: u64,
    stopped: bool,
}

fn us(us: u64) -> Duration {
    Duration::from_micros(us)
}

impl Nemesis {
    /// Creates the nemesis of a plan's cluster.
    pub fn new(plan: &Plan) -> Nemesis {
        Nemesis {
            nodes: plan.cluster.nodes().into_iter().map(NodeId).collect(),
            clients: Vec::new(),
            dice: Dice::new(plan.seed),
            armed: Vec::new(),
            actions: BTreeMap::new(),
            next: 0,
            open: BTreeMap::new(),
            pauses: BTreeMap::new(),
            stopping: BTreeMap::new(),
            restarts: BTreeMap::new(),
            counts: planned(&plan.faults),
            strikes: 0,
            stopped: false,
        }
    }

    /// Sets the hosts of clients, which partitions may cut off, too.
    pub fn set_clients(&mut self, clients: Vec<NodeId>) {
        self.clients = clients;
    }

    /// The counts for each kind of fault in the plan. Call this when the run is over.
    pub fn counts(&mut self, proxy: &Proxy) -> &BTreeMap<&'static str, FaultCounts> {
        self.settle(proxy);
        &self.counts
    }

    /// Counts the open strikes that have taken effect by now.
    fn settle(&mut self, proxy: &Proxy) {
        let moved = |open: &Open| {
            open.gauge.as_ref().is_some_and(|(gauge, before)| gauge.read(proxy) > *before)
        };
        let bit: Vec<u64> =
            self.open.iter().filter(|(_, open)| moved(open)).map(|(strike, _)| *strike).collect();
        bit.into_iter().for_each(|strike| self.bit(strike));
    }

    /// Counts, once, that a strike took effect.
    fn bit(&mut self, strike: u64) {
        if let Some(open) = self.open.remove(&strike) {
            self.counts.entry(open.name).or_default().bit += 1;
        }
    }

    /// Begins the storm.
    pub fn begin(&mut self, faults: &[Fault], now: Instant) {
        for fault in faults {
            self.arm(fault.clone(), None, now);
        }
    }

    fn arm(&mut self, fault: Fault, noted: Option<NodeId>, now: Instant) {
        match &fault.when {
            When::AtUs(at) => {
                let at = now + us(*at);
                self.schedule(at, Action::Strike(fault, noted));
            }
            When::AfterNote(trigger) => {
                let (from, left) = (now + us(trigger.from_us), trigger.count);
                self.armed.push(Armed { fault, from, left });
            }
            When::AtDiskOp(_) => unreachable!("the cast leaves out what no node tells of"),
        }
    }

    fn schedule(&mut self, at: Instant, action: Action) {
        self.actions.insert((at, self.next), action);
        self.next += 1;
    }

    /// Triggers the faults that wait for this note. `now` is when it was read.
    pub fn note(&mut self, noted: &NotedAt, now: Instant, machine: &mut Machine<'_>) {
        if self.stopped || self.armed.is_empty() {
            return;
        }
        let name = noted.note.name();
        if is_of_metadata_log(&noted.note) && !name.starts_with("quorum_") {
            return;
        }
        let mut due = Vec::new();
        self.armed.retain_mut(|armed| {
            let When::AfterNote(trigger) = &armed.fault.when else { return false };
            if now < armed.from || !is_meant(trigger, noted, machine.roles) {
                return true;
            }
            armed.left -= 1;
            if armed.left == 0 {
                due.push((armed.fault.clone(), us(trigger.delay_us)));
            }
            armed.left > 0
        });
        for (fault, delay) in due {
            if delay.is_zero() {
                self.strike(fault, Some(noted.node), now, machine);
            } else {
                self.schedule(now + delay, Action::Strike(fault, Some(noted.node)));
            }
        }
    }

    /// Performs the actions that are due.
    ///
    /// # Errors
    /// If a process cannot be started.
    pub fn due(&mut self, now: Instant, machine: &mut Machine<'_>) -> Result<(), Failure> {
        while let Some(first) = self.actions.first_entry() {
            if first.key().0 > now {
                return Ok(());
            }
            let action = first.remove();
            self.act(action, now, machine)?;
        }
        Ok(())
    }

    fn act(
        &mut self,
        action: Action,
        now: Instant,
        machine: &mut Machine<'_>,
    ) -> Result<(), Failure> {
        match action {
            Action::Strike(fault, noted) => {
                if !self.stopped {
                    self.strike(fault, noted, now, machine);
                }
            }
            Action::Start(node) => {
                if self.restarts.get(&node).is_some_and(|at| *at <= now) {
                    self.start(node, machine.cluster)?;
                }
            }
            Action::End(strike, ending) => {
                self.settle(machine.proxy);
                self.end(strike, ending, now, machine);
            }
        }
        Ok(())
    }

    fn end(&mut self, strike: u64, ending: Ending, now: Instant, machine: &mut Machine<'_>) {
        match ending {
            Ending::Resume(node) => {
                if self.pauses.get(&node) == Some(&strike) {
                    machine.cluster.resume(node);
                }
                self.open.remove(&strike);
            }
            Ending::Unblock(links) => {
                machine.proxy.change(|weather| {
                    for link in &links {
                        if let Some(blocks) = weather.blocked.get_mut(link) {
                            *blocks -= 1;
                        }
                    }
                    weather.blocked.retain(|_, blocks| *blocks > 0);
                });
                self.open.remove(&strike);
            }
            Ending::EndLoss(share) => {
                machine.proxy.change(|weather| {
                    if let Some(at) = weather.losses.iter().position(|known| *known == share) {
                        weather.losses.remove(at);
                    }
                });
                self.open.remove(&strike);
            }
            Ending::EndDelay(links) => {
                machine.proxy.change(|weather| {
                    for link in &links {
                        weather.extra_us.get_mut(link).and_then(Vec::pop);
                    }
                });
                self.open.remove(&strike);
            }
            Ending::CrashAgain { node, times, down, up } => {
                if !self.stopped && machine.cluster.kill(node) {
                    self.bit(strike);
                    self.crashed_in_loop(strike, (node, times, down, up), now);
                }
            }
            Ending::Kill(node) => {
                if let Some((known, down)) = self.stopping.get(&node).copied()
                    && known == strike
                    && machine.cluster.kill(node)
                {
                    self.bit(strike);
                    self.restart_after(node, down, now);
                }
            }
        }
    }

    /// A process ended by itself. True if a fault explains it: it was asked to stop, and exited
    /// with 0.
    pub fn exited(&mut self, node: NodeId, well: bool, now: Instant) -> bool {
        let Some((strike, down)) = self.stopping.remove(&node) else { return false };
        self.bit(strike);
        self.restart_after(node, down, now);
        well
    }

    /// Starts the process of a node that is down.
    fn start(&mut self, node: NodeId, cluster: &mut Cluster) -> Result<(), Failure> {
        self.restarts.remove(&node);
        self.stopping.remove(&node);
        cluster.start(node)
    }

    fn restart_after(&mut self, node: NodeId, down: Duration, now: Instant) {
        let at = now + down;
        self.restarts.insert(node, at);
        self.schedule(at, Action::Start(node));
    }

    /// No fault strikes any more. What is down or cut off stays so until [`Nemesis::heal`].
    pub fn stop(&mut self) {
        self.stopped = true;
        self.armed.clear();
    }

    /// Heals everything within `core` (all nodes, or some). Nodes outside are cut off from it and
    /// from clients.
    ///
    /// # Errors
    /// If a process cannot be started.
    pub fn heal(&mut self, core: &[NodeId], machine: &mut Machine<'_>) -> Result<(), Failure> {
        self.stop();
        self.settle(machine.proxy);
        // Traffic that the healing holds back is no strike's effect. A node asked to stop may still
        // do so.
        self.open.retain(|_, open| open.gauge.is_none());
        self.actions.clear();
        let outside = |node: NodeId| self.nodes.contains(&node) && !core.contains(&node);
        machine.proxy.change(|weather| {
            weather.losses.clear();
            weather.extra_us.clear();
            weather.blocked.clear();
            let all: Vec<NodeId> = self.nodes.iter().chain(&self.clients).copied().collect();
            for &from in &all {
                let cut = all.iter().filter(|to| outside(from) != outside(**to));
                weather.blocked.extend(cut.map(|to| ((from, *to), 1)));
            }
        });
        for &node in core {
            if machine.cluster.is_up(node) {
                machine.cluster.resume(node);
            }
            if !machine.cluster.is_up(node) {
                self.start(node, machine.cluster)?;
            }
        }
        Ok(())
    }

    fn strike(
        &mut self,
        fault: Fault,
        noted: Option<NodeId>,
        now: Instant,
        machine: &mut Machine<'_>,
    ) {
        self.strikes += 1;
        let place = self.dice.place(Purpose::Driver).with(self.strikes);
        let name = fault.what.name();
        let Some(gauge) = self.inflict(&fault.what, noted, place, now, machine) else { return };
        self.counts.entry(name).or_default().fired += 1;
        match gauge {
            Struck::Bit => self.counts.entry(name).or_default().bit += 1,
            Struck::GoesOn => {
                self.open.insert(self.strikes, Open { name, gauge: None });
            }
            Struck::Watched(gauge, before) => {
                self.open.insert(self.strikes, Open { name, gauge: Some((gauge, before)) });
            }
        }
        for next in fault.then {
            self.arm(next, noted, now);
        }
    }

    /// `None` if there was no node to hit.
    fn inflict(
        &mut self,
        what: &FaultKind,
        noted: Option<NodeId>,
        place: Place,
        now: Instant,
        machine: &mut Machine<'_>,
    ) -> Option<Struck> {
        let whom =
            Whom { nodes: &self.nodes, dice: &self.dice, roles: machine.roles, noted, place };
        let running = |target: &Target| whom.is(target).filter(|node| machine.cluster.is_up(*node));
        let strike = self.strikes;
        match what {
            FaultKind::Crash(Crash { node, down_us }) => {
                let node = running(node)?;
                machine.cluster.kill(node);
                self.restart_after(node, us(*down_us), now);
                Some(Struck::Bit)
            }
            FaultKind::Restart(Restart { node, patience_us, down_us }) => {
                let node = running(node).filter(|node| !self.stopping.contains_key(node))?;
                self.stopping.insert(node, (strike, us(*down_us)));
                machine.cluster.ask_to_stop(node);
                self.schedule(now + us(*patience_us), Action::End(strike, Ending::Kill(node)));
                Some(Struck::GoesOn)
            }
            FaultKind::CrashLoop(CrashLoop { node, times, down_us, up_us }) => {
                let node = running(node)?;
                machine.cluster.kill(node);
                self.crashed_in_loop(strike, (node, *times, us(*down_us), us(*up_us)), now);
                Some(if *times == 1 { Struck::Bit } else { Struck::GoesOn })
            }
            FaultKind::Partition(Partition { shape, one_way, clients_too, for_us }) => {
                let clients: &[NodeId] = if *clients_too { &self.clients } else { &[] };
                let links = whom.cut(shape, *one_way, clients);
                self.hold_back(links, now + us(*for_us), machine.proxy)
            }
            FaultKind::Loss(Loss { permille, for_us }) => {
                let share = u64::from(*permille) * 1000;
                let before = Gauge::Lost.read(machine.proxy);
                machine.proxy.change(|weather| weather.losses.push(share));
                self.schedule(now + us(*for_us), Action::End(strike, Ending::EndLoss(share)));
                Some(Struck::Watched(Gauge::Lost, before))
            }
            FaultKind::Delay(Delay { extra_us, node, for_us, clients_too }) => {
                let around = match node {
                    Some(target) => Some(whom.is(target)?),
                    None => None,
                };
                let links = self.around(around, *clients_too);
                Some(self.slow_down(links, *extra_us, now + us(*for_us), machine.proxy))
            }
            FaultKind::Pause(Pause { node, for_us }) => {
                let node = running(node)?;
                self.pauses.insert(node, strike);
                let paused = machine.cluster.pause(node);
                self.schedule(now + us(*for_us), Action::End(strike, Ending::Resume(node)));
                paused.then_some(Struck::Bit)
            }
            FaultKind::PowerLoss(_)
            | FaultKind::PowerLossAll(_)
            | FaultKind::FailSync(_)
            | FaultKind::SlowDisk(_)
            | FaultKind::Damage(_)
            | FaultKind::DamageIndex(_)
            | FaultKind::Lie(_) => {
                unreachable!("the cast leaves out what is not playable")
            }
        }
    }

    /// Blocks these links until `until`.
    fn hold_back(&mut self, links: Vec<Link>, until: Instant, proxy: &Proxy) -> Option<Struck> {
        if links.is_empty() {
            return None;
        }
        let gauge = Gauge::Held(links.clone());
        let before = gauge.read(proxy);
        proxy.change(|weather| {
            for link in &links {
                *weather.blocked.entry(*link).or_default() += 1;
            }
        });
        self.schedule(until, Action::End(self.strikes, Ending::Unblock(links)));
        Some(Struck::Watched(gauge, before))
    }

    /// Delays traffic on these links until `until`.
    fn slow_down(
        &mut self,
        links: Vec<Link>,
        extra_us: u64,
        until: Instant,
        proxy: &Proxy,
    ) -> Struck {
        let gauge = Gauge::Delayed(links.clone());
        let before = gauge.read(proxy);
        proxy.change(|weather| {
            for link in &links {
                weather.extra_us.entry(*link).or_default().push(extra_us);
            }
        });
        self.schedule(until, Action::End(self.strikes, Ending::EndDelay(links)));
        Struck::Watched(gauge, before)
    }

    /// The links from and to a node, or all links. `clients_too` includes those of clients.
    fn around(&self, node: Option<NodeId>, clients_too: bool) -> Vec<Link> {
        let clients: &[NodeId] = if clients_too { &self.clients } else { &[] };
        let hosts: Vec<NodeId> = self.nodes.iter().chain(clients).copied().collect();
        let meant = |link: &Link| node.is_none_or(|node| node == link.0 || node == link.1);
        let all = hosts.iter().flat_map(|from| hosts.iter().map(|to| (*from, *to)));
        all.filter(|link| link.0 != link.1).filter(meant).collect()
    }

    /// A crash loop has killed its node. Schedules what comes next.
    fn crashed_in_loop(
        &mut self,
        strike: u64,
        (node, times, down, up): (NodeId, u32, Duration, Duration),
        now: Instant,
    ) {
        self.restart_after(node, down, now);
        if times > 1 {
            let again = Ending::CrashAgain { node, times: times - 1, down, up };
            self.schedule(now + down + up, Action::End(strike, again));
        }
    }
}

/// The immediate result of a strike.
enum Struck {
    /// It took effect at once.
    Bit,
    /// Whether it took effect is known later.
    GoesOn,
    /// It takes effect when this gauge rises above this reading.
    Watched(Gauge, u64),
}

fn planned(faults: &[Fault]) -> BTreeMap<&'static str, FaultCounts> {
    let mut counts: BTreeMap<&'static str, FaultCounts> = BTreeMap::new();
    let mut rest: Vec<&Fault> = faults.iter().collect();
    while let Some(fault) = rest.pop() {
        counts.entry(fault.what.name()).or_default().planned += 1;
        rest.extend(&fault.then);
    }
    counts
}

/// Resolves targets to nodes, and partition shapes to links.
struct Whom<'a> {
    nodes: &'a [NodeId],
    dice: &'a Dice,
    roles: &'a Roles,
    noted: Option<NodeId>,
    place: Place,
}

impl Whom<'_> {
    fn is(&self, target: &Target) -> Option<NodeId> {
        let registered = |at: &PartitionRef| {
            self.roles.topic(*at).and_then(|topic| self.roles.registered(topic, at.partition))
        };
        let follower = |at: &PartitionRef| {
            let registered = registered(at)?;
            let isr = registered.isr.iter().copied();
            self.pick(&isr.filter(|node| Some(*node) != registered.leader).collect::<Vec<_>>())
        };
        match target {
            Target::Node(node) => Some(NodeId(*node)),
            Target::LeaderOf(at) => registered(at)?.leader,
            Target::FollowerOf(at) => follower(at),
            Target::LaggingOf(at) => {
                let replicas = self.roles.replicas(self.roles.topic(*at)?, at.partition).iter();
                let isr = &registered(at)?.isr;
                let lagging: Vec<NodeId> =
                    replicas.copied().filter(|node| !isr.contains(node)).collect();
                self.pick(&lagging).or_else(|| follower(at))
            }
            Target::ActiveController => self.roles.active_controller(),
            Target::OtherController => {
                let active = self.roles.active_controller();
                let voters = self.roles.voters().iter().copied();
                self.pick(&voters.filter(|node| Some(*node) != active).collect::<Vec<_>>())
            }
            Target::Noted => self.noted.or_else(|| self.pick(self.nodes)),
            Target::Other => {
                let others = self.nodes.iter().copied().filter(|node| Some(*node) != self.noted);
                self.pick(&others.collect::<Vec<_>>())
            }
            // Nothing reports here which pages the kernel has not written yet.
            Target::Unsynced => self.pick(self.nodes),
        }
    }

    fn pick(&self, from: &[NodeId]) -> Option<NodeId> {
        if from.is_empty() {
            return None;
        }
        let index = self.dice.decide(self.place.with(1), from.len() as u64);
        Some(from[index as usize])
    }

    /// The links that a partition of this shape blocks. `clients` cannot reach an isolated node.
    fn cut(&self, shape: &Shape, one_way: bool, clients: &[NodeId]) -> Vec<Link> {
        let nodes = self.nodes;
        let mut links = Vec::new();
        let groups: Vec<Vec<NodeId>> = match shape {
            Shape::Isolate(target) => {
                let Some(node) = self.is(target) else { return links };
                for &client in clients {
                    links.push((client, node));
                    if !one_way {
                        links.push((node, client));
                    }
                }
                let rest = nodes.iter().copied().filter(|other| *other != node).collect();
                vec![rest, vec![node]]
            }
            Shape::Groups(sets) => {
                let named = sets.iter().map(|set| set.iter().copied().map(NodeId).collect());
                let rest = nodes.iter().filter(|node| !sets.iter().flatten().any(|n| *n == node.0));
                named.chain(rest.map(|node| vec![*node])).collect()
            }
            Shape::Bridge(target) => match self.is(target) {
                Some(bridge) => self.halves(bridge),
                None => return links,
            },
            Shape::Pair(one, other) => match (self.is(one), self.is(other)) {
                (Some(one), Some(other)) if one != other => vec![vec![one], vec![other]],
                _ => return links,
            },
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
                return links;
            }
        };
        for (i, froms) in groups.iter().enumerate() {
            for (j, tos) in groups.iter().enumerate() {
                if i != j && !(one_way && i > j) {
                    links.extend(froms.iter().flat_map(|from| tos.iter().map(|to| (*from, *to))));
                }
            }
        }
        links
    }

    /// All nodes but the bridge, in two drawn halves.
    fn halves(&self, bridge: NodeId) -> Vec<Vec<NodeId>> {
        let others = self.nodes.iter().copied().filter(|node| *node != bridge);
        let mut groups = vec![Vec::new(), Vec::new()];
        let start = self.dice.decide(self.place.with(2), 2) as usize;
        for (index, node) in others.enumerate() {
            let side = match index {
                0 => start,
                1 => 1 - start,
                _ => self.dice.decide(self.place.with(3).with(node.0 as u64), 2) as usize,
            };
            groups[side].push(node);
        }
        groups.retain(|group| !group.is_empty());
        groups
    }
}

/// Does the trigger wait for this note?
fn is_meant(trigger: &AfterNote, noted: &NotedAt, roles: &Roles) -> bool {
    let about = || wavetank_sim::partition_of(&noted.note);
    trigger.name == noted.note.name()
        && trigger.node.is_none_or(|meant| meant == noted.node.0)
        && trigger.partition.is_none_or(|meant| about().is_some_and(|of| roles.is(meant, of)))
}

/// A note about the metadata log counts only for triggers whose name begins with `quorum_`.
fn is_of_metadata_log(note: &Note) -> bool {
    wavetank_sim::partition_of(note) == Some(TopicPartition::METADATA)
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_core::types::{PartitionEpoch, Uuid};
    use wavetank_sim::profile::Profile;

    fn links(shape: &Shape, one_way: bool, clients: &[i32]) -> Vec<(i32, i32)> {
        let roles = Roles::new(&Profile::First.draw(1));
        let nodes: Vec<NodeId> = (1..=4).map(NodeId).collect();
        let dice = Dice::new(1);
        let place = dice.place(Purpose::Driver);
        let whom = Whom { nodes: &nodes, dice: &dice, roles: &roles, noted: None, place };
        let clients: Vec<NodeId> = clients.iter().copied().map(NodeId).collect();
        let mut links: Vec<(i32, i32)> = whom
            .cut(shape, one_way, &clients)
            .into_iter()
            .map(|(from, to)| (from.0, to.0))
            .collect();
        links.sort_unstable();
        links
    }

    #[test]
    fn a_trigger_means_its_node_and_its_partition() {
        let plan = Profile::First.draw(1);
        let mut roles = Roles::new(&plan);
        let id = TopicPartition { topic: Uuid(9), partition: 0 };
        let known = crate::observer::Partition { id, replicas: vec![], end: 0 };
        roles.learn(&plan.topics[0].name, &known);
        let (isr, partition_epoch) = (vec![], PartitionEpoch(1));
        let note = Note::IsrCommitted { partition: id, isr, partition_epoch };
        let noted = NotedAt { at: 1, node: NodeId(2), note };
        let is = |node: Option<i32>, partition: Option<i32>| {
            let trigger = AfterNote {
                name: noted.note.name().into(),
                from_us: 0,
                count: 1,
                delay_us: 0,
                node,
                partition: partition.map(|partition| PartitionRef { topic: 0, partition }),
            };
            is_meant(&trigger, &noted, &roles)
        };
        assert!(is(None, None) && is(Some(2), Some(0)));
        assert!(!is(Some(1), None) && !is(None, Some(1)));
    }

    #[test]
    fn a_delay_is_for_clients_too_where_it_says_so() {
        let mut nemesis = Nemesis::new(&Profile::First.draw(1));
        nemesis.set_clients(vec![NodeId(101)]);
        let slow = |clients_too| nemesis.around(Some(NodeId(1)), clients_too);
        let client = |link: &Link| *link == (NodeId(101), NodeId(1));
        assert!(slow(true).iter().any(client) && !slow(false).iter().any(client));
        assert!(slow(true).iter().all(|link| link.0 == NodeId(1) || link.1 == NodeId(1)));
    }

    #[test]
    fn shapes_cut_what_they_say() {
        let isolate = Shape::Isolate(Target::Node(4));
        let both = [(1, 4), (2, 4), (3, 4), (4, 1), (4, 2), (4, 3)];
        assert_eq!(links(&isolate, false, &[]), both);
        assert_eq!(links(&isolate, true, &[101]), [(1, 4), (2, 4), (3, 4), (101, 4)]);
        let pair = Shape::Pair(Target::Node(1), Target::Node(3));
        assert_eq!(links(&pair, false, &[]), [(1, 3), (3, 1)]);
        assert_eq!(links(&Shape::Pair(Target::Node(1), Target::Node(1)), false, &[]), []);
        let groups = Shape::Groups(vec![vec![1, 2], vec![3, 4]]);
        assert_eq!(links(&groups, true, &[]), [(1, 3), (1, 4), (2, 3), (2, 4)]);
        assert_eq!(links(&Shape::Ring, false, &[]), [(1, 3), (2, 4), (3, 1), (4, 2)]);
        let bridge = links(&Shape::Bridge(Target::Node(2)), false, &[]);
        assert!(!bridge.is_empty() && bridge.iter().all(|(from, to)| *from != 2 && *to != 2));
        // Nobody leads anything yet.
        let leader = Target::LeaderOf(PartitionRef { topic: 0, partition: 0 });
        assert_eq!(links(&Shape::Isolate(leader), false, &[]), []);
    }
}
