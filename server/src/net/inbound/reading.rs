//! The half of a connection that reads requests and gives them to the core, each as soon as the
//! ones before it allow that.
//!
//! While requests are under way, the next frame is read whole only if it is a produce that may
//! follow them and there is memory for it. Otherwise only its first part is read, and the end of
//! the connection noticed.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::tcp::ReadHalf;
use tokio::time::Instant;
use wavetank_core::event::{ConnectionId, Event, ReplyTo};
use wavetank_core::listener::Serves;
use wavetank_core::msg::{ApiKey, Request};
use wavetank_core::origin::Origin;
use wavetank_core::pipeline::Class;
use wavetank_wire::{Bounds, WireError};

use super::Closed;
use super::line::{Entry, Line};
use crate::net::codec::{self, Context, Incoming};
use crate::net::frame::{self, Frame, FrameError, read_frame};
use crate::net::lane::GLANCE;
use crate::net::memory::{self, Hold};
use crate::net::turns::{Kind, Turn};
use crate::net::{Door, Shared};

/// How much of later requests is read while they may not be delivered, in bytes.
const READ_AHEAD: usize = 64 << 10;

/// How much is read at a time of a frame that follows others, in bytes.
const MOST_AT_ONCE: usize = 256 << 10;

/// How long the last requests of a client that has gone away may take.
const DRAIN: Duration = Duration::from_secs(30);

/// How long an expensive request may keep others of its kind from the core.
const LONGEST_TURN: Duration = Duration::from_millis(250);

/// What a request under way takes besides its frame, in bytes.
const OVERHEAD: usize = 1 << 10;

pub(super) struct Reading<'a> {
    shared: &'a Arc<Shared>,
    line: &'a Line,
    stream: ReadHalf<'a>,
    connection: ConnectionId,
    door: Door,
    /// Where the requests come from; see [`memory::source`].
    source: IpAddr,
    buffer: BytesMut,
    /// The client has gone away; requests that it sent before are executed until then.
    drain: Option<Instant>,
    /// The current request is expensive, and has the lane until then, or until the core has taken
    /// it (its ticket).
    turn: Option<(Turn, Instant)>,
    ticket: u64,
    /// The client has said that it is another node.
    is_peer: bool,
}

enum Never {}

