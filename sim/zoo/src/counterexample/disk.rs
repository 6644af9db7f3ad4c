//! Steps of one log on one disk (M7) as faults, at the leader of a topic that flushes before it
//! acknowledges.
//!
//! A log is cut only if a new leader's log diverges from it, and the model has no other replicas.
//! So if there is a [`Happening::Cut`], the log is a follower's, of a topic that leaves flushing to
//! the system: [`cut`]. For this shape the steps up to the cut are written by hand, whatever the
//! counterexample's are; those after it are taken from the counterexample.

use wavetank_models::Happening;
use wavetank_sim::plan::{Crash, FailSync, FaultKind, Plan, PowerLoss, PowerLossAll, Target};

use super::{Moment, Vary, chain, environment, leader, replicas};

pub(super) fn plan(steps: &[Happening], vary: &mut Vary) -> Plan {
    match steps.iter().position(|step| *step == Happening::Cut) {
        Some(at) => cut(&steps[at + 1..], vary),
        None => flush(steps, vary),
    }
}

fn flush(steps: &[Happening], vary: &mut Vary) -> Plan {
    let mut plan = environment::plan(vary.number, 3, 6_000);
    plan.topics[0].flush_each_batch = true;
    // The model has one log. If there are copies, all must lose power for a record to be lost.
    let copies = vary.pick(&[1, 1, 3]);
    plan.topics[0].replication_factor = copies;
    plan.disk.torn = true;
    plan.disk.sync_min_us = vary.pick(&[200, 2_000, 10_000]);
    // Large enough to be torn.
    plan.workload.producers[0].value_max_bytes = vary.pick(&[64, 2_000]);
    plan.workload.producers[0].batch_bytes = 4096;
    let mut moments = vec![];
    let mut note = "leader_appended";
    for step in steps {
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
            Happening::SyncFails => FaultKind::FailSync(FailSync { node: leader(), down_us }),
            Happening::ProcessCrash => FaultKind::Crash(Crash { node: leader(), down_us }),
            Happening::LogPowerLoss if copies == 1 => {
                FaultKind::PowerLoss(PowerLoss { node: leader(), down_us })
            }
            Happening::LogPowerLoss => FaultKind::PowerLossAll(PowerLossAll {
                down_us,
                stagger_us: vary.range(0, 100_000),
            }),
            Happening::Itself
            | Happening::Cut
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
    // Not every power loss leaves damage.
    if matches!(steps.last(), Some(Happening::Itself)) {
        for _ in 0..vary.range(0, 4) {
            let down_us = vary.range(20_000, 400_000);
            let again = FaultKind::PowerLoss(PowerLoss {
                node: Target::LeaderOf(super::PARTITION),
                down_us,
            });
            moments.push(Moment::after(note, vary.range(1, 8), 0, vec![again]));
        }
    }
    plan.faults = chain(moments);
    plan
}

/// The follower's process ends and restarts, which makes its log durable, and a checkpoint says so.
/// Then it is away until the leader is the only member of the ISR, loses power, and still leads
/// with a shorter log. The follower comes back and cuts its log, and `after` strikes before the
/// next checkpoint. All but `after` is written by hand; the counterexample's steps before its cut
/// are ignored.
fn cut(after: &[Happening], vary: &mut Vary) -> Plan {
    let mut plan = environment::plan(vary.number, 2, 12_000);
    plan.disk.torn = true;
    let follower = Target::Node(replicas(&plan)[1]);
    let short_us = vary.range(20_000, 300_000);
    let durable = FaultKind::Crash(Crash { node: follower.clone(), down_us: short_us });
    let away_us = vary.range(2_500_000, 4_000_000);
    let away = FaultKind::Crash(Crash { node: follower.clone(), down_us: away_us });
    let down_us = vary.range(20_000, 300_000);
    let less = FaultKind::PowerLoss(PowerLoss { node: leader(), down_us });
    let checkpointed_us = plan.node.checkpoint_interval_ms * 1_000 + short_us;
    let alone_us = environment::SESSION_MS * 1_000 + 400_000;
    let mut moments = vec![
        Moment::after("follower_appended", vary.range(10, 80), 0, vec![durable]),
        Moment::at(checkpointed_us + vary.range(200_000, 900_000), vec![away]),
        Moment::at(vary.range(alone_us, away_us - 300_000), vec![less]),
    ];
    for step in after {
        let (node, down_us) = (follower.clone(), vary.range(20_000, 400_000));
        let fault = if *step == Happening::LogPowerLoss {
            FaultKind::PowerLoss(PowerLoss { node, down_us })
        } else if *step == Happening::ProcessCrash {
            FaultKind::Crash(Crash { node, down_us })
        } else {
            continue;
        };
        // The leader has truncated a torn tail before.
        let (count, delay) = (vary.range(1, 2), vary.pick(&[0, 1_000, 10_000, 100_000]));
        moments.push(Moment::after("truncated", count, delay, vec![fault]));
    }
    plan.faults = chain(moments);
    plan
}
