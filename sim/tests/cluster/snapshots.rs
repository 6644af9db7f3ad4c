//! A run is a value: what continues from a snapshot is the run that the snapshot was taken of.

use wavetank_sim::outcome::Outcome;
use wavetank_sim::plan::Plan;
use wavetank_sim::profile::Profile;
use wavetank_sim::run::Options;
use wavetank_sim::tank::Tank;

use super::tank::SECOND;

fn options() -> Options {
    Options { keep_fingerprints: true, keep_going: true, ..Options::default() }
}

/// Runs a plan, with a snapshot at each of these virtual seconds.
fn with_snapshots(plan: &Plan, seconds: &[u64]) -> (Vec<Tank>, Outcome) {
    let mut tank = Tank::new(plan, options());
    let mut kept = Vec::new();
    for second in seconds {
        tank.run_to(second * SECOND);
        kept.push(tank.clone());
    }
    (kept, tank.finish())
}

/// All of an outcome, as text.
fn told(outcome: &Outcome) -> String {
    format!("{outcome:?}")
}

fn continues(plan: &Plan) {
    let whole = Tank::new(plan, options()).finish();
    let (kept, watched) = with_snapshots(plan, &[0, 3, 9, 17, 40]);
    assert_eq!(watched.fingerprint, whole.fingerprint, "a snapshot changes its run");
    for (index, snapshot) in kept.into_iter().enumerate() {
        let continued = snapshot.finish();
        assert_eq!(continued.fingerprint, whole.fingerprint, "{}: {index}", plan.seed);
        assert!(told(&continued) == told(&whole), "{}: {index}: another outcome", plan.seed);
    }
}

#[test]
fn a_snapshot_continues_as_the_whole() {
    for seed in [0, 7, 23, 40] {
        continues(&Profile::Default.draw(seed));
    }
}

#[test]
fn a_snapshot_with_a_violation_continues_as_the_whole() {
    for (seed, flaw) in [(3, "truncate-to-high-watermark"), (11, "ack-before-flush")] {
        let mut plan = Profile::Default.draw(seed);
        plan.flaws = vec![flaw.to_owned()];
        continues(&plan);
    }
}

#[test]
fn a_branch_has_the_past_in_common_and_nothing_else() {
    let mut tank = Tank::new(&Profile::First.draw(40), options());
    assert!(tank.run_to(9 * SECOND) && !tank.is_over());
    let past = tank.history().len();
    assert!(past > 0);
    let mut branch = tank.clone();
    branch.branch(1);
    let (whole, other) = (tank.finish(), branch.finish());
    assert_eq!(whole.history[..past], other.history[..past]);
    let same = |(one, two): &(&u64, &u64)| one == two;
    let common = whole.fingerprints.iter().zip(&other.fingerprints).take_while(same).count();
    assert!(common > 0 && common < whole.fingerprints.len().min(other.fingerprints.len()));
}
