//! The network between all processes and clients: a relay on loopback that can hold back, delay and
//! lose traffic from one host to another.
//!
//! Each ordered pair of hosts has its own listener, so the relay knows both ends of a connection.
//! On a connection from A to B, traffic to B uses the link A to B, and the answers use the link B
//! to A. A blocked link holds everything back in order, including the end of a connection, and a
//! writer meets full buffers. A loss is what a process sees of one: a stall until the transport
//! retransmits. What does not live here: which links to block, and when.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use wavetank_core::types::NodeId;
use wavetank_sim::decide::{Dice, Purpose};
use wavetank_sim::plan::NetworkPlan;

use crate::Failure;

/// From one host to another.
pub type Link = (NodeId, NodeId);

/// The most bytes that are read at once, so that the parts of a request or an answer travel
/// together.
const CHUNK: usize = 64 << 10;
/// The most chunks in flight on one link of one connection. Beyond that, the sender's buffers fill.
const UNDER_WAY: usize = 64;
/// A transport's shortest and longest retransmission timeout, as in the tank.
const RTO: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(3));
/// Shorter delays are rounded to zero: the runtime's clock is no finer, and the machine's own
/// delays exceed them.
const TICK: Duration = Duration::from_micros(500);

/// The current state of the links.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// How many faults block each link.
    pub blocked: BTreeMap<Link, u32>,
    /// Extra delays in force, in us. The last counts.
    pub extra_us: BTreeMap<Link, Vec<u64>>,
    /// Loss rates in force, per million. The greatest counts.
    pub losses: Vec<u64>,
}

/// What faults did to the traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Chunks that a blocked link held back.
    pub held: u64,
    /// Chunks that were lost at least once.
    pub lost: u64,
    /// Chunks that a spike delayed.
    pub delayed: u64,
}

struct Shared {
    weather: Mutex<Weather>,
    /// The number of changes to `weather`.
    changed: watch::Sender<u64>,
    effects: Mutex<BTreeMap<Link, Effects>>,
    dice: Dice,
    plan: NetworkPlan,
    connections: AtomicU64,
}

impl Shared {
    fn weather(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, link: Link, change: impl FnOnce(&mut Effects)) {
        let mut effects = self.effects.lock().unwrap_or_else(PoisonError::into_inner);
        change(effects.entry(link).or_default());
    }

    fn is_blocked(&self, link: Link) -> bool {
        self.weather().blocked.contains_key(&link)
    }

    /// Waits until the link is not blocked.
    async fn open(&self, link: Link) {
        let mut changes = self.changed.subscribe();
        while self.is_blocked(link) {
            // The sender lives as long as `self`, so this cannot fail.
            let _ = changes.changed().await;
        }
    }

    /// A chunk's delay, drawn as the tank draws that of a message.
    fn delay(&self, link: Link, connection: u64, number: u64) -> Duration {
        let (spike, loss) = {
            let weather = self.weather();
            let spike = weather.extra_us.get(&link).and_then(|all| all.last()).copied();
            let loss = weather.losses.iter().copied().max().unwrap_or(0);
            (spike.unwrap_or(0), loss.max(self.plan.loss_per_million))
        };
        let place = |purpose| {
            let place = self.dice.place(purpose).with(connection).with(number);
            place.with(link.0.0 as u64).with(link.1.0 as u64)
        };
        let (key, plan) = (place(Purpose::FrameLatency), &self.plan);
        let mut us = plan.latency_min_us + self.dice.exponential(key, plan.latency_mean_us);
        if plan.tail_per_million > 0
            && self.dice.ratio(key.with(1), plan.tail_per_million, 1_000_000)
        {
            us += self.dice.exponential(key.with(2), plan.tail_mean_us);
        }
        if spike > 0 {
            us += self.dice.decide(key.with(3), spike) + spike / 2;
            self.count(link, |effects| effects.delayed += 1);
        }
        let mut delay = Duration::from_micros(us);
        let (key, mut timeout) = (place(Purpose::FrameLoss), RTO.0);
        for attempt in 0..16 {
            if loss == 0 || !self.dice.ratio(key.with(attempt), loss, 1_000_000) {
                break;
            }
            if attempt == 0 {
                self.count(link, |effects| effects.lost += 1);
            }
            delay += timeout;
            timeout = (timeout * 2).min(RTO.1);
        }
        delay
    }
}

