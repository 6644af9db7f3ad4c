//! Hostile peers that know the schemas send a running cluster every request and every answer, with
//! values at the edges of their types. No node panics or exits, nothing committed is lost, and the
//! cluster elects and serves afterwards, also after a restart from its disks.
//!
//! Lies are drawn so that no correct peer could have sent them, or so that they would be harmless
//! if true. Without authentication, a plausible lie cannot be told from the truth.

mod liar;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use wavetank_core::batch::BatchBuilder;
use wavetank_core::broker::{Broker, Status};
use wavetank_core::config::NodeConfig;
use wavetank_core::env::{Channel, Env};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::event::{ConnectionId, Event, Origin, ReplyTo};
use wavetank_core::msg::*;
use wavetank_core::types::*;
use wavetank_sim::world::{Exit, HostConfig, Machine, World, WorldConfig};

use liar::{Dice, Hostile, IntoEpoch, Known, NODES};

const SECOND: u64 = 1_000_000_000;
const CLIENT: NodeId = NodeId(100);
/// Requests in all, over the seeds.
const REQUESTS: u32 = 30_000;
const SEEDS: u64 = 6;

/// Turns one field of a true answer, or all of it, into a lie.
fn lie(dice: &mut Dice, truth: Response) -> Response {
    match truth {
        Response::Fetch(answer) => Response::Fetch(lie_of_fetch(dice, answer)),
        Response::Vote(mut answer) => {
            // A vote that was never granted would allow a second leader.
            answer.vote_granted = false;
            match dice.below(4) {
                0 => answer.error = dice.error(),
                1 => answer.leader = dice.node(),
                2 => answer.leader_epoch = dice.pick(&[i32::MIN, -1, i32::MAX]).into_epoch(),
                _ => answer.node_endpoints = Vec::new(),
            }
            Response::Vote(answer)
        }
        Response::BeginQuorumEpoch(mut answer) => {
            answer.error = dice.error();
            answer.leader_epoch = dice.pick(&[i32::MIN, -1, i32::MAX]).into_epoch();
            Response::BeginQuorumEpoch(answer)
        }
        Response::AlterPartition(mut answer) => {
            for result in answer.topics.iter_mut().flat_map(|(_, results)| results) {
                match dice.below(5) {
                    0 => result.error = dice.error(),
                    1 => result.isr = dice.some(Dice::node),
                    2 => result.leader = dice.node(),
                    3 => result.partition_epoch = PartitionEpoch(dice.pick(&[-1, i32::MAX])),
                    _ => result.leader_epoch = dice.epoch(),
                }
            }
            Response::AlterPartition(answer)
        }
        Response::BrokerHeartbeat(mut answer) => {
            answer.error = dice.error();
            answer.is_caught_up = dice.bool();
            answer.is_fenced = dice.bool();
            answer.should_shut_down = dice.bool();
            Response::BrokerHeartbeat(answer)
        }
        Response::BrokerRegistration(mut answer) => {
            answer.broker_epoch = BrokerEpoch(dice.i64());
            Response::BrokerRegistration(answer)
        }
        // An answer of another API.
        _ => Response::EndQuorumEpoch(EndQuorumEpochResponse {
            error: dice.error(),
            leader: dice.node(),
            leader_epoch: LeaderEpoch(i32::MAX),
        }),
    }
}

