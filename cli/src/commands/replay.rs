//! `wavetank replay`: one run again, explained.

use wavetank_sim::hunt::HuntOptions;
use wavetank_sim::plan::{FaultCounts, Plan};
use wavetank_sim::profile::Profile;
use wavetank_sim::replay::{ReplayOptions, ReplayReport, replay_with};
use wavetank_sim::run::Outcome;
use wavetank_sim::trace::{LEGEND, readable};
use wavetank_zoo::validation::Models;

use crate::args::ReplayArgs;
use crate::output::{Failure, Later, Out, Style, Verdict, grouped};
use crate::values::{Faults, SeedOrPlan, Workloads};

/// Replays, or saves the plan.
pub fn run(args: &ReplayArgs, out: &mut Out) -> Result<Verdict, Failure> {
    let plan = plan(args)?;
    let history = args.history.as_deref().map(|path| Later::open(path, "--history")).transpose()?;
    if let Some(path) = &args.save_plan {
        std::fs::write(path, plan.to_json()).map_err(|error| {
            let attempted = format!("write {}", path.display());
            Failure::new(attempted, error, "Name another file with --save-plan.")
        })?;
        out.line(format_args!("wrote {0}; run it with: wavetank replay {0}", path.display()))?;
        return Ok(Verdict::Held);
    }
    let additions = args.validate.as_ref().and_then(Models::additions);
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
    if let Some(file) = history {
        write_history(file, &report)?;
    }
    if args.json {
        out.json(&report)?;
    } else {
        tell(args, &plan, &report, out)?;
    }
    Ok(if report.is_green() { Verdict::Held } else { Verdict::Violated })
}

/// Where a plan comes from: a seed as a hunt draws it, or a file.
#[derive(Debug)]
pub struct Source<'a> {
    /// The command, for error messages.
    pub command: &'static str,
    /// The seed or the file.
    pub what: &'a SeedOrPlan,
    /// The profile that a seed draws from.
    pub profile: Profile,
    /// The kinds of faults that a seed is limited to.
    pub faults: Option<&'a Faults>,
    /// The workloads that a seed is limited to.
    pub workload: Option<&'a Workloads>,
}

impl Source<'_> {
    /// The plan.
    pub fn plan(&self) -> Result<Plan, Failure> {
        let path = match self.what {
            SeedOrPlan::Seed(seed) => {
                let options = HuntOptions {
                    profile: self.profile,
                    faults: self.faults.map(|faults| faults.0.clone()),
                    workload: self.workload.map(|workloads| workloads.0.clone()),
                    ..HuntOptions::default()
                };
                return Ok(options.plan(*seed));
            }
            SeedOrPlan::Plan(path) => path,
        };
        let attempted = format!("{} {}", self.command, path.display());
        let filtered = self.faults.is_some() || self.workload.is_some();
        if filtered || self.profile != Profile::Default {
            let why = "--profile, --faults and --workload apply only to seeds";
            return Err(Failure::new(attempted, why, "Edit the plan file instead."));
        }
        let text = std::fs::read_to_string(path).map_err(|error| {
            let remedy = "Give a seed (a number), or a plan file written by --save-plan.";
            Failure::new(&attempted, error, remedy)
        })?;
        Plan::from_json(&text).map_err(|error| {
            let remedy = "wavetank replay SEED --save-plan FILE writes a plan to start from.";
            Failure::new(&attempted, error, remedy)
        })
    }
}

fn plan(args: &ReplayArgs) -> Result<Plan, Failure> {
    let source = Source {
        command: "replay",
        what: &args.what,
        profile: args.profile.0,
        faults: args.faults.as_ref(),
        workload: args.workload.as_ref(),
    };
    let mut plan = source.plan()?;
    plan.flaws.extend(args.flaw.iter().map(|flaw| flaw.0.story().name.to_owned()));
    Ok(plan)
}

fn write_history(file: Later, report: &ReplayReport) -> Result<(), Failure> {
    let Some(history) = &report.outcome.judged else {
        return Err(Failure::new(
            "write the history",
            "the run ended before it had one",
            "The violation says why; --trace prints every event.",
        ));
    };
    file.write(|to| wavetank_linearizability::json::write(history, to))
}

