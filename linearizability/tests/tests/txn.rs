//! The transaction checker on histories that a person can follow.

use wavetank_linearizability::txn::{self, Error, History, Judgement, Level, Options};
use wavetank_linearizability::{OpId, Validity};

use crate::txn_generate::{End, Step, Txn, build};

fn append(key: u32, element: i64) -> Step {
    Step::Append { key, element }
}

fn read(key: u32, list: &[i64]) -> Step {
    Step::Read { key, list: Some(list.to_vec()) }
}

fn send(key: u32, element: i64, offset: u64) -> Step {
    Step::Send { key, element, offset: Some(offset) }
}

fn poll(key: u32, records: &[(u64, i64)]) -> Step {
    Step::Poll { key, records: records.to_vec() }
}

/// Committed by its own process, at this time.
fn txn(process: u32, (begun, ended): (u64, u64), steps: &[Step]) -> Txn {
    Txn { process, begun, ended, end: End::Commit, steps: steps.to_vec() }
}

fn judge(level: Level, txns: &[Txn]) -> Judgement {
    txn::check(&build(txns).0, &Options::of(level)).expect("it is well formed")
}

/// The anomalies at a level that allows none.
fn names(txns: &[Txn]) -> Vec<String> {
    let judged = judge(Level::StrictSerializable, txns);
    assert_eq!(judged.verdict.valid == Validity::Valid, judged.verdict.anomalies.is_empty());
    judged.verdict.anomalies.into_keys().collect()
}

/// All begin before any ends.
fn together(steps: &[&[Step]]) -> Vec<Txn> {
    let count = steps.len() as u64;
    (0..).zip(steps).map(|(at, steps)| txn(at as u32, (at, count + at), steps)).collect()
}

#[test]
fn g0_writes_interleave() {
    let reader = (9, 10);
    let mut txns = together(&[&[append(0, 1), append(1, 1)], &[append(0, 2), append(1, 2)]]);
    txns.push(txn(7, reader, &[read(0, &[1, 2]), read(1, &[2, 1])]));
    assert_eq!(names(&txns), ["G0"]);
    let judged = judge(Level::ReadUncommitted, &txns);
    assert_eq!(
        judged.cycles[0].text,
        "let T0 = operation 0 of process 0 (append 1 to \"k0\", append 1 to \"k1\"), T1 = \
         operation 1 of process 1 (append 2 to \"k0\", append 2 to \"k1\"). T0 is before T1: in \
         \"k0\", T1's 2 comes after T0's 1 (ww). T1 is before T0: in \"k1\", T0's 1 comes after \
         T1's 2 (ww). So each would be before itself."
    );
    assert!(judge(Level::Kafka, &txns).verdict.is_valid());
    txns[2] = txn(7, reader, &[read(0, &[1, 2]), read(1, &[1, 2])]);
    assert!(names(&txns).is_empty());
}

#[test]
fn g1a_what_was_aborted_is_read() {
    let mut txns = together(&[&[append(0, 1)], &[read(0, &[1])]]);
    txns[0].end = End::Abort;
    assert_eq!(names(&txns), ["G1a"]);
    assert!(judge(Level::ReadUncommitted, &txns).verdict.is_valid());
    txns[0].end = End::Unknown;
    assert!(names(&txns).is_empty());
}

#[test]
fn g1b_the_midst_of_a_transaction_is_read() {
    let mut txns = together(&[&[append(0, 1), append(0, 2)], &[read(0, &[1])]]);
    txns.push(txn(7, (9, 10), &[read(0, &[1, 2])]));
    assert!(names(&txns).contains(&"G1b".to_owned()));
    txns[1].steps = vec![read(0, &[1, 2])];
    assert!(names(&txns).is_empty());
}

#[test]
fn g1c_information_flows_in_a_circle() {
    let txns = together(&[&[append(0, 1), read(1, &[1])], &[append(1, 1), read(0, &[1])]]);
    assert_eq!(names(&txns), ["G1c-wr"]);
    assert!(!judge(Level::Kafka, &txns).verdict.is_valid());
    let mut txns = together(&[&[append(0, 1), append(1, 1)], &[append(0, 2), read(1, &[1])]]);
    txns.push(txn(7, (9, 10), &[read(0, &[2, 1])]));
    assert_eq!(names(&txns), ["G1c"]);
    assert!(judge(Level::Kafka, &txns).verdict.is_valid());
    txns[2].steps = vec![read(0, &[1, 2])];
    assert!(names(&txns).is_empty());
}

