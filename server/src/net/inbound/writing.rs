//! The half of a connection that takes the core's answers and sends them, in the order of the
//! requests, as fast as the client reads them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::tcp::WriteHalf;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use super::line::{Answer, Line, Next};
use super::{Closed, Reply};
use crate::net::frame::OutQueue;
use crate::net::lane;
use crate::net::turns::Kind;
use crate::net::{Door, Shared, codec, memory};

/// How much of an answer a client must read, in bytes, within the time that it may stall...
const PROGRESS: usize = 64 << 10;
/// ... which is this if too much waits to be sent.
const TIGHT_STALL: Duration = Duration::from_secs(5);
/// How often to check whether it does.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

pub(super) struct Writing<'a> {
    shared: &'a Arc<Shared>,
    line: &'a Line,
    stream: WriteHalf<'a>,
    door: Door,
    /// Where the requests come from; see [`memory::source`].
    source: IpAddr,
    replies: UnboundedReceiver<(u32, Reply)>,
}

impl<'a> Writing<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        line: &'a Line,
        stream: WriteHalf<'a>,
        door: Door,
        from: IpAddr,
        replies: UnboundedReceiver<(u32, Reply)>,
    ) -> Writing<'a> {
        Writing { shared, line, stream, door, source: memory::source(from), replies }
    }

    /// Runs until the connection has to be closed, and returns why.
    pub(super) async fn run(&mut self) -> Closed {
        loop {
            let changed = self.line.changed();
            // What is there by now is sent together.
            while let Ok((number, reply)) = self.replies.try_recv() {
                self.line.end(number, reply);
            }
            let mut out = OutQueue::default();
            while let Some(next) = self.line.next() {
                let Next::Answer { context, is_peer, answer } = next else {
                    // Whatever comes of it, the connection is closed.
                    let _ = self.send(out).await;
                    return Closed::ByUs;
                };
                let parts = match answer {
                    Answer::Encoded(parts) => Some(parts),
                    Answer::Core(response) => self.encode(context, is_peer, response).await,
                };
                let Some(parts) = parts else { return Closed::ByUs };
                out.push(parts);
            }
            if self.line.is_leaving() {
                if let Err(closed) = self.send(out).await {
                    return closed;
                }
                self.line.sent();
                continue;
            }
            tokio::select! {
                reply = self.replies.recv() => match reply {
                    Some((number, reply)) => self.line.end(number, reply),
                    // The core has ended.
                    None => return Closed::ByUs,
                },
                () = changed => {}
            }
        }
    }

    /// `None` if the process ends meanwhile.
    async fn encode(
        &self,
        context: codec::Context,
        is_peer: bool,
        response: wavetank_core::msg::Response,
    ) -> Option<Vec<Bytes>> {
        let serves = self.door.serves;
        if !lane::is_large(&response) {
            return Some(codec::encode_response(&context, serves, response));
        }
        let kind = if is_peer { Kind::Peer } else { Kind::Other };
        let turn = self.shared.lane.turn(self.source, kind).await;
        let encode = move || codec::encode_response(&context, serves, response);
        self.shared.lane.run(&turn, encode).await
    }

    /// Sends answers as fast as the client reads them, and gives up if it stalls. If the connection
    /// is broken, they are lost, but the requests that the client sent before are executed still.
    async fn send(&mut self, mut out: OutQueue) -> Result<(), Closed> {
        let mut share = self.shared.budget.queue(out.len());
        let mut since = Instant::now();
        let mut taken = 0;
        while !out.is_empty() && !self.line.is_broken() {
            let some = out.write_some(&mut self.stream);
            match tokio::time::timeout(LOOK_AGAIN, some).await {
                Ok(Ok(bytes)) => {
                    share.sent(bytes);
                    taken += bytes;
                }
                Ok(Err(error)) => {
                    tracing::debug!(%error, "an answer cannot be sent");
                    self.line.broke();
                }
                Err(_) => {}
            }
            if taken >= PROGRESS {
                (since, taken) = (Instant::now(), 0);
            }
            let patience = self.shared.limits.write_stall;
            let tight = self.shared.budget.is_tight();
            let patience = if tight { patience.min(TIGHT_STALL) } else { patience };
            if since.elapsed() >= patience && !out.is_empty() {
                return Err(Closed::Stalled);
            }
        }
        Ok(())
    }
}
