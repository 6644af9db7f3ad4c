//! One inbound connection: frames are read, decoded and given to the core, and its answers are sent
//! in the order of the requests. Produces may be under way together; see
//! [`wavetank_core::pipeline`]. `reading` and `writing` are the two halves, which take turns in one
//! task, and `line` is what they share.
//!
//! Requests that had arrived whole when the client went away are still executed, as in Kafka: a
//! client may write with acks=0 and close. Only their answers are lost.
//!
//! A frame that cannot be decoded is logged and closes the connection, as in Kafka: there is no
//! error code for bytes that are not a request. The requests before it are answered first.

mod line;
mod reading;
mod writing;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};
use wavetank_core::event::{ConnectionId, Event};
use wavetank_core::msg::{ApiKey, Response};
use wavetank_wire::WireError;

use super::frame::FrameError;
use super::{Door, Shared};
use line::Line;
use reading::Reading;
use writing::Writing;

/// The core's answer to a request.
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
    replies: UnboundedReceiver<(u32, Reply)>,
    gone: UnboundedSender<ConnectionId>,
) {
    let _goodbye = Goodbye { shared: Arc::clone(&shared), connection, gone };
    // Answers are written whole; waiting to fill a packet only delays them.
    let _ = stream.set_nodelay(true);
    tracing::debug!(%from, connection = connection.0, "connected");
    let mut stream = stream;
    let line = Line::default();
    let closed = {
        let (input, output) = stream.split();
        let mut reading = Reading::new(&shared, &line, input, connection, door, from.ip());
        let mut writing = Writing::new(&shared, &line, output, door, from.ip(), replies);
        // Dropped before the socket: whatever is under way has no answer.
        tokio::select! {
            closed = reading.run() => closed,
            closed = writing.run() => closed,
        }
    };
    let complain = match &closed {
        Closed::Stalled | Closed::Frame(_) | Closed::Decode(_) | Closed::NotServed(_) => {
            shared.complain(from)
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
