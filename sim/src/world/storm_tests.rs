//! The world keeps the seam's promises under any faults: random traffic under random faults.

use std::collections::BTreeMap;
use std::time::Duration;

use wavetank_core::env::{Channel, Env};
use wavetank_core::event::{ConnectionId, Event, ReplyTo};
use wavetank_core::msg::{
    ApiVersionsRequest, ApiVersionsResponse, ProduceRequest, ProduceResponse, Request, Response,
};
use wavetank_core::types::NodeId;

use super::*;
use crate::decide::{Dice, Place};

const NODES: i32 = 4;
const CHANNELS_USED: [Channel; 3] = [Channel::Admin, Channel::Fetch, Channel::Produce];
const MILLI: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLI;

/// What is asked on [`Channel::Produce`] may be under way together, and is answered in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Versions,
    Produce,
    /// With acks=0.
    OneWay,
}

impl Ask {
    fn of(number: i32, channel: Channel) -> Ask {
        match (channel, number % 7) {
            (Channel::Produce, 0) => Ask::Versions,
            (Channel::Produce, 1) => Ask::OneWay,
            (Channel::Produce, _) => Ask::Produce,
            _ => Ask::Versions,
        }
    }

    fn request(self, number: i32) -> Request {
        match self {
            Ask::Versions => Request::ApiVersions(ApiVersionsRequest {
                client_software_version: number.to_string(),
                ..Default::default()
            }),
            Ask::Produce | Ask::OneWay => Request::Produce(ProduceRequest {
                transactional_id: None,
                acks: i16::from(self == Ask::Produce),
                timeout_ms: number,
                topics: vec![],
            }),
        }
    }
}

/// Tracks what the seam promises and asserts it at each event.
#[derive(Clone, Debug, Default)]
struct Accountant {
    /// The requests in flight, per peer and channel, in sending order.
    asked: BTreeMap<(NodeId, Channel), VecDeque<(Ask, i32)>>,
    /// The requests being served on each connection, and the last number received on it.
    serving: BTreeMap<ConnectionId, Vec<(Ask, ReplyTo, i32)>>,
    last: BTreeMap<ConnectionId, i32>,
    outcomes: [u32; 4],
    /// How often a request came while another was being served, and was answered before it.
    together: u32,
    overtaken: u32,
}

impl Accountant {
    fn ask(
        &mut self,
        peer: NodeId,
        channel: Channel,
        timeout: u64,
        number: i32,
        env: &mut dyn Env,
    ) {
        let ask = Ask::of(number, channel);
        self.asked.entry((peer, channel)).or_default().push_back((ask, number));
        env.request(peer, channel, Duration::from_nanos(timeout), ask.request(number));
    }

    /// Ends the request at this place of a connection.
    fn answer(&mut self, connection: ConnectionId, pick: usize, env: &mut dyn Env) {
        let Some(serving) = self.serving.get_mut(&connection) else { return };
        if serving.is_empty() {
            return;
        }
        let pick = pick % serving.len();
        self.overtaken += u32::from(pick > 0);
        let (ask, to, number) = serving.remove(pick);
        match ask {
            Ask::OneWay if number % 17 == 1 => {
                // The earlier ones are answered still.
                env.disconnect(to);
            }
            Ask::OneWay => env.no_response(to),
            Ask::Versions if number % 17 == 1 => {
                self.serving.remove(&connection);
                env.disconnect(to);
            }
            Ask::Versions => env.respond(
                to,
                Response::ApiVersions(ApiVersionsResponse {
                    throttle_time_ms: number,
                    ..Default::default()
                }),
            ),
            Ask::Produce => env.respond(
                to,
                Response::Produce(ProduceResponse {
                    throttle_time_ms: number,
                    ..Default::default()
                }),
            ),
        }
    }

    fn serve(&mut self, ask: Ask, from: ReplyTo, number: i32, env: &mut dyn Env) {
        let serving = self.serving.entry(from.connection).or_default();
        assert!(
            serving.is_empty()
                || ask != Ask::Versions && serving.iter().all(|(ask, ..)| *ask == Ask::Produce),
            "{ask:?} comes while {serving:?} are served"
        );
        self.together += u32::from(!serving.is_empty());
        serving.push((ask, from, number));
        let place = serving.len() - 1;
        let last = self.last.insert(from.connection, number);
        assert!(last.is_none_or(|last| last < number), "in the order of sending");
        if number % 3 != 0 || ask == Ask::OneWay {
            self.answer(from.connection, place, env);
        }
    }
}

