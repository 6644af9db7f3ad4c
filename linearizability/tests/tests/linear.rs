//! The linearizability checker on histories that a person can follow.

use wavetank_linearizability::linear::models::{
    AppendLog, FifoQueue, Kv, KvCall, KvOp, KvOutput, LogOp, LogOutput, Mutex, MutexCall, MutexOp,
    QueueCall, QueueOp, QueueOutput, Register, RegisterCall, RegisterOp, RegisterOutput,
};
use wavetank_linearizability::linear::{self, Error, History, Judgement, Model, Options, Why};
use wavetank_linearizability::{Datum, OpId, Validity};

fn check<M: Model>(model: &M, history: &History<M::Op, M::Output>) -> Judgement {
    linear::check(model, history.operations(), &Options::default()).expect("it is well formed")
}

fn write(value: i64) -> RegisterOp {
    RegisterOp { key: Datum::Nil, call: RegisterCall::Write(value.into()) }
}

fn read() -> RegisterOp {
    RegisterOp { key: Datum::Nil, call: RegisterCall::Read }
}

fn cas(from: i64, to: i64) -> RegisterOp {
    let call = RegisterCall::Cas { from: from.into(), to: to.into() };
    RegisterOp { key: Datum::Nil, call }
}

fn value(value: i64) -> RegisterOutput {
    RegisterOutput::Value(value.into())
}

/// Operations one after the other.
fn sequence<M: Model>(steps: &[(u32, M::Op, M::Output)]) -> History<M::Op, M::Output> {
    let mut history = History::new();
    for (time, (process, op, output)) in (0..).zip(steps) {
        let id = history.invoke(*process, time * 1_000_000_000, op.clone());
        history.returned(id, time * 1_000_000_000 + 500_000_000, output.clone());
    }
    history
}

#[test]
fn a_stale_read_is_named_with_what_hides_the_value() {
    let history = sequence::<Register>(&[
        (1, write(5), RegisterOutput::Done),
        (2, write(7), RegisterOutput::Done),
        (3, read(), value(5)),
    ]);
    let judged = check(&Register::default(), &history);
    assert_eq!(judged.verdict.valid, Validity::Invalid);
    assert_eq!(
        judged.keys[0].text,
        "process 3's read: 5 (operation 2, 2 s to 2.5 s) fits in no order. The longest order \
         before it has 2 of the 3 operations; after them the state is 7, since process 2's write: \
         7 (operation 1, 1 s to 1.5 s), where it would be \"read: 7\". No other operation was in \
         progress that could have come between."
    );
    assert_eq!(judged.verdict.anomalies["not-linearizable"][0].ops, [OpId(2), OpId(1)]);
}

#[test]
fn a_read_beside_a_write_may_see_either() {
    for seen in [5, 7] {
        let mut history = History::new();
        let first = history.invoke(1, 0, write(5));
        history.returned(first, 1, RegisterOutput::Done);
        let second = history.invoke(2, 2, write(7));
        let reading = history.invoke(3, 3, read());
        history.returned(reading, 4, value(seen));
        history.returned(second, 5, RegisterOutput::Done);
        let judged = check(&Register::default(), &history);
        assert!(judged.verdict.is_valid(), "{judged}");
        assert_eq!(judged.keys[0].order.len(), 3);
    }
}

#[test]
fn what_was_never_answered_may_take_effect_late_but_not_twice() {
    let mut history = History::new();
    history.invoke(1, 0, write(5));
    for (seen, process) in [(0, 2), (5, 2), (5, 3)] {
        let reading = history.invoke(process, 1, read());
        history.returned(reading, 2, value(seen));
    }
    let model = Register { initial: 0.into() };
    assert!(check(&model, &history).verdict.is_valid());
    let other = history.invoke(2, 3, write(6));
    history.returned(other, 4, RegisterOutput::Done);
    let reading = history.invoke(2, 5, read());
    history.returned(reading, 6, value(5));
    let judged = check(&model, &history);
    assert_eq!(judged.keys[0].stuck, Some(reading), "{judged}");
}

#[test]
fn nothing_that_failed_is_seen() {
    let mut history = History::new();
    let failed = history.invoke(1, 0, write(5));
    history.failed(failed);
    let reading = history.invoke(2, 1, read());
    history.returned(reading, 2, value(5));
    let judged = check(&Register { initial: 0.into() }, &history);
    assert!(!judged.verdict.is_valid());
    assert!(judged.keys[0].text.contains("Nothing can come before it"), "{judged}");
}

