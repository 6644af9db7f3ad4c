//! The transaction checker agrees with the definitions, and with itself on the same history in
//! another form.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use wavetank_linearizability::Validity;
use wavetank_linearizability::txn::{self, Dependency, Kind, Level, Options};

use crate::txn_generate::{End, Step, Store, Txn, build, draw, spoil};
use crate::txn_reference::kinds;

const CASES: u32 = 15_000;

fn found(txns: &[Txn], options: &Options) -> (BTreeSet<Kind>, Validity) {
    let (history, _) = build(txns);
    let judged = txn::check(&history, options).expect("elements are unique");
    let all = Level::ALL.into_iter().flat_map(Level::allowed).chain(forbidden_everywhere());
    let kinds = all.filter(|kind| judged.verdict.count(kind.name()) > 0).collect();
    for cycle in &judged.cycles {
        assert_eq!(cycle.links[0].from, cycle.links[cycle.links.len() - 1].to);
        for pair in cycle.links.windows(2) {
            assert_eq!(pair[0].to, pair[1].from);
        }
        for link in &cycle.links {
            let (a, b) = (history.transaction(link.from), history.transaction(link.to));
            let ordered = a.completed.is_some_and(|at| at.seq < b.invoked.seq);
            match link.dependency {
                Dependency::RealTime => assert!(ordered),
                Dependency::Process => assert!(ordered && a.process == b.process),
                _ => {}
            }
        }
    }
    (kinds, judged.verdict.valid)
}

fn forbidden_everywhere() -> [Kind; 6] {
    [
        Kind::IncompatibleOrder,
        Kind::DuplicateElements,
        Kind::GarbageRead,
        Kind::InconsistentOffsets,
        Kind::PrecommittedRead,
        Kind::Cycle(txn::Shape::G0, txn::Order::Plain),
    ]
}

fn is_cycle(kind: &&Kind) -> bool {
    matches!(kind, Kind::Cycle(..))
}

/// The kinds that were found are there; each level's verdict agrees with the definitions.
fn agrees(txns: &[Txn], polls_see_end: bool) {
    let expected = kinds(txns, polls_see_end);
    for level in Level::ALL {
        let options = Options { polls_see_end, ..Options::of(level) };
        let (found, valid) = found(txns, &options);
        let invented: Vec<&Kind> = found.difference(&expected).collect();
        assert!(invented.is_empty(), "{level:?}: {invented:?} are not there: {txns:#?}");
        let missed = expected.difference(&found).find(|kind| !is_cycle(kind));
        assert!(missed.is_none(), "{level:?}: {missed:?} was missed: {txns:#?}");
        let sound = expected.iter().all(|kind| level.allows(*kind));
        let should = if sound { Validity::Valid } else { Validity::Invalid };
        assert_eq!(valid, should, "{level:?}: {expected:?}, found {found:?}: {txns:#?}");
    }
}

/// The same history with other processes and keys, and neighbouring begins and neighbouring ends
/// reordered.
fn told_otherwise(txns: &[Txn], seed: u64) -> Vec<Txn> {
    let mut moments: Vec<(u64, bool, usize)> = Vec::new();
    for (index, txn) in txns.iter().enumerate() {
        moments.extend([(txn.begun, false, index), (txn.ended, true, index)]);
    }
    moments.sort_unstable();
    let mut other = txns.to_vec();
    for run in moments.chunk_by_mut(|a, b| a.1 == b.1) {
        let turn = (seed % run.len() as u64) as usize;
        run.rotate_left(turn);
    }
    for (time, (_, is_end, index)) in (0..).zip(&moments) {
        let txn = &mut other[*index];
        *if *is_end { &mut txn.ended } else { &mut txn.begun } = time;
    }
    for txn in &mut other {
        txn.process = txn.process * 5 + 2;
        for step in &mut txn.steps {
            let (Step::Append { key, .. }
            | Step::Read { key, .. }
            | Step::Send { key, .. }
            | Step::Poll { key, .. }) = step;
            *key = *key / 3 * 3 + (*key + seed as u32 % 3) % 3;
        }
    }
    other.sort_by_key(|txn| txn.begun);
    other
}

