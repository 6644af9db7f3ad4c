//! The linearizability checker agrees with trying every order, and with itself on the same history
//! in another form.

use proptest::collection::vec;
use proptest::prelude::*;
use wavetank_linearizability::linear::models::{AppendLog, FifoQueue, Kv, Mutex, Register};
use wavetank_linearizability::linear::{self, Ending, Operation, Options};
use wavetank_linearizability::{Datum, Stamp, Validity};

use crate::linear_generate::{Draw, history, spoilt};
use crate::linear_reference::{assert_order, linearizable, linearizable_until};

const CASES: u32 = 20_000;
type Op<M> = Operation<<M as linear::Model>::Op, <M as linear::Model>::Output>;

/// The verdict, the order and the prefix agree with the reference.
fn agrees<M: Draw>(model: &M, operations: &[Op<M>]) -> Validity {
    let judged = linear::check(model, operations, &Options::default()).expect("it is well formed");
    let expected =
        if linearizable(model, operations) { Validity::Valid } else { Validity::Invalid };
    assert_eq!(judged.verdict.valid, expected, "{judged}\n{operations:#?}");
    for key in &judged.keys {
        assert_order(model, operations, &key.key, &key.order);
        let of_key: Vec<Op<M>> =
            operations.iter().filter(|op| model.key(&op.op) == key.key).cloned().collect();
        match key.valid {
            Validity::Valid => {
                assert_eq!(key.placed, key.returned);
                assert_eq!(key.text, "");
            }
            Validity::Unknown => panic!("nothing limits it"),
            Validity::Invalid => {
                let stuck = &operations[key.stuck.expect("one is stuck").0 as usize];
                let Ending::Returned { at, .. } = stuck.ending else { panic!("it returned") };
                assert!(linearizable_until(model, &of_key, at.seq - 1), "{judged}");
                assert!(!linearizable_until(model, &of_key, at.seq), "{judged}");
            }
        }
    }
    judged.verdict.valid
}

/// The same history with other processes, the operations listed in another order, and neighbouring
/// invocations and neighbouring returns reordered.
fn told_otherwise<M: Draw>(operations: &[Op<M>], seed: u64) -> Vec<Op<M>> {
    let mut events: Vec<(u64, bool, usize)> = Vec::new();
    for (index, operation) in operations.iter().enumerate() {
        events.push((operation.invoked.seq, false, index));
        if let Ending::Returned { at, .. } = &operation.ending {
            events.push((at.seq, true, index));
        }
    }
    events.sort_unstable();
    let mut other = operations.to_vec();
    for run in events.chunk_by_mut(|a, b| a.1 == b.1) {
        let turn = (seed % run.len() as u64) as usize;
        run.rotate_left(turn);
        if seed & 64 == 0 {
            run.reverse();
        }
    }
    for (seq, (_, is_return, index)) in (0..).zip(&events) {
        let stamp = Stamp { seq, time: seq };
        match &mut other[*index].ending {
            Ending::Returned { at, .. } if *is_return => *at = stamp,
            _ => other[*index].invoked = stamp,
        }
    }
    for operation in &mut other {
        operation.process = operation.process.wrapping_mul(7).wrapping_add(3);
    }
    let turn = (seed as usize) % other.len().max(1);
    other.rotate_left(turn);
    other
}

fn judge<M: Draw>(model: &M, clients: u32, dice: &[(u8, u8, u8)], spoil: &[(u8, u8)], seed: u64) {
    let sound = history(model, clients, dice);
    assert_eq!(agrees(model, sound.operations()), Validity::Valid);
    let operations = spoilt(model, &sound, spoil);
    let valid = agrees(model, &operations);
    let other = told_otherwise::<M>(&operations, seed);
    let judged = linear::check(model, &other, &Options::default()).expect("it is well formed");
    assert_eq!(judged.verdict.valid, valid, "told otherwise: {judged}");
}

macro_rules! agrees_with_reference {
    ($name:ident, $model:expr, $length:expr) => {
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(CASES))]
            #[test]
            fn $name(
                clients in 1u32..6,
                dice in vec(any::<(u8, u8, u8)>(), 0..$length),
                spoil in vec(any::<(u8, u8)>(), 0..3),
                seed in any::<u64>(),
            ) {
                judge(&$model, clients, &dice, &spoil, seed);
            }
        }
    };
}

agrees_with_reference!(registers, Register { initial: Datum::Number(0) }, 26);
agrees_with_reference!(stores, Kv, 26);
agrees_with_reference!(mutexes, Mutex, 22);
agrees_with_reference!(queues, FifoQueue, 24);
agrees_with_reference!(logs, AppendLog, 26);

/// Histories for which hindsight knows much: each value is put in once, and none is overwritten.
mod fresh {
    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(CASES))]

        #[test]
        fn queues(
            clients in 1u32..6,
            dice in vec((any::<u8>(), any::<u8>(), 0..128u8), 0..26),
            spoil in vec(any::<(u8, u8)>(), 0..3),
            seed in any::<u64>(),
        ) {
            judge(&FifoQueue, clients, &dice, &spoil, seed);
        }

        #[test]
        fn stores(
            clients in 1u32..6,
            dice in vec((any::<u8>(), any::<u8>(), 0..128u8), 0..26),
            spoil in vec(any::<(u8, u8)>(), 0..3),
            seed in any::<u64>(),
        ) {
            // No puts.
            let put = |which: u8| if which % 3 == 1 { which - 1 } else { which };
            let dice: Vec<_> = dice.iter().map(|(who, which, what)| (*who, put(*which), *what)).collect();
            judge(&Kv, clients, &dice, &spoil, seed);
        }
    }
}
