//! `wavetank zoo`: shows that the tank finds the bugs that it is built to find.

use std::sync::Arc;

use serde::Serialize;
use wavetank_core::flaw::Flaw;
use wavetank_sim::hunt::HuntOptions;
use wavetank_zoo::detection::{self, Detection, Detections};
use wavetank_zoo::hunt::{ZooEntry, hunt};

use crate::args::{ZooArgs, ZooCommand};
use crate::output::{Failure, Out, Style, Verdict, grouped, measured};
use crate::progress::Progress;

/// Lists, or hunts.
pub fn run(args: ZooArgs, out: &mut Out) -> Result<Verdict, Failure> {
    match args.command.unwrap_or(ZooCommand::List { json: false }) {
        ZooCommand::List { json } => list(json, out),
        ZooCommand::Hunt { flaws, by, ranges, max_seeds, jobs, json } => {
            let flaws = match flaws[..] {
                [] => Flaw::ALL.to_vec(),
                _ => flaws.iter().map(|flaw| flaw.0).collect(),
            };
            let options = HuntOptions { jobs: super::jobs(jobs), ..HuntOptions::default() };
            let each = |flaw, options: &HuntOptions| {
                hunt(flaw, by, ranges.get(), max_seeds.get(), options)
            };
            let entries = hunt_all(&flaws, each, &options, json, out)?;
            let found = entries.iter().all(|entry| entry.found);
            Ok(if found { Verdict::Held } else { Verdict::Violated })
        }
    }
}

#[derive(Serialize)]
struct Listed {
    flaw: &'static str,
    source: &'static str,
    story: &'static str,
    detected: Detections,
}

fn list(json: bool, out: &mut Out) -> Result<Verdict, Failure> {
    let flaws = Flaw::ALL.map(|flaw| (flaw.story(), detection::of(flaw)));
    if json {
        let listed = flaws.map(|(story, detected)| Listed {
            flaw: story.name,
            source: story.source,
            story: story.story,
            detected,
        });
        out.json(&listed.as_slice())?;
        return Ok(Verdict::Held);
    }
    for (story, detections) in flaws {
        let name = out.paint(Style::Heading, story.name);
        out.line(format_args!("{name} ({})", story.source))?;
        out.line(format_args!("  {}", story.story))?;
        for (technique, detection) in detections.each() {
            match detection {
                Detection::By(what) => out.line(format_args!("  {technique:<9} {what}"))?,
                Detection::Not(why) => out.line(format_args!("  {technique:<9} - {why}"))?,
            }
        }
        out.line("")?;
    }
    out.line("Detected by (after a dash: why this technique cannot detect the flaw):")?;
    out.line("  model     wavetank model check MODEL --flaw NAME (shortest counterexample)")?;
    out.line("  trace     wavetank hunt --validate MODEL --flaw NAME (the models that runs diverge from)")?;
    out.line(
        "  storm     wavetank zoo hunt NAME (seeds, median; the broken promise, detected by)",
    )?;
    out.line(
        "  history   wavetank zoo hunt NAME --by history (what the clients alone can detect)",
    )?;
    Ok(Verdict::Held)
}

fn hunt_all(
    flaws: &[Flaw],
    hunt: impl Fn(Flaw, &HuntOptions) -> ZooEntry,
    options: &HuntOptions,
    json: bool,
    out: &mut Out,
) -> Result<Vec<ZooEntry>, Failure> {
    let mut entries = Vec::new();
    if !json {
        out.line(format_args!(
            "{:<34} {:>6} {:>12} {:>8}  promise broken",
            "flaw", "seeds", "first seed", "CPU s"
        ))?;
    }
    for &flaw in flaws {
        let progress = Progress::of(None);
        let (told, name) = (progress.told(), flaw.story().name);
        told.set(0, name.to_owned());
        let options = HuntOptions {
            progress: Some(Arc::new(move |done, _, _| told.set(done, name.to_owned()))),
            ..options.clone()
        };
        let entry = hunt(flaw, &options);
        drop(progress);
        if !json {
            tell(&entry, out)?;
            out.flush()?;
        }
        entries.push(entry);
    }
    if json {
        out.json(&entries)?;
    }
    Ok(entries)
}

fn tell(entry: &ZooEntry, out: &mut Out) -> Result<(), Failure> {
    let first = entry.seed.map_or("-".to_owned(), |seed| seed.to_string());
    let promise = match (&entry.invariant, entry.kind) {
        (Some(invariant), Some(kind)) => format!("{invariant} ({kind})"),
        (Some(invariant), None) => invariant.clone(),
        (None, _) => String::new(),
    };
    let missed = if entry.found { String::new() } else { out.paint(Style::Bad, " NOT FOUND") };
    out.line(format_args!(
        "{:<34} {:>6} {first:>12} {:>8}  {promise}{missed}",
        entry.flaw,
        grouped(entry.seeds),
        measured(entry.cpu_seconds),
    ))
}
