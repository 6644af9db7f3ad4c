//! `wavetank model`: small models of the protocols, correct ones and flawed variants.

use std::fs::{self, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;

use serde::Serialize;
use wavetank_models::{ALL, Bounds, Entry, Step, find};
use wavetank_zoo::counterexample::{self, Found, NoPlan};
use wavetank_zoo::variants::{CORRECT, Regression, VariantResult, having};

use crate::args::{ModelArgs, ModelCommand};
use crate::output::{Failure, Out, Style, Verdict, grouped, measured};
use crate::values::meant;

/// Lists, checks, or opens the explorer.
pub fn run(args: ModelArgs, out: &mut Out) -> Result<Verdict, Failure> {
    match args.command.unwrap_or(ModelCommand::List { json: false }) {
        ModelCommand::List { json } => list(json, out),
        ModelCommand::Check { model, flaw: Some(flaw), bounds, plan: Some(path), json: _ } => {
            save_plan(&with_variant(&asked(&model)?, &flaw)?, bounds.0, &path, out)
        }
        ModelCommand::Check { model, flaw: Some(flaw), bounds, plan: None, json } => {
            check_flaw(&with_variant(&asked(&model)?, &flaw)?, bounds.0, json, out)
        }
        ModelCommand::Check { model, flaw: None, bounds, plan: _, json } => {
            check(&asked(&model)?, bounds.0, json, out)
        }
        ModelCommand::Explore { model, flaw, port } => {
            let entry = one(&model)?;
            let flaw = flaw.as_deref().map(|flaw| variant(entry, flaw)).transpose()?;
            explore(entry, flaw, port, out)
        }
    }
}

/// The models to check: all, or one.
fn asked(model: &str) -> Result<Vec<&'static Entry>, Failure> {
    match model {
        "all" => Ok(ALL.iter().collect()),
        name => find(name).map(|entry| vec![entry]).ok_or_else(|| {
            let message =
                format!("there is no model {name:?}{}; known: {}, all", meant_model(name), names());
            Failure::sentence(message, 2)
        }),
    }
}

/// The model to explore.
fn one(name: &str) -> Result<&'static Entry, Failure> {
    find(name).ok_or_else(|| {
        let message = match name {
            "all" => format!("only one model can be explored at a time; name one of {}", names()),
            name => format!("there is no model {name:?}{}; known: {}", meant_model(name), names()),
        };
        Failure::sentence(message, 2)
    })
}

fn meant_model(name: &str) -> String {
    meant(name, &ALL.iter().map(|entry| entry.name).collect::<Vec<_>>())
}

fn names() -> String {
    let names = ALL.iter().map(|entry| format!("{} ({})", entry.name, entry.id));
    names.collect::<Vec<_>>().join(", ")
}

/// A model and the rule to leave out.
type Without<'a> = (&'a Entry, &'static str);

/// The models that have the variant; at least one.
fn with_variant<'a>(entries: &[&'a Entry], flaw: &str) -> Result<Vec<Without<'a>>, Failure> {
    if let [entry] = entries {
        return Ok(vec![(*entry, variant(entry, flaw)?)]);
    }
    let having = having(entries, flaw);
    if having.is_empty() {
        let each = entries
            .iter()
            .map(|entry| format!("  {} ({}): {}", entry.name, entry.id, entry.variants.join(", ")));
        let each = each.collect::<Vec<_>>().join("\n");
        let message = format!("no model has a variant {flaw:?}; the variants are\n{each}");
        return Err(Failure::sentence(message, 2));
    }
    Ok(having)
}

fn variant(entry: &Entry, flaw: &str) -> Result<&'static str, Failure> {
    entry.variant(flaw).ok_or_else(|| {
        let message = format!(
            "the model {} has no variant {flaw:?}{}; it has {}",
            entry.name,
            meant(flaw, entry.variants),
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
            out.line(format_args!("  flawed variant: {variant}"))?;
        }
    }
    out.line("\nCheck one with: wavetank model check NAME --flaw VARIANT")?;
    Ok(Verdict::Held)
}

