//! `wavetank report`: REPORT.md from saved result files.
//!
//! Rendering is a pure function of the files (`wavetank_zoo::results`), so the same results give
//! the same bytes.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use wavetank_zoo::results::{self, ResultKind, ResultsError, SavedResult};

use crate::args::ReportArgs;
use crate::output::{Failure, Out, Style, Verdict, grouped, measured};

fn heading(kind: ResultKind) -> &'static str {
    match kind {
        ResultKind::Hunt => "Storms",
        ResultKind::Zoo => "The bug zoo",
        ResultKind::Check => "Judging histories",
        ResultKind::Clients => "Real clients",
        ResultKind::Peers => "Compared with other simulators",
        ResultKind::Models => "Models, explored exhaustively",
        ResultKind::Figures => "Other figures",
    }
}

/// Renders the report, and writes it or compares it with the file.
pub fn run(args: &ReportArgs, out: &mut Out) -> Result<Verdict, Failure> {
    let text = render(&load(&args.results)?);
    let path = args.output.display();
    if args.output == Path::new("-") {
        out.text(&text)?;
    } else if args.check {
        let found = std::fs::read_to_string(&args.output).map_err(|error| {
            Failure::new(format!("read {path}"), error, "Render it first: wavetank report")
        })?;
        if found != text {
            let stale = out.paint(Style::Bad, "stale:");
            out.line(format_args!(
                "{stale} {path} does not match {}; render it again: wavetank report",
                args.results.display()
            ))?;
            return Ok(Verdict::Violated);
        }
    } else {
        std::fs::write(&args.output, text).map_err(|error| {
            Failure::new(format!("write {path}"), error, "Name another file with --output.")
        })?;
        out.line(format_args!("wrote {path}"))?;
    }
    Ok(Verdict::Held)
}

fn load(folder: &Path) -> Result<Vec<SavedResult>, Failure> {
    results::load(folder).map_err(|error| {
        let remedy = match error {
            ResultsError::Folder(..) => {
                "Save results with ci/record, or name their folder with --results."
            }
            ResultsError::File(..) | ResultsError::Format(..) => {
                "A result file is written by ci/record; record it again."
            }
        };
        Failure::sentence(format!("{error}\n  {remedy}"), 2)
    })
}

fn render(saved: &[SavedResult]) -> String {
    let mut text = String::from(
        "# What was verified\n\n\
         Rendered by `wavetank report` from the files in `ci/results/`, each saved by `ci/record` \
         with the commit and the machine that it was measured on. Counts are the same on every \
         machine for the same commit; seconds are not.\n",
    );
    for kind in ResultKind::ALL {
        let mut first = true;
        for one in saved.iter().filter(|one| one.kind == kind) {
            if std::mem::take(&mut first) {
                section(&mut text, format_args!("## {}", heading(kind)));
            }
            section(&mut text, format_args!("### {}", one.title));
            section(&mut text, format_args!("    {}", one.command));
            section(&mut text, format_args!("Commit {}; {}.", one.commit, one.machine));
            match kind {
                ResultKind::Hunt => hunt(&mut text, &one.result),
                ResultKind::Models => models(&mut text, &one.result),
                ResultKind::Zoo
                | ResultKind::Check
                | ResultKind::Clients
                | ResultKind::Peers
                | ResultKind::Figures => {
                    table(&mut text, &one.result);
                }
            }
        }
    }
    text
}

/// Appends a paragraph.
fn section(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "\n{line}").expect("writing to a String cannot fail");
}

/// Renders a hunt's object, with the rates computed from it.
fn hunt(text: &mut String, result: &Value) {
    let number = |name: &str| result[name].as_f64().unwrap_or(f64::NAN);
    let violations = result["violations"].as_array().map_or(0, Vec::len);
    let share = 100.0 * number("weak_seeds") / number("seeds");
    let cpu = number("cpu_seconds");
    let rows = [
        ("seeds", cell(&result["seeds"])),
        ("violations", violations.to_string()),
        ("weak seeds", format!("{} ({share:.1} %)", cell(&result["weak_seeds"]))),
        ("virtual seconds", measured(number("virtual_seconds"))),
        ("virtual seconds per wall second", ratio(result, "virtual_seconds", "wall_seconds")),
        ("seeds per wall second", ratio(result, "seeds", "wall_seconds")),
        ("events", cell(&result["events"])),
        ("events per CPU second", ratio(result, "events", "cpu_seconds")),
        ("operations", cell(&result["operations"])),
        ("operations per CPU second", ratio(result, "operations", "cpu_seconds")),
        ("CPU seconds", measured(cpu)),
    ];
    text.push_str("\n| | |\n|---|---:|\n");
    for (name, value) in rows {
        writeln!(text, "| {name} | {value} |").expect("writing to a String cannot fail");
    }
    for (title, name) in [("Faults injected", "faults"), ("Marks reached", "marks")] {
        let Some(counts) = result[name].as_object().filter(|counts| !counts.is_empty()) else {
            continue;
        };
        let counts: Vec<String> =
            counts.iter().map(|(name, count)| format!("{name} {}", cell(count))).collect();
        section(text, format_args!("{title}: {}.", counts.join(", ")));
    }
    for violation in result["violations"].as_array().into_iter().flatten() {
        let field = |name: &str| cell(&violation[name]);
        section(
            text,
            format_args!(
                "Seed {} broke {}: {} (`{}`)",
                field("seed"),
                field("invariant"),
                field("message"),
                field("replay")
            ),
        );
    }
}

