//! A cluster of real brokers in the world, without drawn faults: it starts, elects, creates a topic,
//! takes and serves records, stops and starts again.

mod damage;
mod deletion;
mod tank;
mod unknown;

use wavetank_core::note::Note;
use wavetank_core::types::{NodeId, Offset};

use tank::Tank;

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
    // Every replica has them, and all are in sync.
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
