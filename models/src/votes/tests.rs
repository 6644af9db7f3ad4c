//! What M3 must hold and must find, pinned; and how a counterexample reads.

use stateright::{Checker, Model};

use super::{ENTRY, Votes};
use crate::{Bounds, Report};

fn check(variant: Option<&str>) -> Report {
    (ENTRY.check)(variant, Bounds::Small)
}

#[test]
fn the_right_protocol_holds() {
    let report = check(None);
    assert_eq!(report.counterexample, None);
    assert_eq!((report.unique, report.depth), (ENTRY.states[0], 33));
    assert!(report.state_bytes <= 100, "a state takes {} bytes", report.state_bytes);
}

#[test]
fn two_threads_find_the_same_states() {
    let checker = Votes::new(None, Bounds::Small).checker().threads(2).spawn_bfs().join();
    assert!(checker.discoveries().is_empty());
    assert_eq!(checker.unique_state_count() as u64, ENTRY.states[0]);
}

#[test]
fn each_variant_breaks_its_property() {
    let expected = [
        ("vote-before-durable", "no-double-vote", 5),
        ("commit-before-sync", "committed-stays", 9),
        ("commit-older-epoch", "leader-completeness", 20),
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
