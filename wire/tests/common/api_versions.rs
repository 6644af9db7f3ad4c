//! ApiVersions.

use super::*;

pub fn requests() -> Vec<ApiVersionsRequest> {
    vec![ApiVersionsRequest {
        client_software_name: "wavetank".into(),
        client_software_version: "0.1".into(),
        cluster_id: Some("cluster".into()),
        node: NodeId(3),
    }]
}

pub fn responses() -> Vec<ApiVersionsResponse> {
    vec![
        ApiVersionsResponse {
            error: ErrorCode::None,
            apis: vec![(0, 3, 13), (18, 0, 4)],
            throttle_time_ms: 1,
            supported_features: vec![("metadata.version".into(), 7, 21)],
            finalized_features_epoch: 5,
            finalized_features: vec![("metadata.version".into(), 21, 21)],
        },
        ApiVersionsResponse { finalized_features_epoch: -1, ..Default::default() },
    ]
}
