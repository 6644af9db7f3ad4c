//! Envelope.

use super::*;

pub fn requests() -> Vec<EnvelopeRequest> {
    vec![EnvelopeRequest {
        version: 7,
        request: Box::new(Request::CreateTopics(super::create_topics::requests().remove(0))),
    }]
}

pub fn responses() -> Vec<EnvelopeResponse> {
    vec![
        EnvelopeResponse {
            error: ErrorCode::None,
            version: 7,
            response: Some(Box::new(Response::CreateTopics(
                super::create_topics::responses().remove(0),
            ))),
        },
        EnvelopeResponse { error: ErrorCode::NotController, version: -1, response: None },
    ]
}
