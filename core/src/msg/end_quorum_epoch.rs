//! EndQuorumEpoch: a leader of the metadata quorum steps down.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::RequestMessage;
use crate::types::{LeaderEpoch, NodeId};

/// EndQuorumEpoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndQuorumEpochRequest {
    /// The cluster the leader believes in.
    pub cluster_id: Option<String>,
    /// The leader that steps down.
    pub leader: NodeId,
    /// Its epoch.
    pub leader_epoch: LeaderEpoch,
    /// Who should stand for election, best first.
    pub preferred_successors: Vec<NodeId>,
}

/// Answer to EndQuorumEpoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EndQuorumEpochResponse {
    /// Of the request or the partition.
    pub error: ErrorCode,
    /// The leader that the voter knows.
    pub leader: NodeId,
    /// The voter's epoch.
    pub leader_epoch: LeaderEpoch,
}

impl Default for EndQuorumEpochRequest {
    fn default() -> EndQuorumEpochRequest {
        EndQuorumEpochRequest {
            cluster_id: None,
            leader: NodeId::NONE,
            leader_epoch: LeaderEpoch::NONE,
            preferred_successors: Vec::new(),
        }
    }
}

impl Default for EndQuorumEpochResponse {
    fn default() -> EndQuorumEpochResponse {
        EndQuorumEpochResponse {
            error: ErrorCode::None,
            leader: NodeId::NONE,
            leader_epoch: LeaderEpoch::NONE,
        }
    }
}

impl RequestMessage for EndQuorumEpochRequest {
    type Response = EndQuorumEpochResponse;

    fn refused(&self, error: ErrorCode) -> EndQuorumEpochResponse {
        EndQuorumEpochResponse { error, ..EndQuorumEpochResponse::default() }
    }
}