#[test]
fn compare_and_set() {
    let swapped = RegisterOutput::Swapped;
    let steps = [
        (1, write(5), RegisterOutput::Done),
        (1, cas(5, 6), swapped(true)),
        (2, cas(5, 7), swapped(false)),
        (2, read(), value(6)),
    ];
    assert!(check(&Register::default(), &sequence::<Register>(&steps)).verdict.is_valid());
    let mut steps = steps;
    steps[2].2 = swapped(true);
    let judged = check(&Register::default(), &sequence::<Register>(&steps));
    assert_eq!(judged.keys[0].stuck, Some(OpId(2)));
    assert!(judged.keys[0].text.contains("\"cas 5 to 7: refused\""), "{judged}");
}

#[test]
fn keys_are_judged_alone() {
    let of = |key: &str, call| KvOp { key: key.into(), call };
    let history = sequence::<Kv>(&[
        (1, of("x", KvCall::Append("a".into())), KvOutput::Done),
        (1, of("y", KvCall::Put(1.into())), KvOutput::Done),
        (1, of("x", KvCall::Append("b".into())), KvOutput::Done),
        (2, of("x", KvCall::Get), KvOutput::Got("ab".into())),
        (2, of("y", KvCall::Get), KvOutput::Got("".into())),
        (2, of("z", KvCall::Get), KvOutput::Got("".into())),
    ]);
    let judged = check(&Kv, &history);
    let valid: Vec<(String, Validity)> =
        judged.keys.iter().map(|key| (key.key.to_plain(), key.valid)).collect();
    let expected = [("x", Validity::Valid), ("y", Validity::Invalid), ("z", Validity::Valid)];
    assert_eq!(valid, expected.map(|(key, valid)| (key.to_owned(), valid)));
}

#[test]
fn two_hold_a_mutex() {
    let acquire =
        |owner: i64| MutexOp { key: Datum::Nil, owner: owner.into(), call: MutexCall::Acquire };
    let release = |owner: i64| MutexOp { call: MutexCall::Release, ..acquire(owner) };
    let steps = [(1, acquire(1), ()), (1, release(1), ()), (2, acquire(2), ())];
    assert!(check(&Mutex, &sequence::<Mutex>(&steps)).verdict.is_valid());
    let judged = check(&Mutex, &sequence::<Mutex>(&[steps[0].clone(), steps[2].clone()]));
    assert!(judged.keys[0].text.contains("held by 1"), "{judged}");
    assert!(judged.keys[0].text.contains("it cannot take effect"), "{judged}");
    let stolen = [(1, acquire(1), ()), (2, release(2), ())];
    assert!(!check(&Mutex, &sequence::<Mutex>(&stolen)).verdict.is_valid());
}

#[test]
fn a_queue_gives_the_oldest() {
    let of = |call| QueueOp { key: Datum::Nil, call };
    let enqueue = |value: i64| (1, of(QueueCall::Enqueue(value.into())), QueueOutput::Done);
    let dequeue = |value: Option<i64>| {
        (2, of(QueueCall::Dequeue), QueueOutput::Front(value.map(Datum::from)))
    };
    let sound = [enqueue(1), enqueue(2), dequeue(Some(1)), dequeue(Some(2)), dequeue(None)];
    assert!(check(&FifoQueue, &sequence::<FifoQueue>(&sound)).verdict.is_valid());
    let judged =
        check(&FifoQueue, &sequence::<FifoQueue>(&[enqueue(1), enqueue(2), dequeue(Some(2))]));
    assert!(judged.keys[0].text.contains("a queue of 2 with 1 at its front"), "{judged}");
}

#[test]
fn a_log_keeps_offsets_and_order() {
    let key = Datum::Nil;
    let append = |value: i64, at| {
        let op = LogOp::Append { key: Datum::Nil, value: value.into() };
        (1, op, LogOutput::Offset(at))
    };
    let read = |offset, value: Option<i64>| {
        let op = LogOp::Read { key: Datum::Nil, offset };
        (2, op, LogOutput::Value(value.map(Datum::from)))
    };
    let tail = (2, LogOp::Tail { key }, LogOutput::Offset(Some(2)));
    let sound = [append(7, Some(0)), append(8, None), tail, read(0, Some(7)), read(2, None)];
    assert!(check(&AppendLog, &sequence::<AppendLog>(&sound)).verdict.is_valid());
    let lost = [append(7, Some(0)), append(8, Some(0))];
    assert!(!check(&AppendLog, &sequence::<AppendLog>(&lost)).verdict.is_valid());
    let swapped = [append(7, None), append(8, None), read(0, Some(8))];
    assert!(!check(&AppendLog, &sequence::<AppendLog>(&swapped)).verdict.is_valid());
}

