//! The broker thread's cost of a request grows at most linearly with the request. For each client
//! API, this tests the request shapes that once caused a scan of everything for each element.
//!
//! It measures time, because that is what others wait for. It compares sizes with each other on the
//! same machine at the same time, taking the best of a few, so linear costs pass with a wide
//! margin.

use std::cell::Cell;
use std::time::{Duration, Instant};

use bytes::Bytes;
use wavetank_core::batch::{BatchBuilder, Compression};
use wavetank_core::effects::{Effect, Effects};
use wavetank_core::env::Channel;
use wavetank_core::error_code::ErrorCode;
use wavetank_core::event::{ConnectionId, Event, Origin, ReplyTo};
use wavetank_core::msg::*;
use wavetank_core::types::{LeaderEpoch, Monotonic, NodeId, Offset, TopicRef, Uuid};

use super::tank::{CLIENT, Node, Tank};

thread_local! {
    /// The computing time of this test's brokers, on the machine's clock.
    static SPENT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// The number of their steps.
    static STEPS: Cell<u32> = const { Cell::new(0) };
}

/// Measures a broker's step.
pub(crate) fn of(step: impl FnOnce()) {
    let begun = Instant::now();
    step();
    SPENT.set(SPENT.get() + begun.elapsed());
    STEPS.set(STEPS.get() + 1);
}

/// A request four times as large may take this many times as long, plus `GLANCE`, which is below
/// measurement noise.
const MOST: u32 = 9;
const GLANCE: Duration = Duration::from_millis(4);
const PARTITIONS: i32 = 1200;

fn one_node(topics: Vec<CreatableTopic>) -> Tank {
    // Little for all caches together, more than enough for one.
    let mut tank = Tank::tuned(3, 1, |config| config.tail_caches_bytes = 1 << 20);
    tank.run(5);
    let request = CreateTopicsRequest { topics, timeout_ms: 2000, validate_only: false };
    let answer = ask(&mut tank, Request::CreateTopics(request));
    let Response::CreateTopics(answer) = answer else { panic!("{answer:?}") };
    assert!(answer.topics.iter().all(|topic| topic.error == ErrorCode::None), "{answer:?}");
    tank.run(5);
    tank
}

fn topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions,
        replication_factor,
        assignments: vec![],
        configs: vec![],
    }
}

/// Sends a request and returns its answer.
fn ask(tank: &mut Tank, request: Request) -> Response {
    tank.ask(NodeId(1), request)
}

/// The computing time until the request is answered, including background work.
fn cost(tank: &mut Tank, request: Request) -> Duration {
    let before = SPENT.get();
    ask(tank, request);
    SPENT.get() - before
}

fn assert_linear(what: &str, few: usize, tank: &mut Tank, request: impl Fn(usize) -> Request) {
    let mut best = |count| (0..3).map(|_| cost(tank, request(count))).min().expect("some");
    let (once, four) = (best(few), best(4 * few));
    assert!(
        four < once * MOST + GLANCE,
        "{what}: {few} take {once:?}, four times as many {four:?}"
    );
}

/// Names of maximum length that differ only at the end. Each collides with its variant that has '_'
/// for '.'.
fn names(count: usize) -> impl Iterator<Item = String> {
    (0..count).map(|index| format!("{}{index:06}", "._".repeat(121)))
}

/// The same elements twice in the same order, so that duplicates are far apart.
fn twice<T: Clone>(all: impl Iterator<Item = T>) -> Vec<T> {
    let all: Vec<T> = all.collect();
    [all.clone(), all].concat()
}

#[test]
fn topics_by_name() {
    let mut tank = one_node(vec![topic("t", 1, 1)]);
    let create = |topics| {
        Request::CreateTopics(CreateTopicsRequest { topics, timeout_ms: 100, validate_only: true })
    };
    let named = |count, factor| names(count).map(move |name| topic(&name, 1, factor));
    assert_linear("names twice", 4000, &mut tank, |count| create(twice(named(count, 1))));
    assert_linear("no brokers for them", 2000, &mut tank, |n| create(named(n, 9).collect()));
    assert_linear("created", 1000, &mut tank, |count| create(named(count, 1).collect()));
    assert_linear("colliding", 1000, &mut tank, |count| {
        let other = |name: String| topic(&name.replace('.', "_"), 1, 1);
        create(named(count, 1).chain(names(count).map(other)).collect())
    });
    let references = |count| twice(names(count).map(TopicRef::name));
    assert_linear("deletions", 4000, &mut tank, |count| {
        let topics = references(count);
        Request::DeleteTopics(DeleteTopicsRequest { topics, timeout_ms: 100 })
    });
    assert_linear("metadata", 4000, &mut tank, |count| {
        let topics = Some(references(count));
        Request::Metadata(MetadataRequest { topics, ..Default::default() })
    });
    assert_linear("epochs", 4000, &mut tank, |count| {
        let (leader_epoch, current_leader_epoch) = (LeaderEpoch(0), LeaderEpoch::NONE);
        let part = OffsetForLeaderPartition { partition: 0, current_leader_epoch, leader_epoch };
        let topic = |name| OffsetForLeaderTopic { name, partitions: vec![part.clone()] };
        let (replica, topics) = (NodeId::NONE, twice(names(count).map(topic)));
        Request::OffsetForLeaderEpoch(OffsetForLeaderEpochRequest { replica, topics })
    });
}