#[test]
fn g_single_reads_are_of_two_times() {
    let txns = together(&[&[append(0, 1), append(1, 1)], &[read(0, &[1]), read(1, &[])]]);
    assert_eq!(names(&txns), ["G-single"]);
    assert!(!judge(Level::SnapshotIsolation, &txns).verdict.is_valid());
    assert!(judge(Level::ReadCommitted, &txns).verdict.is_valid());
    let sound = together(&[&[append(0, 1), append(1, 1)], &[read(0, &[]), read(1, &[])]]);
    assert!(names(&sound).is_empty());
}

#[test]
fn g2_item_write_skew() {
    let txns = together(&[&[read(0, &[]), append(1, 1)], &[read(1, &[]), append(0, 1)]]);
    assert_eq!(names(&txns), ["G2-item"]);
    assert!(judge(Level::SnapshotIsolation, &txns).verdict.is_valid());
    assert!(!judge(Level::Serializable, &txns).verdict.is_valid());
    let sound = together(&[&[read(0, &[]), append(1, 1)], &[read(1, &[1]), append(0, 1)]]);
    assert!(names(&sound).is_empty());
}

#[test]
fn a_stale_read_breaks_real_time_or_the_process_order() {
    let by = |process| {
        vec![
            txn(0, (0, 1), &[append(0, 1)]),
            txn(process, (2, 3), &[read(0, &[])]),
            txn(5, (4, 5), &[read(0, &[1])]),
        ]
    };
    assert_eq!(names(&by(1)), ["G-single-realtime"]);
    assert!(judge(Level::StrongSessionSerializable, &by(1)).verdict.is_valid());
    let judged = judge(Level::StrictSerializable, &by(1));
    assert!(
        judged.cycles[0].text.contains("T1 ended at 0.000001 s, before T0 began at 0.000002 s"),
        "{}",
        judged.cycles[0].text
    );
    assert_eq!(names(&by(0)), ["G-single-process"]);
    assert!(judge(Level::Serializable, &by(0)).verdict.is_valid());
    let mut overlapping = by(1);
    (overlapping[0].ended, overlapping[1].begun) = (2, 1);
    assert!(names(&overlapping).is_empty());
}

#[test]
fn an_append_that_nobody_read_came_last() {
    let mut txns = vec![
        txn(0, (0, 1), &[append(0, 1)]),
        txn(1, (2, 3), &[append(0, 2), append(1, 2)]),
        txn(2, (4, 5), &[read(0, &[1]), read(1, &[2])]),
    ];
    assert!(names(&txns).contains(&"G-single".to_owned()));
    // Half of it was read, so it was committed, although its outcome was unknown.
    txns[1].end = End::Unknown;
    assert_eq!(names(&txns), ["G-single"]);
    txns[2].steps = vec![read(0, &[1]), read(1, &[])];
    assert!(names(&txns).is_empty());
}

#[test]
fn lists_that_cannot_be() {
    let writes = [append(0, 1), append(0, 2)];
    let both = |one: &[i64], two: &[i64]| {
        names(&together(&[&writes[..1], &writes[1..], &[read(0, one)], &[read(0, two)]]))
    };
    assert_eq!(both(&[1, 2], &[2]), ["incompatible-order"]);
    assert!(both(&[1, 2], &[1]).is_empty());
    assert_eq!(both(&[1, 2, 1], &[1]), ["duplicate-elements"]);
    assert_eq!(both(&[1, 2, 3], &[1]), ["garbage-read"]);
}

#[test]
fn a_transaction_sees_its_own_writes() {
    let of = |list: &[i64]| {
        names(&together(&[&[append(0, 1)], &[read(0, &[1]), append(0, 2), read(0, list)]]))
    };
    assert_eq!(of(&[1]), ["internal"]);
    assert!(of(&[1, 2]).is_empty());
}

