//! BeginQuorumEpoch: a leader of the metadata quorum announces its epoch.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::RequestMessage;
use crate::types::{Endpoint, LeaderEpoch, NodeId, Uuid};

/// BeginQuorumEpoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BeginQuorumEpochRequest {
    /// The cluster the leader believes in.
    pub cluster_id: Option<String>,
    /// v1+: the voter that it is for.
    pub voter: NodeId,
    /// v1+.
    pub voter_directory_id: Uuid,
    /// The leader.
    pub leader: NodeId,
    /// Its epoch.
    pub leader_epoch: LeaderEpoch,
    /// v1+: where it listens (name, endpoint).
    pub leader_endpoints: Vec<(String, Endpoint)>,
}

/// Answer to BeginQuorumEpoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BeginQuorumEpochResponse {
    /// Of the request or the partition.
    pub error: ErrorCode,
    /// The leader that the voter knows.
    pub leader: NodeId,
    /// The voter's epoch.
    pub leader_epoch: LeaderEpoch,
}

impl Default for BeginQuorumEpochRequest {
    fn default() -> BeginQuorumEpochRequest {
        BeginQuorumEpochRequest {
            cluster_id: None,
            voter: NodeId::NONE,
            voter_directory_id: Uuid::ZERO,
            leader: NodeId::NONE,
            leader_epoch: LeaderEpoch::NONE,
            leader_endpoints: Vec::new(),
        }
    }
}

impl Default for BeginQuorumEpochResponse {
    fn default() -> BeginQuorumEpochResponse {
        BeginQuorumEpochResponse {
            error: ErrorCode::None,
            leader: NodeId::NONE,
            leader_epoch: LeaderEpoch::NONE,
        }
    }
}

impl RequestMessage for BeginQuorumEpochRequest {
    type Response = BeginQuorumEpochResponse;

    fn refused(&self, error: ErrorCode) -> BeginQuorumEpochResponse {
        BeginQuorumEpochResponse { error, ..BeginQuorumEpochResponse::default() }
    }
}
