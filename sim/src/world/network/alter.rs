//! Where a message leaves a machine: it may be altered there, and an answer is looked at as it was
//! meant.
//!
//! What does not live here: what a flipped bit ([`damage`]) and a lie ([`lie`]) do to a message.

use wavetank_core::msg::{Request, Response};

use super::{DOWN, UP, damage, lie};
use crate::decide::{Place, Purpose};
use crate::digest::digest_of;
use crate::world::Inner;

impl Inner {
    /// An answer leaves for its client as it is, with a bit flipped, or as a lie; with the digest of
    /// what leaves.
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

    /// A request leaves as it is, or as a lie.
    pub(super) fn misask(&mut self, c: u32, request: &mut Request) {
        let conn = self.conns[c as usize].as_mut().expect("asked on what exists");
        let link = &mut self.links[conn.client as usize][conn.server as usize];
        let correlation = conn.next_correlation;
        let place = conn.pipes[UP].key.with(Purpose::Lie as u64).with(correlation as u64);
        // There are few such requests beside all the answers to fetches.
        let per_million = link.lies_per_million.saturating_mul(10).min(900_000);
        if per_million > 0
            && self.dice.ratio(place, per_million, 1_000_000)
            && lie::ask(request, place, &self.dice)
        {
            link.counts.lies += 1;
            conn.lies.insert(correlation);
        }
    }

    /// An answer leaves a machine: is it odd?
    pub(super) fn inspect(&mut self, host: u32, c: u32, correlation: i32, response: &Response) {
        let Some(inspect) = self.inspect else { return };
        let conn = self.conns[c as usize].as_mut().expect("answered on what exists");
        let lied = conn.lies.remove(&correlation);
        let why = match inspect(response) {
            Err(why) => why,
            Ok(()) if lied && lie::believed(response) => {
                format!("{:?} as if it had not been asked with a lie: {response:?}", response.api())
            }
            Ok(()) => return,
        };
        self.odd_answers.push((self.hosts[host as usize].node, why));
    }
}
