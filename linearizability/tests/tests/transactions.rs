//! Transactions, subscriptions, pipelines: each anomaly fires, and a near miss does not.

use wavetank_linearizability::log::{self, Options};
use wavetank_linearizability::{Acks, Change, Outcome};

use super::anomalies::{ack, assign, expect, expect_words, poll, send};
use super::generate::{Event, build};

use Event::{Begin, End, Keep, Over, Subscribe};

fn commit(transaction: usize) -> Event {
    Over { transaction, outcome: Outcome::Ok }
}

fn abort(transaction: usize) -> Event {
    Over { transaction, outcome: Outcome::Fail }
}

fn unknown(transaction: usize) -> Event {
    Over { transaction, outcome: Outcome::Info }
}

fn send_to(partition: u32, process: u32, value: u64) -> Event {
    Event::Send { process, partition, value, acks: Acks::All }
}

fn poll_of(partition: u32, process: u32, records: &[(i64, u64)]) -> Event {
    let records = records.iter().map(|(offset, value)| (partition, *offset, 0, *value)).collect();
    Event::Poll { process, records }
}

/// A transaction of process 1: 7 in t-0 at offset 0 and 8 in t-1 at offset 0; 9 follows in both.
fn two_writes(end: Event) -> Vec<Event> {
    let transaction =
        vec![Begin { process: 1 }, send(1, 7), ack(0, 0), send_to(1, 1, 8), ack(1, 0)];
    let after = vec![send(2, 9), ack(2, 2), send_to(1, 2, 10), ack(3, 2)];
    [transaction, vec![End { transaction: 0 }, end], after].concat()
}

#[test]
fn an_aborted_transaction_is_not_read() {
    let read = vec![assign(5, 0), poll(5, &[(0, 7), (2, 9)]), poll_of(1, 5, &[(2, 10)])];
    expect_words(
        [two_writes(abort(0)), read].concat(),
        "aborted-read",
        "t-0: process 5 got 7 at offset 0 at 0.012000 s, whose transaction by process 1 had been \
         aborted at 0.006000 s",
    );
    // Nor by a reader whose own transaction is aborted.
    let events = [
        two_writes(abort(0)),
        vec![Begin { process: 5 }, poll(5, &[(0, 7), (2, 9)]), abort(1)],
        vec![poll(6, &[(2, 9)]), poll_of(1, 6, &[(2, 10)])],
    ];
    expect(events.concat(), &["aborted-read"]);
    // Near miss: its offsets are free for others, and nobody misses it.
    let others = vec![send(3, 11), ack(4, 0), send_to(1, 3, 12), ack(5, 0)];
    let reads = vec![poll(5, &[(0, 11), (2, 9)]), poll_of(1, 5, &[(0, 12), (2, 10)])];
    // (The later send that lands before an earlier one is another anomaly.)
    let order = ["real-time-order"];
    let verdict = log::check(
        &build(&[two_writes(abort(0)), others, reads].concat()),
        &Options { complete: true, ..Options::default() },
    );
    let found: Vec<String> = verdict.unwrap().anomalies.into_keys().collect();
    assert_eq!(found, order);
}

#[test]
fn read_uncommitted_readers_may_see_it() {
    let read = vec![assign(5, 0), poll(5, &[(0, 7), (2, 9)]), poll_of(1, 5, &[(2, 10)])];
    let options = Options { read_uncommitted: true, ..Options::default() };
    let verdict = log::check(&build(&[two_writes(abort(0)), read].concat()), &options).unwrap();
    assert!(verdict.is_valid(), "{verdict}");
    assert_eq!(verdict.count("uncommitted-read"), 1);
}

#[test]
fn a_transaction_is_not_read_before_its_end_is_asked_for() {
    let events = |late: bool| {
        let mut events = vec![Begin { process: 1 }, send(1, 7), ack(0, 0), poll(5, &[(0, 7)])];
        events.insert(if late { 3 } else { 4 }, End { transaction: 0 });
        [events, vec![commit(0)]].concat()
    };
    expect_words(
        events(false),
        "precommitted-read",
        "t-0: process 5 got 7 at offset 0 at 0.003000 s, before process 1 asked for the end of its \
         transaction",
    );
    // Near miss: between the request and the answer.
    expect(events(true), &[]);
    // Read by the transaction itself, whatever is known of its end.
    let own = |end: usize| {
        let mut events = vec![Begin { process: 1 }, send(1, 7), ack(0, 0), poll(1, &[(0, 7)])];
        events.insert(end, commit(0));
        events
    };
    expect_words(
        own(4),
        "precommitted-read",
        "t-0: process 1 got 7 at offset 0 at 0.003000 s, in the transaction in which it sent it",
    );
    expect(own(3), &[]);
}

