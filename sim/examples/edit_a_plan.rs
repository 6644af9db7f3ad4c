//! Draws a plan from a seed, changes it, and compares the two runs.
//!
//! ```sh
//! cargo run --release -p wavetank-sim --example edit_a_plan
//! ```

use wavetank_sim::plan::Plan;
use wavetank_sim::profile::Profile;
use wavetank_sim::run::run;

fn show(title: &str, plan: &Plan) {
    let outcome = run(plan);
    println!("{title}");
    println!("  fingerprint        {:016x}", outcome.fingerprint);
    println!("  virtual time       {} ms", outcome.virtual_ns / 1_000_000);
    println!("  acked in the storm {}", outcome.acked_in_storm);
    println!("  weak acks lost     {}", outcome.weakly_acked_lost);
    for violation in &outcome.violations {
        println!("  VIOLATION          {}: {}", violation.invariant, violation.message);
    }
}

fn main() {
    let drawn = Profile::First.draw(40);
    show("acks=all, as drawn by seed 40", &drawn);

    // Only the leader's copy counts. Records that it had not replicated are lost when it crashes.
    // That breaks no promise, because acks=1 makes none for them.
    let mut edited = drawn.clone();
    for producer in &mut edited.workload.producers {
        producer.acks = 1;
    }
    show("acks=1", &edited);

    // The same storm against a broker without one of its safety rules.
    let mut flawed = drawn;
    flawed.flaws = vec!["ack-at-leader-append".to_owned()];
    show("acks=all, with the flaw ack-at-leader-append", &flawed);
}
