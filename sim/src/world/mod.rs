//! The world: hosts, their timers and disks, the connections between them, and one heap of events.
//!
//! Single-threaded, in virtual time, without a wall clock; every choice comes from [`Dice`]. A host
//! runs one step at a time: it has an inbox and is busy for the drawn cost of each step. Pausing
//! and throttling are built on that. The world is `Clone`, so a snapshot is a copy and a branch is
//! a copy with other dice. A running digest of every event and effect is the run's fingerprint.
//!
//! What does not live here: which faults strike when, workloads, and invariants. Their driver calls
//! [`World::next`] and the methods that crash, cut, slow and break things.

mod drive;
mod env;
#[cfg(test)]
mod exit_tests;
mod network;
mod queue;
#[cfg(test)]
mod storm_tests;
#[cfg(test)]
mod tests;

pub use env::StepEnv;
pub use network::{Exchange, Heal, Inspect, LinkConfig, LinkCounts, Transcode, Wake};

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use wavetank_core::broker::{Broker, Status};
use wavetank_core::env::{Channel, DiskOp, Env};
use wavetank_core::event::{Event, Origin, ReplyTo, TimerKey};
use wavetank_core::msg::{ApiKey, Request, Response};
use wavetank_core::note::Note;
use wavetank_core::types::{Monotonic, NodeId, Uuid};

use crate::decide::{Dice, Purpose};
use crate::digest::{Digest, digest_of};
use crate::disk::{DiskChange, DiskConfig, Outcome, SimDisk};
use network::{CHANNELS, ChannelSlot, Conn, Link};
use queue::{Payload, Queue};

const NO_CONN: u32 = u32::MAX;

const MILLION: i64 = 1_000_000;

/// What runs on a host: a broker, a client, a test's puppet.
pub trait Machine: Clone {
    /// Handles one event.
    fn step(&mut self, event: Event, env: &mut dyn Env);

    /// Whether the process ends after the step that just ran.
    fn exit(&self) -> Option<Exit>;
}

/// Why a process exited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// A graceful stop has finished.
    Stopped,
    /// It cannot continue, and why.
    Failed(String),
}

impl Machine for Broker {
    fn step(&mut self, event: Event, env: &mut dyn Env) {
        Broker::step(self, event, env);
    }

    fn exit(&self) -> Option<Exit> {
        match self.status() {
            Status::Starting | Status::Running => None,
            Status::Stopped => Some(Exit::Stopped),
            Status::Failed(op, error) => Some(Exit::Failed(format!("{op:?}: {error:?}"))),
            Status::Refused(why) => Some(Exit::Failed(why.to_owned())),
        }
    }
}

/// The configuration of the whole world. Times are ns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorldConfig {
    /// Every link, unless set separately.
    pub link: LinkConfig,
    /// How long a client waits for a connection to be established.
    pub connect_timeout: u64,
    /// First retransmission timeout. It doubles …
    pub rto_min: u64,
    /// … up to this.
    pub rto_max: u64,
    /// The longest time until a peer that vanished silently is given up. The shortest is half of
    /// it.
    pub keepalive: u64,
    /// A timer fires up to this late.
    pub timer_slack: u64,
    /// How many of a million replaced or disarmed timers still fire.
    pub stale_timers_per_million: u64,
    /// What wall clocks show at the start, ms since 1970.
    pub epoch_ms: i64,
}

impl Default for WorldConfig {
    fn default() -> WorldConfig {
        WorldConfig {
            link: LinkConfig::default(),
            connect_timeout: 10_000_000_000,
            rto_min: 200_000_000,
            rto_max: 3_000_000_000,
            keepalive: 60_000_000_000,
            timer_slack: 1_000_000,
            stale_timers_per_million: 50_000,
            epoch_ms: 1_750_000_000_000,
        }
    }
}

/// One host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostConfig {
    /// Minimum cost of a step, ns.
    pub cost_min: u64,
    /// Maximum cost of a step, ns.
    pub cost_max: u64,
    /// Its wall clock's offset at the start, ms.
    pub wall_offset_ms: i64,
    /// How much faster its monotonic clock runs than the world's time, in millionths. Must be above
    /// minus a million.
    pub clock_ppm: i64,
    /// Its disk.
    pub disk: DiskConfig,
}

