//! OffsetForLeaderEpoch: where an epoch ends.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::RequestMessage;
use crate::types::{LeaderEpoch, NodeId, Offset};

/// OffsetForLeaderEpoch.
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

impl Default for OffsetForLeaderEpochRequest {
    /// The debugging consumer's id is implied in versions before 3.
    fn default() -> OffsetForLeaderEpochRequest {
        OffsetForLeaderEpochRequest { replica: NodeId(-2), topics: Vec::new() }
    }
}

impl RequestMessage for OffsetForLeaderEpochRequest {
    type Response = OffsetForLeaderEpochResponse;

    fn refused(&self, error: ErrorCode) -> OffsetForLeaderEpochResponse {
        let refuse = |one: &OffsetForLeaderPartition| EpochEndOffsetResponse {
            error,
            partition: one.partition,
            leader_epoch: LeaderEpoch::NONE,
            end_offset: Offset(-1),
        };
        let topics = self.topics.iter().map(|topic| OffsetForLeaderTopicResponse {
            name: topic.name.clone(),
            partitions: topic.partitions.iter().map(refuse).collect(),
        });
        OffsetForLeaderEpochResponse { throttle_time_ms: 0, topics: topics.collect() }
    }

    fn replica(&self) -> Option<NodeId> {
        Some(self.replica)
    }
}
