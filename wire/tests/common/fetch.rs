//! Fetch.

use super::*;

pub fn requests() -> Vec<FetchRequest> {
    vec![
        FetchRequest {
            cluster_id: Some("cluster".into()),
            replica: NodeId(2),
            replica_epoch: BrokerEpoch(77),
            max_wait_ms: 500,
            min_bytes: 1,
            max_bytes: 1 << 20,
            isolation_level: 1,
            session_id: 5,
            session_epoch: 6,
            topics: vec![FetchTopic {
                topic: topic("t"),
                partitions: vec![FetchPartition {
                    partition: 4,
                    current_leader_epoch: LeaderEpoch(3),
                    fetch_offset: Offset(100),
                    last_fetched_epoch: LeaderEpoch(2),
                    log_start_offset: Offset(1),
                    max_bytes: 1000,
                    replica_directory_id: Uuid(9),
                    high_watermark: Offset(99),
                }],
            }],
            forgotten: vec![ForgottenTopic { topic: topic("gone"), partitions: vec![1, 2] }],
            rack_id: "rack".into(),
        },
        FetchRequest {
            topics: vec![FetchTopic {
                topic: topic(""),
                partitions: vec![FetchPartition {
                    partition: 0,
                    current_leader_epoch: LeaderEpoch::NONE,
                    fetch_offset: Offset(0),
                    last_fetched_epoch: LeaderEpoch::NONE,
                    log_start_offset: Offset(-1),
                    max_bytes: 1,
                    replica_directory_id: Uuid::ZERO,
                    high_watermark: Offset(i64::MAX),
                }],
            }],
            ..Default::default()
        },
    ]
}

pub fn responses() -> Vec<FetchResponse> {
    vec![
        FetchResponse {
            throttle_time_ms: 1,
            error: ErrorCode::FetchSessionIdNotFound,
            session_id: 4,
            topics: vec![FetchTopicResponse {
                topic: topic("t"),
                partitions: vec![FetchPartitionResponse {
                    partition: 0,
                    error: ErrorCode::None,
                    high_watermark: Offset(12),
                    last_stable_offset: Offset(11),
                    log_start_offset: Offset(1),
                    diverging_epoch: Some(EpochEndOffset {
                        epoch: LeaderEpoch(2),
                        end_offset: Offset(7),
                    }),
                    current_leader: current_leader(),
                    aborted: Some(vec![(77, Offset(3))]),
                    preferred_read_replica: NodeId(2),
                    records: records(),
                }],
            }],
            node_endpoints: vec![node_endpoint()],
        },
        FetchResponse {
            topics: vec![FetchTopicResponse {
                topic: topic("t"),
                partitions: vec![FetchPartitionResponse::failed(3, ErrorCode::NotLeaderOrFollower)],
            }],
            ..Default::default()
        },
    ]
}
