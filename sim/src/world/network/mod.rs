//! Connections with TCP's semantics, at the granularity of requests and responses.
//!
//! A connection is identified by (client, server, channel). Each direction is a pipe: frames leave
//! and arrive in order, each after a drawn time on its link. Loss costs time (a retransmission),
//! and a blocked link is a pipe that stalls. Frames are lost for good only with their connection.
//! Each end lives and dies separately: a frame to a dead end triggers a reset if the host is up,
//! and nothing if it is not, so half-open connections arise naturally.

mod alter;
mod cuts;
mod damage;
mod lie;
mod serving;
mod stopped;

pub use alter::{Exchange, Inspect};
pub(super) use cuts::Departure;
pub use stopped::Wake;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use wavetank_core::env::Channel;
use wavetank_core::event::{ConnectionId, Event, RpcError};
use wavetank_core::msg::{ApiKey, ProduceResponse, Request, Response};
use wavetank_core::types::{Monotonic, NodeId};

use super::queue::Payload;
use super::{Delivery, Inner, NO_CONN};
use crate::decide::{Dice, Place, Purpose};
use crate::digest::digest_of;
use serving::Line;

/// Timing of one direction between two hosts, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkConfig {
    /// Shortest time of a frame.
    pub min: u64,
    /// Mean of the exponentially distributed rest.
    pub mean: u64,
    /// How many frames in a million take much longer …
    pub tail_per_million: u64,
    /// … by this mean, exponentially distributed.
    pub tail_mean: u64,
    /// How many frames in a million are lost and retransmitted after a timeout.
    pub loss_per_million: u64,
}

impl Default for LinkConfig {
    /// Roughly a data centre with a slow network.
    fn default() -> LinkConfig {
        LinkConfig {
            min: 100_000,
            mean: 400_000,
            tail_per_million: 2_000,
            tail_mean: 20_000_000,
            loss_per_million: 0,
        }
    }
}

/// How messages cross the network encoded. Each function encodes a message, decodes the result, and
/// says what went wrong if that fails.
#[derive(Clone, Copy, Debug)]
pub struct Transcode {
    /// A request in this version.
    pub request: fn(Request, i16) -> Result<Request, String>,
    /// A response to a request of this API and version.
    pub response: fn(Response, ApiKey, i16) -> Result<Response, String>,
}

/// How a blocked link heals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Heal {
    /// Stalled frames arrive with each sender's next retransmission.
    Retransmit,
    /// Stalled frames arrive all at once, in a burst.
    Burst,
}

#[derive(Clone, Debug)]
pub(super) struct Link {
    pub(super) config: LinkConfig,
    pub(super) spike: u64,
    pub(super) blocked: bool,
    pub(super) blocked_since: u64,
    /// How many of a million answers with records have a bit flipped.
    pub(super) damage_per_million: u64,
    /// How many of a million answers that can be made a lie are. For requests, [`lie::weight`]
    /// times as many.
    pub(super) lies_per_million: u64,
    pub(super) counts: LinkCounts,
}

/// What one direction between two hosts has done to frames since the world began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkCounts {
    /// Frames that it held back because it was blocked.
    pub held: u64,
    /// Times that a frame was lost.
    pub lost: u64,
    /// Frames that a latency spike delayed.
    pub delayed: u64,
    /// Answers in which a bit was flipped.
    pub damaged: u64,
    /// Requests and answers that said what no correct peer says.
    pub lies: u64,
}

impl Link {
    pub(super) fn new(config: LinkConfig) -> Link {
        let counts = LinkCounts::default();
        Link {
            config,
            spike: 0,
            blocked: false,
            blocked_since: 0,
            damage_per_million: 0,
            lies_per_million: 0,
            counts,
        }
    }

