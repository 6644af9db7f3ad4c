//! The configuration file that `serve` reads for a plan's node: Kafka's keys, and the proxy's
//! addresses, at which this node reaches the others.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;

use wavetank_core::types::NodeId;
use wavetank_sim::plan::Plan;

/// The text of the file. `peers` are the addresses at which this node reaches the others.
pub fn text(
    plan: &Plan,
    node: NodeId,
    listen: SocketAddr,
    peers: &BTreeMap<NodeId, SocketAddr>,
) -> String {
    let mut roles = Vec::new();
    if plan.cluster.brokers.contains(&node.0) {
        roles.push("\"broker\"");
    }
    if plan.cluster.controllers.contains(&node.0) {
        roles.push("\"controller\"");
    }
    let at = |id: &NodeId| if *id == node { listen } else { peers[id] };
    let voters: Vec<String> = plan
        .cluster
        .controllers
        .iter()
        .map(|id| format!("\"{id}@{}\"", at(&NodeId(*id))))
        .collect();
    let others: Vec<String> =
        peers.iter().map(|(id, address)| format!("\"{id}@{address}\"")).collect();
    let mut text = String::new();
    let mut set = |key: &str, value: &dyn std::fmt::Display| {
        writeln!(text, "{key} = {value}").expect("a string takes everything");
    };
    set("node.id", &node);
    // All nodes start at once and each formats its own directory, so the cluster id must be given.
    set("cluster.id", &"\"reenacted\"");
    set("process.roles", &format_args!("[{}]", roles.join(", ")));
    set("listeners", &format_args!("\"PLAINTEXT://{listen}\""));
    set("controller.quorum.voters", &format_args!("[{}]", voters.join(", ")));
    if !others.is_empty() {
        set("peer.address.overrides", &format_args!("[{}]", others.join(", ")));
    }
    let settings = &plan.node;
    set("controller.quorum.election.timeout.ms", &settings.election_timeout_ms);
    set("controller.quorum.fetch.timeout.ms", &settings.quorum_fetch_timeout_ms);
    set("controller.quorum.election.backoff.max.ms", &settings.election_backoff_max_ms);
    set("controller.quorum.request.timeout.ms", &settings.quorum_request_timeout_ms);
    set("broker.heartbeat.interval.ms", &settings.heartbeat_interval_ms);
    set("broker.session.timeout.ms", &settings.session_timeout_ms);
    set("replica.lag.time.max.ms", &settings.replica_lag_time_max_ms);
    set("replica.fetch.wait.max.ms", &settings.replica_fetch_wait_ms);
    set("replica.fetch.max.bytes", &settings.replica_fetch_max_bytes);
    set("replica.fetch.backoff.ms", &settings.replica_fetch_backoff_ms);
    set("replica.socket.timeout.ms", &settings.request_timeout_ms);
    set("replica.high.watermark.checkpoint.interval.ms", &settings.checkpoint_interval_ms);
    let auto_create = plan.workload.churn.as_ref().is_some_and(|churn| churn.auto_create);
    set("auto.create.topics.enable", &auto_create);
    // Kafka's default, which is not `serve`'s. The plan says for each topic whether it flushes.
    set("log.flush.interval.messages", &i64::MAX);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_sim::profile::Profile;

    /// The tank's configuration of a node and the one that `serve` reads from this file differ only
    /// in the settings that are reported as left out.
    #[test]
    fn serve_reads_what_the_tank_gives() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let path = dir.path().join("node.toml");
        for seed in 0..40 {
            let plan = Profile::Default.draw(seed);
            for id in plan.cluster.nodes() {
                let listen: SocketAddr = "127.0.0.1:9001".parse().expect("an address");
                let peers = plan.cluster.nodes().into_iter().filter(|other| *other != id);
                let peers = peers.map(|other| (NodeId(other), listen)).collect();
                let text = text(&plan, NodeId(id), listen, &peers);
                std::fs::write(&path, &text).expect("written");
                let read = wavetank_server::ServerConfig::from_file(&path).expect("it is right");
                let mut given = wavetank_sim::node::node_config(&plan, id);
                given.quorum.fetch_wait_max = read.node.quorum.fetch_wait_max;
                given.tail_cache_bytes = read.node.tail_cache_bytes;
                given.tail_caches_bytes = read.node.tail_caches_bytes;
                given.read_chunk_bytes = read.node.read_chunk_bytes;
                given.format = read.node.format;
                given.listeners = read.node.listeners.clone();
                given.cluster_id.clone_from(&read.node.cluster_id);
                assert_eq!(read.node, given, "seed {seed}, node {id}: {text}");
                assert_eq!(read.overrides.len(), peers_of(&plan), "seed {seed}, node {id}");
            }
        }
    }

    fn peers_of(plan: &Plan) -> usize {
        plan.cluster.nodes().len() - 1
    }
}
