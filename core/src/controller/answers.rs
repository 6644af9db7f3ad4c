//! Answers with one error for everything in the request, and the envelope around answers.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::{
    AlterPartitionResponse, BrokerHeartbeatResponse, BrokerRegistrationResponse,
    CreatableTopicResult, CreateTopicsResponse, DeleteTopicsResponse, EnvelopeResponse, Request,
    Response,
};
use crate::types::BrokerEpoch;

/// An envelope without an answer in it.
pub(super) fn envelope_error(version: i16, error: ErrorCode) -> Response {
    Response::Envelope(EnvelopeResponse { error, version, response: None })
}

/// Puts an answer into the envelope that its request came in.
pub(super) fn wrap(envelope: Option<i16>, reply: Response) -> Response {
    match envelope {
        None => reply,
        Some(version) => Response::Envelope(EnvelopeResponse {
            error: ErrorCode::None,
            version,
            response: Some(Box::new(reply)),
        }),
    }
}

/// A topic that was not created.
pub(super) fn topic_failed(name: &str, error: ErrorCode) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.into(),
        error,
        num_partitions: -1,
        replication_factor: -1,
        ..CreatableTopicResult::default()
    }
}

/// A registration that was refused.
pub(super) fn registration_failed(error: ErrorCode) -> Response {
    let broker_epoch = BrokerEpoch::NONE;
    Response::BrokerRegistration(BrokerRegistrationResponse { error, broker_epoch })
}

/// A heartbeat that was refused.
pub(super) fn heartbeat_failed(error: ErrorCode) -> Response {
    Response::BrokerHeartbeat(BrokerHeartbeatResponse {
        error,
        is_caught_up: false,
        is_fenced: true,
        should_shut_down: false,
    })
}

/// Refuses a whole request.
pub(super) fn refusal(request: &Request, error: ErrorCode) -> Response {
    match request {
        Request::BrokerRegistration(_) => registration_failed(error),
        Request::BrokerHeartbeat(_) => heartbeat_failed(error),
        Request::AlterPartition(_) => {
            Response::AlterPartition(AlterPartitionResponse { error, ..Default::default() })
        }
        Request::CreateTopics(request) => Response::CreateTopics(CreateTopicsResponse {
            throttle_time_ms: 0,
            topics: request.topics.iter().map(|t| topic_failed(&t.name, error)).collect(),
        }),
        Request::DeleteTopics(request) => Response::DeleteTopics(DeleteTopicsResponse {
            throttle_time_ms: 0,
            topics: request.topics.iter().map(|topic| (topic.clone(), error, None)).collect(),
        }),
        Request::Produce(_)
        | Request::Fetch(_)
        | Request::ListOffsets(_)
        | Request::Metadata(_)
        | Request::ApiVersions(_)
        | Request::OffsetForLeaderEpoch(_)
        | Request::Vote(_)
        | Request::BeginQuorumEpoch(_)
        | Request::EndQuorumEpoch(_)
        | Request::Envelope(_) => panic!("the router gives the controller only its requests"),
    }
}

/// The same answer with each success in it replaced by this error.
pub(super) fn failed(reply: Response, error: ErrorCode) -> Response {
    match reply {
        Response::BrokerRegistration(_) => registration_failed(error),
        Response::BrokerHeartbeat(_) => heartbeat_failed(error),
        Response::AlterPartition(_) => {
            Response::AlterPartition(AlterPartitionResponse { error, ..Default::default() })
        }
        Response::CreateTopics(mut reply) => {
            for topic in &mut reply.topics {
                if topic.error.is_ok() {
                    *topic = topic_failed(&topic.name, error);
                }
            }
            Response::CreateTopics(reply)
        }
        Response::DeleteTopics(mut reply) => {
            let fail = |(topic, old, why): (_, ErrorCode, _)| {
                if old.is_ok() { (topic, error, None) } else { (topic, old, why) }
            };
            reply.topics = reply.topics.into_iter().map(fail).collect::<Vec<_>>();
            Response::DeleteTopics(reply)
        }
        Response::Produce(_)
        | Response::Fetch(_)
        | Response::ListOffsets(_)
        | Response::Metadata(_)
        | Response::ApiVersions(_)
        | Response::OffsetForLeaderEpoch(_)
        | Response::Vote(_)
        | Response::BeginQuorumEpoch(_)
        | Response::EndQuorumEpoch(_)
        | Response::Envelope(_) => panic!("the controller answers only its own APIs"),
    }
}
