//! Pinned results of M3: what holds, what each variant breaks, and how a counterexample reads.

use stateright::{Checker, Model};

use super::{ENTRY, FIGURE_8, Votes};
use crate::{Bounds, Report};

fn check(variant: Option<&str>) -> Report {
    (ENTRY.check)(variant, Bounds::Small)
}

#[test]
fn the_right_protocol_holds() {
    let report = check(None);
    assert_eq!(report.counterexample, None);
    assert_eq!((report.unique, report.depth), (ENTRY.states[0], 33));
    assert!(report.state_bytes.is_some_and(|bytes| bytes <= 100), "{:?}", report.state_bytes);
}

#[test]
fn each_number_of_threads_finds_the_same_states() {
    for threads in [2, 3] {
        let model = Votes::new(None, Bounds::Small);
        let checker = model.checker().threads(threads).spawn_bfs().join();
        assert!(checker.discoveries().is_empty());
        assert_eq!(checker.unique_state_count() as u64, ENTRY.states[0], "{threads} threads");
    }
}

#[test]
fn each_variant_breaks_its_property() {
    let expected = [
        ("vote-before-durable", "no-double-vote", 5),
        ("commit-before-sync", "committed-stays", 9),
        ("leader-resumes-epoch", "log-matching", 8),
        ("request-before-recovery", "no-double-vote", 6),
    ];
    assert_eq!(expected.map(|(variant, ..)| variant), ENTRY.variants);
    for (variant, property, steps) in expected {
        let (broken, path) = check(Some(variant)).counterexample.expect(variant);
        assert_eq!((broken.as_str(), path.len()), (property, steps), "{variant}");
    }
}

#[test]
fn with_as_many_epochs_as_figure_8_the_right_protocol_holds_and_its_rule_is_needed() {
    let report = (FIGURE_8.check)(None, Bounds::Small);
    assert_eq!((report.counterexample, report.unique), (None, FIGURE_8.states[0]));
    let wrong = (FIGURE_8.check)(Some("commit-older-epoch"), Bounds::Small);
    let (broken, path) = wrong.counterexample.expect("figure 8");
    assert_eq!((broken.as_str(), path.len()), ("leader-completeness", 20));
    // The correct protocol is explored in the bounds in which the wrong one fails.
    let wrong = Votes::figure_8(Some("commit-older-epoch"), Bounds::Full);
    let right = Votes::figure_8(None, Bounds::Full);
    assert_eq!(Votes { rules: right.rules, ..wrong }, right);
}

#[test]
fn a_counterexample_reads_as_steps() {
    let (_, path) = check(Some("leader-resumes-epoch")).counterexample.expect("it fails");
    let told: Vec<&str> = path.iter().map(|step| step.action.as_str()).collect();
    assert_eq!(told[0], "voter 1 stands for epoch 1 and votes for itself (written)");
    let last = path.last().expect("it has steps");
    let expected = "1 epoch 1 leads voted 1 [e1']; 2 epoch 0 []; 3 epoch 1 follows 1 voted 1 [e1]; \
                    committed []";
    assert_eq!(last.state, expected);
}

#[test]
#[should_panic(expected = "M3 has no variant no-such; it has [\"vote-before-durable\"")]
fn an_unknown_variant_is_refused() {
    check(Some("no-such"));
}
