//! Vote.

use super::*;

pub fn requests() -> Vec<VoteRequest> {
    vec![
        VoteRequest {
            cluster_id: Some("c".into()),
            voter: NodeId(2),
            epoch: LeaderEpoch(5),
            candidate: NodeId(1),
            candidate_directory_id: Uuid(3),
            voter_directory_id: Uuid(4),
            last_offset_epoch: LeaderEpoch(4),
            last_offset: Offset(50),
            pre_vote: true,
        },
        VoteRequest {
            cluster_id: None,
            voter: NodeId::NONE,
            epoch: LeaderEpoch(1),
            candidate: NodeId(1),
            candidate_directory_id: Uuid::ZERO,
            voter_directory_id: Uuid::ZERO,
            last_offset_epoch: LeaderEpoch(0),
            last_offset: Offset(0),
            pre_vote: false,
        },
    ]
}

pub fn responses() -> Vec<VoteResponse> {
    vec![
        VoteResponse {
            error: ERROR,
            leader: LEADER,
            leader_epoch: LEADER_EPOCH,
            vote_granted: true,
            node_endpoints: vec![NodeEndpoint { rack: None, ..node_endpoint() }],
        },
        VoteResponse {
            error: ErrorCode::None,
            leader: NodeId::NONE,
            leader_epoch: LeaderEpoch(1),
            vote_granted: false,
            node_endpoints: Vec::new(),
        },
    ]
}
