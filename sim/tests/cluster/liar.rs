//! For a while the others receive false messages from a node. Afterwards the node must work as
//! before.

use wavetank_core::types::{NodeId, Offset};

use crate::tank::{SECOND, Tank, creation, deletion};

/// A controller that does not know a broker's epoch makes it register again. The broker may get the
/// epoch that it had, so nothing in the metadata changes. A follower must keep fetching anyway.
/// (The default profile's seed 17, with lying requests: it never fetched again.)
#[test]
fn a_follower_that_registers_again_goes_on_fetching() {
    let mut tank = Tank::new(21, 3);
    tank.run(10);
    tank.create_topic("t");
    tank.produce("a");
    let controller = tank.broker(1).quorum().leader().expect("a controller");
    let leader = tank.leader();
    let follower = (1..=3).map(NodeId).find(|node| ![leader, controller].contains(node));
    let follower = follower.expect("three nodes");
    let epoch = |tank: &Tank| tank.broker(follower.0).lifecycle().broker_epoch();
    let before = epoch(&tank);
    // Its heartbeats carry an epoch from before any registration. A node that is not published
    // registers again, before its session ends.
    tank.world.set_lies(follower, controller, 1_000_000);
    let asked = tank.world.now();
    while tank.broker(follower.0).lifecycle().is_registered() {
        assert!(tank.world.now() < asked + 5 * SECOND, "it was never refused");
        tank.world.next_before(asked + 6 * SECOND);
    }
    tank.world.set_lies(follower, controller, 0);
    tank.run(5);
    assert_eq!(epoch(&tank), before, "the same incarnation has the same epoch");
    tank.produce("b");
    let partition = tank.broker(follower.0).hosted().iter().next().expect("a replica");
    assert_eq!(partition.log().log_end(), Offset(2), "it has what was written since");
}

/// A node that registers again replays the metadata again. A replica that it is creating at that
/// time may belong to a topic that was deleted meanwhile. The creation is abandoned, and nothing of
/// it stays.
#[test]
fn what_was_being_created_is_given_up_when_its_node_registers_again() {
    let mut tank = Tank::new(22, 3);
    tank.run(10);
    let controller = tank.broker(1).quorum().leader().expect("a controller");
    let node = (1..=3).map(NodeId).find(|node| *node != controller).expect("three nodes");
    let topics = |tank: &Tank| tank.broker(node.0).image().topics.len();
    let until = |tank: &mut Tank, what: &str, done: &dyn Fn(&Tank) -> bool| {
        let asked = tank.world.now();
        while !done(tank) {
            assert!(tank.world.now() < asked + 9 * SECOND, "it never {what}");
            tank.world.next_before(asked + 10 * SECOND);
        }
    };
    // Every disk operation is slow, and creating a directory and its files takes many.
    tank.world.disk_mut(node).set_slow(60_000);
    tank.send(controller, creation("u"));
    until(&mut tank, "hears of the topic", &|tank| topics(tank) == 1);
    tank.world.set_lies(node, controller, 1_000_000);
    until(&mut tank, "is refused", &|tank| !tank.broker(node.0).lifecycle().is_registered());
    tank.send(controller, deletion("u"));
    until(&mut tank, "hears of the deletion", &|tank| topics(tank) == 0);
    assert!(!tank.broker(node.0).lifecycle().is_published(), "not before it hears");
    assert_eq!(tank.broker(node.0).hosted().iter().count(), 0, "it is still creating");
    tank.world.set_lies(node, controller, 0);
    let names = tank.world.disk(node).dir_names();
    assert!(names.contains(&"u-0".to_owned()), "it is creating: {names:?}");
    until(&mut tank, "is back", &|tank| tank.broker(node.0).lifecycle().is_published());
    assert_eq!(tank.broker(node.0).hosted().iter().count(), 0, "it is still creating");
    tank.world.disk_mut(node).set_slow(100);
    tank.run(30);
    let names = tank.world.disk(node).dir_names();
    assert!(names.iter().all(|name| name.starts_with("__cluster_metadata")), "{names:?}");
    assert_eq!(tank.broker(node.0).hosted().iter().count(), 0);
    tank.create_topic("u");
    tank.run(2);
    let partition = tank.broker(node.0).hosted().iter().next();
    assert!(partition.is_some_and(|partition| partition.log().is_ready()), "it is created anew");
}
