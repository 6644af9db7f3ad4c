//! Each message's fields in order, once, for reading and writing in every version.
//!
//! Sources: Kafka's message schemas (`clients/src/main/resources/common/message`, trunk) and the
//! KIPs that they name. A field that a version lacks is not visited and keeps its default.

mod client;
mod cluster;
mod data;

use wavetank_core::codec::DecodeError;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{
    AlterPartitionRequest, AlterPartitionResponse, ApiKey, BeginQuorumEpochRequest,
    BeginQuorumEpochResponse, BrokerHeartbeatRequest, BrokerHeartbeatResponse,
    BrokerRegistrationRequest, BrokerRegistrationResponse, EndQuorumEpochRequest,
    EndQuorumEpochResponse, FetchRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest, Request,
    Response, VoteRequest, VoteResponse,
};
use wavetank_core::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, Uuid};

use crate::frame;
use crate::visit::{Io, Visited};

/// Visits a request. The variant says which API.
pub(crate) fn request(io: &mut Io, request: &mut Request) -> Visited {
    match request {
        Request::Produce(message) => data::produce_request(io, message),
        Request::Fetch(message) => data::fetch_request(io, message),
        Request::ListOffsets(message) => data::list_offsets_request(io, message),
        Request::OffsetForLeaderEpoch(message) => data::epochs_request(io, message),
        Request::Metadata(message) => client::metadata_request(io, message),
        Request::ApiVersions(message) => client::api_versions_request(io, message),
        Request::CreateTopics(message) => client::create_topics_request(io, message),
        Request::DeleteTopics(message) => client::delete_topics_request(io, message),
        Request::Vote(message) => cluster::vote_request(io, message),
        Request::BeginQuorumEpoch(message) => cluster::begin_request(io, message),
        Request::EndQuorumEpoch(message) => cluster::end_request(io, message),
        Request::AlterPartition(message) => cluster::alter_partition_request(io, message),
        Request::Envelope(message) => frame::envelope_request(io, message),
        Request::BrokerRegistration(message) => cluster::registration_request(io, message),
        Request::BrokerHeartbeat(message) => cluster::heartbeat_request(io, message),
    }
}

/// Visits a response. The variant says which API.
pub(crate) fn response(io: &mut Io, response: &mut Response) -> Visited {
    match response {
        Response::Produce(message) => data::produce_response(io, message),
        Response::Fetch(message) => data::fetch_response(io, message),
        Response::ListOffsets(message) => data::list_offsets_response(io, message),
        Response::OffsetForLeaderEpoch(message) => data::epochs_response(io, message),
        Response::Metadata(message) => client::metadata_response(io, message),
        Response::ApiVersions(message) => client::api_versions_response(io, message),
        Response::CreateTopics(message) => client::create_topics_response(io, message),
        Response::DeleteTopics(message) => client::delete_topics_response(io, message),
        Response::Vote(message) => cluster::vote_response(io, message),
        Response::BeginQuorumEpoch(message) => cluster::begin_response(io, message),
        Response::EndQuorumEpoch(message) => cluster::end_response(io, message),
        Response::AlterPartition(message) => cluster::alter_partition_response(io, message),
        Response::Envelope(message) => frame::envelope_response(io, message),
        Response::BrokerRegistration(message) => cluster::registration_response(io, message),
        Response::BrokerHeartbeat(message) => cluster::heartbeat_response(io, message),
    }
}

const NO_QUORUM: VoteRequest = VoteRequest {
    cluster_id: None,
    voter: NodeId::NONE,
    epoch: LeaderEpoch::NONE,
    candidate: NodeId::NONE,
    candidate_directory_id: Uuid::ZERO,
    voter_directory_id: Uuid::ZERO,
    last_offset_epoch: LeaderEpoch::NONE,
    last_offset: Offset(-1),
    pre_vote: false,
};