/// Renders the JSON of `model check`: a row for each variant, with the length of its
/// counterexample.
fn models(text: &mut String, result: &Value) {
    let columns = [
        ("model", "name"),
        ("variant", "variant"),
        ("unique states", "unique_states"),
        ("depth", "depth"),
        ("seconds", "seconds"),
        ("generated states per second", "generated_per_second"),
        ("bytes per state", "bytes_per_state"),
        ("violated", "property"),
        ("states of the correct protocol, as deep", "control_states"),
    ];
    let names: Vec<&str> = columns.iter().map(|(title, _)| *title).collect();
    let line = "---|".repeat(names.len() + 2);
    writeln!(text, "\n| {} | in steps | as expected |\n|{line}", names.join(" | "))
        .expect("writing to a String cannot fail");
    for row in result.as_array().into_iter().flatten() {
        let cells: Vec<String> = columns.iter().map(|(_, name)| cell(&row[*name])).collect();
        let steps = row["counterexample"].as_array().map(|steps| steps.len().to_string());
        let steps = steps.unwrap_or_else(|| "-".to_owned());
        let expected = cell(&row["as_expected"]);
        writeln!(text, "| {} | {steps} | {expected} |", cells.join(" | "))
            .expect("writing to a String cannot fail");
    }
}

fn ratio(result: &Value, above: &str, below: &str) -> String {
    let number = |name: &str| result[name].as_f64().unwrap_or(f64::NAN);
    measured(number(above) / number(below))
}

/// Renders an object as two columns, and a list of objects as a table with the fields of the first
/// as columns.
fn table(text: &mut String, result: &Value) {
    let mut rows = Vec::new();
    match result {
        Value::Object(fields) => {
            text.push_str("\n| | |\n|---|---:|\n");
            rows.extend(fields.iter().map(|(name, value)| vec![name.clone(), cell(value)]));
        }
        Value::Array(entries) => {
            let columns: Vec<&String> = entries
                .first()
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
                .map(|f| f.0)
                .collect();
            let names: Vec<&str> = columns.iter().map(|name| name.as_str()).collect();
            writeln!(text, "\n| {} |\n|{}", names.join(" | "), "---|".repeat(names.len()))
                .expect("writing to a String cannot fail");
            rows.extend(
                entries
                    .iter()
                    .map(|entry| columns.iter().map(|name| cell(&entry[*name])).collect()),
            );
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            section(text, format_args!("{}", cell(result)));
        }
    }
    for row in rows {
        writeln!(text, "| {} |", row.join(" | ")).expect("writing to a String cannot fail");
    }
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::Number(number) => match (number.as_u64(), number.as_f64()) {
            (Some(whole), _) => grouped(whole),
            (None, Some(number)) => measured(number),
            (None, None) => number.to_string(),
        },
        Value::String(text) => text.clone(),
        Value::Array(entries) => entries.iter().map(cell).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            let fields = fields.iter().map(|(name, value)| format!("{name} {}", cell(value)));
            fields.collect::<Vec<_>>().join(", ")
        }
    };
    text.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved(kind: &str, result: Value) -> SavedResult {
        serde_json::from_value(serde_json::json!({
            "kind": kind, "title": format!("The {kind} result"), "commit": "0123456",
            "machine": "2 cores", "command": format!("wavetank {kind}"), "result": result,
        }))
        .unwrap()
    }

    #[test]
    fn a_report_has_a_section_for_each_kind_and_the_rates_that_follow() {
        let hunt = serde_json::json!({
            "seeds": 2000, "weak_seeds": 30, "virtual_seconds": 90000.0, "wall_seconds": 20.0,
            "cpu_seconds": 40.0, "events": 8_000_000, "operations": 400_000,
            "faults": {"crash": 4100, "pause": 12}, "marks": {"truncated": 700},
            "violations": [{"seed": 7, "invariant": "lost_write", "message": "a | b",
                            "replay": "wavetank replay 7"}],
        });
        let zoo = serde_json::json!([
            {"flaw": "ack-before-flush", "found": true, "seed": 3, "cpu_seconds": 0.25},
            {"flaw": "early-isr-join", "found": false, "seed": null, "cpu_seconds": 61.0},
        ]);
        let figures = serde_json::json!({"records": 1_000_000, "seconds": 0.31});
        let models = serde_json::json!([
            {"name": "isr", "variant": "correct", "holds": true, "as_expected": true,
             "unique_states": 53_485, "depth": 22, "seconds": 0.09, "generated_per_second": 2.1e6,
             "bytes_per_state": 48, "property": null, "counterexample": null,
             "control_states": null},
            {"name": "isr", "variant": "early-isr-join", "holds": false, "as_expected": true,
             "unique_states": 23, "depth": 3, "seconds": 0.01, "generated_per_second": 3.0e6,
             "bytes_per_state": 48, "property": "logs-agree", "counterexample": ["a", "b"],
             "control_states": 17},
        ]);
        insta::assert_snapshot!(render(&[
            saved("figures", figures),
            saved("models", models),
            saved("zoo", zoo),
            saved("hunt", hunt),
        ]));
    }
}
