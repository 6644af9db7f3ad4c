//! The cost of creating topics when there are many: per name, it must be the same as when there are
//! few.

use std::format;
use std::string::String;
use std::time::{Duration, Instant};

use super::*;

/// A name of the maximum length, full of '_', that differs from the others only at its end.
fn name(kind: char, index: usize) -> String {
    format!("{}{kind}{index:06}", "_".repeat(242))
}

fn creation(kind: char, count: usize, factor: i16) -> Vec<CreatableTopic> {
    let topic = |index| CreatableTopic {
        name: name(kind, index),
        num_partitions: 1,
        replication_factor: factor,
        assignments: vec![],
        configs: vec![],
    };
    (0..count).map(topic).collect()
}

/// The time to refuse `count` names when `count` topics exist.
fn cost(count: usize) -> Duration {
    let mut bench = Bench::three();
    for topic in bench.create(creation('e', count, 1)) {
        assert_eq!(topic.error, ErrorCode::None);
    }
    let asked = creation('n', count, 9);
    let begun = Instant::now();
    let refused = bench.create(asked);
    let cost = begun.elapsed();
    assert!(refused.iter().all(|topic| topic.error == ErrorCode::InvalidReplicationFactor));
    cost
}

#[test]
fn names_that_collide_with_none_are_not_compared_with_all() {
    let best = |count| (0..3).map(|_| cost(count)).min().expect("some");
    let (few, many) = (best(1000), best(4000));
    let most = few * 9 + Duration::from_millis(4);
    assert!(many < most, "1000 names among as many: {few:?}; 4000: {many:?}");
}

#[test]
fn a_deleted_name_collides_with_none() {
    let mut bench = Bench::three();
    let named = |name: &str| {
        let mut topics = creation('t', 1, 1);
        topics[0].name = name.into();
        topics
    };
    assert_eq!(bench.create(named("a.b"))[0].error, ErrorCode::None);
    let refused = &bench.create(named("a_b"))[0];
    assert_eq!(refused.error, ErrorCode::InvalidTopic);
    let why = refused.error_message.as_deref().expect("why");
    assert!(why.contains("collides with existing topic: a.b"), "{why}");
    assert_eq!(bench.create(named("a-b"))[0].error, ErrorCode::None);
    let topics = vec![TopicRef::name("a.b")];
    let deletion = DeleteTopicsRequest { topics, timeout_ms: 1000 };
    bench.ask(Request::DeleteTopics(deletion));
    assert_eq!(bench.create(named("a_b"))[0].error, ErrorCode::None);
    assert_eq!(bench.create(named("a.b"))[0].error, ErrorCode::InvalidTopic);
}
