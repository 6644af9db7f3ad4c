//! Consumer groups: each anomaly fires, and a near miss does not.

use wavetank_linearizability::log::{self, Options};
use wavetank_linearizability::{Change, Outcome};

use super::anomalies::{expect, expect_words};
use super::generate::{Event, build};

use Event::{Begin, Crash, End, Fetch, Over, Seek};

fn commit(process: u32, generation: i32, offset: i64) -> Event {
    Event::Commit { process, generation: Some(generation), partition: 0, offset }
}

fn ok(question: usize) -> Event {
    Event::Answer { question, outcome: Outcome::Ok, found: None }
}

fn found(question: usize, offset: i64) -> Event {
    Event::Answer { question, outcome: Outcome::Ok, found: Some(offset) }
}

fn ends(question: usize, outcome: Outcome) -> Event {
    Event::Answer { question, outcome, found: None }
}

fn group(process: u32, generation: i32, change: Change) -> Event {
    Event::Group { process, generation: Some(generation), change, partitions: vec![0] }
}

#[test]
fn a_committed_offset_stays() {
    let events = |at| {
        vec![commit(1, 1, 3), ok(0), commit(1, 1, 5), ok(1), Fetch { process: 2 }, found(2, at)]
    };
    expect(events(5), &[]);
    expect_words(
        events(3),
        "lost-commit",
        "t-0: process 2 asked at 0.004000 s for the committed offset of group g and got 3, \
         although process 1 had committed 5 at 0.003000 s",
    );
    let mut none = events(3);
    none[5] = ok(2);
    expect(none, &["lost-commit"]);
    // Near miss: asked before the second commit was answered.
    let mut early = events(3);
    early.swap(3, 4);
    expect(early, &[]);
    // Near miss: the outcome of the second is unknown.
    let mut unknown = events(3);
    unknown[3] = ends(1, Outcome::Info);
    expect(unknown, &[]);
    // Near miss: the first is committed again.
    let mut again = events(3);
    again.splice(4..4, [Seek { process: 1, partition: 0, position: Some(3) }, commit(1, 1, 3)]);
    let at = again.len() - 1;
    again[at] = found(3, 3);
    expect(again, &[]);
}

#[test]
fn a_committed_offset_does_not_go_back() {
    let events = |between: Vec<Event>| {
        [vec![commit(1, 1, 5), ok(0)], between, vec![commit(2, 1, 3), ok(1)]].concat()
    };
    expect_words(
        events(vec![]),
        "commit-regression",
        "t-0: process 2's commit of offset 3 for group g was accepted at 0.003000 s, after 5 had \
         been committed by process 1 at 0.001000 s, without a seek in between",
    );
    // Near miss: a reader had sought; the two are concurrent; the second was refused.
    expect(events(vec![Seek { process: 2, partition: 0, position: Some(3) }]), &[]);
    expect(vec![commit(1, 1, 5), commit(2, 1, 3), ok(0), ok(1)], &[]);
    let mut refused = events(vec![]);
    refused[3] = ends(1, Outcome::Fail);
    expect(refused, &[]);
}

#[test]
fn a_superseded_generation_commits_nothing() {
    let events =
        vec![group(1, 1, Change::Assigned), group(2, 2, Change::Assigned), commit(1, 1, 5), ok(0)];
    expect_words(
        events.clone(),
        "zombie-commit",
        "process 1's commit of generation 1, begun at 0.002000 s, was accepted, although process 2 \
         was in generation 2 at 0.001000 s",
    );
    let mut refused = events.clone();
    refused[3] = ends(0, Outcome::Fail);
    expect(refused, &[]);
    let mut before = events.clone();
    before.swap(1, 2);
    expect(before, &[]);
    // Member epochs are compared only with the same member's.
    let options = Options { member_epochs: true, ..Options::default() };
    let verdict = log::check(&build(&events), &options).unwrap();
    assert!(verdict.is_valid(), "{verdict}");
    let own = vec![group(1, 2, Change::Assigned), commit(1, 1, 5), ok(0)];
    let verdict = log::check(&build(&own), &options).unwrap();
    assert_eq!(verdict.count("zombie-commit"), 1, "{verdict}");
}

#[test]
fn offsets_come_from_somewhere() {
    expect_words(
        vec![Fetch { process: 2 }, found(0, 4)],
        "garbage-commit",
        "t-0: process 2 asked at 0.000000 s for the committed offset of group g and got 4, which \
         nobody had committed",
    );
    let refused = vec![commit(1, 1, 4), ends(0, Outcome::Fail), Fetch { process: 2 }, found(1, 4)];
    expect(refused, &["garbage-commit"]);
    let unknown = vec![commit(1, 1, 4), ends(0, Outcome::Info), Fetch { process: 2 }, found(1, 4)];
    expect(unknown, &[]);
}

#[test]
fn offsets_of_a_transaction_are_not_seen_before_its_end() {
    let events = |end: usize, outcome| {
        let mut events = vec![Begin { process: 1 }, commit(1, 1, 4), ok(0)];
        events.extend([Fetch { process: 2 }, found(1, 4)]);
        events.insert(end, End { transaction: 0 });
        events.push(Over { transaction: 0, outcome });
        events
    };
    expect_words(
        events(5, Outcome::Ok),
        "uncommitted-offset",
        "t-0: process 2 asked at 0.003000 s for the committed offset of group g and got 4, the \
         offset of a transaction of process 1 that had not been committed",
    );
    // Near miss: its end was requested.
    expect(events(3, Outcome::Ok), &[]);
    expect(events(3, Outcome::Info), &[]);
    // It was aborted.
    expect(events(3, Outcome::Fail), &["uncommitted-offset"]);
    // After its end the old offsets are gone.
    let mut stale = vec![commit(1, 1, 2), ok(0), Begin { process: 1 }, commit(1, 1, 4), ok(1)];
    stale.extend([End { transaction: 0 }, Over { transaction: 0, outcome: Outcome::Ok }]);
    stale.extend([Fetch { process: 2 }, found(2, 2)]);
    expect(stale.clone(), &["lost-commit"]);
    stale.swap(6, 7);
    expect(stale, &[]);
}

#[test]
fn a_partition_has_one_owner() {
    let events = |between: Vec<Event>, generation| {
        let last = group(2, generation, Change::Assigned);
        [vec![group(1, 1, Change::Assigned)], between, vec![last]].concat()
    };
    expect_words(
        events(vec![], 1),
        "double-ownership",
        "t-0 of group g was assigned to process 1 at 0.000000 s and to process 2 at 0.001000 s, in \
         the same generation 1",
    );
    expect(events(vec![group(1, 1, Change::Revoked)], 1), &[]);
    expect(events(vec![Crash { process: 1 }], 1), &[]);
    // In another generation, process 1 may have been fenced, and will learn of it …
    expect(events(vec![], 2), &[]);
    let later = |change| [events(vec![], 2), vec![group(1, 2, change)]].concat();
    expect(later(Change::Lost), &[]);
    // … but if it is asked to give the partition up, it must have done so before.
    expect_words(
        later(Change::Revoked),
        "double-ownership",
        "t-0 of group g was assigned to process 2 at 0.001000 s, before process 1 gave it up at \
         0.002000 s as requested",
    );
}
