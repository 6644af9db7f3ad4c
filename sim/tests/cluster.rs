//! A cluster of real brokers in the world, without faults: it starts, elects, creates a topic,
//! takes and serves records, stops and starts again.

use std::time::Duration;

use bytes::Bytes;
use wavetank_core::batch::BatchBuilder;
use wavetank_core::broker::Broker;
use wavetank_core::config::NodeConfig;
use wavetank_core::env::{Channel, Env};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::event::Event;
use wavetank_core::msg::{
    CreatableTopic, CreateTopicsRequest, DeleteTopicsRequest, FetchPartition, FetchRequest,
    FetchTopic, ProducePartition, ProduceRequest, ProduceTopic, Request, Response,
};
use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId, Offset, TopicRef, Uuid};
use wavetank_sim::world::{Exit, HostConfig, Machine, World, WorldConfig};

const SECOND: u64 = 1_000_000_000;
const CLIENT: NodeId = NodeId(100);

/// A broker, or a client that keeps what it is told.
#[derive(Clone, Debug)]
enum Node {
    Broker(Box<Broker>),
    Client(Vec<Response>),
}

impl Machine for Node {
    fn step(&mut self, event: Event, env: &mut dyn Env) {
        match self {
            Node::Broker(broker) => broker.step(event, env),
            Node::Client(answers) => {
                if let Event::Rpc { outcome: Ok(response), .. } = event {
                    answers.push(response);
                }
            }
        }
    }

    fn exit(&self) -> Option<Exit> {
        match self {
            Node::Broker(broker) => Machine::exit(&**broker),
            Node::Client(_) => None,
        }
    }
}

struct Tank {
    world: World<Node>,
    notes: Vec<(u64, NodeId, Note)>,
    nodes: i32,
}

impl Tank {
    fn new(seed: u64, nodes: i32) -> Tank {
        let mut world = World::new(seed, WorldConfig::default());
        world.keep_notes(true);
        for node in 1..=nodes {
            world.add_host(NodeId(node), HostConfig::default());
        }
        world.add_host(CLIENT, HostConfig::default());
        world.start(CLIENT, Node::Client(Vec::new()));
        let mut tank = Tank { world, notes: Vec::new(), nodes };
        for node in 1..=nodes {
            tank.start(NodeId(node));
        }
        tank
    }

    fn start(&mut self, node: NodeId) {
        let voters: Vec<NodeId> = (1..=self.nodes).map(NodeId).collect();
        let mut config = NodeConfig::new(node, voters);
        config.default_replication_factor = self.nodes as i16;
        config.heartbeat_interval = Duration::from_millis(500);
        config.session_timeout = Duration::from_secs(2);
        config.request_timeout = Duration::from_secs(2);
        config.replica_fetch_backoff = Duration::from_millis(200);
        self.world.start(node, Node::Broker(Box::new(Broker::new(config))));
    }

    fn run(&mut self, seconds: u64) {
        let until = self.world.now() + seconds * SECOND;
        while self.world.next_before(until).is_some() {
            self.notes.extend(self.world.drain_notes());
        }
    }

    fn broker(&self, node: i32) -> &Broker {
        match self.world.machine(NodeId(node)) {
            Some(Node::Broker(broker)) => broker,
            other => panic!("node {node} is {other:?}"),
        }
    }

    fn ask(&mut self, node: NodeId, request: Request) -> Response {
        self.world.act(CLIENT, |_, env| {
            env.request(node, Channel::Admin, Duration::from_secs(10), request);
        });
        self.run(3);
        match self.world.machine_mut(CLIENT) {
            Some(Node::Client(answers)) => answers.pop().expect("an answer within three seconds"),
            other => panic!("the client is {other:?}"),
        }
    }

    fn create_topic(&mut self, name: &str) {
        let Response::CreateTopics(response) = self.ask(NodeId(self.nodes), creation(name)) else {
            panic!("not an answer to CreateTopics")
        };
        assert_eq!(response.topics[0].error, ErrorCode::None, "{response:?}");
    }

    fn leader(&self) -> NodeId {
        let image = self.broker(1).image();
        let (_, registration) = image.partitions().next().expect("a partition");
        registration.leader.expect("a leader")
    }

    fn produce(&mut self, value: &str) -> Offset {
        let mut builder = BatchBuilder::new();
        builder.push(1_750_000_000_000, None, Some(value.as_bytes()), &[]);
        let batch = builder.build(Offset::ZERO, LeaderEpoch::NONE);
        let part = ProducePartition { partition: 0, records: Some(batch.to_bytes()) };
        let topic = ProduceTopic { topic: TopicRef::name("t"), partitions: vec![part] };
        let request = ProduceRequest {
            transactional_id: None,
            acks: -1,
            timeout_ms: 2000,
            topics: vec![topic],
        };
        let leader = self.leader();
        let Response::Produce(response) = self.ask(leader, Request::Produce(request)) else {
            panic!("not an answer to Produce")
        };
        let answer = &response.topics[0].partitions[0];
        assert_eq!(answer.error, ErrorCode::None, "{response:?}");
        answer.base_offset
    }

