//! BrokerHeartbeat: a broker signals that it is alive.

use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::RequestMessage;
use crate::types::{BrokerEpoch, NodeId, Offset, Uuid};

/// BrokerHeartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerHeartbeatRequest {
    /// The broker.
    pub broker: NodeId,
    /// Its epoch.
    pub broker_epoch: BrokerEpoch,
    /// The last metadata offset that it has applied, -1 for none.
    pub current_metadata_offset: Offset,
    /// Wants to stay fenced.
    pub want_fence: bool,
    /// Wants to hand its leaderships over and stop.
    pub want_shut_down: bool,
    /// v1+, tagged: log directories that failed.
    pub offline_log_dirs: Vec<Uuid>,
}

/// Answer to BrokerHeartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerHeartbeatResponse {
    /// Outcome.
    pub error: ErrorCode,
    /// Whether the broker has applied enough metadata.
    pub is_caught_up: bool,
    /// Whether it is fenced.
    pub is_fenced: bool,
    /// Whether it may stop now.
    pub should_shut_down: bool,
}

impl Default for BrokerHeartbeatRequest {
    fn default() -> BrokerHeartbeatRequest {
        BrokerHeartbeatRequest {
            broker: NodeId::NONE,
            broker_epoch: BrokerEpoch::NONE,
            current_metadata_offset: Offset(-1),
            want_fence: false,
            want_shut_down: false,
            offline_log_dirs: Vec::new(),
        }
    }
}

impl Default for BrokerHeartbeatResponse {
    fn default() -> BrokerHeartbeatResponse {
        BrokerHeartbeatResponse {
            error: ErrorCode::None,
            is_caught_up: false,
            is_fenced: true,
            should_shut_down: false,
        }
    }
}

impl RequestMessage for BrokerHeartbeatRequest {
    type Response = BrokerHeartbeatResponse;

    fn refused(&self, error: ErrorCode) -> BrokerHeartbeatResponse {
        BrokerHeartbeatResponse { error, ..BrokerHeartbeatResponse::default() }
    }
}