impl Default for HostConfig {
    fn default() -> HostConfig {
        HostConfig {
            cost_min: 1_000,
            cost_max: 20_000,
            wall_offset_ms: 0,
            clock_ppm: 0,
            disk: DiskConfig::default(),
        }
    }
}

/// An event on its way. Large parts are boxed, so it is cheap to move.
#[derive(Clone, Debug)]
enum Delivery {
    Request { from: ReplyTo, version: i16, request: Box<Request> },
    Response { peer: NodeId, channel: Channel, response: Box<Response> },
    Timer { key: TimerKey, deadline: Monotonic },
    Other(Box<Event>),
}

impl Delivery {
    fn of(event: Event) -> Delivery {
        match event {
            Event::Timer { key, deadline } => Delivery::Timer { key, deadline },
            other => Delivery::Other(Box::new(other)),
        }
    }

    fn event(self) -> Event {
        match self {
            Delivery::Request { from, version, request } => {
                // A node in the tank has one listener.
                Event::Request { from, origin: Origin::default(), version, request: *request }
            }
            Delivery::Response { peer, channel, response } => {
                Event::Rpc { peer, channel, outcome: Ok(*response) }
            }
            Delivery::Timer { key, deadline } => Event::Timer { key, deadline },
            Delivery::Other(event) => *event,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct TimerSlot {
    /// What it is armed for, if it is.
    deadline: Option<Monotonic>,
    /// Its entry in the heap: when it is due, and the deadline that it stands for.
    due: (u64, Monotonic),
}

#[derive(Clone, Debug)]
struct Host {
    node: NodeId,
    config: HostConfig,
    incarnation: u32,
    process_up: bool,
    os_up: bool,
    /// How often it has booted after a power loss.
    boots: u64,
    paused: bool,
    /// Events that have ever waited because it was paused.
    held_by_pauses: u64,
    paused_at: u64,
    /// How often it has been paused and resumed.
    pauses: u32,
    wake: Wake,
    throttle_percent: u64,
    busy_until: u64,
    /// Each event with the digest of its content.
    inbox: VecDeque<(Delivery, u64)>,
    /// It is in `ready`, or a wake is scheduled.
    queued: bool,
    timers: BTreeMap<TimerKey, TimerSlot>,
    channels: Vec<ChannelSlot>,
    /// Connections accepted by this incarnation, by id from 1.
    accepted: Vec<u32>,
    /// What the last step sent: (connection, its serial, direction, frame).
    dying: Vec<(u32, u64, bool, u64)>,
    disk: SimDisk,
    wall_offset_ms: i64,
    /// How much faster its wall clock runs, in millionths, and since when.
    wall_drift: (i64, u64),
    /// How many draws each of the machine's sites has made.
    draws: BTreeMap<wavetank_core::env::Site, u64>,
    /// Effects of the current step.
    effects: u32,
    /// Does the current step handle a timer?
    serves_timer: bool,
}

/// Everything but the machines.
#[derive(Clone, Debug)]
struct Inner {
    config: WorldConfig,
    dice: Dice,
    now: u64,
    queue: Queue,
    ready: VecDeque<u32>,
    hosts: Vec<Host>,
    by_node: Vec<u32>,
    links: Vec<Vec<Link>>,
    conns: Vec<Option<Conn>>,
    free_conns: Vec<u32>,
    conn_serial: u64,
    digest: Digest,
    versions: fn(ApiKey) -> i16,
    transcode: Option<Transcode>,
    /// Checks each answer that leaves a machine.
    inspect: Option<Inspect>,
    odd_answers: Vec<(NodeId, String)>,
    notes: Vec<(u64, NodeId, Note)>,
    keep_notes: bool,
    changes: Vec<DiskChange>,
    /// What machines submitted to their disks, while the driver watches.
    submissions: Vec<(NodeId, DiskOp)>,
    watches_disks: bool,
    /// A process that is exiting but has not ended yet.
    leaving: Option<u32>,
    trace: Option<Vec<String>>,
    scratch: Outcome,
    steps: u64,
    /// Frames that a full buffer left with their sender.
    pushed_back: u64,
}

/// See the [module](self).
#[derive(Clone, Debug)]
pub struct World<M> {
    inner: Inner,
    machines: Vec<Option<M>>,
}

/// What [`World::next`] did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// When, ns of virtual time.
    pub at: u64,
    /// The node, or [`NodeId::NONE`] for [`StepKind::Control`].
    pub node: NodeId,
    /// What was delivered.
    pub kind: StepKind,
    /// How many effects (timers, messages, disk operations) the step had.
    pub effects: u32,
    /// The process exited after this step, and its machine is gone.
    pub exit: Option<Exit>,
}

/// The cause of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepKind {
    /// [`Event::Start`].
    Start,
    /// [`Event::Shutdown`].
    Shutdown,
    /// [`Event::Timer`].
    Timer(TimerKey),
    /// [`Event::Disk`].
    Disk,
    /// [`Event::Request`].
    Request(ApiKey),
    /// [`Event::ConnectionClosed`].
    ConnectionClosed,
    /// [`Event::Rpc`] with a response.
    Response(Channel),
    /// [`Event::Rpc`] with an error.
    NoResponse(Channel),
    /// Not a machine's step, but a token from [`World::schedule`].
    Control(u64),
}

impl StepKind {
    fn of(event: &Event) -> StepKind {
        match event {
            Event::Start { .. } => StepKind::Start,
            Event::Shutdown => StepKind::Shutdown,
            Event::Timer { key, .. } => StepKind::Timer(*key),
            Event::Disk(_) => StepKind::Disk,
            Event::Request { request, .. } => StepKind::Request(request.api()),
            Event::ConnectionClosed { .. } => StepKind::ConnectionClosed,
            Event::Rpc { channel, outcome: Ok(_), .. } => StepKind::Response(*channel),
            Event::Rpc { channel, outcome: Err(_), .. } => StepKind::NoResponse(*channel),
        }
    }
}

impl<M: Machine> World<M> {
    /// An empty world.
    pub fn new(seed: u64, config: WorldConfig) -> World<M> {
        World {
            inner: Inner {
                config,
                dice: Dice::new(seed),
                now: 0,
                queue: Queue::default(),
                ready: VecDeque::new(),
                hosts: Vec::new(),
                by_node: Vec::new(),
                links: Vec::new(),
                conns: Vec::new(),
                free_conns: Vec::new(),
                conn_serial: 0,
                digest: Digest::default(),
                versions: |_| 0,
                transcode: None,
                inspect: None,
                odd_answers: Vec::new(),
                notes: Vec::new(),
                keep_notes: true,
                changes: Vec::new(),
                submissions: Vec::new(),
                watches_disks: false,
                leaving: None,
                trace: None,
                scratch: Outcome::default(),
                steps: 0,
                pushed_back: 0,
            },
            machines: Vec::new(),
        }
    }