fn produce(partitions: impl Iterator<Item = i32>) -> Request {
    produce_of(b"value", partitions)
}

fn produce_of(value: &[u8], partitions: impl Iterator<Item = i32>) -> Request {
    let mut builder = BatchBuilder::new();
    builder.push(1_750_000_000_000, None, Some(value), &[]);
    produce_batch(&builder.build(Offset::ZERO, LeaderEpoch::NONE).to_bytes(), partitions)
}

fn produce_batch(batch: &Bytes, partitions: impl Iterator<Item = i32>) -> Request {
    let part =
        |partition| ProducePartition { partition, records: Some(batch.clone()), inspection: None };
    let topic =
        ProduceTopic { topic: TopicRef::name("t"), partitions: partitions.map(part).collect() };
    let topics = vec![topic];
    let (acks, timeout_ms) = (-1, 2000);
    Request::Produce(ProduceRequest { transactional_id: None, acks, timeout_ms, topics })
}

/// Each partition in a separate topic entry, as often as it occurs.
fn fetch(partitions: impl Iterator<Item = i32>, fetch_offset: i64) -> FetchRequest {
    let part = |partition| FetchPartition {
        partition,
        current_leader_epoch: LeaderEpoch::NONE,
        fetch_offset: Offset(fetch_offset),
        last_fetched_epoch: LeaderEpoch::NONE,
        log_start_offset: Offset(-1),
        max_bytes: 1 << 20,
        replica_directory_id: Uuid::ZERO,
        high_watermark: Offset(i64::MAX),
    };
    let topic = |p| FetchTopic { topic: TopicRef::name("t"), partitions: vec![part(p)] };
    FetchRequest { topics: partitions.map(topic).collect(), ..Default::default() }
}

#[test]
fn partitions_of_a_topic() {
    let mut tank = one_node(vec![topic("t", PARTITIONS, 1)]);
    ask(&mut tank, produce(0..PARTITIONS));
    let some = |count: usize| 0..count as i32;
    let few = PARTITIONS as usize / 4;
    assert_linear("produces", few, &mut tank, |count| produce(some(count).chain(some(count))));
    assert_linear("fetches", few, &mut tank, |count| {
        Request::Fetch(FetchRequest {
            max_bytes: 1 << 20,
            ..fetch(some(count).chain(some(count)), 0)
        })
    });
    assert_linear("look-ups", few, &mut tank, |count| look_up(some(count).chain(some(count)), 1));
}

fn look_up(partitions: impl Iterator<Item = i32>, timestamp: i64) -> Request {
    let current_leader_epoch = LeaderEpoch::NONE;
    let part = |partition| ListOffsetsPartition { partition, current_leader_epoch, timestamp };
    let topic = |p| ListOffsetsTopic { name: "t".into(), partitions: vec![part(p)] };
    let (replica, isolation_level, timeout_ms) = (NodeId::NONE, 0, 0);
    let topics = partitions.map(topic).collect();
    Request::ListOffsets(ListOffsetsRequest { replica, isolation_level, topics, timeout_ms })
}

/// Sends a request on a separate connection directly to the broker.
fn step(tank: &mut Tank, connection: u64, request: Request) {
    let mut env = Effects::at(Monotonic(tank.world.now()));
    let from = ReplyTo { connection: ConnectionId(connection), number: 0 };
    let (origin, version) = (Origin::default(), 12);
    let Some(Node::Broker(broker)) = tank.world.machine_mut(NodeId(1)) else { panic!("no broker") };
    broker.step(Event::Request { from, origin, version, request }, &mut env);
    assert!(env.list.iter().all(|effect| !matches!(effect, Effect::Respond(..))), "it waits");
}

