//! EndQuorumEpoch.

use alloc::vec::Vec;

use wavetank_core::msg::{EndQuorumEpochRequest, EndQuorumEpochResponse};
use wavetank_core::types::{NodeId, Uuid};

use super::quorum::{epoch_response, listeners, metadata_partition, requested};
use crate::visit::{Io, Visited};

pub(super) fn request(io: &mut Io, m: &mut EndQuorumEpochRequest) -> Visited {
    let version = io.version();
    io.nullable_string(&mut m.cluster_id)?;
    let there = metadata_partition(io, |io| {
        io.node(&mut m.leader)?;
        io.epoch(&mut m.leader_epoch)?;
        if version == 0 {
            return io.nodes(&mut m.preferred_successors);
        }
        io.array(
            &mut m.preferred_successors,
            || NodeId::NONE,
            |io, candidate| {
                io.node(candidate)?;
                let mut directory = Uuid::ZERO;
                io.uuid(&mut directory)?;
                io.end()
            },
        )
    })?;
    requested(there)?;
    if version >= 1 {
        let mut leader_endpoints = Vec::new();
        listeners(io, &mut leader_endpoints)?;
    }
    io.end()
}

pub(super) fn response(io: &mut Io, m: &mut EndQuorumEpochResponse) -> Visited {
    epoch_response(io, &mut m.error, &mut m.leader, &mut m.leader_epoch)
}
