//! Client requests that carry no data: ApiVersions, Metadata, CreateTopics, DeleteTopics.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::NodeEndpoint;
use crate::types::{LeaderEpoch, NodeId, TopicId, TopicRef};

/// ApiVersions (key 18, versions 0 to 5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ApiVersionsRequest {
    /// v3+: `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`, else `INVALID_REQUEST`.
    pub client_software_name: String,
    /// v3+: the same pattern.
    pub client_software_version: String,
    /// v5+: the cluster that the connection is meant for, if the client knows it (KIP-1242).
    pub cluster_id: Option<String>,
    /// v5+: the node that the connection is meant for, with the cluster.
    pub node: NodeId,
}

impl Default for ApiVersionsRequest {
    fn default() -> ApiVersionsRequest {
        ApiVersionsRequest {
            client_software_name: String::new(),
            client_software_version: String::new(),
            cluster_id: None,
            node: NodeId::NONE,
        }
    }
}

/// Answer to ApiVersions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct ApiVersionsResponse {
    /// Outcome; `UNSUPPORTED_VERSION` is sent in the layout of v0.
    pub error: ErrorCode,
    /// (key, min, max).
    pub apis: Vec<(i16, i16, i16)>,
    /// v1+, ms.
    pub throttle_time_ms: i32,
    /// v3+, tagged: (name, min, max) that the broker supports.
    pub supported_features: Vec<(String, i16, i16)>,
    /// v3+, tagged: the metadata offset of the finalized features, or -1.
    pub finalized_features_epoch: i64,
    /// v3+, tagged: (name, max, min) in force.
    pub finalized_features: Vec<(String, i16, i16)>,
}

/// Metadata (key 3, versions 0 to 13).
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
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

/// CreateTopics (key 19, versions 2 to 7).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CreateTopicsRequest {
    /// Per topic.
    pub topics: Vec<CreatableTopic>,
    /// ms.
    pub timeout_ms: i32,
    /// Check only.
    pub validate_only: bool,
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CreatableTopic {
    /// Name.
    pub name: String,
    /// -1: the broker's default (v4+), or given by `assignments`.
    pub num_partitions: i32,
    /// -1: the broker's default (v4+), or given by `assignments`.
    pub replication_factor: i16,
    /// Explicit placement: (partition, replicas).
    pub assignments: Vec<(i32, Vec<NodeId>)>,
    /// Overrides.
    pub configs: Vec<(String, Option<String>)>,
}

/// Answer to CreateTopics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CreateTopicsResponse {
    /// ms.
    pub throttle_time_ms: i32,
    /// Per topic.
    pub topics: Vec<CreatableTopicResult>,
}

/// Outcome for a topic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CreatableTopicResult {
    /// Name.
    pub name: String,
    /// v7+.
    pub id: TopicId,
    /// Outcome.
    pub error: ErrorCode,
    /// The reason.
    pub error_message: Option<String>,
    /// v5+; -1 on error.
    pub num_partitions: i32,
    /// v5+; -1 on error.
    pub replication_factor: i16,
    /// v5+: (name, value, source; 1 is a topic override, 5 a default).
    pub configs: Vec<(String, Option<String>, i8)>,
}

/// DeleteTopics (key 20, versions 1 to 6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeleteTopicsRequest {
    /// By name, or (v6) by id.
    pub topics: Vec<TopicRef>,
    /// ms.
    pub timeout_ms: i32,
}

/// Answer to DeleteTopics.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeleteTopicsResponse {
    /// ms.
    pub throttle_time_ms: i32,
    /// (topic, outcome, why).
    pub topics: Vec<(TopicRef, ErrorCode, Option<String>)>,
}
