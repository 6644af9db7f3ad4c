//! Three replicas of one log, each with a coordinator, under random interleavings of requests,
//! replication, elections, late news of an election, reads, timers and refusals.
//!
//! Checked after every step: an answer is given only when everything it tells of is committed; no
//! caller is answered twice; no coordinator answers on behalf of a leadership that it knows is
//! over; a coordinator's state is the replay of its log; the timers are those that the state asks
//! for. At the end all is repaired, and everybody has been answered. The last test plants bugs and
//! sees that each of these checks fails.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::*;

/// A way to break the runtime's surroundings, so that a check has to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Planted {
    Nothing,
    /// What is appended counts as committed at once.
    EarlyCommit,
    /// A late read is taken for the one that is awaited.
    StaleRead,
    /// A deposed coordinator is not told, and hears of commits of the new leader.
    Undeposed,
    /// A commit is reported twice to a copy of the coordinator.
    Twice,
    /// A timer of the environment is lost.
    LostTimer,
}

struct Node {
    bench: Bench,
    /// The coordinator knows that it does not lead.
    deposed: bool,
}

struct Cluster {
    nodes: Vec<Node>,
    leader: usize,
    epoch: LeaderEpoch,
    /// How much of the leader's log each node has, as far as the leader knows.
    matched: Vec<usize>,
    committed: Vec<Entry>,
    asked: Vec<Caller>,
    answered: BTreeSet<Caller>,
    /// How often each of a few clients has opened its connection again.
    reopened: [u64; CLIENTS],
    closed: BTreeSet<u64>,
    planted: Planted,
}

const NODES: usize = 3;
const CLIENTS: usize = 8;

type Step = (u8, u8, u8);
type Checked = Result<(), String>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(what()) }
}

impl Cluster {
    fn new(planted: Planted) -> Cluster {
        let node = |_| Node { bench: Bench::over(&[]), deposed: true };
        let mut cluster = Cluster {
            nodes: (0..NODES).map(node).collect(),
            leader: 0,
            epoch: LeaderEpoch(0),
            matched: alloc::vec![0; NODES],
            committed: Vec::new(),
            asked: Vec::new(),
            answered: BTreeSet::new(),
            reopened: [0; CLIENTS],
            closed: BTreeSet::new(),
            planted,
        };
        for node in &mut cluster.nodes {
            node.bench.log.lies = planted == Planted::EarlyCommit;
        }
        cluster.elect(0);
        cluster
    }

    fn step(&mut self, (kind, a, b): Step) -> Checked {
        let node = usize::from(a) % NODES;
        match kind % 16 {
            0..=4 => self.ask(node, b),
            5..=7 => self.replicate(node, 1 + usize::from(b) % 4),
            8 => self.elect(node),
            9 => self.learn(node),
            10 => self.tell(node),
            11 => self.deliver_read(node, b),
            12 => self.fire(node, b),
            13 => self.nodes[node].bench.pass(Duration::from_millis(u64::from(b) * 20)),
            14 => self.nodes[node].bench.log.under_min_isr = b.is_multiple_of(3),
            _ => self.close(usize::from(b) % CLIENTS),
        }
        self.check()
    }

    fn ask(&mut self, node: usize, b: u8) {
        let number = self.asked.len() as u32 + 1;
        let client = self.asked.len() % CLIENTS;
        let caller = Caller { connection: self.connection(client), number };
        self.asked.push(caller);
        let (value, key) = (number, b % 4);
        let command = match b / 4 % 10 {
            0 | 1 => put(key, value),
            2 | 3 => leased(key, value),
            4 => Command::Fill { count: 2 + key, value },
            5 => Command::Watch { key },
            6 => Command::Add { producer: key, key: b % 3, value },
            7 => Command::End { producer: key, commit: !b.is_multiple_of(3) },
            _ => Command::Get { key },
        };
        let Bench { coordinator, log, env, facts } = &mut self.nodes[node].bench;
        coordinator.on_request(caller, &command, log, env, facts);
    }

    /// A follower fetches from the leader: what differs is truncated first.
    fn replicate(&mut self, follower: usize, most: usize) {
        if follower == self.leader {
            return;
        }
        if self.nodes[follower].bench.log.leads.is_some() {
            self.learn(follower);
        }
        let theirs = self.nodes[self.leader].bench.log.clone();
        let log = &mut self.nodes[follower].bench.log;
        let pairs = log.entries.iter().zip(&theirs.entries);
        let common = pairs.take_while(|(mine, theirs)| mine == theirs).count();
        if common < log.entries.len() {
            // A coordinator is told before its log changes.
            log.entries.truncate(common);
            self.tell(follower);
        }
        let Bench { coordinator, log, env, facts } = &mut self.nodes[follower].bench;
        log.entries.extend(theirs.entries.iter().skip(common).take(most).cloned());
        log.high_watermark = theirs.high_watermark.min(log.entries.len());
        self.matched[follower] = log.entries.len();
        if self.planted == Planted::Undeposed {
            coordinator.on_committed(log.committed(), env, facts);
        }
        self.advance();
    }

