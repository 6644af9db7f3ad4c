//! A machine's view of the world during one step.

use std::time::Duration;

use wavetank_core::env::{Channel, Clock, Disk, DiskOp, Network, Probe, Random, Site, Timers};
use wavetank_core::event::{ReplyTo, TimerKey};
use wavetank_core::msg::{Request, Response};
use wavetank_core::note::Note;
use wavetank_core::types::{Endpoint, Monotonic, NodeId, WallTime};

use super::Inner;
use crate::decide::Purpose;
use crate::digest::digest_of;

/// The tank's [`Env`](wavetank_core::env::Env), for the length of one step.
#[derive(Debug)]
pub struct StepEnv<'a> {
    inner: &'a mut Inner,
    host: u32,
    /// When the step ends, which is when effects leave.
    at: u64,
}

impl<'a> StepEnv<'a> {
    pub(super) fn new(inner: &'a mut Inner, host: u32, at: u64) -> StepEnv<'a> {
        StepEnv { inner, host, at }
    }

    fn effect(&mut self, tag: u64, what: std::fmt::Arguments<'_>) {
        self.inner.hosts[self.host as usize].effects += 1;
        self.inner.digest.word(tag);
        if self.inner.trace.is_some() {
            self.inner.trace_line(self.host, format_args!("> {what}"));
        }
    }
}

impl Clock for StepEnv<'_> {
    fn now(&self) -> Monotonic {
        self.inner.clock(self.host)
    }

    fn wall(&self) -> WallTime {
        let elapsed = (self.inner.now / 1_000_000) as i64;
        let offset = self.inner.wall_error(self.host);
        WallTime((self.inner.config.epoch_ms + elapsed).saturating_add(offset))
    }
}

impl Timers for StepEnv<'_> {
    fn arm(&mut self, key: TimerKey, deadline: Monotonic) {
        self.effect(deadline.0 ^ 1, format_args!("arm {key:?} {deadline}"));
        self.inner.arm(self.host, key, deadline);
    }

    fn disarm(&mut self, key: TimerKey) {
        self.effect(2, format_args!("disarm {key:?}"));
        self.inner.disarm(self.host, key);
    }
}

impl Network for StepEnv<'_> {
    fn request(&mut self, peer: NodeId, channel: Channel, timeout: Duration, request: Request) {
        let tag = (peer.0 as u64) << 8 | channel as u64;
        self.effect(tag, format_args!("request {peer} {channel:?} {request:?}"));
        self.inner.request(self.host, peer, channel, timeout, request, self.at);
    }

    fn respond(&mut self, to: ReplyTo, response: Response) {
        self.effect(to.connection.0 ^ 3, format_args!("respond {to:?} {response:?}"));
        self.inner.respond(self.host, to, response, self.at);
    }

    fn no_response(&mut self, to: ReplyTo) {
        self.effect(to.connection.0 ^ 4, format_args!("no response {to:?}"));
        self.inner.no_response(self.host, to, self.at);
    }

    fn disconnect(&mut self, to: ReplyTo) {
        self.effect(to.connection.0 ^ 5, format_args!("disconnect {to:?}"));
        self.inner.disconnect(self.host, to, self.at);
    }

    fn learn_peer(&mut self, _peer: NodeId, _endpoint: &Endpoint) {}
}

impl Disk for StepEnv<'_> {
    fn submit(&mut self, op: DiskOp) {
        self.effect(digest_of(&op), format_args!("{op:?}"));
        if self.inner.watches_disks {
            let node = self.inner.hosts[self.host as usize].node;
            self.inner.submissions.push((node, op.clone()));
        }
        let mut out = std::mem::take(&mut self.inner.scratch);
        let disk = &mut self.inner.hosts[self.host as usize].disk;
        disk.submit(self.at, op, &self.inner.dice, &mut out);
        self.inner.disk_outcome(self.host, out);
    }
}

impl Random for StepEnv<'_> {
    fn draw(&mut self, site: Site, bound: u64) -> u64 {
        let host = &mut self.inner.hosts[self.host as usize];
        let count = host.draws.entry(site).or_default();
        *count += 1;
        let place = self.inner.dice.place(Purpose::Machine).with(host.node.0 as u64);
        self.inner.dice.decide(place.with_value(&site).with(*count), bound)
    }
}

impl Probe for StepEnv<'_> {
    fn note(&mut self, note: Note) {
        if self.inner.trace.is_some() {
            self.inner.trace_line(self.host, format_args!("! {note:?}"));
        }
        if self.inner.keep_notes {
            let node = self.inner.hosts[self.host as usize].node;
            self.inner.notes.push((self.inner.now, node, note));
        }
    }
}