    /// Runs until one machine has made one step, or a scheduled control is due. `None` if nothing
    /// is left to happen.
    #[expect(clippy::should_implement_trait, reason = "a world is no iterator: it changes between")]
    pub fn next(&mut self) -> Option<Step> {
        self.advance(u64::MAX)
    }

    /// [`World::next`], as long as something happens before `until`. Otherwise moves time to
    /// `until`.
    pub fn next_before(&mut self, until: u64) -> Option<Step> {
        let step = self.advance(until);
        if step.is_none() {
            self.inner.now = self.inner.now.max(until);
        }
        step
    }

    fn advance(&mut self, until: u64) -> Option<Step> {
        self.conclude();
        loop {
            if self.peek_time()? >= until {
                return None;
            }
            if let Some(host) = self.inner.ready.pop_front() {
                match self.run(host) {
                    None => continue,
                    step => return step,
                }
            }
            let (at, payload) = self.inner.queue.pop()?;
            self.inner.now = at;
            if let Payload::Control(token) = payload {
                let (node, kind) = (NodeId::NONE, StepKind::Control(token));
                return Some(Step { at, node, kind, effects: 0, exit: None });
            }
            self.inner.happen(payload);
        }
    }

    /// When the next thing happens, ns. It need not be a step.
    pub fn peek_time(&self) -> Option<u64> {
        if self.inner.ready.is_empty() { self.inner.queue.peek() } else { Some(self.inner.now) }
    }

