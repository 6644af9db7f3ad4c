//! Runs the ping-pongs interleaved, so that changes in the machine's load affect all of them, and
//! compares them: `compare ROUNDS TANK TURMOIL MADSIM [JSON_FILE]`, each of the three the path of
//! its `ping`.
//!
//! A figure is the median of the rounds. Ratios are of processor time per message, which other jobs
//! disturb least. Compare simulated time only within one engine: each has its own latencies.

use std::process::{Command, ExitCode};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Deserialize)]
struct Run {
    engine: String,
    messages: u64,
    wall_seconds: f64,
    cpu_seconds: f64,
    simulated_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Row {
    engine: String,
    load: String,
    messages_per_second: f64,
    cpu_us_per_message: f64,
    simulated_seconds_per_second: f64,
    /// Its processor time per message, divided by wavetank's under the same load.
    times_wavetank: f64,
}

/// Binary (0 tank, 1 turmoil, 2 madsim), load and arguments; about a second each.
const RUNS: [(usize, &str, &[&str]); 8] = [
    (0, "light", &["light", "200"]),
    (1, "light", &["light", "120"]),
    (2, "light", &["light", "300", "node"]),
    (2, "light", &["light", "300", "flow"]),
    (0, "heavy", &["heavy", "15"]),
    (1, "heavy", &["heavy", "20"]),
    (2, "heavy", &["heavy", "100", "node"]),
    (2, "heavy", &["heavy", "4", "flow"]),
];

fn run(binary: &str, args: &[&str]) -> Result<Run, String> {
    let attempted = format!("{binary} {}", args.join(" "));
    let output =
        Command::new(binary).args(args).output().map_err(|e| format!("{attempted}: {e}"))?;
    if !output.status.success() {
        return Err(format!("{attempted}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| format!("{attempted}: its output: {e}"))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn compare(args: &[String]) -> Result<(), String> {
    let usage = "usage: compare ROUNDS TANK TURMOIL MADSIM [JSON_FILE]";
    let [rounds, tank, turmoil, madsim, rest @ ..] = args else { return Err(usage.to_owned()) };
    let rounds: usize = rounds.parse().map_err(|_| usage.to_owned())?;
    let mut runs: Vec<Vec<Run>> = vec![Vec::new(); RUNS.len()];
    for round in 0..rounds.max(1) {
        for (i, (binary, _, args)) in RUNS.iter().enumerate() {
            eprint!("\rround {} of {rounds}, {} of {}", round + 1, i + 1, RUNS.len());
            runs[i].push(run([tank, turmoil, madsim][*binary], args)?);
        }
    }
    eprintln!();
    let mut rows: Vec<Row> = Vec::new();
    for ((_, load, _), runs) in RUNS.iter().zip(&runs) {
        let of = |figure: fn(&Run) -> f64| median(runs.iter().map(figure).collect());
        let cpu = of(|run| run.cpu_seconds * 1e6 / run.messages as f64);
        let ours = rows.iter().find(|row| row.load == *load).map(|row| row.cpu_us_per_message);
        rows.push(Row {
            engine: runs[0].engine.clone(),
            load: (*load).to_owned(),
            messages_per_second: of(|run| run.messages as f64 / run.wall_seconds),
            cpu_us_per_message: cpu,
            simulated_seconds_per_second: of(|run| run.simulated_seconds / run.wall_seconds),
            times_wavetank: cpu / ours.unwrap_or(cpu),
        });
    }
    println!(
        "| engine | load | messages/s of wall | CPU us per message | simulated s per s | x wavetank |"
    );
    println!("|---|---|---|---|---|---|");
    for row in &rows {
        println!(
            "| {} | {} | {:.0} | {:.3} | {:.1} | {:.1} |",
            row.engine,
            row.load,
            row.messages_per_second,
            row.cpu_us_per_message,
            row.simulated_seconds_per_second,
            row.times_wavetank,
        );
    }
    if let Some(file) = rest.first() {
        let json = serde_json::to_string_pretty(&rows).map_err(|e| e.to_string())?;
        std::fs::write(file, json + "\n").map_err(|e| format!("writing {file}: {e}"))?;
    }
    Ok(())
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match compare(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("compare: {message}");
            ExitCode::from(2)
        }
    }
}
