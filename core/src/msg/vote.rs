//! Vote: a candidate of the metadata quorum asks for a vote.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::{NodeEndpoint, RequestMessage};
use crate::types::{LeaderEpoch, NodeId, Offset, Uuid};

/// Vote for `__cluster_metadata`-0, the only quorum.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VoteRequest {
    /// The cluster the candidate believes in.
    pub cluster_id: Option<String>,
    /// v1+: the voter that the request is for; -1 if not given.
    pub voter: NodeId,
    /// The candidate's epoch (in a pre-vote: its current epoch).
    pub epoch: LeaderEpoch,
    /// The candidate.
    pub candidate: NodeId,
    /// v1+.
    pub candidate_directory_id: Uuid,
    /// v1+.
    pub voter_directory_id: Uuid,
    /// Epoch of its last record.
    pub last_offset_epoch: LeaderEpoch,
    /// Its log end.
    pub last_offset: Offset,
    /// v2 (KIP-996).
    pub pre_vote: bool,
}

/// Answer to Vote.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VoteResponse {
    /// Of the request or the partition.
    pub error: ErrorCode,
    /// The leader that the voter knows, or -1.
    pub leader: NodeId,
    /// The voter's epoch.
    pub leader_epoch: LeaderEpoch,
    /// Whether the vote is granted.
    pub vote_granted: bool,
    /// v1+, tagged.
    pub node_endpoints: Vec<NodeEndpoint>,
}

impl Default for VoteRequest {
    fn default() -> VoteRequest {
        VoteRequest {
            cluster_id: None,
            voter: NodeId::NONE,
            epoch: LeaderEpoch::NONE,
            candidate: NodeId::NONE,
            candidate_directory_id: Uuid::ZERO,
            voter_directory_id: Uuid::ZERO,
            last_offset_epoch: LeaderEpoch::NONE,
            last_offset: Offset(-1),
            pre_vote: false,
        }
    }
}

impl Default for VoteResponse {
    fn default() -> VoteResponse {
        VoteResponse {
            error: ErrorCode::None,
            leader: NodeId::NONE,
            leader_epoch: LeaderEpoch::NONE,
            vote_granted: false,
            node_endpoints: Vec::new(),
        }
    }
}

impl RequestMessage for VoteRequest {
    type Response = VoteResponse;

    fn refused(&self, error: ErrorCode) -> VoteResponse {
        VoteResponse { error, ..VoteResponse::default() }
    }
}
