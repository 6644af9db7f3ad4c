//! ApiVersions.

use alloc::string::String;
use alloc::vec::Vec;

use wavetank_core::msg::{ApiVersionsRequest, ApiVersionsResponse};

use crate::visit::{Io, Tagged, Visited};

pub(super) fn request(io: &mut Io, m: &mut ApiVersionsRequest) -> Visited {
    if io.version() >= 3 {
        io.string(&mut m.client_software_name)?;
        io.string(&mut m.client_software_version)?;
    }
    if io.version() >= 5 {
        io.nullable_string(&mut m.cluster_id)?;
        io.node(&mut m.node)?;
    }
    io.end()
}

type Feature = (String, i16, i16);

fn features(io: &mut Io, features: &mut Vec<Feature>) -> Visited {
    io.array(
        features,
        || (String::new(), 0, 0),
        |io, (name, first, second)| {
            io.string(name)?;
            io.i16(first)?;
            io.i16(second)?;
            io.end()
        },
    )
}

pub(super) fn response(io: &mut Io, m: &mut ApiVersionsResponse) -> Visited {
    let version = io.version();
    io.error(&mut m.error)?;
    io.array(
        &mut m.apis,
        || (0, 0, 0),
        |io, (key, min, max)| {
            io.i16(key)?;
            io.i16(min)?;
            io.i16(max)?;
            io.end()
        },
    )?;
    if version >= 1 {
        io.i32(&mut m.throttle_time_ms)?;
    }
    if version < 3 {
        return Ok(());
    }
    if version < 4 && !io.reads() {
        // Older clients treat a feature with a minimum of 0 as malformed (KAFKA-17011).
        m.supported_features.retain(|(_, min, _)| *min > 0);
    }
    let (has_supported, has_epoch, has_finalized) = (
        !m.supported_features.is_empty(),
        m.finalized_features_epoch >= 0,
        !m.finalized_features.is_empty(),
    );
    let supported = &mut |io: &mut Io| features(io, &mut m.supported_features);
    let epoch = &mut |io: &mut Io| io.i64(&mut m.finalized_features_epoch);
    let finalized = &mut |io: &mut Io| features(io, &mut m.finalized_features);
    io.tagged(&mut [
        Tagged { tag: 0, since: 3, present: has_supported, visit: supported },
        Tagged { tag: 1, since: 3, present: has_epoch, visit: epoch },
        Tagged { tag: 2, since: 3, present: has_finalized, visit: finalized },
    ])
}
