//! BeginQuorumEpoch.

use wavetank_core::msg::{BeginQuorumEpochRequest, BeginQuorumEpochResponse};

use super::quorum::{epoch_response, listeners, metadata_partition, requested};
use crate::visit::{Io, Visited};

pub(super) fn request(io: &mut Io, m: &mut BeginQuorumEpochRequest) -> Visited {
    let version = io.version();
    io.nullable_string(&mut m.cluster_id)?;
    if version >= 1 {
        io.node(&mut m.voter)?;
    }
    let there = metadata_partition(io, |io| {
        if version >= 1 {
            io.uuid(&mut m.voter_directory_id)?;
        }
        io.node(&mut m.leader)?;
        io.epoch(&mut m.leader_epoch)
    })?;
    requested(there)?;
    if version >= 1 {
        listeners(io, &mut m.leader_endpoints)?;
    }
    io.end()
}

pub(super) fn response(io: &mut Io, m: &mut BeginQuorumEpochResponse) -> Visited {
    epoch_response(io, &mut m.error, &mut m.leader, &mut m.leader_epoch)
}
