//! The data plane: Produce, Fetch, ListOffsets, OffsetForLeaderEpoch.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::batch::{Batch, Inspection, Refusal};
use crate::error_code::ErrorCode;
use crate::types::{BrokerEpoch, Endpoint, EpochEndOffset, LeaderEpoch, NodeId, Offset, TopicRef};

/// Whole batches, in offset order.
pub type Records = Vec<Batch>;

/// Produce (key 0, versions 3 to 13).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProduceRequest {
    /// v3+; `None` outside a transaction.
    pub transactional_id: Option<String>,
    /// -1 all, 0 none, 1 leader. Anything else is answered with `INVALID_REQUIRED_ACKS`.
    pub acks: i16,
    /// How long the broker may wait for the replicas, ms.
    pub timeout_ms: i32,
    /// Per topic.
    pub topics: Vec<ProduceTopic>,
}

/// A topic of a [`ProduceRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProduceTopic {
    /// Name (≤ v12) or id (v13).
    pub topic: TopicRef,
    /// Per partition.
    pub partitions: Vec<ProducePartition>,
}

/// A partition of a [`ProduceRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducePartition {
    /// Partition index.
    pub partition: i32,
    /// Exactly one batch, unverified, as received.
    pub records: Option<Bytes>,
    /// The result of [`Inspection::of`] for the records, if the receiver ran it on another thread;
    /// otherwise the broker inspects them itself. Never sent.
    pub inspection: Option<Result<Inspection, Refusal>>,
}

impl core::hash::Hash for ProducePartition {
    /// The inspection follows from the records.
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        self.partition.hash(state);
        self.records.hash(state);
    }
}

/// Answer to Produce.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProduceResponse {
    /// Per topic.
    pub topics: Vec<ProduceTopicResponse>,
    /// ms for which the client should hold back.
    pub throttle_time_ms: i32,
    /// v10+ (KIP-951): endpoints of the leaders named below.
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// A topic of a [`ProduceResponse`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ProduceTopicResponse {
    /// As it was asked for.
    pub topic: TopicRef,
    /// Per partition.
    pub partitions: Vec<ProducePartitionResponse>,
}

/// A partition of a [`ProduceResponse`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ProducePartitionResponse {
    /// Partition index.
    pub partition: i32,
    /// Outcome.
    pub error: ErrorCode,
    /// Offset of the batch's first record, or -1.
    pub base_offset: Offset,
    /// ms, only with LogAppendTime; else -1.
    pub log_append_time_ms: i64,
    /// v5+; or -1.
    pub log_start_offset: Offset,
    /// v8+: records that were the reason (index, message).
    pub record_errors: Vec<(i32, Option<String>)>,
    /// v8+.
    pub error_message: Option<String>,
    /// v10+ (KIP-951).
    pub current_leader: Option<LeaderIdAndEpoch>,
}

impl ProducePartitionResponse {
    /// An answer with only an error.
    pub fn failed(partition: i32, error: ErrorCode) -> ProducePartitionResponse {
        ProducePartitionResponse {
            partition,
            error,
            base_offset: Offset(-1),
            log_append_time_ms: -1,
            log_start_offset: Offset(-1),
            record_errors: Vec::new(),
            error_message: None,
            current_leader: None,
        }
    }
}

/// A leader and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaderIdAndEpoch {
    /// -1: none known.
    pub leader: NodeId,
    /// -1: none known.
    pub epoch: LeaderEpoch,
}

/// A node and its endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeEndpoint {
    /// The node.
    pub node: NodeId,
    /// Its listener.
    pub endpoint: Endpoint,
    /// Its rack.
    pub rack: Option<String>,
}

/// Fetch (key 1, versions 4 to 18).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FetchRequest {
    /// v12+: the cluster the sender believes in (quorum fetches).
    pub cluster_id: Option<String>,
    /// -1 for a consumer.
    pub replica: NodeId,
    /// v15+: the follower's broker epoch (KIP-903), else -1.
    pub replica_epoch: BrokerEpoch,
    /// How long to wait for `min_bytes`, ms.
    pub max_wait_ms: i32,
    /// The fewest bytes for an answer before that.
    pub min_bytes: i32,
    /// The most bytes in total (the first batch may exceed it, KIP-74).
    pub max_bytes: i32,
    /// 0 read_uncommitted, 1 read_committed.
    pub isolation_level: i8,
    /// v7+; 0 is none.
    pub session_id: i32,
    /// v7+; -1 is none.
    pub session_epoch: i32,
    /// Per topic.
    pub topics: Vec<FetchTopic>,
    /// v7+: leave the session.
    pub forgotten: Vec<ForgottenTopic>,
    /// v11+.
    pub rack_id: String,
}

