//! The world with real brokers in it: `cargo bench -p wavetank-sim --bench world [SECONDS]`.
//!
//! Five brokers (three of them voters), one topic of 6 partitions with 3 replicas, one producer
//! with acks=all at a fixed rate, no faults, no checkers. This is the baseline for the tank's runs.

use std::time::{Duration, Instant};

use wavetank_core::batch::BatchBuilder;
use wavetank_core::broker::Broker;
use wavetank_core::config::NodeConfig;
use wavetank_core::env::{Channel, Env};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::event::{Event, TimerKey};
use wavetank_core::msg::{
    CreatableTopic, CreateTopicsRequest, ProducePartition, ProduceRequest, ProduceTopic, Request,
    Response,
};
use wavetank_core::types::{LeaderEpoch, NodeId, Offset, TopicRef};
use wavetank_sim::world::{Exit, HostConfig, Machine, World, WorldConfig};

const SECOND: u64 = 1_000_000_000;
const CLIENT: NodeId = NodeId(100);
const BROKERS: i32 = 5;
const PARTITIONS: i32 = 6;

/// Produces one record at each tick, to the partitions in turn.
#[derive(Clone, Default)]
struct Producer {
    leaders: Vec<NodeId>,
    every: Duration,
    sent: usize,
    acknowledged: u64,
}

impl Producer {
    fn step(&mut self, event: Event, env: &mut dyn Env) {
        match event {
            Event::Timer { .. } => {
                env.arm(TimerKey::Producer, env.now().after(self.every));
                self.produce(env);
            }
            Event::Rpc { outcome: Ok(Response::Produce(response)), .. } => {
                assert_eq!(response.topics[0].partitions[0].error, ErrorCode::None);
                self.acknowledged += 1;
            }
            Event::Rpc { outcome: Ok(_), .. } | Event::Start { .. } => {}
            other => panic!("nothing fails here, but {other:?}"),
        }
    }

    fn produce(&mut self, env: &mut dyn Env) {
        let index = self.sent % self.leaders.len();
        self.sent += 1;
        let mut builder = BatchBuilder::new();
        builder.push(env.wall().0, None, Some(&[7; 100]), &[]);
        let batch = builder.build(Offset::ZERO, LeaderEpoch::NONE);
        let part = ProducePartition {
            partition: index as i32,
            records: Some(batch.to_bytes()),
            inspection: None,
        };
        let topic = ProduceTopic { topic: TopicRef::name("t"), partitions: vec![part] };
        let request = ProduceRequest {
            transactional_id: None,
            acks: -1,
            timeout_ms: 20_000,
            topics: vec![topic],
        };
        let timeout = Duration::from_secs(30);
        env.request(self.leaders[index], Channel::Produce, timeout, Request::Produce(request));
    }
}

#[derive(Clone)]
enum Node {
    Broker(Box<Broker>),
    Producer(Producer),
}

impl Machine for Node {
    fn step(&mut self, event: Event, env: &mut dyn Env) {
        match self {
            Node::Broker(broker) => broker.step(event, env),
            Node::Producer(producer) => producer.step(event, env),
        }
    }

    fn exit(&self) -> Option<Exit> {
        match self {
            Node::Broker(broker) => Machine::exit(&**broker),
            Node::Producer(_) => None,
        }
    }
}

fn cluster() -> World<Node> {
    // Stale timer firings test the machines' correctness, not their speed.
    let config = WorldConfig { stale_timers_per_million: 0, ..WorldConfig::default() };
    let mut world = World::new(1, config);
    world.keep_notes(false);
    for node in (1..=BROKERS).map(NodeId) {
        world.add_host(node, HostConfig::default());
        let config = NodeConfig::new(node, vec![NodeId(1), NodeId(2), NodeId(3)]);
        world.start(node, Node::Broker(Box::new(Broker::new(config))));
    }
    world.add_host(CLIENT, HostConfig::default());
    world.start(CLIENT, Node::Producer(Producer::default()));
    run(&mut world, 15);
    let topic = CreatableTopic {
        name: "t".into(),
        num_partitions: PARTITIONS,
        replication_factor: 3,
        assignments: vec![],
        configs: vec![],
    };
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 2000, validate_only: false };
    world.act(CLIENT, |_, env| {
        let timeout = Duration::from_secs(30);
        env.request(NodeId(1), Channel::Admin, timeout, Request::CreateTopics(request));
    });
    run(&mut world, 10);
    world
}

fn run(world: &mut World<Node>, seconds: u64) {
    let until = world.now() + seconds * SECOND;
    while world.next_before(until).is_some() {}
}

/// CPU time since some point, or wall time if the system does not report CPU time.
fn cpu_seconds(since: Instant) -> f64 {
    let schedstat = std::fs::read_to_string("/proc/self/schedstat").ok();
    let first = schedstat.as_deref().and_then(|text| text.split(' ').next());
    let nanos = first.and_then(|text| text.parse::<f64>().ok());
    nanos.map_or_else(|| since.elapsed().as_secs_f64(), |nanos| nanos / 1e9)
}

/// `per_second` operations, or none if it is 0.
fn measure(name: &str, per_second: u64, seconds: u64) {
    let mut world = cluster();
    let leaders: Vec<NodeId> = match world.machine(NodeId(1)) {
        Some(Node::Broker(broker)) => {
            let leaders = broker.image().partitions().map(|(_, partition)| partition.leader);
            leaders.map(|leader| leader.expect("without faults each has a leader")).collect()
        }
        Some(Node::Producer(_)) | None => unreachable!("node 1 is a broker that runs"),
    };
    assert_eq!(leaders.len(), PARTITIONS as usize, "the topic was created");
    if let Some(every) = SECOND.checked_div(per_second).map(Duration::from_nanos) {
        world.act(CLIENT, |node, env| {
            *node = Node::Producer(Producer { leaders, every, ..Producer::default() });
            env.arm(TimerKey::Producer, env.now());
        });
    }
    let (steps, start) = (world.steps(), Instant::now());
    let cpu = cpu_seconds(start);
    run(&mut world, seconds);
    let cpu = cpu_seconds(start) - cpu;
    let steps = world.steps() - steps;
    let acknowledged = match world.machine(CLIENT) {
        Some(Node::Producer(producer)) => producer.acknowledged,
        Some(Node::Broker(_)) | None => unreachable!("the client is a producer that runs"),
    };
    println!(
        "{name}: {seconds} simulated s in {cpu:.2} CPU s = {:.0} per s; {steps} steps = {:.0} per s, \
         {:.3} us each; {acknowledged} produced; fingerprint {:016x}",
        seconds as f64 / cpu,
        steps as f64 / cpu,
        cpu * 1e6 / steps as f64,
        world.fingerprint(),
    );
}

fn main() {
    // Cargo adds flags of its own. A numeric argument is how many seconds to simulate.
    let seconds = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(200);
    measure("idle", 0, seconds * 10);
    measure("20 operations/s", 20, seconds);
    measure("1,000 operations/s", 1_000, seconds.div_ceil(10));
}
