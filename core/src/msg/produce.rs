//! Produce: append records.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use crate::batch::{Inspection, Refusal};
use crate::error_code::ErrorCode;
use crate::msg::{LeaderIdAndEpoch, NodeEndpoint, RequestMessage};
use crate::types::{Offset, TopicRef};

/// Produce.
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

impl RequestMessage for ProduceRequest {
    type Response = ProduceResponse;

    fn refused(&self, error: ErrorCode) -> ProduceResponse {
        let refuse = |topic: &ProduceTopic| ProduceTopicResponse {
            topic: topic.topic.clone(),
            partitions: topic
                .partitions
                .iter()
                .map(|one| ProducePartitionResponse::failed(one.partition, error))
                .collect(),
        };
        let topics = self.topics.iter().map(refuse).collect();
        ProduceResponse { topics, ..ProduceResponse::default() }
    }
}
