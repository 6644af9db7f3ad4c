//! `wavetank model`: the protocols as small models, the right ones and the wrong ones.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use serde::Serialize;
use wavetank_models::{ALL, Bounds, Entry, Report, Step, find};

use crate::args::{ModelArgs, ModelCommand};
use crate::counterexample::{self, NoPlan};
use crate::output::{Failure, Out, Style, Verdict, grouped, measured};

/// Lists, checks, or opens the explorer.
pub fn run(args: ModelArgs, out: &mut Out) -> Result<Verdict, Failure> {
    match args.command.unwrap_or(ModelCommand::List { json: false }) {
        ModelCommand::List { json } => list(json, out),
        ModelCommand::Check { model, flaw: Some(flaw), bounds, plan: Some(path), json: _ } => {
            save_plan(known(&model)?, &flaw, bounds.0, &path, out)
        }
        ModelCommand::Check { model, flaw, bounds, plan: _, json } => {
            let entries: Vec<&Entry> = match model.as_str() {
                "all" => ALL.iter().collect(),
                name => vec![known(name)?],
            };
            check(&entries, flaw.as_deref(), bounds.0, json, out)
        }
        ModelCommand::Explore { model, flaw, port } => {
            let entry = known(&model)?;
            let flaw = flaw.as_deref().map(|flaw| variant(entry, flaw)).transpose()?;
            explore(entry, flaw, port, out)
        }
    }
}

fn known(name: &str) -> Result<&'static Entry, Failure> {
    find(name).ok_or_else(|| {
        let names: Vec<String> =
            ALL.iter().map(|entry| format!("{} ({})", entry.name, entry.id)).collect();
        let message = format!("there is no model {name:?}; known: {}, all", names.join(", "));
        Failure::sentence(message, 2)
    })
}

fn variant(entry: &Entry, flaw: &str) -> Result<&'static str, Failure> {
    entry.variants.iter().copied().find(|variant| *variant == flaw).ok_or_else(|| {
        let message = format!(
            "the model {} has no variant {flaw:?}; it has {}",
            entry.name,
            entry.variants.join(", ")
        );
        Failure::sentence(message, 2)
    })
}

#[derive(Serialize)]
struct Listed {
    id: &'static str,
    name: &'static str,
    title: &'static str,
    variants: &'static [&'static str],
}

fn list(json: bool, out: &mut Out) -> Result<Verdict, Failure> {
    if json {
        let listed = ALL.map(|entry| Listed {
            id: entry.id,
            name: entry.name,
            title: entry.title,
            variants: entry.variants,
        });
        out.json(&listed.as_slice())?;
        return Ok(Verdict::Held);
    }
    for entry in ALL {
        let name = out.paint(Style::Heading, entry.name);
        out.line(format_args!("{name} ({}): {}", entry.id, entry.title))?;
        for variant in entry.variants {
            out.line(format_args!("  without a rule: {variant}"))?;
        }
    }
    out.line("\nCheck one with: wavetank model check NAME --flaw VARIANT")?;
    Ok(Verdict::Held)
}

/// A row of the table. Serializes with the field names that `model check --json` promises.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    /// `correct`, or the rule that is left out.
    variant: &'static str,
    holds: bool,
    /// Is this what the variant must come to? The right protocol holds, in as many states as ever; a
    /// wrong one fails, where the right one holds.
    as_expected: bool,
    unique_states: u64,
    depth: usize,
    seconds: f64,
    generated_states: u64,
    generated_per_second: f64,
    bytes_per_state: Option<usize>,
    /// The property that fails, if one does.
    property: Option<String>,
    /// What the counterexample's steps do.
    counterexample: Option<Vec<String>>,
    /// Only states at most so many steps away were looked at; null if all were.
    steps_looked_at: Option<usize>,
    /// The right protocol, in the same bounds, holds as many steps away: states that were found.
    control_states: Option<u64>,
}

/// What the right protocol is called where wrong ones have their names.
const CORRECT: &str = "correct";

impl Row {
    fn new(entry: &Entry, variant: Option<&'static str>, bounds: Bounds, report: &Report) -> Row {
        let broken = report.counterexample.as_ref();
        let pinned = entry.states[bounds as usize];
        let as_many = variant.is_some() || pinned == 0 || pinned == report.unique;
        let control = report.control.as_ref();
        let by_the_rule = control.is_none_or(|control| control.broken.is_none());
        Row {
            name: entry.name,
            variant: variant.unwrap_or(CORRECT),
            holds: broken.is_none(),
            as_expected: broken.is_some() == variant.is_some() && as_many && by_the_rule,
            unique_states: report.unique,
            depth: report.depth,
            seconds: report.seconds,
            generated_states: report.generated,
            generated_per_second: report.generated as f64 / report.seconds,
            bytes_per_state: report.state_bytes,
            property: broken.map(|(property, _)| property.clone()),
            counterexample: broken
                .map(|(_, steps)| steps.iter().map(|step| step.action.clone()).collect()),
            steps_looked_at: report.limit,
            control_states: control.map(|control| control.unique),
        }
    }
}

