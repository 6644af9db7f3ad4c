//! Transactions on a small store of lists and logs, isolated or not.

use wavetank_linearizability::OpId;
use wavetank_linearizability::txn::{Element, History, Key, Mop};

/// A step as tests represent it.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    Append { key: u32, element: i64 },
    Read { key: u32, list: Option<Vec<i64>> },
    Send { key: u32, element: i64, offset: Option<u64> },
    Poll { key: u32, records: Vec<(u64, i64)> },
}

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum End {
    Commit,
    Abort,
    Unknown,
}

/// A transaction: when it began and ended among all such moments.
#[derive(Clone, Debug, PartialEq)]
pub struct Txn {
    pub process: u32,
    pub begun: u64,
    pub ended: u64,
    pub end: End,
    pub steps: Vec<Step>,
}

/// The history for the checker, and the index in `txns` of each of its operations.
pub fn build(txns: &[Txn]) -> (History, Vec<usize>) {
    let mut history = History::new();
    let keys: Vec<Key> = (0..6).map(|key| history.key(format!("k{key}"))).collect();
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (index, txn) in txns.iter().enumerate() {
        moments.push((txn.begun, false, index));
        moments.push((txn.ended, true, index));
    }
    moments.sort_unstable();
    let mut ids: Vec<Option<OpId>> = vec![None; txns.len()];
    let mut order = Vec::new();
    for (time, is_end, index) in moments {
        let txn = &txns[index];
        let lists: Vec<Vec<Element>> = txn.steps.iter().map(list).collect();
        let polls: Vec<Vec<(u64, Element)>> = txn.steps.iter().map(records).collect();
        let mops: Vec<Mop<'_>> = txn
            .steps
            .iter()
            .enumerate()
            .map(|(at, step)| match step {
                Step::Append { key, element } => {
                    Mop::Append { key: keys[*key as usize], element: Element::number(*element) }
                }
                Step::Read { key, list } => Mop::Read {
                    key: keys[*key as usize],
                    list: list.as_ref().map(|_| &lists[at][..]),
                },
                Step::Send { key, element, offset } => Mop::Send {
                    key: keys[*key as usize],
                    element: Element::number(*element),
                    offset: *offset,
                },
                Step::Poll { key, .. } => {
                    Mop::Poll { key: keys[*key as usize], records: &polls[at] }
                }
            })
            .collect();
        match (ids[index], is_end, txn.end) {
            (None, ..) => {
                ids[index] = Some(history.begin(txn.process, time * 1000, &mops));
                order.push(index);
            }
            (Some(id), _, End::Commit) => history.commit(id, time * 1000, &mops),
            (Some(id), _, End::Abort) => history.abort(id, time * 1000, Some(&mops)),
            (Some(id), _, End::Unknown) => history.info(id, time * 1000, None),
        }
    }
    (history, order)
}

fn list(step: &Step) -> Vec<Element> {
    match step {
        Step::Read { list: Some(list), .. } => list.iter().copied().map(Element::number).collect(),
        _ => vec![],
    }
}

fn records(step: &Step) -> Vec<(u64, Element)> {
    match step {
        Step::Poll { records, .. } => {
            records.iter().map(|(offset, value)| (*offset, Element::number(*value))).collect()
        }
        _ => vec![],
    }
}

/// What the store does with transactions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Store {
    /// Each takes effect at one moment, and aborted ones never do.
    Serial,
    /// Each step takes effect at once; aborted ones are not undone.
    Loose,
}

struct Running {
    txn: Txn,
    left: u8,
    positions: Vec<u64>,
}

