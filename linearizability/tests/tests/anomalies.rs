//! Each anomaly fires, and a near miss does not.

use wavetank_linearizability::Acks;
use wavetank_linearizability::log::{self, Options};

use super::generate::{Event, build};

use Event::{Fail, Info, Loss, Seek};

pub fn send(process: u32, value: u64) -> Event {
    Event::Send { process, partition: 0, value, acks: Acks::All }
}

fn send_1(process: u32, value: u64) -> Event {
    Event::Send { process, partition: 0, value, acks: Acks::Leader }
}

/// The send with this number was acknowledged here, in epoch 0.
pub fn ack(send: usize, offset: i64) -> Event {
    ack_in(send, offset, 0)
}

fn ack_in(send: usize, offset: i64, epoch: i32) -> Event {
    Event::Ack { send, offset: Some(offset), epoch: Some(epoch) }
}

/// Offsets and values, of epoch 0.
pub fn poll(process: u32, records: &[(i64, u64)]) -> Event {
    poll_in(0, process, records)
}

fn poll_in(epoch: i32, process: u32, records: &[(i64, u64)]) -> Event {
    let records = records.iter().map(|(offset, value)| (0, *offset, epoch, *value)).collect();
    Event::Poll { process, records }
}

pub fn assign(process: u32, position: i64) -> Event {
    Event::Assign { process, positions: vec![(0, Some(position))] }
}

fn loss(offset: i64, epoch: i32) -> Event {
    Loss { partition: 0, offset, epoch }
}

/// Checks the history against all promises; expects exactly these anomalies, once each.
#[track_caller]
pub fn expect(events: Vec<Event>, anomalies: &[&str]) -> String {
    let options = Options {
        complete: true,
        forbid_duplicates: true,
        forbid_reordered_sends: true,
        ..Options::default()
    };
    let verdict = log::check(&build(&events), &options).unwrap();
    let found: Vec<&str> = verdict.anomalies.keys().map(String::as_str).collect();
    assert_eq!(found, anomalies, "{verdict}");
    assert_eq!(verdict.is_valid(), anomalies.is_empty());
    for name in anomalies {
        assert_eq!(verdict.count(name), 1, "{verdict}");
        assert_eq!(verdict.anomalies[*name].len(), 1);
    }
    verdict.to_string()
}

/// Like `expect`, with the text of the only anomaly.
#[track_caller]
pub fn expect_words(events: Vec<Event>, name: &str, words: &str) {
    let text = expect(events, &[name]);
    let line = text.lines().nth(1).unwrap();
    assert_eq!(line, format!("{name}: {words}"));
}

fn three() -> Vec<Event> {
    vec![send(1, 7), ack(0, 0), send(1, 8), ack(1, 1), send(2, 9), ack(2, 2)]
}

#[test]
fn a_good_history_is_valid() {
    let mut events = three();
    events.extend([assign(5, 0), poll(5, &[(0, 7), (1, 8)]), poll(5, &[(2, 9)])]);
    expect(events, &[]);
}

#[test]
fn lost_write() {
    let mut events = three();
    events.extend([assign(5, 0), poll(5, &[(0, 7), (2, 9)])]);
    expect_words(
        events,
        "lost-write",
        "t-0: process 1's 8 was acknowledged by all at offset 1 in epoch 0 at 0.003000 s, but \
         readers that got past that offset did not get it",
    );
    // Near miss: the acknowledgement never came.
    let open = vec![send(1, 7), ack(0, 0), send(1, 8), Info { send: 1 }, send(2, 9), ack(2, 2)];
    expect([open, vec![assign(5, 0), poll(5, &[(0, 7), (2, 9)])]].concat(), &[]);
    // Near miss: only the leader had acknowledged it; that is counted.
    let mut events = three();
    events[2] = send_1(1, 8);
    events.extend([assign(5, 0), poll(5, &[(0, 7), (2, 9)])]);
    expect(events.clone(), &[]);
    let verdict = log::check(&build(&events), &Options::default()).unwrap();
    assert_eq!(verdict.count("lost-acks-1"), 1);
}

