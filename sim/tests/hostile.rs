//! Hostile peers that know the schemas: every request, and every answer, with values at the edges of
//! their types, to a cluster that runs. No node panics or ends, nothing that was committed is lost, and
//! the cluster elects and serves afterwards, also from its disks.
//!
//! What a liar says is drawn so that no correct peer could have said it, or so that it could do no harm
//! if it were true: without authentication, a lie that is like the truth is one.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use wavetank_core::batch::BatchBuilder;
use wavetank_core::broker::{Broker, Status};
use wavetank_core::config::NodeConfig;
use wavetank_core::env::{Channel, Env};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::event::{ConnectionId, Event, ReplyTo};
use wavetank_core::msg::*;
use wavetank_core::types::*;
use wavetank_sim::world::{Exit, HostConfig, Machine, World, WorldConfig};

const SECOND: u64 = 1_000_000_000;
const CLIENT: NodeId = NodeId(100);
const NODES: i32 = 3;
/// Requests in all, over the seeds.
const REQUESTS: u32 = 30_000;
const SEEDS: u64 = 6;

/// A small generator: the tests must mean the same everywhere.
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    fn some<T>(&mut self, mut draw: impl FnMut(&mut Dice) -> T) -> Vec<T> {
        let count = self.pick(&[0, 1, 1, 1, 2, 3]);
        (0..count).map(|_| draw(self)).collect()
    }

    fn i64(&mut self) -> i64 {
        const EDGES: [i64; 16] = [
            i64::MIN,
            i64::MIN + 1,
            -(1 << 32),
            -2,
            -1,
            0,
            1,
            2,
            3,
            7,
            20,
            i32::MAX as i64,
            1 << 32,
            1 << 62,
            i64::MAX - 1,
            i64::MAX,
        ];
        self.pick(&EDGES)
    }

    fn i32(&mut self) -> i32 {
        const EDGES: [i32; 16] = [
            i32::MIN,
            i32::MIN + 1,
            -2,
            -1,
            0,
            1,
            2,
            3,
            4,
            5,
            100,
            1 << 20,
            1 << 30,
            (1 << 30) + 1,
            i32::MAX - 1,
            i32::MAX,
        ];
        self.pick(&EDGES)
    }

    fn i16(&mut self) -> i16 {
        self.pick(&[i16::MIN, -2, -1, 0, 1, 2, 3, i16::MAX])
    }

    fn bool(&mut self) -> bool {
        self.one_in(2)
    }

    fn node(&mut self) -> NodeId {
        NodeId(self.i32())
    }

    fn epoch(&mut self) -> LeaderEpoch {
        LeaderEpoch(self.i32())
    }

    fn offset(&mut self) -> Offset {
        Offset(self.i64())
    }

    fn uuid(&mut self) -> Uuid {
        self.pick(&[Uuid::ZERO, METADATA_TOPIC_ID, Uuid(2), Uuid(u128::MAX)])
    }

    fn text(&mut self) -> String {
        let long = "x".repeat(40_000);
        let texts = ["", "t", METADATA_TOPIC, "..", "a/b", "\u{0}", "PLAINTEXT", "retention.ms"];
        if self.one_in(20) { long } else { self.pick(&texts).into() }
    }

    fn cluster(&mut self) -> Option<String> {
        let ours = NodeConfig::new(NodeId(1), vec![]).cluster_id;
        self.pick(&[Some(ours.clone()), Some(ours), Some("other".into()), None])
    }

    fn error(&mut self) -> ErrorCode {
        ErrorCode::from_code(self.i16())
    }

    fn endpoint(&mut self) -> Endpoint {
        Endpoint { host: self.text(), port: self.pick(&[0, 1, 9092, u16::MAX]) }
    }

    /// A batch with a right checksum, for any place and epoch; its records are nobody's.
    fn batch(&mut self) -> wavetank_core::batch::Batch {
        let mut builder = BatchBuilder::new();
        if self.one_in(4) {
            builder.control();
        }
        if self.one_in(4) {
            builder.producer(self.i64(), self.i16(), self.i32());
        }
        for _ in 0..=self.below(3) {
            let value = self.pick(&[&b""[..], b"\x00", b"\x01\x02", b"garbage"]);
            builder.push(self.i64(), Some(b"k"), Some(value), &[]);
        }
        let at = Offset(self.i64().clamp(0, i64::MAX - 10));
        builder.build(at, LeaderEpoch(self.i32()))
    }

    fn records(&mut self) -> Option<Bytes> {
        let mut bytes = self.batch().to_bytes().to_vec();
        if self.bool() {
            let at = self.below(bytes.len());
            bytes[at] ^= 1 << self.below(8);
        }
        if self.one_in(8) {
            bytes.truncate(self.below(bytes.len()));
        }
        (!self.one_in(10)).then(|| Bytes::from(bytes))
    }
}

