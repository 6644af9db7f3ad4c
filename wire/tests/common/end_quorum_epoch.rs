//! EndQuorumEpoch.

use super::*;

pub fn requests() -> Vec<EndQuorumEpochRequest> {
    vec![EndQuorumEpochRequest {
        cluster_id: Some("c".into()),
        leader: NodeId(1),
        leader_epoch: LeaderEpoch(5),
        preferred_successors: vec![NodeId(3), NodeId(2)],
    }]
}

pub fn responses() -> Vec<EndQuorumEpochResponse> {
    vec![EndQuorumEpochResponse { error: ERROR, leader: LEADER, leader_epoch: LEADER_EPOCH }]
}
