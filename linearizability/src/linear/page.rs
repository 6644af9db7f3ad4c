//! Judgements as pages: what could be put in order, and where that ends.

use std::collections::{BTreeMap, BTreeSet};

use super::check::{Judgement, KeyJudgement, Options};
use super::explain::{name, open_beside, returned};
use super::{Ending, Model, Operation, check};
use crate::page::{Bar, Mark, Page, Section, Tone};
use crate::{Datum, OpId, Validity};

/// How many operations of the order are shown before the one that fits nowhere.
const CONTEXT: usize = 6;
/// How many operations of a complete order are shown.
const SOUND: usize = 60;
/// How many other operations in progress are shown.
const BESIDE: usize = 10;
/// The configurations of a check while a history is made smaller, and the number of such checks.
const SHRINK: (u64, usize) = (50_000, 200);

/// The page of a judgement: each key that is not known to be linearizable, or else the first key's
/// order.
pub fn page<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Output>],
    judged: &Judgement,
    subtitle: &str,
) -> Page {
    let title = match judged.verdict.valid {
        Validity::Valid => "Linearizable",
        Validity::Invalid => "Not linearizable",
        Validity::Unknown => "Unknown whether linearizable",
    };
    let mut keys: Vec<&KeyJudgement> = judged.failing().collect();
    keys.sort_by_key(|key| key.valid == Validity::Unknown);
    keys.truncate(20);
    if keys.is_empty() {
        keys.extend(judged.keys.first());
    }
    let sections = keys.into_iter().map(|key| section(model, operations, key)).collect();
    Page { title: title.into(), subtitle: subtitle.into(), sections }
}

fn section<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Output>],
    judged: &KeyJudgement,
) -> Section {
    let heading = match (&judged.key, judged.valid) {
        (Datum::Nil, Validity::Valid) => "An order of the operations".to_owned(),
        (Datum::Nil, _) => "Where the order ends".to_owned(),
        (key, Validity::Valid) => format!("An order of the operations on {key}"),
        (key, _) => format!("Where the order of the operations on {key} ends"),
    };
    let core = match judged.valid {
        Validity::Invalid => smallest(model, operations, judged),
        Validity::Valid | Validity::Unknown => judged.order.iter().copied().collect(),
    };
    let order: Vec<(usize, OpId)> = (1..).zip(judged.order.iter().copied()).collect();
    let needed: Vec<(usize, OpId)> =
        order.iter().filter(|(_, id)| core.contains(id)).copied().collect();
    let shown = if judged.valid == Validity::Valid {
        &needed[..needed.len().min(SOUND)]
    } else {
        &needed[needed.len().saturating_sub(CONTEXT)..]
    };
    let mut tones: BTreeMap<OpId, Tone> = shown.iter().map(|(_, id)| (*id, Tone::Good)).collect();
    if let Some(stuck) = judged.stuck.filter(|_| judged.valid != Validity::Valid) {
        let beside = open_beside(model, operations, judged, stuck);
        tones.extend(beside.into_iter().take(BESIDE).map(|id| (id, Tone::Plain)));
        tones.insert(stuck, Tone::Bad);
    }
    for (id, tone) in &mut tones {
        let open = operations[id.0 as usize].ending == Ending::Indeterminate;
        if open && *tone == Tone::Plain {
            *tone = Tone::Unsure;
        }
    }
    let mut section = bars(model, operations, &tones);
    let place: BTreeMap<OpId, usize> = (0..).zip(tones.keys()).map(|(at, id)| (*id, at)).collect();
    section.heading = heading;
    section.text = vec![judged.text.clone()];
    section.text.retain(|text| !text.is_empty());
    section.marks = shown
        .iter()
        .map(|(number, id)| Mark { bar: place[id], label: number.to_string(), tone: Tone::Good })
        .collect();
    section.omitted = judged.operations.saturating_sub(tones.len());
    section.notes = shown
        .iter()
        .map(|(number, id)| format!("{number}. {}", name(model, operations, *id)))
        .collect();
    section
}

fn bars<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Output>],
    tones: &BTreeMap<OpId, Tone>,
) -> Section {
    let processes: BTreeSet<u32> =
        tones.keys().map(|id| operations[id.0 as usize].process).collect();
    let lanes: BTreeMap<u32, usize> = processes.into_iter().zip(0..).collect();
    let bars = tones
        .iter()
        .map(|(id, tone)| {
            let operation = &operations[id.0 as usize];
            let output = match &operation.ending {
                Ending::Returned { output, .. } => Some(output),
                Ending::Failed | Ending::Indeterminate => None,
            };
            Bar {
                lane: lanes[&operation.process],
                start: operation.invoked.seq,
                end: returned(operation).map(|at| at.seq),
                label: model.describe(&operation.op, output),
                detail: name(model, operations, *id),
                tone: *tone,
            }
        })
        .collect();
    let lanes = lanes.keys().map(|process| format!("process {process}")).collect();
    Section { lanes, bars, ..Section::default() }
}

/// As few operations as can be found that still cannot be put in order: none that began after the
/// stuck one returned, and no read that is not needed. Leaving out a read never makes a
/// linearizable history non-linearizable; leaving out a write may.
fn smallest<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Output>],
    judged: &KeyJudgement,
) -> BTreeSet<OpId> {
    let end = judged.stuck.and_then(|id| returned(&operations[id.0 as usize]));
    let Some(end) = end else { return judged.order.iter().copied().collect() };
    let begun = (0..).zip(operations).filter(|(_, operation)| {
        operation.ending != Ending::Failed
            && operation.invoked.seq <= end.seq
            && model.key(&operation.op) == judged.key
    });
    let begun: Vec<OpId> = begun.map(|(index, _)| OpId(index)).collect();
    let is_read = |id: &OpId| match &operations[id.0 as usize].ending {
        Ending::Returned { output, .. } => {
            model.is_read(&operations[id.0 as usize].op, Some(output)) && Some(*id) != judged.stuck
        }
        Ending::Failed | Ending::Indeterminate => false,
    };
    let (mut reads, kept): (Vec<OpId>, Vec<OpId>) = begun.into_iter().partition(is_read);
    let (steps, mut checks) = SHRINK;
    let still_fails = |reads: &[OpId]| {
        let mut ids: Vec<OpId> = kept.iter().chain(reads).copied().collect();
        ids.sort_unstable();
        let part: Vec<_> = ids.iter().map(|id| operations[id.0 as usize].clone()).collect();
        let options = Options { steps, ..Options::default() };
        let again = check::check(model, &part, &options);
        again.is_ok_and(|again| again.verdict.valid == Validity::Invalid)
    };
    let mut size = reads.len();
    while size > 0 {
        let mut at = 0;
        while at < reads.len() && checks > 0 {
            checks -= 1;
            let mut fewer = reads.clone();
            fewer.drain(at..(at + size).min(reads.len()));
            if still_fails(&fewer) {
                reads = fewer;
            } else {
                at += size;
            }
        }
        size /= 2;
    }
    kept.into_iter().chain(reads).collect()
}
