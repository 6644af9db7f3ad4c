//! Steps of the metadata quorum (M3, R3, R3C) as faults.
//!
//! A counterexample's outcome depends on which voter forgets: that voter loses power at the notes
//! of its votes. The other two become candidates of one epoch only if they cannot hear each other,
//! so they are partitioned from each other, and the active controller crashes. Elections then
//! happen by themselves.
//!
//! If no other voter ever stands, the forgotten state is not a vote but the leader's records, which
//! the others have fetched. Then no node is cut off, and only the leader's disk is slow.
//!
//! So a plan is written by hand for each of these two shapes, and the steps choose between them.
//! The first plan takes from the steps which voter forgets, but not their order and number. The
//! second ([`forgotten_records`]) takes nothing from the steps.

use wavetank_models::Happening;
use wavetank_sim::plan::{Crash, FaultKind, Partition, Plan, PowerLoss, Shape, SlowDisk, Target};

use super::environment::{self, CONTROLLERS};
use super::{Moment, NoPlan, Vary, chain, leader};

pub(super) fn plan(steps: &[Happening], vary: &mut Vary) -> Result<Plan, NoPlan> {
    let forgets = steps.iter().find_map(|step| {
        let Happening::VoterPowerLoss(voter) = step else { return None };
        Some(usize::from(*voter))
    });
    let Some(forgets) = forgets else {
        let why = "this counterexample is only about when each node fetches, votes and syncs, and \
                   no fault controls that so finely";
        return Err(NoPlan::Step(steps.len(), why));
    };
    let stands = |step: &&Happening| matches!(step, Happening::Stand(_));
    let stood = steps.contains(&Happening::Stand(forgets as u8));
    if stood && steps.iter().filter(stands).all(|step| *step == Happening::Stand(forgets as u8)) {
        return Ok(forgotten_records(vary));
    }
    let forgetful = CONTROLLERS[forgets];
    let mut plan = environment::plan(vary.number, 3, 8_000);
    plan.disk.sync_min_us = vary.range(2_000, 30_000);
    let others: Vec<i32> = CONTROLLERS.into_iter().filter(|node| *node != forgetful).collect();
    let apart = FaultKind::Partition(Partition {
        shape: Shape::Pair(Target::Node(others[0]), Target::Node(others[1])),
        one_way: false,
        clients_too: false,
        for_us: 7_000_000,
    });
    let timeout = plan.node.election_timeout_ms * 1000;
    let gone = FaultKind::Crash(Crash {
        node: Target::ActiveController,
        down_us: vary.range(timeout / 2, timeout * 4),
    });
    let mut moments =
        vec![Moment::at(100_000, vec![apart]), Moment::at(vary.range(1_000, 300_000), vec![gone])];
    // It forgets a vote that it answered, or its own candidacy, which it also counts on.
    let mut notes = vec!["quorum_vote_answered", "quorum_vote_answered", "quorum_voted"];
    if stood {
        notes.push("quorum_candidate");
        notes.push("quorum_leader");
    }
    for _ in 0..vary.range(1, 2) {
        let node = vary.pick(&[Target::Node(forgetful), Target::Noted]);
        let dark = FaultKind::PowerLoss(PowerLoss { node, down_us: vary.range(500, 40_000) });
        let (note, delay) = (vary.pick(&notes), vary.pick(&[0, 0, 200, 1_000, 3_000]));
        moments.push(Moment::after(note, vary.range(1, 3), delay, vec![dark]));
    }
    plan.faults = chain(moments);
    Ok(plan)
}

/// A broker crashes, so that the active controller writes records, on a disk that has become slow.
/// The controller loses power when a follower has synced them, and is back before it is missed.
/// Written by hand for this shape, the same whatever the steps are.
fn forgotten_records(vary: &mut Vary) -> Plan {
    let mut plan = environment::plan(vary.number, 3, 8_000);
    plan.disk.torn = true;
    let broker_us = vary.range(1_500_000, 3_000_000);
    let slow = FaultKind::SlowDisk(SlowDisk {
        node: Target::ActiveController,
        factor: vary.range(20, 200) as u32,
        for_us: 3_000_000,
    });
    let broker = FaultKind::Crash(Crash { node: leader(), down_us: broker_us });
    let down_us = vary.range(500, 40_000);
    let dark = FaultKind::PowerLoss(PowerLoss { node: Target::ActiveController, down_us });
    let (count, delay) = (vary.range(1, 6), vary.pick(&[0, 0, 200, 1_000, 3_000]));
    plan.faults = chain(vec![
        Moment::at(vary.range(1_000, 300_000), vec![broker]),
        Moment::at(vary.range(100_000, 500_000), vec![slow]),
        Moment::after("quorum_log_synced", count, delay, vec![dark]),
    ]);
    plan
}