/// See the module's documentation.
pub struct Proxy {
    shared: Arc<Shared>,
    addresses: BTreeMap<Link, SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Listens for each of `hosts` on behalf of each of `nodes`, and relays to the nodes'
    /// addresses.
    ///
    /// # Errors
    /// If the system provides no thread or no port.
    pub fn start(
        hosts: &[NodeId],
        nodes: &BTreeMap<NodeId, SocketAddr>,
        seed: u64,
        plan: &NetworkPlan,
    ) -> Result<Proxy, Failure> {
        let attempted = || Failure::to("start the proxy between the nodes");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(attempted())?;
        let mut listeners = Vec::new();
        let mut addresses = BTreeMap::new();
        for &from in hosts {
            for (&to, &target) in nodes.iter().filter(|(to, _)| **to != from) {
                let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(attempted())?;
                listener.set_nonblocking(true).map_err(attempted())?;
                addresses.insert((from, to), listener.local_addr().map_err(attempted())?);
                listeners.push(((from, to), target, listener));
            }
        }
        let shared = Arc::new(Shared {
            weather: Mutex::default(),
            changed: watch::Sender::new(0),
            effects: Mutex::default(),
            dice: Dice::new(seed),
            plan: plan.clone(),
            connections: AtomicU64::new(0),
        });
        let (stop, stopped) = oneshot::channel();
        let relay = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("proxy".into())
            .spawn(move || {
                runtime.block_on(async move {
                    for (link, target, listener) in listeners {
                        tokio::spawn(listen(Arc::clone(&relay), link, target, listener));
                    }
                    // Ends when the sender is dropped or sends, and ends all connections with it.
                    let _ = stopped.await;
                });
            })
            .map_err(attempted())?;
        Ok(Proxy { shared, addresses, stop: Some(stop), thread: Some(thread) })
    }

    /// Where `from` reaches the others.
    pub fn addresses_of(&self, from: NodeId) -> BTreeMap<NodeId, SocketAddr> {
        let mine = self.addresses.iter().filter(|((known, _), _)| *known == from);
        mine.map(|((_, to), address)| (*to, *address)).collect()
    }

    /// Changes the state of the links.
    pub fn change(&self, change: impl FnOnce(&mut Weather)) {
        change(&mut self.shared.weather());
        self.shared.changed.send_modify(|changes| *changes += 1);
    }

    /// The effects so far, on all links.
    pub fn effects(&self) -> Effects {
        let effects = self.shared.effects.lock().unwrap_or_else(PoisonError::into_inner);
        effects.values().fold(Effects::default(), |sum, more| Effects {
            held: sum.held + more.held,
            lost: sum.lost + more.lost,
            delayed: sum.delayed + more.delayed,
        })
    }

    /// The effects so far on this link.
    pub fn effects_on(&self, link: Link) -> Effects {
        let effects = self.shared.effects.lock().unwrap_or_else(PoisonError::into_inner);
        effects.get(&link).copied().unwrap_or_default()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was printed already.
            let _ = thread.join();
        }
    }
}

async fn listen(
    shared: Arc<Shared>,
    link: Link,
    target: SocketAddr,
    listener: std::net::TcpListener,
) {
    let listener = TcpListener::from_std(listener).expect("a bound, non-blocking listener");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(relay(Arc::clone(&shared), link, target, stream));
            }
            // Most likely out of descriptors: give other connections time to end.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

/// Relays one connection, from its first packet to its last.
async fn relay(shared: Arc<Shared>, link: Link, target: SocketAddr, near: TcpStream) {
    let back = (link.1, link.0);
    let connection = shared.connections.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(rounded(shared.delay(link, connection, u64::MAX))).await;
    shared.open(link).await;
    let Ok(far) = TcpStream::connect(target).await else {
        // The refusal has to travel back, too.
        shared.open(back).await;
        return;
    };
    // Pass chunks on without delay.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let there = pump(Arc::clone(&shared), link, connection, near_in, far_out);
    let back = pump(shared, back, connection, far_in, near_out);
    tokio::join!(there, back);
}

fn rounded(delay: Duration) -> Duration {
    if delay < TICK { Duration::ZERO } else { delay }
}

