//! Messages as they leave a machine: they may be altered here, and answers are inspected before
//! that.
//!
//! What does not live here: what a flipped bit ([`damage`]) and a lie ([`lie`]) do to a message.

use wavetank_core::msg::{Request, Response};
use wavetank_core::note::Note;

use super::serving::Serving;
use super::{DOWN, UP, damage, lie};
use crate::decide::{Place, Purpose};
use crate::digest::digest_of;
use crate::world::Inner;

/// An answer that leaves a machine, with the context needed to judge it.
#[derive(Clone, Copy, Debug)]
pub struct Exchange<'a> {
    /// The request as the machine received it. Kept only for a fetch and an `AlterPartition`.
    pub request: Option<&'a Request>,
    /// The answer, before any alteration.
    pub response: &'a Response,
    /// Was it sent because a timer fired?
    pub by_timer: bool,
    /// Did the machine advance a high watermark in the same step?
    pub advanced: bool,
}

/// Judges an answer. The error says what is wrong, as the rest of a sentence.
pub type Inspect = fn(&Exchange<'_>) -> Result<(), String>;

impl Inner {
    /// Returns an answer as it leaves for its client: unchanged, with a bit flipped, or as a lie.
    /// Also returns its digest.
    pub(super) fn alter(&mut self, c: u32, response: Response, digest: u64) -> (Response, u64) {
        let conn = self.conns[c as usize].as_ref().expect("answered on what exists");
        let link = &mut self.links[conn.server as usize][conn.client as usize];
        let pipe = &conn.pipes[DOWN];
        let place = |purpose: Purpose| pipe.key.with(purpose as u64).with(pipe.sent);
        let strikes = |place: Place, per_million: u64| {
            per_million > 0 && self.dice.ratio(place, per_million, 1_000_000)
        };
        let (damaged, lied) = (place(Purpose::Damage), place(Purpose::Lie));
        let mut response = response;
        let mut altered = false;
        if strikes(damaged, link.damage_per_million)
            && damage::flip(&mut response, damaged, &self.dice)
        {
            link.counts.damaged += 1;
            altered = true;
        }
        if strikes(lied, link.lies_per_million) && lie::lie(&mut response, lied, &self.dice) {
            link.counts.lies += 1;
            altered = true;
        }
        let digest = if altered { digest_of(&response) } else { digest };
        (response, digest)
    }

    /// Lets a request leave unchanged or turns it into a lie.
    pub(super) fn misask(&mut self, c: u32, request: &mut Request) {
        let conn = self.conns[c as usize].as_mut().expect("asked on what exists");
        let link = &mut self.links[conn.client as usize][conn.server as usize];
        let correlation = conn.next_correlation;
        let place = conn.pipes[UP].key.with(Purpose::Lie as u64).with(correlation as u64);
        let per_million = link.lies_per_million.saturating_mul(lie::weight(request)).min(900_000);
        if per_million > 0
            && self.dice.ratio(place, per_million, 1_000_000)
            && lie::ask(request, place, &self.dice)
        {
            link.counts.lies += 1;
            conn.lies.insert(correlation);
        }
    }

    /// Inspects an answer that leaves a machine, and records a complaint about it.
    pub(super) fn inspect(&mut self, h: u32, c: u32, serving: &Serving, response: &Response) {
        let Some(inspect) = self.inspect else { return };
        let conn = self.conns[c as usize].as_mut().expect("answered on what exists");
        let lied = conn.lies.remove(&serving.correlation);
        let host = &self.hosts[h as usize];
        let advanced = |note: &Note| matches!(note, Note::HighWatermark { .. });
        let exchange = Exchange {
            request: serving.asked.as_deref(),
            response,
            by_timer: host.serves_timer,
            advanced: self.notes.iter().any(|(_, node, note)| *node == host.node && advanced(note)),
        };
        let why = match inspect(&exchange) {
            Err(why) => why,
            Ok(()) if lied && lie::believed(response) => {
                format!("{:?} as if the request had not been a lie: {response:?}", response.api())
            }
            Ok(()) => return,
        };
        self.odd_answers.push((host.node, why));
    }
}

/// A copy of a request that its answer will be judged against. `None` if they are not judged
/// together.
pub(super) fn kept(request: &Request) -> Option<Box<Request>> {
    let is_judged = matches!(request, Request::Fetch(_) | Request::AlterPartition(_));
    is_judged.then(|| Box::new(request.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Exit, HostConfig, Machine, World, WorldConfig};
    use std::time::Duration;
    use wavetank_core::env::{Channel, Env};
    use wavetank_core::event::{Event, ReplyTo, TimerKey};
    use wavetank_core::msg::{FetchRequest, FetchResponse};
    use wavetank_core::types::{NodeId, Offset, TopicPartition};

    const CLIENT: NodeId = NodeId(0);
    const SERVER: NodeId = NodeId(1);

    /// Answers the first request at once, the second from a timer, and the third from a timer that
    /// also moves a high watermark.
    #[derive(Clone, Debug, Default)]
    struct Waiting {
        from: Option<ReplyTo>,
        served: i32,
    }

    impl Machine for Waiting {
        fn step(&mut self, event: Event, env: &mut dyn Env) {
            match event {
                Event::Request { from, .. } => {
                    self.from = Some(from);
                    if self.served > 0 {
                        let soon = env.now().after(Duration::from_millis(5));
                        return env.arm(TimerKey::Heartbeat, soon);
                    }
                }
                Event::Timer { .. } => {}
                _ => return,
            }
            if self.served == 2 {
                let (partition, from, to) = (TopicPartition::METADATA, Offset(0), Offset(1));
                env.note(Note::HighWatermark { partition, leader: true, from, to });
            }
            self.served += 1;
            let throttle_time_ms = self.served;
            let answer = FetchResponse { throttle_time_ms, ..Default::default() };
            env.respond(self.from.expect("somebody asked"), Response::Fetch(answer));
        }

        fn exit(&self) -> Option<Exit> {
            None
        }
    }

    #[test]
    fn an_answer_is_judged_with_its_question_and_its_occasion() {
        let mut world = World::new(1, WorldConfig::default());
        for node in [CLIENT, SERVER] {
            world.add_host(node, HostConfig::default());
            world.start(node, Waiting::default());
        }
        world.inspect_answers(|exchange| {
            let Some(Request::Fetch(asked)) = exchange.request else { return Ok(()) };
            let by = (asked.rack_id.as_str(), exchange.by_timer, exchange.advanced);
            Err(format!("{by:?}"))
        });
        let mut heard = Vec::new();
        for name in ["a", "b", "c"] {
            let asked = FetchRequest { rack_id: name.to_owned(), ..Default::default() };
            let (peer, timeout) = (SERVER, Duration::from_secs(9));
            let request = Request::Fetch(asked);
            world.act(CLIENT, |_, env| env.request(peer, Channel::Admin, timeout, request));
            let until = world.now() + 1_000_000_000;
            while world.next_before(until).is_some() {
                heard.extend(world.drain_odd_answers().map(|(_, why)| why));
                let _ = world.drain_notes();
            }
        }
        let expected = [("a", false, false), ("b", true, false), ("c", true, true)];
        assert_eq!(heard, expected.map(|by| format!("{by:?}")));
    }
}
