//! The server's end of a connection: when requests reach its machine, and in which order answers
//! leave. The rule is [`wavetank_core::pipeline`]'s.
//!
//! Requests that may not be delivered yet wait behind those that are under way, and a FIN waits
//! behind them all: the server reads it last.

use wavetank_core::event::{Event, ReplyTo};
use wavetank_core::msg::{ApiKey, Request, Response};
use wavetank_core::pipeline::{Class, Departure, Outcome, Pipeline};

use super::{Frame, alter};
use crate::digest::digest_of;
use crate::world::{Delivery, Inner, NO_CONN};

/// The requests that the machine has, and answers that wait for earlier ones, with their digests.
pub(super) type Line = Pipeline<Serving, (Response, u64)>;

/// A request that the machine has.
#[derive(Clone, Debug)]
pub(super) struct Serving {
    pub(super) correlation: i32,
    version: i16,
    api: ApiKey,
    /// The request, if answers are inspected.
    pub(super) asked: Option<Box<Request>>,
}

// What machines do with requests.
impl Inner {
    pub(in crate::world) fn respond(
        &mut self,
        host: u32,
        to: ReplyTo,
        response: Response,
        at: u64,
    ) {
        let Some(c) = self.accepted(host, to) else { return };
        let conn = self.conns[c as usize].as_mut().expect("accepted connections exist");
        let Some(serving) = conn.line.waiting(to.number) else { return };
        let serving = Serving { asked: serving.asked.take(), ..*serving };
        assert_eq!(response.api(), serving.api, "the answer is to another request");
        self.inspect(host, c, &serving, &response);
        let digest = digest_of(&response);
        self.digest.word(digest);
        let response = match self.transcode {
            None => response,
            Some(transcode) => (transcode.response)(response, serving.api, serving.version)
                .unwrap_or_else(|e| {
                    panic!("a {:?} response does not survive its encoding: {e}", serving.api)
                }),
        };
        self.ended(host, c, to, Outcome::Answer((response, digest)), at);
    }

    pub(in crate::world) fn no_response(&mut self, host: u32, to: ReplyTo, at: u64) {
        if let Some(c) = self.accepted(host, to) {
            self.ended(host, c, to, Outcome::Nothing, at);
        }
    }

    pub(in crate::world) fn disconnect(&mut self, host: u32, to: ReplyTo, at: u64) {
        if let Some(c) = self.accepted(host, to) {
            self.ended(host, c, to, Outcome::Close, at);
        }
    }

    /// The connection that an answer goes to. `None` if it is gone.
    fn accepted(&self, host: u32, to: ReplyTo) -> Option<u32> {
        let index = usize::try_from(to.connection.0).ok()?.checked_sub(1)?;
        let accepted = &self.hosts[host as usize].accepted;
        let c = *accepted.get(index).expect("an answer goes to a connection of this incarnation");
        (c != NO_CONN).then_some(c)
    }

    /// A request has ended. Sends what may leave now.
    fn ended(
        &mut self,
        host: u32,
        c: u32,
        to: ReplyTo,
        outcome: Outcome<(Response, u64)>,
        at: u64,
    ) {
        let conn = self.conns[c as usize].as_mut().expect("accepted connections exist");
        conn.line.end(to.number, outcome);
        loop {
            let conn = self.conns[c as usize].as_mut().expect("it is closed only below");
            match conn.line.depart() {
                None => break,
                Some(Departure::Answer(serving, (response, digest))) => {
                    let correlation = serving.correlation;
                    let (response, digest) = self.alter(c, response, digest);
                    let response = Box::new(response);
                    let frame = Frame::Response { correlation, digest, response };
                    self.send(c, false, frame, at, Some(host));
                }
                Some(Departure::Close) => {
                    self.close_server(c);
                    return self.send(c, false, Frame::Fin, at, Some(host));
                }
            }
        }
        self.conns[c as usize].as_mut().expect("it is not closed").line.sent();
        self.serve_next(c);
    }
}

// What arrives for machines.
impl Inner {
    /// Delivers the requests that may be delivered now, and then the client's FIN.
    pub(super) fn serve_next(&mut self, c: u32) {
        loop {
            let conn = self.conns[c as usize].as_mut().expect("served while alive");
            let Some((_, _, _, request)) = conn.queue.front() else { break };
            if !conn.line.admits(Class::of(request)) {
                return;
            }
            self.serve_one(c);
        }
        let conn = self.conns[c as usize].as_ref().expect("served while alive");
        if conn.fin_waits && conn.line.is_empty() {
            self.server_gone(c);
        }
    }