/// Relays one direction of a connection. The end of the stream is passed on in order.
async fn pump(
    shared: Arc<Shared>,
    link: Link,
    connection: u64,
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
) {
    let (sender, mut under_way) = mpsc::channel::<(Instant, Bytes)>(UNDER_WAY);
    let read = async {
        let mut due = Instant::now();
        let mut number = 0;
        loop {
            let mut buffer = Vec::with_capacity(CHUNK);
            // A reset is an end like any other: everything sent before it has been read.
            let end = !matches!(from.read_buf(&mut buffer).await, Ok(1..));
            due = due.max(Instant::now() + rounded(shared.delay(link, connection, number)));
            number += 1;
            // An empty chunk marks the end.
            if sender.send((due, Bytes::from(buffer))).await.is_err() || end {
                return;
            }
        }
    };
    let write = async {
        let mut broken = false;
        while let Some((due, chunk)) = under_way.recv().await {
            if due > Instant::now() {
                tokio::time::sleep_until(due).await;
            }
            if shared.is_blocked(link) {
                shared.count(link, |effects| effects.held += 1);
                shared.open(link).await;
            }
            if chunk.is_empty() {
                break;
            }
            // If the receiver is gone, further chunks are read and dropped. The link back reports
            // the end of the connection.
            broken = broken || to.write_all(&chunk).await.is_err();
        }
        // The other side may be gone already.
        let _ = to.shutdown().await;
    };
    tokio::join!(read, write);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use wavetank_sim::profile::Profile;

    const A: NodeId = NodeId(101);
    const B: NodeId = NodeId(1);

    /// A proxy from A to a listener that is B.
    fn pair() -> (Proxy, TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let nodes = BTreeMap::from([(B, listener.local_addr().expect("bound"))]);
        let plan = NetworkPlan {
            latency_min_us: 0,
            latency_mean_us: 1,
            tail_per_million: 0,
            loss_per_million: 0,
            ..Profile::Calm.draw(1).network
        };
        let proxy = Proxy::start(&[A, B], &nodes, 1, &plan).expect("it starts");
        let address = proxy.addresses_of(A)[&B];
        assert!(proxy.addresses_of(B).is_empty(), "nobody needs a proxy to itself");
        (proxy, listener, address)
    }

    fn connect(listener: &TcpListener, address: SocketAddr) -> (TcpStream, TcpStream) {
        let near = TcpStream::connect(address).expect("it listens");
        let (far, _) = listener.accept().expect("the proxy connects");
        for stream in [&near, &far] {
            stream.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        }
        (near, far)
    }

    fn read(stream: &mut TcpStream) -> Option<Vec<u8>> {
        let mut buffer = [0; 100];
        stream.read(&mut buffer).ok().map(|count| buffer[..count].to_vec())
    }

    #[test]
    fn what_is_sent_and_the_end_arrive() {
        let (_proxy, listener, address) = pair();
        let (mut near, mut far) = connect(&listener, address);
        near.write_all(b"there").expect("sent");
        assert_eq!(read(&mut far).as_deref(), Some(&b"there"[..]));
        far.write_all(b"and back").expect("sent");
        drop(far);
        assert_eq!(read(&mut near).as_deref(), Some(&b"and back"[..]));
        assert_eq!(read(&mut near).as_deref(), Some(&b""[..]));
    }

    #[test]
    fn a_one_way_block_holds_one_way_until_it_ends() {
        let (proxy, listener, address) = pair();
        let (mut near, mut far) = connect(&listener, address);
        proxy.change(|weather| {
            weather.blocked.insert((A, B), 1);
        });
        near.write_all(b"held").expect("the buffers have room");
        far.write_all(b"passes").expect("sent");
        assert_eq!(read(&mut near).as_deref(), Some(&b"passes"[..]));
        assert_eq!(read(&mut far), None);
        // The end of a connection does not overtake what was sent.
        drop(near);
        assert_eq!(read(&mut far), None);
        proxy.change(|weather| weather.blocked.clear());
        assert_eq!(read(&mut far).as_deref(), Some(&b"held"[..]));
        assert_eq!(read(&mut far).as_deref(), Some(&b""[..]));
        assert!(proxy.effects().held > 0);
    }

    #[test]
    fn a_new_connection_waits_for_its_link() {
        let (proxy, listener, address) = pair();
        proxy.change(|weather| {
            weather.blocked.insert((A, B), 1);
        });
        let _near = TcpStream::connect(address).expect("the proxy takes it");
        listener.set_nonblocking(true).expect("possible");
        std::thread::sleep(Duration::from_millis(200));
        assert!(listener.accept().is_err(), "nothing has come through");
        proxy.change(|weather| weather.blocked.clear());
        std::thread::sleep(Duration::from_millis(200));
        assert!(listener.accept().is_ok());
    }

    #[test]
    fn spikes_and_losses_delay() {
        let (proxy, listener, address) = pair();
        let (mut near, mut far) = connect(&listener, address);
        let timed = |near: &mut TcpStream, far: &mut TcpStream| {
            let start = std::time::Instant::now();
            near.write_all(b"x").expect("sent");
            far.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
            assert_eq!(read(far).as_deref(), Some(&b"x"[..]));
            start.elapsed()
        };
        proxy.change(|weather| {
            weather.extra_us.insert((A, B), vec![200_000]);
        });
        assert!(timed(&mut near, &mut far) >= Duration::from_millis(100));
        assert_eq!((proxy.effects().delayed, proxy.effects().lost), (1, 0));
        proxy.change(|weather| {
            weather.extra_us.clear();
            weather.losses.push(999_999);
        });
        near.write_all(b"x").expect("sent");
        std::thread::sleep(Duration::from_millis(50));
        assert_eq!(proxy.effects().lost, 1);
        assert_eq!(read_soon(&mut far), None, "the transport waits before it sends again");
    }

    fn read_soon(stream: &mut TcpStream) -> Option<Vec<u8>> {
        stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a timeout");
        read(stream)
    }

    #[test]
    fn a_target_that_does_not_listen_closes_the_connection() {
        let (_proxy, listener, address) = pair();
        drop(listener);
        let mut near = TcpStream::connect(address).expect("the proxy takes it");
        near.set_read_timeout(Some(Duration::from_secs(5))).expect("a timeout");
        // The client sees an end or a reset, not silence.
        let mut buffer = [0; 1];
        assert!(!matches!(near.read(&mut buffer), Ok(1..)));
    }
}