#[test]
fn a_torn_transaction() {
    let torn = vec![assign(5, 0), poll(5, &[(0, 7), (2, 9)])];
    let half = vec![Event::Assign { process: 6, positions: vec![(1, Some(0))] }];
    let events = |end, read: Vec<(i64, u64)>| {
        [two_writes(end), torn.clone(), half.clone(), vec![poll_of(1, 6, &read)]].concat()
    };
    let text = expect(events(commit(0), vec![(2, 10)]), &["lost-write", "torn-transaction"]);
    assert!(
        text.contains(
            "torn-transaction: process 1's transaction that began at 0.000000 s: process 5 got its \
             7 from t-0 at 0.012000 s, but its 8, acknowledged by all at offset 0 in epoch 0 of \
             t-1, is lost"
        ),
        "{text}"
    );
    // A transaction of unknown outcome was committed, since 7 was read.
    expect(events(unknown(0), vec![(2, 10)]), &["lost-write", "torn-transaction"]);
    // Near miss: all of it is there.
    expect(events(commit(0), vec![(0, 8), (2, 10)]), &[]);
    // Near miss: its outcome is unknown, and none of it was read.
    let nothing = vec![assign(5, 0), poll(5, &[(2, 9)]), poll_of(1, 6, &[(2, 10)])];
    expect([two_writes(unknown(0)), nothing].concat(), &[]);
}

#[test]
fn offsets_of_what_may_have_been_committed_contradict_nobody_until_it_is_seen() {
    // After Jepsen's test "info conflicts": the send of another at the same offset.
    let mut events =
        vec![Begin { process: 1 }, send(1, 7), ack(0, 0), send_to(1, 1, 8), unknown(0)];
    events.extend([send(2, 9), ack(2, 0), poll(5, &[(0, 9)])]);
    expect(events.clone(), &[]);
    events.push(poll_of(1, 5, &[(5, 8)]));
    let verdict = log::check(&build(&events), &Options::default()).unwrap();
    assert_eq!(verdict.count("inconsistent-offsets"), 1, "{verdict}");
}

#[test]
fn an_aborted_transaction_takes_its_polls_back() {
    let sends = vec![send(1, 7), ack(0, 0), send(1, 8), ack(1, 1), send(1, 9), ack(2, 2)];
    let reader = |end: Event, then: &[(i64, u64)]| {
        let before = vec![assign(5, 0), poll(5, &[(0, 7)]), Begin { process: 5 }];
        let after = vec![poll(5, &[(1, 8)]), end, poll(5, then)];
        [sends.clone(), before, after].concat()
    };
    // It did not go back: nobody processed 8.
    expect_words(
        reader(abort(0), &[(2, 9)]),
        "poll-skip",
        "t-0: process 5 got offset 2 right after offset 0 at 0.011000 s; between them it missed 8 \
         at offset 1, which is there",
    );
    expect(reader(abort(0), &[(1, 8), (2, 9)]), &[]);
    // It went back although the transaction was committed.
    expect(reader(commit(0), &[(1, 8), (2, 9)]), &["nonmonotonic-poll"]);
    expect(reader(commit(0), &[(2, 9)]), &[]);
    // The outcome is unknown.
    expect(reader(unknown(0), &[(1, 8), (2, 9)]), &[]);
    expect(reader(unknown(0), &[(2, 9)]), &[]);
}

#[test]
fn within_a_transaction_is_within_one_operation() {
    let sends = vec![send(1, 7), ack(0, 0), send(1, 8), ack(1, 1), send(1, 9), ack(2, 2)];
    let whole = vec![assign(6, 0), poll(6, &[(0, 7), (1, 8), (2, 9)])];
    let reader = |second: &[(i64, u64)], mut extra: Vec<Event>| {
        let mut events = vec![Subscribe { process: 5 }, Begin { process: 5 }, poll(5, &[(0, 7)])];
        events.append(&mut extra);
        events.extend([poll(5, second), commit(0)]);
        [sends.clone(), whole.clone(), events].concat()
    };
    // Subscribed or not.
    expect(reader(&[(2, 9)], vec![]), &["int-poll-skip"]);
    expect(reader(&[(0, 7)], vec![]), &["int-nonmonotonic-poll"]);
    // Near miss: a rebalance of the partition during the transaction; of another is not enough.
    let changed = |partition| Event::Group {
        process: 5,
        generation: None,
        change: Change::Changed,
        partitions: vec![partition],
    };
    expect(reader(&[(2, 9)], vec![changed(0)]), &[]);
    expect(reader(&[(0, 7)], vec![changed(0)]), &[]);
    expect(reader(&[(2, 9)], vec![changed(1)]), &["int-poll-skip"]);
}

