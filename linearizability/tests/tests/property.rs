//! The checker is compared with the reference, and tested on histories that are known to be valid
//! or invalid.

use proptest::prelude::*;
use wavetank_linearizability::log::{self, Options};
use wavetank_linearizability::{Acks, Change, History, Outcome, Verdict};

use super::generate::{Event, Rules, build, valid};
use super::reference;

fn judge(history: &History, options: &Options) -> Verdict {
    log::check(history, options).expect("values are unique")
}

/// The checker and the reference agree on every count.
fn agree(events: &[Event], options: &Options) -> Result<Verdict, TestCaseError> {
    let history = build(events);
    let verdict = judge(&history, options);
    let (is_valid, counts) = reference::check(&history, options);
    for (name, count) in counts {
        prop_assert_eq!(verdict.count(name), count, "{}: {}", name, verdict);
    }
    prop_assert_eq!(verdict.is_valid(), is_valid, "{}", verdict);
    Ok(verdict)
}

/// A process that changes its partitions within a transaction that fails does not go back to where
/// it was before, but to where the change put it. The checker used to report false skips and
/// returns there.
#[test]
fn a_failed_transaction_goes_back_to_no_position_of_an_earlier_assignment() {
    let poll = |offset| Event::Poll { process: 1, records: vec![(1, offset, 0, 0)] };
    let send = Event::Send { process: 0, partition: 0, value: 0, acks: Acks::All };
    let over = Event::Over { transaction: 0, outcome: Outcome::Fail };
    let changes = [
        Event::Subscribe { process: 1 },
        Event::Crash { process: 1 },
        Event::Assign { process: 1, positions: vec![(1, Some(1))] },
        Event::Assign { process: 1, positions: vec![(1, None)] },
    ];
    for change in changes {
        let begin = Event::Begin { process: 1 };
        let events =
            [poll(0), begin, send.clone(), poll(0), change, poll(1), over.clone(), poll(2)];
        agree(&events, &Options::default()).expect("the judge agrees with the reference");
    }
}

fn rules() -> impl Strategy<Value = Rules> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(epochs, losses, duplicates)| Rules {
        epochs,
        losses,
        duplicates,
    })
}

fn options() -> impl Strategy<Value = Options> {
    (any::<[bool; 7]>(), 0..3usize).prop_map(|([a, b, c, d, e, f, g], witnesses)| Options {
        complete: a,
        forbid_duplicates: b,
        forbid_reordered_sends: c,
        read_uncommitted: d,
        covered: e,
        member_epochs: f,
        measure_lag: g,
        witnesses,
    })
}

fn choices() -> impl Strategy<Value = Vec<(u8, u8)>> {
    prop::collection::vec((any::<u8>(), any::<u8>()), 0..100)
}

fn acks() -> impl Strategy<Value = Acks> {
    prop_oneof![3 => Just(Acks::All), 1 => Just(Acks::Leader), 1 => Just(Acks::None)]
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![3 => Just(Outcome::Ok), 1 => Just(Outcome::Fail), 1 => Just(Outcome::Info)]
}

/// Sends and polls.
fn plain_event() -> impl Strategy<Value = Event> {
    let record = (0..2u32, 0..6i64, -1..4i32, 0..8u64);
    let position = prop::option::of(0..5i64);
    prop_oneof![
        4 => (0..2u32, 0..2u32, acks()).prop_map(|(process, partition, acks)| Event::Send {
            process,
            partition,
            value: 0,
            acks,
        }),
        4 => (0..8usize, prop::option::weighted(0.9, 0..6i64), prop::option::of(0..4i32))
            .prop_map(|(send, offset, epoch)| Event::Ack { send, offset, epoch }),
        1 => (0..8usize).prop_map(|send| Event::Fail { send }),
        1 => (0..8usize).prop_map(|send| Event::Info { send }),
        4 => (5..7u32, prop::collection::vec(record, 0..4))
            .prop_map(|(process, records)| Event::Poll { process, records }),
        1 => (5..7u32, prop::collection::vec((0..2u32, position.clone()), 0..2))
            .prop_map(|(process, positions)| Event::Assign { process, positions }),
        1 => (5..7u32, 0..2u32, position).prop_map(|(process, partition, position)| {
            Event::Seek { process, partition, position }
        }),
        1 => (0..2u32, 0..5i64, 0..4i32)
            .prop_map(|(partition, offset, epoch)| Event::Loss { partition, offset, epoch }),
    ]
}