fn tell(
    args: &ReplayArgs,
    plan: &Plan,
    report: &ReplayReport,
    out: &mut Out,
) -> Result<(), Failure> {
    if args.trace {
        out.line(format_args!("# {LEGEND}\n"))?;
    }
    for line in &report.outcome.trace {
        out.line(readable(line, &report.outcome.topics))?;
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
        out.line(format_args!("flaws: {}", plan.flaws.join(", ")))?;
    }
    tell_violations(report, out)?;
    match &report.outcome.empty {
        Some(why) => {
            out.line(format_args!("{}: {why}", out.paint(Style::Bad, "tested nothing")))?
        }
        None if report.violations.is_empty() => {
            let word = if report.outcome.cut_short { "held so far" } else { "held" };
            out.line(out.paint(Style::Good, word))?;
        }
        None => {}
    }
    if let (Some(reason), None) = (&report.outcome.weak, &report.outcome.empty) {
        out.line(format_args!("weak (it held, but tested too little): {reason}"))?;
    }
    out.line(format_args!(
        "{:.3} virtual seconds, {} events, {} operations, {} outcomes compared",
        report.virtual_seconds,
        grouped(report.events),
        grouped(report.operations),
        grouped(report.outcome.compared)
    ))?;
    tell_outcome(&report.outcome, out)?;
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
    tell_next(args, report, out)
}

fn tell_violations(report: &ReplayReport, out: &mut Out) -> Result<(), Failure> {
    for violation in &report.violations {
        let (seconds, micros) = (violation.at_us / 1_000_000, violation.at_us % 1_000_000);
        let name = out.paint(Style::Bad, &violation.invariant);
        out.line(format_args!(
            "{name} ({}) at {seconds}.{micros:06} s: {}",
            violation.kind, violation.message
        ))?;
    }
    Ok(())
}

/// Prints what the faults did, which marks the run reached, and what was lost within the promises.
fn tell_outcome(outcome: &Outcome, out: &mut Out) -> Result<(), Failure> {
    if !outcome.faults.is_empty() {
        let kinds = outcome.faults.iter().map(|(name, counts)| {
            let FaultCounts { planned, fired, bit } = counts;
            format!("{name} {planned}/{fired}/{bit}")
        });
        let kinds = kinds.collect::<Vec<_>>().join(", ");
        out.line(format_args!("faults (planned/fired/took effect): {kinds}"))?;
    }
    if !outcome.marks.is_empty() {
        let marks = outcome.marks.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        out.line(format_args!("marks reached: {marks}"))?;
    }
    for (count, what) in [
        (
            outcome.weakly_acked_lost,
            "acknowledged records lost that were sent with acks=1 or 0, which promise no more",
        ),
        (
            outcome.admitted_losses,
            "records lost with all their copies: faults destroyed them on each disk that had them",
        ),
        (outcome.duplicates, "duplicates, from producers without idempotence"),
    ] {
        if count > 0 {
            out.line(format_args!("no violation: {} {what}", grouped(count)))?;
        }
    }
    Ok(())
}

/// Prints what to look at next: every event up to the violation, what clients saw, the plan.
fn tell_next(args: &ReplayArgs, report: &ReplayReport, out: &mut Out) -> Result<(), Failure> {
    let again = again(args);
    let mut steps = Vec::new();
    if !args.trace {
        // Until a little after the first violation.
        let until = report.violations.first().map(|found| {
            let us = found.at_us + 1_000;
            format!(" --until {}.{:06}", us / 1_000_000, us % 1_000_000)
        });
        steps.push((format!("{again} --trace{}", until.unwrap_or_default()), "every event"));
    }
    match &args.history {
        None => {
            steps.push((format!("{again} --history history.jsonl"), "what clients did and saw"))
        }
        Some(path) => {
            let path = path.display();
            steps.push((
                format!("wavetank check {path} --complete --html page.html"),
                "the history as a page",
            ));
        }
    }
    if let SeedOrPlan::Seed(_) = args.what {
        steps.push((format!("{again} --save-plan plan.json"), "save the plan, to edit it"));
    }
    out.line("next:")?;
    let width = steps.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    for (command, what) in steps {
        out.line(format_args!("  {command:<width$}  {what}"))?;
    }
    Ok(())
}

/// The command that replays this again.
fn again(args: &ReplayArgs) -> String {
    let options = HuntOptions {
        profile: args.profile.0,
        faults: args.faults.as_ref().map(|faults| faults.0.clone()),
        workload: args.workload.as_ref().map(|workloads| workloads.0.clone()),
        flaws: args.flaw.iter().map(|flaw| flaw.0.story().name.to_owned()).collect(),
        additions_arguments: super::validate_arguments(args.validate.as_ref()),
        ..HuntOptions::default()
    };
    match &args.what {
        SeedOrPlan::Seed(seed) => options.replay_command(*seed),
        SeedOrPlan::Plan(path) => options.replay_command_of(&path.display()),
    }
}