#[test]
fn lost_write_is_only_what_a_reader_went_past() {
    // The reader starts after it. Nobody has read it, which is only counted, unless the history
    // says that all was read.
    let mut events = three();
    events.extend([assign(5, 2), poll(5, &[(2, 9)])]);
    let verdict = log::check(&build(&events), &Options::default()).unwrap();
    assert!(verdict.is_valid());
    assert_eq!((verdict.count("unseen"), verdict.count("lost-write")), (2, 0));
}

#[test]
fn unseen() {
    let mut events = three();
    events.extend([assign(5, 0), poll(5, &[(0, 7), (1, 8)])]);
    expect_words(
        events,
        "unseen",
        "t-0: process 2's 9 was acknowledged by all at offset 2 in epoch 0 at 0.005000 s, but \
         nobody read it",
    );
}

#[test]
fn an_admitted_loss_excuses_what_it_took_and_nothing_else() {
    // 8 and 9 are lost; 10 takes offset 1 in the new lineage.
    let lost = |epoch_of_9| {
        vec![
            send(1, 7),
            ack(0, 0),
            send(1, 8),
            ack(1, 1),
            send(2, 9),
            ack_in(2, 2, epoch_of_9),
            loss(1, 1),
            send(3, 10),
            ack_in(3, 1, 1),
            send(3, 11),
            ack_in(4, 2, 1),
            send(3, 12),
            ack_in(5, 3, 1),
            assign(5, 0),
            poll(5, &[(0, 7)]),
            poll_in(1, 5, &[(1, 10), (2, 11), (3, 12)]),
        ]
    };
    expect(lost(0), &[]);
    // Acknowledged in the new lineage, at an offset where another record is read.
    let verdict = log::check(&build(&lost(1)), &Options::default()).unwrap();
    assert_eq!((verdict.count("lost-write"), verdict.count("inconsistent-offsets")), (1, 1));
    // Without the admission nothing is excused.
    let mut events = lost(0);
    events.remove(6);
    let verdict = log::check(&build(&events), &Options::default()).unwrap();
    assert_eq!((verdict.count("lost-write"), verdict.count("inconsistent-offsets")), (2, 2));
    // Below the loss nothing is excused.
    let mut events = lost(0);
    events[14] = poll(5, &[]);
    expect(events, &["lost-write"]);
}

#[test]
fn a_reader_of_the_old_lineage_is_no_witness_against_the_new_one() {
    let mut events = three();
    events.extend([
        assign(5, 0),
        poll(5, &[(0, 7), (1, 8), (2, 9)]),
        loss(1, 1),
        send(3, 10),
        ack_in(3, 1, 1),
        poll(6, &[(0, 7)]),
    ]);
    let verdict = log::check(&build(&events), &Options::default()).unwrap();
    assert!(verdict.is_valid(), "{verdict}");
    assert_eq!(verdict.count("unseen"), 1, "10, which may simply not have been read yet");
    // A reader of the new lineage that goes past it is a witness.
    events.extend([send(3, 11), ack_in(4, 2, 1), poll_in(1, 6, &[(2, 11)])]);
    let verdict = log::check(&build(&events), &Options::default()).unwrap();
    assert_eq!(verdict.count("lost-write"), 1, "{verdict}");
}

