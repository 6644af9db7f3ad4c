//! A cluster of real brokers in the world, without drawn faults. It starts, elects, creates a
//! topic, stores and serves records, stops and starts again.

mod costs;
mod damage;
mod deletion;
mod liar;
mod snapshots;
mod tank;
mod turns;
mod unknown;

use wavetank_core::msg::{FetchRequest, Request, Response};
use wavetank_core::note::Note;
use wavetank_core::types::{NodeId, Offset};

use tank::{Tank, fetch};

#[test]
fn three_nodes_start_replicate_and_come_back() {
    let mut tank = Tank::new(7, 3);
    tank.run(10);
    for node in 1..=3 {
        let running = tank
            .notes
            .iter()
            .any(|(_, at, note)| *at == NodeId(node) && matches!(note, Note::BrokerRunning { .. }));
        assert!(running, "node {node} is not running:\n{:#?}", tank.notes);
    }
    tank.create_topic("t");
    for value in ["a", "b", "c"] {
        tank.produce(value);
    }
    assert_eq!(tank.fetch(), ["a", "b", "c"]);
    // Every replica has the records, and all are in sync.
    for node in 1..=3 {
        let broker = tank.broker(node);
        let partition = broker.hosted().iter().next().expect("a replica");
        assert_eq!(partition.log().log_end(), Offset(3), "node {node}");
        assert_eq!(partition.high_watermark(), Offset(3), "node {node}");
    }
    // The leader dies; another takes over and has everything.
    let dead = tank.leader();
    tank.world.crash(dead);
    let survivor = if dead == NodeId(1) { 2 } else { 1 };
    tank.run(8);
    let image = tank.broker(survivor).image();
    let leader = image.partitions().next().and_then(|(_, p)| p.leader).expect("a new leader");
    assert_ne!(leader, dead);
    tank.start(dead);
    tank.run(10);
    assert_eq!(tank.fetch(), ["a", "b", "c"]);
    let image = tank.broker(survivor).image();
    let (_, registration) = image.partitions().next().expect("a partition");
    assert_eq!(registration.isr.len(), 3, "the one that came back is in sync again");
}

#[test]
fn one_node_stops_cleanly_and_starts_again() {
    let mut tank = Tank::new(11, 1);
    tank.run(5);
    tank.create_topic("t");
    tank.produce("a");
    tank.world.shutdown(NodeId(1));
    tank.run(5);
    assert!(!tank.world.is_up(NodeId(1)), "it has stopped");
    assert!(tank.notes.iter().any(|(_, _, note)| *note == Note::ShutDown { clean: true }));
    tank.start(NodeId(1));
    tank.run(5);
    assert_eq!(tank.fetch(), ["a"]);
    assert_eq!(tank.produce("b"), Offset(1));
    assert_eq!(tank.fetch(), ["a", "b"]);
}

/// Available bytes count for `fetch.min.bytes` even if the partition's limit cuts them off within a
/// batch. Otherwise the fetch would wait for bytes that can never come (seed 3168 of the default
/// profile).
#[test]
fn a_fetch_does_not_wait_for_what_is_there() {
    let mut tank = Tank::new(12, 1);
    tank.run(5);
    tank.create_topic("t");
    for value in ["a", "b", "c"] {
        tank.produce(value);
    }
    // A batch of one record of one byte has 69 bytes. `try_ask` waits for three seconds.
    let answer = |tank: &mut Tank, min_bytes, max_bytes| {
        let request = FetchRequest { min_bytes, max_wait_ms: 8000, ..fetch(max_bytes) };
        let response = tank.try_ask(NodeId(1), Request::Fetch(request))?;
        let Response::Fetch(response) = response else { panic!("not an answer to Fetch") };
        Some(response.topics[0].partitions[0].records.len())
    };
    assert_eq!(answer(&mut tank, 100, 130), Some(1));
    assert_eq!(answer(&mut tank, 130, 130), Some(1));
    assert_eq!(answer(&mut tank, 69 * 3, 1000), Some(3));
    assert_eq!(answer(&mut tank, 131, 130), None, "as Kafka does");
    assert_eq!(answer(&mut tank, 69 * 3 + 1, 1000), None);
}
