//! Metadata.

use super::*;

pub fn requests() -> Vec<MetadataRequest> {
    vec![
        MetadataRequest {
            topics: Some(vec![topic("t")]),
            allow_auto_topic_creation: true,
            include_topic_authorized_operations: true,
        },
        MetadataRequest {
            topics: None,
            allow_auto_topic_creation: true,
            include_topic_authorized_operations: false,
        },
        MetadataRequest { topics: Some(vec![TopicRef::id(Uuid(77))]), ..Default::default() },
    ]
}

pub fn responses() -> Vec<MetadataResponse> {
    vec![
        MetadataResponse {
            throttle_time_ms: 1,
            brokers: vec![node_endpoint()],
            cluster_id: Some("c".into()),
            controller: NodeId(3),
            topics: vec![MetadataTopic {
                error: ERROR,
                name: Some("t".into()),
                id: Uuid(8),
                is_internal: true,
                partitions: vec![MetadataPartition {
                    error: ErrorCode::LeaderNotAvailable,
                    partition: 1,
                    leader: LEADER,
                    leader_epoch: LEADER_EPOCH,
                    replicas: vec![NodeId(3), NodeId(1)],
                    isr: vec![NodeId(3)],
                    offline_replicas: vec![NodeId(1)],
                }],
            }],
            error: ErrorCode::UnknownServerError,
        },
        MetadataResponse {
            topics: vec![MetadataTopic {
                error: ErrorCode::UnknownTopicId,
                id: Uuid(77),
                ..Default::default()
            }],
            controller: NodeId(0),
            ..Default::default()
        },
    ]
}
