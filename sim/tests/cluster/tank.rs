//! Brokers and a client in the world, driven by hand.

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

use super::costs;

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const CLIENT: NodeId = NodeId(100);

/// A broker, or a client that stores its responses.
#[derive(Clone, Debug)]
pub(crate) enum Node {
    Broker(Box<Broker>),
    Client(Vec<Response>),
}

impl Machine for Node {
    fn step(&mut self, event: Event, env: &mut dyn Env) {
        match self {
            Node::Broker(broker) => costs::of(|| broker.step(event, env)),
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

pub(crate) struct Tank {
    pub(crate) world: World<Node>,
    pub(crate) notes: Vec<(u64, NodeId, Note)>,
    pub(crate) nodes: i32,
}

impl Tank {
    pub(crate) fn new(seed: u64, nodes: i32) -> Tank {
        Tank::tuned(seed, nodes, |_| {})
    }

    /// Like `new`, with another configuration.
    pub(crate) fn tuned(seed: u64, nodes: i32, tune: fn(&mut NodeConfig)) -> Tank {
        let mut world = World::new(seed, WorldConfig::default());
        world.keep_notes(true);
        for node in 1..=nodes {
            world.add_host(NodeId(node), HostConfig::default());
        }
        world.add_host(CLIENT, HostConfig::default());
        world.start(CLIENT, Node::Client(Vec::new()));
        let mut tank = Tank { world, notes: Vec::new(), nodes };
        for node in 1..=nodes {
            tank.start_as(NodeId(node), tune);
        }
        tank
    }

    pub(crate) fn start(&mut self, node: NodeId) {
        self.start_as(node, |_| {});
    }

    fn start_as(&mut self, node: NodeId, tune: fn(&mut NodeConfig)) {
        let voters: Vec<NodeId> = (1..=self.nodes).map(NodeId).collect();
        let mut config = NodeConfig::new(node, voters);
        config.default_replication_factor = self.nodes as i16;
        config.heartbeat_interval = Duration::from_millis(500);
        config.session_timeout = Duration::from_secs(2);
        config.request_timeout = Duration::from_secs(2);
        config.replica_fetch_backoff = Duration::from_millis(200);
        tune(&mut config);
        self.world.start(node, Node::Broker(Box::new(Broker::new(config))));
    }

    pub(crate) fn run(&mut self, seconds: u64) {
        let until = self.world.now() + seconds * SECOND;
        while self.world.next_before(until).is_some() {
            self.notes.extend(self.world.drain_notes());
        }
    }

    pub(crate) fn broker(&self, node: i32) -> &Broker {
        match self.world.machine(NodeId(node)) {
            Some(Node::Broker(broker)) => broker,
            other => panic!("node {node} is {other:?}"),
        }
    }

    pub(crate) fn ask(&mut self, node: NodeId, request: Request) -> Response {
        self.try_ask(node, request).expect("an answer within three seconds")
    }

    pub(crate) fn try_ask(&mut self, node: NodeId, request: Request) -> Option<Response> {
        self.world.act(CLIENT, |_, env| {
            env.request(node, Channel::Admin, Duration::from_secs(10), request);
        });
        self.run(3);
        match self.world.machine_mut(CLIENT) {
            Some(Node::Client(answers)) => answers.pop(),
            other => panic!("the client is {other:?}"),
        }
    }

    pub(crate) fn create_topic(&mut self, name: &str) {
        let Response::CreateTopics(response) = self.ask(NodeId(self.nodes), creation(name)) else {
            panic!("not an answer to CreateTopics")
        };
        assert_eq!(response.topics[0].error, ErrorCode::None, "{response:?}");
    }

    pub(crate) fn delete_topic(&mut self, name: &str) {
        let Response::DeleteTopics(response) = self.ask(NodeId(self.nodes), deletion(name)) else {
            panic!("not an answer to DeleteTopics")
        };
        assert_eq!(response.topics[0].1, ErrorCode::None, "{response:?}");
    }

    /// Sends a client's request without waiting for its answer.
    pub(crate) fn send(&mut self, node: NodeId, request: Request) {
        self.world.act(CLIENT, |_, env| {
            env.request(node, Channel::Admin, Duration::from_secs(10), request);
        });
    }

    pub(crate) fn leader(&self) -> NodeId {
        let image = self.broker(1).image();
        let (_, registration) = image.partitions().next().expect("a partition");
        registration.leader.expect("a leader")
    }

    pub(crate) fn produce(&mut self, value: &str) -> Offset {
        let mut builder = BatchBuilder::new();
        builder.push(1_750_000_000_000, None, Some(value.as_bytes()), &[]);
        let batch = builder.build(Offset::ZERO, LeaderEpoch::NONE);
        let part =
            ProducePartition { partition: 0, records: Some(batch.to_bytes()), inspection: None };
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

    pub(crate) fn fetch(&mut self) -> Vec<Bytes> {
        self.try_fetch().expect("a partition that can be read")
    }

    pub(crate) fn try_fetch(&mut self) -> Result<Vec<Bytes>, ErrorCode> {
        let request = FetchRequest { max_wait_ms: 100, ..fetch(1 << 20) };
        let leader = self.leader();
        let response = match self.try_ask(leader, Request::Fetch(request)) {
            Some(Response::Fetch(response)) => response,
            None => return Err(ErrorCode::RequestTimedOut),
            Some(other) => panic!("not an answer to Fetch: {other:?}"),
        };
        let answer = &response.topics[0].partitions[0];
        if answer.error != ErrorCode::None {
            return Err(answer.error);
        }
        let records =
            answer.records.iter().flat_map(|batch| batch.records().expect("sound records"));
        Ok(records.map(|record| record.value.expect("a value")).collect())
    }
}

pub(crate) fn creation(name: &str) -> Request {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: 1,
        replication_factor: -1,
        assignments: vec![],
        configs: vec![
            ("min.insync.replicas".into(), Some("1".into())),
            ("flush.messages".into(), Some("1".into())),
        ],
    };
    let topics = vec![topic];
    Request::CreateTopics(CreateTopicsRequest { topics, timeout_ms: 2000, validate_only: false })
}

/// A fetch from the start of at most `max_bytes` of the partition, without waiting.
pub(crate) fn fetch(max_bytes: i32) -> FetchRequest {
    let part = FetchPartition {
        partition: 0,
        current_leader_epoch: LeaderEpoch::NONE,
        fetch_offset: Offset::ZERO,
        last_fetched_epoch: LeaderEpoch::NONE,
        log_start_offset: Offset(-1),
        max_bytes,
        replica_directory_id: Uuid::ZERO,
        high_watermark: Offset(i64::MAX),
    };
    let topic = FetchTopic { topic: TopicRef::name("t"), partitions: vec![part] };
    FetchRequest { topics: vec![topic], ..Default::default() }
}

pub(crate) fn deletion(name: &str) -> Request {
    let topics = vec![TopicRef::name(name)];
    Request::DeleteTopics(DeleteTopicsRequest { topics, timeout_ms: 2000 })
}