#[test]
fn a_long_log_is_no_deep_recursion() {
    let steps: Vec<_> = (0..100_000)
        .map(|value| {
            let op = LogOp::Append { key: Datum::Nil, value: value.into() };
            (1, op, LogOutput::Offset(Some(value as u64)))
        })
        .collect();
    assert!(check(&AppendLog, &sequence::<AppendLog>(&steps)).verdict.is_valid());
}

#[test]
fn an_operation_that_returns_before_its_call_is_named() {
    let mut operations = sequence::<Register>(&[(3, write(5), RegisterOutput::Done)]);
    let mut operations: Vec<_> = std::mem::take(&mut operations).operations().to_vec();
    operations[0].invoked.seq = 9;
    let error = linear::check(&Register::default(), &operations, &Options::default())
        .expect_err("it returned before");
    assert!(matches!(error, Error::ReturnsBeforeCall { operation: OpId(0), process: 3, .. }));
    assert_eq!(
        error.to_string(),
        "operation 0 (write: 5, by process 3) returned at 1 but was invoked at 9, which is not \
         before: put the history in the order of its events"
    );
}

#[test]
fn at_one_moment_invocations_come_first() {
    let mut history = sequence::<Register>(&[
        (1, write(5), RegisterOutput::Done),
        (2, write(6), RegisterOutput::Done),
        (1, read(), value(5)),
    ]);
    let mut operations: Vec<_> = std::mem::take(&mut history).operations().to_vec();
    let model = Register::default();
    assert!(!linear::check(&model, &operations, &Options::default()).unwrap().verdict.is_valid());
    operations[1].invoked.seq = 1; // as the first returns
    assert!(linear::check(&model, &operations, &Options::default()).unwrap().verdict.is_valid());
}

/// Writes all at once, and reads that no order explains: this makes checking exponential.
fn hard(writers: u32) -> History<RegisterOp, RegisterOutput> {
    let mut history = History::new();
    let writes: Vec<OpId> =
        (0..writers).map(|process| history.invoke(process, 0, write(i64::from(process)))).collect();
    let reads: Vec<OpId> =
        (0..writers).map(|process| history.invoke(writers + process, 1, read())).collect();
    for id in writes {
        history.returned(id, 2, RegisterOutput::Done);
    }
    for id in &reads {
        history.returned(*id, 3, value(i64::from(id.0 - writers)));
    }
    let last = history.invoke(0, 4, read());
    history.returned(last, 5, value(-1));
    history
}

#[test]
fn limits_end_in_unknown_and_say_how_far_it_came() {
    let mut history = hard(24);
    let apart = RegisterOp { key: "apart".into(), call: RegisterCall::Write(1.into()) };
    let id = history.invoke(99, 9, apart);
    history.returned(id, 10, RegisterOutput::Done);
    let model = Register::default();
    let check =
        |options: &Options<'_>| linear::check(&model, history.operations(), options).unwrap();
    let judged = check(&Options { steps: 100_000, ..Options::default() });
    assert_eq!(judged.verdict.valid, Validity::Unknown);
    assert_eq!(judged.keys[0].why, Some(Why::Steps));
    assert_eq!(judged.keys[1].valid, Validity::Valid, "the easy one is judged all the same");
    let text =
        "48 of the 49 operations that returned could be put in order; the step limit was reached";
    assert_eq!(judged.keys[0].text, text);
    assert!(judged.to_string().contains(text));
    assert!(judged.verdict.count("steps") <= 100_000 + 1);
    let judged = check(&Options { memory: 1 << 20, ..Options::default() });
    assert_eq!(judged.keys[0].why, Some(Why::Memory));
    let asked = std::cell::Cell::new(0);
    let stop = || {
        asked.set(asked.get() + 1);
        asked.get() > 20
    };
    let judged = check(&Options { stop: Some(&stop), ..Options::default() });
    assert_eq!(judged.keys[0].why, Some(Why::Stopped));
    assert!(
        linear::check(&model, hard(8).operations(), &Options::default()).unwrap().keys[0].valid
            == Validity::Invalid
    );
}
