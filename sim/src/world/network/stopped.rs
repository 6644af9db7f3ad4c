//! A paused process (SIGSTOP), from its kernel's point of view.
//!
//! The kernel keeps running: it completes handshakes and accepts data until the socket's receive
//! buffer is full. The rest stays with the sender. Nothing is read. Only the peers' timeouts keep
//! running: the paused process's own timeouts take effect when it resumes. Then everything is there
//! at once: timers that are due, requests and answers that wait in sockets, expired timeouts of its
//! own requests. Their order is undefined on a real machine (each is a thread's or a task's next
//! turn), so it is drawn.

use wavetank_core::msg::{Request, Response};

use super::Frame;
use crate::decide::{Dice, Place, Purpose};
use crate::world::queue::Payload;
use crate::world::{Delivery, Inner};
use wavetank_core::event::RpcError;

/// How a process resumed after a pause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// When, ns.
    pub at: u64,
    /// How long it had been paused, ns.
    pub stopped_for: u64,
    /// Digests of the requests that waited in its sockets.
    pub waiting: Vec<u64>,
}

/// Bytes that an unread socket accepts, as powers of two. Linux's minimum is 4 KiB, its default 128
/// KiB.
const BUFFER_BITS: (u64, u64) = (12, 18);

/// The size in bytes that a frame without records counts as.
const SMALL_FRAME: u64 = 128;

impl Frame {
    /// The approximate size in bytes.
    fn size(&self) -> u64 {
        let records = match self {
            Frame::Request { request, .. } => match request.as_ref() {
                Request::Produce(produce) => produce
                    .topics
                    .iter()
                    .flat_map(|topic| &topic.partitions)
                    .map(|partition| partition.records.as_ref().map_or(0, bytes::Bytes::len))
                    .sum(),
                _ => 0,
            },
            Frame::Response { response, .. } => match response.as_ref() {
                Response::Fetch(fetch) => fetch
                    .topics
                    .iter()
                    .flat_map(|topic| &topic.partitions)
                    .flat_map(|partition| &partition.records)
                    .map(|batch| batch.size_in_bytes())
                    .sum(),
                _ => 0,
            },
            Frame::Syn | Frame::SynAck | Frame::Fin | Frame::Rst => 0,
        };
        records as u64 + SMALL_FRAME
    }
}

/// How many bytes this end of a connection accepts without being read.
fn buffer(dice: &Dice, key: Place) -> u64 {
    let (low, high) = BUFFER_BITS;
    1 << dice.range(key.with(Purpose::SocketBuffer as u64), low, high)
}

impl Inner {
    /// A frame reaches a host. A paused process's kernel keeps it, or leaves it with the sender if
    /// the buffer is full.
    pub(super) fn receive(&mut self, c: u32, up: bool, number: u64, frame: Frame) {
        let conn = self.conns[c as usize].as_mut().expect("frames arrive on what exists");
        let (_, to) = conn.ends(up);
        let alive = if up { conn.server_alive } else { conn.client_alive };
        let stopped = self.hosts[to as usize].paused && alive && !matches!(frame, Frame::Syn);
        let pipe = conn.pipe(up);
        if !stopped {
            pipe.arrived = number + 1;
            return self.arrive(c, up, frame);
        }
        let size = frame.size();
        self.hosts[to as usize].held_by_pauses += 1;
        let fits = pipe.held_bytes + size <= buffer(&self.dice, pipe.key);
        if fits && pipe.stalled.is_empty() {
            pipe.arrived = number + 1;
            pipe.held_bytes += size;
            pipe.held.push_back(frame);
        } else {
            let place = pipe.stalled.partition_point(|(later, _)| *later < number);
            pipe.stalled.insert(place, (number, frame));
            self.pushed_back += 1;
        }
    }

    /// Resumes a paused process. See the module's documentation for the order of what it sees.
    pub(in crate::world) fn wake_up(&mut self, h: u32) {
        let host = &mut self.hosts[h as usize];
        host.paused = false;
        host.pauses += 1;
        let place = self.dice.place(Purpose::Waking);
        let place = place.with(host.node.0 as u64).with(u64::from(host.pauses));
        let stopped_for = self.now - host.paused_at;
        host.wake = Wake { at: self.now, stopped_for, waiting: Vec::new() };
        let is_timer = |(delivery, _): &(Delivery, u64)| matches!(delivery, Delivery::Timer { .. });
        let (timers, others): (Vec<_>, Vec<_>) =
            std::mem::take(&mut host.inbox).into_iter().partition(is_timer);
        let timers_first = self.dice.ratio(place, 1, 2);
        if timers_first {
            host.inbox.extend(timers.iter().cloned());
        }
        host.inbox.extend(others);
        for c in 0..self.conns.len() as u32 {
            self.read_sockets(h, c, place);
        }
        let host = &mut self.hosts[h as usize];
        if !timers_first {
            host.inbox.extend(timers);
        }
        if !host.queued && !host.inbox.is_empty() {
            host.busy_until = host.busy_until.max(self.now);
            self.wake_when_free(h);
        }
    }

