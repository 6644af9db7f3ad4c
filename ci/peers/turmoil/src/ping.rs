//! The ping-pong in turmoil over UDP, its defaults otherwise: `ping LOAD SIMULATED_SECONDS`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use turmoil::net::UdpSocket;

const NODES: usize = 5;

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
    let received = Arc::new(AtomicU64::new(0));
    let mut sim = turmoil::Builder::new()
        .rng_seed(1)
        .simulation_duration(Duration::from_secs(seconds + 10))
        .udp_capacity(1 << 16)
        .build();
    for id in 0..NODES {
        let received = received.clone();
        sim.host(format!("node{id}"), move || {
            let received = received.clone();
            async move {
                let socket = UdpSocket::bind("0.0.0.0:9000").await?;
                // Every node binds before any node sends.
                tokio::time::sleep(Duration::from_millis(10)).await;
                for peer in (0..NODES).filter(|peer| *peer != id) {
                    for _ in 0..outstanding {
                        socket.send_to(&[7; 64], (format!("node{peer}"), 9000)).await?;
                    }
                }
                let mut buffer = [0; 64];
                loop {
                    let (_, from) = socket.recv_from(&mut buffer).await?;
                    received.fetch_add(1, Ordering::Relaxed);
                    socket.send_to(&buffer, from).await?;
                }
            }
        });
    }
    sim.client("clock", async move {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        Ok(())
    });
    let start = Instant::now();
    sim.run().expect("the simulation ends with its client");
    let wall = start.elapsed().as_secs_f64();
    let cpu = cpu_seconds(start);
    let messages = received.load(Ordering::Relaxed);
    println!(
        "{{\"engine\": \"turmoil 0.7.2 (UDP)\", \"load\": \"{load}\", \"messages\": {messages}, \
         \"wall_seconds\": {wall}, \"cpu_seconds\": {cpu}, \"simulated_seconds\": {seconds}}}"
    );
}
