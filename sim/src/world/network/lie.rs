//! Answers between nodes that no correct peer gives: negative or used-up epochs, a divergence where there
//! is none, a log that starts beyond what is committed, batches out of place. Each is one that its reader
//! can know to be wrong. What only another node could know (a high watermark that runs ahead, a
//! divergence in the past) is believed in Kafka's protocol and here, and so is no lie of this kind.

use wavetank_core::batch::Batch;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{FetchPartitionResponse, Response};
use wavetank_core::types::{EpochEndOffset, LeaderEpoch, Offset};

use crate::decide::{Dice, Place};

/// No elections come that far.
const USED_UP: LeaderEpoch = LeaderEpoch(i32::MAX - 1);

/// Turns an answer into a lie. False if an answer of this kind cannot be one.
pub(super) fn lie(response: &mut Response, place: Place, dice: &Dice) -> bool {
    match response {
        Response::Fetch(fetch) => {
            let partitions = fetch.topics.iter_mut().flat_map(|topic| &mut topic.partitions);
            let mut partitions: Vec<&mut FetchPartitionResponse> =
                partitions.filter(|partition| partition.error.is_ok()).collect();
            if partitions.is_empty() {
                return false;
            }
            let chosen = dice.decide(place.with(1), partitions.len() as u64) as usize;
            of_partition(partitions[chosen], place, dice);
            true
        }
        Response::Vote(vote) => {
            vote.leader_epoch = USED_UP;
            true
        }
        Response::BeginQuorumEpoch(begin) => {
            begin.leader_epoch = USED_UP;
            true
        }
        Response::EndQuorumEpoch(end) => {
            end.leader_epoch = USED_UP;
            true
        }
        _ => false,
    }
}

fn of_partition(partition: &mut FetchPartitionResponse, place: Place, dice: &Dice) {
    let some = dice.decide(place.with(3), 1_000) as i32 + 2;
    let diverges = |epoch: LeaderEpoch, end_offset: i64| {
        Some(EpochEndOffset { epoch, end_offset: Offset(end_offset) })
    };
    match dice.decide(place.with(2), 7) {
        0 => partition.diverging_epoch = diverges(LeaderEpoch(-some), i64::from(some)),
        1 => partition.diverging_epoch = diverges(LeaderEpoch(0), i64::from(-some)),
        2 => partition.diverging_epoch = diverges(USED_UP, i64::MAX),
        3 => {
            partition.error = ErrorCode::OffsetOutOfRange;
            partition.log_start_offset = Offset(1 << 40);
            partition.records.clear();
        }
        4 if partition.current_leader.is_some() => {
            partition.current_leader.as_mut().expect("just seen").epoch = USED_UP;
        }
        choice => match partition.records.last_mut() {
            Some(batch) if choice == 5 => batch.leader_epoch = USED_UP,
            Some(Batch { base_offset, .. }) => *base_offset += i64::from(some),
            None => partition.diverging_epoch = diverges(LeaderEpoch(0), i64::from(-some)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::Purpose;
    use wavetank_core::batch::BatchBuilder;
    use wavetank_core::msg::{FetchResponse, FetchTopicResponse, LeaderIdAndEpoch, VoteResponse};
    use wavetank_core::types::{NodeId, TopicRef};

    #[test]
    fn each_lie_is_told() {
        let mut builder = BatchBuilder::new();
        builder.push(5, None, Some(b"value"), &[]);
        let whole = builder.build(Offset(7), LeaderEpoch(2));
        let leader = LeaderIdAndEpoch { leader: NodeId(1), epoch: LeaderEpoch(2) };
        let truth = FetchPartitionResponse {
            high_watermark: Offset(7),
            current_leader: Some(leader),
            records: vec![whole],
            ..FetchPartitionResponse::failed(0, ErrorCode::None)
        };
        let mut told = std::collections::BTreeSet::new();
        for seed in 0..100 {
            let dice = Dice::new(seed);
            let partitions = vec![truth.clone()];
            let topics = vec![FetchTopicResponse { topic: TopicRef::name("t"), partitions }];
            let fetch = FetchResponse { topics, ..FetchResponse::default() };
            let mut response = Response::Fetch(fetch);
            assert!(lie(&mut response, dice.place(Purpose::Lie), &dice));
            let Response::Fetch(fetch) = &response else { unreachable!("it is a fetch") };
            let said = &fetch.topics[0].partitions[0];
            told.insert(match (&said.diverging_epoch, said.records.first()) {
                (Some(diverges), _) if diverges.epoch == USED_UP => "beyond",
                (Some(diverges), _) if diverges.epoch.0 < 0 => "negative epoch",
                (Some(diverges), _) if diverges.end_offset.0 < 0 => "negative end",
                (_, None) => "start",
                (_, Some(_)) if said.current_leader.is_some_and(|it| it.epoch == USED_UP) => {
                    "leader"
                }
                (_, Some(batch)) if batch.leader_epoch == USED_UP => "epoch",
                (_, Some(batch)) if batch.base_offset > Offset(7) => "place",
                _ => panic!("it is the truth: {said:?}"),
            });
        }
        assert_eq!(told.len(), 7, "{told:?}");
        let dice = Dice::new(1);
        let mut vote = Response::Vote(VoteResponse {
            error: ErrorCode::None,
            leader: NodeId(1),
            leader_epoch: LeaderEpoch(2),
            vote_granted: true,
            node_endpoints: Vec::new(),
        });
        assert!(lie(&mut vote, dice.place(Purpose::Lie), &dice));
        assert!(matches!(vote, Response::Vote(vote) if vote.leader_epoch == USED_UP));
        let mut nothing = Response::Fetch(FetchResponse::default());
        assert!(!lie(&mut nothing, dice.place(Purpose::Lie), &dice));
    }
}