fn lie_of_fetch(dice: &mut Dice, mut answer: FetchResponse) -> FetchResponse {
    match dice.below(8) {
        0 => answer.error = dice.error(),
        1 => answer.topics.clear(),
        _ => {}
    }
    for topic in &mut answer.topics {
        if dice.one_in(8) {
            topic.topic.id = dice.uuid();
        }
        for part in &mut topic.partitions {
            match dice.below(9) {
                0 => part.error = dice.error(),
                1 => part.high_watermark = dice.pick(&[Offset(i64::MIN), Offset(-1), Offset(0)]),
                2 | 3 => {
                    // End offsets beyond the log, or before its start.
                    let end = dice.pick(&[i64::MIN, -1, 1 << 62, i64::MAX]);
                    let (epoch, end_offset) = (dice.epoch(), Offset(end));
                    part.diverging_epoch = Some(EpochEndOffset { epoch, end_offset });
                }
                4 => {
                    part.error = ErrorCode::OffsetOutOfRange;
                    part.log_start_offset = dice.offset();
                    part.high_watermark = dice.offset();
                }
                5 => {
                    let epoch = dice.pick(&[i32::MIN, -1, i32::MAX]).into_epoch();
                    let leader = dice.node();
                    part.current_leader = Some(LeaderIdAndEpoch { leader, epoch });
                }
                6 => part.partition = dice.i32(),
                7 => part.records = dice.some(|dice| dice.batch().with_epoch_beyond(dice)),
                _ => part.log_start_offset = dice.offset(),
            }
        }
    }
    answer
}

trait Beyond {
    fn with_epoch_beyond(self, dice: &mut Dice) -> Self;
}

impl Beyond for wavetank_core::batch::Batch {
    /// Moves the batch to an epoch that no leader has, or far beyond any log's end.
    fn with_epoch_beyond(mut self, dice: &mut Dice) -> Self {
        if dice.bool() {
            self.leader_epoch = dice.pick(&[i32::MIN, -1, i32::MAX]).into_epoch();
        } else {
            self.base_offset = Offset(dice.pick(&[1 << 40, i64::MAX - 10]));
        }
        self
    }
}

/// A broker that may receive lies, or a client that stores its responses.
#[derive(Clone, Debug)]
enum Node {
    Broker { broker: Box<Broker>, liar: Option<Dice>, lies: u32 },
    Client(Vec<Response>),
}

impl Machine for Node {
    fn step(&mut self, event: Event, env: &mut dyn Env) {
        match self {
            Node::Broker { broker, liar, lies } => {
                let lying = liar.as_mut().is_some_and(|dice| dice.one_in(2));
                let event = match (event, liar) {
                    (Event::Rpc { peer, channel, outcome: Ok(truth) }, Some(dice)) if lying => {
                        *lies += 1;
                        Event::Rpc { peer, channel, outcome: Ok(lie(dice, truth)) }
                    }
                    (event, _) => event,
                };
                broker.step(event, env);
            }
            Node::Client(answers) => {
                if let Event::Rpc { outcome: Ok(response), .. } = event {
                    answers.push(response);
                }
            }
        }
    }

    fn exit(&self) -> Option<Exit> {
        match self {
            Node::Broker { broker, .. } => Machine::exit(&**broker),
            Node::Client(_) => None,
        }
    }
}

struct Tank {
    world: World<Node>,
    /// The topic's acknowledged records, by offset.
    acknowledged: BTreeMap<Offset, String>,
    number: u32,
}

impl Tank {
    fn new(seed: u64) -> Tank {
        let mut world = World::new(seed, WorldConfig::default());
        world.keep_notes(false);
        world.add_host(CLIENT, HostConfig::default());
        world.start(CLIENT, Node::Client(Vec::new()));
        for node in 1..=NODES {
            world.add_host(NodeId(node), HostConfig::default());
        }
        let mut tank = Tank { world, acknowledged: BTreeMap::new(), number: 0 };
        (1..=NODES).for_each(|node| tank.start(NodeId(node)));
        tank.run(10);
        tank
    }

    fn start(&mut self, node: NodeId) {
        let mut config = NodeConfig::new(node, (1..=NODES).map(NodeId).collect());
        config.default_replication_factor = NODES as i16;
        config.topic_defaults.min_insync_replicas = 2;
        config.heartbeat_interval = Duration::from_millis(500);
        config.session_timeout = Duration::from_secs(2);
        config.request_timeout = Duration::from_secs(2);
        config.replica_fetch_backoff = Duration::from_millis(200);
        config.replica_lag_time_max = Duration::from_secs(2);
        let broker = Box::new(Broker::new(config));
        self.world.start(node, Node::Broker { broker, liar: None, lies: 0 });
    }

    fn run(&mut self, seconds: u64) {
        self.run_until(self.world.now() + seconds * SECOND);
    }