/// A request of that API with every field at its default, to read into.
///
/// # Errors
/// For Envelope, whose content depends on the enclosed frame; [`frame`] reads it separately.
pub(crate) fn empty_request(api: ApiKey) -> Result<Request, DecodeError> {
    Ok(match api {
        ApiKey::Produce => Request::Produce(Default::default()),
        ApiKey::Fetch => Request::Fetch(FetchRequest::default()),
        ApiKey::ListOffsets => Request::ListOffsets(ListOffsetsRequest {
            replica: NodeId::NONE,
            isolation_level: 0,
            topics: Default::default(),
            timeout_ms: 0,
        }),
        ApiKey::Metadata => Request::Metadata(Default::default()),
        ApiKey::ApiVersions => Request::ApiVersions(Default::default()),
        ApiKey::CreateTopics => Request::CreateTopics(Default::default()),
        ApiKey::DeleteTopics => Request::DeleteTopics(Default::default()),
        ApiKey::OffsetForLeaderEpoch => {
            // The debugging consumer's id, which is implied in versions before 3.
            let replica = NodeId(-2);
            let topics = Default::default();
            Request::OffsetForLeaderEpoch(OffsetForLeaderEpochRequest { replica, topics })
        }
        ApiKey::Vote => Request::Vote(NO_QUORUM),
        ApiKey::BeginQuorumEpoch => Request::BeginQuorumEpoch(BeginQuorumEpochRequest {
            cluster_id: None,
            voter: NodeId::NONE,
            voter_directory_id: Uuid::ZERO,
            leader: NodeId::NONE,
            leader_epoch: LeaderEpoch::NONE,
            leader_endpoints: Default::default(),
        }),
        ApiKey::EndQuorumEpoch => Request::EndQuorumEpoch(EndQuorumEpochRequest {
            cluster_id: None,
            leader: NodeId::NONE,
            leader_epoch: LeaderEpoch::NONE,
            preferred_successors: Default::default(),
        }),
        ApiKey::AlterPartition => Request::AlterPartition(AlterPartitionRequest {
            broker: NodeId::NONE,
            broker_epoch: BrokerEpoch::NONE,
            topics: Default::default(),
        }),
        ApiKey::Envelope => return Err(DecodeError::Invalid("an envelope in an envelope")),
        ApiKey::BrokerRegistration => Request::BrokerRegistration(BrokerRegistrationRequest {
            broker: NodeId::NONE,
            cluster_id: Default::default(),
            incarnation: Uuid::ZERO,
            listeners: Default::default(),
            features: Default::default(),
            rack: None,
            log_dirs: Default::default(),
            previous_broker_epoch: BrokerEpoch::NONE,
        }),
        ApiKey::BrokerHeartbeat => Request::BrokerHeartbeat(BrokerHeartbeatRequest {
            broker: NodeId::NONE,
            broker_epoch: BrokerEpoch::NONE,
            current_metadata_offset: Offset(-1),
            want_fence: false,
            want_shut_down: false,
            offline_log_dirs: Default::default(),
        }),
    })
}

/// A response of that API with every field at its default, to read into.
///
/// # Errors
/// For Envelope; see [`empty_request`].
pub(crate) fn empty_response(api: ApiKey) -> Result<Response, DecodeError> {
    let error = ErrorCode::None;
    let (leader, leader_epoch) = (NodeId::NONE, LeaderEpoch::NONE);
    Ok(match api {
        ApiKey::Produce => Response::Produce(Default::default()),
        ApiKey::Fetch => Response::Fetch(Default::default()),
        ApiKey::ListOffsets => Response::ListOffsets(Default::default()),
        ApiKey::Metadata => Response::Metadata(wavetank_core::msg::MetadataResponse {
            controller: NodeId::NONE,
            ..Default::default()
        }),
        ApiKey::ApiVersions => Response::ApiVersions(wavetank_core::msg::ApiVersionsResponse {
            finalized_features_epoch: -1,
            ..Default::default()
        }),
        ApiKey::CreateTopics => Response::CreateTopics(Default::default()),
        ApiKey::DeleteTopics => Response::DeleteTopics(Default::default()),
        ApiKey::OffsetForLeaderEpoch => Response::OffsetForLeaderEpoch(Default::default()),
        ApiKey::Vote => Response::Vote(VoteResponse {
            error,
            leader,
            leader_epoch,
            vote_granted: false,
            node_endpoints: Default::default(),
        }),
        ApiKey::BeginQuorumEpoch => {
            Response::BeginQuorumEpoch(BeginQuorumEpochResponse { error, leader, leader_epoch })
        }
        ApiKey::EndQuorumEpoch => {
            Response::EndQuorumEpoch(EndQuorumEpochResponse { error, leader, leader_epoch })
        }
        ApiKey::AlterPartition => Response::AlterPartition(AlterPartitionResponse::default()),
        ApiKey::Envelope => return Err(DecodeError::Invalid("an envelope in an envelope")),
        ApiKey::BrokerRegistration => Response::BrokerRegistration(BrokerRegistrationResponse {
            error,
            broker_epoch: BrokerEpoch::NONE,
        }),
        ApiKey::BrokerHeartbeat => Response::BrokerHeartbeat(BrokerHeartbeatResponse {
            error,
            is_caught_up: false,
            is_fenced: true,
            should_shut_down: false,
        }),
    })
}
