//! OffsetForLeaderEpoch.

use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{
    EpochEndOffsetResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
    OffsetForLeaderPartition, OffsetForLeaderTopic, OffsetForLeaderTopicResponse,
};
use wavetank_core::types::{LeaderEpoch, Offset};

use crate::visit::{Io, Visited};

pub(super) fn request(io: &mut Io, m: &mut OffsetForLeaderEpochRequest) -> Visited {
    if io.version() >= 3 {
        io.node(&mut m.replica)?;
    }
    io.array(&mut m.topics, OffsetForLeaderTopic::default, |io, one| {
        io.string(&mut one.name)?;
        let none = || OffsetForLeaderPartition {
            partition: 0,
            current_leader_epoch: LeaderEpoch::NONE,
            leader_epoch: LeaderEpoch::NONE,
        };
        io.array(&mut one.partitions, none, |io, part| {
            io.i32(&mut part.partition)?;
            io.epoch(&mut part.current_leader_epoch)?;
            io.epoch(&mut part.leader_epoch)?;
            io.end()
        })?;
        io.end()
    })?;
    io.end()
}

pub(super) fn response(io: &mut Io, m: &mut OffsetForLeaderEpochResponse) -> Visited {
    io.i32(&mut m.throttle_time_ms)?;
    io.array(&mut m.topics, OffsetForLeaderTopicResponse::default, |io, one| {
        io.string(&mut one.name)?;
        let none = || EpochEndOffsetResponse {
            error: ErrorCode::None,
            partition: 0,
            leader_epoch: LeaderEpoch::NONE,
            end_offset: Offset(-1),
        };
        io.array(&mut one.partitions, none, |io, part| {
            io.error(&mut part.error)?;
            io.i32(&mut part.partition)?;
            io.epoch(&mut part.leader_epoch)?;
            io.offset(&mut part.end_offset)?;
            io.end()
        })?;
        io.end()
    })?;
    io.end()
}
