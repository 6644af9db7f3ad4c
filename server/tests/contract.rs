//! Contract tests of the real `Env`: the suite of `wavetank-sim`, run over two nodes with real
//! files, sockets and clocks.

use std::collections::{BTreeMap, VecDeque};
use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use wavetank_core::env::Network;
use wavetank_core::event::Event;
use wavetank_core::msg::{ApiVersionsResponse, Request, Response};
use wavetank_core::types::{Endpoint, NodeId};
use wavetank_server::{DataDir, DiskPool, NetLimits, NetThread, Reactor, TokioEnv, start_network};
use wavetank_sim::contract::{Act, CASES, Harness, node};

/// The running part of a node.
struct Process {
    reactor: Reactor,
    network: NetThread,
}

struct Node {
    data: TempDir,
    port: u16,
    process: Option<Process>,
    events: VecDeque<Event>,
}

struct Real {
    nodes: Vec<Node>,
}

impl Real {
    fn new() -> Real {
        let mut real = Real { nodes: Vec::new() };
        let listeners: Vec<TcpListener> =
            (0..2).map(|_| TcpListener::bind("127.0.0.1:0").expect("a free port")).collect();
        for listener in &listeners {
            real.nodes.push(Node {
                data: tempfile::tempdir().expect("a temporary directory"),
                port: listener.local_addr().expect("it is bound").port(),
                process: None,
                events: VecDeque::new(),
            });
        }
        for (index, listener) in listeners.into_iter().enumerate() {
            real.start(index, listener);
        }
        real
    }

    fn peers(&self) -> BTreeMap<NodeId, Endpoint> {
        let endpoint = |port| Endpoint { host: "127.0.0.1".into(), port };
        self.nodes.iter().enumerate().map(|(i, n)| (node(i), endpoint(n.port))).collect()
    }

    fn start(&mut self, index: usize, listener: TcpListener) {
        let peers = self.peers();
        let this = &mut self.nodes[index];
        let (inbox, events) = channel();
        let data = DataDir::open(this.data.path()).expect("it is ours");
        let disk = DiskPool::start(&data, inbox.clone()).expect("threads");
        let (handle, network) = start_network(
            listener,
            node(index),
            peers,
            NetLimits::default(),
            inbox,
            disk.backlog(),
        )
        .expect("a thread");
        let env = TokioEnv::new(disk, Some(handle), Box::new(|_| {}));
        this.process = Some(Process { reactor: Reactor::new(events, env), network });
    }

    /// Takes the ready events of a node. The driver asks for versions when it connects. A broker
    /// would answer; the suite's machines do not, so this does.
    fn pump(&mut self, index: usize, wait: Duration) {
        let this = &mut self.nodes[index];
        let reactor = &mut this.process.as_mut().expect("it runs").reactor;
        let mut events = Vec::new();
        reactor.wait(Some(wait), &mut events);
        for event in events {
            if let Event::Request { from, request: Request::ApiVersions(_), .. } = &event {
                let answer = Response::ApiVersions(ApiVersionsResponse::default());
                reactor.env().respond(*from, answer);
                reactor.flush();
            } else {
                this.events.push_back(event);
            }
        }
    }
}

impl Harness for Real {
    fn act(&mut self, index: usize, act: Act) {
        let reactor = &mut self.nodes[index].process.as_mut().expect("it runs").reactor;
        act(reactor.env());
        reactor.flush();
    }

    fn event(&mut self, index: usize, within: Duration) -> Option<Event> {
        let end = Instant::now() + within;
        loop {
            if let Some(event) = self.nodes[index].events.pop_front() {
                return Some(event);
            }
            if Instant::now() >= end {
                return None;
            }
            self.pump(1 - index, Duration::ZERO);
            self.pump(index, Duration::from_millis(2));
        }
    }

    fn restart(&mut self, index: usize) {
        let this = &mut self.nodes[index];
        let Process { reactor, network } = this.process.take().expect("it runs");
        drop(reactor);
        network.join();
        this.events.clear();
        let listener = TcpListener::bind(("127.0.0.1", this.port)).expect("the same port");
        self.start(index, listener);
    }
}

fn run(module: &str) {
    let mut ran = 0;
    for case in CASES.iter().filter(|case| case.name.starts_with(module)) {
        println!("{}", case.name);
        (case.run)(&mut Real::new());
        ran += 1;
    }
    assert!(ran > 3, "the suite has cases for {module}");
}

#[test]
fn disk() {
    run("disk::");
}

#[test]
fn timers() {
    run("timers::");
}

#[test]
fn network() {
    run("network::");
}
