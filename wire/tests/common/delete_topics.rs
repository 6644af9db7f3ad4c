//! DeleteTopics.

use super::*;

pub fn requests() -> Vec<DeleteTopicsRequest> {
    vec![
        DeleteTopicsRequest { topics: vec![topic("t")], timeout_ms: 5 },
        DeleteTopicsRequest { topics: vec![TopicRef::id(Uuid(77))], timeout_ms: 5 },
    ]
}

pub fn responses() -> Vec<DeleteTopicsResponse> {
    vec![
        DeleteTopicsResponse {
            throttle_time_ms: 1,
            topics: vec![(topic("t"), ERROR, Some("why".into()))],
        },
        DeleteTopicsResponse {
            throttle_time_ms: 0,
            topics: vec![(TopicRef::id(Uuid(77)), ErrorCode::UnknownTopicId, None)],
        },
    ]
}
