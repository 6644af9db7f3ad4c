//! One inbound connection: a frame is read, decoded and given to the core, and the next one waits
//! until it is answered. Kafka mutes the channel for the same time.
//!
//! Requests that had arrived whole when the client went away are still executed, as in Kafka: a
//! client may write with acks=0 and close. Only their answers are lost.
//!
//! A frame that cannot be decoded is logged and closes the connection, as in Kafka: there is no
//! error code for bytes that are not a request.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use tokio::time::Instant;
use wavetank_core::event::{ConnectionId, Event, Origin, ReplyTo};
use wavetank_core::listener::Serves;
use wavetank_core::msg::{ApiKey, Request, Response};
use wavetank_wire::{Bounds, WireError};

use super::codec::{self, Context, Incoming};
use super::frame::{self, FrameError, OutQueue, read_frame};
use super::lane::{self, GLANCE};
use super::turns::{Kind, Turn};
use super::{Door, Shared, memory};

/// How much of later requests is read while one is being answered, in bytes.
const READ_AHEAD: usize = 64 << 10;

/// How long the last requests of a client that has gone away may take.
const DRAIN: Duration = Duration::from_secs(30);

/// How long an expensive request may keep others of its kind from the core.
const LONGEST_TURN: Duration = Duration::from_millis(250);

/// How much of an answer a client must read, in bytes, within the time that it may stall...
const PROGRESS: usize = 64 << 10;
/// ... which is this if too much waits to be sent.
const TIGHT_STALL: Duration = Duration::from_secs(5);
/// How often to check whether it does.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// The core's answer to the request at hand.
#[derive(Debug)]
pub(super) enum Reply {
    Response(Response),
    Nothing,
    Disconnect,
}

/// Why a connection ended.
#[derive(Debug)]
enum Closed {
    /// The client went away between requests.
    ByPeer,
    /// The core asked for it, or is gone.
    ByUs,
    /// No whole request for too long.
    Idle,
    /// The client does not read its answer.
    Stalled,
    /// The socket broke.
    Io(io::Error),
    /// The client sent an invalid frame.
    Frame(FrameError),
    /// The client sent a frame that is not a request we know.
    Decode(WireError),
    /// The client sent a request that its listener does not serve.
    NotServed(ApiKey),
}

/// Tells the core and the dispatcher when the task ends, however it ends.
struct Goodbye {
    shared: Arc<Shared>,
    connection: ConnectionId,
    gone: UnboundedSender<ConnectionId>,
}

impl Drop for Goodbye {
    fn drop(&mut self) {
        self.shared.deliver(Event::ConnectionClosed { connection: self.connection });
        // The dispatcher may have ended first.
        let _ = self.gone.send(self.connection);
    }
}

pub(super) async fn run(
    shared: Arc<Shared>,
    connection: ConnectionId,
    door: Door,
    stream: TcpStream,
    from: SocketAddr,
    replies: UnboundedReceiver<(i32, Reply)>,
    gone: UnboundedSender<ConnectionId>,
) {
    let _goodbye = Goodbye { shared: Arc::clone(&shared), connection, gone };
    // Answers are written whole; waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    tracing::debug!(%from, connection = connection.0, "connected");
    let buffer = BytesMut::new();
    let source = memory::source(from.ip());
    let mut inbound = Inbound {
        shared,
        connection,
        door,
        stream,
        source,
        replies,
        buffer,
        drain: None,
        turn: None,
        is_peer: door.serves == Serves::Controllers,
    };
    let Err(closed) = inbound.serve().await;
    let complain = match &closed {
        Closed::Stalled | Closed::Frame(_) | Closed::Decode(_) | Closed::NotServed(_) => {
            inbound.shared.complain(from)
        }
        Closed::ByPeer | Closed::ByUs | Closed::Idle | Closed::Io(_) => false,
    };
    match closed {
        Closed::ByPeer | Closed::ByUs => {
            tracing::debug!(%from, connection = connection.0, ?closed, "closed");
        }
        Closed::Io(error) => tracing::debug!(%from, connection = connection.0, %error, "broke"),
        Closed::Idle => tracing::debug!(%from, "closed a connection: idle for too long"),
        Closed::Stalled | Closed::Frame(_) | Closed::Decode(_) | Closed::NotServed(_)
            if !complain =>
        {
            tracing::debug!(%from, ?closed, "closed a connection");
        }
        Closed::Stalled => {
            tracing::warn!(%from, "closed a connection: the client does not read its answer");
        }
        Closed::NotServed(api) => tracing::warn!(
            %from,
            ?api,
            "closed a connection: only nodes may send this request, on another listener"
        ),
        Closed::Frame(error) => tracing::warn!(%from, %error, "closed a connection: invalid frame"),
        Closed::Decode(error) => {
            tracing::warn!(%from, %error, "closed a connection: invalid or unsupported request");
        }
    }
}

struct Inbound {
    shared: Arc<Shared>,
    connection: ConnectionId,
    door: Door,
    stream: TcpStream,
    /// Where the requests come from; see [`memory::source`].
    source: IpAddr,
    replies: UnboundedReceiver<(i32, Reply)>,
    buffer: BytesMut,
    /// The client has gone away; requests that it sent before are executed until then.
    drain: Option<Instant>,
    /// The current request is expensive, and has the lane until then, or until the core has taken
    /// it.
    turn: Option<(Turn, Instant)>,
    /// The client has said that it is another node.
    is_peer: bool,
}

enum Never {}

