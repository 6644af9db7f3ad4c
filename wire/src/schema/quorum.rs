//! Parts of the metadata quorum's messages.
//!
//! Its APIs can name many partitions, but only `__cluster_metadata`-0 exists. A message that names
//! another partition, or not exactly one, is treated as malformed.

use alloc::string::String;
use alloc::vec::Vec;

use wavetank_core::codec::DecodeError;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::types::{Endpoint, LeaderEpoch, METADATA_TOPIC, NodeId};

use crate::visit::{Io, Visited};

/// The one partition of a quorum message, within its topic. Returns whether it was present: an
/// answer that failed as a whole names none.
pub(super) fn metadata_partition(
    io: &mut Io,
    mut visit: impl FnMut(&mut Io) -> Visited,
) -> Result<bool, DecodeError> {
    let mut topics = Vec::from([()]);
    let mut count = 0;
    io.array(
        &mut topics,
        || (),
        |io, ()| {
            let mut name = String::from(METADATA_TOPIC);
            io.string(&mut name)?;
            let mut partitions = Vec::from([()]);
            io.array(
                &mut partitions,
                || (),
                |io, ()| {
                    count += 1;
                    let mut index = 0;
                    io.i32(&mut index)?;
                    if count > 1 || index != 0 || name != METADATA_TOPIC {
                        return Err(WRONG_PARTITION);
                    }
                    visit(io)?;
                    io.end()
                },
            )?;
            io.end()
        },
    )?;
    Ok(count == 1)
}

pub(super) const WRONG_PARTITION: DecodeError =
    DecodeError::Invalid("the partition of a quorum message");

/// A request must name its partition.
pub(super) fn requested(there: bool) -> Visited {
    if there { Ok(()) } else { Err(WRONG_PARTITION) }
}

/// An endpoint with a 16-bit port, as in messages to nodes.
pub(super) fn endpoint(io: &mut Io, endpoint: &mut Endpoint) -> Visited {
    io.string(&mut endpoint.host)?;
    io.u16(&mut endpoint.port)
}

pub(super) fn listeners(io: &mut Io, listeners: &mut Vec<(String, Endpoint)>) -> Visited {
    io.array(
        listeners,
        || (String::new(), Endpoint::default()),
        |io, (name, at)| {
            io.string(name)?;
            endpoint(io, at)?;
            io.end()
        },
    )
}

/// An answer without its partition is valid only if it carries an error for the whole request.
pub(super) fn take_whole(error: &mut ErrorCode, whole: ErrorCode, there: bool) -> Visited {
    if !whole.is_ok() {
        *error = whole;
    } else if !there {
        return Err(WRONG_PARTITION);
    }
    Ok(())
}

pub(super) fn epoch_response(
    io: &mut Io,
    error: &mut ErrorCode,
    leader: &mut NodeId,
    epoch: &mut LeaderEpoch,
) -> Visited {
    let mut whole = ErrorCode::None;
    io.error(&mut whole)?;
    let there = metadata_partition(io, |io| {
        io.error(error)?;
        io.node(leader)?;
        io.epoch(epoch)
    })?;
    take_whole(error, whole, there)?;
    io.end()
}
