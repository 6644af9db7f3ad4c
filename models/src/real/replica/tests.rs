//! How many states there are, which promises break without which rule, and what a power loss
//! leaves.

use super::*;
use stateright::Checker;

/// All states within a fixed number of steps; all states take a release build (`wavetank model
/// check`).
#[test]
fn the_first_steps_hold_and_are_as_many_as_ever() {
    let model = RealReplica::new(None, Bounds::Small);
    let checker = model.checker().threads(1).target_max_depth(10).spawn_bfs().join();
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), 38_482);
}

#[test]
fn each_variant_breaks_a_promise_by_a_shortest_way() {
    let lengths = [
        ("ack-at-leader-append", 2),
        ("truncate-to-high-watermark", 10),
        ("high-watermark-by-committed-isr", 11),
    ];
    for (variant, length) in lengths {
        let report = crate::run(RealReplica::new(Some(variant), Bounds::Small), None);
        let (property, steps) = report.counterexample.expect(variant);
        let found = (property.as_str(), steps.len());
        assert_eq!(found, ("isr-holds-promised", length), "{variant}");
    }
}

/// A leader whose high watermark is stale, and a follower that has records up to it and no more.
#[test]
fn who_joins_before_the_start_of_the_epoch_lacks_what_was_promised() {
    let steps = [
        Action::Hear(0, 1),
        Action::Drop(1),
        Action::Return(1),
        Action::Append(0),
        Action::Append(0),
        Action::Hear(2, 1),
        Action::Fetch(2),
        Action::Fetch(2),
        Action::Fetch(2),
        Action::Hear(0, 1),
        Action::Elect { leader: 2, fence: false },
        Action::Hear(0, 2),
        Action::Hear(1, 2),
        Action::Hear(2, 2),
        Action::Fetch(1),
        Action::Fetch(0),
    ];
    for flaw in [None, Some(Flaw::EarlyIsrJoin)] {
        let model =
            RealReplica { flaw, epochs: 2, records: 2, drops: 1, power_losses: 0, timeouts: 0 };
        let mut state = model.init_states().remove(0);
        let mut enabled = Vec::new();
        for step in steps {
            enabled.clear();
            model.actions(&state, &mut enabled);
            assert!(enabled.contains(&step), "{step} in {state}");
            state = model.next_state(&state, step).unwrap();
        }
        enabled.clear();
        model.actions(&state, &mut enabled);
        assert_eq!(state.promised.len(), 2);
        assert_eq!(enabled.contains(&Action::Propose(2)), flaw.is_some(), "{state}");
        if flaw.is_some() {
            for step in [Action::Propose(2), Action::Execute { leader: 2, request: 0 }] {
                state = model.next_state(&state, step).unwrap();
            }
            assert!(members(state.now().isr).any(|at| !state.holds_promised(at, 2)));
        }
    }
}

/// A power loss strikes midway: tails are lost, logs are read anew, and what the ISR's other
/// members keep is enough.
#[test]
fn power_losses_hold_and_are_explored() {
    let model =
        RealReplica { flaw: None, epochs: 2, records: 1, drops: 0, power_losses: 1, timeouts: 0 };
    let checker = model.checker().threads(1).target_max_depth(8).spawn_bfs().join();
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), 12_022);
}

/// The leader appends, loses power before any of it is durable, and comes back without the record.
#[test]
fn a_power_loss_takes_what_is_not_durable() {
    let model =
        RealReplica { flaw: None, epochs: 2, records: 1, drops: 0, power_losses: 1, timeouts: 0 };
    let run = |steps: &[Action]| {
        let mut state = model.init_states().remove(0);
        for step in steps {
            let mut enabled = Vec::new();
            model.actions(&state, &mut enabled);
            assert!(enabled.contains(step), "{step} in {state}");
            state = model.next_state(&state, *step).unwrap();
        }
        state.nodes[0].kept.len()
    };
    let (hear, append, lost) = (Action::Hear(0, 1), Action::Append(0), Action::PowerLoss(0));
    assert_eq!(run(&[hear, append]), 1);
    assert_eq!(run(&[hear, append, lost]), 0);
    assert_eq!(run(&[hear, append, Action::Durable(0), lost]), 1);
}

/// After two quick elections a follower's last epoch is one that its leader never had.
#[test]
fn an_epoch_that_the_leader_never_had_keeps_a_record_that_is_not_its() {
    let steps = [
        Action::Elect { leader: 1, fence: false },
        Action::Elect { leader: 2, fence: false },
        Action::Elect { leader: 0, fence: true },
        Action::Hear(0, 1),
        Action::Append(0),
        Action::Hear(0, 4),
        Action::Hear(1, 2),
        Action::Append(1),
        Action::Hear(1, 4),
        Action::Fetch(1),
    ];
    let flawed = RealReplica::new(Some("unknown-epoch-answered-with-next"), Bounds::Small);
    for model in [RealReplica { flaw: None, ..flawed.clone() }, flawed] {
        let mut state = model.init_states().remove(0);
        for step in steps {
            let mut enabled = Vec::new();
            model.actions(&state, &mut enabled);
            assert!(enabled.contains(&step), "{step} in {state}");
            state = model.next_state(&state, step).unwrap();
        }
        let broken = !members(state.now().isr).all(|at| state.holds_promised(at, usize::MAX));
        assert_eq!(broken, model.flaw.is_some(), "{state}");
    }
}