    /// How long the next frame takes.
    fn delay(&mut self, key: Place, rto: (u64, u64), dice: &Dice) -> u64 {
        let config = &self.config;
        let mut delay = config.min + dice.exponential(key, config.mean);
        if config.tail_per_million > 0
            && dice.ratio(key.with(1), config.tail_per_million, 1_000_000)
        {
            delay += dice.exponential(key.with(2), config.tail_mean);
        }
        if self.spike > 0 {
            delay += dice.decide(key.with(3), self.spike) + self.spike / 2;
            self.counts.delayed += 1;
        }
        let mut timeout = rto.0;
        let lost = key.with(Purpose::FrameLoss as u64);
        for attempt in 0..16 {
            if !dice.ratio(lost.with(attempt), config.loss_per_million, 1_000_000) {
                break;
            }
            self.counts.lost += 1;
            delay += timeout;
            timeout = (timeout * 2).min(rto.1);
        }
        delay
    }
}

#[derive(Clone, Debug)]
pub(super) enum Frame {
    Syn,
    SynAck,
    Request { correlation: i32, version: i16, digest: u64, request: Box<Request> },
    Response { correlation: i32, digest: u64, response: Box<Response> },
    Fin,
    Rst,
}

/// A frame in flight: when it arrives, and its position among events due then.
#[derive(Clone, Debug)]
struct UnderWay {
    arrives: u64,
    order: u64,
    number: u64,
    frame: Frame,
}

#[derive(Clone, Debug)]
struct Pipe {
    key: Place,
    sent: u64,
    arrived: u64,
    last_arrival: u64,
    /// In flight, in order. The heap has only the first.
    under_way: VecDeque<UnderWay>,
    stalled: VecDeque<(u64, Frame)>,
    /// In the receiving socket's buffer, because the process is paused.
    held: VecDeque<Frame>,
    held_bytes: u64,
    releasing: bool,
    /// Frames with these numbers never arrive.
    cut: (u64, u64),
    /// How often something arrived where no machine was up. Its sender keeps retrying.
    unheard: u32,
}

impl Pipe {
    fn new(key: Place) -> Pipe {
        Pipe {
            key,
            sent: 0,
            arrived: 0,
            last_arrival: 0,
            under_way: VecDeque::new(),
            stalled: VecDeque::new(),
            held: VecDeque::new(),
            held_bytes: 0,
            releasing: false,
            cut: (u64::MAX, 0),
            unheard: 0,
        }
    }

    fn cut_from(&mut self, number: u64) {
        self.cut = (self.cut.0.min(number), self.sent);
    }

    fn is_cut(&self, number: u64) -> bool {
        self.cut.0 <= number && number < self.cut.1
    }
}

#[derive(Clone, Debug)]
struct Pending {
    correlation: i32,
    deadline: u64,
    /// It has no response and is done as soon as it is sent (acks=0).
    immediate: bool,
    sent: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Conn {
    client: u32,
    server: u32,
    channel: Channel,
    serial: u64,
    /// Heap entries that name this connection.
    events: u32,
    /// Nothing passes any more, and neither end gets notice.
    severed: bool,
    client_alive: bool,
    opened: bool,
    pending: VecDeque<Pending>,
    unsent: VecDeque<(i32, i16, u64, Box<Request>)>,
    next_correlation: i32,
    /// Correlation ids of requests that were made lies and have no answer yet.
    lies: BTreeSet<i32>,
    timeout_at: u64,
    /// A client timeout came due while its process was paused.
    overdue: bool,
    /// Its connect timeout has passed.
    connect_overdue: bool,
    server_alive: bool,
    id: ConnectionId,
    /// What has arrived at the server and may not be delivered yet.
    queue: VecDeque<(i32, i16, u64, Box<Request>)>,
    /// What the server's machine has.
    line: Line,
    fin_waits: bool,
    pipes: [Pipe; 2],
}

const UP: usize = 0;
const DOWN: usize = 1;

impl Conn {
    fn ends(&self, up: bool) -> (u32, u32) {
        if up { (self.client, self.server) } else { (self.server, self.client) }
    }

