//! DeleteTopics.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::RequestMessage;
use crate::types::TopicRef;

/// DeleteTopics.
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

impl RequestMessage for DeleteTopicsRequest {
    type Response = DeleteTopicsResponse;

    fn refused(&self, error: ErrorCode) -> DeleteTopicsResponse {
        let topics = self.topics.iter().map(|topic| (topic.clone(), error, None)).collect();
        DeleteTopicsResponse { throttle_time_ms: 0, topics }
    }
}