    /// Handles what waits at a host's ends of one connection, and its own timeouts there.
    fn read_sockets(&mut self, h: u32, c: u32, place: Place) {
        let Some(conn) = self.conns[c as usize].as_mut() else { return };
        let late = conn.client == h && std::mem::take(&mut conn.overdue);
        let timeouts_first = self.dice.ratio(place.with(conn.serial), 1, 2);
        if late && timeouts_first {
            self.give_up(c);
        }
        for up in [true, false] {
            let Some(conn) = self.conns[c as usize].as_mut() else { return };
            if conn.ends(up).1 != h {
                continue;
            }
            let pipe = conn.pipe(up);
            pipe.held_bytes = 0;
            for frame in std::mem::take(&mut pipe.held) {
                if let Frame::Request { digest, .. } = &frame {
                    self.hosts[h as usize].wake.waiting.push(*digest);
                }
                self.arrive(c, up, frame);
            }
            self.open_window(c, up);
        }
        if late && !timeouts_first {
            self.give_up(c);
        }
        self.release_conn(c);
    }

    /// The buffer is empty again, so the frames left with the sender are on their way.
    fn open_window(&mut self, c: u32, up: bool) {
        let conn = self.conns[c as usize].as_mut().expect("it was read from just now");
        let (from, to) = conn.ends(up);
        let link = &self.links[from as usize][to as usize];
        let pipe = conn.pipe(up);
        if pipe.stalled.is_empty() || pipe.releasing || link.blocked {
            return;
        }
        pipe.releasing = true;
        let at = (self.now + 2 * link.config.min).max(pipe.last_arrival);
        pipe.last_arrival = at;
        conn.events += 1;
        self.queue.push(at, Payload::Release { conn: c, up });
    }

    /// Handles the timeouts that came due while a process was paused, when it resumes.
    fn give_up(&mut self, c: u32) {
        self.connect_overdue(c);
        self.request_overdue(c);
    }

    /// Checks whether a request has timed out. If not, schedules the next check.
    pub(super) fn request_overdue(&mut self, c: u32) {
        let conn = self.conns[c as usize].as_mut().expect("it exists while it may time out");
        if !conn.client_alive || conn.timeout_at != u64::MAX {
            return;
        }
        match conn.pending.iter().map(|pending| pending.deadline).min() {
            None => {}
            Some(deadline) if deadline <= self.now => {
                let close = self.closing_frame(c, true);
                self.break_client(c, RpcError::TimedOut, Some(close));
            }
            Some(deadline) => {
                conn.timeout_at = deadline;
                conn.events += 1;
                self.queue.push(deadline, Payload::RequestTimeout { conn: c, at: deadline });
            }
        }
    }

    /// Gives up a connection whose connect timeout has passed.
    pub(super) fn connect_overdue(&mut self, c: u32) {
        let conn = self.conns[c as usize].as_ref().expect("it exists while it may time out");
        if conn.connect_overdue && conn.client_alive && !conn.opened {
            self.break_client(c, RpcError::Disconnected, Some(Frame::Fin));
        }
    }

    /// The requests that waited in a host's sockets when it last resumed, and still wait.
    pub(in crate::world) fn unread_since_wake(&self, h: u32) -> impl Iterator<Item = &Request> {
        let wake = &self.hosts[h as usize].wake;
        let inbox =
            self.hosts[h as usize].inbox.iter().filter_map(|(delivery, digest)| match delivery {
                Delivery::Request { request, .. } => Some((*digest, request.as_ref())),
                Delivery::Response { .. } | Delivery::Timer { .. } | Delivery::Other(_) => None,
            });
        let behind = self.conns.iter().flatten().filter(move |conn| conn.server == h);
        let behind = behind.flat_map(|conn| &conn.queue);
        let behind = behind.map(|(_, _, digest, request)| (*digest, request.as_ref()));
        inbox
            .chain(behind)
            .filter(|(digest, _)| wake.waiting.contains(digest))
            .map(|(_, request)| request)
    }
}
