//! A node's configuration, by Kafka's names, already parsed and in range.
//!
//! Text (TOML, flags) is parsed where it comes in. Topic overrides are parsed in `topic`, because
//! they arrive in CreateTopics and in the metadata log.

mod topic;

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::flaw::FlawSet;
use crate::origin::{ListenerId, Origin};
use crate::types::{Endpoint, NodeId};

/// What a node is constructed with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeConfig {
    /// `node.id`.
    pub node: NodeId,
    /// `process.roles` has `broker`.
    pub is_broker: bool,
    /// `controller.quorum.voters`, sorted, at least one. The node is a controller if it is one.
    pub voters: Vec<NodeId>,
    /// `cluster.id`.
    pub cluster_id: String,
    /// Whether an empty log directory may be formatted. A voter that lost its data must not come
    /// back as if it had never had any, so for a node of a cluster this is true only at its first
    /// start.
    pub format: bool,
    /// `advertised.listeners`, for clients and brokers: names and endpoints. At least one.
    pub listeners: Vec<(String, Endpoint)>,
    /// `inter.broker.listener.name`: where brokers reach each other.
    pub inter_broker_listener: String,
    /// There is no separate controller listener: brokers and controllers both reach each voter by
    /// its address in `controller.quorum.voters`.
    pub listener_is_shared: bool,
    /// `rack`.
    pub rack: Option<String>,
    /// Quorum timing.
    pub quorum: QuorumConfig,
    /// `broker.heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// `broker.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `replica.lag.time.max.ms`.
    pub replica_lag_time_max: Duration,
    /// `replica.fetch.wait.max.ms`.
    pub replica_fetch_wait_max: Duration,
    /// `replica.fetch.max.bytes`, per partition.
    pub replica_fetch_max_bytes: u32,
    /// `replica.fetch.backoff.ms`.
    pub replica_fetch_backoff: Duration,
    /// `replica.socket.timeout.ms`, for every request between nodes.
    pub request_timeout: Duration,
    /// How often high watermarks are written to their checkpoint
    /// (`replica.high.watermark.checkpoint.interval.ms`), capped at one second.
    pub checkpoint_interval: Duration,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i16,
    /// `delete.topic.enable`.
    pub delete_topics: bool,
    /// `max.broker.partitions`: the most replicas that one broker may have when the controller
    /// places new ones (KIP-578). Each costs its broker memory, and work at each start.
    pub max_broker_partitions: u32,
    /// Defaults of the topic overrides.
    pub topic_defaults: TopicConfig,
    /// Bytes of recent batches kept in memory per partition, 0 for none.
    pub tail_cache_bytes: u32,
    /// The same for all partitions of the node together, including the index of where batches lie.
    /// The least recently written partitions lose their cache first.
    pub tail_caches_bytes: u64,
    /// Bytes to read from a log at a time if it is not known how many are needed. Recovery reads
    /// four times as much. At least 64.
    pub read_chunk_bytes: u32,
    /// Most fetch bytes answered at once (`fetch.max.bytes`).
    pub fetch_max_bytes: u32,
    /// Rules that are left out; empty in production.
    pub flaws: FlawSet,
}

/// Timing of the metadata quorum (KIP-595).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct QuorumConfig {
    /// `controller.quorum.election.timeout.ms`; a jitter of up to the same length is added.
    pub election_timeout: Duration,
    /// `controller.quorum.fetch.timeout.ms`.
    pub fetch_timeout: Duration,
    /// `controller.quorum.election.backoff.max.ms`.
    pub election_backoff_max: Duration,
    /// `controller.quorum.request.timeout.ms`.
    pub request_timeout: Duration,
    /// `controller.quorum.retry.backoff.ms`.
    pub retry_backoff: Duration,
    /// How long a quorum fetch may be parked (Kafka: 500 ms).
    pub fetch_wait_max: Duration,
}

impl Default for QuorumConfig {
    fn default() -> QuorumConfig {
        QuorumConfig {
            election_timeout: Duration::from_millis(1000),
            fetch_timeout: Duration::from_millis(2000),
            election_backoff_max: Duration::from_millis(1000),
            request_timeout: Duration::from_millis(2000),
            retry_backoff: Duration::from_millis(20),
            fetch_wait_max: Duration::from_millis(500),
        }
    }
}

/// What a topic may override.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopicConfig {
    /// `min.insync.replicas`, at least 1.
    pub min_insync_replicas: i32,
    /// `segment.bytes`, at least 14 as in Kafka.
    pub segment_bytes: u32,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u32,
    /// `max.message.bytes`: the largest batch.
    pub max_message_bytes: u32,
    /// `flush.messages` is 1: a replica counts a batch only when it is on disk. (Kafka's other
    /// values are accepted and mean false: durability is an explicit choice.)
    pub flush_each_batch: bool,
    /// `message.timestamp.type` is `LogAppendTime`.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `cleanup.policy` has `compact`: records need keys. (Compaction itself is not built yet; a
    /// topic that asks for it is refused.)
    pub compact: bool,
}

impl Default for TopicConfig {
    fn default() -> TopicConfig {
        TopicConfig {
            min_insync_replicas: 1,
            segment_bytes: 1 << 30,
            index_interval_bytes: 4096,
            max_message_bytes: 1_048_588,
            flush_each_batch: false,
            log_append_time: false,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            compact: false,
        }
    }
}

impl NodeConfig {
    /// A node with Kafka's defaults where Kafka has one.
    pub fn new(node: NodeId, voters: Vec<NodeId>) -> NodeConfig {
        NodeConfig {
            node,
            is_broker: true,
            voters,
            cluster_id: String::from("wavetank-cluster-00000"),
            format: true,
            listeners: [(
                String::from("PLAINTEXT"),
                Endpoint { host: String::from("localhost"), port: 9092 },
            )]
            .into(),
            inter_broker_listener: String::from("PLAINTEXT"),
            listener_is_shared: true,
            rack: None,
            quorum: QuorumConfig::default(),
            heartbeat_interval: Duration::from_secs(2),
            session_timeout: Duration::from_secs(9),
            replica_lag_time_max: Duration::from_secs(30),
            replica_fetch_wait_max: Duration::from_millis(500),
            replica_fetch_max_bytes: 1 << 20,
            replica_fetch_backoff: Duration::from_secs(1),
            request_timeout: Duration::from_secs(30),
            checkpoint_interval: Duration::from_secs(5),
            auto_create_topics: true,
            num_partitions: 1,
            default_replication_factor: 1,
            delete_topics: true,
            max_broker_partitions: 100_000,
            topic_defaults: TopicConfig::default(),
            tail_cache_bytes: 1 << 20,
            tail_caches_bytes: 128 << 20,
            read_chunk_bytes: 64 << 10,
            fetch_max_bytes: 55 << 20,
            flaws: FlawSet::NONE,
        }
    }

    /// The name of a request's listener. Requests to the controller listener come from brokers.
    pub fn listener_name(&self, origin: Origin) -> &str {
        match origin.listener {
            ListenerId::Broker(index) => &self.listeners[usize::from(index)].0,
            ListenerId::Controller => &self.inter_broker_listener,
        }
    }

    /// Whether this node is a voter of the metadata quorum.
    pub fn is_controller(&self) -> bool {
        self.voters.contains(&self.node)
    }
}
