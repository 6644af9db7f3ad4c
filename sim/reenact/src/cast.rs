//! What of a plan a machine can play. What it cannot is left out and counted by kind: there is no
//! power switch here, no disk that fails on demand, no clock that is wrong.

use std::collections::BTreeMap;

use wavetank_sim::plan::{Fault, FaultKind, Plan, When};

/// A plan without what a machine cannot play.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cast {
    /// What is played, by the machine and by the tank.
    pub plan: Plan,
    /// Faults that are left out, by kind; what would have followed them is left out, too.
    pub left_out: BTreeMap<&'static str, u64>,
    /// Settings that are not played, by their names in the plan.
    pub unset: Vec<&'static str>,
}

impl Cast {
    /// Of this plan.
    pub fn of(plan: &Plan) -> Cast {
        let mut left_out = BTreeMap::new();
        let mut played = plan.clone();
        played.faults = filter(&plan.faults, &mut left_out);
        // What a flaw does is the tank's to show; `serve` has none. See `reenact-node`.
        played.process.wall_skew_ms = 0;
        played.process.clock_drift_ppm = 0;
        // A mark is declared because of a fault. Those of the others may not be reached.
        if !left_out.is_empty() {
            played.marks.clear();
        }
        Cast { plan: played, left_out, unset: unset(plan) }
    }

    /// How many faults are played, those that follow others included.
    pub fn faults(&self) -> usize {
        self.plan.faults.iter().map(Fault::count).sum()
    }

    /// Why playing this would show nothing of what the plan is about, if so.
    pub fn emptiness(&self) -> Option<String> {
        if self.left_out.is_empty() || self.faults() > 0 {
            return None;
        }
        let kinds: Vec<String> =
            self.left_out.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        Some(format!("no machine plays any of the plan's faults: {}", kinds.join(", ")))
    }
}

fn filter(faults: &[Fault], left_out: &mut BTreeMap<&'static str, u64>) -> Vec<Fault> {
    let mut kept = Vec::new();
    for fault in faults {
        // No node tells of what it asks of its disk.
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

/// Can a machine do this to itself by signals and a proxy?
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