#[test]
fn states_are_counted_alike_by_each_number_of_threads() {
    let drops =
        RealReplica { flaw: None, epochs: 1, records: 1, drops: 1, power_losses: 0, timeouts: 0 };
    let losses = RealReplica { epochs: 2, records: 0, drops: 0, power_losses: 1, ..drops.clone() };
    for (model, states) in [(drops, 3_188), (losses, 17_806)] {
        for threads in [1, 2, 3] {
            let checker = model.clone().checker().threads(threads).spawn_bfs().join();
            assert_eq!(checker.unique_state_count(), states, "{threads} threads");
        }
    }
}

/// A bug that exploration found in the core: a proposal was sent with the broker epochs at the time
/// of sending, not those at the time it was made, and let in a replica that had lost its tail in
/// between.
#[test]
fn who_starts_anew_is_not_let_in_by_an_older_proposal() {
    let steps = [
        Action::Elect { leader: 1, fence: true },
        Action::Return(0),
        Action::Hear(0, 2),
        Action::Hear(1, 2),
        Action::Append(1),
        Action::Fetch(0),
        Action::Append(1),
        Action::Hear(2, 2),
        Action::Fetch(2),
        Action::Fetch(2),
        Action::Fetch(2),
        Action::Fetch(0),
        Action::Fetch(0),
        Action::PowerLoss(0),
        Action::Return(0),
        Action::Hear(0, 2),
        Action::Fetch(0),
        Action::Propose(1),
        Action::Execute { leader: 1, request: 0 },
    ];
    let model =
        RealReplica { flaw: None, epochs: 2, records: 2, drops: 0, power_losses: 1, timeouts: 0 };
    let mut state = model.init_states().remove(0);
    for step in steps {
        let mut enabled = Vec::new();
        model.actions(&state, &mut enabled);
        assert!(enabled.contains(&step), "{step} in {state}");
        state = model.next_state(&state, step).unwrap();
    }
    assert_eq!((state.promised.len(), state.holds_promised(0, 2)), (2, false), "{state}");
    assert_eq!(state.now().isr, bit(1) | bit(2), "{state}");
    let answer = state.answers[1].expect("the controller has refused");
    assert_eq!(answer.error, ErrorCode::IneligibleReplica);
}

/// A leader gives up on a copy of its proposal and sends another, which is refused; the first is
/// executed last of all. The replica that it names counts until then, unless a refusal is final.
#[test]
fn who_an_earlier_copy_names_holds_what_is_promised_when_it_is_executed_last() {
    let execute = |request| Action::Execute { leader: 0, request };
    let steps = [
        Action::Hear(1, 1),
        Action::Hear(2, 1),
        Action::Hear(0, 1),
        Action::Drop(2),
        Action::Return(2),
        Action::Hear(0, 1),
        Action::Fetch(2),
        Action::Propose(0),
        Action::GiveUp(0),
        Action::Propose(0),
        Action::Drop(2),
        execute(1),
        Action::Answered(0),
        Action::Hear(0, 1),
        Action::Append(0),
        Action::Fetch(1),
        Action::Fetch(1),
        Action::Return(2),
        execute(0),
    ];
    for flaw in [None, Some(Flaw::RefusalIsFinal)] {
        let model =
            RealReplica { flaw, epochs: 1, records: 1, drops: 2, power_losses: 0, timeouts: 1 };
        let mut state = model.init_states().remove(0);
        for step in steps {
            let mut enabled = Vec::new();
            model.actions(&state, &mut enabled);
            assert!(enabled.contains(&step), "{step} in {state}");
            state = model.next_state(&state, step).unwrap();
        }
        assert_eq!(state.now().isr, 0b111, "{state}");
        assert_eq!(state.promised.len(), usize::from(flaw.is_some()), "{state}");
        assert_eq!(state.holds_promised(2, usize::MAX), flaw.is_none(), "{state}");
    }
}

/// All states of one leader epoch in which the leader may give up once.
#[test]
fn copies_that_come_late_hold_and_are_explored() {
    let model =
        RealReplica { flaw: None, epochs: 1, records: 1, drops: 2, power_losses: 0, timeouts: 1 };
    let checker = model.checker().threads(1).spawn_bfs().join();
    checker.assert_properties();
    assert_eq!(checker.unique_state_count(), 151_206);
}
