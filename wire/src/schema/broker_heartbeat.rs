//! BrokerHeartbeat.

use wavetank_core::msg::{BrokerHeartbeatRequest, BrokerHeartbeatResponse};

use crate::visit::{Io, Tagged, Visited};

pub(super) fn request(io: &mut Io, m: &mut BrokerHeartbeatRequest) -> Visited {
    io.node(&mut m.broker)?;
    io.broker_epoch(&mut m.broker_epoch)?;
    io.offset(&mut m.current_metadata_offset)?;
    io.bool(&mut m.want_fence)?;
    io.bool(&mut m.want_shut_down)?;
    let present = !m.offline_log_dirs.is_empty();
    let visit = &mut |io: &mut Io| io.uuids(&mut m.offline_log_dirs);
    io.tagged(&mut [Tagged { tag: 0, since: 1, present, visit }])
}

pub(super) fn response(io: &mut Io, m: &mut BrokerHeartbeatResponse) -> Visited {
    io.ignored_i32(0)?;
    io.error(&mut m.error)?;
    io.bool(&mut m.is_caught_up)?;
    io.bool(&mut m.is_fenced)?;
    io.bool(&mut m.should_shut_down)?;
    io.end()
}