#[test]
fn dirty_and_lost_updates() {
    let mut txns = together(&[&[append(0, 1)], &[append(0, 2)], &[read(0, &[1, 2])]]);
    txns[0].end = End::Abort;
    assert_eq!(names(&txns), ["G1a", "dirty-update"]);
    let lost = |seen: &[i64]| {
        names(&together(&[&[read(0, &[]), append(0, 1)], &[read(0, seen), append(0, 2)]]))
    };
    assert!(lost(&[]).contains(&"lost-update".to_owned()));
    assert!(lost(&[1]).is_empty());
}

#[test]
fn logs() {
    let txns = |seen: &[(u64, i64)]| {
        together(&[&[send(3, 1, 0), poll(4, &[(0, 1)])], &[send(4, 1, 0), poll(3, seen)]])
    };
    assert_eq!(names(&txns(&[(0, 1)])), ["G1c-wr"]);
    assert!(names(&txns(&[])).is_empty());
    assert_eq!(names(&together(&[&[send(3, 1, 0)], &[send(3, 2, 0)]])), ["inconsistent-offsets"]);
    assert_eq!(
        names(&together(&[&[send(3, 1, 0)], &[poll(3, &[(0, 1), (1, 1)])]])),
        ["duplicate-elements"]
    );
    assert_eq!(names(&together(&[&[send(3, 1, 0), poll(3, &[(0, 1)])]])), ["precommitted-read"]);
    let mut aborted = together(&[&[send(3, 1, 0)], &[poll(3, &[(0, 1)])]]);
    aborted[0].end = End::Abort;
    assert_eq!(names(&aborted), ["G1a"]);
}

#[test]
fn a_poll_need_not_see_the_end() {
    let txns = together(&[&[send(3, 1, 0), send(3, 2, 1)], &[poll(3, &[(0, 1)])]]);
    let history = build(&txns).0;
    let judge = |polls_see_end| {
        let options = Options { polls_see_end, ..Options::default() };
        txn::check(&history, &options).unwrap().verdict.is_valid()
    };
    assert!(judge(false));
    assert!(!judge(true));
}

#[test]
fn what_cannot_be_judged_is_named() {
    let error =
        txn::check(&build(&together(&[&[append(0, 1)], &[append(0, 1)]])).0, &Options::default());
    let error = error.expect_err("nobody can tell the two apart");
    assert_eq!(
        error.to_string(),
        "1 was appended to \"k0\" twice (operations 0 and 1): elements must be unique within a \
         key, so that each read matches one append"
    );
    let mixed = together(&[&[append(0, 1)], &[send(0, 2, 0)]]);
    let error = txn::check(&build(&mixed).0, &Options::default()).expect_err("it is both");
    assert!(matches!(error, Error::ListAndLog { list: OpId(0), log: OpId(1), .. }));
}

#[test]
fn a_limit_of_work_ends_in_unknown() {
    let txns = together(&[&[read(0, &[]), append(1, 1)], &[read(1, &[]), append(0, 1)]]);
    let options = Options { work: 1, ..Options::default() };
    let judged = txn::check(&build(&txns).0, &options).unwrap();
    assert_eq!(judged.verdict.valid, Validity::Unknown);
    let empty = txn::check(&History::new(), &options).unwrap();
    assert!(empty.verdict.is_valid());
}

/// Every transaction reads a list that misses the latest append, and appends to the next one: all
/// are one component, found without deep recursion.
#[test]
fn a_component_of_a_hundred_thousand() {
    let count = 100_000;
    let mut history = History::new();
    let keys: Vec<_> = (0..count).map(|key| history.key(key)).collect();
    let one = history.element(1);
    let begun: Vec<(OpId, [txn::Mop<'_>; 2])> = (0..count as usize)
        .map(|at| {
            let next = keys[(at + 1) % count as usize];
            let steps = [
                txn::Mop::Read { key: keys[at], list: Some(&[]) },
                txn::Mop::Append { key: next, element: one },
            ];
            (history.begin(at as u32, 0, &steps), steps)
        })
        .collect();
    for (id, steps) in begun {
        history.commit(id, 1, &steps);
    }
    let judged = txn::check(&history, &Options::default()).unwrap();
    assert_eq!(judged.verdict.count("G2-item"), 1);
    assert_eq!(judged.cycles[0].links.len(), count as usize);
}