    /// The leader's high watermark: what it and another node have.
    fn advance(&mut self) {
        let bench = &mut self.nodes[self.leader].bench;
        self.matched[self.leader] = bench.log.entries.len();
        let mut ends = self.matched.clone();
        ends.sort_unstable();
        let agreed = ends[NODES / 2].max(bench.log.high_watermark);
        if agreed > bench.log.high_watermark {
            bench.log.high_watermark = agreed;
            let upto = Offset(agreed as i64);
            let twice = self.planted == Planted::Twice;
            let mut copy = twice.then(|| bench.coordinator.clone());
            bench.coordinator.on_committed(upto, &mut bench.env, &mut bench.facts);
            if let Some(copy) = &mut copy {
                copy.on_committed(upto, &mut bench.env, &mut bench.facts);
            }
        }
        let known = bench.log.entries[..bench.log.high_watermark].to_vec();
        if known.len() > self.committed.len() {
            assert!(known.starts_with(&self.committed), "what is committed stays");
            self.committed = known;
        }
    }

    /// The node leads, if it has everything that is committed.
    fn elect(&mut self, node: usize) {
        let log = &self.nodes[node].bench.log;
        let newest = |node: &Node| {
            let entries = &node.bench.log.entries;
            (entries.last().map(|entry| entry.epoch), entries.len())
        };
        let votes = self.nodes.iter().filter(|other| newest(&self.nodes[node]) >= newest(other));
        if votes.count() <= NODES / 2 || !log.entries.starts_with(&self.committed) {
            return;
        }
        self.epoch = self.epoch.next();
        if node != self.leader {
            // Its own earlier leadership, if it has not noticed its end yet.
            self.learn(node);
            self.tell(node);
        }
        self.leader = node;
        self.matched = alloc::vec![0; NODES];
        let epoch = self.epoch;
        let node = &mut self.nodes[node];
        node.deposed = false;
        node.bench.lead(epoch);
        self.advance();
    }

    /// A log learns that it does not lead any more. Its coordinator is not told yet.
    fn learn(&mut self, node: usize) {
        if node != self.leader {
            self.nodes[node].bench.log.leads = None;
        }
    }

    /// So is its coordinator.
    fn tell(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        let told = self.planted != Planted::Undeposed;
        if node.bench.log.leads.is_none() && !node.deposed && told {
            node.bench.lose();
            node.deposed = true;
        }
    }

    /// Delivers one of the reads, perhaps late or again, as it would look in a compacted log.
    fn deliver_read(&mut self, node: usize, b: u8) {
        let bench = &mut self.nodes[node].bench;
        let Some(last) = bench.log.reads.last().copied() else { return };
        let mut at = last;
        if b >= 128 {
            at = bench.log.reads[usize::from(b) % bench.log.reads.len()];
        }
        let (from, end) = (at.from.0 as usize, bench.log.entries.len());
        if from >= end {
            return;
        }
        let upto = end.min(from + 1 + usize::from(b) % 3);
        let entries = &bench.log.entries;
        let superseded = |offset: usize| {
            let of = |entry: &Entry| match (entry.producer, &entry.record) {
                (None, Record::Put { key, .. }) => Some(*key),
                _ => None,
            };
            let later = &entries[offset + 1..bench.log.high_watermark.max(offset + 1)];
            let key = of(&entries[offset]);
            // A marker asks whether there is a lease: keep what it sees.
            let quiet = !later.iter().any(|e| matches!(e.record, Record::Marker { .. }));
            quiet && key.is_some() && later.iter().any(|entry| of(entry) == key)
        };
        let records = (from..upto).filter(|offset| !superseded(*offset)).map(|offset| {
            let entry = &entries[offset];
            let at = Position { offset: Offset(offset as i64), epoch: entry.epoch };
            (at, entry.producer, entry.record.clone())
        });
        let piece = Piece { records: records.collect(), next: Offset(upto as i64) };
        if self.planted == Planted::StaleRead {
            at = last;
        }
        bench.outcome(at, Ok(piece));
    }

    /// Fires a timer, or an old deadline of it.
    fn fire(&mut self, node: usize, b: u8) {
        let bench = &mut self.nodes[node].bench;
        let key = if b.is_multiple_of(2) { EXPIRY } else { TIMERS };
        if b >= 192 {
            let deadline = bench.env.now.after(Duration::from_millis(u64::from(b)));
            bench.fire_at(key, deadline);
        } else if self.planted != Planted::LostTimer
            && bench.armed(key).is_some_and(|deadline| deadline <= bench.env.now)
        {
            bench.fire(key);
        }
    }

    fn connection(&self, client: usize) -> u64 {
        self.reopened[client] * CLIENTS as u64 + client as u64
    }

