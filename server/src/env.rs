//! The real world behind the seam: [`TokioEnv`] collects the effects that a machine submits during
//! a batch of steps, and hands them to the disk threads and the network thread when the driver
//! flushes.
//!
//! The driver (`reactor`) decides when to step and when to flush. Sockets are in `net`, files in
//! `disk`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use wavetank_core::env::{Channel, Clock, Disk, DiskOp, Network, Probe, Random, Site, Timers};
use wavetank_core::event::{ReplyTo, TimerKey};
use wavetank_core::msg::{Request, Response};
use wavetank_core::note::Note;
use wavetank_core::types::{Endpoint, Monotonic, NodeId, WallTime};

use crate::disk::DiskPool;
use crate::net::{NetCommand, NetHandle};
use crate::notes::Tracer;
use crate::timers::TimerQueue;

/// Called with each note, on the core thread.
pub type NoteHook = Box<dyn FnMut(&Note) + Send>;

/// The `Env` over threads, files and sockets.
pub struct TokioEnv {
    origin: Instant,
    now: Monotonic,
    wall: WallTime,
    pub(crate) timers: TimerQueue,
    disk: Option<DiskPool>,
    disk_out: Vec<DiskOp>,
    net: Option<NetHandle>,
    net_out: Vec<NetCommand>,
    pinned: BTreeSet<NodeId>,
    on_note: NoteHook,
    tracer: Tracer,
}

impl TokioEnv {
    /// An Env over these threads. Without a network, requests go nowhere, so the machine must make
    /// none.
    pub fn new(disk: DiskPool, net: Option<NetHandle>, on_note: NoteHook) -> TokioEnv {
        TokioEnv { disk: Some(disk), net, on_note, ..TokioEnv::bare(Instant::now()) }
    }

    /// An Env for a client, which has no disk. Clients that share an origin share a clock.
    pub fn for_client(net: NetHandle, origin: Instant) -> TokioEnv {
        TokioEnv { net: Some(net), ..TokioEnv::bare(origin) }
    }

    fn bare(origin: Instant) -> TokioEnv {
        let mut env = TokioEnv {
            origin,
            now: Monotonic(0),
            wall: WallTime(0),
            timers: TimerQueue::default(),
            disk: None,
            disk_out: Vec::new(),
            net: None,
            net_out: Vec::new(),
            pinned: BTreeSet::new(),
            on_note: Box::new(|_| {}),
            tracer: Tracer::new(),
        };
        env.tick();
        env
    }

    /// Pins the addresses of these peers to those that the network was started with, whatever they
    /// advertise.
    #[must_use]
    pub fn pin_peers(mut self, peers: impl IntoIterator<Item = NodeId>) -> TokioEnv {
        self.pinned.extend(peers);
        self
    }

    /// Reads both clocks. Their values hold for one step.
    pub(crate) fn tick(&mut self) {
        let elapsed = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.now = Monotonic(elapsed.max(self.now.0));
        self.wall = WallTime(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
        });
    }

    /// The time until `deadline`, by the current clock.
    pub(crate) fn until(&self, deadline: Monotonic) -> Duration {
        let at = Duration::from_nanos(deadline.0);
        at.saturating_sub(self.origin.elapsed())
    }

    /// `requests` more requests, `produces` of them produces, have been stepped, and the flush
    /// since then has submitted what they wrote.
    pub(crate) fn stepped(&self, requests: usize, produces: usize) {
        if let Some(disk) = self.disk.as_ref().filter(|_| requests > 0) {
            disk.backlog().stepped(requests, produces);
        }
    }

    /// Hands over what was submitted since the last flush.
    pub(crate) fn flush(&mut self) {
        if !self.disk_out.is_empty() {
            let disk = self.disk.as_mut().expect("a machine without a disk submits nothing to it");
            disk.submit(self.disk_out.drain(..));
        }
        if !self.net_out.is_empty()
            && let Some(net) = &self.net
        {
            net.send(std::mem::take(&mut self.net_out));
        }
    }
}

impl Clock for TokioEnv {
    fn now(&self) -> Monotonic {
        self.now
    }
    fn wall(&self) -> WallTime {
        self.wall
    }
}

impl Timers for TokioEnv {
    fn arm(&mut self, key: TimerKey, deadline: Monotonic) {
        self.timers.arm(key, deadline);
    }
    fn disarm(&mut self, key: TimerKey) {
        self.timers.disarm(key);
    }
}

impl Network for TokioEnv {
    fn request(&mut self, peer: NodeId, channel: Channel, timeout: Duration, request: Request) {
        self.net_out.push(NetCommand::Request { peer, channel, timeout, request });
    }
    fn respond(&mut self, to: ReplyTo, response: Response) {
        self.net_out.push(NetCommand::Respond { to, response });
    }
    fn no_response(&mut self, to: ReplyTo) {
        self.net_out.push(NetCommand::NoResponse { to });
    }
    fn disconnect(&mut self, to: ReplyTo) {
        self.net_out.push(NetCommand::Disconnect { to });
    }
    fn learn_peer(&mut self, peer: NodeId, endpoint: &Endpoint) {
        if self.pinned.contains(&peer) {
            return;
        }
        self.net_out.push(NetCommand::LearnPeer { peer, endpoint: endpoint.clone() });
    }
}

impl Disk for TokioEnv {
    fn submit(&mut self, op: DiskOp) {
        self.disk_out.push(op);
    }
}

impl Random for TokioEnv {
    fn draw(&mut self, _site: Site, bound: u64) -> u64 {
        assert!(bound > 0, "a draw needs at least one outcome");
        // Without entropy, ids are not unique and jitter is not random, so the process cannot go
        // on.
        let bits = getrandom::u64().expect("the operating system gives random numbers");
        if bound == u64::MAX {
            return bits;
        }
        // Fixed-point scaling; its bias is below bound / 2^64.
        ((u128::from(bits) * u128::from(bound)) >> 64) as u64
    }
}

impl Probe for TokioEnv {
    fn note(&mut self, note: Note) {
        self.tracer.trace(&note);
        (self.on_note)(&note);
    }
}

impl std::fmt::Debug for TokioEnv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokioEnv").field("now", &self.now).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pinned_peer_advertises_changes_nothing() {
        let mut env = TokioEnv::bare(Instant::now()).pin_peers([NodeId(2)]);
        let advertised = Endpoint { host: "elsewhere".into(), port: 1 };
        env.learn_peer(NodeId(2), &advertised);
        assert!(env.net_out.is_empty());
        env.learn_peer(NodeId(3), &advertised);
        assert!(matches!(env.net_out[..], [NetCommand::LearnPeer { peer: NodeId(3), .. }]));
    }
}
