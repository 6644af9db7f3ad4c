//! Three voters of the core's metadata quorum, explored exhaustively within budgets.
//!
//! The small, readable counterpart is [`crate::votes`] (M3). Here the state is the code itself:
//! `core::quorum::Quorum` with its `PartitionLog` and its vote file.
//!
//! # What is left out
//!
//! - The exhaustive exploration ([`ENTRY`]) covers each order of messages and disk operations, but
//!   only one voter stands, nobody loses power, and one record is appended. Two candidates and a
//!   power loss are explored to a fixed depth ([`CONTESTED`]). That is deeper than the shortest
//!   paths to two leaders, but not as deep as what two leaders would commit. M3 explores those
//!   exhaustively.
//! - CheckQuorum's timer never fires, nor do retries of what failed: a leader that hears from
//!   nobody keeps leading, and its followers may stand even so.
//! - A power loss also takes the messages that the node has sent. Nothing from before it arrives
//!   late (M3's answers do).
//! - Everything that a node has submitted to its disk becomes durable in one step, and a start is
//!   one step: no power loss falls between the writes of one. M7 and the tank have those.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use stateright::{Model, Property};
use wavetank_core::config::NodeConfig;
use wavetank_core::effects::{Effect, Effects};
use wavetank_core::env::{Channel, Env};
use wavetank_core::event::{ConnectionId, ReplyTo, RpcError, TimerKey};
use wavetank_core::flaw::Flaw;
use wavetank_core::metadata::{MetadataRecord, TopicRecord};
use wavetank_core::msg::{Request, Response};
use wavetank_core::quorum::{Quorum, QuorumFact};
use wavetank_core::types::{LeaderEpoch, Monotonic, NodeId, Offset, Uuid};

use super::Shared;
use super::disk::Disk;
use crate::{Bounds, Entry};

/// How to find and run it.
pub const ENTRY: Entry = Entry {
    id: "R3",
    name: "real-quorum",
    title: "the core's own quorum, log and disk: three voters",
    variants: &VARIANTS,
    states: [222_397, 1_119_565, 0],
    check: |variant, bounds| {
        let model = RealQuorum::new(variant, bounds);
        let right = super::control(variant, bounds, || model.clone().right());
        crate::run(model, right)
    },
    explore: |variant, bounds, address: SocketAddr| {
        crate::explore(RealQuorum::new(variant, bounds), address)
    },
};

/// The same, where two may stand, one loses power, and one appends. Exhaustive exploration is out
/// of reach (20 GB are not enough), so it is explored to a fixed depth: deep enough for two
/// candidates, each with the votes that it gets.
pub const CONTESTED: Entry = Entry {
    id: "R3C",
    name: "real-quorum-contested",
    title: "the same with two candidates, a power loss and a record, to a fixed depth",
    variants: &CONTESTED_VARIANTS,
    states: [25_836, 0, 0],
    check: |variant, bounds| {
        let (model, steps) = RealQuorum::contested(variant, bounds);
        let right = variant.map(|_| model.clone().right());
        crate::run_to(model, right, variant.is_none().then_some(steps))
    },
    explore: |variant, bounds, address: SocketAddr| {
        crate::explore(RealQuorum::contested(variant, bounds).0, address)
    },
};

const VARIANTS: [&str; 1] = ["vote-before-durable"];
const CONTESTED_VARIANTS: [&str; 1] = ["leader-resumes-epoch"];

const VOTERS: usize = 3;

/// The model: how nodes are built, and budgets.
#[derive(Clone, Debug)]
pub struct RealQuorum {
    flaw: Option<Flaw>,
    /// Timeouts that make a voter a candidate.
    elections: u8,
    power_losses: u8,
    appends: u8,
    /// Retries of what failed.
    retries: u8,
}

/// One voter. A node that lost power restarts at once, as the next incarnation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Node {
    quorum: Quorum,
    disk: Disk,
    timers: BTreeMap<TimerKey, Monotonic>,
    incarnation: u8,
    /// It may act as the controller.
    active: bool,
}

/// A request in flight, at its peer, or answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Leg {
    There(Request),
    AtPeer,
    Back(Response),
}

