//! Requests that brokers forward to the active controller (KIP-590), whose answer they pass back.
//! Their logic lives in [`crate::controller`].

use alloc::collections::BTreeSet;
use alloc::string::String;
use alloc::vec::Vec;

use crate::config::NodeConfig;
use crate::error_code::ErrorCode;
use crate::event::ReplyTo;
use crate::msg::{
    CreatableTopic, CreateTopicsRequest, EnvelopeRequest, EnvelopeResponse, Request, Response,
};

/// What an envelope in flight to the controller is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Forwarded {
    /// A client waits for the answer.
    Client {
        /// The client's request to answer.
        from: ReplyTo,
        /// The version that it used.
        version: i16,
        /// The request itself.
        request: Request,
    },
    /// This broker wants a topic that a client named.
    AutoCreate {
        /// The topic.
        topic: String,
    },
}

/// The envelope that carries a client's request.
pub fn envelope(version: i16, request: Request) -> Request {
    Request::Envelope(EnvelopeRequest { version, request: alloc::boxed::Box::new(request) })
}

/// A request that creates a topic with this broker's defaults.
pub fn auto_create(topic: &str, config: &NodeConfig) -> Request {
    Request::CreateTopics(CreateTopicsRequest {
        topics: Vec::from([CreatableTopic {
            name: topic.into(),
            num_partitions: config.num_partitions,
            replication_factor: config.default_replication_factor,
            assignments: Vec::new(),
            configs: Vec::new(),
        }]),
        timeout_ms: i32::try_from(config.request_timeout.as_millis()).unwrap_or(i32::MAX),
        validate_only: false,
    })
}

/// The client's answer, derived from the controller's answer or from its absence.
pub fn client_response(request: &Request, outcome: Result<Response, ErrorCode>) -> Response {
    let error = match outcome {
        Ok(Response::Envelope(EnvelopeResponse { error, response, .. })) => match response {
            Some(response) if error.is_ok() && response.api() == request.api() => {
                return *response;
            }
            Some(_) | None if error.is_ok() => ErrorCode::UnknownServerError,
            Some(_) | None => error,
        },
        Ok(_) => ErrorCode::UnknownServerError,
        Err(error) => error,
    };
    request.refused(error)
}

/// Topics whose creation is in flight, so that it is requested only once.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct AutoCreation {
    pending: BTreeSet<String>,
}

impl AutoCreation {
    /// Whether to send a request now; false if one is in flight already.
    pub fn begin(&mut self, topic: &str) -> bool {
        self.pending.insert(topic.into())
    }

    /// The request was answered, or failed without an answer.
    pub fn end(&mut self, topic: &str) {
        self.pending.remove(topic);
    }
}
