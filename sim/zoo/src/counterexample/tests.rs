//! Plans of known counterexamples. The flaws are described in `models` and `core`.

use wavetank_models::{Bounds, find as model};
use wavetank_sim::hunt::run_caught;
use wavetank_sim::plan::{Crash, Plan, PowerLoss};
use wavetank_sim::run::Options;

use super::*;
use crate::validation::Models;

fn search(name: &str, flaw: &str, tries: u64) -> Result<Found, NoPlan> {
    let entry = model(name).unwrap();
    let report = (entry.check)(Some(flaw), Bounds::Small);
    let (_, steps) = report.counterexample.expect("the variant fails");
    find(entry, flaw, &steps, tries)
}

/// What each plan breaks: the model, the flaw, the invariant, and a part of its message (if the
/// invariant's name alone says little). The search accepts whatever the zoo counts, so only this
/// table shows that a plan now breaks something else.
const BROKEN: [(&str, &str, &str, &str); 20] = [
    ("M1", "truncate-to-high-watermark", "acked-stays", ""),
    ("M1", "unknown-epoch-answered-with-next", "acked-stays", ""),
    ("M1", "ack-at-leader-append", "acked-stays", ""),
    ("M1", "early-isr-join", "acked-stays", ""),
    ("M1", "leader-resumes-epoch", "acked-stays", ""),
    ("M1", "high-watermark-by-committed-isr", "acked-stays", ""),
    ("M2", "refusal-is-final", "isr-holds-promised", ""),
    ("M3", "vote-before-durable", "one-leader-per-epoch", ""),
    ("M3", "leader-resumes-epoch", "acked-stays", ""),
    ("M3", "request-before-recovery", "assertion", "in directory 1, which is not open"),
    ("M7", "torn-tail-accepted", "recovered-is-whole", ""),
    ("M7", "failed-sync-retried", "acked-stays", ""),
    ("M7", "ack-before-flush", "acked-stays", ""),
    ("M7", "cut-below-recovery-point", "process-exit", "ends before the recovery point"),
    ("R1", "truncate-to-high-watermark", "acked-stays", ""),
    ("R1", "unknown-epoch-answered-with-next", "acked-stays", ""),
    ("R1", "ack-at-leader-append", "acked-stays", ""),
    ("R1", "high-watermark-by-committed-isr", "isr-holds-promised", ""),
    ("R3", "vote-before-durable", "one-leader-per-epoch", ""),
    ("R3C", "leader-resumes-epoch", "acked-stays", ""),
];

#[test]
fn a_plan_breaks_its_promise_with_the_flaw_and_holds_without() {
    let mut others = Vec::new();
    for (name, flaw, invariant, part) in BROKEN {
        let found = search(name, flaw, 200).unwrap_or_else(|none| panic!("{name} {flaw}: {none}"));
        // As written to a file and read back.
        let plan = Plan::from_json(&found.plan.to_json()).unwrap();
        assert_eq!(plan.flaws, [flaw]);
        let with = run_caught(&plan, Options::default());
        assert!(with.violations.contains(&found.violation), "{flaw}");
        let sound = Plan { flaws: Vec::new(), ..plan };
        assert_eq!(run_caught(&sound, Options::default()).violations, [], "{flaw}");
        let broken = found.violation;
        if broken.invariant != invariant || !broken.message.contains(part) {
            others.push((name, flaw, broken));
        }
    }
    assert!(others.is_empty(), "these break something else: {others:#?}");
}

/// Every variant with which the broker can be built becomes a plan, and is pinned.
#[test]
fn no_plan_is_left_unpinned() {
    for entry in wavetank_models::ALL {
        for variant in entry.variants {
            let pinned = BROKEN.iter().any(|(id, flaw, ..)| *id == entry.id && flaw == variant);
            assert_eq!(pinned, Flaw::from_name(variant).is_some(), "{} {variant}", entry.id);
        }
    }
}

#[test]
fn a_counterexample_is_always_the_same_plan() {
    let plans = [(); 2].map(|()| search("M1", "leader-resumes-epoch", 200).unwrap().plan);
    assert_eq!(plans[0], plans[1]);
}

#[test]
fn what_cannot_be_planned_says_why() {
    let alone = search("M1", "unfenced-fetch", 1).unwrap_err();
    assert_eq!(alone, NoPlan::NotInTheBroker);
    let unsteered = search("M3F", "commit-older-epoch", 1).unwrap_err();
    assert_eq!(unsteered, NoPlan::NotInTheBroker);
    let nobody_forgets = quorum::plan(&[Happening::Stand(0)], &mut Vary::new(1)).unwrap_err();
    assert!(matches!(nobody_forgets, NoPlan::Step(1, _)), "{nobody_forgets}");
}

/// A follower's checkpoint has a high watermark. The follower is away while its leader, then the
/// only member of the ISR, loses power and most of its log. When it is back, it cuts its log and
/// appends records that fewer replicas than `min.insync.replicas` hold, so that they are not
/// promised. Its process ends before the next checkpoint.
fn cut_below_the_high_watermark(number: u64) -> Plan {
    let vary = &mut Vary::new(number);
    let mut plan = environment::plan(number, 2, 12_000);
    plan.topics[0].min_insync_replicas = 2;
    plan.workload.producers[0].acks = 1;
    plan.disk.torn = true;
    let follower = Target::Node(replicas(&plan)[1]);
    let away_us = vary.range(2_500_000, 4_000_000);
    let away = FaultKind::Crash(Crash { node: follower.clone(), down_us: away_us });
    let less =
        FaultKind::PowerLoss(PowerLoss { node: leader(), down_us: vary.range(20_000, 300_000) });
    let ends = FaultKind::Crash(Crash { node: follower, down_us: vary.range(20_000, 200_000) });
    plan.faults = chain(vec![
        Moment::after("high_watermark", vary.range(80, 150), 0, vec![away]),
        Moment::at(vary.range(1_400_000, away_us - 400_000), vec![less]),
        Moment::after("follower_appended", 1, 0, vec![ends]),
    ]);
    plan
}

#[test]
fn a_high_watermark_that_outlives_a_cut_parts_the_run_from_the_model() {
    let models: Models = "M1".parse().unwrap();
    let additions = models.additions().unwrap();
    let violations = |plan: &Plan| run_caught(plan, additions(plan)).violations;
    let diverges = |plan: &Plan| {
        let flaws = vec!["cut-below-recovery-point".to_owned()];
        let flawed = Plan { flaws, ..plan.clone() };
        violations(&flawed).iter().any(|violation| violation.invariant == "trace-of-M1")
    };
    let plans: Vec<Plan> =
        (1..=40).map(cut_below_the_high_watermark).filter(|plan| diverges(plan)).collect();
    assert!(plans.len() >= 3, "{} plans", plans.len());
    for plan in plans {
        assert_eq!(violations(&plan), [], "plan {}", plan.seed);
    }
}
