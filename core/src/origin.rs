//! Where a request comes from, as far as a node's rules depend on it.
//!
//! What does not live here: which requests a listener serves ([`crate::listener`]) and the
//! connection that an answer goes to ([`crate::event::ReplyTo`]).

/// Where a request comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The listener that its connection came in on.
    pub listener: ListenerId,
}

/// A listener of this node. [`crate::listener`] decides which requests each one serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ListenerId {
    /// A broker listener, by its index in
    /// [`NodeConfig::listeners`](crate::config::NodeConfig::listeners).
    Broker(u16),
    /// One of `controller.listener.names`, used only by nodes.
    Controller,
}

impl Default for ListenerId {
    /// The first broker listener.
    fn default() -> ListenerId {
        ListenerId::Broker(0)
    }
}
