//! Three voters and an observer, with messages and disks as queues, a schedule drawn from a seed,
//! process crashes and power losses. Checked after every step: one leader per epoch, logs that
//! agree where epochs do, leaders that have everything committed, and one committed history.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::super::*;
use super::disk::TestDisk;
use crate::effects::{Effect, Effects};
use crate::flaw::Flaw;
use crate::metadata::TopicRecord;
use crate::types::Uuid;

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

struct Node {
    config: NodeConfig,
    quorum: Option<Quorum>,
    incarnation: u32,
    disk: TestDisk,
    timers: BTreeMap<TimerKey, Monotonic>,
    stale: Vec<(TimerKey, Monotonic)>,
    /// The records reported as committed in this incarnation.
    committed: Vec<(Offset, LeaderEpoch, MetadataRecord)>,
    active: bool,
}

/// A request in flight, a request waiting for its answer, or the answer in flight.
enum Leg {
    There(Request),
    Answering,
    Back(Response),
}

struct Call {
    from: (usize, u32),
    to: (usize, u32),
    peer: NodeId,
    channel: Channel,
    leg: Leg,
}

pub(super) struct Cluster {
    nodes: Vec<Node>,
    calls: BTreeMap<u64, Call>,
    next_call: u64,
    now: Monotonic,
    dice: Dice,
    draws: u64,
    slow_disks: bool,
    /// The node that is not started again.
    dead: Option<usize>,
    appended: u128,
    /// (node, incarnation) by the epoch that it led.
    leaders: BTreeMap<LeaderEpoch, (usize, u32)>,
    history: BTreeMap<Offset, (LeaderEpoch, MetadataRecord)>,
    records: BTreeMap<(Offset, LeaderEpoch), Vec<(Offset, MetadataRecord)>>,
    pub(super) elections: u32,
    pub(super) commits: u32,
    pub(super) crashes: u32,
    pub(super) truncations: u32,
}

const NODES: usize = 4;

impl Cluster {
    pub(super) fn new(seed: u64, flaws: &[Flaw], cache: u32) -> Cluster {
        let voters: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let nodes = (1..=NODES as i32).map(|id| {
            let mut config = NodeConfig::new(NodeId(id), voters.clone());
            config.flaws = flaws.iter().copied().collect();
            config.tail_cache_bytes = cache;
            Node {
                config,
                quorum: None,
                incarnation: 0,
                disk: TestDisk::default(),
                timers: BTreeMap::new(),
                stale: Vec::new(),
                committed: Vec::new(),
                active: false,
            }
        });
        let mut cluster = Cluster {
            nodes: nodes.collect(),
            calls: BTreeMap::new(),
            next_call: 0,
            now: Monotonic(1),
            dice: Dice(seed),
            draws: seed,
            slow_disks: seed % 3 == 1,
            dead: None,
            appended: 0,
            leaders: BTreeMap::new(),
            history: BTreeMap::new(),
            records: BTreeMap::new(),
            elections: 0,
            commits: 0,
            crashes: 0,
            truncations: 0,
        };
        for node in 0..NODES {
            cluster.start(node).expect("nothing has happened yet");
        }
        cluster
    }

    fn start(&mut self, at: usize) -> Result<(), String> {
        let node = &mut self.nodes[at];
        node.incarnation += 1;
        node.quorum = Some(Quorum::new(&node.config));
        node.committed.clear();
        node.active = false;
        self.step(at, |quorum, env, _| quorum.start(env))
    }

    /// One step of a node: queues its effects and checks its facts.
    fn step(
        &mut self,
        at: usize,
        act: impl FnOnce(&mut Quorum, &mut dyn Env, &mut Vec<QuorumFact>),
    ) -> Result<(), String> {
        let mut env = Seeded { recorder: Effects::at(self.now), dice: self.draws };
        let mut facts = Vec::new();
        let node = &mut self.nodes[at];
        let Some(quorum) = &mut node.quorum else { return Ok(()) };
        act(quorum, &mut env, &mut facts);
        self.draws = env.dice;
        for effect in env.recorder.list {
            self.effect(at, effect);
        }
        for note in &env.recorder.notes {
            match note {
                crate::note::Note::QuorumLeader { .. } => self.elections += 1,
                crate::note::Note::Truncated { .. } => self.truncations += 1,
                _ => {}
            }
        }
        for fact in facts {
            self.fact(at, fact)?;
        }
        self.check(at)
    }