impl Inbound {
    async fn serve(&mut self) -> Result<Never, Closed> {
        let shared = Arc::clone(&self.shared);
        let limits = &shared.limits;
        loop {
            let next = read_frame(
                &mut self.stream,
                &mut self.buffer,
                limits.max_frame,
                Some((&shared.large, self.source)),
            );
            let frame = tokio::select! {
                frame = tokio::time::timeout(limits.max_idle, next) => match frame {
                    Err(_) => return Err(Closed::Idle),
                    Ok(Err(FrameError::Io(error))) => return Err(Closed::Io(error)),
                    Ok(Err(error)) => return Err(Closed::Frame(error)),
                    Ok(Ok(None)) => return Err(Closed::ByPeer),
                    Ok(Ok(Some(frame))) => frame,
                },
                // Between requests, the core can only close the connection.
                _ = self.replies.recv() => return Err(Closed::ByUs),
            };
            // Checked before anything else in the frame is read.
            if let Some(api) = codec::api(&frame.bytes).filter(|api| !self.door.serves.api(*api)) {
                return Err(Closed::NotServed(api));
            }
            let (context, mut request) = match self.decode(&frame.bytes).await? {
                Incoming::Request { context, request } => (context, request),
                Incoming::AnswerAtOnce(parts) => {
                    self.write(parts).await?;
                    continue;
                }
            };
            if !self.door.serves.request(&request) {
                return Err(Closed::NotServed(request.api()));
            }
            let length = frame.bytes.len();
            // As in Kafka, the frame's memory is released while the request waits, unless the
            // request refers to it.
            let frame = request.api().properties().keeps_frame.then_some(frame);
            self.notice(&request);
            let inspected = shared.lane.inspect(&mut request, context.version, self.source).await;
            inspected.ok_or(Closed::ByUs)?;
            if shared.budget.is_full() {
                // A request that waits for the budget must not keep others from the lane.
                self.turn = None;
            }
            let promised = shared.budget.admit(&mut request).await;
            // Between this and giving the request to the core nothing may wait (see
            // `Backlog::admit`).
            if let Request::Produce(_) = &request {
                self.room(length).await?;
            }
            let from = ReplyTo { connection: self.connection, correlation: context.correlation };
            let (origin, version) = (Origin { listener: self.door.id }, context.version);
            let ticket = shared.backlog.gives();
            self.shared.deliver(Event::Request { from, origin, version, request });
            let reply = self.reply(context.correlation, ticket).await?;
            drop(promised);
            self.turn = None;
            match reply {
                Reply::Response(response) => {
                    let parts = self.encode(context, response).await?;
                    self.write(parts).await?;
                }
                Reply::Nothing => {}
                Reply::Disconnect => return Err(Closed::ByUs),
            }
            drop(frame);
        }
    }

    /// Waits until the disk's backlog has room. Nothing is read from the client meanwhile.
    async fn room(&mut self, bytes: usize) -> Result<(), Closed> {
        tokio::select! {
            () = self.shared.backlog.admit(bytes as u64) => Ok(()),
            // Between requests, the core can only close the connection.
            _ = self.replies.recv() => Err(Closed::ByUs),
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

    async fn encode(&self, context: Context, response: Response) -> Result<Vec<Bytes>, Closed> {
        let serves = self.door.serves;
        if !lane::is_large(&response) {
            return Ok(codec::encode_response(&context, serves, response));
        }
        let kind = if self.is_peer { Kind::Peer } else { Kind::Other };
        let turn = self.shared.lane.turn(self.source, kind).await;
        let encode = move || codec::encode_response(&context, serves, response);
        self.shared.lane.run(&turn, encode).await.ok_or(Closed::ByUs)
    }

    /// Waits for the core's answer, and notices if the client goes away meanwhile.
    async fn reply(&mut self, correlation: i32, ticket: u64) -> Result<Reply, Closed> {
        let shared = Arc::clone(&self.shared);
        loop {
            let room = READ_AHEAD.saturating_sub(self.buffer.len());
            let drained = self.drain.unwrap_or_else(Instant::now);
            let turn_ends = self.turn.as_ref().map_or_else(Instant::now, |(_, ends)| *ends);
            tokio::select! {
                reply = self.replies.recv() => {
                    let (answered, reply) = reply.ok_or(Closed::ByUs)?;
                    assert_eq!(answered, correlation, "the core answers the request at hand");
                    return Ok(reply);
                }
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
                () = shared.backlog.until_taken(ticket), if self.turn.is_some() => {
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

    /// The client has gone away. An error unless it left a whole request.
    fn gone(&mut self, how: Closed) -> Result<(), Closed> {
        if !frame::is_whole(&self.buffer) {
            return Err(how);
        }
        self.drain.get_or_insert_with(|| Instant::now() + DRAIN);
        Ok(())
    }

    /// Sends an answer as fast as the client reads it, and gives up if the client stalls.
    async fn write(&mut self, parts: Vec<Bytes>) -> Result<(), Closed> {
        let shared = Arc::clone(&self.shared);
        let mut out = OutQueue::default();
        out.push(parts);
        let mut share = shared.budget.queue(out.len());
        let mut since = Instant::now();
        let mut taken = 0;
        while !out.is_empty() {
            let some = out.write_some(&mut self.stream);
            match tokio::time::timeout(LOOK_AGAIN, some).await {
                Ok(Ok(bytes)) => {
                    share.sent(bytes);
                    taken += bytes;
                }
                Ok(Err(error)) => return self.gone(Closed::Io(error)),
                Err(_) => {}
            }
            if taken >= PROGRESS {
                (since, taken) = (Instant::now(), 0);
            }
            let patience = shared.limits.write_stall;
            let tight = shared.budget.is_tight();
            let patience = if tight { patience.min(TIGHT_STALL) } else { patience };
            if since.elapsed() >= patience && !out.is_empty() {
                return Err(Closed::Stalled);
            }
        }
        Ok(())
    }
}