impl Default for FetchRequest {
    fn default() -> FetchRequest {
        FetchRequest {
            cluster_id: None,
            replica: NodeId::NONE,
            replica_epoch: BrokerEpoch::NONE,
            max_wait_ms: 0,
            min_bytes: 0,
            max_bytes: i32::MAX,
            isolation_level: 0,
            session_id: 0,
            session_epoch: -1,
            topics: Vec::new(),
            forgotten: Vec::new(),
            rack_id: String::new(),
        }
    }
}

/// A topic of a [`FetchRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FetchTopic {
    /// Name (≤ v12) or id (v13+).
    pub topic: TopicRef,
    /// Per partition.
    pub partitions: Vec<FetchPartition>,
}

/// A topic of a fetch session that is left out from now on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ForgottenTopic {
    /// Name or id.
    pub topic: TopicRef,
    /// Partition indexes.
    pub partitions: Vec<i32>,
}

/// A partition of a [`FetchRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FetchPartition {
    /// Partition index.
    pub partition: i32,
    /// v9+; -1 skips the check.
    pub current_leader_epoch: LeaderEpoch,
    /// First offset wanted; for a replica, its log end.
    pub fetch_offset: Offset,
    /// v12+: epoch of the replica's last record; -1 if there is none, or for consumers that do not
    /// use it.
    pub last_fetched_epoch: LeaderEpoch,
    /// v5+: the replica's log start, else -1.
    pub log_start_offset: Offset,
    /// The most bytes of this partition.
    pub max_bytes: i32,
    /// v17+, tagged: the replica's directory id.
    pub replica_directory_id: crate::types::Uuid,
    /// v18+, tagged (KIP-1166): the replica's high watermark; `i64::MAX` if not given.
    pub high_watermark: Offset,
}

/// Answer to Fetch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FetchResponse {
    /// ms for which the client should hold back.
    pub throttle_time_ms: i32,
    /// v7+: of the whole request.
    pub error: ErrorCode,
    /// v7+.
    pub session_id: i32,
    /// Per topic.
    pub topics: Vec<FetchTopicResponse>,
    /// v16+, tagged (KIP-951).
    pub node_endpoints: Vec<NodeEndpoint>,
}

/// A topic of a [`FetchResponse`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FetchTopicResponse {
    /// As it was asked for.
    pub topic: TopicRef,
    /// Per partition.
    pub partitions: Vec<FetchPartitionResponse>,
}

/// A partition of a [`FetchResponse`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FetchPartitionResponse {
    /// Partition index.
    pub partition: i32,
    /// Outcome.
    pub error: ErrorCode,
    /// The leader's high watermark, -1 unknown.
    pub high_watermark: Offset,
    /// v4+: last stable offset, -1 unknown.
    pub last_stable_offset: Offset,
    /// v5+: log start, -1 unknown.
    pub log_start_offset: Offset,
    /// v12+, tagged: the follower's log diverges after this.
    pub diverging_epoch: Option<EpochEndOffset>,
    /// v12+, tagged: the current leader.
    pub current_leader: Option<LeaderIdAndEpoch>,
    /// v4+: aborted transactions (producer id, first offset); `None` for read_uncommitted.
    pub aborted: Option<Vec<(i64, Offset)>>,
    /// v11+: -1.
    pub preferred_read_replica: NodeId,
    /// Whole batches. (On the wire the last may be cut; a decoder drops it.)
    pub records: Records,
}

impl FetchPartitionResponse {
    /// An answer without data.
    pub fn failed(partition: i32, error: ErrorCode) -> FetchPartitionResponse {
        FetchPartitionResponse {
            partition,
            error,
            high_watermark: Offset(-1),
            last_stable_offset: Offset(-1),
            log_start_offset: Offset(-1),
            diverging_epoch: None,
            current_leader: None,
            aborted: None,
            preferred_read_replica: NodeId::NONE,
            records: Vec::new(),
        }
    }
}

