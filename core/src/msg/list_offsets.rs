//! ListOffsets: look offsets up by time.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::RequestMessage;
use crate::types::{LeaderEpoch, NodeId, Offset};

/// ListOffsets.
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

impl Default for ListOffsetsRequest {
    fn default() -> ListOffsetsRequest {
        ListOffsetsRequest {
            replica: NodeId::NONE,
            isolation_level: 0,
            topics: Vec::new(),
            timeout_ms: 0,
        }
    }
}

impl RequestMessage for ListOffsetsRequest {
    type Response = ListOffsetsResponse;

    fn refused(&self, error: ErrorCode) -> ListOffsetsResponse {
        let refuse = |one: &ListOffsetsPartition| ListOffsetsPartitionResponse {
            partition: one.partition,
            error,
            timestamp: -1,
            offset: Offset(-1),
            leader_epoch: LeaderEpoch::NONE,
        };
        let topics = self.topics.iter().map(|topic| ListOffsetsTopicResponse {
            name: topic.name.clone(),
            partitions: topic.partitions.iter().map(refuse).collect(),
        });
        ListOffsetsResponse { throttle_time_ms: 0, topics: topics.collect() }
    }

    fn replica(&self) -> Option<NodeId> {
        Some(self.replica)
    }
}
