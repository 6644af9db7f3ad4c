//! The network: one thread with a tokio runtime, which accepts connections, talks to peers, and
//! turns frames into events and answers into frames.
//!
//! The core sends commands in batches, gets events back, and never waits for the network. `codec`
//! (with `wavetank-wire`) says what a frame means, `inbound` serves one connection of a client or
//! peer to us, and `outbound` one connection of ours to a peer.

mod answers;
mod budget;
mod codec;
mod frame;
mod inbound;
mod lane;
mod memory;
mod names;
mod outbound;
mod room;
mod turns;

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;
use wavetank_core::env::Channel;
use wavetank_core::event::{ConnectionId, Event, ListenerId, ReplyTo};
use wavetank_core::listener::Serves;
use wavetank_core::msg::{Request, Response};
use wavetank_core::types::{Endpoint, NodeId};

use crate::backlog::Backlog;
use crate::limits::{AbortOnPanic, spawn};
use crate::throttle::Throttle;
use budget::Budget;
use inbound::Reply;
use lane::Lane;
use memory::Memory;
use names::Names;
use outbound::Outgoing;
use room::Room;

/// How long accepting pauses after a failure.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// How often to report suppressed log lines.
const HOUSEKEEPING: Duration = Duration::from_secs(5);

/// Maximum threads for blocking work, which is name look-ups, at most one for each name at a time.
/// A name whose server is silent occupies its thread, which other names cannot use.
const BLOCKING_THREADS: usize = 32;

/// What the core asks of the network; see [`wavetank_core::env::Network`].
#[derive(Debug)]
pub enum NetCommand {
    /// Send a request.
    Request {
        /// To whom.
        peer: NodeId,
        /// On which connection.
        channel: Channel,
        /// How long to wait, from now.
        timeout: Duration,
        /// What.
        request: Request,
    },
    /// Answer.
    Respond {
        /// Whom.
        to: ReplyTo,
        /// With what.
        response: Response,
    },
    /// End a request without an answer.
    NoResponse {
        /// Whose.
        to: ReplyTo,
    },
    /// Close the connection.
    Disconnect {
        /// Whose.
        to: ReplyTo,
    },
    /// Learn where a peer listens.
    LearnPeer {
        /// Who.
        peer: NodeId,
        /// Where.
        endpoint: Endpoint,
    },
}

/// Bounds on the resources that others may make this node use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetLimits {
    /// `socket.request.max.bytes`: the largest frame, in bytes.
    pub max_frame: usize,
    /// `connections.max.idle.ms`: how long a connection may stay open without a whole request.
    pub max_idle: Duration,
    /// `max.connections`. If there are several listeners, each has a part reserved.
    pub max_connections: usize,
    /// `queued.max.request.bytes`: bytes of large requests held at once; small ones (up to 256 KiB)
    /// are bounded by the number of connections. One address may hold half of it, or one request.
    pub request_memory: usize,
    /// `queued.max.response.bytes`: bytes of answers that wait to be sent, in all. Kafka has
    /// neither this key nor such a bound.
    pub response_memory: usize,
    /// How long a peer may read next to nothing of an answer before its connection is closed.
    pub write_stall: Duration,
}

impl Default for NetLimits {
    fn default() -> NetLimits {
        NetLimits {
            max_frame: 100 << 20,
            max_idle: Duration::from_secs(600),
            max_connections: crate::limits::descriptors().connections.min(4096),
            request_memory: 256 << 20,
            response_memory: 512 << 20,
            write_stall: Duration::from_secs(60),
        }
    }
}

/// Sends commands to the network thread. When the last handle is dropped, the thread finishes the
/// answers being sent and ends.
#[derive(Clone, Debug)]
pub struct NetHandle {
    commands: UnboundedSender<Vec<NetCommand>>,
}

impl NetHandle {
    /// Hands over commands, in order.
    pub fn send(&self, commands: Vec<NetCommand>) {
        // The thread ends before the core only if the process ends.
        let _ = self.commands.send(commands);
    }
}

/// The running network thread.
#[derive(Debug)]
pub struct NetThread {
    /// Where it listens.
    pub local: SocketAddr,
    thread: JoinHandle<()>,
}

impl NetThread {
    /// Waits for the thread to end after all [`NetHandle`]s are dropped.
    pub fn join(self) {
        // A panic in the thread has already ended the process.
        let _ = self.thread.join();
    }
}

/// The listener of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Door {
    /// The listener's identity in the core.
    pub id: ListenerId,
    /// Which requests it accepts.
    pub serves: Serves,
}

