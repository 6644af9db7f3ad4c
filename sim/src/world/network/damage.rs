//! Bytes that change in transit, undetected by TCP's checksum: one bit of a batch's records, which
//! only the batch's own CRC can detect. Bits of the surrounding frame are left alone, because
//! Kafka's protocol has no checksum for them besides TCP's.

use wavetank_core::batch::{Batch, HEADER_LEN};
use wavetank_core::msg::Response;

use crate::decide::{Dice, Place};

/// Flips a bit of some batch's records. False if there is none.
pub(super) fn flip(response: &mut Response, place: Place, dice: &Dice) -> bool {
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
    use crate::decide::Purpose;
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