/// ListOffsets (key 2, versions 1 to 11).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListOffsetsRequest {
    /// -1 for a client.
    pub replica: NodeId,
    /// v2+: 0 read_uncommitted, 1 read_committed.
    pub isolation_level: i8,
    /// Per topic.
    pub topics: Vec<ListOffsetsTopic>,
    /// v10+, ms.
    pub timeout_ms: i32,
}

/// A topic of a [`ListOffsetsRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ListOffsetsTopic {
    /// Name.
    pub name: String,
    /// Per partition.
    pub partitions: Vec<ListOffsetsPartition>,
}

/// A partition of a [`ListOffsetsRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListOffsetsPartition {
    /// Partition index.
    pub partition: i32,
    /// v4+; -1 skips the check.
    pub current_leader_epoch: LeaderEpoch,
    /// ms since 1970, or one of the `*_TIMESTAMP` constants.
    pub timestamp: i64,
}

/// ListOffsets: the end of what a consumer may read.
pub const LATEST_TIMESTAMP: i64 = -1;
/// ListOffsets: the log start.
pub const EARLIEST_TIMESTAMP: i64 = -2;
/// ListOffsets v7+: the record with the largest timestamp (KIP-734).
pub const MAX_TIMESTAMP: i64 = -3;
/// ListOffsets v8+: the first offset on local disk (KIP-405); the log start here.
pub const EARLIEST_LOCAL_TIMESTAMP: i64 = -4;
/// ListOffsets v9+: the last tiered offset; -1 here.
pub const LATEST_TIERED_TIMESTAMP: i64 = -5;
/// ListOffsets v11+: the first offset not tiered yet (KIP-1023).
pub const EARLIEST_PENDING_UPLOAD_TIMESTAMP: i64 = -6;

/// Answer to ListOffsets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ListOffsetsResponse {
    /// v2+, ms.
    pub throttle_time_ms: i32,
    /// Per topic.
    pub topics: Vec<ListOffsetsTopicResponse>,
}

/// A topic of a [`ListOffsetsResponse`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ListOffsetsTopicResponse {
    /// Name.
    pub name: String,
    /// Per partition.
    pub partitions: Vec<ListOffsetsPartitionResponse>,
}

/// A partition of a [`ListOffsetsResponse`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ListOffsetsPartitionResponse {
    /// Partition index.
    pub partition: i32,
    /// Outcome.
    pub error: ErrorCode,
    /// ms, or -1.
    pub timestamp: i64,
    /// The offset, or -1 where there is none.
    pub offset: Offset,
    /// v4+: epoch of that offset, or -1.
    pub leader_epoch: LeaderEpoch,
}

/// OffsetForLeaderEpoch (key 23, versions 2 to 4).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OffsetForLeaderEpochRequest {
    /// v3+: -1 (or -2, any) for a client.
    pub replica: NodeId,
    /// Per topic.
    pub topics: Vec<OffsetForLeaderTopic>,
}

/// A topic of an [`OffsetForLeaderEpochRequest`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OffsetForLeaderTopic {
    /// Name.
    pub name: String,
    /// Per partition.
    pub partitions: Vec<OffsetForLeaderPartition>,
}

/// A partition of an [`OffsetForLeaderEpochRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OffsetForLeaderPartition {
    /// Partition index.
    pub partition: i32,
    /// -1 skips the check.
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch whose end is wanted.
    pub leader_epoch: LeaderEpoch,
}

/// Answer to OffsetForLeaderEpoch.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OffsetForLeaderEpochResponse {
    /// v2+, ms.
    pub throttle_time_ms: i32,
    /// Per topic.
    pub topics: Vec<OffsetForLeaderTopicResponse>,
}

/// A topic of an [`OffsetForLeaderEpochResponse`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct OffsetForLeaderTopicResponse {
    /// Name.
    pub name: String,
    /// Per partition.
    pub partitions: Vec<EpochEndOffsetResponse>,
}

/// A partition of an [`OffsetForLeaderEpochResponse`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EpochEndOffsetResponse {
    /// Outcome.
    pub error: ErrorCode,
    /// Partition index.
    pub partition: i32,
    /// The largest epoch not above the one asked for, or -1.
    pub leader_epoch: LeaderEpoch,
    /// Its end, or -1.
    pub end_offset: Offset,
}