    fn pipe(&mut self, up: bool) -> &mut Pipe {
        &mut self.pipes[if up { UP } else { DOWN }]
    }
}

/// A slot per (host, peer, channel).
#[derive(Clone, Copy, Debug)]
pub(super) struct ChannelSlot {
    pub(super) conn: u32,
    pub(super) opened: u32,
}

/// How long until an unanswered SYN is first retransmitted, ns.
const SYN_RETRY: u64 = 1_000_000_000;

/// Room for the channels of [`Channel`], more than there are.
pub(super) const CHANNELS: usize = 16;

// Submissions by machines.
impl Inner {
    pub(super) fn request(
        &mut self,
        from: u32,
        peer: NodeId,
        channel: Channel,
        timeout: Duration,
        request: Request,
        at: u64,
    ) {
        let Some(server) = self.find(peer) else {
            // Unknown peer: as if its address did not resolve.
            let outcome = Err(RpcError::Disconnected);
            self.deliver(from, Event::Rpc { peer, channel, outcome });
            return;
        };
        let c = self.connection(from, server, channel, at);
        let timeout = Monotonic(u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX));
        let timeout = self.when_shown(from, timeout);
        let deadline = at.saturating_add(timeout);
        let version = (self.versions)(request.api());
        let immediate = matches!(&request, Request::Produce(produce) if produce.acks == 0);
        let mut request = request;
        self.misask(c, &mut request);
        let digest = digest_of(&request);
        self.digest.word(digest);
        let request = Box::new(request);
        let conn = self.conns[c as usize].as_mut().expect("just looked up");
        let correlation = conn.next_correlation;
        conn.next_correlation += 1;
        let sent = conn.opened;
        conn.pending.push_back(Pending { correlation, deadline, immediate, sent });
        let sooner = deadline < conn.timeout_at;
        if sooner {
            conn.timeout_at = deadline;
            conn.events += 1;
        }
        if sent {
            let frame = Frame::Request { correlation, version, digest, request };
            self.send(c, true, frame, at, Some(from));
            if immediate {
                self.settle(c);
            }
        } else {
            conn.unsent.push_back((correlation, version, digest, request));
        }
        if sooner {
            self.queue.push(deadline, Payload::RequestTimeout { conn: c, at: deadline });
        }
    }
}

// The life of connections.
impl Inner {
    fn connection(&mut self, client: u32, server: u32, channel: Channel, at: u64) -> u32 {
        let index = server as usize * CHANNELS + channel as usize;
        let slot = self.hosts[client as usize].channels[index];
        if slot.conn != NO_CONN {
            return slot.conn;
        }
        self.conn_serial += 1;
        let key = self.dice.place(Purpose::FrameLatency);
        let (a, b) = (self.hosts[client as usize].node, self.hosts[server as usize].node);
        let key = key.with(a.0 as u64).with(b.0 as u64);
        let key = key.with(channel as u64).with(u64::from(slot.opened));
        let conn = Conn {
            client,
            server,
            channel,
            serial: self.conn_serial,
            events: 1,
            severed: false,
            client_alive: true,
            opened: false,
            pending: VecDeque::new(),
            unsent: VecDeque::new(),
            next_correlation: 0,
            lies: BTreeSet::new(),
            timeout_at: u64::MAX,
            overdue: false,
            connect_overdue: false,
            server_alive: false,
            id: ConnectionId(0),
            queue: VecDeque::new(),
            line: Line::default(),
            fin_waits: false,
            pipes: [Pipe::new(key.with(0)), Pipe::new(key.with(1))],
        };
        let c = match self.free_conns.pop() {
            Some(c) => {
                self.conns[c as usize] = Some(conn);
                c
            }
            None => {
                self.conns.push(Some(conn));
                (self.conns.len() - 1) as u32
            }
        };
        let slot = ChannelSlot { conn: c, opened: slot.opened + 1 };
        self.hosts[client as usize].channels[index] = slot;
        self.queue.push(at + self.config.connect_timeout, Payload::ConnectTimeout { conn: c });
        self.send(c, true, Frame::Syn, at, Some(client));
        c
    }