/// Transactions, pipelines and groups. Processes send and poll, so that transactions have both.
fn rich_event() -> impl Strategy<Value = Event> {
    let record = (0..2u32, 0..6i64, -1..2i32, 0..8u64);
    let change = prop::sample::select(vec![
        Change::Assigned,
        Change::Assigned,
        Change::Revoked,
        Change::Lost,
        Change::Changed,
    ]);
    let generation = || prop::option::weighted(0.8, 0..3i32);
    let process = || 0..2u32;
    let some = |length| prop::collection::vec(0..2u32, length);
    prop_oneof![
        2 => (process(), 0..2u32)
            .prop_map(|(process, partition)| Event::Send { process, partition, value: 0, acks: Acks::All }),
        1 => (process(), 0..2u32, (0..2u32, 0..5i64)).prop_map(|(process, partition, source)| {
            Event::Make { process, partition, value: 0, source }
        }),
        1 => (process(), 0..2u32, -2..3i64).prop_map(|(process, partition, amount)| {
            Event::Move { process, partition, value: 0, amount }
        }),
        4 => (0..8usize, prop::option::weighted(0.9, 0..6i64))
            .prop_map(|(send, offset)| Event::Ack { send, offset, epoch: Some(0) }),
        4 => (process(), prop::collection::vec(record, 0..3))
            .prop_map(|(process, records)| Event::Poll { process, records }),
        3 => process().prop_map(|process| Event::Begin { process }),
        1 => (0..5usize).prop_map(|transaction| Event::End { transaction }),
        3 => (0..5usize, outcome())
            .prop_map(|(transaction, outcome)| Event::Over { transaction, outcome }),
        1 => process().prop_map(|process| Event::Subscribe { process }),
        1 => process().prop_map(|process| Event::Crash { process }),
        1 => (process(), some(0..3)).prop_map(|(process, partitions)| Event::Keep { process, partitions }),
        3 => (process(), generation(), change, some(1..3)).prop_map(
            |(process, generation, change, mut partitions)| {
                partitions.sort_unstable();
                partitions.dedup();
                Event::Group { process, generation, change, partitions }
            }
        ),
        2 => (process(), generation(), 0..5i64).prop_map(|(process, generation, offset)| {
            Event::Commit { process, generation, partition: 0, offset }
        }),
        2 => process().prop_map(|process| Event::Fetch { process }),
        4 => (0..8usize, outcome(), prop::option::weighted(0.8, 0..5i64)).prop_map(
            |(question, outcome, found)| Event::Answer { question, outcome, found }
        ),
    ]
}

/// Anything at all: few offsets, epochs and values, so that everything collides.
fn anything() -> impl Strategy<Value = Vec<Event>> {
    numbered(prop::collection::vec(plain_event(), 0..30))
}

/// Like [`anything`], with transactions and groups.
fn anything_rich() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![3 => rich_event(), 1 => plain_event()];
    numbered(prop::collection::vec(event, 0..40))
}

/// Gives values to sends, in their order.
fn numbered(events: impl Strategy<Value = Vec<Event>>) -> impl Strategy<Value = Vec<Event>> {
    events.prop_map(|mut events| {
        let mut next = 0;
        for event in &mut events {
            if let Event::Send { value, .. }
            | Event::Make { value, .. }
            | Event::Move { value, .. } = event
            {
                *value = next;
                next += 1;
            }
        }
        events
    })
}

/// One small change to a history, anywhere.
fn tamper(events: &mut Vec<Event>, at: usize, how: u8, detail: u8) {
    if events.is_empty() {
        return;
    }
    let at = at % events.len();
    let detail = i64::from(detail);
    match &mut events[at] {
        Event::Poll { records, .. } if !records.is_empty() => {
            let which = detail as usize % records.len();
            match how % 6 {
                0 => drop(records.remove(which)),
                1 => records[which].1 += 1 + detail % 2,
                2 => records[which].3 = detail as u64 % 20,
                3 => records[which].2 += 1,
                4 => records.swap(0, which),
                _ => records.push(records[which]),
            }
        }
        Event::Ack { send, offset, .. } => match (how % 3, offset) {
            (0, Some(offset)) => *offset += detail % 3,
            (1, _) => events[at] = Event::Fail { send: *send },
            (_, _) => events[at] = Event::Info { send: *send },
        },
        _ => drop(events.remove(at)),
    }
}