#[test]
fn a_group_may_move_its_reader_between_polls() {
    let sends = vec![send(1, 7), ack(0, 0), send(1, 8), ack(1, 1), send(1, 9), ack(2, 2)];
    let whole = vec![assign(6, 0), poll(6, &[(0, 7), (1, 8), (2, 9)])];
    let reader = |how: Vec<Event>, then: &[(i64, u64)]| {
        [sends.clone(), whole.clone(), how, vec![poll(5, &[(0, 7)]), poll(5, then)]].concat()
    };
    let subscribe = || vec![Subscribe { process: 5 }];
    expect(reader(subscribe(), &[(2, 9)]), &[]);
    expect(reader(subscribe(), &[(0, 7)]), &[]);
    let verdict =
        log::check(&build(&reader(subscribe(), &[(0, 7), (2, 9)])), &Options::default()).unwrap();
    assert_eq!(verdict.count("nonmonotonic-poll-subscribed"), 1, "{verdict}");
    assert_eq!(verdict.count("int-poll-skip"), 1, "{verdict}");
    assert_eq!(verdict.count("consumed-twice"), 1, "{verdict}");
    // Under assign, and if the process reports what it is given, it may not.
    expect(reader(vec![assign(5, 0)], &[(2, 9)]), &["poll-skip"]);
    let assigned = Event::Group {
        process: 5,
        generation: Some(1),
        change: Change::Assigned,
        partitions: vec![0],
    };
    expect(reader([subscribe(), vec![assigned]].concat(), &[(2, 9)]), &["poll-skip"]);
}

#[test]
fn an_assignment_may_keep_positions() {
    let sends = vec![send(1, 7), ack(0, 0), send(1, 8), ack(1, 1), send(1, 9), ack(2, 2)];
    let whole = vec![assign(6, 0), poll(6, &[(0, 7), (1, 8), (2, 9)])];
    let reader = |kept: Vec<Vec<u32>>| {
        let before = vec![assign(5, 0), poll(5, &[(0, 7)])];
        let keeps = kept.into_iter().map(|partitions| Keep { process: 5, partitions }).collect();
        [sends.clone(), whole.clone(), before, keeps, vec![poll(5, &[(2, 9)])]].concat()
    };
    expect(reader(vec![vec![0, 1]]), &["poll-skip"]);
    // Near miss: given up in between.
    expect(reader(vec![vec![1], vec![0, 1]]), &[]);
}

#[test]
fn sends_of_a_transaction_are_in_order() {
    let events = |end: usize| {
        let mut events = vec![Begin { process: 1 }, send(1, 7), ack(0, 1), send(1, 8), ack(1, 0)];
        events.insert(end, commit(0));
        events.extend([assign(5, 0), poll(5, &[(0, 8), (1, 7)])]);
        events
    };
    let options = Options::default();
    let verdict = log::check(&build(&events(5)), &options).unwrap();
    assert_eq!(verdict.count("int-nonmonotonic-send"), 1, "{verdict}");
    assert!(verdict.anomalies.contains_key("int-nonmonotonic-send"), "{verdict}");
    // Near miss: the second is sent outside, so the two count as two producers.
    let verdict = log::check(&build(&events(3)), &options).unwrap();
    assert_eq!(verdict.count("int-nonmonotonic-send") + verdict.count("nonmonotonic-send"), 0);
}

#[test]
fn a_transaction_duplicates_nothing() {
    let events = |end: Event| {
        let start = vec![Begin { process: 1 }, send(1, 7), ack(0, 0), end];
        [start, vec![assign(5, 0), poll(5, &[(0, 7), (1, 7)])]].concat()
    };
    let verdict = log::check(&build(&events(commit(0))), &Options::default()).unwrap();
    assert!(verdict.anomalies.contains_key("duplicate"), "{verdict}");
    // Near miss: without a transaction it is only counted.
    let plain = events(commit(0)).into_iter().skip(1).filter(|event| *event != commit(0));
    let verdict = log::check(&build(&plain.collect::<Vec<_>>()), &Options::default()).unwrap();
    assert!(verdict.is_valid() && verdict.count("duplicate") == 1, "{verdict}");
}

#[test]
fn covered_histories_miss_what_nobody_read_before_the_last_record_read() {
    // After Jepsen's test "lost-write consistent": one read of offset 2.
    let mut events = vec![send(1, 7), ack(0, 0), send(1, 8), ack(1, 1), send(1, 9), send(1, 10)];
    events.extend([ack(3, 3), poll(5, &[(2, 9)])]);
    let check =
        |covered| log::check(&build(&events), &Options { covered, ..Options::default() }).unwrap();
    assert_eq!((check(true).count("lost-write"), check(true).count("unseen")), (2, 1));
    assert_eq!((check(false).count("lost-write"), check(false).count("unseen")), (0, 3));
}