/// Sender, receiver and channel: at most one request is in flight on each.
type Link = (u8, u8, Channel);

/// The cluster, and what was promised.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    nodes: [Shared<Node>; VOTERS],
    calls: Shared<BTreeMap<Link, Leg>>,
    elections: u8,
    power_losses: u8,
    appends: u8,
    retries: u8,
    /// Who led each epoch, in which incarnation.
    leaders: BTreeMap<LeaderEpoch, (u8, u8)>,
    /// What any node has reported as committed.
    committed: BTreeMap<Offset, (LeaderEpoch, MetadataRecord)>,
    committed_upto: Offset,
    broken: Option<Broken>,
}

/// What must not happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Broken {
    TwoLeaders,
    TwoHistories,
    LeaderLacks,
    Refused,
}

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A request or an answer arrives.
    Deliver(u8, u8, Channel),
    /// What a node has submitted to its disk becomes durable.
    Durable(u8),
    /// A timer fires that makes a node stand for election.
    Stand(u8),
    /// A node retries what failed.
    Retry(u8, TimerKey),
    /// The active controller appends a record.
    Append(u8),
    /// A node loses power, and restarts with what its disk holds.
    PowerLoss(u8),
}

impl RealQuorum {
    /// The correct protocol, in the same bounds.
    fn right(self) -> RealQuorum {
        RealQuorum { flaw: None, ..self }
    }

    /// The core as it ships, or built with that flaw.
    ///
    /// # Panics
    /// If the flaw is not one of the entry's variants.
    pub fn new(variant: Option<&str>, bounds: Bounds) -> RealQuorum {
        let flaw = variant.map(|name| match name {
            "vote-before-durable" => Flaw::VoteBeforeDurable,
            "leader-resumes-epoch" => Flaw::LeaderResumesEpoch,
            other => {
                panic!("R3 has no variant {other}; it has {VARIANTS:?} and {CONTESTED_VARIANTS:?}")
            }
        });
        let (elections, power_losses, appends, retries) = match (bounds, flaw) {
            (_, Some(_)) => (2, 1, 0, 0),
            (Bounds::Small, None) => (1, 0, 0, 0),
            (Bounds::Full, None) => (1, 0, 1, 0),
            (Bounds::Large, None) => (1, 1, 1, 0),
        };
        RealQuorum { flaw, elections, power_losses, appends, retries }
    }

    /// The model with larger budgets, and how many steps deep to explore it.
    ///
    /// # Panics
    /// If the flaw is not one of the entry's variants.
    pub fn contested(variant: Option<&str>, bounds: Bounds) -> (RealQuorum, usize) {
        let steps = match bounds {
            Bounds::Small => 8,
            Bounds::Full => 12,
            Bounds::Large => 13,
        };
        let model = RealQuorum::new(variant, bounds);
        (RealQuorum { elections: 2, power_losses: 1, appends: 1, ..model }, steps)
    }

    fn config(&self, at: u8) -> NodeConfig {
        let voters = (1..=VOTERS as i32).map(NodeId).collect();
        let mut config = NodeConfig::new(NodeId(i32::from(at) + 1), voters);
        config.flaws = self.flaw.into_iter().collect();
        config
    }
}

impl State {
    /// Steps one node, and performs its effects.
    fn step(&mut self, at: u8, act: impl FnOnce(&mut Quorum, &mut dyn Env, &mut Vec<QuorumFact>)) {
        let mut env = Effects::at(Monotonic(0));
        let mut facts = Vec::new();
        act(&mut self.nodes[usize::from(at)].change().quorum, &mut env, &mut facts);
        for effect in env.take() {
            self.effect(at, effect);
        }
        for fact in facts {
            self.fact(at, fact);
        }
        self.watch(at);
        self.cached(at);
    }

    /// Performs at once what stays in the page cache.
    fn cached(&mut self, at: u8) {
        let mut done = Vec::new();
        if self.nodes[usize::from(at)].disk.is_dirty()
            && self.nodes[usize::from(at)].change().disk.perform(false, &mut done)
        {
            for done in done {
                self.step(at, |quorum, env, facts| quorum.on_disk(&done, env, facts));
            }
            self.cached(at);
        }
    }

