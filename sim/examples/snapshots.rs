//! Snapshots runs each virtual second, measures the cost, and continues one snapshot of each.
//!
//! ```sh
//! cargo run --release -p wavetank-sim --example snapshots [SEEDS]
//! ```
//!
//! Each seed runs twice in turn: once as it is, once with a snapshot kept for each virtual second.
//! The figures are CPU seconds of this thread.

use wavetank_sim::outcome::Outcome;
use wavetank_sim::plan::Plan;
use wavetank_sim::profile::Profile;
use wavetank_sim::run::Options;
use wavetank_sim::tank::Tank;

const SECOND: u64 = 1_000_000_000;

/// CPU seconds of this thread so far. Linux only.
fn cpu() -> f64 {
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let ns = spent.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok());
    ns.expect("Linux counts the CPU time of a thread there") as f64 / 1e9
}

/// Runs a plan and keeps a snapshot of each virtual second.
fn snapshots(plan: &Plan) -> (Vec<Tank>, Outcome) {
    let mut tank = Tank::new(plan, Options::default());
    let mut kept = Vec::new();
    loop {
        kept.push(tank.clone());
        if !tank.run_to(kept.len() as u64 * SECOND) {
            return (kept, tank.finish());
        }
    }
}

fn main() {
    let seeds: u64 = std::env::args().nth(1).map_or(20, |text| text.parse().expect("a number"));
    let (mut plain, mut with, mut count, mut continued) = (0.0, 0.0, 0, 0);
    let mut fingerprint = 0;
    for seed in 0..seeds {
        let plan = Profile::Default.draw(seed);
        let before = cpu();
        let whole = Tank::new(&plan, Options::default()).finish();
        let between = cpu();
        let (kept, same) = snapshots(&plan);
        count += kept.len();
        let one = kept.into_iter().nth(seed as usize % 20);
        with += cpu() - between;
        plain += between - before;
        fingerprint ^= whole.fingerprint;
        assert_eq!(same.fingerprint, whole.fingerprint, "seed {seed}: a snapshot changed the run");
        if let Some(snapshot) = one {
            continued += 1;
            let outcome = snapshot.finish();
            assert_eq!(outcome.fingerprint, whole.fingerprint, "seed {seed}: continued");
        }
    }
    println!("{seeds} runs: {plain:.3} s, fingerprint {fingerprint:016x}");
    println!("with {count} snapshots: {with:.3} s, {:.1} % more", (with / plain - 1.0) * 100.0);
    println!("a snapshot: {:.0} us", (with - plain) / f64::from(count as u32) * 1e6);
    println!("{continued} continued from a snapshot: each has the fingerprint of the whole");
}
