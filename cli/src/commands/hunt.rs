//! `wavetank hunt`: runs seeded storms.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use serde::Serialize;
use wavetank_sim::hunt::{FoundViolation, HuntOptions, HuntReport, LARGE_HUNT, hunt};
use wavetank_sim::plan::FaultCounts;
use wavetank_sim::replay::Fingerprint;
use wavetank_zoo::validation::Models;

use crate::args::HuntArgs;
use crate::interrupt;
use crate::output::{Failure, Later, Out, Style, Verdict, grouped, measured};
use crate::progress::{Progress, Told};

/// Maximum seeds with violations that the text lists. JSON has all.
const TOLD: usize = 20;

/// What `--json` writes: the report's stable fields, and the digest of all runs.
#[derive(Serialize)]
struct Json<'a> {
    #[serde(flatten)]
    report: &'a HuntReport,
    fingerprint: Fingerprint,
}

/// Hunts, and prints the result.
pub fn run(args: &HuntArgs, out: &mut Out) -> Result<Verdict, Failure> {
    let to_stdout = args.json.as_deref() == Some(Path::new("-"));
    let file = match &args.json {
        Some(path) if !to_stdout => Some(Later::open(path, "--json")?),
        Some(_) | None => None,
    };
    let stop = interrupt::watch("after the seeds that are running")?;
    let progress = Progress::of(seeds_to_run(args));
    let report = hunt(&options(args, progress.told(), stop));
    drop(progress);
    // The file first: the same Ctrl-C may have ended the reader of the text.
    if let Some(file) = file {
        let text = serde_json::to_string_pretty(&json_of(&report)).expect("keys are strings");
        file.write(|to| writeln!(to, "{text}"))?;
    }
    if to_stdout {
        out.json(&json_of(&report))?;
    } else {
        tell(&report, out)?;
    }
    Ok(if report.is_green() { Verdict::Held } else { Verdict::Violated })
}

fn json_of(report: &HuntReport) -> Json<'_> {
    Json { report, fingerprint: Fingerprint(report.fingerprint) }
}

fn options(args: &HuntArgs, progress: Told, stop: Arc<AtomicBool>) -> HuntOptions {
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
        additions: args.validate.as_ref().and_then(Models::additions),
        additions_arguments: super::validate_arguments(args.validate.as_ref()),
        progress: Some(Arc::new(move |done, violated, weak| {
            progress.set(done, format!("{violated} violated, {weak} weak"));
        })),
        require: args.require.as_ref().map(|require| require.0.clone()).unwrap_or_default(),
        stop: Some(stop),
        ..HuntOptions::default()
    }
}

/// The number of seeds to run, unless a time limits the hunt.
fn seeds_to_run(args: &HuntArgs) -> Option<u64> {
    let seeds = match (&args.seeds, args.time) {
        (Some(seeds), _) => seeds.0.end - seeds.0.start,
        (None, Some(_)) => return None,
        (None, None) => LARGE_HUNT,
    };
    Some(seeds.div_ceil(args.shard.map_or(1, |shard| shard.of)))
}

fn tell(report: &HuntReport, out: &mut Out) -> Result<(), Failure> {
    let by_seed = report.violations_by_seed();
    let (seeds, wall, cpu) = (report.seeds, report.wall_seconds, report.cpu_seconds);
    if report.interrupted {
        out.line("interrupted; results of the seeds that finished:")?;
    }
    let verdict = if by_seed.is_empty() {
        let style = if report.is_green() { Style::Good } else { Style::Heading };
        out.paint(style, &format!("{} seeds held", grouped(seeds)))
    } else {
        let violated = grouped(by_seed.len() as u64);
        out.paint(Style::Bad, &format!("{violated} of {} seeds broke a promise", grouped(seeds)))
    };
    out.line(verdict)?;
    let rows = [
        ("weak", weak(report)),
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
        ("compared", format!("{} outcomes with what was promised", grouped(report.compared))),
        ("faults", faults(&report.faults_by_kind)),
        ("marks", format!("states that storms must reach (seeds): {}", counts(&report.marks))),
        ("no violation", excused(report)),
    ];
    for (name, value) in rows {
        out.line(format_args!("  {name:<13} {value}"))?;
    }
    if !report.missed_marks.is_empty() {
        let missed = report.missed_marks.join(", ");
        let word = out.paint(Style::Bad, "not reached");
        out.line(format_args!("  {word}   {missed}: no seed of {seeds} reached it"))?;
    }
    for why in &report.missed_gates {
        let word = out.paint(Style::Bad, "not green");
        out.line(format_args!("  {word}     {why}"))?;
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
            out.line(format_args!("  again: {}", violation.replay))?;
        }
    }
    if by_seed.len() > TOLD {
        let more = by_seed.len() - TOLD;
        out.line(format_args!("\n{more} more seeds; --json FILE lists all"))?;
    }
    Ok(())
}

/// Counts weak seeds, which held but tested too little, and gives the most frequent reason.
fn weak(report: &HuntReport) -> String {
    let share = 100.0 * report.weak_seeds as f64 / report.seeds.max(1) as f64;
    let mut text =
        format!("{} seeds ({share:.1} %) held but tested too little", grouped(report.weak_seeds));
    if let Some((seed, count, reason)) = report.most_frequent_weakness() {
        text += &format!("; {count} like seed {seed}: {reason}");
    }
    text
}

/// `crash 29 of 30, partition 15 of 16 (14 took effect)`: fired of planned.
fn faults(kinds: &BTreeMap<String, FaultCounts>) -> String {
    if kinds.is_empty() {
        return "none planned".to_owned();
    }
    let kind = |(name, counts): (&String, &FaultCounts)| {
        let FaultCounts { planned, fired, bit } = *counts;
        let effect = match bit < fired {
            true => format!(" ({} took effect)", grouped(bit)),
            false => String::new(),
        };
        format!("{name} {} of {}{effect}", grouped(fired), grouped(planned))
    };
    let kinds: Vec<String> = kinds.iter().map(kind).collect();
    format!("fired of planned: {}", kinds.join(", "))
}

/// What was lost or duplicated, and why that breaks no promise.
fn excused(report: &HuntReport) -> String {
    format!(
        "{} records lost with all the copies that counted (faults destroyed them on each disk that \
         had them; a replica outside an ISR of one had {} of them), {} records lost that were \
         acknowledged with acks=0 or 1 (which promise less), {} duplicates (from producers without \
         idempotence)",
        grouped(report.admitted_losses),
        grouped(report.admitted_alone),
        grouped(report.weakly_acked_lost),
        grouped(report.duplicates)
    )
}

fn counts(counts: &BTreeMap<String, u64>) -> String {
    let counts = counts.iter().map(|(name, count)| format!("{name} {}", grouped(*count)));
    let counts = counts.collect::<Vec<_>>().join(", ");
    if counts.is_empty() { "none".to_owned() } else { counts }
}
