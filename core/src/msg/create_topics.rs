//! CreateTopics.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::RequestMessage;
use crate::types::{NodeId, TopicId};

/// CreateTopics.
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

impl CreatableTopicResult {
    /// A topic that was not created.
    pub fn failed(name: &str, error: ErrorCode) -> CreatableTopicResult {
        CreatableTopicResult {
            name: name.into(),
            error,
            num_partitions: -1,
            replication_factor: -1,
            ..CreatableTopicResult::default()
        }
    }
}

impl RequestMessage for CreateTopicsRequest {
    type Response = CreateTopicsResponse;

    fn refused(&self, error: ErrorCode) -> CreateTopicsResponse {
        let refuse = |topic: &CreatableTopic| CreatableTopicResult::failed(&topic.name, error);
        let topics = self.topics.iter().map(refuse).collect();
        CreateTopicsResponse { throttle_time_ms: 0, topics }
    }
}
