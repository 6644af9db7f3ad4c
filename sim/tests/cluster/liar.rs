//! A node of which the others hear what is not so, for a while, and which then has to go on as before.

use wavetank_core::types::{NodeId, Offset};

use crate::tank::Tank;

/// A controller that does not know a broker's epoch makes it register again. It may come by the epoch
/// that it had, and then nothing in the metadata changes: a follower has to go on fetching all the same.
/// (The default profile's seed 17, when requests became lies: it never fetched again.)
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
    // registers again; the session outlasts that.
    tank.world.set_lies(follower, controller, 1_000_000);
    let asked = tank.world.now();
    while tank.broker(follower.0).lifecycle().is_registered() {
        assert!(tank.world.now() < asked + 5 * crate::tank::SECOND, "it was never refused");
        tank.world.next_before(asked + 6 * crate::tank::SECOND);
    }
    tank.world.set_lies(follower, controller, 0);
    tank.run(5);
    assert_eq!(epoch(&tank), before, "the same incarnation has the same epoch");
    tank.produce("b");
    let partition = tank.broker(follower.0).hosted().iter().next().expect("a replica");
    assert_eq!(partition.log().log_end(), Offset(2), "it has what was written since");
}
