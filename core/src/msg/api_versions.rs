//! ApiVersions: which APIs, versions and features a node supports.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::RequestMessage;
use crate::types::NodeId;

/// ApiVersions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ApiVersionsRequest {
    /// v3+: `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?`, else `INVALID_REQUEST`.
    pub client_software_name: String,
    /// v3+: the same pattern.
    pub client_software_version: String,
    /// v5+: the cluster that the connection is meant for, if the client knows it (KIP-1242).
    pub cluster_id: Option<String>,
    /// v5+: the node that the connection is meant for, with the cluster.
    pub node: NodeId,
}

impl Default for ApiVersionsRequest {
    fn default() -> ApiVersionsRequest {
        ApiVersionsRequest {
            client_software_name: String::new(),
            client_software_version: String::new(),
            cluster_id: None,
            node: NodeId::NONE,
        }
    }
}

/// Answer to ApiVersions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ApiVersionsResponse {
    /// Outcome; `UNSUPPORTED_VERSION` is sent in the layout of v0.
    pub error: ErrorCode,
    /// (key, min, max).
    pub apis: Vec<(i16, i16, i16)>,
    /// v1+, ms.
    pub throttle_time_ms: i32,
    /// v3+, tagged: (name, min, max) that the broker supports.
    pub supported_features: Vec<(String, i16, i16)>,
    /// v3+, tagged: the metadata offset of the finalized features, or -1.
    pub finalized_features_epoch: i64,
    /// v3+, tagged: (name, max, min) in force.
    pub finalized_features: Vec<(String, i16, i16)>,
}

impl Default for ApiVersionsResponse {
    fn default() -> ApiVersionsResponse {
        ApiVersionsResponse {
            error: ErrorCode::None,
            apis: Vec::new(),
            throttle_time_ms: 0,
            supported_features: Vec::new(),
            finalized_features_epoch: -1,
            finalized_features: Vec::new(),
        }
    }
}

impl RequestMessage for ApiVersionsRequest {
    type Response = ApiVersionsResponse;

    fn refused(&self, error: ErrorCode) -> ApiVersionsResponse {
        ApiVersionsResponse { error, ..ApiVersionsResponse::default() }
    }
}
