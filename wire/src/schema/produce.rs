//! Produce.

use alloc::vec::Vec;

use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{
    ProducePartition, ProducePartitionResponse, ProduceRequest, ProduceResponse, ProduceTopic,
    ProduceTopicResponse,
};

use super::shared::{leader, node_endpoints, topic};
use crate::visit::{Io, Tagged, Visited};

pub(super) fn request(io: &mut Io, m: &mut ProduceRequest) -> Visited {
    io.nullable_string(&mut m.transactional_id)?;
    io.i16(&mut m.acks)?;
    io.i32(&mut m.timeout_ms)?;
    io.array(&mut m.topics, ProduceTopic::default, |io, one| {
        topic(io, &mut one.topic, 13)?;
        io.array(&mut one.partitions, ProducePartition::default, |io, part| {
            io.i32(&mut part.partition)?;
            let mut pieces = part.records.take().map(|bytes| Vec::from([bytes]));
            io.nullable_bytes(&mut pieces)?;
            part.records = pieces.and_then(|pieces| pieces.into_iter().next());
            io.end()
        })?;
        io.end()
    })?;
    io.end()
}

pub(super) fn response(io: &mut Io, m: &mut ProduceResponse) -> Visited {
    let version = io.version();
    io.array(&mut m.topics, ProduceTopicResponse::default, |io, one| {
        topic(io, &mut one.topic, 13)?;
        let none = || ProducePartitionResponse::failed(0, ErrorCode::None);
        io.array(&mut one.partitions, none, |io, part| {
            io.i32(&mut part.partition)?;
            io.error(&mut part.error)?;
            io.offset(&mut part.base_offset)?;
            io.i64(&mut part.log_append_time_ms)?;
            if version >= 5 {
                io.offset(&mut part.log_start_offset)?;
            }
            if version >= 8 {
                io.array(
                    &mut part.record_errors,
                    || (0, None),
                    |io, (index, message)| {
                        io.i32(index)?;
                        io.nullable_string(message)?;
                        io.end()
                    },
                )?;
                io.nullable_string(&mut part.error_message)?;
            }
            let present = part.current_leader.is_some();
            let current = &mut part.current_leader;
            let visit = &mut |io: &mut Io| leader(io, current);
            io.tagged(&mut [Tagged { tag: 0, since: 10, present, visit }])
        })?;
        io.end()
    })?;
    io.i32(&mut m.throttle_time_ms)?;
    let present = !m.node_endpoints.is_empty();
    let visit = &mut |io: &mut Io| node_endpoints(io, &mut m.node_endpoints);
    io.tagged(&mut [Tagged { tag: 0, since: 10, present, visit }])
}
