//! ApiVersions: what this broker serves, and the features in force.
//!
//! Only the driver knows which APIs the connection's listener serves. It fills
//! [`ApiVersionsResponse::apis`] before it encodes the answer.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use crate::config::NodeConfig;
use crate::error_code::ErrorCode;
use crate::metadata::{
    METADATA_VERSION, METADATA_VERSION_LEVEL, METADATA_VERSION_MIN, MetadataImage,
};
use crate::msg::{ApiVersionsRequest, ApiVersionsResponse};
use crate::types::Offset;

/// Answers at once. A client that meant to reach another node or cluster gets an error (KIP-1242):
/// an address may have been reassigned, or may lead through a proxy.
pub fn answer(
    version: i16,
    request: &ApiVersionsRequest,
    config: &NodeConfig,
    image: &MetadataImage,
) -> ApiVersionsResponse {
    let named = is_name(&request.client_software_name) && is_name(&request.client_software_version);
    let meant_for = |cluster: &String| *cluster == config.cluster_id && request.node == config.node;
    let error = if version >= 3 && !named {
        ErrorCode::InvalidRequest
    } else if version >= 5 && !request.cluster_id.as_ref().is_none_or(meant_for) {
        ErrorCode::RebootstrapRequired
    } else {
        ErrorCode::None
    };
    let finalized: Vec<(String, i16, i16)> =
        image.features.iter().map(|(name, level)| (name.clone(), *level, *level)).collect();
    // Below v4 a feature whose minimum is 0 is left out; none of ours has that.
    let name = String::from(METADATA_VERSION);
    let supported = vec![(name, METADATA_VERSION_MIN, METADATA_VERSION_LEVEL)];
    ApiVersionsResponse {
        error,
        apis: Vec::new(),
        throttle_time_ms: 0,
        supported_features: supported,
        finalized_features_epoch: image.applied.max(Offset(-1)).0,
        finalized_features: finalized,
    }
}

/// `[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?` (KIP-511).
fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    let inner = |b: &u8| b.is_ascii_alphanumeric() || *b == b'-' || *b == b'.';
    matches!((bytes.first(), bytes.last()), (Some(first), Some(last))
        if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric())
        && bytes.iter().all(inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NodeId;

    #[test]
    fn who_asks_for_another_is_told_so() {
        let config = NodeConfig::new(NodeId(2), vec![NodeId(2)]);
        let asks = |version, cluster: Option<&str>, node| {
            let request = ApiVersionsRequest {
                client_software_name: "a".into(),
                client_software_version: "1".into(),
                cluster_id: cluster.map(String::from),
                node: NodeId(node),
            };
            answer(version, &request, &config, &MetadataImage::new()).error
        };
        let ours = Some(config.cluster_id.as_str());
        assert_eq!(asks(5, ours, 2), ErrorCode::None);
        assert_eq!(asks(5, ours, 3), ErrorCode::RebootstrapRequired);
        assert_eq!(asks(5, Some("another"), 2), ErrorCode::RebootstrapRequired);
        assert_eq!(asks(5, None, -1), ErrorCode::None, "it does not know yet");
        assert_eq!(asks(4, Some("another"), 3), ErrorCode::None, "not in this version");
    }

    #[test]
    fn software_names_follow_kip_511() {
        for good in ["a", "rdkafka", "apache-kafka-java", "1.2.3"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-a", "a-", ".", "a b", "a\n", "ä"] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