    fn run_until(&mut self, until: u64) {
        while let Some(step) = self.world.next_before(until) {
            if let Some(exit) = step.exit {
                panic!("node {} ended: {exit:?}", step.node);
            }
        }
    }

    fn broker(&self, node: NodeId) -> &Broker {
        match self.world.machine(node) {
            Some(Node::Broker { broker, .. }) => broker,
            other => panic!("node {node} is {other:?}"),
        }
    }

    fn ask(&mut self, node: NodeId, request: Request) -> Option<Response> {
        self.world.act(CLIENT, |_, env| {
            env.request(node, Channel::Admin, Duration::from_secs(4), request);
        });
        self.run(5);
        match self.world.machine_mut(CLIENT) {
            Some(Node::Client(answers)) => answers.pop(),
            other => panic!("the client is {other:?}"),
        }
    }

    /// Asks nodes in turn until one succeeds.
    fn insist<T>(
        &mut self,
        what: &str,
        request: &Request,
        mut done: impl FnMut(Response) -> Option<T>,
    ) -> T {
        for turn in 0..12 {
            let node = NodeId(1 + turn % NODES);
            if let Some(done) = self.ask(node, request.clone()).and_then(&mut done) {
                return done;
            }
        }
        panic!("nobody would {what}");
    }

    fn create(&mut self, name: &str) {
        let topic = CreatableTopic {
            name: name.into(),
            num_partitions: 1,
            replication_factor: -1,
            assignments: vec![],
            configs: vec![("flush.messages".into(), Some("1".into()))],
        };
        let request = Request::CreateTopics(CreateTopicsRequest {
            topics: vec![topic],
            timeout_ms: 2000,
            validate_only: false,
        });
        self.insist("create a topic", &request, |answer| match answer {
            // An earlier attempt may have succeeded without an answer.
            Response::CreateTopics(answer) => {
                let error = answer.topics[0].error;
                (error.is_ok() || error == ErrorCode::TopicAlreadyExists).then_some(())
            }
            _ => None,
        });
        self.run(2);
    }

    fn produce(&mut self, name: &str, value: &str) -> Offset {
        let mut builder = BatchBuilder::new();
        builder.push(1_750_000_000_000, None, Some(value.as_bytes()), &[]);
        let batch = builder.build(Offset::ZERO, LeaderEpoch::NONE);
        let part =
            ProducePartition { partition: 0, records: Some(batch.to_bytes()), inspection: None };
        let topic = ProduceTopic { topic: TopicRef::name(name), partitions: vec![part] };
        let (acks, timeout_ms, topics) = (-1, 2000, vec![topic]);
        let request = ProduceRequest { transactional_id: None, acks, timeout_ms, topics };
        self.insist("take a record", &Request::Produce(request), |answer| match answer {
            Response::Produce(answer) => {
                let part = &answer.topics[0].partitions[0];
                part.error.is_ok().then_some(part.base_offset)
            }
            _ => None,
        })
    }

    fn write(&mut self, value: &str) {
        let at = self.produce("t", value);
        self.acknowledged.insert(at, value.into());
    }

    /// Checks that everything acknowledged is there.
    fn check(&mut self, when: &str) {
        let part = FetchPartition {
            partition: 0,
            current_leader_epoch: LeaderEpoch::NONE,
            fetch_offset: Offset::ZERO,
            last_fetched_epoch: LeaderEpoch::NONE,
            log_start_offset: Offset(-1),
            max_bytes: 1 << 20,
            replica_directory_id: Uuid::ZERO,
            high_watermark: Offset(i64::MAX),
        };
        let topic = FetchTopic { topic: TopicRef::name("t"), partitions: vec![part] };
        let request = FetchRequest { topics: vec![topic], max_wait_ms: 100, ..Default::default() };
        let read = self.insist("give records", &Request::Fetch(request), |answer| {
            let Response::Fetch(answer) = answer else { return None };
            let part = answer.topics.first()?.partitions.first()?;
            if !part.error.is_ok() {
                return None;
            }
            let batches = part.records.iter();
            let records = batches.flat_map(|batch| batch.records().expect("sound records"));
            let text = |value: Bytes| String::from_utf8_lossy(&value).into_owned();
            let read = records.map(|r| (r.offset, text(r.value.unwrap_or_default())));
            Some(read.collect::<BTreeMap<_, _>>())
        });
        for (at, value) in &self.acknowledged {
            assert_eq!(read.get(at), Some(value), "{when}: record {at} of {read:?}");
        }
        for node in (1..=NODES).map(NodeId) {
            let broker = self.broker(node);
            assert_eq!(broker.status(), Status::Running, "{when}: node {node}");
            let epoch = broker.quorum().epoch();
            assert!(epoch.0 < 1 << 30, "{when}: node {node} is in epoch {epoch}");
        }
    }

