//! Metadata: brokers, topics, leaders.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::{NodeEndpoint, RequestMessage};
use crate::types::{LeaderEpoch, NodeId, TopicId, TopicRef};

/// Metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MetadataRequest {
    /// `None`: all topics. (In v0 an empty list also means all; the decoder translates it.)
    pub topics: Option<Vec<TopicRef>>,
    /// v4+ (before: true).
    pub allow_auto_topic_creation: bool,
    /// v8+.
    pub include_topic_authorized_operations: bool,
}

/// Answer to Metadata.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetadataResponse {
    /// v3+, ms.
    pub throttle_time_ms: i32,
    /// Brokers that are not fenced.
    pub brokers: Vec<NodeEndpoint>,
    /// v2+.
    pub cluster_id: Option<String>,
    /// v1+; a broker to send admin requests to, or -1.
    pub controller: NodeId,
    /// Per topic.
    pub topics: Vec<MetadataTopic>,
    /// v13+: of the whole request.
    pub error: ErrorCode,
}

/// A topic of a [`MetadataResponse`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct MetadataTopic {
    /// Outcome.
    pub error: ErrorCode,
    /// The name; `None` from v12 on if an id was not found.
    pub name: Option<String>,
    /// v10+.
    pub id: TopicId,
    /// v1+.
    pub is_internal: bool,
    /// Per partition.
    pub partitions: Vec<MetadataPartition>,
}

/// A partition of a [`MetadataTopic`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MetadataPartition {
    /// `LEADER_NOT_AVAILABLE` if there is no leader.
    pub error: ErrorCode,
    /// Partition index.
    pub partition: i32,
    /// -1: none.
    pub leader: NodeId,
    /// v7+.
    pub leader_epoch: LeaderEpoch,
    /// Assigned replicas, preferred first.
    pub replicas: Vec<NodeId>,
    /// In sync.
    pub isr: Vec<NodeId>,
    /// v5+: replicas on dead brokers.
    pub offline_replicas: Vec<NodeId>,
}

impl Default for MetadataResponse {
    fn default() -> MetadataResponse {
        MetadataResponse {
            throttle_time_ms: 0,
            brokers: Vec::new(),
            cluster_id: None,
            controller: NodeId::NONE,
            topics: Vec::new(),
            error: ErrorCode::None,
        }
    }
}

impl RequestMessage for MetadataRequest {
    type Response = MetadataResponse;

    /// Older versions have the error only at each topic.
    fn refused(&self, error: ErrorCode) -> MetadataResponse {
        let refuse = |topic: &TopicRef| MetadataTopic {
            error,
            name: Some(topic.name.clone()),
            id: topic.id,
            ..MetadataTopic::default()
        };
        let topics = self.topics.iter().flatten().map(refuse).collect();
        MetadataResponse { error, topics, ..MetadataResponse::default() }
    }
}
