//! AlterPartition: a partition's leader changes the ISR.

use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::RequestMessage;
use crate::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, TopicId};

/// AlterPartition.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AlterPartitionRequest {
    /// The leader that asks.
    pub broker: NodeId,
    /// Its broker epoch.
    pub broker_epoch: BrokerEpoch,
    /// Per topic.
    pub topics: Vec<AlterPartitionTopic>,
}

/// A topic of an [`AlterPartitionRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AlterPartitionTopic {
    /// The topic.
    pub id: TopicId,
    /// Per partition.
    pub partitions: Vec<AlterPartitionData>,
}

/// A partition of an [`AlterPartitionRequest`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AlterPartitionData {
    /// Partition index.
    pub partition: i32,
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The wanted ISR, with the broker epochs that the leader saw in fetches (KIP-903; -1 in v2).
    pub new_isr: Vec<(NodeId, BrokerEpoch)>,
    /// 0 recovered, 1 recovering from unclean election.
    pub leader_recovery_state: i8,
    /// The registration that the change is based on.
    pub partition_epoch: PartitionEpoch,
}

/// Answer to AlterPartition.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AlterPartitionResponse {
    /// ms.
    pub throttle_time_ms: i32,
    /// Of the whole request.
    pub error: ErrorCode,
    /// (topic, its partitions).
    pub topics: Vec<(TopicId, Vec<AlterPartitionResult>)>,
}

/// A partition of an [`AlterPartitionResponse`]: the registration after the change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AlterPartitionResult {
    /// Partition index.
    pub partition: i32,
    /// Outcome.
    pub error: ErrorCode,
    /// Leader.
    pub leader: NodeId,
    /// Its epoch.
    pub leader_epoch: LeaderEpoch,
    /// ISR.
    pub isr: Vec<NodeId>,
    /// 0 recovered, 1 recovering.
    pub leader_recovery_state: i8,
    /// Partition epoch.
    pub partition_epoch: PartitionEpoch,
}

impl Default for AlterPartitionRequest {
    fn default() -> AlterPartitionRequest {
        AlterPartitionRequest {
            broker: NodeId::NONE,
            broker_epoch: BrokerEpoch::NONE,
            topics: Vec::new(),
        }
    }
}

impl RequestMessage for AlterPartitionRequest {
    type Response = AlterPartitionResponse;

    fn refused(&self, error: ErrorCode) -> AlterPartitionResponse {
        AlterPartitionResponse { error, ..AlterPartitionResponse::default() }
    }
}
