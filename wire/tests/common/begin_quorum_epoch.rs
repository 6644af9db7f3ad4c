//! BeginQuorumEpoch.

use super::*;

pub fn requests() -> Vec<BeginQuorumEpochRequest> {
    vec![BeginQuorumEpochRequest {
        cluster_id: Some("c".into()),
        voter: NodeId(2),
        voter_directory_id: Uuid(4),
        leader: NodeId(1),
        leader_epoch: LeaderEpoch(5),
        leader_endpoints: vec![("CONTROLLER".into(), endpoint())],
    }]
}

pub fn responses() -> Vec<BeginQuorumEpochResponse> {
    vec![BeginQuorumEpochResponse { error: ERROR, leader: LEADER, leader_epoch: LEADER_EPOCH }]
}