#[test]
fn duplicate() {
    let mut events = three();
    events.extend([assign(5, 0), poll(5, &[(0, 7), (1, 8), (2, 9), (3, 8)])]);
    expect_words(
        events.clone(),
        "duplicate",
        "t-0: process 1's 8 was sent once but is at offsets 1 and 3",
    );
    let verdict = log::check(&build(&events), &Options::default()).unwrap();
    assert!(verdict.is_valid(), "without idempotence it is only counted");
    assert_eq!(verdict.count("duplicate"), 1);
    // Near miss: the same offset read twice.
    let mut events = three();
    let all = poll(5, &[(0, 7), (1, 8), (2, 9)]);
    events.extend([assign(5, 0), all.clone(), assign(5, 0), all]);
    expect(events, &[]);
    // Near miss: the first copy was lost by an admitted loss, and the retry appended it again.
    expect(
        vec![
            send(1, 7),
            poll(5, &[(0, 7)]),
            loss(0, 1),
            send(2, 8),
            ack_in(1, 0, 1),
            ack_in(0, 1, 1),
            poll_in(1, 5, &[(0, 8), (1, 7)]),
        ],
        &[],
    );
}

#[test]
fn inconsistent_offsets() {
    let mut events = vec![send(1, 7), send(1, 8), send(2, 9), send(3, 10)];
    events.extend([ack(0, 0), ack(1, 1), ack(2, 2)]);
    events.extend([assign(5, 0), poll(5, &[(0, 7), (1, 8), (2, 9)]), poll(6, &[(1, 10)])]);
    expect_words(
        events.clone(),
        "inconsistent-offsets",
        "t-0: offset 1 is 8 of epoch 0 by its acknowledgement to process 1 at 0.005000 s, and 10 \
         of epoch 0 as read by process 6 at 0.009000 s",
    );
    // One value in two epochs is two records, too.
    *events.last_mut().unwrap() = poll_in(1, 6, &[(1, 8)]);
    expect(events.clone(), &["inconsistent-offsets"]);
    // Near miss: a reader that reports no epoch.
    *events.last_mut().unwrap() = poll_in(-1, 6, &[(1, 8)]);
    expect(events.clone(), &[]);
    // Near miss: acknowledged by a leader alone, which then lost it.
    let mut events = vec![send_1(1, 7), ack(0, 0), send(2, 8), ack_in(1, 0, 1)];
    events.push(poll_in(1, 5, &[(0, 8)]));
    expect(events, &[]);
}

#[test]
fn aborted_read() {
    let events = vec![send(1, 7), Fail { send: 0 }, poll(5, &[(0, 7)])];
    expect_words(
        events,
        "aborted-read",
        "t-0: process 5 got 7 at offset 0 at 0.002000 s, whose send by process 1 had certainly \
         failed at 0.001000 s",
    );
    expect(vec![send(1, 7), Info { send: 0 }, poll(5, &[(0, 7)])], &[]);
}

#[test]
fn garbage_read() {
    expect_words(
        vec![send(1, 7), poll(5, &[(0, 7), (1, 8)])],
        "garbage-read",
        "t-0: process 5 got 8 at offset 1 at 0.001000 s, which nobody sent",
    );
    // Sent to another partition is not sent to this one.
    let elsewhere = Event::Send { process: 1, partition: 1, value: 7, acks: Acks::All };
    expect(vec![elsewhere, poll(5, &[(0, 7)])], &["garbage-read"]);
}

#[test]
fn read_before_send() {
    expect_words(
        vec![poll(5, &[(0, 7)]), send(1, 7)],
        "read-before-send",
        "t-0: process 5 got 7 at offset 0 at 0.000000 s, before process 1 began to send it at \
         0.001000 s",
    );
}

