//! AlterPartition.

use super::*;

pub fn requests() -> Vec<AlterPartitionRequest> {
    vec![AlterPartitionRequest {
        broker: NodeId(1),
        broker_epoch: BrokerEpoch(12),
        topics: vec![AlterPartitionTopic {
            id: Uuid(8),
            partitions: vec![AlterPartitionData {
                partition: 0,
                leader_epoch: LeaderEpoch(2),
                new_isr: vec![(NodeId(1), BrokerEpoch(12)), (NodeId(2), BrokerEpoch(13))],
                leader_recovery_state: 1,
                partition_epoch: PartitionEpoch(6),
            }],
        }],
    }]
}

pub fn responses() -> Vec<AlterPartitionResponse> {
    vec![AlterPartitionResponse {
        throttle_time_ms: 1,
        error: ErrorCode::StaleBrokerEpoch,
        topics: vec![(
            Uuid(8),
            vec![AlterPartitionResult {
                partition: 1,
                error: ERROR,
                leader: LEADER,
                leader_epoch: LEADER_EPOCH,
                isr: vec![NodeId(3)],
                leader_recovery_state: 1,
                partition_epoch: PartitionEpoch(7),
            }],
        )],
    }]
}