    fn send(&mut self, c: u32, up: bool, frame: Frame, at: u64, dying: Option<u32>) {
        let conn = self.conns[c as usize].as_mut().expect("sent on a connection that exists");
        if conn.severed {
            return;
        }
        let (from, to) = conn.ends(up);
        let serial = conn.serial;
        let pipe = conn.pipe(up);
        let number = pipe.sent;
        pipe.sent += 1;
        if let Some(host) = dying {
            self.hosts[host as usize].dying.push((c, serial, up, number));
        }
        let link = &mut self.links[from as usize][to as usize];
        if link.blocked || !pipe.stalled.is_empty() {
            link.counts.held += u64::from(link.blocked);
            pipe.stalled.push_back((number, frame));
            return;
        }
        let rto = (self.config.rto_min, self.config.rto_max);
        let delay = link.delay(pipe.key.with(number), rto, &self.dice);
        let arrives = (at + delay).max(pipe.last_arrival);
        pipe.last_arrival = arrives;
        let order = self.queue.reserve();
        if pipe.under_way.is_empty() {
            self.queue.push_reserved(arrives, order, Payload::Frame { conn: c, up });
        }
        pipe.under_way.push_back(UnderWay { arrives, order, number, frame });
        conn.events += 1;
    }

    pub(super) fn frame_due(&mut self, c: u32, up: bool) {
        let conn = self.conns[c as usize].as_mut().expect("its frames keep it");
        conn.events -= 1;
        let (from, to) = conn.ends(up);
        let severed = conn.severed;
        let pipe = conn.pipe(up);
        let UnderWay { number, frame, .. } =
            pipe.under_way.pop_front().expect("the heap knows of a frame");
        if let Some(next) = pipe.under_way.front() {
            self.queue.push_reserved(next.arrives, next.order, Payload::Frame { conn: c, up });
        }
        let link = &mut self.links[from as usize][to as usize];
        if severed || pipe.is_cut(number) {
            self.release_conn(c);
        } else if link.blocked || !pipe.stalled.is_empty() {
            link.counts.held += u64::from(link.blocked);
            // It was sent before the link was blocked, so it goes before frames sent later.
            let place = pipe.stalled.partition_point(|(later, _)| *later < number);
            pipe.stalled.insert(place, (number, frame));
        } else {
            self.receive(c, up, number, frame);
            self.release_conn(c);
        }
    }

    pub(super) fn release_due(&mut self, c: u32, up: bool) {
        let conn = self.conns[c as usize].as_mut().expect("its release keeps it");
        conn.events -= 1;
        let (from, to) = conn.ends(up);
        let severed = conn.severed;
        let pipe = conn.pipe(up);
        pipe.releasing = false;
        if !self.links[from as usize][to as usize].blocked {
            let stalled = std::mem::take(&mut pipe.stalled);
            for (number, frame) in stalled {
                let conn = self.conns[c as usize].as_mut().expect("freed only below");
                if !severed && !conn.pipe(up).is_cut(number) {
                    self.receive(c, up, number, frame);
                }
            }
        }
        self.release_conn(c);
    }

    /// A link opens again. Frames that stalled on it are on their way.
    pub(super) fn link_opened(&mut self, from: u32, to: u32, heal: Heal) {
        let blocked_for = self.now - self.links[from as usize][to as usize].blocked_since;
        for c in 0..self.conns.len() as u32 {
            let Some(conn) = self.conns[c as usize].as_mut() else { continue };
            for up in [true, false] {
                if conn.ends(up) != (from, to) {
                    continue;
                }
                let pipe = conn.pipe(up);
                if pipe.stalled.is_empty() || pipe.releasing {
                    continue;
                }
                pipe.releasing = true;
                // A sender's backoff is at most as long as it has already been trying.
                let longest = blocked_for.clamp(self.config.rto_min, self.config.rto_max.max(1));
                let key = pipe.key.with(Purpose::Retransmission as u64).with(pipe.sent);
                let wait = match heal {
                    Heal::Burst => 0,
                    Heal::Retransmit => self.dice.decide(key, longest.max(1)),
                };
                let at = (self.now + wait).max(pipe.last_arrival);
                pipe.last_arrival = at;
                conn.events += 1;
                self.queue.push(at, Payload::Release { conn: c, up });
            }
        }
    }