    /// Runs one step of a ready host, if it is still there and has something to do.
    fn run(&mut self, h: u32) -> Option<Step> {
        let inner = &mut self.inner;
        let now = inner.now;
        let host = &mut inner.hosts[h as usize];
        host.queued = false;
        if host.paused || !host.process_up {
            return None;
        }
        if now < host.busy_until {
            inner.wake_when_free(h);
            return None;
        }
        let (delivery, digest) = host.inbox.pop_front()?;
        let event = delivery.event();
        let machine = self.machines[h as usize].as_mut().expect("a running process has a machine");
        let node = host.node;
        let kind = StepKind::of(&event);
        inner.begin_step(h, digest);
        inner.hosts[h as usize].serves_timer = matches!(kind, StepKind::Timer(_));
        if inner.trace.is_some() {
            inner.trace_line(h, format_args!("< {event:?}"));
        }
        let at = inner.hosts[h as usize].busy_until;
        machine.step(event, &mut StepEnv::new(inner, h, at));
        let exit = machine.exit();
        let host = &mut inner.hosts[h as usize];
        let effects = host.effects;
        if !host.inbox.is_empty() {
            inner.wake_when_free(h);
        }
        if exit.is_some() {
            // One of the driver's faults may wait for what it submitted last.
            match inner.submissions.is_empty() {
                true => self.exit(h),
                false => inner.leaving = Some(h),
            }
        }
        Some(Step { at: now, node, kind, effects, exit })
    }

    /// Ends the process that the last step left exiting ([`World::watch_disks`]), unless it was
    /// killed since. Returns whether there was one.
    pub fn conclude(&mut self) -> bool {
        let leaving = self.inner.leaving.take();
        if let Some(h) = leaving {
            self.exit(h);
        }
        leaving.is_some()
    }

    /// A process exits.
    fn exit(&mut self, h: u32) {
        self.inner.end_process(h, drive::End::Exit);
        self.machines[h as usize] = None;
    }

    /// Runs `act` on a machine at once, as a separate step. For drivers that control a client.
    ///
    /// # Panics
    /// If the node is not running.
    pub fn act<R>(&mut self, node: NodeId, act: impl FnOnce(&mut M, &mut dyn Env) -> R) -> R {
        let h = self.inner.host(node);
        let machine = self.machines[h as usize].as_mut().expect("acted on a running node");
        let inner = &mut self.inner;
        inner.begin_step(h, 0);
        let at = inner.hosts[h as usize].busy_until;
        let result = act(machine, &mut StepEnv::new(inner, h, at));
        if !inner.hosts[h as usize].inbox.is_empty() {
            inner.wake_when_free(h);
        }
        result
    }
}

impl Inner {
    fn host(&self, node: NodeId) -> u32 {
        self.find(node).unwrap_or_else(|| panic!("the world has no node {node}"))
    }

    fn find(&self, node: NodeId) -> Option<u32> {
        let index = usize::try_from(node.0).ok()?;
        self.by_node.get(index).copied().filter(|host| *host != u32::MAX)
    }

    /// Handles something due that is not a machine's step.
    fn happen(&mut self, payload: Payload) {
        match payload {
            Payload::Frame { conn, up } => self.frame_due(conn, up),
            Payload::Release { conn, up } => self.release_due(conn, up),
            Payload::RequestTimeout { conn, at } => self.request_timeout_due(conn, at),
            Payload::ConnectTimeout { conn } => self.connect_timeout_due(conn),
            Payload::Keepalive { conn } => self.keepalive_due(conn),
            Payload::Timer { host, incarnation, key, deadline, at } => {
                if self.hosts[host as usize].incarnation == incarnation {
                    self.timer_due(host, key, deadline, at);
                }
            }
            Payload::Wake { host, incarnation } => {
                if self.hosts[host as usize].incarnation == incarnation {
                    self.ready.push_back(host);
                }
            }
            Payload::Disk { host, job } => {
                let mut out = std::mem::take(&mut self.scratch);
                let disk = &mut self.hosts[host as usize].disk;
                disk.finish(self.now, job, &self.dice, &mut out);
                self.disk_outcome(host, out);
            }
            Payload::Control(_) => unreachable!("controls are handed to the driver"),
        }
    }

