//! Requests with values at the edges of their types, in every field of every API (a method for
//! each, named like its module), for the tank's
//! cluster (`hostile.rs`) and for real nodes (the server's `bounds`).

#![allow(dead_code)] // each test program uses only a part

use bytes::Bytes;
use wavetank_core::batch::BatchBuilder;
use wavetank_core::config::NodeConfig;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::*;
use wavetank_core::types::*;

/// The cluster has nodes 1 to this.
pub const NODES: i32 = 3;

/// A small generator, so that the tests are the same on every platform.
#[derive(Clone, Debug)]
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())].clone()
    }

    pub fn some<T>(&mut self, mut draw: impl FnMut(&mut Dice) -> T) -> Vec<T> {
        let count = self.pick(&[0, 1, 1, 1, 2, 3]);
        (0..count).map(|_| draw(self)).collect()
    }

    pub fn i64(&mut self) -> i64 {
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

    pub fn i32(&mut self) -> i32 {
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

    pub fn i16(&mut self) -> i16 {
        self.pick(&[i16::MIN, -2, -1, 0, 1, 2, 3, i16::MAX])
    }

    pub fn bool(&mut self) -> bool {
        self.one_in(2)
    }

    pub fn node(&mut self) -> NodeId {
        NodeId(self.i32())
    }

    pub fn epoch(&mut self) -> LeaderEpoch {
        LeaderEpoch(self.i32())
    }

    pub fn offset(&mut self) -> Offset {
        Offset(self.i64())
    }

    pub fn uuid(&mut self) -> Uuid {
        self.pick(&[Uuid::ZERO, METADATA_TOPIC_ID, Uuid(2), Uuid(u128::MAX)])
    }

    pub fn text(&mut self) -> String {
        let long = "x".repeat(40_000);
        let texts = ["", "t", METADATA_TOPIC, "..", "a/b", "\u{0}", "PLAINTEXT", "retention.ms"];
        if self.one_in(20) { long } else { self.pick(&texts).into() }
    }

    pub fn cluster(&mut self) -> Option<String> {
        let ours = NodeConfig::new(NodeId(1), vec![]).cluster_id;
        self.pick(&[Some(ours.clone()), Some(ours), Some("other".into()), None])
    }

    pub fn error(&mut self) -> ErrorCode {
        ErrorCode::from_code(self.i16())
    }

    pub fn endpoint(&mut self) -> Endpoint {
        Endpoint { host: self.text(), port: self.pick(&[0, 1, 9092, u16::MAX]) }
    }

    /// A batch with a valid checksum, at any offset and epoch. Its records are arbitrary.
    pub fn batch(&mut self) -> wavetank_core::batch::Batch {
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

    pub fn records(&mut self) -> Option<Bytes> {
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

/// What a hostile peer may know: the cluster's epochs, offsets, ids.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub topic: TopicId,
    pub broker_epochs: Vec<BrokerEpoch>,
    pub quorum_epoch: LeaderEpoch,
}

/// Draws requests.
pub struct Hostile<'a> {
    pub dice: &'a mut Dice,
    pub known: &'a Known,
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

    /// An epoch near the quorum's own, or far from any.
    fn epoch(&mut self) -> LeaderEpoch {
        let near = self.dice.pick(&[-1, 0, 0, 1]);
        let near = LeaderEpoch(self.known.quorum_epoch.0.saturating_add(near));
        if self.dice.bool() { near } else { self.dice.epoch() }
    }

    fn broker_epoch(&mut self) -> BrokerEpoch {
        let known = self.dice.pick(&self.known.broker_epochs);
        if self.dice.bool() { known } else { BrokerEpoch(self.dice.i64()) }
    }

    /// A request of any API.
    pub fn request(&mut self) -> Request {
        let api = self.dice.pick(ApiKey::ALL);
        self.request_of(api)
    }

    fn produce(&mut self) -> ProduceRequest {
        ProduceRequest {
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
        }
    }

    fn list_offsets(&mut self) -> ListOffsetsRequest {
        let part = |dice: &mut Dice| ListOffsetsPartition {
            partition: dice.i32(),
            current_leader_epoch: dice.epoch(),
            timestamp: dice.i64(),
        };
        let topic =
            |dice: &mut Dice| ListOffsetsTopic { name: dice.text(), partitions: dice.some(part) };
        ListOffsetsRequest {
            replica: self.dice.node(),
            isolation_level: self.dice.pick(&[i8::MIN, 0, 1, i8::MAX]),
            topics: self.dice.some(topic),
            timeout_ms: self.dice.i32(),
        }
    }

    fn metadata(&mut self) -> MetadataRequest {
        MetadataRequest {
            topics: self.dice.bool().then(|| (0..2).map(|_| self.topic()).collect()),
            allow_auto_topic_creation: self.dice.bool(),
            include_topic_authorized_operations: self.dice.bool(),
        }
    }

    fn api_versions(&mut self) -> ApiVersionsRequest {
        ApiVersionsRequest {
            client_software_name: self.dice.text(),
            client_software_version: self.dice.text(),
            cluster_id: self.dice.bool().then(|| self.dice.text()),
            node: self.dice.node(),
        }
    }

    fn offset_for_leader_epoch(&mut self) -> OffsetForLeaderEpochRequest {
        let part = |dice: &mut Dice| OffsetForLeaderPartition {
            partition: dice.i32(),
            current_leader_epoch: dice.epoch(),
            leader_epoch: dice.epoch(),
        };
        let topic = |dice: &mut Dice| OffsetForLeaderTopic {
            name: dice.text(),
            partitions: dice.some(part),
        };
        OffsetForLeaderEpochRequest { replica: self.dice.node(), topics: self.dice.some(topic) }
    }

    fn fetch(&mut self) -> FetchRequest {
        // A fetch by a voter or a replica states what it has. State only what no node has.
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
        FetchRequest {
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
        }
    }

    fn create_topics(&mut self) -> CreateTopicsRequest {
        let topic = |dice: &mut Dice| CreatableTopic {
            name: if dice.bool() { format!("made-{}", dice.below(9)) } else { dice.text() },
            num_partitions: dice.i32(),
            replication_factor: dice.i16(),
            assignments: dice.some(|dice| (dice.i32(), dice.some(Dice::node))),
            configs: dice.some(|dice| (dice.text(), dice.bool().then(|| dice.text()))),
        };
        CreateTopicsRequest {
            topics: self.dice.some(topic),
            timeout_ms: self.dice.i32(),
            validate_only: self.dice.bool(),
        }
    }

    /// A deletion of anything but the topic that the test keeps.
    fn delete_topics(&mut self) -> DeleteTopicsRequest {
        let topics = (0..2).map(|_| TopicRef { name: self.dice.text(), id: self.dice.uuid() });
        let topics = topics.filter(|topic| topic.name != "t").collect();
        DeleteTopicsRequest { topics, timeout_ms: self.dice.i32() }
    }

    fn vote(&mut self) -> VoteRequest {
        VoteRequest {
            cluster_id: self.dice.cluster(),
            voter: self.dice.node(),
            epoch: self.epoch(),
            candidate: self.dice.node(),
            candidate_directory_id: self.dice.uuid(),
            voter_directory_id: self.dice.uuid(),
            last_offset_epoch: self.epoch(),
            last_offset: self.dice.offset(),
            pre_vote: self.dice.bool(),
        }
    }

    fn begin_quorum_epoch(&mut self) -> BeginQuorumEpochRequest {
        BeginQuorumEpochRequest {
            cluster_id: self.dice.cluster(),
            voter: self.dice.node(),
            voter_directory_id: self.dice.uuid(),
            leader: self.dice.node(),
            leader_epoch: self.epoch(),
            leader_endpoints: self.dice.some(|dice| (dice.text(), dice.endpoint())),
        }
    }

    fn end_quorum_epoch(&mut self) -> EndQuorumEpochRequest {
        EndQuorumEpochRequest {
            cluster_id: self.dice.cluster(),
            leader: self.dice.node(),
            leader_epoch: self.epoch(),
            preferred_successors: self.dice.some(Dice::node),
        }
    }

    fn alter_partition(&mut self) -> AlterPartitionRequest {
        AlterPartitionRequest {
            broker: self.dice.node(),
            broker_epoch: self.broker_epoch(),
            topics: (0..self.dice.below(3)).map(|_| self.alteration()).collect(),
        }
    }

    fn envelope(&mut self) -> EnvelopeRequest {
        let forwardable =
            |api: &ApiKey| matches!(Request::empty(*api).into_family(), Family::Admin(_));
        let forwardable: Vec<ApiKey> = ApiKey::ALL.iter().copied().filter(forwardable).collect();
        let is_other = self.dice.one_in(4);
        let api = if is_other { ApiKey::ApiVersions } else { self.dice.pick(&forwardable) };
        let inner = self.request_of(api);
        let (version, request) = (self.dice.i16(), Box::new(inner));
        EnvelopeRequest { version, request }
    }

    fn broker_registration(&mut self) -> BrokerRegistrationRequest {
        BrokerRegistrationRequest {
            broker: self.dice.node(),
            cluster_id: self.dice.cluster().unwrap_or_default(),
            incarnation: self.dice.uuid(),
            listeners: self.dice.some(|dice| (dice.text(), dice.endpoint())),
            features: self.dice.some(|dice| (dice.text(), dice.i16(), dice.i16())),
            rack: self.dice.bool().then(|| self.dice.text()),
            log_dirs: self.dice.some(Dice::uuid),
            previous_broker_epoch: self.broker_epoch(),
        }
    }

    fn broker_heartbeat(&mut self) -> BrokerHeartbeatRequest {
        BrokerHeartbeatRequest {
            broker: self.dice.node(),
            broker_epoch: self.broker_epoch(),
            current_metadata_offset: self.dice.offset(),
            want_fence: self.dice.bool(),
            want_shut_down: self.dice.bool(),
            offline_log_dirs: self.dice.some(Dice::uuid),
        }
    }

    fn alteration(&mut self) -> AlterPartitionTopic {
        let id = if self.dice.bool() { self.known.topic } else { self.dice.uuid() };
        // Epochs that the partition never had: in the right one, the change would take effect.
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

macro_rules! draw_each {
    ($($name:ident, $module:ident: $request:ident => $response:ident;)*) => {
        impl Hostile<'_> {
            /// A request of this API.
            pub fn request_of(&mut self, api: ApiKey) -> Request {
                match api { $(ApiKey::$name => Request::$name(self.$module()),)* }
            }
        }
    };
}

wavetank_core::for_each_api!(draw_each);

pub trait IntoEpoch {
    fn into_epoch(self) -> LeaderEpoch;
}

impl IntoEpoch for i32 {
    fn into_epoch(self) -> LeaderEpoch {
        LeaderEpoch(self)
    }
}
