//! DeleteTopics.

use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{DeleteTopicsRequest, DeleteTopicsResponse};
use wavetank_core::types::TopicRef;

use crate::visit::{Io, Visited};

pub(super) fn request(io: &mut Io, m: &mut DeleteTopicsRequest) -> Visited {
    let by_id = io.version() >= 6;
    io.array(&mut m.topics, TopicRef::default, |io, one| {
        if !by_id {
            // A list of bare names: no structure, no tagged fields.
            return io.string(&mut one.name);
        }
        let mut name = (!one.name.is_empty()).then(|| core::mem::take(&mut one.name));
        io.nullable_string(&mut name)?;
        one.name = name.unwrap_or_default();
        io.uuid(&mut one.id)?;
        io.end()
    })?;
    io.i32(&mut m.timeout_ms)?;
    io.end()
}

pub(super) fn response(io: &mut Io, m: &mut DeleteTopicsResponse) -> Visited {
    let version = io.version();
    io.i32(&mut m.throttle_time_ms)?;
    let none = || (TopicRef::default(), ErrorCode::None, None);
    io.array(&mut m.topics, none, |io, (topic, error, message)| {
        if version >= 6 {
            let mut name = (!topic.name.is_empty()).then(|| core::mem::take(&mut topic.name));
            io.nullable_string(&mut name)?;
            topic.name = name.unwrap_or_default();
            io.uuid(&mut topic.id)?;
        } else {
            io.string(&mut topic.name)?;
        }
        io.error(error)?;
        if version >= 5 {
            io.nullable_string(message)?;
        }
        io.end()
    })?;
    io.end()
}
