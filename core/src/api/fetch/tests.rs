//! How many fetches may wait, and which are evicted first. Their conditions are tested with
//! brokers.

use alloc::vec;
use alloc::vec::Vec;

use super::parking::Parking;
use super::{Asked, Entry, Fetch};
use crate::batch::BatchBuilder;
use crate::event::{ConnectionId, ReplyTo};
use crate::types::{BrokerEpoch, LeaderEpoch, Monotonic, NodeId, Offset, PartitionId};

fn from(connection: u64) -> ReplyTo {
    ReplyTo { connection: ConnectionId(connection), number: 0 }
}

/// A fetch that watches the partitions below `count`.
fn fetch(count: u32, replica: Option<NodeId>) -> Fetch {
    let asked = |partition| Asked {
        partition,
        current_leader_epoch: LeaderEpoch::NONE,
        fetch_offset: Offset::ZERO,
        last_fetched_epoch: LeaderEpoch::NONE,
        max_bytes: 1,
    };
    let entry = |id: u32| Entry {
        topic: 0,
        partition: Some(PartitionId(id)),
        counted: 0,
        asked: asked(id as i32),
    };
    Fetch {
        listener: "PLAINTEXT".into(),
        replica,
        replica_epoch: BrokerEpoch::NONE,
        min_bytes: 1,
        max_bytes: 1,
        deadline: Some(Monotonic(1)),
        topics: Vec::new(),
        entries: (0..count).map(entry).collect(),
        states: Vec::new(),
        reading: Default::default(),
        available: 0,
    }
}

fn early(parking: &mut Parking, connection: u64, parked: Fetch) -> Vec<u64> {
    let early = parking.park(from(connection), parked);
    early.into_iter().map(|(from, _)| from.connection.0).collect()
}

#[test]
fn where_there_is_no_place_the_fetch_that_watches_most_waits_no_longer() {
    let mut parking = Parking::of(100);
    assert_eq!(early(&mut parking, 1, fetch(49, None)), [], "it and its 49 weigh 50");
    assert_eq!(early(&mut parking, 2, fetch(39, None)), []);
    assert_eq!(early(&mut parking, 3, fetch(9, None)), [], "now it is full");
    assert_eq!(early(&mut parking, 4, fetch(0, None)), [1], "the heaviest goes");
    assert_eq!(early(&mut parking, 5, fetch(60, None)), [5], "and if it is the new one, that");
    assert_eq!(parking.len(), 3);
    assert_eq!(parking.watchers_of(PartitionId(0)), [(from(2), 0), (from(3), 0)]);
    assert!(parking.unpark(from(2)).is_some());
    assert_eq!(early(&mut parking, 6, fetch(88, None)), [], "there is place again");
    assert_eq!(early(&mut parking, 7, fetch(200, None)), [7], "it alone is too much");
}

#[test]
fn a_follower_has_its_place_but_only_one() {
    let mut parking = Parking::of(10);
    let follower = Some(NodeId(2));
    assert_eq!(early(&mut parking, 1, fetch(1000, follower)), []);
    assert_eq!(early(&mut parking, 2, fetch(1000, follower)), [2]);
    assert_eq!(early(&mut parking, 3, fetch(1000, Some(NodeId(3)))), []);
    assert_eq!(early(&mut parking, 4, fetch(9, None)), [], "they weigh nothing");
    parking.drop_all(from(1)..=from(1));
    assert_eq!(early(&mut parking, 5, fetch(1000, follower)), []);
    assert_eq!(parking.len(), 3);
}

#[test]
fn what_leaves_leaves_nothing_behind() {
    let mut parking = Parking::of(50);
    for connection in 0..10 {
        parking.park(from(connection), fetch(20, (connection == 4).then_some(NodeId(4))));
    }
    parking.drop_all(from(0)..=from(9));
    assert_eq!(parking, Parking::of(50));
}

#[test]
fn the_names_of_topics_weigh_too() {
    let mut named = fetch(1, None);
    let name = |_| crate::types::TopicRef::name("n".repeat(32_000));
    named.topics = (0..3).map(name).collect();
    assert_eq!(early(&mut Parking::of(1000), 1, named), [1]);
    assert_eq!(early(&mut Parking::of(1000), 1, fetch(1, None)), vec![0; 0]);
}

/// The reads of three partitions brought more than the limit: only the first batch may exceed it.
#[test]
fn an_answer_keeps_what_fits_in_the_order_of_the_request() {
    let batch = || {
        let mut builder = BatchBuilder::new();
        builder.push(1, None, Some(b"value"), &[]);
        builder.build(Offset::ZERO, LeaderEpoch::NONE)
    };
    let size = batch().size_in_bytes();
    let kept = |max_bytes: usize, read: [usize; 3]| {
        let (mut left, mut any) = (max_bytes, false);
        read.map(|count| {
            let mut records: Vec<_> = (0..count).map(|_| batch()).collect();
            super::keep_what_fits(&mut records, &mut left, &mut any);
            records.len()
        })
    };
    assert_eq!(kept(1, [1, 1, 1]), [1, 0, 0], "the first, however large");
    assert_eq!(kept(1, [0, 2, 1]), [0, 1, 0], "the first of all, in whichever partition");
    assert_eq!(kept(3 * size - 1, [1, 2, 1]), [1, 1, 0], "nothing after what did not fit");
    assert_eq!(kept(4 * size, [1, 2, 1]), [1, 2, 1]);
}

/// A waiting fetch may have ten thousand partitions; each costs a few hundred bytes at most.
#[test]
fn what_waits_is_small() {
    assert!(size_of::<Entry>() <= 40, "{}", size_of::<Entry>());
}