#[test]
fn poll_skip() {
    let witness = [assign(6, 0), poll(6, &[(0, 7), (1, 8), (2, 9)])];
    let mut events = [three(), witness.to_vec()].concat();
    events.extend([assign(5, 0), poll(5, &[(0, 7)])]);
    let at = events.len();
    events.push(poll(5, &[(2, 9)]));
    expect_words(
        events.clone(),
        "poll-skip",
        "t-0: process 5 got offset 2 right after offset 0 at 0.010000 s; between them it missed 8 \
         at offset 1, which is there",
    );
    // In one poll.
    events.truncate(at - 1);
    events.push(poll(5, &[(0, 7), (2, 9)]));
    expect(events.clone(), &["int-poll-skip"]);
    // From the start of an assignment.
    events[at - 1] = poll(5, &[(1, 8), (2, 9)]);
    expect(events.clone(), &["poll-skip"]);
    // Near miss: a seek.
    events[at - 1] = poll(5, &[(0, 7)]);
    events.push(Seek { process: 5, partition: 0, position: Some(2) });
    events.push(poll(5, &[(2, 9)]));
    expect(events.clone(), &[]);
    // Near miss: offsets at which nobody ever saw a record (a control batch, say).
    let gap = vec![send(1, 7), ack(0, 0), send(1, 8), ack(1, 2)];
    expect([gap, vec![assign(5, 0), poll(5, &[(0, 7), (2, 8)])]].concat(), &[]);
}

#[test]
fn nonmonotonic_poll() {
    let all = poll(5, &[(0, 7), (1, 8), (2, 9)]);
    let mut events = [three(), vec![assign(5, 0), all]].concat();
    events.push(poll(5, &[(2, 9)]));
    expect_words(
        events.clone(),
        "nonmonotonic-poll",
        "t-0: process 5 got offset 2, and then offset 2 at 0.008000 s",
    );
    // Near miss: assigned anew in between.
    events.insert(8, assign(5, 2));
    expect(events.clone(), &[]);
    // Below the position of an assignment.
    events[8] = assign(5, 3);
    expect_words(
        events,
        "nonmonotonic-poll",
        "t-0: process 5 was to read from offset 3, but got offset 2 at 0.009000 s",
    );
    let events = [three(), vec![assign(5, 0), poll(5, &[(0, 7), (1, 8), (2, 9), (1, 8)])]];
    expect(events.concat(), &["int-nonmonotonic-poll"]);
}

#[test]
fn a_reader_goes_back_after_a_loss_and_not_otherwise() {
    let events = |from| {
        let mut events = three();
        events.extend([assign(5, 0), poll(5, &[(0, 7), (1, 8), (2, 9)]), loss(1, 1)]);
        events.extend([send(3, 10), ack_in(3, 1, 1), send(3, 11), ack_in(4, 2, 1)]);
        let new = [(1, 10), (2, 11), (3, 12)];
        events.extend([send(3, 12), ack_in(5, 3, 1), poll_in(1, 5, &new[from..])]);
        events
    };
    expect(events(0), &[]);
    // It went back, but not far enough: nobody got 10, though 11 was read after it.
    expect(events(1), &["unseen"]);
    // It read on as if nothing had happened. Others see what it missed.
    let mut silent = events(2);
    silent.push(poll_in(1, 6, &[(1, 10), (2, 11), (3, 12)]));
    expect(silent, &["poll-skip"]);
}

#[test]
fn epoch_regression() {
    let sends = vec![send(1, 7), ack_in(0, 0, 2), send(1, 8), ack_in(1, 1, 1)];
    let events = [sends, vec![poll_in(2, 5, &[(0, 7)]), poll_in(1, 5, &[(1, 8)])]].concat();
    expect_words(
        events.clone(),
        "epoch-regression",
        "t-0: process 5 got offset 0 of epoch 2, and then offset 1 of epoch 1 at 0.005000 s",
    );
    // No loss excuses it.
    expect([vec![loss(0, 2)], events].concat(), &["epoch-regression"]);
}

#[test]
fn nonmonotonic_send() {
    let events = |second| {
        vec![
            send(1, 7),
            send(second, 8),
            ack(1, 0),
            ack(0, 1),
            assign(5, 0),
            poll(5, &[(0, 8), (1, 7)]),
        ]
    };
    expect_words(
        events(1),
        "nonmonotonic-send",
        "t-0: process 1 sent 7, then 8; they are at offsets 1 and 0",
    );
    let verdict = log::check(&build(&events(1)), &Options::default()).unwrap();
    assert!(verdict.is_valid(), "without idempotence it is only counted");
    expect(events(2), &[]);
}