    /// A host's wall clock error, ms: its offset plus the drift since.
    fn wall_error(&self, h: u32) -> i64 {
        let host = &self.hosts[h as usize];
        let (ppm, since) = host.wall_drift;
        let drifted = i128::from(self.now - since) * i128::from(ppm) / 1_000_000_000_000;
        host.wall_offset_ms.saturating_add(drifted as i64)
    }

    /// A host's monotonic clock now.
    fn clock(&self, h: u32) -> Monotonic {
        let ppm = self.hosts[h as usize].config.clock_ppm;
        let shown = i128::from(self.now) * i128::from(MILLION + ppm) / i128::from(MILLION);
        Monotonic(u64::try_from(shown).unwrap_or(u64::MAX))
    }

    /// The first time, ns, at which a host's monotonic clock shows `shown`.
    fn when_shown(&self, h: u32, shown: Monotonic) -> u64 {
        let rate = i128::from(MILLION + self.hosts[h as usize].config.clock_ppm);
        let exact = (i128::from(shown.0) * i128::from(MILLION) + rate - 1) / rate;
        u64::try_from(exact).unwrap_or(u64::MAX)
    }

    /// Puts an event in a host's inbox, to be handled in order of arrival.
    fn deliver(&mut self, host: u32, event: Event) {
        let digest = digest_of(&event);
        self.deliver_as(host, Delivery::of(event), digest);
    }

    /// Like `deliver`, with a known digest of the content.
    fn deliver_as(&mut self, h: u32, delivery: Delivery, digest: u64) {
        let host = &mut self.hosts[h as usize];
        host.inbox.push_back((delivery, digest));
        host.held_by_pauses += u64::from(host.paused);
        if !host.queued && !host.paused {
            if host.busy_until <= self.now {
                host.queued = true;
                self.ready.push_back(h);
            } else {
                self.wake_when_free(h);
            }
        }
    }

    fn wake_when_free(&mut self, h: u32) {
        let host = &mut self.hosts[h as usize];
        if !host.queued {
            host.queued = true;
            let incarnation = host.incarnation;
            self.queue.push(host.busy_until, Payload::Wake { host: h, incarnation });
        }
    }

    /// Begins a step. Its cost is drawn before it runs, and its messages leave at its end.
    fn begin_step(&mut self, h: u32, digest: u64) {
        self.steps += 1;
        self.digest.word(self.now);
        self.digest.word(u64::from(h) << 48 ^ digest);
        let host = &mut self.hosts[h as usize];
        host.dying.clear();
        host.effects = 0;
        host.serves_timer = false;
        let place = self.dice.place(Purpose::StepCost).with(host.node.0 as u64);
        let place = place.with(self.now ^ digest);
        let cost = self.dice.range(place, host.config.cost_min, host.config.cost_max);
        let cost = cost.saturating_mul(host.throttle_percent) / 100;
        host.busy_until = self.now.max(host.busy_until) + cost;
    }

    fn arm(&mut self, h: u32, key: TimerKey, deadline: Monotonic) {
        let slot = self.hosts[h as usize].timers.get(&key).copied();
        if let Some(slot) = slot
            && slot.due.1 <= deadline
        {
            // The heap's entry is due first, and will schedule this deadline then.
            self.hosts[h as usize]
                .timers
                .insert(key, TimerSlot { deadline: Some(deadline), ..slot });
            return;
        }
        self.schedule_timer(h, key, deadline);
    }

    fn disarm(&mut self, h: u32, key: TimerKey) {
        if let Some(slot) = self.hosts[h as usize].timers.get_mut(&key) {
            slot.deadline = None;
        }
    }