/// Transactions from dice; logs have keys from 3 on.
pub fn draw(store: Store, logs: bool, processes: u32, dice: &[(u8, u8, u8)]) -> Vec<Txn> {
    let mut lists: Vec<Vec<i64>> = vec![vec![]; 6];
    let mut running: Vec<Option<Running>> = (0..processes).map(|_| None).collect();
    let mut done = Vec::new();
    let mut fresh = 0;
    for (time, &(who, which, what)) in (0..).zip(dice) {
        let process = u32::from(who) % processes;
        let slot = &mut running[process as usize];
        let Some(now) = slot else {
            let end = match which % 8 {
                0 => End::Abort,
                1 => End::Unknown,
                _ => End::Commit,
            };
            let txn = Txn { process, begun: time, ended: 0, end, steps: vec![] };
            *slot = Some(Running { txn, left: 1 + what % 3, positions: vec![0; 6] });
            continue;
        };
        let rounds = if store == Store::Serial { now.left } else { now.left.min(1) };
        for round in 0..rounds {
            let (which, what) = (which.rotate_left(round.into()), what.rotate_left(round.into()));
            let key = u32::from(what % 3) + if logs { 3 } else { 0 };
            fresh += 1;
            take(&mut lists, now, key, which % 2 == 0, fresh, store);
        }
        now.left -= rounds;
        if rounds == 0 {
            let mut ended = slot.take().expect("it runs");
            ended.txn.ended = time;
            done.push(ended.txn);
        }
    }
    for (time, ended) in (dice.len() as u64..).zip(running.into_iter().flatten()) {
        let mut txn = ended.txn;
        (txn.ended, txn.end) = (time, End::Unknown);
        done.push(txn);
    }
    done.sort_by_key(|txn| txn.begun);
    done
}

fn take(
    lists: &mut [Vec<i64>],
    now: &mut Running,
    key: u32,
    is_read: bool,
    fresh: i64,
    store: Store,
) {
    let list = &mut lists[key as usize];
    let aborted = now.txn.end == End::Abort && store == Store::Serial;
    let is_log = key >= 3;
    let step = match (is_read, is_log) {
        (true, false) => Step::Read { key, list: Some(list.clone()) },
        (true, true) => {
            let from = now.positions[key as usize];
            let records: Vec<(u64, i64)> = (0..).zip(list.iter().copied()).collect();
            now.positions[key as usize] = list.len() as u64;
            Step::Poll { key, records: records[(from as usize).min(records.len())..].to_vec() }
        }
        (false, false) => Step::Append { key, element: fresh },
        (false, true) => {
            let offset = (!aborted).then_some(list.len() as u64);
            Step::Send { key, element: fresh, offset }
        }
    };
    if !is_read && !aborted {
        list.push(fresh);
    }
    let own_unseen = aborted && now.txn.steps.iter().any(|step| writes(step, key));
    if !(is_read && own_unseen) {
        now.txn.steps.push(step);
    }
}

fn writes(step: &Step, of: u32) -> bool {
    match step {
        Step::Append { key, .. } | Step::Send { key, .. } => *key == of,
        Step::Read { .. } | Step::Poll { .. } => false,
    }
}

/// Changes some of what was read.
pub fn spoil(txns: &mut [Txn], dice: &[(u8, u8)]) {
    for &(which, how) in dice {
        let reads = txns.iter_mut().flat_map(|txn| txn.steps.iter_mut());
        let mut reads: Vec<&mut Step> =
            reads.filter(|step| matches!(step, Step::Read { .. } | Step::Poll { .. })).collect();
        if reads.is_empty() {
            return;
        }
        let count = reads.len();
        match &mut *reads[usize::from(which) % count] {
            Step::Read { list: Some(list), .. } => spoil_list(list, how),
            Step::Poll { records, .. } => {
                let mut values: Vec<i64> = records.iter().map(|record| record.1).collect();
                spoil_list(&mut values, how);
                let first = records.first().map_or(0, |record| record.0);
                *records = (first..).zip(values).collect();
            }
            _ => {}
        }
    }
}

fn spoil_list(list: &mut Vec<i64>, how: u8) {
    match how % 6 {
        0 => drop(list.pop()),
        1 => list.reverse(),
        2 => list.extend(list.first().copied()),
        3 => list.push(900),
        4 if !list.is_empty() => drop(list.remove(0)),
        _ => list.clear(),
    }
}
