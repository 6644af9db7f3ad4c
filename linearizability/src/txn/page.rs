//! Judgements as pages: each cycle drawn, each other anomaly with the transactions that show it.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{Cycle, Judgement};
use super::history::History;
use crate::linear::seconds;
use crate::page::{Bar, Edge, Page, Section, Tone};
use crate::{OpId, Outcome, Validity};

/// How many transactions of an anomaly are drawn.
const DRAWN: usize = 24;
/// How many anomalies of a kind, and how many cycles, are drawn.
const SHOWN: usize = 5;

/// The page of a judgement: what is forbidden first, then the cycles that are allowed.
pub fn page(history: &History, judged: &Judgement, subtitle: &str) -> Page {
    let title = match judged.verdict.valid {
        Validity::Valid => "No anomalies in the transactions",
        Validity::Invalid => "The transactions violate their guarantees",
        Validity::Unknown => "Not everything could be checked",
    };
    let mut sections = Vec::new();
    for (name, anomalies) in &judged.verdict.anomalies {
        for anomaly in anomalies.iter().take(SHOWN) {
            let cycle = judged.cycles.iter().find(|cycle| cycle.text == anomaly.text);
            sections.push(match cycle {
                Some(cycle) => of_cycle(history, cycle, name.clone(), Tone::Bad),
                None => alone(history, name, &anomaly.text, &anomaly.ops),
            });
        }
    }
    let allowed = judged.cycles.iter().filter(|cycle| {
        let name = cycle.kind.name();
        !judged.verdict.anomalies.contains_key(name)
    });
    for cycle in allowed.take(SHOWN) {
        let heading = format!("{} (allowed)", cycle.kind.name());
        sections.push(of_cycle(history, cycle, heading, Tone::Note));
    }
    Page { title: title.into(), subtitle: subtitle.into(), sections }
}

fn alone(history: &History, name: &str, text: &str, ops: &[OpId]) -> Section {
    let tones: BTreeMap<OpId, Tone> = ops.iter().take(DRAWN).map(|op| (*op, Tone::Bad)).collect();
    let mut section = bars(history, &tones);
    section.heading = name.to_owned();
    section.text = vec![text.to_owned()];
    section.omitted = history.transactions().len() - tones.len();
    section
}

fn of_cycle(history: &History, cycle: &Cycle, heading: String, tone: Tone) -> Section {
    let links = &cycle.links[..cycle.links.len().min(DRAWN)];
    let tones: BTreeMap<OpId, Tone> =
        links.iter().flat_map(|link| [link.from, link.to]).map(|id| (id, tone)).collect();
    let place: BTreeMap<OpId, usize> = (0..).zip(tones.keys()).map(|(at, id)| (*id, at)).collect();
    let mut section = bars(history, &tones);
    let number: BTreeMap<OpId, usize> =
        cycle.links.iter().enumerate().map(|(at, link)| (link.from, at)).collect();
    for (id, place) in &place {
        if let Some(number) = number.get(id) {
            section.bars[*place].label.insert_str(0, &format!("T{number} "));
        }
    }
    let next = |index: usize| (index + 1) % cycle.links.len();
    section.heading = heading;
    section.text = vec!["Each of these would have to be before itself:".to_owned()];
    section.edges = links
        .iter()
        .map(|link| Edge {
            from: place[&link.from],
            to: place[&link.to],
            label: link.dependency.name().to_owned(),
            detail: link.because.clone(),
            tone,
        })
        .collect();
    section.notes = links
        .iter()
        .enumerate()
        .map(|(index, link)| format!("T{index} is before T{}: {}.", next(index), link.because))
        .collect();
    if cycle.links.len() > links.len() {
        let more = cycle.links.len() - links.len();
        section.notes.push(format!("... and so on, {more} more, until T0 again."));
    }
    section.omitted = history.transactions().len() - tones.len();
    section
}

fn bars(history: &History, tones: &BTreeMap<OpId, Tone>) -> Section {
    let processes: BTreeSet<u32> =
        tones.keys().map(|id| history.transaction(*id).process).collect();
    let lanes: BTreeMap<u32, usize> = processes.into_iter().zip(0..).collect();
    let bars = tones
        .iter()
        .map(|(id, tone)| {
            let transaction = history.transaction(*id);
            let (outcome, end) = match transaction.outcome {
                Outcome::Ok => ("committed", transaction.completed),
                Outcome::Fail => ("aborted", transaction.completed),
                Outcome::Info => ("of unknown outcome", None),
            };
            let until = end.map_or_else(String::new, |at| format!(" to {}", seconds(at.time)));
            let (what, from) = (history.describe(*id), seconds(transaction.invoked.time));
            Bar {
                lane: lanes[&transaction.process],
                start: transaction.invoked.seq,
                end: end.map(|at| at.seq),
                detail: format!("operation {}, {outcome}, {from}{until}: {what}", id.0),
                label: what,
                tone: *tone,
            }
        })
        .collect();
    let lanes = lanes.keys().map(|process| format!("process {process}")).collect();
    Section { lanes, bars, ..Section::default() }
}
