//! The ping-pong in madsim over its Endpoint: `ping LOAD SIMULATED_SECONDS [node|flow]`.
//!
//! `node` runs one task per node that answers every message; `flow` runs one task per ordered pair
//! and outstanding message.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use madsim::net::Endpoint;
use madsim::runtime::Runtime;

const NODES: usize = 5;

fn address(id: usize) -> SocketAddr {
    format!("10.0.0.{}:9000", id + 1).parse().expect("an address")
}

async fn by_node(id: usize, outstanding: u64, received: Arc<AtomicU64>) -> std::io::Result<()> {
    let endpoint = Endpoint::bind(address(id)).await?;
    madsim::time::sleep(Duration::from_millis(10)).await;
    for peer in (0..NODES).filter(|peer| *peer != id) {
        for _ in 0..outstanding {
            endpoint.send_to(address(peer), 1, &[7; 64]).await?;
        }
    }
    let mut buffer = [0; 64];
    loop {
        let (_, from) = endpoint.recv_from(1, &mut buffer).await?;
        received.fetch_add(1, Ordering::Relaxed);
        endpoint.send_to(from, 1, &buffer).await?;
    }
}

async fn by_flow(id: usize, outstanding: u64, received: Arc<AtomicU64>) -> std::io::Result<()> {
    let endpoint = Arc::new(Endpoint::bind(address(id)).await?);
    madsim::time::sleep(Duration::from_millis(10)).await;
    let flows = NODES as u64 * NODES as u64 * outstanding;
    let mut tasks = Vec::new();
    // A flow's tag names the ordered pair and the message. Both ends run a task.
    for tag in 0..flows {
        let (from, to) = ((tag as usize / NODES) % NODES, tag as usize % NODES);
        if from == to || (id != from && id != to) {
            continue;
        }
        let (endpoint, received) = (endpoint.clone(), received.clone());
        tasks.push(madsim::task::spawn(async move {
            let peer = address(if id == from { to } else { from });
            if id == from {
                endpoint.send_to(peer, tag, &[7; 64]).await.expect("a simulated send");
            }
            let mut buffer = [0; 64];
            loop {
                endpoint.recv_from(tag, &mut buffer).await.expect("a simulated receive");
                received.fetch_add(1, Ordering::Relaxed);
                endpoint.send_to(peer, tag, &buffer).await.expect("a simulated send");
            }
        }));
    }
    for task in tasks {
        let _ = task.await;
    }
    Ok(())
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
    let load = args.next().expect("usage: ping light|heavy SIMULATED_SECONDS [node|flow]");
    let seconds: u64 = args.next().and_then(|text| text.parse().ok()).expect("simulated seconds");
    let tasks = args.next().unwrap_or_else(|| "node".to_owned());
    let outstanding = match load.as_str() {
        "light" => 1,
        "heavy" => 50,
        other => panic!("unknown load {other:?}: light or heavy"),
    };
    let received = Arc::new(AtomicU64::new(0));
    let runtime = Runtime::with_seed_and_config(1, madsim::Config::default());
    for id in 0..NODES {
        let node = runtime.create_node().name(format!("node{id}")).ip(address(id).ip()).build();
        let received = received.clone();
        if tasks == "flow" {
            node.spawn(by_flow(id, outstanding, received));
        } else {
            node.spawn(by_node(id, outstanding, received));
        }
    }
    let start = Instant::now();
    runtime.block_on(async move { madsim::time::sleep(Duration::from_secs(seconds)).await });
    let wall = start.elapsed().as_secs_f64();
    let cpu = cpu_seconds(start);
    let messages = received.load(Ordering::Relaxed);
    println!(
        "{{\"engine\": \"madsim 0.2.34 (Endpoint, task per {tasks})\", \"load\": \"{load}\", \
         \"messages\": {messages}, \"wall_seconds\": {wall}, \"cpu_seconds\": {cpu}, \"simulated_seconds\": {seconds}}}"
    );
}