/// The cost of a produce to one partition while `fetches` fetches of `partitions` partitions each
/// are parked.
fn produce_before(tank: &mut Tank, fetches: u64, partitions: i32) -> Duration {
    let connections = 1 << 40..(1 << 40) + fetches;
    for connection in connections.clone() {
        let request = FetchRequest {
            max_wait_ms: i32::MAX,
            min_bytes: 50 << 20,
            max_bytes: 50 << 20,
            ..fetch(0..partitions, 0)
        };
        step(tank, connection, Request::Fetch(request));
    }
    let cost = cost(tank, produce(0..1));
    assert_eq!(tank.broker(1).parked(), (0, fetches as usize), "they wait on");
    for connection in connections {
        let connection = ConnectionId(connection);
        let mut env = Effects::at(Monotonic(tank.world.now()));
        if let Some(Node::Broker(broker)) = tank.world.machine_mut(NodeId(1)) {
            broker.step(Event::ConnectionClosed { connection }, &mut env);
        }
    }
    assert_eq!(tank.broker(1).parked(), (0, 0));
    cost
}

#[test]
fn a_change_costs_nothing_for_the_other_partitions_that_somebody_waits_for() {
    let mut tank = one_node(vec![topic("t", PARTITIONS, 1)]);
    let mut best =
        |partitions| (0..3).map(|_| produce_before(&mut tank, 40, partitions)).min().expect("some");
    let (few, many) = (best(10), best(PARTITIONS));
    assert!(many < few * 4 + GLANCE, "40 fetches: of 10 {few:?}, of {PARTITIONS} {many:?}");
}

/// Each change is counted only for its partition, and the sum decides.
#[test]
fn a_fetch_is_answered_when_all_its_partitions_together_have_enough() {
    let mut tank = one_node(vec![topic("t", 3, 1)]);
    let send = |tank: &mut Tank, channel, request| {
        tank.world.act(CLIENT, |_, env| {
            env.request(NodeId(1), channel, Duration::from_secs(60), request);
        });
        tank.run(2);
    };
    let size = |request: &Request| match request {
        Request::Produce(request) => {
            request.topics[0].partitions[0].records.as_ref().map_or(0, Bytes::len)
        }
        other => panic!("{other:?}"),
    };
    let min_bytes = 3 * size(&produce(0..1)) as i32;
    let (max_wait_ms, max_bytes) = (30_000, 1 << 20);
    let request = FetchRequest { max_wait_ms, min_bytes, max_bytes, ..fetch(0..3, 0) };
    send(&mut tank, Channel::Fetch, Request::Fetch(request));
    for partition in [0, 2] {
        send(&mut tank, Channel::Produce, produce(partition..partition + 1));
        assert_eq!(tank.broker(1).parked(), (0, 1), "not yet");
    }
    send(&mut tank, Channel::Produce, produce(2..3));
    assert_eq!(tank.broker(1).parked(), (0, 0));
    let Some(Node::Client(answers)) = tank.world.machine_mut(CLIENT) else { panic!("no client") };
    let fetched = answers.iter().find_map(|answer| match answer {
        Response::Fetch(answer) => Some(answer),
        _ => None,
    });
    let topics = &fetched.expect("an answer").topics;
    let counts: Vec<_> = topics.iter().map(|topic| topic.partitions[0].records.len()).collect();
    assert_eq!(counts, [1, 0, 2]);
}

#[test]
fn the_caches_of_all_partitions_have_a_bound_together() {
    let mut tank = one_node(vec![topic("t", 64, 1)]);
    let most = tank.broker(1).config().tail_caches_bytes;
    for partition in (0..64).chain([0, 63, 0]) {
        let request = produce_of(&[0; 100_000], partition..partition + 1);
        let answer = ask(&mut tank, request);
        let Response::Produce(answer) = answer else { panic!("{answer:?}") };
        assert_eq!(answer.topics[0].partitions[0].error, ErrorCode::None);
        let logs = tank.broker(1).hosted().iter().map(|partition| partition.log());
        let cached: u64 = logs.map(|log| log.cached_bytes()).sum();
        assert_eq!(cached, tank.broker(1).cached_bytes(), "{partition}");
        assert!(cached <= most);
    }
    let cached = tank.broker(1).hosted().iter().map(|one| (one.id(), one.log().cached_bytes()));
    let cached: Vec<_> = cached.filter(|(_, bytes)| *bytes > 0).map(|(id, _)| id.0).collect();
    assert_eq!(cached, [0, 57, 58, 59, 60, 61, 62, 63], "those that were written to last");
}