/// For lists only: the verdict and all anomalies but cycles stay the same.
fn same_when_told_otherwise(txns: &[Txn], seed: u64) {
    let options = Options::default();
    let (before, valid) = found(txns, &options);
    let (after, again) = found(&told_otherwise(txns, seed), &options);
    assert_eq!(valid, again);
    let alone = |kinds: &BTreeSet<Kind>| -> Vec<Kind> {
        kinds.iter().filter(|kind| !is_cycle(kind)).copied().collect()
    };
    assert_eq!(alone(&before), alone(&after));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn serial_stores_are_strictly_serializable(
        logs in any::<bool>(),
        processes in 1u32..4,
        dice in vec(any::<(u8, u8, u8)>(), 0..40),
    ) {
        let txns = draw(Store::Serial, logs, processes, &dice);
        let (_, valid) = found(&txns, &Options::default());
        // A transaction can poll what it has sent itself.
        let own = kinds(&txns, false).contains(&Kind::PrecommittedRead);
        prop_assert!(valid == Validity::Valid || own, "{txns:#?}");
    }

    #[test]
    fn loose_lists(
        processes in 1u32..5,
        dice in vec(any::<(u8, u8, u8)>(), 0..32),
        seed in any::<u64>(),
    ) {
        let txns = draw(Store::Loose, false, processes, &dice);
        agrees(&txns, false);
        same_when_told_otherwise(&txns, seed);
    }

    #[test]
    fn spoilt_lists(
        store in prop_oneof![Just(Store::Loose), Just(Store::Serial)],
        processes in 1u32..5,
        dice in vec(any::<(u8, u8, u8)>(), 0..32),
        how in vec(any::<(u8, u8)>(), 1..4),
    ) {
        let mut txns = draw(store, false, processes, &dice);
        spoil(&mut txns, &how);
        agrees(&txns, false);
    }

    #[test]
    fn loose_logs(
        processes in 1u32..5,
        dice in vec(any::<(u8, u8, u8)>(), 0..32),
        seed in any::<u64>(),
        polls_see_end in any::<bool>(),
    ) {
        let txns = draw(Store::Loose, true, processes, &dice);
        agrees(&txns, polls_see_end);
        same_when_told_otherwise(&txns, seed);
    }

    #[test]
    fn spoilt_logs(
        store in prop_oneof![Just(Store::Loose), Just(Store::Serial)],
        processes in 1u32..5,
        dice in vec(any::<(u8, u8, u8)>(), 0..32),
        how in vec(any::<(u8, u8)>(), 1..4),
        polls_see_end in any::<bool>(),
    ) {
        let mut txns = draw(store, true, processes, &dice);
        spoil(&mut txns, &how);
        agrees(&txns, polls_see_end);
    }
}

/// The dice must show every kind, or the properties above mean nothing.
#[test]
fn the_dice_show_every_kind() {
    let mut seen: BTreeSet<Kind> = BTreeSet::new();
    let mut state = 1u64;
    let mut die = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    };
    for round in 0..6_000 {
        let dice: Vec<(u8, u8, u8)> = (0..32).map(|_| (die(), die(), die())).collect();
        let mut txns = draw(Store::Loose, round % 2 == 0, 4, &dice);
        if round % 3 == 0 {
            spoil(&mut txns, &[(die(), die())]);
        }
        seen.extend(found(&txns, &Options { polls_see_end: true, ..Options::default() }).0);
        assert!(txns.iter().filter(|txn| txn.end == End::Commit).count() < 32);
    }
    let every: BTreeSet<Kind> =
        Level::ALL.into_iter().flat_map(Level::allowed).chain(forbidden_everywhere()).collect();
    let missing: Vec<&Kind> = every.difference(&seen).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
