//! The supported versions of each API, and the version from which each is flexible.

use wavetank_core::msg::ApiKey;

/// The content of ApiVersions answers: (API, lowest, highest version), by key. Not every listener
/// serves all of them.
pub const SUPPORTED: &[(ApiKey, i16, i16)] = &[
    (ApiKey::Produce, 3, 13),
    (ApiKey::Fetch, 4, 18),
    (ApiKey::ListOffsets, 1, 11),
    (ApiKey::Metadata, 0, 13),
    (ApiKey::ApiVersions, 0, 5),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::Vote, 0, 2),
    (ApiKey::BeginQuorumEpoch, 0, 1),
    (ApiKey::EndQuorumEpoch, 0, 1),
    (ApiKey::AlterPartition, 2, 3),
    (ApiKey::Envelope, 0, 0),
    (ApiKey::BrokerRegistration, 0, 4),
    (ApiKey::BrokerHeartbeat, 0, 1),
];

/// Lowest and highest version of an API.
pub fn supported(api: ApiKey) -> (i16, i16) {
    let found = SUPPORTED.iter().find(|(key, _, _)| *key == api);
    let (_, min, max) = found.expect("every API of the messages is in the table");
    (*min, *max)
}

/// The highest version of an API.
pub fn highest(api: ApiKey) -> i16 {
    supported(api).1
}

/// From this version on, messages are flexible: compact lengths and tagged fields (KIP-482).
pub(crate) fn first_flexible(api: ApiKey) -> i16 {
    match api {
        ApiKey::Produce | ApiKey::Metadata => 9,
        ApiKey::Fetch => 12,
        ApiKey::ListOffsets => 6,
        ApiKey::ApiVersions => 3,
        ApiKey::CreateTopics => 5,
        ApiKey::DeleteTopics | ApiKey::OffsetForLeaderEpoch => 4,
        ApiKey::BeginQuorumEpoch | ApiKey::EndQuorumEpoch => 1,
        ApiKey::Vote
        | ApiKey::AlterPartition
        | ApiKey::Envelope
        | ApiKey::BrokerRegistration
        | ApiKey::BrokerHeartbeat => 0,
    }
}
