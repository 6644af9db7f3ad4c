//! OffsetForLeaderEpoch.

use super::*;

pub fn requests() -> Vec<OffsetForLeaderEpochRequest> {
    vec![OffsetForLeaderEpochRequest {
        replica: NodeId(2),
        topics: vec![OffsetForLeaderTopic {
            name: "t".into(),
            partitions: vec![OffsetForLeaderPartition {
                partition: 1,
                current_leader_epoch: LeaderEpoch(8),
                leader_epoch: LeaderEpoch(7),
            }],
        }],
    }]
}

pub fn responses() -> Vec<OffsetForLeaderEpochResponse> {
    vec![OffsetForLeaderEpochResponse {
        throttle_time_ms: 1,
        topics: vec![OffsetForLeaderTopicResponse {
            name: "t".into(),
            partitions: vec![EpochEndOffsetResponse {
                error: ERROR,
                partition: 1,
                leader_epoch: LEADER_EPOCH,
                end_offset: Offset(70),
            }],
        }],
    }]
}
