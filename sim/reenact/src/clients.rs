//! The tank's clients over real sockets: the same state machines and workloads, driven by the same
//! reactor that drives the broker in `serve`. Each host has its own thread.
//!
//! They share one clock, so their records form one history. They always reach a node through the
//! proxy. What does not live here: what the workloads do, and judging it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use wavetank_core::client::NamedPartition;
use wavetank_core::event::Event;
use wavetank_core::types::{Endpoint, NodeId, Offset, Uuid};
use wavetank_server::{Backlog, NetLimits, NetThread, Reactor, TokioEnv, start_network};
use wavetank_sim::plan::Plan;
use wavetank_sim::workload::{App, Record, Stage, Workload};

use crate::Failure;

/// How often a client checks for a new stage.
const LOOK: Duration = Duration::from_millis(10);

/// A client writes nothing to disk, so nothing waits for a sync.
const NO_DISK: u64 = u64::MAX;

/// One client host.
struct Host {
    app: Arc<Mutex<App>>,
    stages: Sender<Stage>,
    core: Option<JoinHandle<()>>,
    network: Option<NetThread>,
}

/// All client hosts of a run, and what they recorded.
pub struct Clients {
    plan: Plan,
    origin: Instant,
    stop: Arc<AtomicBool>,
    sender: Sender<Record>,
    records: Receiver<Record>,
    hosts: BTreeMap<NodeId, Host>,
}

impl Clients {
    /// Creates an empty set of clients.
    pub fn new(plan: &Plan) -> Clients {
        let (sender, records) = channel();
        Clients {
            plan: plan.clone(),
            origin: Instant::now(),
            stop: Arc::default(),
            sender,
            records,
            hosts: BTreeMap::new(),
        }
    }

    /// The origin of the records' timestamps.
    pub fn origin(&self) -> Instant {
        self.origin
    }

    /// Adds a host that runs a workload, and starts it. It reaches the nodes at the addresses in
    /// `peers`.
    ///
    /// # Errors
    /// If the system gives no thread or no port.
    pub fn add(
        &mut self,
        node: NodeId,
        workload: Box<dyn Workload>,
        nodes: &BTreeMap<NodeId, SocketAddr>,
    ) -> Result<(), Failure> {
        let attempted = || Failure::to(format!("start client {node}"));
        let peers: BTreeMap<NodeId, Endpoint> = nodes
            .iter()
            .map(|(id, at)| (*id, Endpoint { host: at.ip().to_string(), port: at.port() }))
            .collect();
        // Nobody connects to a client, but the network thread needs a listener.
        let listener = TcpListener::bind("127.0.0.1:0").map_err(attempted())?;
        let (inbox, events) = channel();
        let pinned: Vec<NodeId> = peers.keys().copied().collect();
        let (limits, backlog) = (NetLimits::default(), Arc::new(Backlog::new(NO_DISK)));
        let (handle, network) =
            start_network(listener, node, peers, limits, inbox, backlog).map_err(attempted())?;
        let app = Arc::new(Mutex::new(App::new(node, &self.plan, workload)));
        let (stages, told) = channel();
        let driver = Driver {
            app: Arc::clone(&app),
            told,
            stop: Arc::clone(&self.stop),
            sender: self.sender.clone(),
        };
        let origin = self.origin;
        let core = std::thread::Builder::new()
            .name(format!("client-{node}"))
            .spawn(move || {
                let env = TokioEnv::for_client(handle, origin).pin_peers(pinned);
                driver.run(Reactor::new(events, env));
            })
            .map_err(attempted())?;
        let host = Host { app, stages, core: Some(core), network: Some(network) };
        self.hosts.insert(node, host);
        Ok(())
    }

    /// All hosts.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.hosts.keys().copied()
    }

    /// Announces a new stage to all workloads.
    pub fn set_stage(&self, stage: Stage) {
        for host in self.hosts.values() {
            // A host that has ended has panicked. `check` reports that.
            let _ = host.stages.send(stage);
        }
    }

    /// The records since the last call, in order for each host.
    pub fn drain(&mut self) -> Vec<Record> {
        self.records.try_iter().collect()
    }

    /// The workload's name on this host.
    pub fn name(&self, node: NodeId) -> &'static str {
        self.app(node).name()
    }

    /// Is this host's workload done (waiting for nothing)?
    pub fn done(&self, node: NodeId) -> bool {
        self.app(node).done()
    }

    /// The next offset that a consumer on this host will read.
    pub fn position(&self, node: NodeId, partition: &NamedPartition) -> Option<Offset> {
        wavetank_sim::workload::position(&self.app(node), partition)
    }

    fn app(&self, node: NodeId) -> MutexGuard<'_, App> {
        self.hosts[&node].app.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Checks that no client has panicked. A client that failed an assertion must not pass for a
    /// quiet one.
    ///
    /// # Panics
    /// If a client has panicked.
    pub fn check(&self) {
        for (node, host) in &self.hosts {
            let ended = host.core.as_ref().is_some_and(JoinHandle::is_finished);
            assert!(!ended, "client {node} met a bug (see the panic above)");
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for host in self.hosts.values_mut() {
            if let Some(core) = host.core.take() {
                // A panic there was printed, and `check` reports it.
                let _ = core.join();
            }
            if let Some(network) = host.network.take() {
                network.join();
            }
        }
    }
}

/// The state of a client's thread.
struct Driver {
    app: Arc<Mutex<App>>,
    told: Receiver<Stage>,
    stop: Arc<AtomicBool>,
    sender: Sender<Record>,
}

impl Driver {
    fn run(self, mut reactor: Reactor) {
        let mut events = vec![Event::Start { boot_id: Uuid::ZERO }];
        loop {
            {
                let mut app = self.app.lock().unwrap_or_else(PoisonError::into_inner);
                for event in events.drain(..) {
                    app.step(event, reactor.env());
                }
                for stage in self.told.try_iter() {
                    app.stage(stage, reactor.env());
                }
                for record in app.drain() {
                    // The receiver is gone only when the run is over.
                    let _ = self.sender.send(record);
                }
            }
            if self.stop.load(Ordering::Relaxed) || !reactor.wait(Some(LOOK), &mut events) {
                return;
            }
        }
    }
}
