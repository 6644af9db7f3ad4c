//! Reduces a plan to what a machine can play. The rest is left out and counted by kind: a machine
//! has no power switch, no disk that fails on demand, no wrong clock.

use std::collections::BTreeMap;

use wavetank_sim::plan::{Fault, FaultKind, Plan, When};

/// A plan without what a machine cannot play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cast {
    /// What both the machine and the tank play.
    pub plan: Plan,
    /// Faults that are left out, by kind, including those that would have followed them.
    pub left_out: BTreeMap<&'static str, u64>,
    /// Settings that are not played, by their names in the plan.
    pub unset: Vec<&'static str>,
}

impl Cast {
    /// Casts a plan.
    pub fn of(plan: &Plan) -> Cast {
        let mut left_out = BTreeMap::new();
        let mut played = plan.clone();
        played.faults = filter(&plan.faults, &mut left_out);
        // A machine has no wrong clock. Flaws stay in the plan: see `reenact-node`.
        played.process.wall_skew_ms = 0;
        played.process.clock_drift_ppm = 0;
        // A mark is declared because of a fault. The marks of omitted faults may not be reached.
        if !left_out.is_empty() {
            played.marks.clear();
        }
        Cast { plan: played, left_out, unset: unset(plan) }
    }

    /// The number of faults that are played, including those that follow others.
    pub fn faults(&self) -> usize {
        self.plan.faults.iter().map(Fault::count).sum()
    }

    /// Why playing this would test nothing that the plan is about, if that is the case.
    pub fn emptiness(&self) -> Option<String> {
        if self.left_out.is_empty() || self.faults() > 0 {
            return None;
        }
        let kinds: Vec<String> =
            self.left_out.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        Some(format!("none of the plan's faults can be played on processes: {}", kinds.join(", ")))
    }
}

fn filter(faults: &[Fault], left_out: &mut BTreeMap<&'static str, u64>) -> Vec<Fault> {
    let mut kept = Vec::new();
    for fault in faults {
        // Nodes do not report their disk operations.
        let aims_at_disk = matches!(fault.when, When::AtDiskOp(_));
        if is_playable(&fault.what) && !aims_at_disk {
            let then = filter(&fault.then, left_out);
            kept.push(Fault { then, ..fault.clone() });
        } else {
            count(fault, left_out);
        }
    }
    kept
}

fn count(fault: &Fault, left_out: &mut BTreeMap<&'static str, u64>) {
    *left_out.entry(fault.what.name()).or_default() += 1;
    fault.then.iter().for_each(|next| count(next, left_out));
}

/// Can signals and a proxy inject this fault on a real machine?
pub fn is_playable(what: &FaultKind) -> bool {
    match what {
        FaultKind::Crash(_)
        | FaultKind::Restart(_)
        | FaultKind::CrashLoop(_)
        | FaultKind::Partition(_)
        | FaultKind::Loss(_)
        | FaultKind::Pause(_)
        | FaultKind::Delay(_) => true,
        FaultKind::PowerLoss(_)
        | FaultKind::PowerLossAll(_)
        | FaultKind::FailSync(_)
        | FaultKind::SlowDisk(_)
        | FaultKind::Damage(_)
        | FaultKind::DamageIndex(_)
        | FaultKind::Lie(_) => false,
    }
}

/// Settings of the tank's world and of its nodes for which a machine, or `serve`, has no switch.
fn unset(plan: &Plan) -> Vec<&'static str> {
    let mut unset = vec![
        "node.quorum_fetch_wait_ms",
        "node.tail_cache_bytes",
        "node.read_chunk_bytes",
        "network.encoded",
        "disk",
        "process.step_min_us",
        "process.step_max_us",
    ];
    if plan.process.wall_skew_ms > 0 {
        unset.push("process.wall_skew_ms");
    }
    if plan.process.clock_drift_ppm > 0 {
        unset.push("process.clock_drift_ppm");
    }
    unset
}

#[cfg(test)]
mod tests {
    use super::*;
    use wavetank_sim::plan::{AtDiskOp, Crash, DiskVerb, PowerLoss, SlowDisk, Target};
    use wavetank_sim::profile::Profile;

    #[test]
    fn what_follows_a_fault_that_is_left_out_goes_with_it() {
        let mut plan = Profile::Calm.draw(1);
        let node = || Target::Node(1);
        let crash = || Fault::new(When::AtUs(1), Crash { node: node(), down_us: 1 });
        let power = PowerLoss { node: node(), down_us: 1 };
        let slow = SlowDisk { node: node(), factor: 2, for_us: 1 };
        let op = AtDiskOp {
            op: DiskVerb::Rename,
            file: None,
            from_us: 0,
            count: 1,
            delay_us: 0,
            node: None,
        };
        let aimed = Crash { node: Target::Noted, down_us: 1 };
        plan.faults = vec![
            Fault::new(When::AtDiskOp(op), aimed),
            Fault::new(When::AtUs(5), power).then(crash()),
            crash().then(crash()).then(Fault::new(When::AtUs(9), slow)),
        ];
        plan.marks = vec!["broker_fenced".into()];
        let cast = Cast::of(&plan);
        assert_eq!(cast.plan.faults, [crash().then(crash())]);
        assert_eq!(cast.faults(), 2);
        let expected = BTreeMap::from([("power_loss", 1), ("crash", 2), ("slow_disk", 1)]);
        assert_eq!(cast.left_out, expected);
        assert!(cast.plan.marks.is_empty());
        assert_eq!(cast.emptiness(), None);
    }

    #[test]
    fn a_plan_of_which_nothing_is_left_says_so() {
        let mut plan = Profile::Calm.draw(1);
        assert_eq!(Cast::of(&plan).emptiness(), None, "calm was what it wanted");
        let slow = SlowDisk { node: Target::Node(1), factor: 2, for_us: 1 };
        plan.faults = vec![Fault::new(When::AtUs(9), slow)];
        let why = Cast::of(&plan).emptiness().expect("it lost its only fault");
        assert!(why.ends_with("slow_disk 1"), "{why}");
    }

    #[test]
    fn default_plans_are_mostly_playable() {
        let playable = (0..100).filter(|seed| Cast::of(&Profile::Default.draw(*seed)).faults() > 0);
        assert!(playable.count() > 80);
    }
}
