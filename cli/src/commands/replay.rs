//! `wavetank replay`: one run again, explained.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use wavetank_sim::hunt::HuntOptions;
use wavetank_sim::plan::Plan;
use wavetank_sim::profile::Profile;
use wavetank_sim::replay::{ReplayOptions, ReplayReport, replay_with};

use crate::args::ReplayArgs;
use crate::conform::Models;
use crate::output::{Failure, Out, Style, Verdict, grouped};
use crate::values::SeedOrPlan;

/// Replays, or saves the plan.
pub fn run(args: &ReplayArgs, out: &mut Out) -> Result<Verdict, Failure> {
    let plan = plan(args)?;
    if let Some(path) = &args.save_plan {
        std::fs::write(path, plan.to_json()).map_err(|error| {
            let attempted = format!("write {}", path.display());
            Failure::new(attempted, error, "Name another file with --save-plan.")
        })?;
        out.line(format_args!("wrote {0}; run it with: wavetank replay {0}", path.display()))?;
        return Ok(Verdict::Held);
    }
    let additions = args.conform.as_ref().and_then(Models::additions);
    let report = replay_with(
        &plan,
        ReplayOptions {
            trace: args.trace,
            until: args.until.map(|us| us.saturating_mul(1_000)),
            twice: args.twice,
            keep_going: args.keep_going,
            history: args.history.is_some(),
        },
        additions.as_ref(),
    );
    if let Some(path) = &args.history {
        write_history(path, &report)?;
    }
    if args.json {
        out.json(&report)?;
    } else {
        tell(args, &plan, &report, out)?;
    }
    let held = report.violations.is_empty() && report.difference.is_none();
    Ok(if held { Verdict::Held } else { Verdict::Violated })
}

/// The plan that the arguments mean: drawn as a hunt draws it, or read from a file.
fn plan(args: &ReplayArgs) -> Result<Plan, Failure> {
    let flaws = args.flaw.iter().map(|flaw| flaw.0.story().name.to_owned()).collect();
    match &args.what {
        SeedOrPlan::Seed(seed) => {
            let options = HuntOptions {
                profile: args.profile.0,
                faults: args.faults.as_ref().map(|faults| faults.0.clone()),
                workload: args.workload.as_ref().map(|workloads| workloads.0.clone()),
                flaws,
                ..HuntOptions::default()
            };
            Ok(options.plan(*seed))
        }
        SeedOrPlan::Plan(path) => {
            let attempted = format!("replay {}", path.display());
            let filtered = args.faults.is_some() || args.workload.is_some();
            if filtered || args.profile.0 != Profile::Default {
                let why = "--profile, --faults and --workload say what a seed draws";
                return Err(Failure::new(attempted, why, "Edit the plan's file instead."));
            }
            let text = std::fs::read_to_string(path).map_err(|error| {
                let remedy = "Give a seed (a number), or a plan that --save-plan wrote.";
                Failure::new(&attempted, error, remedy)
            })?;
            let mut plan = Plan::from_json(&text).map_err(|error| {
                let remedy = "wavetank replay SEED --save-plan FILE writes a plan to start from.";
                Failure::new(&attempted, error, remedy)
            })?;
            plan.flaws.extend(flaws);
            Ok(plan)
        }
    }
}

fn write_history(path: &Path, report: &ReplayReport) -> Result<(), Failure> {
    let fail = |error| {
        let attempted = format!("write {}", path.display());
        Failure::new(attempted, error, "Name another file with --history.")
    };
    let Some(history) = &report.outcome.judged else {
        return Err(Failure::new(
            "write the history",
            "the run ended before there was one",
            "The violation below says why; look at it with --trace.",
        ));
    };
    let mut file = BufWriter::new(File::create(path).map_err(fail)?);
    wavetank_linearizability::json::write(history, &mut file).map_err(fail)?;
    file.flush().map_err(fail)
}

fn tell(
    args: &ReplayArgs,
    plan: &Plan,
    report: &ReplayReport,
    out: &mut Out,
) -> Result<(), Failure> {
    for line in &report.outcome.trace {
        out.line(line)?;
    }
    let brokers = plan.cluster.brokers.len();
    let faults: usize = plan.faults.iter().map(wavetank_sim::plan::Fault::count).sum();
    out.line(format_args!(
        "seed {}: {brokers} brokers, controllers {:?}, {} topics, {} producers, {} consumers, \
         {faults} faults planned",
        plan.seed,
        plan.cluster.controllers,
        plan.topics.len(),
        plan.workload.producers.len(),
        plan.workload.consumers.len(),
    ))?;
    if !plan.flaws.is_empty() {
        out.line(format_args!("without: {}", plan.flaws.join(", ")))?;
    }
    for violation in &report.violations {
        let (seconds, micros) = (violation.at_us / 1_000_000, violation.at_us % 1_000_000);
        let name = out.paint(Style::Bad, &violation.invariant);
        out.line(format_args!(
            "{name} ({}) at {seconds}.{micros:06} s: {}",
            violation.kind, violation.message
        ))?;
    }
    if report.violations.is_empty() {
        let word = if report.outcome.cut_short { "held so far" } else { "held" };
        out.line(out.paint(Style::Good, word))?;
    }
    if let Some(reason) = &report.outcome.weak {
        out.line(format_args!("weak: {reason}"))?;
    }
    out.line(format_args!(
        "{:.3} virtual seconds, {} events, {} operations",
        report.virtual_seconds,
        grouped(report.events),
        grouped(report.operations)
    ))?;
    out.line(format_args!("fingerprint {}", report.fingerprint))?;
    match &report.difference {
        Some(difference) => {
            let word = out.paint(Style::Bad, "the second run differs");
            out.line(format_args!("{word} from event {} on", difference.event))?;
            for (run, lines) in [("first", &difference.first), ("second", &difference.second)] {
                for line in lines {
                    out.line(format_args!("  {run:<6} {line}"))?;
                }
            }
        }
        None if args.twice => out.line("the second run is the same, event by event")?,
        None => {}
    }
    Ok(())
}