    fn close(&mut self, client: usize) {
        let connection = self.connection(client);
        self.closed.insert(connection);
        self.reopened[client] += 1;
        for node in &mut self.nodes {
            node.bench.coordinator.on_connection_closed(ConnectionId(connection));
        }
    }

    fn check(&mut self) -> Checked {
        if self.nodes[self.leader].bench.log.leads == Some(self.epoch) {
            self.matched[self.leader] = self.nodes[self.leader].bench.log.entries.len();
        }
        for node in 0..NODES {
            for fact in self.nodes[node].bench.told() {
                self.check_fact(node, fact)?;
            }
            let Node { bench, .. } = &self.nodes[node];
            let Some(shard) = bench.coordinator.shard() else { continue };
            if bench.log.leads != bench.coordinator.epoch() {
                continue;
            }
            let replayed = Kv { watches: shard.watches.clone(), ..bench.log.replayed() };
            ensure(*shard == replayed, || format!("{shard:?} is not {replayed:?}"))?;
            let leases: BTreeSet<u8> =
                shard.values.iter().filter(|(_, (_, lease))| *lease).map(|(key, _)| *key).collect();
            for key in 0..8 {
                let set = bench.coordinator.deadline(&Timer::Lease(key)).is_some();
                ensure(set == leases.contains(&key), || format!("the lease of {key}: {set}"))?;
            }
        }
        Ok(())
    }

    fn check_fact(&mut self, node: usize, fact: Fact) -> Checked {
        let leads = self.nodes[node].bench.log.leads.is_some();
        let (caller, told) = match fact {
            Fact::Done(caller, reply) => {
                ensure(leads, || format!("{reply:?} from a deposed coordinator"))?;
                let told = match reply {
                    Reply::Written(value) | Reply::Changed(value) => Some(value),
                    Reply::Value(value) => value,
                    Reply::Unchanged => None,
                };
                (Some(caller), told)
            }
            Fact::Refused(caller, _) | Fact::Failed(caller, _, _) => (Some(caller), None),
            Fact::Committed(value) => {
                ensure(leads, || format!("{value} is told by a deposed coordinator"))?;
                (None, Some(value))
            }
        };
        if let Some(caller) = caller {
            let first = self.answered.insert(caller);
            ensure(first, || format!("{caller:?} is answered twice"))?;
        }
        let is = |entry: &Entry, told| matches!(entry.record, Record::Put { value, .. } if value == told);
        let committed = told.is_none_or(|told| self.committed.iter().any(|entry| is(entry, told)));
        ensure(committed, || format!("{told:?} is told, and is not committed"))
    }

    /// Repairs everything, and waits. Then everybody has been answered.
    fn heal(&mut self) -> Checked {
        for node in 0..NODES {
            self.nodes[node].bench.log.under_min_isr = false;
            self.learn(node);
            self.tell(node);
        }
        for _ in 0..1000 {
            for node in 0..NODES {
                self.replicate(node, 4);
                self.deliver_read(node, 2);
                self.nodes[node].bench.pass(Duration::from_millis(100));
                self.fire(node, 0);
                self.fire(node, 1);
            }
            self.check()?;
        }
        let waits = |caller: &&Caller| {
            !self.answered.contains(caller) && !self.closed.contains(&caller.connection)
        };
        let open: Vec<&Caller> = self.asked.iter().filter(waits).collect();
        ensure(open.is_empty(), || format!("not answered: {open:?}"))?;
        let leader = &self.nodes[self.leader].bench;
        let shard = leader.coordinator.shard().ok_or("the leader has no coordinator")?;
        ensure(shard.watches.is_empty(), || format!("still watched: {shard:?}"))?;
        ensure(shard.values.values().all(|(_, lease)| !lease), || format!("a lease: {shard:?}"))
    }
}

fn run(planted: Planted, steps: &[Step]) -> Checked {
    let mut cluster = Cluster::new(planted);
    for step in steps {
        cluster.step(*step)?;
    }
    cluster.heal()
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(any::<Step>(), 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn promises_hold_under_any_interleaving(steps in steps()) {
        if let Err(broken) = run(Planted::Nothing, &steps) {
            prop_assert!(false, "{}", broken);
        }
    }
}

#[test]
fn each_check_notices_what_it_is_for() {
    for (planted, noticed) in [
        (Planted::EarlyCommit, "is not committed"),
        (Planted::StaleRead, "is not Kv"),
        (Planted::Undeposed, "deposed coordinator"),
        (Planted::Twice, "answered twice"),
        (Planted::LostTimer, "not answered"),
    ] {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut seen = BTreeSet::new();
        for _ in 0..400 {
            let steps = steps().new_tree(&mut runner).expect("steps").current();
            if let Err(broken) = run(planted, &steps) {
                if broken.contains(noticed) {
                    seen.clear();
                    break;
                }
                seen.insert(broken);
            } else {
                seen.insert("nothing".into());
            }
        }
        assert!(seen.is_empty(), "{planted:?}: no {noticed:?}, but {:?}", seen.first());
    }
}