    fn schedule_timer(&mut self, h: u32, key: TimerKey, deadline: Monotonic) {
        let host = &self.hosts[h as usize];
        let place = self.dice.place(Purpose::TimerSlack).with(host.node.0 as u64);
        let place = place.with_value(&key).with(deadline.0);
        let slack = self.dice.range(place, 0, self.config.timer_slack);
        let at = self.when_shown(h, deadline).max(self.now).saturating_add(slack);
        let host = &mut self.hosts[h as usize];
        host.timers.insert(key, TimerSlot { deadline: Some(deadline), due: (at, deadline) });
        let incarnation = host.incarnation;
        self.queue.push(at, Payload::Timer { host: h, incarnation, key, deadline, at });
    }

    /// A timer's entry in the heap is due. The timer may be live, replaced or disarmed.
    fn timer_due(&mut self, h: u32, key: TimerKey, deadline: Monotonic, at: u64) {
        let host = &mut self.hosts[h as usize];
        if let Some(slot) = host.timers.get(&key).copied()
            && slot.due == (at, deadline)
        {
            host.timers.remove(&key);
            match slot.deadline {
                Some(armed) if armed == deadline => {
                    self.deliver(h, Event::Timer { key, deadline });
                    return;
                }
                Some(armed) => self.schedule_timer(h, key, armed),
                None => {}
            }
        }
        let place = self.dice.place(Purpose::StaleTimer);
        let place = place.with(self.hosts[h as usize].node.0 as u64);
        let place = place.with_value(&key).with(deadline.0);
        if self.dice.ratio(place, self.config.stale_timers_per_million, 1_000_000) {
            self.deliver(h, Event::Timer { key, deadline });
        }
    }

    /// Schedules and delivers the results of a call on a disk.
    fn disk_outcome(&mut self, h: u32, mut out: Outcome) {
        for job in out.jobs.drain(..) {
            self.queue.push(job.at.max(self.now), Payload::Disk { host: h, job });
        }
        for done in out.done.drain(..) {
            self.deliver(h, Event::Disk(done));
        }
        self.changes.append(&mut out.changes);
        self.scratch = out;
    }

    /// The id of a host's current boot, the same for all its processes until a power loss.
    fn boot_id(&self, h: u32) -> Uuid {
        let host = &self.hosts[h as usize];
        let place = self.dice.place(Purpose::Boot).with(host.node.0 as u64).with(host.boots);
        let half = |which| u128::from(self.dice.decide(place.with(which), u64::MAX));
        Uuid(half(0) << 64 | half(1))
    }

    fn trace_line(&mut self, h: u32, what: std::fmt::Arguments<'_>) {
        let node = self.hosts[h as usize].node;
        let now = Monotonic(self.now);
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now} {node} {what}"));
        }
    }

    fn add_host(&mut self, node: NodeId, config: HostConfig) -> u32 {
        let index = usize::try_from(node.0).expect("nodes are numbered from 0");
        assert!(index < 1 << 16, "node {node}: the world numbers its nodes below 65,536");
        if self.by_node.len() <= index {
            self.by_node.resize(index + 1, u32::MAX);
        }
        assert_eq!(self.by_node[index], u32::MAX, "node {node} is added twice");
        let h = self.hosts.len() as u32;
        self.by_node[index] = h;
        for row in &mut self.links {
            row.push(Link::new(self.config.link));
        }
        self.links.push(vec![Link::new(self.config.link); h as usize + 1]);
        let empty = ChannelSlot { conn: NO_CONN, opened: 0 };
        for host in &mut self.hosts {
            host.channels.resize((h as usize + 1) * CHANNELS, empty);
        }
        let place = self.dice.place(Purpose::DiskLatency).with(node.0 as u64);
        self.hosts.push(Host {
            node,
            incarnation: 0,
            process_up: false,
            os_up: true,
            boots: 0,
            paused: false,
            held_by_pauses: 0,
            paused_at: 0,
            pauses: 0,
            wake: Wake::default(),
            throttle_percent: 100,
            serves_timer: false,
            busy_until: 0,
            inbox: VecDeque::new(),
            queued: false,
            timers: BTreeMap::new(),
            channels: vec![empty; (h as usize + 1) * CHANNELS],
            accepted: Vec::new(),
            dying: Vec::new(),
            disk: SimDisk::new(node, place, config.disk.clone()),
            wall_offset_ms: config.wall_offset_ms,
            wall_drift: (0, 0),
            draws: BTreeMap::new(),
            effects: 0,
            config,
        });
        h
    }
}
