//! Plans of known counterexamples. What the flaws are lives in `models` and `core`.

use wavetank_models::{Bounds, find as model};
use wavetank_sim::hunt::run_caught;
use wavetank_sim::plan::Plan;
use wavetank_sim::run::Options;

use super::*;

fn search(name: &str, flaw: &str, tries: u64) -> Result<Found, NoPlan> {
    let entry = model(name).unwrap();
    let report = (entry.check)(Some(flaw), Bounds::Small);
    let (_, steps) = report.counterexample.expect("the variant fails");
    find(entry, flaw, &steps, tries)
}

#[test]
fn a_plan_breaks_the_promise_with_the_flaw_and_holds_without() {
    let known = [
        ("M1", "truncate-to-high-watermark"),
        ("M1", "unknown-epoch-answered-with-next"),
        ("M1", "ack-at-leader-append"),
        ("M1", "early-isr-join"),
        ("M1", "leader-resumes-epoch"),
        ("M1", "high-watermark-by-committed-isr"),
        ("R1", "high-watermark-by-committed-isr"),
        ("M3", "vote-before-durable"),
        ("M7", "torn-tail-accepted"),
        ("M7", "failed-sync-retried"),
        ("M7", "ack-before-flush"),
    ];
    for (name, flaw) in known {
        let found = search(name, flaw, 200).unwrap_or_else(|none| panic!("{flaw}: {none}"));
        // As it is written and read again.
        let plan = Plan::from_json(&found.plan.to_json()).unwrap();
        assert_eq!(plan.flaws, [flaw]);
        let with = run_caught(&plan, Options::default());
        assert!(with.violations.contains(&found.violation), "{flaw}");
        let sound = Plan { flaws: Vec::new(), ..plan };
        assert_eq!(run_caught(&sound, Options::default()).violations, [], "{flaw}");
    }
}

#[test]
fn a_counterexample_is_always_the_same_plan() {
    let plans = [(); 2].map(|()| search("M1", "leader-resumes-epoch", 200).unwrap().plan);
    assert_eq!(plans[0], plans[1]);
}

#[test]
fn what_cannot_be_planned_says_why() {
    let cut = search("M7", "cut-below-recovery-point", 1).unwrap_err();
    assert!(matches!(cut, NoPlan::Step(6, _)), "{cut}");
    let alone = search("M1", "unfenced-fetch", 1).unwrap_err();
    assert_eq!(alone, NoPlan::NotInTheBroker);
    let unsteered = search("M3F", "commit-older-epoch", 1).unwrap_err();
    assert_eq!(unsteered, NoPlan::NotInTheBroker);
}
