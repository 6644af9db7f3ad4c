//! What each listener serves: the `listeners` of Kafka's message definitions
//! (`ApiMessageType.ListenerType`), and where replicas' requests are accepted.
//!
//! Until there is authentication, only the listener distinguishes nodes from clients. Requests that
//! only nodes send are refused on client listeners before anything looks at them. The driver
//! configures the listeners and does the refusing.

use crate::api::fetch::is_of_metadata;
use crate::msg::{ApiKey, Request};

/// The peers that a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Serves {
    /// Clients, brokers and controllers: the only listener of a node.
    All,
    /// Clients.
    Clients,
    /// Clients, and brokers that replicate: `inter.broker.listener.name`.
    Brokers,
    /// Controllers, and brokers that ask a controller: `controller.listener.names`.
    Controllers,
}

impl Serves {
    /// Whether this API is served, regardless of the request's content. ApiVersions lists the APIs
    /// that are.
    pub fn api(self, api: ApiKey) -> bool {
        let listeners = api.properties().listeners;
        match self {
            Serves::All => true,
            Serves::Clients | Serves::Brokers => listeners.brokers,
            Serves::Controllers => listeners.controllers,
        }
    }

    /// Whether this request is served. The metadata log is read from controllers, partitions from
    /// brokers, and a client listener accepts no replicas. (Kafka requires the `ClusterAction`
    /// permission there, and answers that the topic is not authorized.)
    pub fn request(self, request: &Request) -> bool {
        if !self.api(request.api()) {
            return false;
        }
        let Some(replica) = request.replica() else { return true };
        let of_metadata = matches!(request, Request::Fetch(fetch) if is_of_metadata(fetch));
        match self {
            Serves::All => true,
            Serves::Clients => !of_metadata && replica.known().is_none(),
            Serves::Brokers => !of_metadata,
            Serves::Controllers => of_metadata,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::msg::{FetchRequest, FetchTopic, ListOffsetsRequest};
    use crate::types::{METADATA_TOPIC, METADATA_TOPIC_ID, NodeId, TopicRef};
    use alloc::vec;

    const EACH: [Serves; 4] = [Serves::All, Serves::Clients, Serves::Brokers, Serves::Controllers];

    fn served(request: &Request) -> [bool; 4] {
        EACH.map(|serves| serves.request(request))
    }

    #[test]
    fn each_api_has_a_listener() {
        for api in ApiKey::ALL {
            assert!(Serves::All.api(*api), "{api:?}");
            assert!(Serves::Brokers.api(*api) || Serves::Controllers.api(*api), "{api:?}");
            assert_eq!(Serves::Clients.api(*api), Serves::Brokers.api(*api), "{api:?}");
        }
    }

    #[test]
    fn nobody_is_a_replica_where_clients_come_in() {
        let fetch = |topic: TopicRef, replica| {
            let topics = vec![FetchTopic { topic, partitions: vec![] }];
            Request::Fetch(FetchRequest { replica: NodeId(replica), topics, ..Default::default() })
        };
        let data = || TopicRef::name("t");
        let metadata = || TopicRef { name: METADATA_TOPIC.into(), id: METADATA_TOPIC_ID };
        assert_eq!(served(&fetch(data(), -1)), [true, true, true, false]);
        assert_eq!(served(&fetch(data(), 2)), [true, false, true, false]);
        assert_eq!(served(&fetch(metadata(), 2)), [true, false, false, true]);
        assert_eq!(served(&fetch(metadata(), -1)), [true, false, false, true]);
        let lookup = ListOffsetsRequest {
            replica: NodeId(2),
            isolation_level: 0,
            topics: vec![],
            timeout_ms: 0,
        };
        assert_eq!(served(&Request::ListOffsets(lookup)), [true, false, true, false]);
    }
}
