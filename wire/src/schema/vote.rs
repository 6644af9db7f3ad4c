//! Vote.

use alloc::vec::Vec;

use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{NodeEndpoint, VoteRequest, VoteResponse};

use super::quorum::{endpoint, metadata_partition, requested, take_whole};
use super::shared::no_endpoint;
use crate::visit::{Io, Tagged, Visited};

fn voter_endpoints(io: &mut Io, endpoints: &mut Vec<NodeEndpoint>) -> Visited {
    io.array(endpoints, no_endpoint, |io, one| {
        io.node(&mut one.node)?;
        endpoint(io, &mut one.endpoint)?;
        io.end()
    })
}

pub(super) fn request(io: &mut Io, m: &mut VoteRequest) -> Visited {
    let version = io.version();
    io.nullable_string(&mut m.cluster_id)?;
    if version >= 1 {
        io.node(&mut m.voter)?;
    }
    let there = metadata_partition(io, |io| {
        io.epoch(&mut m.epoch)?;
        io.node(&mut m.candidate)?;
        if version >= 1 {
            io.uuid(&mut m.candidate_directory_id)?;
            io.uuid(&mut m.voter_directory_id)?;
        }
        io.epoch(&mut m.last_offset_epoch)?;
        io.offset(&mut m.last_offset)?;
        if version >= 2 {
            io.bool(&mut m.pre_vote)?;
        }
        Ok(())
    })?;
    requested(there)?;
    io.end()
}

pub(super) fn response(io: &mut Io, m: &mut VoteResponse) -> Visited {
    // The error of the request as a whole. We write the partition's, which is more specific.
    let mut whole = ErrorCode::None;
    io.error(&mut whole)?;
    let there = metadata_partition(io, |io| {
        io.error(&mut m.error)?;
        io.node(&mut m.leader)?;
        io.epoch(&mut m.leader_epoch)?;
        io.bool(&mut m.vote_granted)
    })?;
    take_whole(&mut m.error, whole, there)?;
    let present = !m.node_endpoints.is_empty();
    let visit = &mut |io: &mut Io| voter_endpoints(io, &mut m.node_endpoints);
    io.tagged(&mut [Tagged { tag: 0, since: 1, present, visit }])
}