impl Machine for Accountant {
    fn step(&mut self, event: Event, env: &mut dyn Env) {
        match event {
            Event::Request { from, request: Request::ApiVersions(request), .. } => {
                let number = request.client_software_version.parse().expect("a number");
                self.serve(Ask::Versions, from, number, env);
            }
            Event::Request { from, request: Request::Produce(request), .. } => {
                let ask = if request.acks == 0 { Ask::OneWay } else { Ask::Produce };
                self.serve(ask, from, request.timeout_ms, env);
            }
            Event::ConnectionClosed { connection } => {
                self.serving.remove(&connection);
            }
            Event::Rpc { peer, channel, outcome } => {
                let asked = self.asked.get_mut(&(peer, channel)).and_then(VecDeque::pop_front);
                let asked = asked.expect("an outcome is of something this incarnation asked");
                let got = match outcome {
                    Ok(Response::ApiVersions(answer)) => (Ask::Versions, answer.throttle_time_ms),
                    Ok(Response::Produce(answer)) if asked.0 == Ask::OneWay => {
                        assert_eq!(answer, ProduceResponse::default());
                        asked
                    }
                    Ok(Response::Produce(answer)) => (Ask::Produce, answer.throttle_time_ms),
                    Ok(other) => panic!("nobody answered with {other:?}"),
                    Err(error) => {
                        self.outcomes[1 + error as usize] += 1;
                        return;
                    }
                };
                assert_eq!(got, asked, "its own answer, in order");
                self.outcomes[0] += 1;
            }
            _ => {}
        }
    }

    fn exit(&self) -> Option<Exit> {
        None
    }
}

struct Storm {
    world: World<Accountant>,
    dice: Dice,
    place: Place,
    draws: u64,
    number: i32,
    outcomes: [u32; 4],
    /// How many requests were served together with another, and answered before an earlier one.
    pipelined: (u32, u32),
}

impl Storm {
    fn new(seed: u64) -> Storm {
        let mut config = WorldConfig::default();
        config.link.loss_per_million = 20_000;
        config.keepalive = 5 * SECOND;
        let dice = Dice::new(seed);
        let place = dice.place(Purpose::Driver);
        let world = World::new(seed, config);
        let outcomes = [0; 4];
        let mut storm =
            Storm { world, dice, place, draws: 0, number: 0, outcomes, pipelined: (0, 0) };
        for node in 0..NODES {
            let host = HostConfig { cost_max: 200_000, ..HostConfig::default() };
            storm.world.add_host(NodeId(node), host);
            storm.start(NodeId(node));
        }
        storm
    }

    fn draw(&mut self, bound: u64) -> u64 {
        self.draws += 1;
        self.dice.decide(self.place.with(self.draws), bound)
    }

    fn node(&mut self) -> NodeId {
        NodeId(self.draw(NODES as u64) as i32)
    }

    fn start(&mut self, node: NodeId) {
        if !self.world.is_up(node) {
            self.world.start(node, Accountant::default());
        }
    }

    fn bury(&mut self, dead: Option<Accountant>) {
        if let Some(machine) = dead {
            for (sum, count) in self.outcomes.iter_mut().zip(machine.outcomes) {
                *sum += count;
            }
            self.pipelined.0 += machine.together;
            self.pipelined.1 += machine.overtaken;
        }
    }

    fn ask(&mut self) {
        let (from, to) = (self.node(), self.node());
        let channel = CHANNELS_USED[self.draw(3) as usize];
        let timeout = 20 * MILLI + self.draw(2 * SECOND);
        self.number += 1;
        let number = self.number;
        if self.world.is_up(from) {
            self.world.act(from, |m, env| m.ask(to, channel, timeout, number, env));
        }
    }

    /// Answers a held-back request on some node.
    fn answer(&mut self) {
        let node = self.node();
        let pick = self.draw(8) as usize;
        if self.world.is_up(node) {
            self.world.act(node, |machine, env| {
                let held = machine.serving.iter().filter(|(_, held)| !held.is_empty());
                let held: Vec<ConnectionId> = held.map(|(connection, _)| *connection).collect();
                if let Some(connection) = held.get(pick % held.len().max(1)) {
                    machine.answer(*connection, pick, env);
                }
            });
        }
    }

