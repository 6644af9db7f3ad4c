//! How long the transaction checker takes: `cargo bench -p wavetank-linearizability --bench txn [--
//! --json]`.

mod common;

use common::{Dice, rounded, wants_json};
use serde_json::json;
use wavetank_linearizability::OpId;
use wavetank_linearizability::txn::{self, Element, History, Key, Mop, Options};

/// A step of an open transaction: what it appended, or what it read.
type Step = (Key, Option<Element>, Vec<Element>);

fn mops(steps: &[Step], with_lists: bool) -> Vec<Mop<'_>> {
    let mop = |step: &'_ Step| match step.1 {
        Some(element) => Mop::Append { key: step.0, element },
        None => Mop::Read { key: step.0, list: None },
    };
    let mut mops: Vec<Mop<'_>> = steps.iter().map(mop).collect();
    for (mop, step) in mops.iter_mut().zip(steps) {
        if let Mop::Read { list, .. } = mop {
            *list = with_lists.then_some(&step.2);
        }
    }
    mops
}

/// Serializable transactions of one to four steps on sixteen lists at a time. A list is replaced by
/// a fresh one when it has `longest` elements.
fn history(count: u32, clients: u32, longest: usize) -> History {
    const LISTS: i64 = 16;
    let mut dice = Dice::new(1);
    let mut history = History::new();
    let mut next_key = LISTS;
    let mut lists: Vec<(Key, Vec<Element>)> =
        (0..LISTS).map(|name| (history.key(name), vec![])).collect();
    let mut open: Vec<Option<(OpId, Vec<Step>)>> = (0..clients).map(|_| None).collect();
    let (mut begun, mut time, mut element) = (0, 0, 0);
    while begun < count {
        time += 1000;
        let client = dice.below(clients);
        let slot = &mut open[client as usize];
        if let Some((id, steps)) = slot.take() {
            history.commit(id, time, &mops(&steps, true));
            continue;
        }
        begun += 1;
        let mut steps: Vec<Step> = Vec::new();
        for _ in 0..1 + dice.below(4) {
            let (key, list) = &mut lists[dice.below(LISTS as u32) as usize];
            if dice.below(2) == 0 {
                if list.len() >= longest {
                    (*key, *list) = (history.key(next_key), vec![]);
                    next_key += 1;
                }
                element += 1;
                list.push(Element::number(element));
                steps.push((*key, Some(Element::number(element)), vec![]));
            } else {
                steps.push((*key, None, list.clone()));
            }
        }
        let id = history.begin(client, time, &mops(&steps, false));
        *slot = Some((id, steps));
    }
    history
}

/// Seconds that this process has been on a CPU, so that a busy machine counts less.
fn cpu_seconds() -> f64 {
    let file = "/proc/self/schedstat";
    let text = std::fs::read_to_string(file)
        .unwrap_or_else(|error| panic!("{file}, which Linux has, cannot be read: {error}"));
    let nanos = text.split(' ').next().and_then(|field| field.parse::<f64>().ok());
    nanos.unwrap_or_else(|| panic!("{file} does not start with a number: {text}")) / 1e9
}

fn main() {
    let json = wants_json();
    let mut rows = Vec::new();
    if !json {
        println!(
            "{:>12} {:>8} {:>8} {:>10} {:>8}",
            "transactions", "clients", "longest", "M steps", "seconds"
        );
    }
    for (count, clients, longest) in [
        (100_000, 10, 32),
        (1_000_000, 1, 32),
        (1_000_000, 10, 32),
        (1_000_000, 500, 32),
        (1_000_000, 10, 256),
    ] {
        let history = history(count, clients, longest);
        let mut best = f64::MAX;
        for _ in 0..3 {
            let start = cpu_seconds();
            let judged = txn::check(&history, &Options::default()).expect("elements are unique");
            best = best.min(cpu_seconds() - start);
            assert!(judged.verdict.is_valid(), "{}", judged.verdict);
        }
        let seconds = rounded(best);
        if json {
            rows.push(json!({"transactions": count, "clients": clients, "longest list": longest,
                "seconds": seconds}));
        } else {
            println!(
                "{count:>12} {clients:>8} {longest:>8} {:>10.1} {seconds:>8}",
                f64::from(count) * 2.5 / 1e6
            );
        }
    }
    if json {
        println!("{}", json!({"strictly serializable list-append": rows}));
    }
}
