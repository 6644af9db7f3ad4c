//! What runs on a host, and how a plan configures it.
//!
//! A host runs a broker (or controller) or a client. What does not live here: when a process
//! starts, which is up to the phases and the faults.

use crate::decide::Purpose;
use crate::disk::{DiskConfig, DiskLatency};
use crate::plan::Plan;
use crate::workload::App;
use crate::world::{Exit, HostConfig, Machine, World};
use std::time::Duration;
use wavetank_core::broker::Broker;
use wavetank_core::config::{NodeConfig, QuorumConfig};
use wavetank_core::env::Env;
use wavetank_core::event::Event;
use wavetank_core::types::{Endpoint, NodeId};

/// The first client host's id. Brokers and controllers have smaller ids.
pub const FIRST_CLIENT: i32 = 101;

/// What runs on a host.
#[derive(Clone, Debug)]
pub enum Node {
    /// A broker, controller or both.
    Broker(Box<Broker>),
    /// A client.
    App(Box<App>),
}

impl Machine for Node {
    fn step(&mut self, event: Event, env: &mut dyn Env) {
        match self {
            Node::Broker(broker) => broker.step(event, env),
            Node::App(app) => app.step(event, env),
        }
    }

    fn exit(&self) -> Option<Exit> {
        match self {
            Node::Broker(broker) => Machine::exit(broker.as_ref()),
            Node::App(_) => None,
        }
    }
}

const US: u64 = 1_000;

/// The configuration of a node's host: its clocks, the cost of its steps, its disk.
pub(crate) fn host_config(plan: &Plan, node: NodeId, world: &World<Node>) -> HostConfig {
    let (disk, process) = (&plan.disk, &plan.process);
    let place = world.dice().place(Purpose::Driver);
    let place = place.with(0xc10c).with(node.0 as u64);
    let skew = world.dice().range(place, 0, 2 * process.wall_skew_ms) as i64;
    let drift = world.dice().range(place.with(1), 0, 2 * process.clock_drift_ppm) as i64;
    let latency = |min: u64, mean: u64| DiskLatency { min: min * US, mean: mean * US };
    HostConfig {
        cost_min: process.step_min_us * US,
        cost_max: process.step_max_us * US,
        wall_offset_ms: skew - process.wall_skew_ms as i64,
        clock_ppm: drift - process.clock_drift_ppm as i64,
        disk: DiskConfig {
            write: latency(1, disk.write_mean_us),
            sync: latency(disk.sync_min_us, disk.sync_mean_us),
            read: latency(1, disk.read_mean_us),
            namespace: latency(1, disk.namespace_mean_us),
            torn: disk.torn,
        },
    }
}

/// The configuration of a node in this plan.
pub fn node_config(plan: &Plan, id: i32) -> NodeConfig {
    let voters = plan.cluster.controllers.iter().copied().map(NodeId).collect();
    let node = &plan.node;
    let ms = Duration::from_millis;
    let mut config = NodeConfig::new(NodeId(id), voters);
    config.is_broker = plan.cluster.brokers.contains(&id);
    config.listeners[0].1 = Endpoint { host: format!("node{id}"), port: 9092 };
    config.quorum = QuorumConfig {
        election_timeout: ms(node.election_timeout_ms),
        fetch_timeout: ms(node.quorum_fetch_timeout_ms),
        election_backoff_max: ms(node.election_backoff_max_ms),
        request_timeout: ms(node.quorum_request_timeout_ms),
        fetch_wait_max: ms(node.quorum_fetch_wait_ms),
        ..QuorumConfig::default()
    };
    config.heartbeat_interval = ms(node.heartbeat_interval_ms);
    config.session_timeout = ms(node.session_timeout_ms);
    config.replica_lag_time_max = ms(node.replica_lag_time_max_ms);
    config.replica_fetch_wait_max = ms(node.replica_fetch_wait_ms);
    config.replica_fetch_max_bytes = node.replica_fetch_max_bytes;
    config.replica_fetch_backoff = ms(node.replica_fetch_backoff_ms);
    config.request_timeout = ms(node.request_timeout_ms);
    config.checkpoint_interval = ms(node.checkpoint_interval_ms);
    config.tail_cache_bytes = node.tail_cache_bytes;
    // With several partitions, the one written last evicts another's cache.
    config.tail_caches_bytes = 2 * u64::from(node.tail_cache_bytes);
    config.read_chunk_bytes = node.read_chunk_bytes;
    config.auto_create_topics = plan.workload.churn.as_ref().is_some_and(|c| c.auto_create);
    config.flaws = plan.flaw_set();
    config
}
