//! A scan in pieces finds what a walk over all records finds, and never processes much at a time.

use super::*;
use proptest::prelude::*;
use std::vec;

fn first_by_walk(batch: &Batch, wanted: i64) -> Option<(Offset, i64)> {
    let records = batch.records().expect("sound");
    let first = records.iter().find(|record| record.timestamp >= wanted);
    first.map(|record| (record.offset, record.timestamp))
}

/// The record found, and how often the scan rested. At the first few rests the scan is cloned, and
/// the clone goes on.
fn by_scan(batch: &Batch, wanted: i64, budget: usize) -> (Option<(Offset, i64)>, usize) {
    let mut scan = Scan::new(batch.clone(), wanted).expect("sound");
    for rests in 0.. {
        match scan.run(&mut budget.clone()).expect("sound") {
            Scanned::Found(offset, timestamp) => return (Some((offset, timestamp)), rests),
            Scanned::None => return (None, rests),
            Scanned::Rests => {}
        }
        if rests < 4 {
            let again = scan.clone();
            assert_eq!(again, scan);
            scan = again;
        }
    }
    unreachable!("it ends")
}

fn of(codec: Compression, records: &[(i64, Vec<u8>)]) -> Batch {
    let mut builder = BatchBuilder::new();
    for (timestamp, value) in records {
        builder.push(*timestamp, None, Some(value), &[]);
    }
    builder.compression(codec);
    builder.build(Offset(100), LeaderEpoch(1))
}

#[test]
fn a_bomb_is_gone_through_in_pieces() {
    const BUDGET: usize = 512 << 10;
    for codec in Compression::ALL {
        let batch = of(codec, &[(1000, vec![0; 20 << 20]), (1001, b"late".to_vec())]);
        assert_eq!(by_scan(&batch, 1000, BUDGET), (Some((Offset(100), 1000)), 0), "{codec:?}");
        let (found, rests) = by_scan(&batch, 1001, BUDGET);
        assert_eq!(found, Some((Offset(101), 1001)), "{codec:?}");
        assert!(rests >= 20, "{codec:?}: 20 MiB in {rests} rests");
        assert_eq!(by_scan(&batch, 1002, BUDGET).0, None, "{codec:?}");
    }
}

#[test]
fn what_ends_too_early_or_late_is_not_sound() {
    let whole = of(Compression::None, &[(1, b"a".to_vec()), (2, b"b".to_vec())]);
    let scan = |body: Bytes| {
        Scan::new(Batch { body, ..whole }, 3).and_then(|mut scan| scan.run(&mut 1000))
    };
    assert_eq!(scan(whole.body.clone()), Ok(Scanned::None));
    let cut = whole.body.slice(..whole.body.len() - 1);
    assert!(matches!(scan(cut), Err(DecodeError::Truncated(_))));
    let more = [&whole.body[..], b"x"].concat();
    assert!(matches!(scan(Bytes::from(more)), Err(DecodeError::Trailing(1))));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn finds_what_a_walk_finds(
        codec in prop::sample::select(Compression::ALL.to_vec()),
        records in prop::collection::vec((0i64..20, 0usize..3, any::<u8>()), 1..60),
        wanted in 0i64..22,
        budget in 1usize..200_000,
    ) {
        let value = |(time, size, fill): &(i64, usize, u8)| {
            (1000 + *time, vec![*fill; [3, 700, 70_000][*size]])
        };
        let batch = of(codec, &records.iter().map(value).collect::<Vec<_>>());
        let wanted = 1000 + wanted;
        prop_assert_eq!(by_scan(&batch, wanted, budget).0, first_by_walk(&batch, wanted));
    }

    /// Bytes that no batch has: an error, and no panic.
    #[test]
    fn nonsense_never_panics(
        codec in prop::sample::select(Compression::ALL.to_vec()),
        changes in prop::collection::vec((any::<u16>(), any::<u8>()), 0..12),
        keep in any::<u16>(),
    ) {
        let batch = of(codec, &[(1000, vec![7; 900]), (1001, b"0123456789".repeat(20))]);
        let mut body = batch.body.to_vec();
        for (at, value) in changes {
            let len = body.len() - RECORDS_AT;
            body[RECORDS_AT + usize::from(at) % len] = value;
        }
        body.truncate(body.len() - usize::from(keep) % 8);
        let batch = Batch { body: Bytes::from(body), ..batch };
        if let Ok(mut scan) = Scan::new(batch, 2000) {
            while let Ok(Scanned::Rests) = scan.run(&mut 1) {}
        }
    }
}
