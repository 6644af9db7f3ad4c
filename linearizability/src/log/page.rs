//! A verdict on logs as a page: for each anomaly the smallest part of the history that shows it.

use std::collections::BTreeMap;

use super::Options;
use super::explain::explain;
use super::report::seconds;
use crate::page::{Bar, Page, Section, Tone};
use crate::{Action, Anomaly, History, OpId, Outcome, Position, Validity, Verdict};

/// How many anomalies of each kind are drawn.
const SHOWN: usize = 5;
/// How many records of a poll are in its label.
const RECORDS: usize = 6;

/// The page of a verdict that was reached with these options.
pub fn page(history: &History, options: &Options, verdict: &Verdict, subtitle: &str) -> Page {
    let title = match verdict.valid {
        Validity::Valid => "No anomalies in the logs",
        Validity::Invalid => "The logs violate their guarantees",
        Validity::Unknown => "Not everything could be checked",
    };
    let mut sections = Vec::new();
    for (name, anomalies) in &verdict.anomalies {
        let count = verdict.count(name);
        for anomaly in anomalies.iter().take(SHOWN) {
            let explained = explain(history, options, name, anomaly);
            let mut section = section(history, anomaly, &explained.ops);
            section.heading = name.clone();
            section.notes = explained.lines;
            if count > 1 {
                section.notes.push(format!("One of {count} of this kind."));
            }
            sections.push(section);
        }
    }
    Page { title: title.into(), subtitle: subtitle.into(), sections }
}

fn section(history: &History, anomaly: &Anomaly, ops: &[OpId]) -> Section {
    let mut lanes: BTreeMap<u32, usize> = BTreeMap::new();
    for op in ops {
        lanes.insert(history.operation(*op).process, 0);
    }
    for (lane, place) in lanes.values_mut().enumerate() {
        *place = lane;
    }
    let bars = ops.iter().map(|op| bar(history, *op, &lanes, anomaly.ops.contains(op)));
    let bars = bars.collect();
    Section {
        text: vec![anomaly.text.clone()],
        lanes: lanes.keys().map(|process| format!("process {process}")).collect(),
        bars,
        omitted: history.operations().len() - ops.len(),
        ..Section::default()
    }
}

/// An operation in words: when, who, what.
pub(super) fn line(history: &History, op: OpId) -> String {
    let operation = history.operation(op);
    let how = match operation.outcome {
        Outcome::Ok => "",
        Outcome::Fail => " (it failed)",
        Outcome::Info => " (outcome unknown)",
    };
    let until =
        operation.completed.map_or_else(String::new, |at| format!(" to {}", seconds(at.time)));
    let (from, what) = (seconds(operation.invoked.time), describe(history, op));
    format!("{from}{until}, process {}: {what}{how}", operation.process)
}

fn bar(history: &History, op: OpId, lanes: &BTreeMap<u32, usize>, named: bool) -> Bar {
    let operation = history.operation(op);
    let tone = match operation.outcome {
        Outcome::Ok if named => Tone::Bad,
        Outcome::Ok => Tone::Plain,
        Outcome::Fail => Tone::Note,
        Outcome::Info => Tone::Unsure,
    };
    let label = describe(history, op);
    Bar {
        lane: lanes[&operation.process],
        start: operation.invoked.seq,
        end: operation.completed.map(|at| at.seq),
        detail: format!("operation {}: {}", op.0, line(history, op)),
        label,
        tone,
    }
}

/// An operation in a few words.
fn describe(history: &History, op: OpId) -> String {
    let operation = history.operation(op);
    match operation.action {
        Action::Send { partition, value, offset, .. } => {
            let at = if offset < 0 { String::new() } else { format!(" at {offset}") };
            let name = history.partition_name(partition);
            format!("send {} to {name}{at}", history.value_text(value))
        }
        Action::Poll { .. } => {
            let records = history.polled(operation);
            let mut text = String::from("poll");
            for record in records.iter().take(RECORDS) {
                let (name, value) = (record.partition, history.value_text(record.value));
                let name = history.partition_name(name);
                text.push_str(&format!(" {name}/{}={value}", record.offset));
            }
            if records.len() > RECORDS {
                text.push_str(&format!(" and {} more", records.len() - RECORDS));
            }
            text
        }
        Action::Assign { seek, .. } => {
            format!("{}{}", if seek { "seek" } else { "assign" }, places(history, op))
        }
        Action::Subscribe => "subscribe".into(),
        Action::Rebalance { group, generation, change, .. } => format!(
            "{change:?} by {} in generation {generation}:{}",
            history.group_name(group),
            places(history, op)
        ),
        Action::Commit { group, generation, .. } => format!(
            "commit to {} of generation {generation}:{}",
            history.group_name(group),
            places(history, op)
        ),
        Action::Committed { group, .. } => {
            format!("committed by {}:{}", history.group_name(group), places(history, op))
        }
        Action::Transaction { .. } => match operation.outcome {
            Outcome::Ok => "committed transaction".into(),
            Outcome::Fail => "aborted transaction".into(),
            Outcome::Info => "transaction of unknown outcome".into(),
        },
        Action::Crash => "crash".into(),
    }
}

fn places(history: &History, op: OpId) -> String {
    let mut text = String::new();
    for (partition, position) in history.positions(history.operation(op)) {
        let name = history.partition_name(*partition);
        text.push_str(&match position {
            Position::At(offset) => format!(" {name} {offset}"),
            Position::Unknown | Position::Kept => format!(" {name}"),
        });
    }
    text
}