    fn effect(&mut self, at: usize, effect: Effect) {
        let node = &mut self.nodes[at];
        let from = (at, node.incarnation);
        match effect {
            Effect::Arm(key, deadline) => {
                if let Some(old) = node.timers.insert(key, deadline) {
                    node.stale.push((key, old));
                }
            }
            Effect::Disarm(key) => {
                node.stale.extend(node.timers.remove(&key).map(|old| (key, old)));
            }
            Effect::Disk(op) => node.disk.submit(op),
            Effect::Request(peer, channel, _, request) => {
                let twice = self
                    .calls
                    .values()
                    .any(|c| c.from == from && c.peer == peer && c.channel == channel);
                assert!(!twice, "two in flight to {peer} on {channel:?}");
                let to = (peer.0 - 1) as usize;
                let to = (to, self.nodes[to].incarnation);
                let leg = Leg::There(request);
                self.next_call += 1;
                self.calls.insert(self.next_call, Call { from, to, peer, channel, leg });
            }
            Effect::Respond(to, response) => {
                let id = to.connection.0;
                if let Some(call) = self.calls.get_mut(&id) {
                    assert!(matches!(call.leg, Leg::Answering), "answered twice");
                    call.leg = Leg::Back(response);
                }
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn fact(&mut self, at: usize, fact: QuorumFact) -> Result<(), String> {
        let node = &mut self.nodes[at];
        match fact {
            QuorumFact::Committed { records, upto, .. } => {
                for (offset, epoch, record) in records {
                    let first =
                        self.history.entry(offset).or_insert_with(|| (epoch, record.clone()));
                    if *first != (epoch, record.clone()) {
                        return Err(format!("two records committed at {offset}"));
                    }
                    if node.committed.last().is_some_and(|(last, _, _)| *last >= offset) {
                        return Err(format!("{offset} was told twice"));
                    }
                    node.committed.push((offset, epoch, record));
                    self.commits += 1;
                }
                let holes = self.history.range(..upto).count() != node.committed.len();
                if holes {
                    return Err(format!("node {at} was not told all below {upto}"));
                }
            }
            QuorumFact::BecameLeader { .. } => node.active = true,
            QuorumFact::LostLeadership => node.active = false,
            QuorumFact::Ready | QuorumFact::LeaderChanged { .. } => {}
            QuorumFact::Failed(op, error) => panic!("node {at} failed: {op:?} {error:?}"),
            QuorumFact::Damaged(damage) => return Err(format!("node {at}: {damage}")),
            QuorumFact::Refused(why) => return Err(format!("node {at} refused: {why}")),
        }
        Ok(())
    }

    fn check(&mut self, at: usize) -> Result<(), String> {
        let node = &self.nodes[at];
        let Some(quorum) = &node.quorum else { return Ok(()) };
        let epoch = quorum.epoch();
        if quorum.is_leader() {
            let who = (at, node.incarnation);
            let first = *self.leaders.entry(epoch).or_insert(who);
            if first != who {
                return Err(format!("two leaders in epoch {epoch}: {first:?} and {who:?}"));
            }
            // It has everything that is committed.
            let mine: BTreeMap<Offset, LeaderEpoch> = quorum
                .pending
                .iter()
                .flat_map(|batch| batch.records.iter().map(|(o, _)| (*o, batch.epoch)))
                .collect();
            for (offset, (written, _)) in self.history.range(quorum.delivered..) {
                // A deposed leader need not have what a later leader committed.
                if *written <= epoch && mine.get(offset) != Some(written) && self.newest(epoch) {
                    return Err(format!("the leader of {epoch} lacks committed {offset}"));
                }
            }
        }
        for batch in quorum.pending.iter() {
            let key = (batch.base, batch.epoch);
            let first = self.records.entry(key).or_insert_with(|| batch.records.clone());
            if *first != batch.records {
                return Err(format!("two batches are ({}, epoch {})", batch.base, batch.epoch));
            }
        }
        Ok(())
    }

    fn newest(&self, epoch: LeaderEpoch) -> bool {
        self.leaders.keys().next_back() == Some(&epoch)
    }

    fn deliver(&mut self, id: u64) -> Result<(), String> {
        let Some(call) = self.calls.get_mut(&id) else { return Ok(()) };
        let (from, to, peer, channel) = (call.from, call.to, call.peer, call.channel);
        match core::mem::replace(&mut call.leg, Leg::Answering) {
            Leg::There(request) => {
                let up = self.nodes[to.0].quorum.is_some() && self.is_running(to.0);
                if !up || self.nodes[to.0].incarnation != to.1 {
                    return self.fail(id);
                }
                let reply = ReplyTo { connection: ConnectionId(id), number: 1 };
                self.step(to.0, |q, env, facts| q.on_request(reply, request, env, facts))
            }
            Leg::Answering => Ok(()),
            Leg::Back(response) => {
                self.calls.remove(&id);
                if self.nodes[from.0].incarnation != from.1 {
                    return Ok(());
                }
                self.step(from.0, |q, env, facts| {
                    q.on_rpc(peer, channel, Ok(response), env, facts);
                })
            }
        }
    }

    /// The connection breaks; the peer may or may not have received the request.
    fn fail(&mut self, id: u64) -> Result<(), String> {
        let Some(call) = self.calls.remove(&id) else { return Ok(()) };
        let (peer, channel, from) = (call.peer, call.channel, call.from);
        if self.nodes[call.to.0].incarnation == call.to.1 {
            let closed = ConnectionId(id);
            self.step(call.to.0, |q, env, _| q.on_connection_closed(closed, env))?;
        }
        if self.nodes[from.0].incarnation != from.1 {
            return Ok(());
        }
        self.step(from.0, |q, env, facts| {
            q.on_rpc(peer, channel, Err(RpcError::Disconnected), env, facts);
        })
    }

    fn is_running(&self, at: usize) -> bool {
        self.nodes[at].quorum.as_ref().is_some_and(|quorum| quorum.phase == Phase::Running)
    }

    fn perform(&mut self, at: usize) -> Result<(), String> {
        match self.nodes[at].disk.perform() {
            Some(done) => self.step(at, |q, env, facts| q.on_disk(&done, env, facts)),
            None => Ok(()),
        }
    }

    /// Fires the earliest timer that is due; if nothing else can happen, time jumps to it.
    fn tick(&mut self, jump: bool) -> Result<(), String> {
        let timers = self.nodes.iter().enumerate().flat_map(|(at, node)| {
            node.timers.iter().map(move |(key, deadline)| (*deadline, at, *key))
        });
        let Some((deadline, at, key)) = timers.min() else { return Ok(()) };
        let idle = self.nodes.iter().all(|node| node.disk.is_idle());
        let still = self.calls.values().all(|call| matches!(call.leg, Leg::Answering));
        if deadline > self.now && !jump && !(idle && still) {
            return Ok(());
        }
        self.now = self.now.max(deadline);
        self.nodes[at].timers.remove(&key);
        self.step(at, |q, env, facts| q.on_timer(key, deadline, env, facts))
    }

    fn fire_stale(&mut self, at: usize) -> Result<(), String> {
        let Some((key, deadline)) = self.nodes[at].stale.pop() else { return Ok(()) };
        if !self.is_running(at) || self.nodes[at].timers.get(&key) == Some(&deadline) {
            return Ok(());
        }
        let before = self.nodes[at].quorum.clone();
        self.step(at, |q, env, facts| q.on_timer(key, deadline, env, facts))?;
        assert_eq!(before, self.nodes[at].quorum, "a stale {key:?} is a no-op");
        Ok(())
    }

    fn crash(&mut self, at: usize, power: bool) -> Result<(), String> {
        let node = &mut self.nodes[at];
        if node.quorum.take().is_none() {
            return Ok(());
        }
        self.crashes += 1;
        node.active = false;
        if power {
            node.disk.power_loss()
        } else {
            node.disk.crash()
        }
        node.timers.clear();
        node.stale.clear();
        let dead = (at, node.incarnation);
        let broken: Vec<u64> =
            self.calls.iter().filter(|(_, c)| c.to == dead).map(|(id, _)| *id).collect();
        self.calls.retain(|_, call| call.from != dead);
        broken.into_iter().try_for_each(|id| self.fail(id))
    }

    fn append(&mut self, at: usize) -> Result<(), String> {
        if !self.nodes[at].active {
            return Ok(());
        }
        self.appended += 1;
        let id = Uuid(self.appended);
        let records: Vec<MetadataRecord> = (0..1 + self.dice.below(2))
            .map(|n| MetadataRecord::Topic(TopicRecord { name: format!("t{n}"), id }))
            .collect();
        self.step(at, |quorum, env, _| {
            quorum.append(&records, env).expect("an active leader takes it");
        })
    }

    fn random_call(&mut self) -> Option<u64> {
        let moving: Vec<u64> = self
            .calls
            .iter()
            .filter(|(_, call)| !matches!(call.leg, Leg::Answering))
            .map(|(id, _)| *id)
            .collect();
        (!moving.is_empty()).then(|| moving[self.dice.below(moving.len() as u64) as usize])
    }

    fn act(&mut self, storm: bool) -> Result<(), String> {
        let at = self.dice.below(NODES as u64) as usize;
        self.now = Monotonic(self.now.0 + self.dice.below(1_000_000));
        match self.dice.below(100) {
            // Some disks are slower than the network.
            0..=39 if storm && self.slow_disks && self.dice.below(8) != 0 => self.tick(false),
            0..=39 => self.perform(at),
            40..=69 => match self.random_call() {
                Some(id) => self.deliver(id),
                None => self.tick(false),
            },
            70..=80 => self.tick(false),
            81..=84 if storm => self.append(at),
            85..=87 => self.fire_stale(at),
            88..=91 if self.nodes[at].quorum.is_none() && self.dead != Some(at) => self.start(at),
            _ if !storm => self.tick(false),
            92 => self.tick(true),
            93..=94 => match self.calls.keys().next().copied() {
                Some(id) => self.fail(id),
                None => Ok(()),
            },
            95 => match self.dice.below(40) {
                0..=2 => self.crash(at, false),
                3..=8 => self.crash(at, true),
                9 => (0..NODES).try_for_each(|node| self.crash(node, true)),
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }

    /// A storm of `steps` steps.
    pub(super) fn storm(&mut self, steps: u32) -> Result<(), String> {
        (0..steps).try_for_each(|_| self.act(true))
    }

    /// No more faults, but one voter stays dead: the others must elect and agree without it. Then
    /// it comes back, and must agree, too.
    pub(super) fn heal(&mut self) -> Result<(), String> {
        let dead = self.dice.below(3) as usize;
        self.crash(dead, true)?;
        self.dead = Some(dead);
        self.settle()?;
        self.dead = None;
        self.settle()
    }

    /// All nodes but the dead one must agree on one committed log and on its leader.
    fn settle(&mut self) -> Result<(), String> {
        for at in 0..NODES {
            if self.nodes[at].quorum.is_none() && self.dead != Some(at) {
                self.start(at)?;
            }
        }
        for _ in 0..20_000 {
            self.act(false)?;
            if self.has_settled() {
                return Ok(());
            }
        }
        let state: Vec<_> = self
            .nodes
            .iter()
            .map(|n| n.quorum.as_ref().map(|q| (q.role(), q.epoch(), q.log_end())))
            .collect();
        Err(format!("no progress after healing: {state:?}"))
    }

    fn has_settled(&self) -> bool {
        let Some(leader) = self.nodes.iter().find(|node| node.active) else { return false };
        let Some(leader) = &leader.quorum else { return false };
        let end = leader.log_end();
        let alive = self.nodes.iter().enumerate().filter(|(at, _)| self.dead != Some(*at));
        alive.map(|(_, node)| node).all(|node| {
            node.quorum.as_ref().is_some_and(|quorum| {
                quorum.epoch() == leader.epoch()
                    && quorum.leader() == leader.leader()
                    && quorum.log_end() == end
                    && quorum.high_watermark() == Some(end)
            })
        })
    }
}

/// The recorder with draws from the schedule's seed.
struct Seeded {
    recorder: Effects,
    dice: u64,
}

impl crate::env::Clock for Seeded {
    fn now(&self) -> Monotonic {
        self.recorder.now()
    }
    fn wall(&self) -> crate::types::WallTime {
        self.recorder.wall()
    }
}

impl crate::env::Timers for Seeded {
    fn arm(&mut self, key: TimerKey, deadline: Monotonic) {
        self.recorder.arm(key, deadline);
    }
    fn disarm(&mut self, key: TimerKey) {
        self.recorder.disarm(key);
    }
}

impl crate::env::Network for Seeded {
    fn request(
        &mut self,
        peer: NodeId,
        channel: Channel,
        timeout: core::time::Duration,
        request: Request,
    ) {
        self.recorder.request(peer, channel, timeout, request);
    }
    fn respond(&mut self, to: ReplyTo, response: Response) {
        self.recorder.respond(to, response);
    }
    fn no_response(&mut self, to: ReplyTo) {
        self.recorder.no_response(to);
    }
    fn disconnect(&mut self, to: ReplyTo) {
        self.recorder.disconnect(to);
    }
    fn learn_peer(&mut self, peer: NodeId, endpoint: &crate::types::Endpoint) {
        self.recorder.learn_peer(peer, endpoint);
    }
}

impl crate::env::Disk for Seeded {
    fn submit(&mut self, op: crate::env::DiskOp) {
        self.recorder.submit(op);
    }
}

impl crate::env::Random for Seeded {
    fn draw(&mut self, _: Site, bound: u64) -> u64 {
        let mut dice = Dice(self.dice);
        let drawn = dice.below(bound);
        self.dice = dice.0;
        drawn
    }
}

impl crate::env::Probe for Seeded {
    fn note(&mut self, note: crate::note::Note) {
        self.recorder.note(note);
    }
}

const SEEDS: u64 = 2_000;
const STEPS: u32 = 1_500;

#[test]
fn storms_keep_every_promise_and_end_in_agreement() {
    let (mut elections, mut commits, mut crashes, mut truncations) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        // Every other seed reads everything from disk.
        let cache = if seed.is_multiple_of(2) { 1 << 20 } else { 0 };
        let mut cluster = Cluster::new(seed, &[], cache);
        let outcome = cluster.storm(STEPS).and_then(|()| cluster.heal());
        assert_eq!(outcome, Ok(()), "seed {seed}");
        elections += cluster.elections;
        commits += cluster.commits;
        crashes += cluster.crashes;
        truncations += cluster.truncations;
    }
    std::eprintln!("{elections} elections {commits} commits {crashes} crashes {truncations} cuts");
    // The runs really were storms.
    assert!(elections > 2_000 && commits > 20_000 && crashes > 4_000 && truncations > 50);
}

fn first_seed_that_breaks(flaw: Flaw, what: &str) -> Option<u64> {
    (0..SEEDS).find(|seed| {
        let mut cluster = Cluster::new(*seed, &[flaw], 1 << 20);
        let run = std::panic::AssertUnwindSafe(|| cluster.storm(STEPS));
        matches!(std::panic::catch_unwind(run), Ok(Err(why)) if why.contains(what))
    })
}

#[test]
fn a_vote_that_is_answered_too_early_makes_two_leaders() {
    let seed = first_seed_that_breaks(Flaw::VoteBeforeDurable, "two leaders in epoch");
    std::eprintln!("vote-before-durable: seed {seed:?}");
    assert!(seed.is_some());
}

#[test]
fn a_leader_that_resumes_its_epoch_is_caught() {
    let seed = first_seed_that_breaks(Flaw::LeaderResumesEpoch, "two leaders in epoch");
    std::eprintln!("leader-resumes-epoch: seed {seed:?}");
    assert!(seed.is_some());
}

#[test]
fn a_run_is_a_function_of_its_seed() {
    let run = |seed| {
        let mut cluster = Cluster::new(seed, &[], 0);
        cluster.storm(STEPS).expect("holds");
        let nodes: Vec<Option<Quorum>> =
            cluster.nodes.iter().map(|node| node.quorum.clone()).collect();
        (cluster.now, cluster.elections, cluster.commits, nodes)
    };
    for seed in [1, 2, 3] {
        assert!(run(seed) == run(seed));
    }
}
