//! Each kind of fault fires, and reports correctly whether it took effect.

use crate::plan::{
    AfterNote, AtDiskOp, Crash, CrashLoop, Damage, DamageIndex, Delay, DiskVerb, FailSync, Fault,
    FaultCounts, FaultKind, FileRole, Lie, Loss, Partition, PartitionRef, Pause, PowerLoss,
    PowerLossAll, Restart, Shape, SlowDisk, Target, When,
};
use crate::profile::Profile;

/// The counts of a single fault in the middle of an otherwise calm run.
fn counts(when: When, what: impl Into<FaultKind>) -> FaultCounts {
    let what = what.into();
    let name = what.name();
    let mut plan = Profile::Calm.draw(5);
    plan.phases.storm_ms = 4_000;
    // So that indexes have entries.
    plan.topics.iter_mut().for_each(|topic| topic.index_interval_bytes = 100);
    plan.faults = vec![Fault::new(when, what)];
    let outcome = crate::run::run(&plan);
    assert_eq!(outcome.violations, [], "{name}");
    assert_eq!(outcome.faults.len(), 1);
    outcome.faults[name]
}

fn came_of(what: impl Into<FaultKind>) -> FaultCounts {
    counts(When::AtUs(1_000_000), what)
}

fn leader() -> Target {
    Target::LeaderOf(PartitionRef { topic: 0, partition: 0 })
}

const BIT: FaultCounts = FaultCounts { planned: 1, fired: 1, bit: 1 };
const FIRED: FaultCounts = FaultCounts { planned: 1, fired: 1, bit: 0 };
const PLANNED: FaultCounts = FaultCounts { planned: 1, fired: 0, bit: 0 };

fn partition(for_us: u64) -> Partition {
    Partition { shape: Shape::Isolate(leader()), one_way: false, clients_too: true, for_us }
}

/// One of each kind, lasting `for_us`, which may be too short for the lasting ones to take effect.
fn each(for_us: u64) -> Vec<FaultKind> {
    let down_us = 50_000;
    vec![
        Crash { node: leader(), down_us }.into(),
        Restart { node: leader(), patience_us: for_us, down_us }.into(),
        PowerLoss { node: leader(), down_us }.into(),
        PowerLossAll { down_us, stagger_us: 0 }.into(),
        CrashLoop { node: leader(), times: 2, down_us, up_us: for_us }.into(),
        partition(for_us).into(),
        Loss { permille: 500, for_us }.into(),
        Delay { extra_us: 5_000, node: None, for_us, clients_too: false }.into(),
        Pause { node: leader(), for_us }.into(),
        FailSync { node: leader(), down_us }.into(),
        SlowDisk { node: leader(), factor: 10, for_us }.into(),
        Damage { permille: 900, node: None, for_us }.into(),
        DamageIndex { node: leader(), down_us, permille: 1000 }.into(),
        Lie { permille: 900, node: None, for_us }.into(),
    ]
}

#[test]
fn each_kind_takes_effect_and_says_so() {
    let each = each(800_000);
    let names: Vec<&str> = each.iter().map(FaultKind::name).collect();
    assert_eq!(names, FaultKind::NAMES, "one of each kind");
    for what in each {
        let name = what.name();
        assert_eq!(came_of(what), BIT, "{name}");
    }
}

#[test]
fn what_is_too_short_to_do_anything_does_not_count() {
    assert_eq!(came_of(partition(1)), FIRED);
    assert_eq!(came_of(Loss { permille: 1, for_us: 1 }), FIRED);
    let short = Delay { extra_us: 5_000, node: None, for_us: 1, clients_too: false };
    assert_eq!(came_of(short), FIRED);
    assert_eq!(came_of(Pause { node: leader(), for_us: 1 }), FIRED);
    assert_eq!(came_of(SlowDisk { node: leader(), factor: 10, for_us: 1 }), FIRED);
}

#[test]
fn what_finds_nobody_does_not_fire() {
    // A partition without a leader: its index is beyond the last.
    let nobody = Target::LeaderOf(PartitionRef { topic: 0, partition: 999 });
    assert_eq!(came_of(Crash { node: nobody, down_us: 1_000 }), PLANNED);
    let never = AfterNote {
        name: "log_refused".into(),
        node: None,
        partition: None,
        from_us: 0,
        count: 1,
        delay_us: 0,
    };
    let crash = Crash { node: leader(), down_us: 1_000 };
    assert_eq!(counts(When::AfterNote(never), crash), PLANNED);
}

fn at_disk_op(op: DiskVerb, file: FileRole) -> AtDiskOp {
    AtDiskOp { op, file: Some(file), from_us: 0, count: 1, delay_us: 0, node: None }
}

#[test]
fn a_fault_strikes_when_a_disk_is_asked_for_something() {
    let crash = Crash { node: Target::Noted, down_us: 50_000 };
    for op in [
        at_disk_op(DiskVerb::Append, FileRole::Log),
        at_disk_op(DiskVerb::Rename, FileRole::HighWatermarks),
    ] {
        assert_eq!(counts(When::AtDiskOp(op), crash.clone()), BIT);
    }
    let never = at_disk_op(DiskVerb::Truncate, FileRole::QuorumState);
    assert_eq!(counts(When::AtDiskOp(never), crash), PLANNED);
}

#[test]
fn a_power_loss_comes_before_a_stop_is_marked_clean() {
    let (mut clean, mut unclean) = (0, 0);
    for seed in 0..20 {
        let mut plan = Profile::Calm.draw(seed);
        plan.phases.storm_ms = 4_000;
        let node = Target::Node(plan.cluster.brokers[0]);
        let (patience_us, down_us) = (20_000_000, 50_000);
        let stop = FaultKind::Restart(Restart { node, patience_us, down_us });
        let dark = FaultKind::PowerLoss(PowerLoss { node: Target::Noted, down_us });
        let mark = at_disk_op(DiskVerb::Rename, FileRole::CleanShutdown);
        let then = Fault::new(When::AtDiskOp(mark), dark);
        plan.faults = vec![Fault::new(When::AtUs(1_000_000), stop).then(then)];
        let outcome = crate::run::run(&plan);
        assert_eq!(outcome.violations, [], "seed {seed}");
        assert_eq!(outcome.faults["power_loss"], BIT, "seed {seed}");
        assert!(outcome.marks.contains_key("disk_op_struck"), "seed {seed}");
        // The mark may or may not have been renamed into place. Its node has not noted that it shut
        // down.
        match outcome.marks.contains_key("clean_shutdown") {
            true => clean += 1,
            false => unclean += 1,
        }
    }
    assert!(unclean > 15, "{clean} {unclean}");
}

#[test]
fn a_second_power_loss_of_a_dark_machine_changes_nothing() {
    let mut plan = Profile::Calm.draw(5);
    plan.phases.storm_ms = 4_000;
    let node = Target::Node(plan.cluster.brokers[0]);
    let dark = |at| Fault::new(When::AtUs(at), PowerLoss { node: node.clone(), down_us: 900_000 });
    plan.faults = vec![dark(1_000_000), dark(1_000_100)];
    let counts = crate::run::run(&plan).faults["power_loss"];
    assert_eq!(counts, FaultCounts { planned: 2, fired: 2, bit: 1 });
}