/// What is hostile may know: the cluster's epochs, offsets, ids.
#[derive(Clone, Debug, Default)]
struct Known {
    topic: TopicId,
    broker_epochs: Vec<BrokerEpoch>,
    quorum_epoch: LeaderEpoch,
}

struct Hostile<'a> {
    dice: &'a mut Dice,
    known: &'a Known,
}

impl Hostile<'_> {
    fn topic(&mut self) -> TopicRef {
        let id = if self.dice.bool() { self.known.topic } else { self.dice.uuid() };
        match self.dice.below(3) {
            0 => TopicRef::name(self.dice.text()),
            1 => TopicRef::id(id),
            _ => TopicRef { name: self.dice.text(), id },
        }
    }

    /// Near the quorum's own, or far from any.
    fn epoch(&mut self) -> LeaderEpoch {
        let near = self.dice.pick(&[-1, 0, 0, 1]);
        let near = LeaderEpoch(self.known.quorum_epoch.0.saturating_add(near));
        if self.dice.bool() { near } else { self.dice.epoch() }
    }

    fn broker_epoch(&mut self) -> BrokerEpoch {
        let known = self.dice.pick(&self.known.broker_epochs);
        if self.dice.bool() { known } else { BrokerEpoch(self.dice.i64()) }
    }

    fn request(&mut self) -> Request {
        let kind = self.dice.below(15);
        match kind {
            0..=7 => self.clients_request(kind),
            _ => self.peers_request(kind),
        }
    }

    fn clients_request(&mut self, kind: usize) -> Request {
        match kind {
            0 => Request::Produce(ProduceRequest {
                transactional_id: self.dice.one_in(8).then(|| self.dice.text()),
                acks: self.dice.i16(),
                timeout_ms: self.dice.i32(),
                topics: (0..self.dice.below(3))
                    .map(|_| {
                        let topic = self.topic();
                        let part = |dice: &mut Dice| ProducePartition {
                            partition: dice.i32(),
                            records: dice.records(),
                            inspection: None,
                        };
                        ProduceTopic { topic, partitions: self.dice.some(part) }
                    })
                    .collect(),
            }),
            1 => self.fetch(),
            2 => {
                let part = |dice: &mut Dice| ListOffsetsPartition {
                    partition: dice.i32(),
                    current_leader_epoch: dice.epoch(),
                    timestamp: dice.i64(),
                };
                let topic = |dice: &mut Dice| ListOffsetsTopic {
                    name: dice.text(),
                    partitions: dice.some(part),
                };
                Request::ListOffsets(ListOffsetsRequest {
                    replica: self.dice.node(),
                    isolation_level: self.dice.pick(&[i8::MIN, 0, 1, i8::MAX]),
                    topics: self.dice.some(topic),
                    timeout_ms: self.dice.i32(),
                })
            }
            3 => Request::Metadata(MetadataRequest {
                topics: self.dice.bool().then(|| (0..2).map(|_| self.topic()).collect()),
                allow_auto_topic_creation: self.dice.bool(),
                include_topic_authorized_operations: self.dice.bool(),
            }),
            4 => Request::ApiVersions(ApiVersionsRequest {
                client_software_name: self.dice.text(),
                client_software_version: self.dice.text(),
            }),
            5 => self.creation(),
            6 => self.deletion(),
            _ => {
                let part = |dice: &mut Dice| OffsetForLeaderPartition {
                    partition: dice.i32(),
                    current_leader_epoch: dice.epoch(),
                    leader_epoch: dice.epoch(),
                };
                let topic = |dice: &mut Dice| OffsetForLeaderTopic {
                    name: dice.text(),
                    partitions: dice.some(part),
                };
                Request::OffsetForLeaderEpoch(OffsetForLeaderEpochRequest {
                    replica: self.dice.node(),
                    topics: self.dice.some(topic),
                })
            }
        }
    }

    fn fetch(&mut self) -> Request {
        // Whoever fetches as a voter, or as a replica, says what it has: only what nobody has.
        let replica = self.dice.node();
        let is_node = (1..=NODES).contains(&replica.0);
        let topics = (0..self.dice.pick(&[1, 1, 2, 3]))
            .map(|_| {
                let topic =
                    if self.dice.bool() { TopicRef::id(METADATA_TOPIC_ID) } else { self.topic() };
                let part = |dice: &mut Dice| FetchPartition {
                    partition: dice.i32(),
                    current_leader_epoch: dice.epoch(),
                    fetch_offset: if is_node {
                        dice.pick(&[Offset(i64::MIN), Offset(-1), Offset(1 << 62)])
                    } else {
                        dice.offset()
                    },
                    last_fetched_epoch: dice.epoch(),
                    log_start_offset: dice.offset(),
                    max_bytes: dice.i32(),
                    replica_directory_id: dice.uuid(),
                    high_watermark: dice.offset(),
                };
                FetchTopic { topic, partitions: self.dice.some(part) }
            })
            .collect();
        Request::Fetch(FetchRequest {
            cluster_id: self.dice.cluster(),
            replica,
            replica_epoch: self.broker_epoch(),
            max_wait_ms: self.dice.i32(),
            min_bytes: self.dice.i32(),
            max_bytes: self.dice.i32(),
            isolation_level: self.dice.pick(&[i8::MIN, 0, 1, i8::MAX]),
            session_id: self.dice.pick(&[0, 0, 0, -1, i32::MAX]),
            session_epoch: self.dice.pick(&[-1, -1, 0, 1, i32::MIN]),
            topics,
            forgotten: Vec::new(),
            rack_id: self.dice.text(),
        })
    }

    fn creation(&mut self) -> Request {
        let topic = |dice: &mut Dice| CreatableTopic {
            name: if dice.bool() { format!("made-{}", dice.below(9)) } else { dice.text() },
            num_partitions: dice.i32(),
            replication_factor: dice.i16(),
            assignments: dice.some(|dice| (dice.i32(), dice.some(Dice::node))),
            configs: dice.some(|dice| (dice.text(), dice.bool().then(|| dice.text()))),
        };
        Request::CreateTopics(CreateTopicsRequest {
            topics: self.dice.some(topic),
            timeout_ms: self.dice.i32(),
            validate_only: self.dice.bool(),
        })
    }

    /// Of anything but the topic that the test keeps.
    fn deletion(&mut self) -> Request {
        let topics = (0..2).map(|_| TopicRef { name: self.dice.text(), id: self.dice.uuid() });
        let topics = topics.filter(|topic| topic.name != "t").collect();
        Request::DeleteTopics(DeleteTopicsRequest { topics, timeout_ms: self.dice.i32() })
    }

    fn peers_request(&mut self, kind: usize) -> Request {
        match kind {
            8 => Request::Vote(VoteRequest {
                cluster_id: self.dice.cluster(),
                voter: self.dice.node(),
                epoch: self.epoch(),
                candidate: self.dice.node(),
                candidate_directory_id: self.dice.uuid(),
                voter_directory_id: self.dice.uuid(),
                last_offset_epoch: self.epoch(),
                last_offset: self.dice.offset(),
                pre_vote: self.dice.bool(),
            }),
            9 => Request::BeginQuorumEpoch(BeginQuorumEpochRequest {
                cluster_id: self.dice.cluster(),
                voter: self.dice.node(),
                voter_directory_id: self.dice.uuid(),
                leader: self.dice.node(),
                leader_epoch: self.epoch(),
                leader_endpoints: self.dice.some(|dice| (dice.text(), dice.endpoint())),
            }),
            10 => Request::EndQuorumEpoch(EndQuorumEpochRequest {
                cluster_id: self.dice.cluster(),
                leader: self.dice.node(),
                leader_epoch: self.epoch(),
                preferred_successors: self.dice.some(Dice::node),
            }),
            11 => Request::AlterPartition(AlterPartitionRequest {
                broker: self.dice.node(),
                broker_epoch: self.broker_epoch(),
                topics: (0..self.dice.below(3)).map(|_| self.alteration()).collect(),
            }),
            12 => {
                let inner = if self.dice.bool() { self.creation() } else { self.deletion() };
                let inner = if self.dice.one_in(4) { self.clients_request(4) } else { inner };
                let (version, request) = (self.dice.i16(), Box::new(inner));
                Request::Envelope(EnvelopeRequest { version, request })
            }
            13 => Request::BrokerRegistration(BrokerRegistrationRequest {
                broker: self.dice.node(),
                cluster_id: self.dice.cluster().unwrap_or_default(),
                incarnation: self.dice.uuid(),
                listeners: self.dice.some(|dice| (dice.text(), dice.endpoint())),
                features: self.dice.some(|dice| (dice.text(), dice.i16(), dice.i16())),
                rack: self.dice.bool().then(|| self.dice.text()),
                log_dirs: self.dice.some(Dice::uuid),
                previous_broker_epoch: self.broker_epoch(),
            }),
            _ => Request::BrokerHeartbeat(BrokerHeartbeatRequest {
                broker: self.dice.node(),
                broker_epoch: self.broker_epoch(),
                current_metadata_offset: self.dice.offset(),
                want_fence: self.dice.bool(),
                want_shut_down: self.dice.bool(),
                offline_log_dirs: self.dice.some(Dice::uuid),
            }),
        }
    }

    fn alteration(&mut self) -> AlterPartitionTopic {
        let id = if self.dice.bool() { self.known.topic } else { self.dice.uuid() };
        // Epochs that the partition never had: a change in the right one would be a change.
        let part = |dice: &mut Dice| AlterPartitionData {
            partition: dice.i32(),
            leader_epoch: dice.pick(&[-1, i32::MIN, 1 << 20, i32::MAX]).into_epoch(),
            new_isr: dice.some(|dice| (dice.node(), BrokerEpoch(dice.i64()))),
            leader_recovery_state: dice.pick(&[i8::MIN, -1, 0, 1, 2, i8::MAX]),
            partition_epoch: PartitionEpoch(dice.i32()),
        };
        AlterPartitionTopic { id, partitions: self.dice.some(part) }
    }
}

