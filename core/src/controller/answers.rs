//! Answers with one error for everything in the request, and the envelope around answers.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::error_code::ErrorCode;
use crate::msg::{
    AlterPartitionResponse, BrokerHeartbeatResponse, BrokerRegistrationResponse,
    CreatableTopicResult, EnvelopeResponse, Response,
};

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

/// A registration that was refused.
pub(super) fn registration_failed(error: ErrorCode) -> Response {
    Response::BrokerRegistration(BrokerRegistrationResponse { error, ..Default::default() })
}

/// A heartbeat that was refused.
pub(super) fn heartbeat_failed(error: ErrorCode) -> Response {
    Response::BrokerHeartbeat(BrokerHeartbeatResponse { error, ..Default::default() })
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
                    *topic = CreatableTopicResult::failed(&topic.name, error);
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
        other => panic!("the controller answers only its own APIs: {:?}", other.api()),
    }
}