/// Makes nobody read this value.
fn take_from_polls(events: &mut [Event], value: u64) {
    for event in events {
        if let Event::Poll { records, .. } = event {
            records.retain(|record| record.3 != value);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_reference_on_anything(events in anything(), options in options()) {
        agree(&events, &options)?;
    }

    #[test]
    fn equals_the_reference_on_anything_rich(events in anything_rich(), options in options()) {
        agree(&events, &options)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn what_keeps_its_promises_is_valid(choices in choices(), rules in rules()) {
        let complete = Options { complete: true, ..Options::default() };
        let forbid_duplicates = !rules.duplicates;
        let verdict =
            agree(&valid(&choices, rules), &Options { forbid_duplicates, ..complete })?;
        prop_assert!(verdict.is_valid(), "{}", verdict);
    }

    #[test]
    fn equals_the_reference_on_what_was_tampered_with(
        choices in choices(),
        rules in rules(),
        changes in prop::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 1..4),
        options in options(),
    ) {
        let mut events = valid(&choices, rules);
        for (at, how, detail) in changes {
            tamper(&mut events, at, how, detail);
        }
        agree(&events, &options)?;
    }

    #[test]
    fn an_acknowledged_record_taken_away_is_found(
        mut choices in choices(),
        which in any::<usize>(),
    ) {
        let rules = Rules { epochs: true, losses: false, duplicates: false };
        // Send, append, commit, answer: at least one record is acknowledged.
        choices.splice(..0, [(0, 0), (3, 0), (5, 0), (6, 0)]);
        let mut events = valid(&choices, rules);
        let acknowledged: Vec<usize> = events
            .iter()
            .filter_map(|event| match event {
                Event::Ack { send, offset: Some(_), .. } => Some(*send),
                _ => None,
            })
            .collect();
        let sends: Vec<(u64, Acks)> = events
            .iter()
            .filter_map(|event| match event {
                Event::Send { value, acks, .. } => Some((*value, *acks)),
                _ => None,
            })
            .collect();
        let (value, acks) = sends[acknowledged[which % acknowledged.len()]];
        take_from_polls(&mut events, value);
        let complete = Options { complete: true, ..Options::default() };
        let verdict = judge(&build(&events), &complete);
        let found = verdict.count("lost-write") + verdict.count("unseen");
        prop_assert_eq!(found, u64::from(acks == Acks::All), "{}", verdict);
        prop_assert_eq!(verdict.is_valid(), acks != Acks::All);
    }

    #[test]
    fn neither_names_nor_the_order_of_concurrent_events_matter(
        choices in choices(),
        losses in any::<bool>(),
        changes in prop::collection::vec((any::<usize>(), any::<u8>(), any::<u8>()), 0..3),
        swaps in prop::collection::vec(any::<usize>(), 0..40),
        options in options(),
    ) {
        let rules = Rules { epochs: true, losses, duplicates: true };
        let mut events = valid(&choices, rules);
        for (at, how, detail) in changes {
            tamper(&mut events, at, how, detail);
        }
        let mut before = judge(&build(&events), &options);
        // Sends are numbered in the order of invocation: swapping two answers keeps the numbers.
        for swap in swaps {
            let at = swap % events.len().max(2);
            let Some([a, b]) = events.get_mut(at..at + 2) else { continue };
            if process(a) != process(b) && is_answer(a) && is_answer(b) {
                std::mem::swap(a, b);
            }
        }
        for event in &mut events {
            if let Event::Send { process, .. }
            | Event::Poll { process, .. }
            | Event::Assign { process, .. }
            | Event::Seek { process, .. } = event
            {
                *process = process.wrapping_mul(0x9e37_79b9).rotate_left(7);
            }
        }
        let mut after = judge(&build(&events), &options);
        prop_assert_eq!(before.valid, after.valid);
        // Swapped answers came at other times.
        for verdict in [&mut before, &mut after] {
            verdict.counts.remove("realtime-lag-us");
        }
        prop_assert_eq!(before.counts, after.counts);
    }
}

/// Answers to sends belong to no process' order of polls: each is its own process here.
fn process(event: &Event) -> Option<u32> {
    match event {
        Event::Poll { process, .. }
        | Event::Assign { process, .. }
        | Event::Seek { process, .. } => Some(*process),
        Event::Ack { send, .. } | Event::Fail { send } | Event::Info { send } => {
            Some(1000 + *send as u32)
        }
        _ => None,
    }
}

fn is_answer(event: &Event) -> bool {
    process(event).is_some()
}