trait IntoEpoch {
    fn into_epoch(self) -> LeaderEpoch;
}

impl IntoEpoch for i32 {
    fn into_epoch(self) -> LeaderEpoch {
        LeaderEpoch(self)
    }
}

/// Turns one field of a true answer into a lie, or all of it.
fn lie(dice: &mut Dice, truth: Response) -> Response {
    match truth {
        Response::Fetch(answer) => Response::Fetch(lie_of_fetch(dice, answer)),
        Response::Vote(mut answer) => {
            // A vote that was not given would be a second leader.
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
        // An answer to something else.
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
                    // Offsets that end beyond, or before there was anything.
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
    /// In an epoch that no leader has, or far behind where any log ends.
    fn with_epoch_beyond(mut self, dice: &mut Dice) -> Self {
        if dice.bool() {
            self.leader_epoch = dice.pick(&[i32::MIN, -1, i32::MAX]).into_epoch();
        } else {
            self.base_offset = Offset(dice.pick(&[1 << 40, i64::MAX - 10]));
        }
        self
    }
}

/// A broker that may hear lies, or a client that keeps what it is told.
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
    /// What was acknowledged of the topic, by offset.
    acknowledged: BTreeMap<Offset, String>,
    correlation: i32,
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
        let mut tank = Tank { world, acknowledged: BTreeMap::new(), correlation: 0 };
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

    /// Asks nodes in turn until one does it.
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
            // It may have been asked for before, without an answer.
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

    /// Everything that was acknowledged is there.
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

    /// Hands a request to a node as if from a connection that nobody reads.
    fn hostile(&mut self, node: NodeId, request: Request) {
        self.correlation += 1;
        let from = ReplyTo { connection: ConnectionId(0), correlation: self.correlation };
        self.world.act(node, |machine, env| {
            let version = 12;
            machine.step(Event::Request { from, version, request: request.clone() }, env);
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
