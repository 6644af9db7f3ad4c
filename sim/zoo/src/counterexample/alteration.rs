//! Steps of a leader's requests for another ISR (M2) as faults.
//!
//! The counterexample depends on two copies of one request, of which the first arrives last. No
//! fault delays a single frame. But frames that stall on two connections behind a cut arrive on
//! each at a different time when the cut ends. So the plan is written by hand for this shape, and
//! only the follower that joins is taken from the counterexample. That follower is paused until it
//! has left the ISR. When it is to come back, the leader's requests and its own heartbeats do not
//! reach the controller until its session has ended, and for some time more.

use wavetank_models::Happening;
use wavetank_sim::plan::{FaultKind, Partition, Pause, Plan, Shape, Target};

use super::environment;
use super::{Moment, NoPlan, Vary, chain, leader, replicas};

pub(super) fn plan(steps: &[Happening], vary: &mut Vary) -> Result<Plan, NoPlan> {
    let joins = steps.iter().find_map(|step| match step {
        Happening::Propose { follower, .. } => *follower,
        _ => None,
    });
    let Some(joins) = joins else {
        let why =
            "no follower joins in these steps, so no copy of a request can add one to the ISR";
        return Err(NoPlan::Step(steps.len(), why));
    };
    let mut plan = environment::plan(vary.number, 3, 16_000);
    let (session, away) = (2_400_000, 1_500_000);
    plan.node.session_timeout_ms = session / 1_000;
    plan.node.replica_lag_time_max_ms = 600;
    plan.node.request_timeout_ms = vary.range(250, 500);
    let joins = Target::Node(replicas(&plan)[usize::from(joins)]);
    let cut = |from: &Target, to: Target, one_way: bool, for_us: u64| {
        let shape = Shape::Pair(from.clone(), to);
        FaultKind::Partition(Partition { shape, one_way, clients_too: false, for_us })
    };
    let held = session - away + vary.range(50_000, 400_000);
    let early = vary.range(50_000, 250_000);
    let beats = early + held + vary.range(0, 300_000);
    let behind = held + vary.range(1_000_000, 3_000_000);
    plan.faults = chain(vec![
        Moment::at(100_000, vec![FaultKind::Pause(Pause { node: joins.clone(), for_us: away })]),
        Moment::at(away - early, vec![cut(&joins, Target::ActiveController, true, beats)]),
        // The request that should add it to the ISR again.
        Moment::after(
            "isr_proposed",
            1,
            0,
            vec![
                cut(&leader(), Target::ActiveController, true, held),
                cut(&joins, leader(), false, behind),
            ],
        ),
    ]);
    Ok(plan)
}