    /// Frees a connection that nothing refers to any more.
    fn release_conn(&mut self, c: u32) {
        let Some(conn) = self.conns[c as usize].as_ref() else { return };
        let quiet = conn.pipes.iter().all(|pipe| pipe.stalled.is_empty() || conn.severed);
        if conn.events == 0 && !conn.client_alive && !conn.server_alive && quiet {
            self.conns[c as usize] = None;
            self.free_conns.push(c);
        }
    }

    fn arrive(&mut self, c: u32, up: bool, frame: Frame) {
        if up { self.arrive_at_server(c, frame) } else { self.arrive_at_client(c, frame) }
    }

    fn arrive_at_server(&mut self, c: u32, frame: Frame) {
        let conn = self.conns[c as usize].as_mut().expect("frames arrive on what exists");
        let host = &mut self.hosts[conn.server as usize];
        if !host.os_up {
            conn.pipes[UP].unheard += 1;
            if matches!(frame, Frame::Syn) && conn.client_alive {
                // Retransmit after 1, 2, 4, … seconds, until the connection is given up.
                let wait = SYN_RETRY << conn.pipes[UP].unheard.min(6) >> 1;
                self.send(c, true, Frame::Syn, self.now + wait, None);
            }
            return;
        }
        match frame {
            Frame::Syn if conn.server_alive || conn.opened => {}
            Frame::Syn => {
                if host.process_up {
                    conn.server_alive = true;
                    host.accepted.push(c);
                    conn.id = ConnectionId(host.accepted.len() as u64);
                    self.send(c, false, Frame::SynAck, self.now, None);
                } else {
                    self.send(c, false, Frame::Rst, self.now, None);
                }
            }
            Frame::Request { correlation, version, digest, request } => {
                if !conn.server_alive {
                    if conn.client_alive {
                        self.send(c, false, Frame::Rst, self.now, None);
                    }
                    return;
                }
                conn.queue.push_back((correlation, version, digest, request));
                self.serve_next(c);
            }
            Frame::Fin => {
                if conn.server_alive {
                    conn.fin_waits = true;
                    self.serve_next(c);
                }
            }
            Frame::Rst => {
                if conn.server_alive {
                    self.server_gone(c);
                }
            }
            Frame::SynAck | Frame::Response { .. } => unreachable!("{frame:?} travels to clients"),
        }
    }

    fn arrive_at_client(&mut self, c: u32, frame: Frame) {
        let conn = self.conns[c as usize].as_mut().expect("frames arrive on what exists");
        if !self.hosts[conn.client as usize].os_up {
            conn.pipes[DOWN].unheard += 1;
            return;
        }
        if !conn.client_alive {
            let carries = matches!(frame, Frame::SynAck | Frame::Response { .. });
            if carries && conn.server_alive {
                self.send(c, true, Frame::Rst, self.now, None);
            }
            return;
        }
        match frame {
            Frame::SynAck => {
                conn.opened = true;
                let unsent = std::mem::take(&mut conn.unsent);
                for pending in &mut conn.pending {
                    pending.sent = true;
                }
                for (correlation, version, digest, request) in unsent {
                    let frame = Frame::Request { correlation, version, digest, request };
                    self.send(c, true, frame, self.now, None);
                }
                self.settle(c);
            }
            Frame::Response { correlation, digest, response } => {
                let head = conn.pending.pop_front().expect("answers are to what was asked");
                assert_eq!(head.correlation, correlation, "answers come in the order of asking");
                let (client, channel) = (conn.client, conn.channel);
                let peer = self.hosts[conn.server as usize].node;
                self.deliver_as(client, Delivery::Response { peer, channel, response }, digest);
                self.settle(c);
            }
            Frame::Fin | Frame::Rst => self.break_client(c, RpcError::Disconnected, None),
            Frame::Syn | Frame::Request { .. } => unreachable!("{frame:?} travels to servers"),
        }
    }