    /// Makes everything that was submitted durable.
    fn durable(&mut self, at: u8) {
        let mut done = Vec::new();
        while self.nodes[usize::from(at)].change().disk.perform(true, &mut done) {
            for done in std::mem::take(&mut done) {
                self.step(at, |quorum, env, facts| quorum.on_disk(&done, env, facts));
            }
        }
    }

    fn effect(&mut self, at: u8, effect: Effect) {
        let node = self.nodes[usize::from(at)].change();
        match effect {
            Effect::Arm(key, deadline) => {
                node.timers.insert(key, deadline);
            }
            Effect::Disarm(key) => {
                node.timers.remove(&key);
            }
            Effect::Disk(op) => node.disk.submit(op),
            Effect::Request(peer, channel, _, request) => {
                let link = (at, (peer.0 - 1) as u8, channel);
                let before = self.calls.change().insert(link, Leg::There(request));
                assert_eq!(before, None, "one request on a channel is in flight");
            }
            Effect::Respond(to, response) => {
                if let Some(leg) = self.calls.change().get_mut(&link_of(to, at)) {
                    *leg = Leg::Back(response);
                }
            }
            Effect::NoResponse(_) | Effect::Disconnect(_) | Effect::LearnPeer(..) => {
                panic!("a quorum does not ask for {effect:?}")
            }
        }
    }

    fn fact(&mut self, at: u8, fact: QuorumFact) {
        match fact {
            QuorumFact::Committed { records, upto, .. } => {
                for (offset, epoch, record) in records {
                    let told = (epoch, record);
                    if *self.committed.entry(offset).or_insert_with(|| told.clone()) != told {
                        self.broken = Some(Broken::TwoHistories);
                    }
                }
                self.committed_upto = self.committed_upto.max(upto);
            }
            QuorumFact::BecameLeader { .. } => {
                self.nodes[usize::from(at)].change().active = true;
            }
            QuorumFact::LostLeadership => self.nodes[usize::from(at)].change().active = false,
            QuorumFact::Ready | QuorumFact::LeaderChanged { .. } => {}
            QuorumFact::Failed(..) | QuorumFact::Damaged(_) | QuorumFact::Refused(_) => {
                self.broken = Some(Broken::Refused)
            }
        }
    }

    /// Checks that an epoch has one leader, and that the newest leader has what was committed.
    fn watch(&mut self, at: u8) {
        let node = &self.nodes[usize::from(at)];
        if !node.quorum.is_leader() {
            return;
        }
        let (epoch, who) = (node.quorum.epoch(), (at, node.incarnation));
        let end = node.quorum.log().map_or(Offset::ZERO, |log| log.log_end());
        if *self.leaders.entry(epoch).or_insert(who) != who {
            self.broken = Some(Broken::TwoLeaders);
        }
        let newest = self.leaders.keys().next_back() == Some(&epoch);
        let lacks = self.committed.iter().any(|(offset, (written, _))| {
            let log = node.quorum.log();
            log.and_then(|log| log.epochs().epoch_of(*offset)) != Some(*written)
        });
        if newest && (end < self.committed_upto || lacks) {
            self.broken = Some(Broken::LeaderLacks);
        }
    }

    fn start(&mut self, at: u8) {
        self.step(at, |quorum, env, _| quorum.start(env));
        self.durable(at);
    }

    fn power_loss(&mut self, at: u8, model: &RealQuorum) {
        let node = self.nodes[usize::from(at)].change();
        node.disk.power_loss();
        node.quorum = Quorum::new(&model.config(at));
        node.timers.clear();
        node.active = false;
        node.incarnation += 1;
        let links: Vec<Link> = self.calls.keys().copied().collect();
        for link in links {
            let (from, to, channel) = link;
            if from == at {
                self.calls.change().remove(&link);
                let connection = reply_to(link).connection;
                self.step(to, |quorum, env, _| quorum.on_connection_closed(connection, env));
            } else if to == at {
                self.calls.change().remove(&link);
                let error = Err(RpcError::Disconnected);
                let peer = NodeId(i32::from(to) + 1);
                self.step(from, |quorum, env, facts| {
                    quorum.on_rpc(peer, channel, error, env, facts);
                });
            }
        }
        self.start(at);
    }

