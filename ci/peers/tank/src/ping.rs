//! The ping-pong in wavetank's bare world: `ping LOAD SIMULATED_SECONDS`, one JSON line.
//!
//! Five nodes, all 20 ordered pairs; `light` keeps one message outstanding per pair, `heavy` 50. A
//! message is a request or a response with 64 bytes of text, over connections with the default
//! latency. The digest of every event and effect is included.

use std::time::{Duration, Instant};

use wavetank_core::env::{Channel, Env};
use wavetank_core::event::Event;
use wavetank_core::msg::{ApiVersionsRequest, ApiVersionsResponse, Request, Response};
use wavetank_core::types::NodeId;
use wavetank_sim::world::{Exit, HostConfig, Machine, World, WorldConfig};

const NODES: i32 = 5;
const TIMEOUT: Duration = Duration::from_secs(3600);

#[derive(Clone)]
struct Node {
    id: i32,
    outstanding: u32,
    received: u64,
}

fn ping() -> Request {
    Request::ApiVersions(ApiVersionsRequest {
        client_software_name: "p".repeat(64),
        ..Default::default()
    })
}

impl Machine for Node {
    fn step(&mut self, event: Event, env: &mut dyn Env) {
        match event {
            Event::Start { .. } => {
                for peer in (0..NODES).filter(|peer| *peer != self.id) {
                    for _ in 0..self.outstanding {
                        env.request(NodeId(peer), Channel::Admin, TIMEOUT, ping());
                    }
                }
            }
            Event::Request { from, .. } => {
                self.received += 1;
                let supported_features = vec![("q".repeat(64), 0, 0)];
                let pong = ApiVersionsResponse { supported_features, ..Default::default() };
                env.respond(from, Response::ApiVersions(pong));
            }
            Event::Rpc { peer, channel, outcome } => {
                assert!(outcome.is_ok(), "nothing fails here");
                self.received += 1;
                env.request(peer, channel, TIMEOUT, ping());
            }
            Event::Shutdown
            | Event::Timer { .. }
            | Event::Disk(_)
            | Event::ConnectionClosed { .. } => unreachable!("nothing asks for it"),
        }
    }

    fn exit(&self) -> Option<Exit> {
        None
    }
}

/// Processor time of the main thread, or wall time since `start` if the system does not report it.
fn cpu_seconds(start: Instant) -> f64 {
    let schedstat = std::fs::read_to_string("/proc/self/schedstat").ok();
    let first = schedstat.as_deref().and_then(|text| text.split(' ').next());
    let nanos = first.and_then(|text| text.parse::<f64>().ok());
    nanos.map_or_else(|| start.elapsed().as_secs_f64(), |nanos| nanos / 1e9)
}

fn main() {
    let mut args = std::env::args().skip(1);
    let load = args.next().expect("usage: ping light|heavy SIMULATED_SECONDS");
    let seconds: u64 = args.next().and_then(|text| text.parse().ok()).expect("simulated seconds");
    let outstanding = match load.as_str() {
        "light" => 1,
        "heavy" => 50,
        other => panic!("unknown load {other:?}: light or heavy"),
    };
    let mut world = World::new(1, WorldConfig::default());
    for id in 0..NODES {
        world.add_host(NodeId(id), HostConfig::default());
        world.start(NodeId(id), Node { id, outstanding, received: 0 });
    }
    let start = Instant::now();
    while world.next_before(seconds * 1_000_000_000).is_some() {}
    let wall = start.elapsed().as_secs_f64();
    let cpu = cpu_seconds(start);
    let received = |node| world.machine(node).expect("all run").received;
    let messages: u64 = world.nodes().map(received).sum();
    println!(
        "{{\"engine\": \"wavetank\", \"load\": \"{load}\", \"messages\": {messages}, \
         \"wall_seconds\": {wall}, \"cpu_seconds\": {cpu}, \"simulated_seconds\": {seconds}, \"fingerprint\": \"{:016x}\"}}",
        world.fingerprint()
    );
}
