//! Envelope: a client's request that a broker forwards to the active controller (KIP-590).

use alloc::boxed::Box;

use crate::error_code::ErrorCode;
use crate::msg::{ApiVersionsRequest, Request, RequestMessage, Response};

/// A client's request, forwarded to the active controller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnvelopeRequest {
    /// The client's version, which the answer must have, too.
    pub version: i16,
    /// The request, of the family [`Admin`](super::Family::Admin).
    pub request: Box<Request>,
}

/// The controller's answer.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EnvelopeResponse {
    /// `NOT_CONTROLLER` and the like; then there is no response.
    pub error: ErrorCode,
    /// The version that the enclosed response is for.
    pub version: i16,
    /// The answer to the enclosed request.
    pub response: Option<Box<Response>>,
}

impl Default for EnvelopeRequest {
    /// The schema has no default for the enclosed request: a decoder replaces this one.
    fn default() -> EnvelopeRequest {
        let request = Request::ApiVersions(ApiVersionsRequest::default());
        EnvelopeRequest { version: 0, request: Box::new(request) }
    }
}

impl Default for EnvelopeResponse {
    fn default() -> EnvelopeResponse {
        EnvelopeResponse { error: ErrorCode::None, version: -1, response: None }
    }
}

impl RequestMessage for EnvelopeRequest {
    type Response = EnvelopeResponse;

    fn refused(&self, error: ErrorCode) -> EnvelopeResponse {
        EnvelopeResponse { error, version: self.version, response: None }
    }
}
