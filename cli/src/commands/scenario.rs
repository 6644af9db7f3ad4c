//! `wavetank scenario`: lessons and regressions.

use wavetank_scenarios::{Scenario, all, run as run_variant};

use crate::args::{ScenarioArgs, ScenarioCommand};
use crate::output::{Failure, Out, Style, Verdict};
use crate::values::meant;

/// Lists, runs, or shows.
pub fn run(args: ScenarioArgs, out: &mut Out) -> Result<Verdict, Failure> {
    let scenarios = all().map_err(|error| {
        Failure::new("read the scenarios of this build", error, "Correct the file and build again.")
    })?;
    match args.command.unwrap_or(ScenarioCommand::List) {
        ScenarioCommand::List => {
            for scenario in &scenarios {
                let name = out.paint(Style::Heading, &format!("{:<16}", scenario.name));
                out.line(format_args!("{name} {}", scenario.title))?;
            }
            out.line("\nShow one with: wavetank scenario show NAME")?;
            Ok(Verdict::Held)
        }
        ScenarioCommand::Run { names } => {
            let chosen: Vec<&Scenario> = match names[..] {
                [] => scenarios.iter().collect(),
                _ => names.iter().map(|name| find(&scenarios, name)).collect::<Result<_, _>>()?,
            };
            let mut verdict = Verdict::Held;
            for scenario in chosen {
                if !assert_all(scenario, out)? {
                    verdict = Verdict::Violated;
                }
            }
            Ok(verdict)
        }
        ScenarioCommand::Show { name } => show(find(&scenarios, &name)?, out),
    }
}

fn find<'a>(scenarios: &'a [Scenario], name: &str) -> Result<&'a Scenario, Failure> {
    scenarios.iter().find(|scenario| scenario.name == name).ok_or_else(|| {
        let known = scenarios.iter().map(|scenario| &scenario.name[..]).collect::<Vec<_>>();
        let why = format!("there is no such scenario{}", meant(name, &known));
        let remedy = format!("Known: {}.", known.join(", "));
        Failure::new(format!("find the scenario {name:?}"), why, remedy)
    })
}

/// Prints one line for each variant. True if all had the expected outcome.
fn assert_all(scenario: &Scenario, out: &mut Out) -> Result<bool, Failure> {
    let mut all_as_expected = true;
    for variant in &scenario.variants {
        let shown = run_variant(variant);
        let as_expected = shown.surprises.is_empty();
        all_as_expected &= as_expected;
        let word = match as_expected {
            true => out.paint(Style::Good, "as expected"),
            false => out.paint(Style::Bad, "NOT AS EXPECTED"),
        };
        out.line(format_args!("{}, {}: {word}", scenario.name, variant.name))?;
        for surprise in &shown.surprises {
            out.line(format_args!("  {surprise}"))?;
        }
        out.flush()?;
    }
    Ok(all_as_expected)
}

fn show(scenario: &Scenario, out: &mut Out) -> Result<Verdict, Failure> {
    out.line(out.paint(Style::Heading, &scenario.title))?;
    out.line(format_args!("({})", scenario.source))?;
    out.line(format_args!("\n{}", scenario.story.trim()))?;
    let mut verdict = Verdict::Held;
    for variant in &scenario.variants {
        let shown = run_variant(variant);
        out.line(format_args!("\n{}", out.paint(Style::Heading, &variant.name)))?;
        for line in &shown.timeline {
            out.line(line)?;
        }
        out.line(format_args!("=> {}", shown.conclusion()))?;
        for surprise in &shown.surprises {
            let word = out.paint(Style::Bad, "not as expected:");
            out.line(format_args!("{word} {surprise}"))?;
            verdict = Verdict::Violated;
        }
    }
    Ok(verdict)
}