    fn deliver(&mut self, link: Link) {
        let (from, to, channel) = link;
        match self.calls.change().insert(link, Leg::AtPeer) {
            Some(Leg::There(request)) => {
                let reply = reply_to(link);
                self.step(to, |quorum, env, facts| quorum.on_request(reply, request, env, facts));
            }
            Some(Leg::Back(response)) => {
                self.calls.change().remove(&link);
                let peer = NodeId(i32::from(to) + 1);
                self.step(from, |quorum, env, facts| {
                    quorum.on_rpc(peer, channel, Ok(response), env, facts);
                });
            }
            Some(Leg::AtPeer) | None => panic!("nothing is on its way from {from} to {to}"),
        }
    }
}

/// The name by which a peer answers a link's request.
fn reply_to((from, _, channel): Link) -> ReplyTo {
    let channel = u64::from(channel == Channel::QuorumFetch);
    ReplyTo { connection: ConnectionId(u64::from(from) * 2 + channel), number: 0 }
}

fn link_of(reply: ReplyTo, at: u8) -> Link {
    let channel = match reply.connection.0 % 2 {
        0 => Channel::Quorum,
        _ => Channel::QuorumFetch,
    };
    ((reply.connection.0 / 2) as u8, at, channel)
}

impl Model for RealQuorum {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let node = |at: usize| {
            Shared::new(Node {
                quorum: Quorum::new(&self.config(at as u8)),
                disk: Disk::default(),
                timers: BTreeMap::new(),
                incarnation: 0,
                active: false,
            })
        };
        let mut state = State {
            nodes: std::array::from_fn(node),
            calls: Shared::new(BTreeMap::new()),
            elections: 0,
            power_losses: 0,
            appends: 0,
            retries: 0,
            leaders: BTreeMap::new(),
            committed: BTreeMap::new(),
            committed_upto: Offset::ZERO,
            broken: None,
        };
        for at in 0..VOTERS as u8 {
            state.start(at);
        }
        // They ask each other for a leader, and nobody knows one.
        loop {
            let Some(link) = state.moving().next() else { break };
            state.deliver(link);
        }
        state.seal();
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions
            .extend(state.moving().map(|(from, to, channel)| Action::Deliver(from, to, channel)));
        for (at, node) in (0u8..).zip(&state.nodes) {
            if node.disk.is_dirty() {
                actions.push(Action::Durable(at));
            }
            for key in node.timers.keys() {
                let retries =
                    matches!(key, TimerKey::QuorumFetchBackoff | TimerKey::BeginEpochRetry(_));
                if *key == TimerKey::Election && state.elections < self.elections {
                    actions.push(Action::Stand(at));
                } else if retries && state.retries < self.retries {
                    actions.push(Action::Retry(at, *key));
                }
            }
            if node.active && state.appends < self.appends {
                actions.push(Action::Append(at));
            }
            if state.power_losses < self.power_losses {
                actions.push(Action::PowerLoss(at));
            }
        }
    }

    fn next_state(&self, before: &State, action: Action) -> Option<State> {
        if before.broken.is_some() {
            return None;
        }
        let mut state = before.clone();
        match action {
            Action::Deliver(from, to, channel) => state.deliver((from, to, channel)),
            Action::Durable(at) => state.durable(at),
            Action::Stand(at) => {
                state.elections += 1;
                state.fire(at, TimerKey::Election);
            }
            Action::Retry(at, key) => {
                state.retries += 1;
                state.fire(at, key);
            }
            Action::Append(at) => {
                state.appends += 1;
                let id = Uuid(u128::from(state.appends));
                let record = MetadataRecord::Topic(TopicRecord { name: "t".into(), id });
                state.step(at, |quorum, env, _| {
                    quorum.append(&[record], env).expect("an active controller may append");
                });
            }
            Action::PowerLoss(at) => {
                state.power_losses += 1;
                state.power_loss(at, self);
            }
        }
        state.seal();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("one-leader-per-epoch", |_, state: &State| {
                state.broken != Some(Broken::TwoLeaders)
            }),
            Property::always("one-committed-history", |_, state: &State| {
                state.broken != Some(Broken::TwoHistories)
            }),
            Property::always("leader-has-committed", |_, state: &State| {
                state.broken != Some(Broken::LeaderLacks)
            }),
            Property::always("starts-again", |_, state: &State| {
                state.broken != Some(Broken::Refused)
            }),
        ]
    }
}