    fn known(&self) -> Known {
        let leader = self.broker(NodeId(1));
        let image = leader.image();
        Known {
            topic: *image.topic_ids.get("t").expect("it was created"),
            broker_epochs: image.brokers.values().map(|broker| broker.epoch).collect(),
            quorum_epoch: leader.quorum().epoch(),
        }
    }

    /// Gives a request to a node as if from a connection whose answers nobody reads.
    fn hostile(&mut self, node: NodeId, request: Request) {
        self.number += 1;
        let from = ReplyTo { connection: ConnectionId(0), number: self.number };
        self.world.act(node, |machine, env| {
            let (version, request) = (12, request.clone());
            machine.step(Event::Request { from, origin: Origin::default(), version, request }, env);
        });
        let status = self.broker(node).status();
        assert_eq!(status, Status::Running, "node {node}, after {request:?}");
    }

    fn lies_to(&mut self, node: NodeId, liar: Option<Dice>) -> u32 {
        match self.world.machine_mut(node) {
            Some(Node::Broker { liar: now, lies, .. }) => {
                *now = liar;
                *lies
            }
            other => panic!("node {node} is {other:?}"),
        }
    }
}

fn restart_all(tank: &mut Tank) {
    for node in (1..=NODES).map(NodeId) {
        tank.world.crash(node);
    }
    for node in (1..=NODES).map(NodeId) {
        tank.start(node);
    }
    tank.run(15);
}

fn requests_from_anybody(seed: u64) {
    let mut tank = Tank::new(seed);
    tank.create("t");
    for value in ["a", "b", "c"] {
        tank.write(value);
    }
    let mut dice = Dice(seed);
    let known = tank.known();
    for count in 0..REQUESTS / SEEDS as u32 {
        let request = Hostile { dice: &mut dice, known: &known }.request();
        let node = NodeId(1 + dice.below(NODES as usize) as i32);
        tank.hostile(node, request);
        if count.is_multiple_of(16) {
            let until = tank.world.now() + 20_000_000;
            tank.run_until(until);
        }
        if count % 2000 == 1999 {
            tank.run(10);
            tank.write(&format!("meanwhile {count}"));
            tank.check("amid hostile requests");
        }
    }
    tank.run(10);
    tank.check("after hostile requests");
    tank.create("afterwards");
    tank.produce("afterwards", "x");
    restart_all(&mut tank);
    tank.check("after a restart");
    tank.write("last");
    tank.check("at the end");
}

#[test]
fn no_request_ends_a_node_or_loses_a_record() {
    for seed in 1..=SEEDS {
        requests_from_anybody(seed);
    }
}

#[test]
fn no_answer_ends_a_node_or_loses_a_record() {
    let mut lies = 0;
    for seed in 1..=8 {
        let mut tank = Tank::new(100 + seed);
        tank.create("t");
        tank.write("a");
        let victim = NodeId(1 + (seed % 3) as i32);
        tank.lies_to(victim, Some(Dice(seed)));
        for round in 0..6 {
            tank.write(&format!("b{round}"));
            tank.run(3);
        }
        lies += tank.lies_to(victim, None);
        tank.run(15);
        tank.check("after lies");
        restart_all(&mut tank);
        tank.write("last");
        tank.check("after a restart");
    }
    assert!(lies > 500, "{lies} lies are too few to tell anything");
}