impl<'a> Reading<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        line: &'a Line,
        stream: ReadHalf<'a>,
        connection: ConnectionId,
        door: Door,
        from: IpAddr,
    ) -> Reading<'a> {
        Reading {
            shared,
            line,
            stream,
            connection,
            door,
            source: memory::source(from),
            buffer: BytesMut::new(),
            drain: None,
            turn: None,
            ticket: 0,
            is_peer: door.serves == Serves::Controllers,
        }
    }

    /// Runs until the connection has to be closed, and returns why. By then the requests before are
    /// answered, if there is anybody to answer.
    pub(super) async fn run(&mut self) -> Closed {
        let Err(closed) = self.serve().await;
        let waits = match &closed {
            // Produces come to an end. A fetch may wait for long, which helps nobody if it is all
            // that the client asked for.
            Closed::ByPeer => self.drain.is_some() || self.line.has_only_produces(),
            Closed::Frame(_) | Closed::Decode(_) | Closed::NotServed(_) => true,
            Closed::ByUs | Closed::Idle | Closed::Stalled | Closed::Io(_) => false,
        };
        if waits {
            let until = self.drain.unwrap_or_else(|| Instant::now() + DRAIN);
            let _ = tokio::time::timeout_at(until, self.line.finished()).await;
        }
        closed
    }

    async fn serve(&mut self) -> Result<Never, Closed> {
        let shared = self.shared;
        loop {
            let (frame, ahead) = self.next_frame().await?;
            // Checked before anything else in the frame is read.
            if let Some(api) = codec::api(&frame.bytes).filter(|api| !self.door.serves.api(*api)) {
                return Err(Closed::NotServed(api));
            }
            let length = frame.bytes.len();
            let (context, mut request) = match self.decode(&frame.bytes).await? {
                Incoming::Request { context, request } => (context, request),
                Incoming::AnswerAtOnce(parts) => {
                    // Not a produce, so nothing is under way.
                    let number = self.line.start(Class::Alone, self.entry(Context::UNUSED, length));
                    self.line.end_encoded(number, parts);
                    continue;
                }
            };
            if !self.door.serves.request(&request) {
                return Err(Closed::NotServed(request.api()));
            }
            let class = Class::of(&request);
            let mut entry = Entry { _ahead: ahead, ..self.entry(context, length) };
            // As in Kafka, the frame's memory is released while the request waits, unless the
            // request refers to it.
            entry._frame = request.api().properties().keeps_frame.then_some(frame);
            self.notice(&request);
            let inspected = shared.lane.inspect(&mut request, context.version, self.source).await;
            inspected.ok_or(Closed::ByUs)?;
            if shared.budget.is_full() {
                // A request that waits for the budget must not keep others from the lane.
                self.turn = None;
            }
            entry.promised = shared.budget.admit(&mut request).await;
            if !self.line.admits(class) {
                // The core closes the connection.
                return std::future::pending().await;
            }
            let number = self.line.start(class, entry);
            // Between this and giving the request to the core nothing may wait (see
            // `Backlog::admit`).
            if let Request::Produce(_) = &request {
                shared.backlog.admit(length as u64).await;
            }
            let from = ReplyTo { connection: self.connection, number };
            let (origin, version) = (Origin { listener: self.door.id }, context.version);
            self.ticket = shared.backlog.gives();
            shared.deliver(Event::Request { from, origin, version, request });
        }
    }

    fn entry(&self, context: Context, bytes: usize) -> Entry {
        let is_peer = self.is_peer;
        Entry { context, is_peer, bytes, promised: None, _frame: None, _ahead: None }
    }

    /// The next frame, once its request may be delivered, as far as the frame's first bytes tell.
    /// With the memory for it, if it was read while others were under way.
    async fn next_frame(&mut self) -> Result<(Frame, Option<Hold>), Closed> {
        let mut ahead: Option<Hold> = None;
        loop {
            let changed = self.line.changed();
            if self.line.is_broken() && self.drain.is_none() {
                self.drain = Some(Instant::now() + DRAIN);
            }
            let is_whole = frame::is_whole(&self.buffer);
            if self.drain.is_some() && !is_whole {
                return Err(Closed::ByPeer);
            }
            ahead = ahead.or_else(|| self.room_for_produce());
            if ahead.is_some() && is_whole {
                return Ok((self.read().await?, ahead));
            }
            if self.line.is_empty() {
                self.turn = None;
                return Ok((self.read().await?, None));
            }
            let room = match (&ahead, frame::declared(&self.buffer)) {
                (Some(_), Some((length, start))) => (length - start.len()).min(MOST_AT_ONCE),
                (Some(_) | None, _) => READ_AHEAD.saturating_sub(self.buffer.len()),
            };
            let drained = self.drain.unwrap_or_else(Instant::now);
            let turn_ends = self.turn.as_ref().map_or_else(Instant::now, |(_, ends)| *ends);
            tokio::select! {
                () = changed => {}
                read = frame::fill(&mut self.stream, &mut self.buffer, room),
                    if room > 0 && self.drain.is_none() =>
                {
                    match read {
                        Ok(0) => self.gone(Closed::ByPeer)?,
                        Ok(_) => {}
                        Err(FrameError::Io(error)) => self.gone(Closed::Io(error))?,
                        Err(error) => return Err(Closed::Frame(error)),
                    }
                }
                // The core has taken the request. It may still wait, as a fetch does for records,
                // but that is no work.
                () = self.shared.backlog.until_taken(self.ticket), if self.turn.is_some() => {
                    self.turn = None;
                }
                // The core is busy with something else.
                () = tokio::time::sleep_until(turn_ends), if self.turn.is_some() => {
                    self.turn = None;
                }
                () = tokio::time::sleep_until(drained), if self.drain.is_some() => {
                    return Err(Closed::ByPeer);
                }
            }
        }
    }

    /// Memory for the next frame, if it is a produce that may follow those under way. It is held
    /// only as long as there are some: whoever sends slowly must not keep it.
    fn room_for_produce(&self) -> Option<Hold> {
        let (length, start) = frame::declared(&self.buffer).filter(|_| !self.line.is_empty())?;
        if codec::api(start) != Some(ApiKey::Produce) || !self.line.has_room_for_produce(length) {
            return None;
        }
        self.shared.ahead.try_hold(self.source, length + OVERHEAD)
    }

    /// Reads a whole frame.
    async fn read(&mut self) -> Result<Frame, Closed> {
        let limits = &self.shared.limits;
        let large = Some((&self.shared.large, self.source));
        let next = read_frame(&mut self.stream, &mut self.buffer, limits.max_frame, large);
        tokio::select! {
            biased;
            frame = tokio::time::timeout(limits.max_idle, next) => match frame {
                Err(_) => Err(Closed::Idle),
                Ok(Err(FrameError::Io(error))) => Err(Closed::Io(error)),
                Ok(Err(error)) => Err(Closed::Frame(error)),
                Ok(Ok(None)) => Err(Closed::ByPeer),
                Ok(Ok(Some(frame))) => Ok(frame),
            },
            () = self.line.broken() => Err(Closed::ByPeer),
        }
    }

    /// A node identifies itself when it asks for the supported versions (see `codec`).
    fn notice(&mut self, request: &Request) {
        if let Request::ApiVersions(asked) = request {
            self.is_peer |= self.door.serves != Serves::Clients && codec::is_node(asked);
        }
    }

    /// Decodes small requests here, and large ones on the lane when it is their turn. The turn
    /// lasts until the core has taken the request, so that the core has one large request at a
    /// time. A produce does not keep its turn, because each piece of its batches gets its own.
    async fn decode(&mut self, frame: &Bytes) -> Result<Incoming, Closed> {
        match codec::decode_request(frame.clone(), GLANCE) {
            Err(WireError::TooMany { .. }) => {}
            decoded => return decoded.map_err(Closed::Decode),
        }
        let kind = if self.is_peer {
            Kind::Peer
        } else if codec::api(frame) == Some(ApiKey::Produce) {
            Kind::Produce
        } else {
            Kind::Other
        };
        let turn = self.shared.lane.turn(self.source, kind).await;
        let frame = frame.clone();
        let decode = move || codec::decode_request(frame, Bounds::REQUEST);
        let decoded = self.shared.lane.run(&turn, decode).await.ok_or(Closed::ByUs)?;
        if !matches!(&decoded, Ok(Incoming::Request { request: Request::Produce(_), .. })) {
            self.turn = Some((turn, Instant::now() + LONGEST_TURN));
        }
        decoded.map_err(Closed::Decode)
    }

    /// The client has gone away. An error unless it left a whole request.
    fn gone(&mut self, how: Closed) -> Result<(), Closed> {
        if !frame::is_whole(&self.buffer) {
            return Err(how);
        }
        self.drain.get_or_insert_with(|| Instant::now() + DRAIN);
        Ok(())
    }
}