#[test]
fn real_time_order() {
    let events = |early: bool| {
        let mut events = vec![send(1, 7), ack(0, 1), send(2, 8), ack(1, 0)];
        if early {
            events.swap(1, 2);
        }
        events.extend([assign(5, 0), poll(5, &[(0, 8), (1, 7)])]);
        events
    };
    expect_words(
        events(false),
        "real-time-order",
        "t-0: 7 was acknowledged at offset 1 at 0.001000 s, before process 2 began to send 8 at \
         0.002000 s, which is at offset 0",
    );
    // Near miss: the sends overlap.
    expect(events(true), &[]);
    // Near miss: the first was acknowledged by the leader alone, in another log.
    let mut leader = events(false);
    leader[0] = send_1(1, 7);
    expect(leader, &[]);
    // Near miss: the first was lost before the second came.
    let mut lost = vec![send(1, 7), ack(0, 1), loss(0, 1), send(2, 8), ack_in(1, 0, 1)];
    lost.extend([assign(5, 0), poll_in(1, 5, &[(0, 8)])]);
    expect(lost, &[]);
}

#[test]
fn one_value_sent_twice_is_refused() {
    let error = log::check(&build(&[send(1, 7), send(2, 7)]), &Options::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "value 7 was sent to t-0 twice (operations 0 and 1): values must be unique within a \
         partition, so that each read matches one send"
    );
    let elsewhere = Event::Send { process: 1, partition: 1, value: 7, acks: Acks::All };
    assert!(log::check(&build(&[send(1, 7), elsewhere]), &Options::default()).is_ok());
}

#[test]
fn witnesses_are_limited_and_all_are_counted() {
    let events: Vec<Event> = (0..30).map(|offset| poll(offset, &[(0, 50)])).collect();
    for witnesses in [0, 3] {
        let options = Options { witnesses, ..Options::default() };
        let verdict = log::check(&build(&events), &options).unwrap();
        assert!(!verdict.is_valid());
        assert_eq!(verdict.anomalies["garbage-read"].len(), witnesses);
        assert_eq!(verdict.count("garbage-read"), 30);
        assert!(verdict.to_string().ends_with(&format!("garbage-read: {} more", 30 - witnesses)));
    }
}

#[test]
fn verdicts_as_json() {
    let verdict = log::check(&build(&[poll(5, &[(0, 7)])]), &Options::default()).unwrap();
    let json = serde_json::to_value(&verdict).unwrap();
    assert_eq!(json["valid"], serde_json::json!(false));
    assert_eq!(json["anomalies"]["garbage-read"][0]["ops"], serde_json::json!([0]));
    let unknown = wavetank_linearizability::Validity::Unknown;
    assert_eq!(serde_json::to_value(unknown).unwrap(), "unknown");
}

/// An event takes a millisecond.
#[test]
fn how_far_a_reader_lags_is_measured_and_no_anomaly() {
    let lag = |events: Vec<Event>| {
        let options = Options { measure_lag: true, ..Options::default() };
        let verdict = log::check(&build(&events), &options).unwrap();
        assert!(verdict.is_valid(), "{verdict}");
        verdict.count("realtime-lag-us")
    };
    let two = || vec![send(1, 7), ack(0, 0), send(1, 8), ack(1, 1), assign(5, 0)];
    assert_eq!(
        lag([two(), vec![poll(5, &[(0, 7)])]].concat()),
        2_000,
        "asked for at 5, known at 3"
    );
    assert_eq!(lag([two(), vec![poll(5, &[(0, 7), (1, 8)])]].concat()), 0);
    let weak = vec![send(1, 7), ack(0, 0), send_1(1, 8), ack(1, 1), poll(5, &[(0, 7)])];
    assert_eq!(lag(weak), 0, "nobody promised that it stays");
}
