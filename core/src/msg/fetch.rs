//! Fetch: read records. Consumers, followers and the metadata quorum use it.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::{LeaderIdAndEpoch, NodeEndpoint, Records, RequestMessage};
use crate::types::{BrokerEpoch, EpochEndOffset, LeaderEpoch, NodeId, Offset, TopicRef};

/// Fetch.
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

impl RequestMessage for FetchRequest {
    type Response = FetchResponse;

    /// Older versions have the error only at each partition.
    fn refused(&self, error: ErrorCode) -> FetchResponse {
        let refuse = |topic: &FetchTopic| FetchTopicResponse {
            topic: topic.topic.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|one| FetchPartitionResponse::failed(one.partition, error))
                .collect(),
        };
        let topics = self.topics.iter().map(refuse).collect();
        FetchResponse { error, topics, ..FetchResponse::default() }
    }

    fn replica(&self) -> Option<NodeId> {
        Some(self.replica)
    }
}