    /// Completes requests at the head of the queue that are done as soon as they are sent.
    fn settle(&mut self, c: u32) {
        loop {
            let conn = self.conns[c as usize].as_mut().expect("settled while alive");
            if !conn.pending.front().is_some_and(|head| head.immediate && head.sent) {
                return;
            }
            conn.pending.pop_front();
            let (client, channel) = (conn.client, conn.channel);
            let peer = self.hosts[conn.server as usize].node;
            let outcome = Ok(Response::Produce(ProduceResponse::default()));
            self.deliver(client, Event::Rpc { peer, channel, outcome });
        }
    }

    /// Breaks the client's end: everything in flight has the outcome `why`. `close` is the frame
    /// that informs the server, if any.
    fn break_client(&mut self, c: u32, why: RpcError, close: Option<Frame>) {
        let conn = self.conns[c as usize].as_mut().expect("broken while alive");
        conn.client_alive = false;
        conn.unsent.clear();
        conn.pipes[DOWN].held.clear();
        conn.pipes[DOWN].held_bytes = 0;
        let (client, server, channel) = (conn.client, conn.server, conn.channel);
        let pending = std::mem::take(&mut conn.pending);
        let index = server as usize * CHANNELS + channel as usize;
        self.hosts[client as usize].channels[index].conn = NO_CONN;
        let peer = self.hosts[server as usize].node;
        for _ in pending {
            self.deliver(client, Event::Rpc { peer, channel, outcome: Err(why) });
        }
        if let Some(frame) = close {
            self.send(c, true, frame, self.now, None);
        }
    }

    /// The frame that closes a connection: either in order (FIN), or a reset that overtakes a drawn
    /// suffix of what is in flight.
    fn closing_frame(&mut self, c: u32, up: bool) -> Frame {
        let conn = self.conns[c as usize].as_mut().expect("closed while it exists");
        let pipe = conn.pipe(up);
        let key = pipe.key.with(Purpose::Close as u64);
        if self.dice.ratio(key, 1, 2) {
            return Frame::Fin;
        }
        let under_way = pipe.sent - pipe.arrived;
        let kept = self.dice.decide(key.with(1), under_way + 1);
        pipe.cut_from(pipe.arrived + kept);
        Frame::Rst
    }

    pub(super) fn request_timeout_due(&mut self, c: u32, at: u64) {
        let conn = self.conns[c as usize].as_mut().expect("its timeout keeps it");
        conn.events -= 1;
        if conn.timeout_at == at {
            conn.timeout_at = u64::MAX;
            match self.hosts[conn.client as usize].paused {
                true => conn.overdue = true,
                false => self.request_overdue(c),
            }
        }
        self.release_conn(c);
    }

    pub(super) fn connect_timeout_due(&mut self, c: u32) {
        let conn = self.conns[c as usize].as_mut().expect("its timeout keeps it");
        conn.events -= 1;
        conn.connect_overdue = true;
        match self.hosts[conn.client as usize].paused {
            true => conn.overdue = true,
            false => self.connect_overdue(c),
        }
        self.release_conn(c);
    }

    pub(super) fn keepalive_due(&mut self, c: u32) {
        let conn = self.conns[c as usize].as_mut().expect("its timeout keeps it");
        conn.events -= 1;
        if conn.client_alive {
            self.break_client(c, RpcError::Disconnected, None);
        }
        if self.conns[c as usize].as_ref().is_some_and(|conn| conn.server_alive) {
            self.server_gone(c);
        }
        self.release_conn(c);
    }
}