/// This node's identity, and the peers it knows.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// Its id.
    pub node: NodeId,
    /// Its cluster. Peers are asked to confirm their cluster and node id; with `None` they are not
    /// asked.
    pub cluster: Option<String>,
    /// Addresses of the controllers.
    pub controllers: BTreeMap<NodeId, Endpoint>,
    /// Addresses of the brokers known so far.
    pub brokers: BTreeMap<NodeId, Endpoint>,
}

/// Starts the thread on one bound listener that serves everybody. Peers are not asked to identify
/// themselves.
///
/// # Errors
/// See [`start_on`].
pub fn start(
    listener: TcpListener,
    node: NodeId,
    peers: BTreeMap<NodeId, Endpoint>,
    limits: NetLimits,
    inbox: Sender<Event>,
    backlog: Arc<Backlog>,
) -> io::Result<(NetHandle, NetThread)> {
    let door = Door { id: ListenerId::default(), serves: Serves::All };
    let identity = Identity { node, cluster: None, controllers: peers.clone(), brokers: peers };
    start_on(vec![(listener, door)], identity, limits, inbox, backlog)
}

/// Starts the thread on bound listeners, at least one.
///
/// # Errors
/// If the operating system gives no thread or event queue.
pub fn start_on(
    listeners: Vec<(TcpListener, Door)>,
    identity: Identity,
    limits: NetLimits,
    inbox: Sender<Event>,
    backlog: Arc<Backlog>,
) -> io::Result<(NetHandle, NetThread)> {
    let runtime = runtime()?;
    let local = listeners[0].0.local_addr()?;
    let mut doors = Vec::new();
    for (listener, door) in listeners {
        listener.set_nonblocking(true)?;
        let _context = runtime.enter();
        doors.push((tokio::net::TcpListener::from_std(listener)?, door));
    }
    // Connections on the controllers' listener are accepted first.
    doors.sort_by_key(|(_, door)| door.serves != Serves::Controllers);
    let (commands, receiver) = unbounded_channel();
    let Identity { node, cluster, controllers, brokers } = identity;
    let shared = Arc::new(Shared::new(inbox, backlog, node, cluster, limits)?);
    let thread = std::thread::Builder::new().name("network".into()).spawn(move || {
        let _guard = AbortOnPanic("network");
        let listeners: Vec<_> = doors.iter().map(|(_, door)| door.id).collect();
        let dispatcher = Dispatcher::new(shared, Peers { controllers, brokers }, &listeners);
        runtime.block_on(dispatcher.run(doors, receiver));
        // Does not wait for name look-ups that are still running.
        runtime.shutdown_background();
    })?;
    Ok((NetHandle { commands }, NetThread { local, thread }))
}

/// The network's runtime, with the first of its threads for blocking work (the resolver). That
/// thread stays: as long as there is one, work waits for it if the operating system refuses more
/// threads. Without any, the runtime would panic.
fn runtime() -> io::Result<Runtime> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .thread_keep_alive(Duration::from_secs(365 * 24 * 3600))
        .build()?;
    // Checks that the operating system gives a thread.
    std::thread::Builder::new().spawn(|| ())?.join().map_err(|_| io::Error::other("a thread"))?;
    runtime
        .block_on(async { tokio::task::spawn_blocking(|| ()).await })
        .map_err(io::Error::other)?;
    Ok(runtime)
}

/// What every connection's task needs.
#[derive(Debug)]
struct Shared {
    inbox: Sender<Event>,
    /// What produce requests wait for.
    backlog: Arc<Backlog>,
    node: NodeId,
    cluster: Option<String>,
    limits: NetLimits,
    /// Memory for large requests, beyond the part that is not counted.
    large: Arc<Memory>,
    /// Memory for requests that are read while others of their connection are under way.
    ahead: Arc<Memory>,
    /// Bytes of outgoing answers.
    budget: Arc<Budget>,
    /// The thread for large requests.
    lane: Lane,
    /// Look-ups of peers' names.
    names: Arc<Names>,
    /// Limits log lines about misbehaving clients, by address.
    complaints: Mutex<Throttle<IpAddr>>,
    /// Limits log lines about peers' answers. Kept apart, so that a client's flood cannot suppress
    /// them.
    peer_complaints: Mutex<Throttle<NodeId>>,
}

impl Shared {
    fn new(
        inbox: Sender<Event>,
        backlog: Arc<Backlog>,
        node: NodeId,
        cluster: Option<String>,
        limits: NetLimits,
    ) -> io::Result<Shared> {
        let large = Arc::new(Memory::new(limits.request_memory, limits.max_frame));
        let ahead = Arc::new(Memory::new(limits.request_memory / 4, 0));
        let budget = Arc::new(Budget::new(limits.response_memory));
        let complaints = Mutex::new(Throttle::new());
        let peer_complaints = Mutex::new(Throttle::new());
        let (lane, names) = (Lane::start()?, Arc::new(Names::new()));
        Ok(Shared {
            inbox,
            backlog,
            node,
            cluster,
            limits,
            large,
            ahead,
            budget,
            lane,
            names,
            complaints,
            peer_complaints,
        })
    }

