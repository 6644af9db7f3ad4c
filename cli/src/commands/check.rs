//! `wavetank check`: judges histories from anywhere.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde::Serialize;
use wavetank_linearizability::linear::{self, Model, models};
use wavetank_linearizability::page::Page;
use wavetank_linearizability::read::{self, AnyHistory};
use wavetank_linearizability::{Anomaly, Validity, Verdict as Judgement, log, txn};

use crate::args::CheckArgs;
use crate::output::{Failure, Later, Out, Style, Verdict, grouped, measured};

/// What `--json` prints for a file. The field names are stable.
#[derive(Serialize)]
struct Report<'a> {
    file: &'a str,
    model: &'a str,
    valid: Validity,
    operations: u64,
    /// The time of judging, without parsing.
    seconds: f64,
    anomalies: &'a BTreeMap<String, Vec<Anomaly>>,
    counts: &'a BTreeMap<String, u64>,
}

/// What `--json` prints for a file that could not be judged.
#[derive(Serialize)]
struct Unread<'a> {
    file: &'a str,
    valid: Validity,
    error: &'a str,
}

/// A judged file.
struct Judged {
    file: String,
    model: &'static str,
    verdict: Judgement,
    /// Why the verdict is unknown.
    unknown: Vec<String>,
    seconds: f64,
    page: Option<Page>,
}

/// Reads the histories, judges them, and prints the verdicts.
pub fn run(args: &CheckArgs, out: &mut Out) -> Result<Verdict, Failure> {
    let to = args.html.as_deref().map(|path| Later::open(path, "--html")).transpose()?;
    if let [path] = args.history.as_slice()
        && !path.is_dir()
    {
        return one(args, path, to, out);
    }
    many(args, to, out)
}

fn one(
    args: &CheckArgs,
    path: &Path,
    to: Option<Later>,
    out: &mut Out,
) -> Result<Verdict, Failure> {
    let judged = judge(args, path)?;
    if let (Some(file), Some(page)) = (to, &judged.page) {
        file.write(|to| to.write_all(page.html().as_bytes()))?;
    }
    if args.json {
        out.json(&report(&judged))?;
    } else {
        tell(&judged, out)?;
    }
    match judged.verdict.valid {
        Validity::Valid => Ok(Verdict::Held),
        Validity::Invalid => Ok(Verdict::Violated),
        Validity::Unknown => {
            let why = judged.unknown.first().map_or("the checker gave up", String::as_str);
            let remedy = "Give it more time with --limit, or judge a shorter history.";
            Err(Failure::new(format!("determine whether {} is valid", judged.file), why, remedy))
        }
    }
}

fn many(args: &CheckArgs, to: Option<Later>, out: &mut Out) -> Result<Verdict, Failure> {
    let files = files(&args.history)?;
    let mut pages = Vec::new();
    let (mut invalid, mut unknown) = (0, 0);
    let mut reports = Vec::new();
    let width = files.iter().map(|path| path.display().to_string().len()).max().unwrap_or(0);
    for path in &files {
        let name = path.display().to_string();
        match judge(args, path) {
            Ok(mut judged) => {
                invalid += u64::from(judged.verdict.valid == Validity::Invalid);
                unknown += u64::from(judged.verdict.valid == Validity::Unknown);
                if args.json {
                    let value = serde_json::to_value(report(&judged));
                    reports.push(value.expect("keys are strings"));
                } else {
                    row(&judged, width, out)?;
                }
                pages.extend(judged.page.take().map(|page| (name, page)));
            }
            Err(failure) => {
                unknown += 1;
                let error = failure.text();
                if args.json {
                    let unread = Unread { file: &name, valid: Validity::Unknown, error };
                    let value = serde_json::to_value(unread);
                    reports.push(value.expect("keys are strings"));
                } else {
                    let word = out.paint(Style::Bad, "unreadable");
                    out.line(format_args!("{name:width$}  {word}  {error}"))?;
                }
            }
        }
    }
    if args.json {
        out.json(&reports)?;
    }
    if let Some(file) = to {
        file.write(|to| to.write_all(together(pages).html().as_bytes()))?;
    }
    if invalid > 0 {
        return Ok(Verdict::Violated);
    }
    if unknown > 0 {
        let text = format!("{unknown} of {} histories could not be judged", files.len());
        return Err(Failure::sentence(text, 2));
    }
    Ok(Verdict::Held)
}

/// All pages as one, with the file in each section's heading.
fn together(pages: Vec<(String, Page)>) -> Page {
    let subtitle = format!("{} histories", pages.len());
    let mut all = Page { title: "Histories".into(), subtitle, sections: Vec::new() };
    for (file, page) in pages {
        for mut section in page.sections {
            section.heading = format!("{file}: {}", section.heading);
            all.sections.push(section);
        }
    }
    all
}

/// The given files, and those in the given folders, sorted by name.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let fail = |error| {
            Failure::new(format!("list {}", path.display()), error, "Name files, or a folder.")
        };
        let mut inside = Vec::new();
        for entry in std::fs::read_dir(path).map_err(fail)? {
            let entry = entry.map_err(fail)?;
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if !hidden && entry.path().is_file() {
                inside.push(entry.path());
            }
        }
        inside.sort();
        if inside.is_empty() {
            let remedy = "Put histories there, as JSON lines or EDN.";
            let attempted = format!("judge {}", path.display());
            return Err(Failure::new(attempted, "there are no files in it", remedy));
        }
        files.extend(inside);
    }
    Ok(files)
}