    fn fault(&mut self) {
        let (a, b) = (self.node(), self.node());
        match self.draw(14) {
            0 => {
                let dead = self.world.crash(a);
                self.bury(dead);
            }
            1 => {
                let dead = self.world.power_loss(a);
                self.bury(dead);
            }
            2..=4 => self.start(a),
            5 => self.world.block(a, b),
            6 => self.world.unblock(a, b, Heal::Retransmit),
            7 => self.world.unblock(a, b, Heal::Burst),
            8 => {
                self.world.reset(a, b, None);
            }
            9 => {
                self.world.sever(a, b, Some(Channel::Fetch));
            }
            10 => self.world.pause(a),
            11 => self.world.resume(a),
            12 => self.world.set_spike(a, b, 300 * MILLI),
            _ => self.world.throttle(a, [100, 5_000][(self.number & 1) as usize]),
        }
    }

    fn run(&mut self, acts: usize) {
        for _ in 0..acts {
            match self.draw(20) {
                0 => self.fault(),
                1..=4 => self.answer(),
                _ => self.ask(),
            }
            let until = self.world.now() + self.draw(10 * MILLI);
            while self.world.next_before(until).is_some() {}
        }
    }

    /// Everything heals and everything held back is answered.
    fn heal(&mut self) {
        for a in 0..NODES {
            self.world.resume(NodeId(a));
            self.start(NodeId(a));
            for b in 0..NODES {
                self.world.unblock(NodeId(a), NodeId(b), Heal::Retransmit);
                self.world.set_spike(NodeId(a), NodeId(b), 0);
            }
        }
        for _ in 0..200 {
            self.answer();
            let until = self.world.now() + 100 * MILLI;
            while self.world.next_before(until).is_some() {}
        }
        while self.world.next().is_some() {}
        for node in 0..NODES {
            let machine = self.world.machine_mut(NodeId(node)).map(std::mem::take);
            let pending: usize =
                machine.iter().flat_map(|m| m.asked.values()).map(VecDeque::len).sum();
            assert_eq!(pending, 0, "every request of a living machine has its outcome");
            self.bury(machine);
        }
    }
}

#[test]
fn every_request_has_its_one_outcome_in_order() {
    let (mut outcomes, mut pipelined) = ([0; 4], (0, 0));
    for seed in 0..150 {
        let mut storm = Storm::new(seed);
        storm.run(600);
        storm.heal();
        let (_, stalled) = storm.world.network_load();
        assert_eq!(stalled, 0, "seed {seed}");
        for (sum, count) in outcomes.iter_mut().zip(storm.outcomes) {
            *sum += count;
        }
        pipelined.0 += storm.pipelined.0;
        pipelined.1 += storm.pipelined.1;
    }
    assert!(pipelined.0 > 1_000 && pipelined.1 > 300, "{pipelined:?}");
    // Answered, disconnected, timed out; nothing is unsupported here.
    assert!(outcomes[0] > 10_000 && outcomes[1] > 1_000 && outcomes[2] > 1_000, "{outcomes:?}");
    assert_eq!(outcomes[3], 0);
}

#[test]
fn connections_are_freed_when_both_ends_are_gone() {
    for seed in 0..50 {
        let mut storm = Storm::new(seed);
        storm.run(300);
        storm.heal();
        for node in 0..NODES {
            storm.world.crash(NodeId(node));
        }
        while storm.world.next().is_some() {}
        assert_eq!(storm.world.network_load(), (0, 0), "seed {seed}");
        assert_eq!(storm.world.backlog(), 0);
    }
}

#[test]
fn storms_repeat_and_copies_follow() {
    for seed in 0..20 {
        let mut first = Storm::new(seed);
        let mut second = Storm::new(seed);
        first.run(200);
        second.run(200);
        assert_eq!(first.world.fingerprint(), second.world.fingerprint());
        let copy = second.world.clone();
        second.world = copy;
        first.run(200);
        second.run(200);
        assert_eq!(first.world.fingerprint(), second.world.fingerprint());
    }
}
