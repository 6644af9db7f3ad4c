//! BrokerRegistration: a broker registers its incarnation.

use alloc::string::String;
use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::RequestMessage;
use crate::types::{BrokerEpoch, Endpoint, NodeId, Uuid};

/// BrokerRegistration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerRegistrationRequest {
    /// The broker.
    pub broker: NodeId,
    /// The cluster it believes in.
    pub cluster_id: String,
    /// Drawn at each start of the process.
    pub incarnation: Uuid,
    /// (name, endpoint).
    pub listeners: Vec<(String, Endpoint)>,
    /// (name, min, max).
    pub features: Vec<(String, i16, i16)>,
    /// Rack.
    pub rack: Option<String>,
    /// v2+: its log directories.
    pub log_dirs: Vec<Uuid>,
    /// v3+: the epoch of the incarnation that stopped cleanly, or -1 (KIP-966).
    pub previous_broker_epoch: BrokerEpoch,
}

/// Answer to BrokerRegistration.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerRegistrationResponse {
    /// Outcome.
    pub error: ErrorCode,
    /// The new epoch, or -1.
    pub broker_epoch: BrokerEpoch,
}

impl Default for BrokerRegistrationRequest {
    fn default() -> BrokerRegistrationRequest {
        BrokerRegistrationRequest {
            broker: NodeId::NONE,
            cluster_id: String::new(),
            incarnation: Uuid::ZERO,
            listeners: Vec::new(),
            features: Vec::new(),
            rack: None,
            log_dirs: Vec::new(),
            previous_broker_epoch: BrokerEpoch::NONE,
        }
    }
}

impl Default for BrokerRegistrationResponse {
    fn default() -> BrokerRegistrationResponse {
        BrokerRegistrationResponse { error: ErrorCode::None, broker_epoch: BrokerEpoch::NONE }
    }
}

impl RequestMessage for BrokerRegistrationRequest {
    type Response = BrokerRegistrationResponse;

    fn refused(&self, error: ErrorCode) -> BrokerRegistrationResponse {
        BrokerRegistrationResponse { error, ..BrokerRegistrationResponse::default() }
    }
}
