//! Cycles in words.

use super::check::Cycle;
use super::cycles::Step;
use super::graph::{NONE, PROCESS, REALTIME, RW, WR, WW};
use super::history::{History, Step as Did};
use super::kind::Kind;
use super::versions::Table;
use super::{Dependency, Key, Link};
use crate::linear::seconds;
use crate::{Datum, OpId, Stamp};

/// Each step with its reason, and the whole in words.
pub(crate) fn cycle(history: &History, table: &Table, kind: Kind, steps: &[Step]) -> Cycle {
    let mut links: Vec<Link> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        let names = (index, (index + 1) % steps.len());
        let (from, to) = (OpId(step.from), OpId(step.to));
        let because = because(history, table, step, names);
        links.push(Link { from, to, dependency: dependency(step.kind), because });
    }
    let mut text = String::from("let ");
    for (index, link) in links.iter().enumerate() {
        let process = history.transaction(link.from).process;
        let what = history.describe(link.from);
        let end = if index + 1 == links.len() { ". " } else { ", " };
        let number = link.from.0;
        text.push_str(&format!("T{index} = operation {number} of process {process} ({what}){end}"));
    }
    for (index, link) in links.iter().enumerate() {
        let next = (index + 1) % links.len();
        text.push_str(&format!("T{index} is before T{next}: {}. ", link.because));
    }
    text.push_str("So each would be before itself.");
    Cycle { kind, links, text }
}

fn dependency(kind: u8) -> Dependency {
    match kind {
        WW => Dependency::WriteWrite,
        WR => Dependency::WriteRead,
        RW => Dependency::ReadWrite,
        PROCESS => Dependency::Process,
        REALTIME => Dependency::RealTime,
        other => unreachable!("{other} is no kind of a step"),
    }
}

fn because(history: &History, table: &Table, step: &Step, (from, to): (usize, usize)) -> String {
    let (key, position) = step.why;
    let name = if key == NONE { String::new() } else { history.key_name(Key(key)).to_string() };
    let at = |position: u32| {
        if key == NONE {
            return None;
        }
        let append = table.at(key, position as usize)?;
        Some(history.value(append.element))
    };
    let written = at(position).or_else(|| unread_by(history, table, key, step.to));
    let written = written.map_or_else(|| "something".to_owned(), |value| value.to_string());
    match step.kind {
        WW => {
            let before = (0..position.min(table.keys[key as usize].order.len() as u32)).rev();
            let before = before.into_iter().find_map(|position| {
                let append = table.at(key, position as usize)?;
                (append.op == step.from).then(|| history.value(append.element).to_string())
            });
            let before = before.unwrap_or_else(|| "something".to_owned());
            format!("in {name}, T{to}'s {written} comes after T{from}'s {before} (ww)")
        }
        WR => {
            let read =
                at(position).map_or_else(|| "something".to_owned(), |value| value.to_string());
            format!("T{to} read {read} from {name}, which T{from} wrote (wr)")
        }
        RW => format!("T{from} read {name} without {written}, which T{to} wrote (rw)"),
        PROCESS => {
            let process = history.transaction(OpId(step.from)).process;
            format!("process {process} ran T{to} after T{from}")
        }
        REALTIME => {
            let ended = history.transaction(OpId(step.from)).completed;
            let began = history.transaction(OpId(step.to)).invoked;
            let ended = seconds(ended.map_or(0, |Stamp { time, .. }| time));
            format!("T{from} ended at {ended}, before T{to} began at {}", seconds(began.time))
        }
        other => unreachable!("{other} is no kind of a step"),
    }
}

/// An element that a transaction appended to a key and nobody read.
fn unread_by(history: &History, table: &Table, key: u32, op: u32) -> Option<Datum> {
    let steps = history.steps(history.transaction(OpId(op)));
    steps.iter().find_map(|step| match *step {
        Did::Append { key: of, element } | Did::Send { key: of, element, .. } if of == key => {
            let append = table.writer(key, element)?;
            (append.position == NONE).then(|| history.value(element))
        }
        _ => None,
    })
}