/// Each partition has a batch of some kilobytes that decompresses to many megabytes, and its last
/// record is looked up. This takes many short steps, one partition after the other.
#[test]
fn a_look_through_a_large_batch_takes_turns() {
    let mut tank = one_node(vec![topic("t", 5, 1)]);
    let mut builder = BatchBuilder::new();
    builder.push(1_750_000_000_000, None, Some(&[0; 12 << 20]), &[]);
    builder.push(1_750_000_000_001, None, Some(b"late"), &[]);
    builder.compression(Compression::Gzip);
    let batch = builder.build(Offset::ZERO, LeaderEpoch::NONE).to_bytes();
    ask(&mut tank, produce_batch(&batch, 0..5));
    let before = STEPS.get();
    let answer = ask(&mut tank, look_up((0..5).chain(0..5), 1_750_000_000_001));
    let Response::ListOffsets(answer) = answer else { panic!("{answer:?}") };
    for (index, topic) in answer.topics.iter().enumerate() {
        let found = &topic.partitions[0];
        let expected =
            if index < 5 { (ErrorCode::None, 1) } else { (ErrorCode::InvalidRequest, -1) };
        assert_eq!((found.error, found.offset.0), expected, "{index}");
    }
    let steps = STEPS.get() - before;
    assert!(steps >= 5 * 24, "60 MiB in {steps} steps");
}

/// A topic with large batches is deleted while look-ups of them wait for their turn.
#[test]
fn what_waits_for_its_turn_is_not_read_after_its_topic_has_left() {
    // So many that the directories are gone before all have had their turn.
    const LOOK_UPS: i32 = 200;
    let mut tank = one_node(vec![topic("t", LOOK_UPS, 1)]);
    let mut builder = BatchBuilder::new();
    builder.push(1_750_000_000_000, None, Some(&[0; 4 << 20]), &[]);
    builder.push(1_750_000_000_001, None, Some(b"late"), &[]);
    builder.compression(Compression::Gzip);
    let batch = builder.build(Offset::ZERO, LeaderEpoch::NONE).to_bytes();
    ask(&mut tank, produce_batch(&batch, 0..LOOK_UPS));
    tank.world.act(CLIENT, |_, env| {
        let request = look_up(0..LOOK_UPS, 1_750_000_000_001);
        env.request(NodeId(1), Channel::Fetch, Duration::from_secs(60), request);
    });
    let begun = STEPS.get();
    while STEPS.get() < begun + 10 {
        assert!(tank.world.next_before(u64::MAX).is_some(), "the look-ups go on");
    }
    let topics = vec![TopicRef::name("t")];
    tank.send(NodeId(1), Request::DeleteTopics(DeleteTopicsRequest { topics, timeout_ms: 2000 }));
    tank.run(5);
    let Some(Node::Client(answers)) = tank.world.machine_mut(CLIENT) else { panic!("no client") };
    let found = answers.iter().find_map(|answer| match answer {
        Response::ListOffsets(answer) => Some(&answer.topics),
        _ => None,
    });
    let errors = found.expect("an answer").iter().map(|topic| topic.partitions[0].error);
    let left = errors.filter(|error| *error == ErrorCode::NotLeaderOrFollower).count();
    assert!(left > 100, "only {left} look-ups waited when the topic left");
    // A new one takes its turn.
    let request = CreateTopicsRequest {
        topics: vec![topic("t", 1, 1)],
        timeout_ms: 2000,
        validate_only: false,
    };
    ask(&mut tank, Request::CreateTopics(request));
    tank.run(3);
    ask(&mut tank, produce_batch(&batch, 0..1));
    let answer = ask(&mut tank, look_up(0..1, 1_750_000_000_001));
    let Response::ListOffsets(answer) = answer else { panic!("{answer:?}") };
    assert_eq!(answer.topics[0].partitions[0].offset, Offset(1), "{answer:?}");
}

/// Only the first batch of an answer may exceed the requested limit, even if no batch's size is
/// known before it is read.
#[test]
fn an_answer_is_bounded_where_nothing_is_in_memory() {
    const BATCH: usize = 300_000;
    const PARTS: i32 = 12;
    let mut tank = one_node(vec![topic("t", PARTS, 1)]);
    ask(&mut tank, produce_of(&[7; BATCH], 0..PARTS));
    tank.world.crash(NodeId(1));
    tank.start(NodeId(1));
    tank.run(8);
    for (max_bytes, most) in [(1, 1), (BATCH as i32 + 50_000, 1), (3 * BATCH as i32, 3)] {
        // Each partition comes first once.
        for first in 0..PARTS {
            let partitions = (0..PARTS).map(|index| (first + index) % PARTS);
            let request = FetchRequest { max_bytes, ..fetch(partitions, 0) };
            let answer = ask(&mut tank, Request::Fetch(request));
            let Response::Fetch(answer) = answer else { panic!("{answer:?}") };
            let counts: Vec<usize> =
                answer.topics.iter().map(|topic| topic.partitions[0].records.len()).collect();
            assert_eq!(counts[0], 1, "the first is served: {counts:?}");
            let all = counts.iter().sum::<usize>();
            assert!(all <= most, "{all} batches of {BATCH} bytes, {max_bytes} were asked for");
        }
    }
}