    fn fetch(&mut self) -> Vec<Bytes> {
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
        let leader = self.leader();
        let Response::Fetch(response) = self.ask(leader, Request::Fetch(request)) else {
            panic!("not an answer to Fetch")
        };
        let batches = &response.topics[0].partitions[0].records;
        let records = batches.iter().flat_map(|batch| batch.records().expect("sound records"));
        records.map(|record| record.value.expect("a value")).collect()
    }
}

fn creation(name: &str) -> Request {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: 1,
        replication_factor: -1,
        assignments: vec![],
        configs: vec![("min.insync.replicas".into(), Some("1".into()))],
    };
    let topics = vec![topic];
    Request::CreateTopics(CreateTopicsRequest { topics, timeout_ms: 2000, validate_only: false })
}

#[test]
fn three_nodes_start_replicate_and_come_back() {
    let mut tank = Tank::new(7, 3);
    tank.run(10);
    for node in 1..=3 {
        let running = tank
            .notes
            .iter()
            .any(|(_, at, note)| *at == NodeId(node) && matches!(note, Note::BrokerRunning { .. }));
        assert!(running, "node {node} is not running:\n{:#?}", tank.notes);
    }
    tank.create_topic("t");
    for value in ["a", "b", "c"] {
        tank.produce(value);
    }
    assert_eq!(tank.fetch(), ["a", "b", "c"]);
    // Every replica has them, and all are in sync.
    for node in 1..=3 {
        let broker = tank.broker(node);
        let partition = broker.hosted().iter().next().expect("a replica");
        assert_eq!(partition.log().log_end(), Offset(3), "node {node}");
        assert_eq!(partition.high_watermark(), Offset(3), "node {node}");
    }
    // The leader dies; another takes over and has everything.
    let dead = tank.leader();
    tank.world.crash(dead);
    let survivor = if dead == NodeId(1) { 2 } else { 1 };
    tank.run(8);
    let image = tank.broker(survivor).image();
    let leader = image.partitions().next().and_then(|(_, p)| p.leader).expect("a new leader");
    assert_ne!(leader, dead);
    tank.start(dead);
    tank.run(10);
    assert_eq!(tank.fetch(), ["a", "b", "c"]);
    let image = tank.broker(survivor).image();
    let (_, registration) = image.partitions().next().expect("a partition");
    assert_eq!(registration.isr.len(), 3, "the one that came back is in sync again");
}

#[test]
fn one_node_stops_cleanly_and_starts_again() {
    let mut tank = Tank::new(11, 1);
    tank.run(5);
    tank.create_topic("t");
    tank.produce("a");
    tank.world.shutdown(NodeId(1));
    tank.run(5);
    assert!(!tank.world.is_up(NodeId(1)), "it has stopped");
    assert!(tank.notes.iter().any(|(_, _, note)| *note == Note::ShutDown { clean: true }));
    tank.start(NodeId(1));
    tank.run(5);
    assert_eq!(tank.fetch(), ["a"]);
    assert_eq!(tank.produce("b"), Offset(1));
    assert_eq!(tank.fetch(), ["a", "b"]);
}

/// The checkpoints name a topic that is deleted, and created anew with nothing in it: wherever the
/// process ends in between, it starts again, and takes nothing for claimed.
#[test]
fn a_topic_of_a_deleted_ones_name_starts_anew() {
    let mut before = Tank::new(13, 1);
    before.run(5);
    before.create_topic("t");
    before.produce("a");
    before.produce("b");
    before.world.shutdown(NodeId(1));
    before.run(5);
    // What is recovered is durable, and the checkpoint after five seconds says so; the next comes when
    // all is over.
    before.start(NodeId(1));
    before.run(6);
    let topics = vec![TopicRef::name("t")];
    let deletion = Request::DeleteTopics(DeleteTopicsRequest { topics, timeout_ms: 2000 });
    let Response::DeleteTopics(answer) = before.ask(NodeId(1), deletion) else {
        panic!("not an answer to DeleteTopics")
    };
    assert_eq!(answer.topics[0].1, ErrorCode::None, "{answer:?}");
    before.world.act(CLIENT, |_, env| {
        env.request(NodeId(1), Channel::Admin, Duration::from_secs(10), creation("t"));
    });
    let mut hosted_after = None;
    for events in 0..400 {
        let mut tank = Tank { world: before.world.clone(), notes: Vec::new(), nodes: 1 };
        let until = tank.world.now() + 5 * SECOND;
        for _ in 0..events {
            tank.world.next_before(until);
        }
        let hosted = tank.broker(1).hosted().iter().any(|partition| partition.log().is_ready());
        tank.world.crash(NodeId(1));
        tank.start(NodeId(1));
        tank.run(5);
        assert!(tank.world.is_up(NodeId(1)), "after {events} events");
        for partition in tank.broker(1).hosted().iter() {
            assert_eq!(partition.high_watermark(), Offset::ZERO, "after {events} events");
        }
        if hosted {
            hosted_after = Some(events);
            break;
        }
    }
    assert!(hosted_after.is_some_and(|events| events > 10), "{hosted_after:?}");
}
