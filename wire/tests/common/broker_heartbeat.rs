//! BrokerHeartbeat.

use super::*;

pub fn requests() -> Vec<BrokerHeartbeatRequest> {
    vec![
        BrokerHeartbeatRequest {
            broker: NodeId(1),
            broker_epoch: BrokerEpoch(12),
            current_metadata_offset: Offset(40),
            want_fence: true,
            want_shut_down: true,
            offline_log_dirs: vec![Uuid(6)],
        },
        BrokerHeartbeatRequest {
            broker: NodeId(1),
            broker_epoch: BrokerEpoch::NONE,
            current_metadata_offset: Offset(-1),
            want_fence: false,
            want_shut_down: false,
            offline_log_dirs: Vec::new(),
        },
    ]
}

pub fn responses() -> Vec<BrokerHeartbeatResponse> {
    vec![BrokerHeartbeatResponse {
        error: ERROR,
        is_caught_up: true,
        is_fenced: false,
        should_shut_down: true,
    }]
}