fn judge(args: &CheckArgs, path: &Path) -> Result<Judged, Failure> {
    let file = path.display().to_string();
    let history = read::read(&file, open(path)?, args.model).map_err(|error| {
        let remedy = "Formats: JSON lines, as `wavetank replay SEED --history FILE` writes, \
                      and Jepsen's EDN.";
        Failure::new("read the history", error, remedy)
    })?;
    let model = history.kind().name();
    let start = Instant::now();
    let ambiguous = |error: &dyn std::fmt::Display| {
        Failure::new(format!("judge {file}"), error, "Give every record a unique value.")
    };
    let (verdict, unknown, page) = match history {
        AnyHistory::Log { history, jepsen } => {
            let options = log::Options {
                complete: args.complete,
                forbid_duplicates: args.idempotent,
                forbid_reordered_sends: args.idempotent,
                read_uncommitted: args.read_uncommitted,
                covered: jepsen,
                measure_lag: true,
                ..log::Options::default()
            };
            let verdict = log::check(&history, &options).map_err(|error| ambiguous(&error))?;
            let page = args.html.as_ref().map(|_| log::page(&history, &options, &verdict, &file));
            (verdict, Vec::new(), page)
        }
        AnyHistory::ListAppend(history) => {
            let options = txn::Options::of(args.level);
            let judged = txn::check(&history, &options).map_err(|error| ambiguous(&error))?;
            let page = args.html.as_ref().map(|_| txn::page(&history, &judged, &file));
            (judged.verdict, Vec::new(), page)
        }
        AnyHistory::Register(history) => {
            object(args, &file, &models::Register::default(), &history)?
        }
        AnyHistory::Kv(history) => object(args, &file, &models::Kv, &history)?,
        AnyHistory::Mutex(history) => object(args, &file, &models::Mutex, &history)?,
        AnyHistory::Queue(history) => object(args, &file, &models::FifoQueue, &history)?,
        AnyHistory::AppendLog(history) => object(args, &file, &models::AppendLog, &history)?,
    };
    if verdict.operations == 0 {
        let remedy = "Give a history with at least one operation.";
        return Err(Failure::new(format!("judge {file}"), "it has no operations", remedy));
    }
    let seconds = start.elapsed().as_secs_f64();
    Ok(Judged { file, model, verdict, unknown, seconds, page })
}

/// Judges operations on an object, within `--limit`.
fn object<M: Model>(
    args: &CheckArgs,
    file: &str,
    model: &M,
    history: &linear::History<M::Op, M::Output>,
) -> Result<(Judgement, Vec<String>, Option<Page>), Failure> {
    let start = Instant::now();
    let stop = || start.elapsed() > args.limit;
    let options = linear::Options { stop: Some(&stop), ..linear::Options::default() };
    let judged = linear::check(model, history.operations(), &options).map_err(|error| {
        Failure::new(format!("judge {file}"), error, "Write the operations in their order.")
    })?;
    let page = args.html.as_ref().map(|_| linear::page(model, history.operations(), &judged, file));
    let keys = judged.failing().filter(|key| key.valid == Validity::Unknown);
    let unknown = keys.map(|key| key.text.clone()).collect();
    Ok((judged.verdict, unknown, page))
}

fn open(path: &Path) -> Result<Box<dyn BufRead>, Failure> {
    if path == Path::new("-") {
        return Ok(Box::new(stdin().lock()));
    }
    let file = File::open(path).map_err(|error| {
        Failure::new(format!("open {}", path.display()), error, "Name a file, or - for stdin.")
    })?;
    Ok(Box::new(BufReader::with_capacity(1 << 16, file)))
}

fn report(judged: &Judged) -> Report<'_> {
    Report {
        file: &judged.file,
        model: judged.model,
        valid: judged.verdict.valid,
        operations: judged.verdict.operations,
        seconds: judged.seconds,
        anomalies: &judged.verdict.anomalies,
        counts: &judged.verdict.counts,
    }
}

fn word(judged: &Judged, width: usize, out: &Out) -> String {
    let (word, style) = match judged.verdict.valid {
        Validity::Valid => ("valid", Style::Good),
        Validity::Invalid => ("not valid", Style::Bad),
        Validity::Unknown => ("unknown", Style::Bad),
    };
    out.paint(style, &format!("{word:width$}"))
}

/// Prints a line of the table.
fn row(judged: &Judged, width: usize, out: &mut Out) -> Result<(), Failure> {
    let found: Vec<String> = judged
        .verdict
        .anomalies
        .keys()
        .map(|name| format!("{name} {}", judged.verdict.count(name)))
        .collect();
    let word = word(judged, 10, out);
    let (file, model) = (&judged.file, judged.model);
    let operations = grouped(judged.verdict.operations);
    let seconds = measured(judged.seconds);
    out.line(
        format!(
            "{file:width$}  {word}  {model:11}  {operations:>12} operations  {seconds:>8} s  {}",
            found.join(", ")
        )
        .trim_end(),
    )
}

fn tell(judged: &Judged, out: &mut Out) -> Result<(), Failure> {
    let word = word(judged, 0, out);
    let verdict = &judged.verdict;
    let operations = grouped(verdict.operations);
    let seconds = measured(judged.seconds);
    out.line(format_args!("{word}: {operations} operations in {seconds} s"))?;
    for (name, anomalies) in &verdict.anomalies {
        for anomaly in anomalies {
            out.line(format_args!("  {name}: {}", anomaly.text))?;
        }
        let more = verdict.count(name).saturating_sub(anomalies.len() as u64);
        if more > 0 {
            out.line(format_args!("  {name}: {more} more"))?;
        }
    }
    let lag = verdict.count("realtime-lag-us");
    if lag > 0 {
        let seconds = lag as f64 / 1e6;
        out.line(format_args!("  readers were up to {seconds:.6} s behind what was promised"))?;
    }
    for text in &judged.unknown {
        out.line(format_args!("  unknown: {text}"))?;
    }
    Ok(())
}
