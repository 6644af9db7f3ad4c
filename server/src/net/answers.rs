//! The largest answer accepted from a peer. It follows from the request, and may exceed this node's
//! limit on requests (`socket.request.max.bytes`).
//!
//! A request frame holds what one client sends at a time. The answer to a follower's fetch holds
//! batches of many clients, and the first batch whatever its size (KIP-74), even one written under
//! other limits. If it were refused once, it would be refused every time, and replication would
//! stall. So Kafka's followers accept any size. Here there is a bound, because a peer may be
//! faulty, and memory is taken only as bytes arrive.

use wavetank_core::msg::{Answer, FetchRequest, Request};

/// The most that this node asks for in one fetch, in bytes. Leaders return 55 MiB by default
/// (`fetch.max.bytes`).
const MOST_FETCHED: i32 = 64 << 20;

/// The largest batch accepted if `socket.request.max.bytes` is smaller, in bytes. It exceeds that
/// key's default of 100 MiB, up to which the leader may have accepted batches.
const LARGEST_BATCH: usize = 256 << 20;

/// Maximum size of a fetch response besides its records, in bytes: its header and the leaders'
/// endpoints...
const FETCH_HEADER: usize = 1 << 20;
/// ... for each topic, its name, and ...
const FETCH_TOPIC: usize = 512;
/// ... for each partition, offsets, epochs and the leader.
const FETCH_PARTITION: usize = 256;

/// The bound on answers to anything but a fetch, in bytes. The metadata of a hundred thousand
/// partitions takes some 10 MB.
const OTHERS: usize = 64 << 20;

/// The bound on the answer to the first request on a connection, when the peer has not identified
/// itself.
pub(super) const FIRST: usize = 1 << 20;

/// Limits a fetch to what this node wants to hold. (Each partition of a replica's fetch is bounded;
/// their sum is not.)
pub(super) fn moderate(request: &mut Request) {
    if let Request::Fetch(fetch) = request {
        fetch.max_bytes = fetch.max_bytes.min(MOST_FETCHED);
    }
}

/// The most bytes that the answer may have. `max_frame` is `socket.request.max.bytes`.
pub(super) fn bound(request: &Request, max_frame: usize) -> usize {
    match request {
        Request::Fetch(fetch) => bound_of_fetch(fetch, max_frame),
        _ => {
            assert_ne!(request.api().properties().answer, Answer::Records, "it has a bound above");
            OTHERS
        }
    }
}

fn bound_of_fetch(fetch: &FetchRequest, max_frame: usize) -> usize {
    let bytes = |asked| usize::try_from(asked).unwrap_or(0);
    let parts = fetch.topics.iter().flat_map(|topic| &topic.partitions);
    let (count, of_parts) = parts.fold((0_usize, 0_usize), |(count, sum), part| {
        (count + 1, sum.saturating_add(bytes(part.max_bytes)))
    });
    bytes(fetch.max_bytes).min(of_parts)
        + max_frame.max(LARGEST_BATCH)
        + FETCH_HEADER
        + fetch.topics.len() * FETCH_TOPIC
        + count * FETCH_PARTITION
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_core::msg::{FetchPartition, FetchTopic, MetadataRequest};
    use wavetank_core::types::{LeaderEpoch, Offset, TopicRef, Uuid};

    fn fetch(partitions: i32, each: i32) -> Request {
        let part = |partition| FetchPartition {
            partition,
            current_leader_epoch: LeaderEpoch(0),
            fetch_offset: Offset(0),
            last_fetched_epoch: LeaderEpoch(0),
            log_start_offset: Offset(0),
            max_bytes: each,
            replica_directory_id: Uuid::ZERO,
            high_watermark: Offset(0),
        };
        let partitions = (0..partitions).map(part).collect();
        let topics = vec![FetchTopic { topic: TopicRef::name("t"), partitions }];
        Request::Fetch(FetchRequest { topics, ..FetchRequest::default() })
    }

    #[test]
    fn a_fetch_has_what_was_asked_and_a_batch_of_any_size() {
        let mut few = fetch(12, 12 << 20);
        moderate(&mut few);
        let small = 4 << 20;
        // The sum of the partitions' bounds is capped; the largest batch on top of it is not.
        assert!(bound(&few, small) > (64 << 20) + (256 << 20));
        assert!(bound(&few, small) < (64 << 20) + (256 << 20) + (2 << 20));
        let mut one = fetch(1, 1 << 20);
        moderate(&mut one);
        assert!(bound(&one, small) < (256 << 20) + (4 << 20), "asked for less");
        assert!(bound(&one, 300 << 20) > 301 << 20, "who takes larger requests has larger batches");
        let mut hostile = fetch(3, -1);
        moderate(&mut hostile);
        assert!(bound(&hostile, 0) < 258 << 20);
    }

    #[test]
    fn others_do_not_depend_on_the_limit_for_requests() {
        let metadata = Request::Metadata(MetadataRequest::default());
        assert_eq!(bound(&metadata, 1024), OTHERS);
        assert_eq!(bound(&metadata, 1 << 30), OTHERS);
    }
}
