//! Where other brokers listen, as far as the metadata has to say it.

use crate::config::NodeConfig;
use crate::env::Network;
use crate::metadata::MetadataImage;
use crate::types::NodeId;

/// Learns the endpoints of brokers that this node's configuration does not name. For voters and
/// this node the configuration is used: a registration may be old, and a node that cannot find the
/// quorum elsewhere would never hear of a newer one.
pub(super) fn learn(image: &MetadataImage, config: &NodeConfig, env: &mut dyn Network) {
    let configured = |node: &NodeId| {
        *node == config.node || config.listener_is_shared && config.voters.contains(node)
    };
    for (node, broker) in image.brokers.iter().filter(|(node, _)| !configured(node)) {
        if let Some(endpoint) = broker.endpoint(&config.inter_broker_listener) {
            env.learn_peer(*node, endpoint);
        }
    }
}