impl State {
    /// The links on which something may arrive.
    fn moving(&self) -> impl Iterator<Item = Link> {
        self.calls.iter().filter(|(_, leg)| **leg != Leg::AtPeer).map(|(link, _)| *link)
    }

    fn seal(&mut self) {
        self.nodes.iter_mut().for_each(Shared::seal);
        self.calls.seal();
    }

    fn fire(&mut self, at: u8, key: TimerKey) {
        let timers = &mut self.nodes[usize::from(at)].change().timers;
        let deadline = timers.remove(&key).expect("it is armed");
        self.step(at, |quorum, env, facts| quorum.on_timer(key, deadline, env, facts));
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Deliver(from, to, channel) => {
                write!(
                    f,
                    "the message in flight between {} and {} ({channel:?}) arrives",
                    from + 1,
                    to + 1
                )
            }
            Action::Durable(at) => write!(f, "{}'s disk has made durable all it was given", at + 1),
            Action::Stand(at) => write!(f, "{} hears from no leader for too long", at + 1),
            Action::Retry(at, key) => write!(f, "{} tries again ({key:?})", at + 1),
            Action::Append(at) => write!(f, "{}, the active controller, appends a record", at + 1),
            Action::PowerLoss(at) => write!(f, "{} loses power and starts again", at + 1),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, node) in self.nodes.iter().enumerate() {
            let quorum = &node.quorum;
            let voted = quorum.voted_for().map_or("nobody".to_owned(), |id| id.to_string());
            let durable = if quorum.ballot_is_durable() { "durable" } else { "not durable" };
            let end = quorum.log().map_or(Offset::ZERO, |log| log.log_end());
            write!(
                f,
                "{}{}: {:?} in epoch {}, voted for {voted} ({durable}), log ends at {end}",
                if at > 0 { "; " } else { "" },
                at + 1,
                quorum.role(),
                quorum.epoch(),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use stateright::Checker;

    /// All states within a fixed number of steps; all states take a release build (`wavetank model
    /// check`).
    #[test]
    fn the_first_steps_hold_and_are_as_many_as_ever() {
        let model = RealQuorum::new(None, Bounds::Small);
        let checker = model.checker().threads(1).target_max_depth(18).spawn_bfs().join();
        checker.assert_properties();
        assert_eq!(checker.unique_state_count(), 21_171);
    }

    #[test]
    fn states_are_counted_alike_by_each_number_of_threads() {
        for threads in [1, 2, 3] {
            let model = RealQuorum::new(None, Bounds::Small);
            let checker = model.checker().threads(threads).spawn_bfs().join();
            assert_eq!(checker.unique_state_count() as u64, ENTRY.states[0], "{threads} threads");
        }
    }

    /// The counterexample that exploration finds, step by step.
    const TWO_LEADERS: [Action; 11] = [
        Action::Stand(0),
        Action::Deliver(0, 1, Channel::Quorum),
        Action::Deliver(0, 1, Channel::Quorum),
        Action::Deliver(0, 1, Channel::Quorum),
        Action::Deliver(0, 1, Channel::Quorum),
        Action::PowerLoss(0),
        Action::Stand(2),
        Action::Deliver(2, 0, Channel::Quorum),
        Action::Deliver(2, 0, Channel::Quorum),
        Action::Deliver(2, 0, Channel::Quorum),
        Action::Deliver(2, 0, Channel::Quorum),
    ];

    #[test]
    fn a_vote_answered_before_it_is_durable_makes_two_leaders() {
        let model = RealQuorum::new(Some("vote-before-durable"), Bounds::Small);
        let mut state = model.init_states().remove(0);
        for step in TWO_LEADERS {
            let mut enabled = Vec::new();
            model.actions(&state, &mut enabled);
            assert!(enabled.contains(&step), "{step} in {state}");
            assert_eq!(state.broken, None);
            state = model.next_state(&state, step).unwrap();
        }
        assert_eq!(state.broken, Some(Broken::TwoLeaders));
        assert_eq!(model.next_state(&state, Action::Durable(0)), None, "nothing follows");
    }

    #[test]
    fn contested_elections_hold_so_many_steps_deep_and_not_without_a_rule() {
        let report = (CONTESTED.check)(None, Bounds::Small);
        assert_eq!((report.counterexample, report.unique), (None, CONTESTED.states[0]));
        assert_eq!(report.limit, Some(8));
        let wrong = (CONTESTED.check)(Some("leader-resumes-epoch"), Bounds::Small);
        let (property, steps) = wrong.counterexample.expect("a leader is back in its epoch");
        assert_eq!((property.as_str(), steps.len()), ("one-leader-per-epoch", 9));
        let control = wrong.control.expect("a counterexample has one");
        assert_eq!(control.broken, None);
    }

    /// A state with a leader, reached by always taking the first enabled action.
    fn with_a_leader() -> State {
        let model = RealQuorum::new(None, Bounds::Small);
        let mut state = model.init_states().remove(0);
        state = model.next_state(&state, Action::Stand(0)).expect("its timer is armed");
        while !state.nodes[0].quorum.is_leader() {
            let mut enabled = Vec::new();
            model.actions(&state, &mut enabled);
            state = model.next_state(&state, enabled[0]).expect("nothing is broken");
        }
        state
    }

    #[test]
    fn each_broken_promise_is_seen() {
        let record =
            |name: &str| MetadataRecord::Topic(TopicRecord { name: name.into(), id: Uuid(1) });
        let told = |epoch, name| QuorumFact::Committed {
            records: vec![(Offset(0), LeaderEpoch(epoch), record(name))],
            upto: Offset(1),
            epoch: LeaderEpoch(epoch),
        };
        let sound = with_a_leader();
        assert_eq!(sound.broken, None);
        for (second, broken) in [
            (told(1, "a"), None),
            (told(1, "b"), Some(Broken::TwoHistories)),
            (told(2, "a"), Some(Broken::TwoHistories)),
        ] {
            let mut state = sound.clone();
            state.fact(0, told(1, "a"));
            state.fact(1, second);
            assert_eq!(state.broken, broken);
        }
        // The leader's log is shorter than what is committed, or has a record of another epoch
        // there.
        let epoch = sound.nodes[0].quorum.epoch();
        for (upto, written, broken) in [
            (1, epoch, None),
            (9, epoch, Some(Broken::LeaderLacks)),
            (1, LeaderEpoch(epoch.0 + 7), Some(Broken::LeaderLacks)),
        ] {
            let mut state = sound.clone();
            state.committed.insert(Offset(0), (written, record("a")));
            state.committed_upto = Offset(upto);
            state.watch(0);
            assert_eq!(state.broken, broken, "{upto} {written}");
        }
        let mut state = sound.clone();
        state.leaders.insert(epoch, (2, 0));
        state.watch(0);
        assert_eq!(state.broken, Some(Broken::TwoLeaders));
        let mut state = sound;
        state.fact(1, QuorumFact::Refused("why".into()));
        assert_eq!(state.broken, Some(Broken::Refused));
    }

    #[test]
    fn as_it_ships_the_candidate_waits_for_its_disk() {
        let budgets = RealQuorum::new(Some("vote-before-durable"), Bounds::Small);
        let model = RealQuorum { flaw: None, ..budgets };
        let mut state = model.init_states().remove(0);
        for step in &TWO_LEADERS[..3] {
            state = model.next_state(&state, *step).unwrap();
        }
        assert!(!state.moving().any(|link| link == (0, 1, Channel::Quorum)), "{state}");
        state = model.next_state(&state, Action::Durable(0)).unwrap();
        assert!(state.moving().any(|link| link == (0, 1, Channel::Quorum)), "{state}");
    }
}