/// Source records 7, 8, 9 in t-0; process 1 makes 17, 18, 19 of them in t-1, each in a transaction.
fn pipeline(made: &[(u64, i64, bool)]) -> Vec<Event> {
    let mut events = vec![send(9, 7), ack(0, 0), send(9, 8), ack(1, 1), send(9, 9), ack(2, 2)];
    events.extend([assign(6, 0), poll(6, &[(0, 7), (1, 8), (2, 9)])]);
    for (transaction, (value, source, commits)) in made.iter().enumerate() {
        let (value, source) = (*value, (0, *source));
        events.push(Begin { process: 1 });
        events.push(Event::Make { process: 1, partition: 1, value, source });
        events.push(ack(3 + transaction, 2 * transaction as i64));
        events.push(if *commits { commit(transaction) } else { abort(transaction) });
    }
    let read = (0..).zip(made).filter(|(_, made)| made.2).map(|(at, made)| (2 * at, made.0));
    events.push(poll_of(1, 7, &read.collect::<Vec<_>>()));
    events
}

#[test]
fn each_record_is_processed_once() {
    expect(pipeline(&[(17, 0, true), (18, 1, true), (19, 2, true)]), &[]);
    expect_words(
        pipeline(&[(17, 0, true), (18, 1, true), (28, 1, true), (19, 2, true)]),
        "processed-twice",
        "t-0: the record at offset 1 was processed twice: process 1 wrote 18 to t-1 from it, and \
         process 1 wrote 28 to t-1",
    );
    // Near miss: the first attempt was aborted.
    expect(pipeline(&[(17, 0, true), (18, 1, false), (28, 1, true), (19, 2, true)]), &[]);
    expect_words(
        pipeline(&[(17, 0, true), (19, 2, true)]),
        "processed-never",
        "t-0: the record at offset 1 was never processed, although offsets 0 and 2 were",
    );
    expect(pipeline(&[(17, 0, true), (18, 1, false), (19, 2, true)]), &["processed-never"]);
    // Near miss: a record after all that were processed is still to come.
    expect(pipeline(&[(17, 0, true), (18, 1, true)]), &[]);
    // Near miss: outside transactions, at-least-once allows processing twice.
    let plain = pipeline(&[(17, 0, true), (18, 1, true), (28, 1, true), (19, 2, true)]);
    let plain = plain.into_iter().filter(|event| !matches!(event, Begin { .. } | Over { .. }));
    let verdict = log::check(&build(&plain.collect::<Vec<_>>()), &Options::default()).unwrap();
    assert!(verdict.is_valid() && verdict.count("processed-twice") == 1, "{verdict}");
}

#[test]
fn amounts_add_up() {
    let transfer = |read: Vec<Event>| {
        let (from, to) = (
            Event::Move { process: 1, partition: 0, value: 7, amount: -5 },
            Event::Move { process: 1, partition: 1, value: 8, amount: 5 },
        );
        let events = vec![Begin { process: 1 }, from, ack(0, 0), to, ack(1, 0), commit(0)];
        [events, read].concat()
    };
    let both = vec![poll(5, &[(0, 7)]), poll_of(1, 5, &[(0, 8)])];
    expect(transfer(both.clone()), &[]);
    let text = expect(transfer(vec![both[0].clone()]), &["conservation", "unseen"]);
    assert!(
        text.contains(
            "conservation: the amounts of all records that were read add up to -5, not to 0; those \
             of process 1's transfer add up to -5"
        ),
        "{text}"
    );
    // Near miss: a record that is read twice at its only offset counts once.
    expect(transfer([both.clone(), vec![poll(6, &[(0, 7)])]].concat()), &[]);
}

#[test]
fn an_explanation_is_the_smallest_part_that_shows_it() {
    // Many unrelated operations, and a write that is lost.
    let mut events = vec![];
    for value in 0..50 {
        events.push(send(1, value));
        events.push(ack(value as usize, value as i64));
    }
    let records: Vec<(i64, u64)> =
        (0..50).filter(|at| *at != 20).map(|at| (at, at as u64)).collect();
    events.push(assign(5, 0));
    events.extend(records.chunks(10).map(|records| poll(5, records)));
    let history = build(&events);
    let options = Options::default();
    let verdict = log::check(&history, &options).unwrap();
    let anomaly = &verdict.anomalies["lost-write"][0];
    let explained = log::explain(&history, &options, "lost-write", anomaly);
    // The send, and the two polls of offsets 10 to 19 and from 21 on, between which it was passed.
    assert_eq!(explained.ops.len(), 3, "{explained:?}");
    assert!(explained.lines[0].ends_with("process 1: send 20 to t-0 at 20"), "{explained:?}");
    assert!(explained.lines[1].contains("process 5: poll t-0/"), "{explained:?}");
    let page = log::page(&history, &options, &verdict, "test").html();
    assert!(page.contains("lost-write") && page.contains("send 20 to t-0 at 20"));
}
