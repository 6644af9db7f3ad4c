//! The recording Env: turns any handler into `event -> effects`, for unit tests and models.
//!
//! Nothing here performs I/O. Clocks are set by hand and draws come from a counter.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::env::{Channel, Clock, Disk, DiskOp, Network, Probe, Random, Site, Timers};
use crate::event::{ReplyTo, TimerKey};
use crate::msg::{Request, Response};
use crate::note::Note;
use crate::types::{Endpoint, Monotonic, NodeId, WallTime};

/// One thing that a machine asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// [`Timers::arm`].
    Arm(TimerKey, Monotonic),
    /// [`Timers::disarm`].
    Disarm(TimerKey),
    /// [`Network::request`].
    Request(NodeId, Channel, Duration, Request),
    /// [`Network::respond`].
    Respond(ReplyTo, Response),
    /// [`Network::no_response`].
    NoResponse(ReplyTo),
    /// [`Network::disconnect`].
    Disconnect(ReplyTo),
    /// [`Network::learn_peer`].
    LearnPeer(NodeId, Endpoint),
    /// [`Disk::submit`].
    Disk(DiskOp),
}

/// An Env that records. Notes are kept apart, because they are not effects.
#[derive(Clone, Debug, Default)]
pub struct Effects {
    /// What [`Clock::now`] returns.
    pub now: Monotonic,
    /// What [`Clock::wall`] returns.
    pub wall: WallTime,
    /// What has been asked for so far, in order.
    pub list: Vec<Effect>,
    /// The notes so far.
    pub notes: Vec<Note>,
    draws: BTreeMap<Site, u64>,
}

impl Effects {
    /// A recorder whose monotonic clock reads `now`.
    pub fn at(now: Monotonic) -> Effects {
        Effects { now, wall: WallTime((now.0 / 1_000_000) as i64), ..Effects::default() }
    }

    /// Takes the recorded effects.
    pub fn take(&mut self) -> Vec<Effect> {
        core::mem::take(&mut self.list)
    }

    /// Takes the recorded disk operations and drops all other effects.
    pub fn take_disk(&mut self) -> Vec<DiskOp> {
        let all = self.take();
        all.into_iter()
            .filter_map(|effect| if let Effect::Disk(op) = effect { Some(op) } else { None })
            .collect()
    }
}

impl Clock for Effects {
    fn now(&self) -> Monotonic {
        self.now
    }
    fn wall(&self) -> WallTime {
        self.wall
    }
}

impl Timers for Effects {
    fn arm(&mut self, key: TimerKey, deadline: Monotonic) {
        self.list.push(Effect::Arm(key, deadline));
    }
    fn disarm(&mut self, key: TimerKey) {
        self.list.push(Effect::Disarm(key));
    }
}

impl Network for Effects {
    fn request(&mut self, peer: NodeId, channel: Channel, timeout: Duration, request: Request) {
        self.list.push(Effect::Request(peer, channel, timeout, request));
    }
    fn respond(&mut self, to: ReplyTo, response: Response) {
        self.list.push(Effect::Respond(to, response));
    }
    fn no_response(&mut self, to: ReplyTo) {
        self.list.push(Effect::NoResponse(to));
    }
    fn disconnect(&mut self, to: ReplyTo) {
        self.list.push(Effect::Disconnect(to));
    }
    fn learn_peer(&mut self, peer: NodeId, endpoint: &Endpoint) {
        self.list.push(Effect::LearnPeer(peer, endpoint.clone()));
    }
}

impl Disk for Effects {
    fn submit(&mut self, op: DiskOp) {
        self.list.push(Effect::Disk(op));
    }
}

impl Random for Effects {
    /// Counts up per site, so that tests can tell draws apart.
    fn draw(&mut self, site: Site, bound: u64) -> u64 {
        assert!(bound > 0, "a draw needs at least one outcome");
        let next = self.draws.entry(site).or_default();
        let value = *next % bound;
        *next += 1;
        value
    }
}

impl Probe for Effects {
    fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}
