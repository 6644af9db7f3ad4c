//! ListOffsets.

use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{
    ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsRequest, ListOffsetsResponse,
    ListOffsetsTopic, ListOffsetsTopicResponse,
};
use wavetank_core::types::{LeaderEpoch, Offset};

use crate::visit::{Io, Visited};

pub(super) fn request(io: &mut Io, m: &mut ListOffsetsRequest) -> Visited {
    let version = io.version();
    io.node(&mut m.replica)?;
    if version >= 2 {
        io.i8(&mut m.isolation_level)?;
    }
    io.array(&mut m.topics, ListOffsetsTopic::default, |io, one| {
        io.string(&mut one.name)?;
        let none = || ListOffsetsPartition {
            partition: 0,
            current_leader_epoch: LeaderEpoch::NONE,
            timestamp: 0,
        };
        io.array(&mut one.partitions, none, |io, part| {
            io.i32(&mut part.partition)?;
            if version >= 4 {
                io.epoch(&mut part.current_leader_epoch)?;
            }
            io.i64(&mut part.timestamp)?;
            io.end()
        })?;
        io.end()
    })?;
    if version >= 10 {
        io.i32(&mut m.timeout_ms)?;
    }
    io.end()
}

pub(super) fn response(io: &mut Io, m: &mut ListOffsetsResponse) -> Visited {
    let version = io.version();
    if version >= 2 {
        io.i32(&mut m.throttle_time_ms)?;
    }
    io.array(&mut m.topics, ListOffsetsTopicResponse::default, |io, one| {
        io.string(&mut one.name)?;
        let none = || ListOffsetsPartitionResponse {
            partition: 0,
            error: ErrorCode::None,
            timestamp: -1,
            offset: Offset(-1),
            leader_epoch: LeaderEpoch::NONE,
        };
        io.array(&mut one.partitions, none, |io, part| {
            io.i32(&mut part.partition)?;
            io.error(&mut part.error)?;
            io.i64(&mut part.timestamp)?;
            io.offset(&mut part.offset)?;
            if version >= 4 {
                io.epoch(&mut part.leader_epoch)?;
            }
            io.end()
        })?;
        io.end()
    })?;
    io.end()
}