    fn deliver(&self, event: Event) {
        // The core is gone when the process ends; then nobody needs the event.
        let _ = self.inbox.send(event);
    }

    /// Whether a line about this address may be logged, or there have been enough.
    fn complain(&self, from: SocketAddr) -> bool {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        complaints.allows(from.ip())
    }

    /// The same for a peer's answers.
    fn complain_of_peer(&self, peer: NodeId) -> bool {
        self.peer_complaints.lock().unwrap_or_else(PoisonError::into_inner).allows(peer)
    }

    /// Logs how many lines were suppressed in the last window.
    fn tell_suppressed(&self) {
        let now = std::time::Instant::now();
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lines) = complaints.next_window(now) {
            tracing::warn!(lines, "more lines about bad connections were suppressed");
        }
        let mut complaints = self.peer_complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lines) = complaints.next_window(now) {
            tracing::warn!(lines, "more lines about bad answers of peers were suppressed");
        }
    }
}

/// A source of connections.
trait Listen {
    /// The next one.
    fn accept(&self) -> impl Future<Output = io::Result<(TcpStream, SocketAddr, Door)>>;
}

impl Listen for Vec<(tokio::net::TcpListener, Door)> {
    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr, Door)> {
        std::future::poll_fn(|context| {
            for (listener, door) in self {
                if let Poll::Ready(accepted) = listener.poll_accept(context) {
                    return Poll::Ready(accepted.map(|(stream, from)| (stream, from, *door)));
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The next connection, but not before `resume`.
async fn accept(
    listener: &impl Listen,
    resume: Option<Instant>,
) -> io::Result<(TcpStream, SocketAddr, Door)> {
    if let Some(resume) = resume {
        tokio::time::sleep_until(resume).await;
    }
    listener.accept().await
}

/// The addresses of the other nodes.
#[derive(Debug, Default)]
struct Peers {
    controllers: BTreeMap<NodeId, Endpoint>,
    brokers: BTreeMap<NodeId, Endpoint>,
}

impl Peers {
    fn endpoint(&self, peer: NodeId, channel: Channel) -> Option<&Endpoint> {
        match channel {
            Channel::Quorum | Channel::QuorumFetch | Channel::Controller | Channel::Heartbeat => {
                self.controllers.get(&peer)
            }
            Channel::ReplicaFetch
            | Channel::ReplicaEpochs
            | Channel::Produce
            | Channel::Fetch
            | Channel::Admin => self.brokers.get(&peer),
        }
    }
}

struct Dispatcher {
    shared: Arc<Shared>,
    peers: Peers,
    inbound: BTreeMap<ConnectionId, (ListenerId, UnboundedSender<(u32, Reply)>)>,
    room: Room,
    outbound: BTreeMap<(NodeId, Channel), UnboundedSender<Outgoing>>,
    next_connection: u64,
    refused: u64,
}

impl Dispatcher {
    fn new(shared: Arc<Shared>, peers: Peers, listeners: &[ListenerId]) -> Dispatcher {
        let room = Room::new(shared.limits.max_connections, listeners);
        Dispatcher {
            shared,
            peers,
            inbound: BTreeMap::new(),
            room,
            outbound: BTreeMap::new(),
            next_connection: 1,
            refused: 0,
        }
    }

    async fn run(
        mut self,
        listener: impl Listen,
        mut commands: UnboundedReceiver<Vec<NetCommand>>,
    ) {
        let (gone_sender, mut gone) = unbounded_channel();
        // If accepting fails, only accepting backs off.
        let mut resume = None;
        let mut failures = 0_u64;
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        for endpoint in self.peers.controllers.values() {
            self.shared.names.learn(&endpoint.host);
        }
        loop {
            tokio::select! {
                batch = commands.recv() => match batch {
                    Some(batch) => batch.into_iter().for_each(|command| self.command(command)),
                    None => break,
                },
                accepted = accept(&listener, resume) => match accepted {
                    Ok((stream, from, door)) => {
                        resume = None;
                        self.accept(stream, from, door, &gone_sender);
                    }
                    Err(error) => {
                        // Most likely out of descriptors: wait for other connections to end.
                        resume = Some(Instant::now() + ACCEPT_BACKOFF);
                        failures += 1;
                        if failures.is_power_of_two() {
                            tracing::warn!(%error, failures, "cannot accept a connection");
                        }
                    }
                },
                _ = housekeeping.tick() => self.shared.tell_suppressed(),
                Some(connection) = gone.recv() => {
                    if let Some((listener, _)) = self.inbound.remove(&connection) {
                        self.room.leave(listener);
                    }
                }
            }
        }
        // The core has ended. Let its last answers reach the sockets.
        drop(listener);
        let mut open = self.inbound.len();
        self.inbound.clear();
        let drain = async {
            while open > 0 && gone.recv().await.is_some() {
                open -= 1;
            }
        };
        if tokio::time::timeout(Duration::from_secs(1), drain).await.is_err() {
            tracing::info!("some connections did not read their last answer in time");
        }
    }

    fn command(&mut self, command: NetCommand) {
        match command {
            NetCommand::Respond { to, response } => self.reply(to, Reply::Response(response)),
            NetCommand::NoResponse { to } => self.reply(to, Reply::Nothing),
            NetCommand::Disconnect { to } => self.reply(to, Reply::Disconnect),
            NetCommand::LearnPeer { peer, endpoint } => {
                self.shared.names.learn(&endpoint.host);
                self.peers.brokers.insert(peer, endpoint);
            }
            NetCommand::Request { peer, channel, timeout, request } => {
                let shared = &self.shared;
                let sender = self.outbound.entry((peer, channel)).or_insert_with(|| {
                    let (sender, receiver) = unbounded_channel();
                    let task = outbound::run(Arc::clone(shared), peer, channel, receiver);
                    spawn("network (to a peer)", task);
                    sender
                });
                let endpoint = self.peers.endpoint(peer, channel).cloned();
                let deadline = Instant::now() + timeout;
                // The task ends only with the runtime.
                let _ = sender.send(Outgoing { endpoint, deadline, request });
            }
        }
    }

    fn reply(&mut self, to: ReplyTo, reply: Reply) {
        if let Some((_, connection)) = self.inbound.get(&to.connection) {
            // A closed connection needs no answer.
            let _ = connection.send((to.number, reply));
        }
    }

    fn accept(
        &mut self,
        stream: TcpStream,
        from: SocketAddr,
        door: Door,
        gone: &UnboundedSender<ConnectionId>,
    ) {
        if !self.room.enter(door.id) {
            self.refused += 1;
            // One line for each power of two, so that many refusals do not flood the log.
            if self.refused.is_power_of_two() {
                tracing::warn!(
                    %from,
                    refused = self.refused,
                    limit = self.shared.limits.max_connections,
                    "refused a connection: the maximum is open (max.connections, or what the limit \
                     of open files allows, ulimit -n)"
                );
            }
            return;
        }
        let connection = ConnectionId(self.next_connection);
        self.next_connection += 1;
        let (sender, receiver) = unbounded_channel();
        self.inbound.insert(connection, (door.id, sender));
        let shared = Arc::clone(&self.shared);
        let task = inbound::run(shared, connection, door, stream, from, receiver, gone.clone());
        spawn("network (of a connection)", task);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use wavetank_core::event::RpcError;
    use wavetank_core::msg::MetadataRequest;

    /// No descriptor is left for another connection.
    struct Exhausted;

    impl Listen for Exhausted {
        async fn accept(&self) -> io::Result<(TcpStream, SocketAddr, Door)> {
            Err(io::Error::from_raw_os_error(24))
        }
    }

    #[test]
    fn a_listener_that_cannot_accept_delays_nobody() {
        let (inbox, events) = channel();
        let limits = NetLimits::default();
        let backlog = Arc::new(Backlog::new(1 << 20));
        let shared = Shared::new(inbox, backlog, NodeId(1), None, limits);
        let shared = Arc::new(shared.expect("a thread"));
        let (commands, receiver) = unbounded_channel();
        let thread = std::thread::spawn(move || {
            let runtime = runtime().expect("a runtime");
            runtime
                .block_on(Dispatcher::new(shared, Peers::default(), &[]).run(Exhausted, receiver));
        });
        // Each is answered at once, because the peer's address is not known. Twenty pauses of the
        // acceptor would take two seconds.
        let start = std::time::Instant::now();
        for peer in 10..30 {
            let request = Request::Metadata(MetadataRequest::default());
            let timeout = Duration::from_secs(5);
            let (peer, channel) = (NodeId(peer), Channel::Controller);
            let command = NetCommand::Request { peer, channel, timeout, request };
            assert!(commands.send(vec![command]).is_ok());
            let event = events.recv().expect("an outcome");
            let Event::Rpc { outcome: Err(RpcError::Disconnected), .. } = event else {
                panic!("{event:?}");
            };
        }
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
        drop(commands);
        thread.join().expect("it ends");
    }
}
