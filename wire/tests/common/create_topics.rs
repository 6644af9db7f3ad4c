//! CreateTopics.

use super::*;

pub fn requests() -> Vec<CreateTopicsRequest> {
    vec![
        CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: "new".into(),
                num_partitions: 3,
                replication_factor: 2,
                assignments: vec![(0, vec![NodeId(1), NodeId(2)])],
                configs: vec![("min.insync.replicas".into(), Some("2".into())), ("x".into(), None)],
            }],
            timeout_ms: 3000,
            validate_only: true,
        },
        CreateTopicsRequest::default(),
    ]
}

pub fn responses() -> Vec<CreateTopicsResponse> {
    vec![
        CreateTopicsResponse {
            throttle_time_ms: 1,
            topics: vec![CreatableTopicResult {
                name: "new".into(),
                id: Uuid(8),
                error: ErrorCode::InvalidConfig,
                error_message: Some("no".into()),
                num_partitions: 3,
                replication_factor: 2,
                configs: vec![("a".into(), Some("b".into()), 1)],
            }],
        },
        CreateTopicsResponse {
            topics: vec![CreatableTopicResult { name: "t".into(), ..Default::default() }],
            ..Default::default()
        },
    ]
}
