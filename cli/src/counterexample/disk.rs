//! Steps of one log on one disk (M7) as faults, at the leader of a topic that flushes before it
//! acknowledges.

use wavetank_models::Happening;
use wavetank_sim::plan::{FaultKind, Plan, Target};

use super::{Moment, NoPlan, Vary, chain, environment, leader};

pub(super) fn plan(steps: &[Happening], vary: &mut Vary) -> Result<Plan, NoPlan> {
    let mut plan = environment::plan(vary.number, 3, 6_000);
    plan.topics[0].flush_each_batch = true;
    // The model has one log; with copies of it, all must lose power to lose anything.
    let copies = vary.pick(&[1, 1, 3]);
    plan.topics[0].replication_factor = copies;
    plan.disk.torn = true;
    plan.disk.sync_min_us = vary.pick(&[200, 2_000, 10_000]);
    // Large enough to be torn.
    plan.workload.producers[0].value_max_bytes = vary.pick(&[64, 2_000]);
    plan.workload.producers[0].batch_bytes = 4096;
    let mut moments = vec![];
    let mut note = "leader_appended";
    for (index, step) in steps.iter().enumerate() {
        let down_us = vary.range(20_000, 400_000);
        let fault = match step {
            Happening::Write => {
                note = "leader_appended";
                continue;
            }
            Happening::Acknowledge => {
                note = "produce_acked";
                continue;
            }
            Happening::SyncFails => FaultKind::FailSync { node: leader(), down_us },
            Happening::ProcessCrash => FaultKind::Crash { node: leader(), down_us },
            Happening::LogPowerLoss if copies == 1 => {
                FaultKind::PowerLoss { node: leader(), down_us }
            }
            Happening::LogPowerLoss => {
                FaultKind::PowerLossAll { down_us, stagger_us: vary.range(0, 100_000) }
            }
            Happening::Cut => {
                let why = "to cut a log takes a new leader whose log parts from it, and this model \
                           has no other replicas";
                return Err(NoPlan::Step(index + 1, why));
            }
            Happening::Itself
            | Happening::Elect { .. }
            | Happening::Drop(_)
            | Happening::Return(_)
            | Happening::Hear { .. }
            | Happening::Append(_)
            | Happening::Fetch(_)
            | Happening::Propose { .. }
            | Happening::HearIsr(_)
            | Happening::ReplicaPowerLoss(_)
            | Happening::Stand(_)
            | Happening::Grant { .. }
            | Happening::VoterPowerLoss(_) => continue,
        };
        let (count, delay) = (vary.range(1, 8), vary.pick(&[0, 0, 0, 100, 1_000]));
        moments.push(Moment::after(note, count, delay, vec![fault]));
    }
    // Of one power loss's leavings not all are damage.
    if matches!(steps.last(), Some(Happening::Itself)) {
        for _ in 0..vary.range(0, 4) {
            let down_us = vary.range(20_000, 400_000);
            let again = FaultKind::PowerLoss { node: Target::LeaderOf(super::PARTITION), down_us };
            moments.push(Moment::after(note, vary.range(1, 8), 0, vec![again]));
        }
    }
    plan.faults = chain(moments);
    Ok(plan)
}