/// Checks every variant of these models.
fn check(
    entries: &[&Entry],
    bounds: Bounds,
    json: bool,
    out: &mut Out,
) -> Result<Verdict, Failure> {
    let mut rows = Vec::new();
    if !json {
        let heading = ["model", "variant", "states", "depth", "seconds", "violated, in steps"];
        let [model, rule, states, depth, seconds, broken] = heading;
        out.line(format_args!(
            "{model:<21} {rule:<33} {states:>11} {depth:>6} {seconds:>8}  {broken}"
        ))?;
    }
    for entry in entries {
        for variant in std::iter::once(None).chain(entry.variants.iter().copied().map(Some)) {
            let (row, report) = VariantResult::check(entry, variant, bounds);
            if !json {
                match &report.counterexample {
                    Some((property, steps)) if variant.is_none() => {
                        tell(&row, property, steps, out)?;
                    }
                    Some(_) | None => line(&row, out)?,
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
    Ok(if as_expected { Verdict::Held } else { Verdict::Violated })
}

/// Checks one flawed variant of these models, and prints each counterexample. A violation is the
/// expected outcome. If there is none, that is an error: the model or its check is broken.
fn check_flaw(
    without: &[Without<'_>],
    bounds: Bounds,
    json: bool,
    out: &mut Out,
) -> Result<Verdict, Failure> {
    let mut rows = Vec::new();
    for (entry, flaw) in without {
        let (row, report) = VariantResult::check(entry, Some(*flaw), bounds);
        if !json {
            match &report.counterexample {
                Some((property, steps)) => tell(&row, property, steps, out)?,
                None => line(&row, out)?,
            }
            out.flush()?;
        }
        rows.push(row);
    }
    if json {
        out.json(&rows)?;
        out.flush()?;
    }
    let regressions: Vec<String> = rows.iter().filter_map(regression).collect();
    if regressions.is_empty() {
        return Ok(Verdict::Violated);
    }
    Err(Failure::sentence(regressions.join("\n"), 2))
}

/// Why a flawed variant's result is an error and not a finding, if it is.
fn regression(result: &VariantResult) -> Option<String> {
    let VariantResult { name, variant, .. } = result;
    result.regression().map(|regression| match regression {
        Regression::Holds => format!(
            "{name} with the flaw {variant} holds within these bounds; it must fail\n  Retry with \
             --bounds large; if it holds there, too, the model no longer shows why the rule is \
             needed."
        ),
        Regression::CorrectFails => format!(
            "{name} breaks a property in as few steps without the flaw {variant}; the correct \
             protocol must hold\n  See how: wavetank model check {name}"
        ),
    })
}

/// Prints the counterexample, and saves the plan made from it, of the first of these models that
/// has one.
fn save_plan(
    without: &[Without<'_>],
    bounds: Bounds,
    path: &Path,
    out: &mut Out,
) -> Result<Verdict, Failure> {
    // The search may take minutes, so an unwritable file is reported first.
    writable(path).map_err(|error| cannot_write(path, error))?;
    let mut refusals = Vec::new();
    for (entry, flaw) in without {
        let (row, report) = VariantResult::check(entry, Some(*flaw), bounds);
        if let Some((property, steps)) = &report.counterexample {
            tell(&row, property, steps, out)?;
        } else {
            line(&row, out)?;
        }
        out.flush()?;
        if let Some(regression) = regression(&row) {
            return Err(Failure::sentence(regression, 2));
        }
        let Some((_, steps)) = &report.counterexample else { continue };
        match counterexample::find(entry, flaw, steps, counterexample::TRIES) {
            Ok(found) => {
                write_plan(path, &found, out)?;
                return Ok(Verdict::Violated);
            }
            Err(none) => refusals.push(no_plan(entry, flaw, &none)),
        }
    }
    Err(Failure::sentence(refusals.join("\n"), 2))
}

fn no_plan(entry: &Entry, flaw: &str, none: &NoPlan) -> String {
    let remedy = match none {
        NoPlan::NotInTheBroker => "wavetank zoo list names the flaws that it can have.".into(),
        NoPlan::Step(..) | NoPlan::NotFound(_) => {
            format!("The tank's storms may find it: wavetank hunt --flaw {flaw}")
        }
    };
    Failure::new(format!("make a plan of {} with {flaw}", entry.name), none, remedy)
        .text()
        .to_owned()
}

fn cannot_write(path: &Path, error: io::Error) -> Failure {
    Failure::new(format!("write {}", path.display()), error, "Name another file with --plan.")
}

/// Checks that a plan can be written there. An existing file stays as it is, and no new one is
/// left.
fn writable(path: &Path) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(_) => fs::remove_file(path),
        // Opening a pipe would wait for its reader, and closing it would end the reader's input.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match fs::metadata(path)? {
            there if there.is_file() || there.is_dir() => {
                OpenOptions::new().append(true).open(path).map(|_| ())
            }
            _ => Ok(()),
        },
        Err(error) => Err(error),
    }
}

fn write_plan(path: &Path, found: &Found, out: &mut Out) -> Result<(), Failure> {
    fs::write(path, found.plan.to_json()).map_err(|error| cannot_write(path, error))?;
    out.line(format_args!(
        "\nwrote {path} (try {tries}): the broker breaks {broken} with the flaw, and holds without \
         it\n  {message}\nRun it with: wavetank replay {path}",
        path = path.display(),
        tries = found.tries,
        broken = out.paint(Style::Bad, &found.violation.invariant),
        message = found.violation.message,
    ))
}

fn line(row: &VariantResult, out: &mut Out) -> Result<(), Failure> {
    let outcome = match (&row.property, &row.counterexample) {
        (Some(property), Some(steps)) => format!("{property}, {}", steps.len()),
        (Some(_) | None, _) => match row.steps_looked_at {
            Some(steps) => format!("holds, to depth {steps}"),
            None => "holds".to_owned(),
        },
    };
    let wrong = match row.as_expected {
        true => String::new(),
        false => out.paint(Style::Bad, " NOT AS EXPECTED"),
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

fn tell(row: &VariantResult, property: &str, steps: &[Step], out: &mut Out) -> Result<(), Failure> {
    let rule = match row.variant {
        CORRECT => String::new(),
        variant => format!(" with the flaw {variant}"),
    };
    let broken = out.paint(Style::Bad, property);
    out.line(format_args!("{}{rule} breaks {broken} in {} steps:", row.name, steps.len()))?;
    for (index, step) in steps.iter().enumerate() {
        out.line(format_args!("{:>3}. {}", index + 1, step.action))?;
        out.line(format_args!("     {}", step.state))?;
    }
    out.line(format_args!(
        "{} states, depth {}, {} s; no counterexample is shorter",
        grouped(row.unique_states),
        row.depth,
        measured(row.seconds)
    ))?;
    let Some(states) = row.control_states.map(grouped) else { return Ok(()) };
    match row.as_expected {
        true => {
            out.line(format_args!("without the flaw, all {states} states up to this depth hold"))
        }
        false => out.line(out.paint(Style::Bad, "without the flaw it breaks in as few steps, too")),
    }
}

fn explore(
    entry: &Entry,
    flaw: Option<&'static str>,
    port: u16,
    out: &mut Out,
) -> Result<Verdict, Failure> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    // The explorer's server panics if it cannot listen.
    TcpListener::bind(address).map_err(|error| {
        let message = format!("cannot listen on {address}: {error}; choose another --port");
        Failure::sentence(message, 2)
    })?;
    out.line(format_args!("{} is open at http://{address}; press Ctrl-C to stop", entry.name))?;
    out.flush()?;
    (entry.explore)(flaw, Bounds::Full, address);
    Ok(Verdict::Held)
}

#[cfg(test)]
mod tests {
    use super::*;

    use wavetank_models::{Control, Happening, Report};

    const FLAW: &str = "truncate-to-high-watermark";

    fn report(steps: Option<Vec<Step>>, control: Option<Control>) -> Report {
        Report {
            generated: 2,
            unique: 2,
            depth: 2,
            seconds: 0.1,
            state_bytes: Some(8),
            counterexample: steps.map(|steps| ("promised".to_owned(), steps)),
            control,
            limit: None,
        }
    }

    /// A candidate stands and no voter loses its state: no fault makes a plan of these steps.
    fn stand() -> Vec<Step> {
        let happening = Happening::Stand(0);
        vec![Step { action: "stands".into(), happening, state: "-".into() }]
    }

    fn entry(check: fn(Option<&str>, Bounds) -> Report) -> Entry {
        let id = "M3";
        Entry { id, name: "made-up", variants: &[FLAW], check, ..ALL[0] }
    }

    fn fails() -> Entry {
        entry(|_, _| report(Some(stand()), Some(Control { unique: 2, broken: None })))
    }

    fn holds() -> Entry {
        entry(|_, _| report(None, None))
    }

    fn right_one_fails() -> Entry {
        entry(|_, _| {
            let broken = Some("promised".to_owned());
            report(Some(stand()), Some(Control { unique: 2, broken }))
        })
    }

    fn place(name: &str) -> std::path::PathBuf {
        let folder = std::env::temp_dir().join(format!("wavetank-model-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder.join(name)
    }

    fn check_one(entry: &Entry, json: bool) -> Result<Verdict, Failure> {
        check_flaw(&[(entry, FLAW)], Bounds::Small, json, &mut Out::nowhere())
    }

    #[test]
    fn a_wrong_variant_that_fails_is_a_violation_and_one_that_holds_an_error() {
        for json in [false, true] {
            assert_eq!(check_one(&fails(), json).unwrap(), Verdict::Violated);
            let failure = check_one(&holds(), json).unwrap_err();
            assert_eq!(failure.code(), 2);
            let holds = format!("made-up with the flaw {FLAW} holds within these bounds");
            assert!(failure.text().starts_with(&holds), "{}", failure.text());
            let failure = check_one(&right_one_fails(), json).unwrap_err();
            assert_eq!(failure.code(), 2);
            let too = format!("in as few steps without the flaw {FLAW}; the correct protocol must");
            assert!(failure.text().contains(&too), "{}", failure.text());
        }
        let (fails, holds) = (fails(), holds());
        let both = [(&fails, FLAW), (&holds, FLAW)];
        let both = check_flaw(&both, Bounds::Small, false, &mut Out::nowhere());
        assert_eq!(both.unwrap_err().code(), 2, "one that holds is not made up for by another");
    }

    #[test]
    fn without_a_plan_the_error_says_why_and_the_file_is_as_it_was() {
        let path = place("none.json");
        let save = |entry: &Entry| {
            let saved = save_plan(&[(entry, FLAW)], Bounds::Small, &path, &mut Out::nowhere());
            let failure = saved.unwrap_err();
            assert_eq!(failure.code(), 2);
            failure.text().to_owned()
        };
        let each = [
            (holds(), "holds within these bounds; it must fail"),
            (right_one_fails(), "the correct protocol must hold"),
            (fails(), "no fault leads to step 1"),
        ];
        for (entry, why) in &each {
            let text = save(entry);
            assert!(text.contains(why), "{text}");
            assert!(!path.exists(), "{why}");
        }
        fs::write(&path, "precious").unwrap();
        for (entry, why) in &each {
            save(entry);
            assert_eq!(fs::read_to_string(&path).unwrap(), "precious", "{why}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_written_is_told_before_the_search() {
        let never = entry(|_, _| panic!("it searched"));
        for path in [place("no-such-folder/plan.json"), place("")] {
            let saved = save_plan(&[(&never, FLAW)], Bounds::Small, &path, &mut Out::nowhere());
            let failure = saved.unwrap_err();
            assert_eq!(failure.code(), 2);
            assert!(failure.text().starts_with("cannot write "), "{}", failure.text());
        }
    }

    #[test]
    fn of_several_models_the_first_that_has_a_plan_gives_it() {
        let path = place("second.json");
        let fails = fails();
        let isr = find("isr").unwrap();
        let both = [(&fails, FLAW), (isr, FLAW)];
        let saved = save_plan(&both, Bounds::Small, &path, &mut Out::nowhere());
        assert_eq!(saved.unwrap(), Verdict::Violated);
        let plan = fs::read_to_string(&path).unwrap();
        let plan = wavetank_sim::plan::Plan::from_json(&plan).unwrap();
        assert_eq!(plan.flaws, [FLAW]);
    }
}
