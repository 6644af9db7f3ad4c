//! Partitions that one follower fetches from one leader take turns at coming first.

use bytes::Bytes;
use wavetank_core::batch::BatchBuilder;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::{
    CreatableTopic, CreateTopicsRequest, ProducePartition, ProduceRequest, ProduceTopic, Request,
    Response,
};
use wavetank_core::note::Note;
use wavetank_core::types::{LeaderEpoch, NodeId, Offset, TopicRef};

use super::tank::Tank;

fn produce(tank: &mut Tank, leader: NodeId, partition: i32, size: usize) {
    let mut builder = BatchBuilder::new();
    builder.push(1_750_000_000_000, None, Some(&vec![7; size]), &[]);
    let records: Bytes = builder.build(Offset::ZERO, LeaderEpoch::NONE).to_bytes();
    let part = ProducePartition { partition, records: Some(records), inspection: None };
    let topics = vec![ProduceTopic { topic: TopicRef::name("t"), partitions: vec![part] }];
    let (acks, timeout_ms) = (1, 2000);
    let request = ProduceRequest { transactional_id: None, acks, timeout_ms, topics };
    let Response::Produce(answer) = tank.ask(leader, Request::Produce(request)) else {
        panic!("not an answer to Produce")
    };
    assert_eq!(answer.topics[0].partitions[0].error, ErrorCode::None);
}

/// A follower comes back to a partition with a long backlog, each batch of which fills an answer,
/// and to one with a single small record, from the same leader.
#[test]
fn a_backlog_does_not_keep_a_follower_from_its_other_partitions() {
    const BACKLOG: usize = 30;
    let mut tank = Tank::tuned(5, 3, |config| {
        config.fetch_max_bytes = 64 << 10;
        config.replica_fetch_max_bytes = 64 << 10;
    });
    tank.run(10);
    let topic = CreatableTopic {
        name: "t".into(),
        num_partitions: 4,
        replication_factor: 3,
        assignments: vec![],
        configs: vec![],
    };
    let request =
        CreateTopicsRequest { topics: vec![topic], timeout_ms: 2000, validate_only: false };
    tank.ask(NodeId(1), Request::CreateTopics(request));
    tank.run(5);
    let led: Vec<(i32, NodeId)> = tank
        .broker(1)
        .image()
        .partitions()
        .map(|(id, registration)| (id.partition, registration.leader.expect("a leader")))
        .collect();
    let pair = |(busy, leader): &(i32, NodeId)| {
        let quiet = led.iter().find(|(other, by)| by == leader && other > busy)?;
        Some((*busy, quiet.0, *leader))
    };
    let (busy, quiet, leader) = led.iter().find_map(pair).expect("four partitions, three nodes");
    let follower = (1..=3).map(NodeId).find(|node| *node != leader).expect("three nodes");
    tank.world.crash(follower);
    for _ in 0..BACKLOG {
        produce(&mut tank, leader, busy, 70_000);
    }
    produce(&mut tank, leader, quiet, 10);
    tank.notes.clear();
    tank.start(follower);
    tank.run(15);
    let appended: Vec<i32> = tank
        .notes
        .iter()
        .filter(|(_, at, _)| *at == follower)
        .filter_map(|(_, _, note)| match note {
            Note::FollowerAppended { partition, .. } => Some(partition.partition),
            _ => None,
        })
        .collect();
    let all = appended.iter().filter(|partition| **partition == busy).count();
    assert!(all >= BACKLOG, "{appended:?}");
    let turn = appended.iter().position(|partition| *partition == quiet);
    assert!(turn.is_some_and(|turn| turn < BACKLOG / 3), "its turn comes soon: {appended:?}");
}
