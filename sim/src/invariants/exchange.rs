//! An answer matches its request, and does not come later than necessary.
//!
//! Source: KIP-74 for what a fetch may carry, KIP-497 for `AlterPartition`, Kafka's `DelayedFetch`
//! for when a fetch is answered. Reason: clients retry until they have what they want. So a broker
//! that gives mismatched answers, or waits without need, makes no history wrong: it is only slow.
//!
//! Violations are reported by [`Answers`](super::Answers), which also judges each answer by itself.

use std::collections::BTreeSet;
use wavetank_core::batch::Batch;
use wavetank_core::msg::{
    AlterPartitionRequest, AlterPartitionResponse, FetchPartition, FetchPartitionResponse,
    FetchRequest, FetchResponse, Request, Response,
};
use wavetank_core::types::{Offset, TopicRef};

use crate::world::Exchange;

/// Checks an answer by itself and against its request.
///
/// # Errors
/// What is wrong, as the rest of a sentence.
pub fn check(exchange: &Exchange<'_>) -> Result<(), String> {
    let Exchange { request, response, by_timer, advanced } = *exchange;
    super::answers::check(response)?;
    let odd = match (request, response) {
        (Some(Request::Fetch(asked)), Response::Fetch(fetched)) => of_fetch(asked, fetched)
            .or_else(|| {
                let waited = by_timer && !advanced && had_enough(asked, fetched);
                waited.then_some("records that it should have returned at once (fetch.min.bytes)")
            }),
        (Some(Request::AlterPartition(asked)), Response::AlterPartition(altered)) => {
            of_alteration(asked, altered)
        }
        _ => None,
    };
    odd.map_or(Ok(()), |odd| {
        Err(format!("{:?} with {odd}: {response:?} to {request:?}", response.api()))
    })
}

/// Pairs each partition of a fetch answer with its request.
fn pairs<'a>(
    asked: &'a FetchRequest,
    fetched: &'a FetchResponse,
) -> impl Iterator<Item = (Option<&'a FetchPartition>, &'a FetchPartitionResponse)> {
    let same = |one: &TopicRef, other: &TopicRef| {
        if one.name.is_empty() || other.name.is_empty() {
            one.id == other.id
        } else {
            one.name == other.name
        }
    };
    fetched.topics.iter().flat_map(move |topic| {
        topic.partitions.iter().map(move |one| {
            let topics = asked.topics.iter().filter(|asked| same(&asked.topic, &topic.topic));
            let mut partitions = topics.flat_map(|topic| &topic.partitions);
            (partitions.find(|asked| asked.partition == one.partition), one)
        })
    })
}

fn of_fetch(asked: &FetchRequest, fetched: &FetchResponse) -> Option<&'static str> {
    let mut seen = BTreeSet::new();
    let (mut bytes, mut first) = (0, 0);
    for (wanted, one) in pairs(asked, fetched) {
        let Some(wanted) = wanted else { return Some("a partition that was not requested") };
        if !seen.insert(std::ptr::from_ref(wanted)) {
            return Some("a partition listed twice");
        }
        let Some(head) = one.records.first() else { continue };
        if head.base_offset > wanted.fetch_offset || end_of(head) <= wanted.fetch_offset {
            return Some("records that do not begin at the requested offset");
        }
        let size: usize = one.records.iter().map(Batch::size_in_bytes).sum();
        let head = head.size_in_bytes();
        if size > head && !within(size, wanted.max_bytes) {
            return Some("more bytes of a partition than requested (KIP-74)");
        }
        if bytes == 0 {
            first = head;
        }
        bytes += size;
    }
    (bytes > first && !within(bytes, asked.max_bytes))
        .then_some("more bytes in total than requested (KIP-74)")
}

fn end_of(batch: &Batch) -> Offset {
    batch.last_offset() + 1
}

fn within(bytes: usize, limit: i32) -> bool {
    usize::try_from(limit).is_ok_and(|limit| bytes <= limit)
}

