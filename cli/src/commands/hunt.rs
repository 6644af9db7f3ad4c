//! `wavetank hunt`: the main job.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use wavetank_sim::hunt::{FoundViolation, HuntOptions, HuntReport, LARGE_HUNT, hunt};
use wavetank_sim::replay::Fingerprint;

use crate::args::HuntArgs;
use crate::conform::Models;
use crate::output::{Failure, Out, Style, Verdict, grouped, measured};

/// So many seeds with violations are told in text; JSON has all.
const TOLD: usize = 20;

/// What `--json` writes: the report's promised fields, and the digest of all runs.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    report: &'a HuntReport,
    fingerprint: Fingerprint,
}

/// Hunts and tells.
pub fn run(args: &HuntArgs, out: &mut Out) -> Result<Verdict, Failure> {
    let bar = progress_bar(args);
    let options = options(args, &bar);
    let report = hunt(&options);
    bar.finish_and_clear();
    let json = args.json.as_deref();
    if json != Some(Path::new("-")) {
        tell(&report, out)?;
    }
    match json {
        Some(path) if path == Path::new("-") => out.json(&json_of(&report))?,
        Some(path) => {
            let text = serde_json::to_string_pretty(&json_of(&report)).expect("keys are strings");
            std::fs::write(path, text + "\n").map_err(|error| {
                let attempted = format!("write {}", path.display());
                Failure::new(attempted, error, "Name another file with --json.")
            })?;
        }
        None => {}
    }
    Ok(if report.is_green() { Verdict::Held } else { Verdict::Violated })
}

fn json_of(report: &HuntReport) -> Json<'_> {
    Json { report, fingerprint: Fingerprint(report.fingerprint) }
}

fn options(args: &HuntArgs, bar: &ProgressBar) -> HuntOptions {
    let bar = bar.clone();
    let seeds = match (&args.seeds, args.time) {
        (Some(seeds), _) => seeds.0.clone(),
        (None, Some(_)) => 0..u64::MAX,
        (None, None) => HuntOptions::default().seeds,
    };
    HuntOptions {
        seeds,
        jobs: super::jobs(args.jobs),
        profile: args.profile.0,
        faults: args.faults.as_ref().map(|faults| faults.0.clone()),
        workload: args.workload.as_ref().map(|workloads| workloads.0.clone()),
        shard: args.shard.map(|shard| (shard.part - 1, shard.of)),
        flaws: args.flaw.iter().map(|flaw| flaw.0.story().name.to_owned()).collect(),
        for_duration: args.time,
        additions: args.conform.as_ref().and_then(Models::additions),
        additions_arguments: args.conform.as_ref().map(Models::arguments).unwrap_or_default(),
        progress: Some(Arc::new(move |done, violated, weak| {
            bar.set_position(done);
            bar.set_message(format!("{violated} violated, {weak} weak"));
        })),
        ..HuntOptions::default()
    }
}

/// On a terminal; elsewhere it draws nothing.
fn progress_bar(args: &HuntArgs) -> ProgressBar {
    let seeds = match (&args.seeds, args.time) {
        (Some(seeds), _) => Some(seeds.0.end - seeds.0.start),
        (None, Some(_)) => None,
        (None, None) => Some(LARGE_HUNT),
    };
    let style = |template: &str| {
        ProgressStyle::with_template(template).expect("the template is a constant of ours")
    };
    match seeds {
        Some(seeds) => {
            let of = args.shard.map_or(1, |shard| shard.of);
            let bar = ProgressBar::new(seeds.div_ceil(of));
            bar.with_style(style("{wide_bar} {pos}/{len} seeds, {msg}, {per_sec}, {eta} left"))
        }
        None => {
            ProgressBar::no_length().with_style(style("{pos} seeds, {msg}, {per_sec}, {elapsed}"))
        }
    }
}

fn tell(report: &HuntReport, out: &mut Out) -> Result<(), Failure> {
    let by_seed = by_seed(&report.violations);
    let (seeds, wall, cpu) = (report.seeds, report.wall_seconds, report.cpu_seconds);
    let verdict = if by_seed.is_empty() {
        out.paint(Style::Good, &format!("{} seeds held", grouped(seeds)))
    } else {
        let violated = grouped(by_seed.len() as u64);
        out.paint(Style::Bad, &format!("{violated} of {} seeds broke a promise", grouped(seeds)))
    };
    out.line(verdict)?;
    let share = 100.0 * report.weak_seeds as f64 / seeds.max(1) as f64;
    let rows = [
        ("weak", format!("{} seeds ({share:.1} %)", grouped(report.weak_seeds))),
        (
            "time",
            format!(
                "{} virtual seconds in {} s ({} CPU s); {} seeds/s",
                measured(report.virtual_seconds),
                measured(wall),
                measured(cpu),
                measured(seeds as f64 / wall)
            ),
        ),
        (
            "events",
            format!(
                "{}, {} per CPU s",
                grouped(report.events),
                measured(report.events as f64 / cpu)
            ),
        ),
        (
            "operations",
            format!(
                "{}, {} per CPU s",
                grouped(report.operations),
                measured(report.operations as f64 / cpu)
            ),
        ),
        ("faults", counts(&report.faults)),
        ("marks", counts(&report.marks)),
        (
            "no violation",
            format!(
                "{} records lost with all their copies, {} weak acknowledgements lost, {} duplicates",
                grouped(report.admitted_losses),
                grouped(report.weakly_acked_lost),
                grouped(report.duplicates)
            ),
        ),
    ];
    for (name, value) in rows {
        out.line(format_args!("  {name:<13} {value}"))?;
    }
    if !report.missed_marks.is_empty() {
        let missed = report.missed_marks.join(", ");
        let word = out.paint(Style::Bad, "not reached");
        out.line(format_args!("  {word}   {missed}: no seed of {seeds} got there"))?;
    }
    tell_violations(&by_seed, out)
}

fn tell_violations(
    by_seed: &BTreeMap<u64, Vec<&FoundViolation>>,
    out: &mut Out,
) -> Result<(), Failure> {
    for (seed, violations) in by_seed.iter().take(TOLD) {
        out.line(format_args!("\n{}", out.paint(Style::Bad, &format!("seed {seed}"))))?;
        for violation in violations {
            let FoundViolation { invariant, kind, message, .. } = violation;
            out.line(format_args!("  {invariant} ({kind}): {message}"))?;
        }
        if let Some(violation) = violations.first() {
            out.line(format_args!("  {}", violation.replay))?;
        }
    }
    if by_seed.len() > TOLD {
        let more = by_seed.len() - TOLD;
        out.line(format_args!("\n{more} more seeds; --json FILE has them all"))?;
    }
    Ok(())
}

fn by_seed(violations: &[FoundViolation]) -> BTreeMap<u64, Vec<&FoundViolation>> {
    let mut seeds: BTreeMap<u64, Vec<&FoundViolation>> = BTreeMap::new();
    for violation in violations {
        seeds.entry(violation.seed).or_default().push(violation);
    }
    seeds
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let counts = counts.iter().map(|(name, count)| format!("{name} {}", grouped(*count)));
    let counts = counts.collect::<Vec<_>>().join(", ");
    if counts.is_empty() { "none".to_owned() } else { counts }
}
