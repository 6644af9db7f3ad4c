//! Plans on real processes: promises hold, and a planted flaw is detected.

use std::path::PathBuf;

use wavetank_reenact::cast::Cast;
use wavetank_reenact::{Options, Report, reenact};
use wavetank_sim::invariants::Kind;
use wavetank_sim::plan::{
    AfterNote, Crash, Fault, FaultCounts, FaultKind, Partition, PartitionRef, Pause, Plan,
    PowerLoss, Restart, Shape, Target, When,
};
use wavetank_sim::profile::Profile;

/// Three brokers, one partition, no faults yet.
fn calm(storm_ms: u64) -> Plan {
    let mut plan = Profile::First.draw_with(7, |_| false);
    plan.phases.calm_ms = 200;
    plan.phases.storm_ms = storm_ms;
    plan.marks.clear();
    plan
}

fn play(plan: &Plan) -> Report {
    plan.validate().expect("a plan");
    let node = PathBuf::from(env!("CARGO_BIN_EXE_reenact-node"));
    reenact(plan, &Options::new(vec![node])).expect("there is room for it here")
}

fn at_ms(ms: u64, what: impl Into<FaultKind>) -> Fault {
    Fault::new(When::AtUs(ms * 1000), what)
}

fn leader() -> Target {
    Target::LeaderOf(PartitionRef { topic: 0, partition: 0 })
}

#[test]
fn both_sides_agree_through_a_crash_a_pause_and_a_restart() {
    let mut plan = calm(6_000);
    plan.faults = vec![
        at_ms(500, Crash { node: leader(), down_us: 1_000_000 }),
        at_ms(2_500, Pause { node: Target::ActiveController, for_us: 700_000 }),
        at_ms(4_000, Restart { node: Target::Node(2), patience_us: 2_000_000, down_us: 300_000 }),
        at_ms(4_500, PowerLoss { node: leader(), down_us: 1 }),
    ];
    let report = play(&plan);
    assert!(report.agrees() && !report.is_violated(), "{report:#?}");
    assert_eq!(report.empty, None, "{report:#?}");
    assert_eq!(report.left_out.get("power_loss"), Some(&1));
    for side in [&report.tank, &report.processes] {
        for kind in ["crash", "pause", "restart"] {
            let counts = FaultCounts { planned: 1, fired: 1, bit: 1 };
            assert_eq!(side.faults.get(kind), Some(&counts), "{side:?}");
        }
        assert!(side.operations > 100, "{side:?}");
    }
    for validated in &report.validated {
        assert!(validated.notes > 100 && validated.registrations > 1, "{validated:?}");
    }
}

#[test]
fn both_sides_agree_through_a_one_way_partition_and_a_killed_proposer() {
    let mut plan = calm(6_000);
    let follower = Target::FollowerOf(PartitionRef { topic: 0, partition: 0 });
    let proposed = AfterNote {
        name: "isr_proposed".into(),
        node: None,
        partition: None,
        from_us: 0,
        count: 1,
        delay_us: 0,
    };
    plan.faults = vec![
        at_ms(
            300,
            Partition {
                shape: Shape::Isolate(follower),
                one_way: true,
                clients_too: true,
                for_us: 3_500_000,
            },
        ),
        Fault::new(When::AfterNote(proposed), Crash { node: Target::Noted, down_us: 700_000 }),
    ];
    plan.node.replica_lag_time_max_ms = 1_000;
    plan.node.replica_fetch_wait_ms = 100;
    let report = play(&plan);
    assert!(report.agrees() && !report.is_violated(), "{report:#?}");
    for kind in ["partition", "crash"] {
        let counts = FaultCounts { planned: 1, fired: 1, bit: 1 };
        assert_eq!(report.processes.faults.get(kind), Some(&counts), "{report:#?}");
    }
    assert!(report.held > 0, "{report:#?}");
}

/// The leader is cut off from its followers, acknowledges anyway, and crashes.
#[test]
fn an_answer_before_replication_is_seen_by_clients_and_by_the_model() {
    let mut plan = calm(5_000);
    plan.flaws = vec!["ack-at-leader-append".into()];
    // A follower removed from the ISR for its lag could not be elected without the record.
    plan.node.replica_lag_time_max_ms = 10_000;
    plan.faults = vec![
        at_ms(
            1_000,
            Partition {
                shape: Shape::Isolate(leader()),
                one_way: false,
                clients_too: false,
                for_us: 1_000_000,
            },
        ),
        // Before any session expires.
        at_ms(1_500, Crash { node: leader(), down_us: 20_000_000 }),
    ];
    let report = play(&plan);
    assert!(report.agrees() && report.is_violated(), "{report:#?}");
    let seen = |kind: Kind| report.processes.violations.iter().any(|broken| broken.kind == kind);
    assert!(seen(Kind::Client), "{report:#?}");
    let m1 =
        report.validated.iter().find(|validated| validated.model == "M1").expect("it is validated");
    let divergence = m1.divergence.as_deref().expect("they diverge");
    assert!(divergence.contains("acks=all was answered"), "{divergence}");
    let logs = report.logs.expect("what was written is kept");
    assert!(logs.join("node-1.log").exists() && logs.join("node-1").is_dir());
    std::fs::remove_dir_all(logs).expect("it is ours");
}

/// The plans below `ci/reenact/FOLDER`, by the names of their files.
fn committed(folder: &str) -> Vec<(String, Plan)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../ci/reenact").join(folder);
    let entries = std::fs::read_dir(root).expect("it is there");
    let plan = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).expect("it can be read");
        let name = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        (name.to_owned(), Plan::from_json(&text).expect("a plan"))
    };
    entries.map(|entry| plan(entry.expect("a file").path())).collect()
}

/// The plans of `ci/reenact` leave nothing out, and hold in the tank.
#[test]
fn the_committed_plans_are_played_whole() {
    let plans = committed("plans");
    for (name, plan) in &plans {
        let cast = Cast::of(plan);
        assert!(cast.left_out.is_empty() && cast.faults() > 1, "{name}");
        assert_eq!(wavetank_reenact::verdict::tank(&cast.plan, None).violations, [], "{name}");
    }
    assert!(plans.len() >= 5);
}

/// Each flawed plan is named after the rule that it leaves out. With that rule in place it holds in
/// the tank, so nothing else is to blame.
#[test]
fn the_planted_flaws_are_to_blame() {
    let plans = committed("flaws");
    for (name, mut plan) in plans.iter().cloned() {
        assert_eq!(plan.flaws, [name.as_str()]);
        plan.flaws.clear();
        let cast = Cast::of(&plan);
        assert!(cast.left_out.is_empty() && cast.faults() > 0, "{name}");
        assert_eq!(wavetank_reenact::verdict::tank(&cast.plan, None).violations, [], "{name}");
    }
    assert!(plans.len() >= 10);
}
