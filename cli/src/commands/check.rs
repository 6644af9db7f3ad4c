//! `wavetank check`: judges a history from anywhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::Path;
use std::time::Instant;

use serde::Serialize;
use wavetank_linearizability::{Anomaly, Validity, Verdict as Judgement, json, log};

use crate::args::{CheckArgs, Model};
use crate::output::{Failure, Out, Style, Verdict, grouped, measured};

/// What `--json` prints; the field names are a promise.
#[derive(Serialize)]
struct Report<'a> {
    valid: Validity,
    operations: u64,
    /// Judging, not parsing.
    seconds: f64,
    anomalies: &'a BTreeMap<String, Vec<Anomaly>>,
    counts: &'a BTreeMap<String, u64>,
}

/// Reads, judges, tells.
pub fn run(args: &CheckArgs, out: &mut Out) -> Result<Verdict, Failure> {
    let name = args.history.display().to_string();
    let history = json::read(&name, open(&args.history)?).map_err(|error| {
        let remedy = "A history is what `wavetank replay SEED --history FILE` writes.";
        Failure::new("read the history", error, remedy)
    })?;
    let start = Instant::now();
    let judged = match args.model {
        Model::Log => {
            let options = log::Options {
                complete: args.complete,
                forbid_duplicates: args.idempotent,
                forbid_reordered_sends: args.idempotent,
                ..log::Options::default()
            };
            log::check(&history, &options)
        }
    };
    let seconds = start.elapsed().as_secs_f64();
    let judged = judged.map_err(|error| {
        Failure::new(format!("judge {name}"), error, "Give every record a value of its own.")
    })?;
    if args.json {
        out.json(&Report {
            valid: judged.valid,
            operations: judged.operations,
            seconds,
            anomalies: &judged.anomalies,
            counts: &judged.counts,
        })?;
    } else {
        tell(&judged, seconds, out)?;
    }
    match judged.valid {
        Validity::Valid => Ok(Verdict::Held),
        Validity::Invalid => Ok(Verdict::Violated),
        Validity::Unknown => {
            let remedy = "Judge a shorter history.";
            Err(Failure::new(format!("tell whether {name} is valid"), "the judge gave up", remedy))
        }
    }
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(stdin().lock()));
    }
    let file = File::open(path).map_err(|error| {
        Failure::new(format!("open {}", path.display()), error, "Name a file, or - for stdin.")
    })?;
    Ok(Box::new(BufReader::new(file)))
}

fn tell(judged: &Judgement, seconds: f64, out: &mut Out) -> Result<(), Failure> {
    let (word, style) = match judged.valid {
        Validity::Valid => ("valid", Style::Good),
        Validity::Invalid => ("not valid", Style::Bad),
        Validity::Unknown => ("unknown", Style::Bad),
    };
    let word = out.paint(style, word);
    let operations = grouped(judged.operations);
    out.line(format_args!("{word}: {operations} operations in {} s", measured(seconds)))?;
    for (name, anomalies) in &judged.anomalies {
        for anomaly in anomalies {
            out.line(format_args!("  {name}: {}", anomaly.text))?;
        }
        let more = judged.count(name).saturating_sub(anomalies.len() as u64);
        if more > 0 {
            out.line(format_args!("  {name}: {more} more"))?;
        }
    }
    Ok(())
}