    fn serve_one(&mut self, c: u32) {
        let conn = self.conns[c as usize].as_mut().expect("served while alive");
        let (correlation, version, digest, request) =
            conn.queue.pop_front().expect("one is waiting");
        let api = request.api();
        let asked = if self.inspect.is_some() { alter::kept(&request) } else { None };
        let class = Class::of(&request);
        let number = conn.line.start(class, Serving { correlation, version, api, asked });
        let (server, from) = (conn.server, ReplyTo { connection: conn.id, number });
        let request = match self.transcode {
            None => request,
            Some(transcode) => {
                Box::new((transcode.request)(*request, version).unwrap_or_else(|e| {
                    panic!("a {api:?} request v{version} does not survive its encoding: {e}")
                }))
            }
        };
        self.deliver_as(server, Delivery::Request { from, version, request }, digest);
    }

    /// The server's end is gone, and its machine gets an event.
    pub(super) fn server_gone(&mut self, c: u32) {
        let conn = self.conns[c as usize].as_ref().expect("gone while alive");
        let (server, connection) = (conn.server, conn.id);
        self.close_server(c);
        self.deliver(server, Event::ConnectionClosed { connection });
    }

    pub(super) fn close_server(&mut self, c: u32) {
        let conn = self.conns[c as usize].as_mut().expect("closed while alive");
        conn.server_alive = false;
        conn.line.clear();
        conn.queue.clear();
        conn.pipes[super::UP].held.clear();
        conn.pipes[super::UP].held_bytes = 0;
        let accepted = &mut self.hosts[conn.server as usize].accepted;
        accepted[conn.id.0 as usize - 1] = NO_CONN;
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DOWN, LinkConfig};
    use super::*;
    use crate::world::{Exit, HostConfig, Machine, World, WorldConfig};
    use std::time::Duration;
    use wavetank_core::env::{Channel, Env};
    use wavetank_core::msg::{ProduceRequest, ProduceResponse};
    use wavetank_core::types::NodeId;

    const CLIENT: NodeId = NodeId(0);
    const SERVER: NodeId = NodeId(1);

    /// Keeps what it is asked, and the answers that it gets.
    #[derive(Clone, Debug, Default)]
    struct Puppet {
        asked: Vec<ReplyTo>,
        answers: u32,
    }

    impl Machine for Puppet {
        fn step(&mut self, event: Event, _env: &mut dyn Env) {
            match event {
                Event::Request { from, .. } => self.asked.push(from),
                Event::Rpc { .. } => self.answers += 1,
                _ => {}
            }
        }

        fn exit(&self) -> Option<Exit> {
            None
        }
    }

    fn run(world: &mut World<Puppet>) {
        let until = world.now() + 1_000_000_000;
        while world.next_before(until).is_some() {}
    }

    /// Three produces are answered in reverse. `meddle` may change what is on its way then.
    fn answered_in_reverse(meddle: impl Fn(&mut World<Puppet>)) -> u32 {
        let link = LinkConfig { min: 5_000_000, ..LinkConfig::default() };
        let mut world = World::new(1, WorldConfig { link, ..WorldConfig::default() });
        for node in [CLIENT, SERVER] {
            world.add_host(node, HostConfig::default());
            world.start(node, Puppet::default());
        }
        for _ in 0..3 {
            world.act(CLIENT, |_, env| {
                let (acks, timeout_ms, topics) = (1, 1000, vec![]);
                let transactional_id = None;
                let request = ProduceRequest { transactional_id, acks, timeout_ms, topics };
                let timeout = Duration::from_secs(60);
                env.request(SERVER, Channel::Produce, timeout, Request::Produce(request));
            });
        }
        run(&mut world);
        world.act(SERVER, |machine, env| {
            assert_eq!(machine.asked.len(), 3, "all of them are under way");
            for to in machine.asked.drain(..).rev() {
                env.respond(to, Response::Produce(ProduceResponse::default()));
            }
        });
        meddle(&mut world);
        run(&mut world);
        world.machine(CLIENT).expect("it runs").answers
    }

    #[test]
    fn answers_wait_for_the_earlier_ones() {
        assert_eq!(answered_in_reverse(|_| {}), 3);
    }

    /// The check that answers of a connection come in order does fire.
    #[test]
    #[should_panic(expected = "answers come in the order of asking")]
    fn answers_out_of_order_are_noticed() {
        answered_in_reverse(|world| {
            let conn = world.inner.conns[0].as_mut().expect("one connection");
            let under_way = &mut conn.pipes[DOWN].under_way;
            assert_eq!(under_way.len(), 3);
            let first = under_way[0].frame.clone();
            under_way[0].frame = std::mem::replace(&mut under_way[1].frame, first);
        });
    }
}
