//! BrokerRegistration.

use alloc::string::String;

use wavetank_core::msg::{BrokerRegistrationRequest, BrokerRegistrationResponse};
use wavetank_core::types::Endpoint;

use super::quorum::endpoint;
use crate::visit::{Io, Visited};

/// PLAINTEXT, the only protocol of our listeners.
const PLAINTEXT: i16 = 0;

pub(super) fn request(io: &mut Io, m: &mut BrokerRegistrationRequest) -> Visited {
    let version = io.version();
    io.node(&mut m.broker)?;
    io.string(&mut m.cluster_id)?;
    io.uuid(&mut m.incarnation)?;
    io.array(
        &mut m.listeners,
        || (String::new(), Endpoint::default()),
        |io, (name, at)| {
            io.string(name)?;
            endpoint(io, at)?;
            let mut security_protocol = PLAINTEXT;
            io.i16(&mut security_protocol)?;
            io.end()
        },
    )?;
    io.array(
        &mut m.features,
        || (String::new(), 0, 0),
        |io, (name, min, max)| {
            io.string(name)?;
            io.i16(min)?;
            io.i16(max)?;
            io.end()
        },
    )?;
    io.nullable_string(&mut m.rack)?;
    if version >= 1 {
        let mut is_migrating_zk_broker = false;
        io.bool(&mut is_migrating_zk_broker)?;
    }
    if version >= 2 {
        io.uuids(&mut m.log_dirs)?;
    }
    if version >= 3 {
        io.broker_epoch(&mut m.previous_broker_epoch)?;
    }
    io.end()
}

pub(super) fn response(io: &mut Io, m: &mut BrokerRegistrationResponse) -> Visited {
    io.ignored_i32(0)?;
    io.error(&mut m.error)?;
    io.broker_epoch(&mut m.broker_epoch)?;
    io.end()
}
