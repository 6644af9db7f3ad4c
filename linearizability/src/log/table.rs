//! Look-ups by offset and by value: arrays where numbers are dense, else sorted lists and hashing.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::{Action, History};

/// The span of some numbers, and how many there are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Range {
    span: Option<(i64, i64)>,
    count: u64,
}

/// An array may have this many slots for each number in it.
const SPARSE: u64 = 8;

impl Range {
    pub(super) fn add(&mut self, number: i64) {
        let (low, high) = self.span.unwrap_or((number, number));
        self.span = Some((low.min(number), high.max(number)));
        self.count += 1;
    }

    /// First number and length of an array for them; `None` if it would be too empty.
    fn array(&self) -> Option<(i64, usize)> {
        let Some((low, high)) = self.span else { return Some((0, 0)) };
        let length = high.abs_diff(low).checked_add(1)?;
        let dense = length <= self.count.saturating_mul(SPARSE).saturating_add(64);
        if dense { usize::try_from(length).ok().map(|length| (low, length)) } else { None }
    }
}

/// The slots of a partition's offsets. Slots are in the order of offsets.
pub(super) enum Slots {
    Dense { base: i64, len: usize },
    Sparse(Vec<i64>),
}

#[derive(Clone, Default)]
pub(super) struct SlotsBuilder {
    pub(super) range: Range,
    offsets: Vec<i64>,
}

impl SlotsBuilder {
    pub(super) fn build(mut self) -> Slots {
        match self.range.array() {
            Some((base, len)) => Slots::Dense { base, len },
            None => {
                self.offsets.sort_unstable();
                self.offsets.dedup();
                Slots::Sparse(self.offsets)
            }
        }
    }
}

/// Collects the offsets of those partitions whose offsets are too far apart for an array.
pub(super) fn collect_sparse(slots: &mut [SlotsBuilder], history: &History) {
    let sparse: Vec<bool> = slots.iter().map(|slots| slots.range.array().is_none()).collect();
    if !sparse.contains(&true) {
        return;
    }
    for operation in history.operations() {
        if let Action::Send { partition, offset, .. } = operation.action
            && offset >= 0
            && sparse[partition.0 as usize]
        {
            slots[partition.0 as usize].offsets.push(offset);
        }
    }
    for record in history.all_polled() {
        if sparse[record.partition.0 as usize] {
            slots[record.partition.0 as usize].offsets.push(record.offset);
        }
    }
}

impl Slots {
    pub(super) fn len(&self) -> usize {
        match self {
            Slots::Dense { len, .. } => *len,
            Slots::Sparse(offsets) => offsets.len(),
        }
    }

    /// The slot of an offset of the history.
    pub(super) fn get(&self, offset: i64) -> Option<usize> {
        match self {
            Slots::Dense { base, len } => {
                let slot = usize::try_from(offset.checked_sub(*base)?).ok()?;
                (slot < *len).then_some(slot)
            }
            Slots::Sparse(offsets) => offsets.binary_search(&offset).ok(),
        }
    }

    /// How many slots have offsets below this one.
    pub(super) fn below(&self, offset: i64) -> usize {
        match self {
            Slots::Dense { base, len } => {
                usize::try_from(offset.saturating_sub(*base).max(0)).unwrap_or(*len).min(*len)
            }
            Slots::Sparse(offsets) => offsets.partition_point(|known| *known < offset),
        }
    }

    pub(super) fn offset(&self, slot: usize) -> i64 {
        match self {
            Slots::Dense { base, .. } => base + slot as i64,
            Slots::Sparse(offsets) => offsets[slot],
        }
    }
}

/// Maps values to sends.
pub(super) enum ValueMap {
    Dense { base: i64, sends: Vec<u32> },
    Hashed(HashMap<u64, u32, BuildHasherDefault<Mix>>),
}

/// Stands for "no send" in the dense map: there are fewer than 2^32 operations.
const NONE: u32 = u32::MAX;

impl ValueMap {
    /// For values of this range, as `i64`.
    pub(super) fn new(range: Range) -> ValueMap {
        match range.array() {
            Some((base, len)) => ValueMap::Dense { base, sends: vec![NONE; len] },
            None => ValueMap::Hashed(HashMap::with_capacity_and_hasher(
                usize::try_from(range.count).unwrap_or(0),
                BuildHasherDefault::default(),
            )),
        }
    }

    /// The send that had this value before, if one had.
    pub(super) fn insert(&mut self, value: u64, send: u32) -> Option<u32> {
        match self {
            ValueMap::Dense { base, sends } => {
                let place = &mut sends[(value as i64 - *base) as usize];
                let before = std::mem::replace(place, send);
                (before != NONE).then_some(before)
            }
            ValueMap::Hashed(map) => map.insert(value, send),
        }
    }

    pub(super) fn get(&self, value: u64) -> Option<u32> {
        match self {
            ValueMap::Dense { base, sends } => {
                let place = usize::try_from((value as i64).checked_sub(*base)?).ok()?;
                sends.get(place).copied().filter(|send| *send != NONE)
            }
            ValueMap::Hashed(map) => map.get(&value).copied(),
        }
    }
}

/// A multiplicative hash of one number: fast; its keys are not adversarial.
#[derive(Clone, Copy, Default)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        let mixed = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dense_and_sparse_slots_agree() {
        let offsets = [3, 4, 7, 10];
        let dense = Slots::Dense { base: 3, len: 8 };
        let sparse = Slots::Sparse(offsets.to_vec());
        for (slot, offset) in offsets.into_iter().enumerate() {
            assert_eq!(sparse.get(offset), Some(slot));
            assert_eq!(dense.get(offset), Some((offset - 3) as usize));
            assert_eq!(sparse.offset(slot), offset);
            assert_eq!(dense.offset(dense.get(offset).unwrap()), offset);
        }
        assert_eq!((sparse.get(5), dense.get(2), dense.get(11)), (None, None, None));
        assert_eq!((sparse.below(i64::MIN), dense.below(i64::MIN)), (0, 0));
        assert_eq!((sparse.below(5), dense.below(5)), (2, 2));
        assert_eq!((sparse.below(i64::MAX), dense.below(i64::MAX)), (4, 8));
    }

    #[test]
    fn far_numbers_are_not_put_in_an_array() {
        let mut range = Range::default();
        range.add(0);
        range.add(i64::MAX);
        assert!(range.array().is_none());
        let mut map = ValueMap::new(range);
        assert_eq!(map.insert(5, 1), None);
        assert_eq!(map.insert(5, 2), Some(1));
        assert_eq!((map.get(5), map.get(6)), (Some(2), None));
        let mut range = Range::default();
        range.add(40);
        let mut map = ValueMap::new(range);
        assert!(matches!(map, ValueMap::Dense { .. }));
        assert_eq!(map.insert(40, 7), None);
        assert_eq!((map.get(40), map.get(41), map.get(0)), (Some(7), None, None));
    }
}
