//! Bytes that change on their way, past TCP's checksum: one bit of the records of a batch, which only
//! the batch's own CRC can tell. Bits of the frame around it are left alone: what they spoil has no
//! checksum above TCP's in Kafka's protocol.

use wavetank_core::batch::{Batch, HEADER_LEN};
use wavetank_core::msg::Response;

use crate::decide::{Dice, Place, Purpose};
use crate::digest::digest_of;
use crate::world::Inner;

impl Inner {
    /// An answer leaves for its client as it is, with a bit flipped, or as a lie; with the digest of
    /// what leaves.
    pub(super) fn alter(&mut self, c: u32, response: Response, digest: u64) -> (Response, u64) {
        let conn = self.conns[c as usize].as_ref().expect("answered on what exists");
        let link = &mut self.links[conn.server as usize][conn.client as usize];
        let pipe = &conn.pipes[super::DOWN];
        let place = |purpose: Purpose| pipe.key.with(purpose as u64).with(pipe.sent);
        let strikes = |place: Place, per_million: u64| {
            per_million > 0 && self.dice.ratio(place, per_million, 1_000_000)
        };
        let (damage, lie) = (place(Purpose::Damage), place(Purpose::Lie));
        let mut response = response;
        let mut altered = false;
        if strikes(damage, link.damage_per_million) && flip(&mut response, damage, &self.dice) {
            link.counts.damaged += 1;
            altered = true;
        }
        if strikes(lie, link.lies_per_million) && super::lie::lie(&mut response, lie, &self.dice) {
            link.counts.lies += 1;
            altered = true;
        }
        let digest = if altered { digest_of(&response) } else { digest };
        (response, digest)
    }
}

/// Flips a bit of some batch's records. False if there is none.
fn flip(response: &mut Response, place: Place, dice: &Dice) -> bool {
    let Response::Fetch(fetch) = response else { return false };
    let partitions = fetch.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
    let mut batches: Vec<&mut Batch> =
        partitions.flat_map(|partition| &mut partition.records).collect();
    if batches.is_empty() {
        return false;
    }
    let chosen = dice.decide(place.with(1), batches.len() as u64) as usize;
    let batch = &mut *batches[chosen];
    let mut bytes = batch.to_bytes().to_vec();
    if bytes.len() <= HEADER_LEN {
        return false;
    }
    let at = HEADER_LEN + dice.decide(place.with(2), (bytes.len() - HEADER_LEN) as u64) as usize;
    bytes[at] ^= 1 << dice.decide(place.with(3), 8);
    match Batch::parse(&bytes.into()) {
        Ok(damaged) => {
            *batch = damaged;
            true
        }
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_core::batch::BatchBuilder;
    use wavetank_core::error_code::ErrorCode;
    use wavetank_core::msg::{FetchPartitionResponse, FetchResponse, FetchTopicResponse};
    use wavetank_core::types::{LeaderEpoch, Offset, TopicRef};

    #[test]
    fn a_flipped_bit_is_one_that_the_crc_tells() {
        let mut builder = BatchBuilder::new();
        builder.push(5, None, Some(b"value"), &[]);
        let whole = builder.build(Offset(7), LeaderEpoch(2));
        let answer = |records| {
            let failed = FetchPartitionResponse::failed(0, ErrorCode::None);
            let partitions = vec![FetchPartitionResponse { records, ..failed }];
            let topics = vec![FetchTopicResponse { topic: TopicRef::name("t"), partitions }];
            Response::Fetch(FetchResponse { topics, ..FetchResponse::default() })
        };
        for seed in 0..50 {
            let dice = Dice::new(seed);
            let mut response = answer(vec![whole.clone()]);
            assert!(flip(&mut response, dice.place(Purpose::Damage), &dice));
            let Response::Fetch(fetch) = &response else { unreachable!("it is a fetch") };
            let damaged = &fetch.topics[0].partitions[0].records[0];
            assert!(whole.verify_crc() && !damaged.verify_crc());
            assert_eq!((damaged.base_offset, damaged.crc()), (Offset(7), whole.crc()));
        }
        let dice = Dice::new(1);
        assert!(!flip(&mut answer(Vec::new()), dice.place(Purpose::Damage), &dice));
    }
}
