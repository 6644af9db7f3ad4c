//! ListOffsets.

use super::*;

pub fn requests() -> Vec<ListOffsetsRequest> {
    vec![ListOffsetsRequest {
        replica: NodeId(1),
        isolation_level: 1,
        topics: vec![ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![ListOffsetsPartition {
                partition: 2,
                current_leader_epoch: LeaderEpoch(3),
                timestamp: -3,
            }],
        }],
        timeout_ms: 100,
    }]
}

pub fn responses() -> Vec<ListOffsetsResponse> {
    vec![ListOffsetsResponse {
        throttle_time_ms: 1,
        topics: vec![ListOffsetsTopicResponse {
            name: "t".into(),
            partitions: vec![ListOffsetsPartitionResponse {
                partition: 0,
                error: ERROR,
                timestamp: 5,
                offset: Offset(6),
                leader_epoch: LEADER_EPOCH,
            }],
        }],
    }]
}
