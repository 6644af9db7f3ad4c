//! Parts of more than one message.

use alloc::string::String;
use alloc::vec::Vec;

use crate::batch::Batch;
use crate::types::{Endpoint, LeaderEpoch, NodeId};

/// Whole batches, in offset order.
pub type Records = Vec<Batch>;

/// A leader and its epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaderIdAndEpoch {
    /// -1: none known.
    pub leader: NodeId,
    /// -1: none known.
    pub epoch: LeaderEpoch,
}

/// A node and its endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeEndpoint {
    /// The node.
    pub node: NodeId,
    /// Its listener.
    pub endpoint: Endpoint,
    /// Its rack.
    pub rack: Option<String>,
}