fn check(
    entries: &[&Entry],
    flaw: Option<&str>,
    bounds: Bounds,
    json: bool,
    out: &mut Out,
) -> Result<Verdict, Failure> {
    let mut rows = Vec::new();
    if !json && flaw.is_none() {
        let heading = ["model", "variant", "states", "depth", "seconds", "broken, in steps"];
        let [model, rule, states, depth, seconds, broken] = heading;
        out.line(format_args!(
            "{model:<21} {rule:<33} {states:>11} {depth:>6} {seconds:>8}  {broken}"
        ))?;
    }
    for entry in entries {
        let variants: Vec<Option<&'static str>> = match flaw {
            Some(flaw) => vec![Some(variant(entry, flaw)?)],
            None => std::iter::once(None).chain(entry.variants.iter().copied().map(Some)).collect(),
        };
        for variant in variants {
            let report = (entry.check)(variant, bounds);
            let row = Row::new(entry, variant, bounds, &report);
            if !json {
                match (&report.counterexample, flaw) {
                    (Some((property, steps)), Some(_)) => tell(&row, property, steps, out)?,
                    (Some((property, steps)), None) if variant.is_none() => {
                        tell(&row, property, steps, out)?;
                    }
                    (Some(_) | None, _) => line(&row, out)?,
                }
                out.flush()?;
            }
            rows.push(row);
        }
    }
    if json {
        out.json(&rows)?;
    }
    let as_expected = rows.iter().all(|row| row.as_expected);
    // One flaw alone is asked for to see it: that it breaks a promise is a violation found.
    let broken = flaw.is_some() && rows.iter().any(|row| !row.holds);
    Ok(if as_expected && !broken { Verdict::Held } else { Verdict::Violated })
}

/// The counterexample, and the plan that it becomes.
fn save_plan(
    entry: &Entry,
    flaw: &str,
    bounds: Bounds,
    path: &Path,
    out: &mut Out,
) -> Result<Verdict, Failure> {
    let variant = variant(entry, flaw)?;
    let report = (entry.check)(Some(variant), bounds);
    let row = Row::new(entry, Some(variant), bounds, &report);
    let Some((property, steps)) = &report.counterexample else {
        line(&row, out)?;
        let attempted = format!("write a plan of {} without {flaw}", entry.name);
        let remedy = "Look further with --bounds large.";
        return Err(Failure::new(attempted, "it holds within these bounds", remedy));
    };
    tell(&row, property, steps, out)?;
    out.flush()?;
    let found = counterexample::find(entry, variant, steps, counterexample::TRIES);
    let found = found.map_err(|error| {
        let attempted = format!("make a plan of {} without {flaw}", entry.name);
        let remedy = match error {
            NoPlan::NotInTheBroker => {
                "wavetank zoo list names the rules that it can leave out.".into()
            }
            NoPlan::Step(..) | NoPlan::NotFound(_) => {
                format!("The tank's storms may find it: wavetank hunt --flaw {flaw}")
            }
        };
        Failure::new(attempted, error, remedy)
    })?;
    std::fs::write(path, found.plan.to_json()).map_err(|error| {
        let attempted = format!("write {}", path.display());
        Failure::new(attempted, error, "Name another file with --plan.")
    })?;
    out.line(format_args!(
        "\nwrote {path} (try {tries}): the broker breaks {broken} with the flaw, and holds without\n  \
         {message}\nRun it with: wavetank replay {path}",
        path = path.display(),
        tries = found.tries,
        broken = out.paint(Style::Bad, &found.violation.invariant),
        message = found.violation.message,
    ))?;
    Ok(Verdict::Violated)
}

fn line(row: &Row, out: &mut Out) -> Result<(), Failure> {
    let outcome = match (&row.property, &row.counterexample) {
        (Some(property), Some(steps)) => format!("{property}, {}", steps.len()),
        (Some(_) | None, _) => match row.steps_looked_at {
            Some(steps) => format!("holds, {steps} steps deep"),
            None => "holds".to_owned(),
        },
    };
    let wrong = match row.as_expected {
        true => String::new(),
        false => out.paint(Style::Bad, " NOT AS IT MUST BE"),
    };
    out.line(format_args!(
        "{:<21} {:<33} {:>11} {:>6} {:>8}  {outcome}{wrong}",
        row.name,
        row.variant,
        grouped(row.unique_states),
        row.depth,
        measured(row.seconds),
    ))
}

fn tell(row: &Row, property: &str, steps: &[Step], out: &mut Out) -> Result<(), Failure> {
    let rule = match row.variant {
        CORRECT => String::new(),
        variant => format!(" without the rule of {variant}"),
    };
    let broken = out.paint(Style::Bad, property);
    out.line(format_args!("{}{rule} breaks {broken} in {} steps:", row.name, steps.len()))?;
    for (index, step) in steps.iter().enumerate() {
        out.line(format_args!("{:>3}. {}", index + 1, step.action))?;
        out.line(format_args!("     {}", step.state))?;
    }
    out.line(format_args!(
        "{} states, {} deep, {} s; no way is shorter",
        grouped(row.unique_states),
        row.depth,
        measured(row.seconds)
    ))?;
    let Some(states) = row.control_states.map(grouped) else { return Ok(()) };
    match row.as_expected {
        true => out.line(format_args!(
            "with the rule, each state that is as few steps away holds; {states} were found"
        )),
        false => out.line(out.paint(Style::Bad, "with the rule it breaks in as few steps, too")),
    }
}

fn explore(
    entry: &Entry,
    flaw: Option<&'static str>,
    port: u16,
    out: &mut Out,
) -> Result<Verdict, Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // The explorer's own server panics where it cannot listen.
    TcpListener::bind(address).map_err(|error| {
        let message = format!("cannot listen on {address}: {error}; choose another --port");
        Failure::sentence(message, 2)
    })?;
    out.line(format_args!("{} is open at http://{address}; Ctrl-C ends it", entry.name))?;
    out.flush()?;
    (entry.explore)(flaw, Bounds::Full, address);
    Ok(Verdict::Held)
}
