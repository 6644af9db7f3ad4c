//! Produce.

use super::*;

pub fn requests() -> Vec<ProduceRequest> {
    vec![
        ProduceRequest {
            transactional_id: Some("tx".into()),
            acks: -1,
            timeout_ms: 1500,
            topics: vec![ProduceTopic {
                topic: topic("t"),
                partitions: vec![
                    ProducePartition {
                        partition: 0,
                        records: Some(records()[0].to_bytes()),
                        inspection: None,
                    },
                    ProducePartition { partition: 1, records: None, inspection: None },
                ],
            }],
        },
        ProduceRequest { acks: 1, ..Default::default() },
    ]
}

pub fn responses() -> Vec<ProduceResponse> {
    vec![
        ProduceResponse {
            topics: vec![ProduceTopicResponse {
                topic: topic("t"),
                partitions: vec![ProducePartitionResponse {
                    partition: 1,
                    error: ERROR,
                    base_offset: Offset(5),
                    log_append_time_ms: 6,
                    log_start_offset: Offset(2),
                    record_errors: vec![(0, Some("bad".into())), (1, None)],
                    error_message: Some("why".into()),
                    current_leader: current_leader(),
                }],
            }],
            throttle_time_ms: 3,
            node_endpoints: vec![node_endpoint()],
        },
        ProduceResponse {
            topics: vec![ProduceTopicResponse {
                topic: topic("t"),
                partitions: vec![ProducePartitionResponse::failed(
                    3,
                    ErrorCode::NotLeaderOrFollower,
                )],
            }],
            ..Default::default()
        },
    ]
}
