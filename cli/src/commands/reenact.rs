//! `wavetank reenact`: a plan on real processes, compared with the tank's run of it. Playing and
//! judging are in `wavetank-reenact`.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use wavetank_reenact::validation::MODELS;
use wavetank_reenact::{Failure as NotPlayed, Options, Report, Side, reenact};
use wavetank_zoo::validation::Models;

use crate::args::ReenactArgs;
use crate::commands::replay::Source;
use crate::output::{Failure, Out, Style, Verdict, grouped};

/// Plays the plan, and prints both sides' results.
pub fn run(args: &ReenactArgs, out: &mut Out) -> Result<Verdict, Failure> {
    let source = Source {
        command: "reenact",
        what: &args.what,
        profile: args.profile.0,
        faults: args.faults.as_ref(),
        workload: args.workload.as_ref(),
    };
    let plan = source.plan()?;
    if !plan.flaws.is_empty() && args.program.is_none() {
        let why = format!("it disables {}, and `serve` enforces every rule", plan.flaws.join(", "));
        let remedy = "Name a program that can disable rules with --program (reenact-node).";
        return Err(Failure::new("reenact this plan", why, remedy));
    }
    let options = Options {
        keep: args.keep,
        interrupt: interrupt()?,
        additions: Models::known(&MODELS).additions(),
        ..Options::new(program(args)?)
    };
    let report = reenact(&plan, &options).map_err(|failure| {
        let remedy = match failure {
            NotPlayed::Interrupted => "",
            NotPlayed::Environment { .. } => {
                "Check the limits of this user (ulimit -a) and the directory for temporary files."
            }
        };
        Failure::new("reenact the plan", failure, remedy)
    })?;
    if args.json {
        out.json(&report)?;
    } else if report.played() {
        tell(&report, out)?;
    }
    if report.is_violated() || !report.agrees() {
        return Ok(Verdict::Violated);
    }
    match &report.empty {
        None => Ok(Verdict::Held),
        Some(why) => {
            out.flush()?;
            let remedy = "The run tested nothing; use a plan with more operations or faults.";
            Err(Failure::new("give a verdict", why, remedy))
        }
    }
}

/// The program to start nodes with: this one, unless another was named.
fn program(args: &ReenactArgs) -> Result<Vec<PathBuf>, Failure> {
    match &args.program {
        Some(program) => Ok(vec![program.clone()]),
        None => {
            let this = std::env::current_exe().map_err(|error| {
                Failure::new("find this program", error, "Name it with --program.")
            })?;
            Ok(vec![this, "serve".into()])
        }
    }
}

/// A flag that Ctrl-C (or a supervisor) sets, so that the processes are killed before we end.
fn interrupt() -> Result<Arc<AtomicBool>, Failure> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    wavetank_server::on_stop_signal(move || set.store(true, Ordering::Relaxed))
        .map_err(|error: io::Error| Failure::new("watch for Ctrl-C", error, ""))?;
    Ok(flag)
}

fn tell(report: &Report, out: &mut Out) -> Result<(), Failure> {
    out.line(format_args!("seed {}: {} faults played", report.seed, report.planned))?;
    if !report.left_out.is_empty() {
        let left_out = listed(report.left_out.iter().map(|(kind, n)| format!("{kind} {n}")));
        out.line(format_args!("removed, because no machine can play them: {left_out}"))?;
    }
    out.line(format_args!("settings not applied: {}", report.unset.join(", ")))?;
    side("tank", &report.tank, out)?;
    side("processes", &report.processes, out)?;
    out.line(format_args!(
        "traffic: {} chunks held back, {} lost and sent again, {} delayed by faults",
        grouped(report.held),
        grouped(report.lost),
        grouped(report.delayed)
    ))?;
    for validated in &report.validated {
        out.line(format_args!(
            "{}: {} notes and {} registrations of the processes {}",
            validated.model,
            grouped(validated.notes),
            grouped(validated.registrations),
            if validated.divergence.is_none() {
                "are a trace of the model"
            } else {
                "diverge from it"
            }
        ))?;
    }
    let verdict = match (report.agrees(), report.is_violated()) {
        (true, false) => out.paint(Style::Good, "they agree: held"),
        (true, true) => out.paint(Style::Bad, "they agree: violated"),
        (false, _) => out.paint(Style::Bad, "they do not agree"),
    };
    out.line(verdict)?;
    if let Some(logs) = &report.logs {
        out.line(format_args!("the processes' files are in {}", logs.display()))?;
    }
    Ok(())
}

fn side(name: &str, side: &Side, out: &mut Out) -> Result<(), Failure> {
    for violation in &side.violations {
        let (seconds, micros) = (violation.at_us / 1_000_000, violation.at_us % 1_000_000);
        let invariant = out.paint(Style::Bad, &violation.invariant);
        out.line(format_args!(
            "{name}: {invariant} ({}) at {seconds}.{micros:06} s: {}",
            violation.kind, violation.message
        ))?;
    }
    let faults = side.faults.iter().map(|(kind, counts)| {
        format!("{kind} {} of {}, {}", counts.fired, counts.planned, counts.bit)
    });
    out.line(format_args!(
        "{name}: {} in {:.1} s; {} operations compared, {} records acknowledged in the storm; faults \
         (fired of planned, took effect): {}",
        if side.violations.is_empty() { "held" } else { "violated" },
        side.seconds,
        grouped(side.compared),
        grouped(side.acked_in_storm),
        listed(faults)
    ))
}

fn listed(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    if all.is_empty() { "none".into() } else { all.join("; ") }
}
