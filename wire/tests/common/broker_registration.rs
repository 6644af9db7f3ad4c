//! BrokerRegistration.

use super::*;

pub fn requests() -> Vec<BrokerRegistrationRequest> {
    vec![BrokerRegistrationRequest {
        broker: NodeId(1),
        cluster_id: "c".into(),
        incarnation: Uuid(5),
        listeners: vec![("PLAINTEXT".into(), endpoint())],
        features: vec![("metadata.version".into(), 7, 21)],
        rack: Some("r".into()),
        log_dirs: vec![Uuid(6)],
        previous_broker_epoch: BrokerEpoch(3),
    }]
}

pub fn responses() -> Vec<BrokerRegistrationResponse> {
    vec![BrokerRegistrationResponse { error: ERROR, broker_epoch: BrokerEpoch(4) }]
}
