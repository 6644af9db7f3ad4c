//! What crashes and drivers do to connections: leave, reset and sever them.

use wavetank_core::env::Channel;

use super::{CHANNELS, Conn, DOWN, Frame, UP};
use crate::decide::Purpose;
use crate::world::queue::Payload;
use crate::world::{Inner, NO_CONN};

/// How a process leaves its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::world) enum Departure {
    /// The kernel closes them.
    Closed,
    /// The kernel went down, too, so peers get no notice.
    Silent,
}

// What the driver does to connections.
impl Inner {
    /// Drops a drawn suffix of what the interrupted step has sent.
    pub(in crate::world) fn cut_dying_step(&mut self, host: u32) {
        let sends = std::mem::take(&mut self.hosts[host as usize].dying);
        if self.now > self.hosts[host as usize].busy_until || sends.is_empty() {
            return;
        }
        let place = self.dice.place(Purpose::DyingStep).with(u64::from(host)).with(self.now);
        let kept = self.dice.decide(place, sends.len() as u64 + 1) as usize;
        for (c, serial, up, number) in sends.into_iter().skip(kept) {
            if let Some(conn) = self.conns[c as usize].as_mut()
                && conn.serial == serial
            {
                conn.pipe(up).cut_from(number);
            }
        }
    }

    /// A host's process is gone, and its ends of all connections with it.
    pub(in crate::world) fn leave_connections(&mut self, host: u32, departure: Departure) {
        for c in 0..self.conns.len() as u32 {
            let Some(conn) = self.conns[c as usize].as_mut() else { continue };
            let serial = conn.serial;
            for up in [true, false] {
                let (from, to) = conn.ends(up);
                let blocked = self.links[from as usize][to as usize].blocked;
                let pipe = conn.pipe(up);
                // Undelivered frames were in the sender's kernel, which is gone, or waited for the
                // buffer of a paused process, which will not read them.
                let unread = to == host && !blocked && !pipe.releasing;
                if unread || (from == host && departure == Departure::Silent) {
                    pipe.stalled.clear();
                }
            }
            if conn.client == host && conn.client_alive {
                conn.client_alive = false;
                conn.unsent.clear();
                conn.pending.clear();
                conn.pipes[DOWN].held.clear();
                conn.pipes[DOWN].held_bytes = 0;
                let index = conn.server as usize * CHANNELS + conn.channel as usize;
                self.hosts[host as usize].channels[index].conn = NO_CONN;
                self.leave_end(c, true, departure);
            }
            let Some(conn) = self.conns[c as usize].as_ref() else { continue };
            if conn.serial == serial && conn.server == host && conn.server_alive {
                self.close_server(c);
                self.leave_end(c, false, departure);
            }
            self.release_conn(c);
        }
        self.hosts[host as usize].accepted.clear();
    }

    fn leave_end(&mut self, c: u32, up: bool, departure: Departure) {
        match departure {
            Departure::Closed => {
                let frame = self.closing_frame(c, up);
                self.send(c, up, frame, self.now, None);
            }
            Departure::Silent => self.expect_keepalive(c),
        }
    }

    fn expect_keepalive(&mut self, c: u32) {
        let conn = self.conns[c as usize].as_mut().expect("half of it is alive");
        conn.events += 1;
        let key = conn.pipes[UP].key.with(Purpose::Keepalive as u64);
        let longest = self.config.keepalive.max(2);
        let wait = self.dice.range(key, longest / 2, longest);
        self.queue.push(self.now + wait, Payload::Keepalive { conn: c });
    }

    /// A host has booted after a power loss. Peers retransmit what they sent meanwhile, and learn
    /// that the host does not know their connections.
    pub(in crate::world) fn host_booted(&mut self, host: u32) {
        self.hosts[host as usize].boots += 1;
        for c in 0..self.conns.len() as u32 {
            for up in [true, false] {
                let Some(conn) = self.conns[c as usize].as_mut() else { continue };
                let (sender, receiver) = conn.ends(up);
                let waits = if up { conn.client_alive && conn.opened } else { conn.server_alive };
                let pipe = conn.pipe(up);
                if receiver == host && sender != host && waits && pipe.unheard > 0 {
                    pipe.unheard = 0;
                    let key = pipe.key.with(Purpose::Retransmission as u64).with(pipe.sent);
                    let wait = self.dice.decide(key.with(1), self.config.rto_max.max(1));
                    self.send(c, !up, Frame::Rst, self.now + wait, None);
                }
            }
        }
    }

    /// The connections between two hosts, whichever host opened them.
    fn between(&self, a: u32, b: u32, channel: Option<Channel>) -> Vec<u32> {
        let matches = |conn: &Conn| {
            let ends = (conn.client, conn.server);
            (ends == (a, b) || ends == (b, a))
                && channel.is_none_or(|channel| channel == conn.channel)
                && (conn.client_alive || conn.server_alive)
                && !conn.severed
        };
        let conns = self.conns.iter().enumerate();
        conns.filter(|(_, c)| c.as_ref().is_some_and(matches)).map(|(i, _)| i as u32).collect()
    }

    /// Resets connections. In each direction a drawn prefix of what is in flight still arrives,
    /// then the reset.
    pub(in crate::world) fn reset(&mut self, a: u32, b: u32, channel: Option<Channel>) -> usize {
        let conns = self.between(a, b, channel);
        for &c in &conns {
            for up in [true, false] {
                let conn = self.conns[c as usize].as_mut().expect("listed just now");
                let pipe = conn.pipe(up);
                let key = pipe.key.with(Purpose::ResetPrefix as u64).with(pipe.sent);
                let kept = self.dice.decide(key, pipe.sent - pipe.arrived + 1);
                pipe.cut_from(pipe.arrived + kept);
                self.send(c, up, Frame::Rst, self.now, None);
            }
        }
        conns.len()
    }

    /// Nothing passes on these connections any more, and neither end gets notice, as when a
    /// middlebox forgets them. Only timeouts and, eventually, keepalive notice.
    pub(in crate::world) fn sever(&mut self, a: u32, b: u32, channel: Option<Channel>) -> usize {
        let conns = self.between(a, b, channel);
        for &c in &conns {
            self.conns[c as usize].as_mut().expect("listed just now").severed = true;
            self.expect_keepalive(c);
        }
        conns.len()
    }

    /// How many connections exist, and how many frames are stalled.
    pub(in crate::world) fn network_load(&self) -> (usize, usize) {
        let conns = self.conns.iter().flatten();
        let stalled = |conn: &Conn| conn.pipes.iter().map(|pipe| pipe.stalled.len()).sum::<usize>();
        conns.fold((0, 0), |(count, frames), conn| (count + 1, frames + stalled(conn)))
    }
}