/// Does the answer have no errors and at least the bytes that the fetch was to wait for?
fn had_enough(asked: &FetchRequest, fetched: &FetchResponse) -> bool {
    let partitions = || fetched.topics.iter().flat_map(|topic| &topic.partitions);
    let alone = |one: &FetchPartitionResponse| one.error.is_ok() && one.diverging_epoch.is_none();
    let records = partitions().flat_map(|one| &one.records);
    let bytes: usize = records.map(Batch::size_in_bytes).sum();
    bytes > 0
        && partitions().all(alone)
        && usize::try_from(asked.min_bytes).is_ok_and(|min| bytes >= min)
}

/// An altered partition keeps its leader epoch and gets a larger partition epoch.
fn of_alteration(
    asked: &AlterPartitionRequest,
    altered: &AlterPartitionResponse,
) -> Option<&'static str> {
    for (id, results) in &altered.topics {
        for result in results.iter().filter(|result| result.error.is_ok()) {
            let topics = asked.topics.iter().filter(|topic| topic.id == *id);
            let mut partitions = topics.flat_map(|topic| &topic.partitions);
            let Some(wanted) = partitions.find(|one| one.partition == result.partition) else {
                return Some("a partition that was not requested");
            };
            if result.leader_epoch != wanted.leader_epoch {
                return Some("a leader epoch other than the request's");
            }
            if result.partition_epoch <= wanted.partition_epoch {
                return Some("a partition epoch that did not increase");
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_core::batch::BatchBuilder;
    use wavetank_core::error_code::ErrorCode;
    use wavetank_core::msg::{
        AlterPartitionData, AlterPartitionResult, AlterPartitionTopic, FetchTopic,
        FetchTopicResponse,
    };
    use wavetank_core::types::{BrokerEpoch, LeaderEpoch, NodeId, PartitionEpoch, Uuid};

    /// Two records in one batch.
    fn batch(base: i64) -> Batch {
        let mut builder = BatchBuilder::new();
        builder.push(5, None, Some(b"value"), &[]);
        builder.push(5, None, Some(b"value"), &[]);
        builder.build(Offset(base), LeaderEpoch(0))
    }

    fn size() -> i32 {
        batch(0).size_in_bytes() as i32
    }

    /// A fetch of a partition from offset 7 on.
    fn asked(max_bytes: i32, partition_max_bytes: i32) -> Request {
        let partition = FetchPartition {
            partition: 0,
            current_leader_epoch: LeaderEpoch::NONE,
            fetch_offset: Offset(7),
            last_fetched_epoch: LeaderEpoch::NONE,
            log_start_offset: Offset(-1),
            max_bytes: partition_max_bytes,
            replica_directory_id: Uuid::ZERO,
            high_watermark: Offset(i64::MAX),
        };
        let second = FetchPartition { partition: 1, ..partition.clone() };
        let topic = FetchTopic { topic: TopicRef::name("t"), partitions: vec![partition, second] };
        Request::Fetch(FetchRequest {
            min_bytes: size(),
            max_bytes,
            topics: vec![topic],
            ..FetchRequest::default()
        })
    }

    fn fetched(partitions: &[(i32, &[i64])]) -> Response {
        let one = |&(partition, bases): &(i32, &[i64])| FetchPartitionResponse {
            high_watermark: Offset(99),
            last_stable_offset: Offset(99),
            log_start_offset: Offset(0),
            records: bases.iter().map(|base| batch(*base)).collect(),
            ..FetchPartitionResponse::failed(partition, ErrorCode::None)
        };
        let partitions = partitions.iter().map(one).collect();
        let topic = FetchTopicResponse { topic: TopicRef::name("t"), partitions };
        Response::Fetch(FetchResponse { topics: vec![topic], ..FetchResponse::default() })
    }

    fn judged(request: &Request, response: &Response, by_timer: bool) -> Result<(), String> {
        check(&Exchange { request: Some(request), response, by_timer, advanced: false })
    }

    fn complaint(request: &Request, response: &Response) -> String {
        judged(request, response, false).expect_err("it is odd")
    }

    #[test]
    fn records_beside_what_was_asked_are_caught() {
        let all = asked(i32::MAX, i32::MAX);
        assert_eq!(judged(&all, &fetched(&[(0, &[6, 8]), (1, &[7])]), false), Ok(()));
        for beside in [5, 8] {
            let wrong = complaint(&all, &fetched(&[(0, &[beside])]));
            assert!(wrong.contains("do not begin at the requested offset"), "{wrong}");
        }
        assert!(complaint(&all, &fetched(&[(2, &[])])).contains("was not requested"));
        assert!(complaint(&all, &fetched(&[(0, &[]), (0, &[])])).contains("twice"));
    }

    #[test]
    fn more_than_a_fetch_may_carry_is_caught() {
        let (one, two) = (size(), 2 * size());
        let both = fetched(&[(0, &[7, 9])]);
        assert_eq!(judged(&asked(two, two), &both, false), Ok(()));
        assert!(complaint(&asked(two, two - 1), &both).contains("more bytes of a partition"));
        assert!(complaint(&asked(two - 1, two), &both).contains("more bytes in total"));
        let apart = fetched(&[(0, &[7]), (1, &[7])]);
        assert!(complaint(&asked(two - 1, one), &apart).contains("more bytes in total"));
        // The first batch is returned however large it is.
        assert_eq!(judged(&asked(1, 1), &fetched(&[(0, &[7]), (1, &[])]), false), Ok(()));
    }

    #[test]
    fn a_fetch_that_waited_for_nothing_is_caught() {
        let (all, enough) = (asked(i32::MAX, i32::MAX), fetched(&[(0, &[7])]));
        assert_eq!(judged(&all, &enough, false), Ok(()));
        assert!(judged(&all, &enough, true).unwrap_err().contains("at once"));
        assert_eq!(judged(&all, &fetched(&[(0, &[])]), true), Ok(()), "there was nothing");
        let request = Some(&all);
        let exchange = Exchange { request, response: &enough, by_timer: true, advanced: true };
        assert_eq!(check(&exchange), Ok(()), "it has just come to be readable");
        let mut failed = enough.clone();
        if let Response::Fetch(fetch) = &mut failed {
            let error = ErrorCode::NotLeaderOrFollower;
            fetch.topics[0].partitions.push(FetchPartitionResponse::failed(1, error));
        }
        assert_eq!(judged(&all, &failed, true), Ok(()), "the other partition has just failed");
    }

    #[test]
    fn an_alteration_that_moves_nothing_is_caught() {
        let data = AlterPartitionData {
            partition: 0,
            leader_epoch: LeaderEpoch(2),
            new_isr: vec![(NodeId(1), BrokerEpoch(5))],
            leader_recovery_state: 0,
            partition_epoch: PartitionEpoch(3),
        };
        let topics = vec![AlterPartitionTopic { id: Uuid(9), partitions: vec![data] }];
        let (broker, broker_epoch) = (NodeId(1), BrokerEpoch(5));
        let asked = Request::AlterPartition(AlterPartitionRequest { broker, broker_epoch, topics });
        let altered = |partition, leader_epoch, partition_epoch| {
            let result = AlterPartitionResult {
                partition,
                error: ErrorCode::None,
                leader: NodeId(1),
                leader_epoch: LeaderEpoch(leader_epoch),
                isr: vec![NodeId(1)],
                leader_recovery_state: 0,
                partition_epoch: PartitionEpoch(partition_epoch),
            };
            let topics = vec![(Uuid(9), vec![result])];
            Response::AlterPartition(AlterPartitionResponse { topics, ..Default::default() })
        };
        assert_eq!(judged(&asked, &altered(0, 2, 4), false), Ok(()));
        assert!(complaint(&asked, &altered(0, 2, 3)).contains("did not increase"));
        assert!(complaint(&asked, &altered(0, 3, 4)).contains("a leader epoch other than"));
        assert!(complaint(&asked, &altered(1, 2, 4)).contains("was not requested"));
    }
}
