//! Parts of more than one message.

use alloc::vec::Vec;

use wavetank_core::codec::DecodeError;
use wavetank_core::msg::{LeaderIdAndEpoch, NodeEndpoint};
use wavetank_core::types::{Endpoint, LeaderEpoch, NodeId, TopicRef};

use crate::visit::{Io, Visited};

/// A topic by name, or from `ids` on by id.
pub(super) fn topic(io: &mut Io, topic: &mut TopicRef, ids: i16) -> Visited {
    if io.version() >= ids { io.uuid(&mut topic.id) } else { io.string(&mut topic.name) }
}

pub(super) fn leader(io: &mut Io, leader: &mut Option<LeaderIdAndEpoch>) -> Visited {
    let none = LeaderIdAndEpoch { leader: NodeId::NONE, epoch: LeaderEpoch::NONE };
    let mut value = leader.unwrap_or(none);
    io.node(&mut value.leader)?;
    io.epoch(&mut value.epoch)?;
    io.end()?;
    *leader = (value != none).then_some(value);
    Ok(())
}

/// An endpoint with a 32-bit port, as in messages to clients.
pub(super) fn wide_endpoint(io: &mut Io, endpoint: &mut Endpoint) -> Visited {
    io.string(&mut endpoint.host)?;
    let mut port = i32::from(endpoint.port);
    io.i32(&mut port)?;
    endpoint.port = u16::try_from(port).map_err(|_| DecodeError::Invalid("a port"))?;
    Ok(())
}

pub(super) fn no_endpoint() -> NodeEndpoint {
    NodeEndpoint { node: NodeId::NONE, endpoint: Endpoint::default(), rack: None }
}

pub(super) fn node_endpoints(io: &mut Io, endpoints: &mut Vec<NodeEndpoint>) -> Visited {
    io.array(endpoints, no_endpoint, |io, one| {
        io.node(&mut one.node)?;
        wide_endpoint(io, &mut one.endpoint)?;
        io.nullable_string(&mut one.rack)?;
        io.end()
    })
}
