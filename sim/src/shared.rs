//! Lists whose copies share what they have in common, so that a copy of a run costs little.
//!
//! [`Shared`] is any value. [`Chunks`] only grows, and its items need not be clonable. [`Steady`]
//! may also be cut at its end and changed in place, which copies a chunk that is shared.

use std::ops::{Deref, DerefMut, Index};
use std::sync::Arc;

/// How many items are shared as one.
const CHUNK: usize = 256;

/// A list that only grows. A clone shares all items with its original; what either of them appends
/// later is its own. No item is ever copied for that.
#[derive(Clone, Debug)]
pub struct Chunks<T> {
    /// None is empty.
    chunks: Vec<Arc<Vec<T>>>,
    len: usize,
}

impl<T> Default for Chunks<T> {
    fn default() -> Chunks<T> {
        Chunks { chunks: Vec::new(), len: 0 }
    }
}

impl<T> Chunks<T> {
    /// How many items there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends an item.
    pub fn push(&mut self, item: T) {
        self.len += 1;
        // A chunk that someone else shares, too, is left as it is.
        match self.chunks.last_mut().and_then(Arc::get_mut) {
            Some(last) if last.len() < CHUNK => last.push(item),
            _ => self.chunks.push(Arc::new(vec![item])),
        }
    }

    /// All items, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flat_map(|chunk| chunk.iter())
    }

    /// The items from this index on.
    pub fn since(&self, index: usize) -> impl Iterator<Item = &T> {
        // Usually these are few, so look from the end.
        let (mut first, mut start) = (self.chunks.len(), self.len);
        while first > 0 && start > index {
            first -= 1;
            start -= self.chunks[first].len();
        }
        self.chunks[first..].iter().flat_map(|chunk| chunk.iter()).skip(index.saturating_sub(start))
    }
}

impl<T: Clone> Chunks<T> {
    /// The items in one piece. Copies those that are shared, and moves the others.
    pub fn into_vec(self) -> Vec<T> {
        let mut all = Vec::with_capacity(self.len);
        for chunk in self.chunks {
            match Arc::try_unwrap(chunk) {
                Ok(own) => all.extend(own),
                Err(shared) => all.extend(shared.iter().cloned()),
            }
        }
        all
    }
}

impl<T> Extend<T> for Chunks<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push(item));
    }
}

/// A value that its clones share until one of them changes it: the first change after a clone
/// copies it.
#[derive(Clone, Debug, Default)]
pub struct Shared<T>(Arc<T>);

impl<T> Shared<T> {
    /// A value that nobody shares yet.
    pub fn new(value: T) -> Shared<T> {
        Shared(Arc::new(value))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T: Clone> DerefMut for Shared<T> {
    fn deref_mut(&mut self) -> &mut T {
        Arc::make_mut(&mut self.0)
    }
}

/// How many items of a [`Steady`] are shared, and copied, as one.
const FEW: usize = 32;

/// A list that changes mostly at its end. A clone shares all but the newest items with its
/// original. A change within the shared part copies the chunk that it is in.
#[derive(Clone, Debug)]
pub struct Steady<T> {
    /// Full ones, of [`FEW`] items each.
    full: Vec<Arc<Vec<T>>>,
    /// Fewer than [`FEW`].
    rest: Vec<T>,
}

impl<T> Default for Steady<T> {
    fn default() -> Steady<T> {
        Steady::new()
    }
}

impl<T> Steady<T> {
    /// An empty list.
    pub const fn new() -> Steady<T> {
        Steady { full: Vec::new(), rest: Vec::new() }
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.full.len() * FEW + self.rest.len()
    }

    /// Are there none?
    pub fn is_empty(&self) -> bool {
        self.full.is_empty() && self.rest.is_empty()
    }

    /// Appends an item.
    pub fn push(&mut self, item: T) {
        self.rest.push(item);
        if self.rest.len() == FEW {
            self.full.push(Arc::new(std::mem::take(&mut self.rest)));
        }
    }

    /// The item at an index, if there is one.
    pub fn get(&self, index: usize) -> Option<&T> {
        match self.full.get(index / FEW) {
            Some(chunk) => chunk.get(index % FEW),
            None => self.rest.get(index - self.full.len() * FEW),
        }
    }

    /// The first item.
    pub fn first(&self) -> Option<&T> {
        self.get(0)
    }

    /// The last item.
    pub fn last(&self) -> Option<&T> {
        self.rest.last().or_else(|| self.full.last()?.last())
    }

    /// All items, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + Clone {
        self.since(0)
    }

    /// The items from this index on; none if it is at the end or beyond.
    pub fn since(&self, index: usize) -> impl DoubleEndedIterator<Item = &T> + Clone {
        let chunk = (index / FEW).min(self.full.len());
        let head: &[T] = match self.full.get(chunk) {
            Some(first) => &first[index % FEW..],
            None => &[],
        };
        let next = (chunk + 1).min(self.full.len());
        let skipped = index.saturating_sub(self.full.len() * FEW).min(self.rest.len());
        let whole = self.full[next..].iter().flat_map(|chunk| chunk.iter());
        head.iter().chain(whole).chain(&self.rest[skipped..])
    }

    /// How many items come before the first that is not `before`, in a list in which all that are
    /// come first.
    pub fn partition_point(&self, mut before: impl FnMut(&T) -> bool) -> usize {
        // The chunk with the first that is not: most look-ups are about the newest items.
        if self.rest.first().is_some_and(&mut before) || self.full.is_empty() {
            return self.full.len() * FEW + self.rest.partition_point(before);
        }
        let chunk = self.full.partition_point(|chunk| before(&chunk[FEW - 1]));
        let within = self.full.get(chunk).map_or(0, |chunk| chunk.partition_point(before));
        chunk * FEW + within
    }
}

impl<T: Clone> Steady<T> {
    /// The item at an index, to change it.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        let whole = self.full.len() * FEW;
        match self.full.get_mut(index / FEW) {
            Some(chunk) => Arc::make_mut(chunk).get_mut(index % FEW),
            None => self.rest.get_mut(index - whole),
        }
    }

    /// The last item, to change it.
    pub fn last_mut(&mut self) -> Option<&mut T> {
        self.get_mut(self.len().checked_sub(1)?)
    }

    /// Keeps the first `len` items. A no-op if there are not more.
    pub fn truncate(&mut self, len: usize) {
        let whole = self.full.len() * FEW;
        if len >= whole {
            self.rest.truncate(len - whole);
            return;
        }
        let last = self.full.swap_remove(len / FEW);
        self.full.truncate(len / FEW);
        self.rest.clear();
        self.rest.extend_from_slice(&last[..len % FEW]);
    }

    /// Removes all items from an index on, and returns them.
    pub fn split_off(&mut self, at: usize) -> Vec<T> {
        let removed = self.since(at).cloned().collect();
        self.truncate(at);
        removed
    }

    /// Inserts an item before an index. Copies what is behind it.
    pub fn insert(&mut self, at: usize, item: T) {
        let behind = self.split_off(at);
        self.push(item);
        self.extend(behind);
    }
}

impl<T> Index<usize> for Steady<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        self.get(index).expect("an index within the list")
    }
}

impl<T> Extend<T> for Steady<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, items: I) {
        items.into_iter().for_each(|item| self.push(item));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn clones_share_the_past_and_not_the_future() {
        let mut one = Chunks::default();
        one.extend(0..1000);
        let mut two = one.clone();
        let past = Arc::as_ptr(&one.chunks[3]);
        one.push(1000);
        two.extend([7, 8]);
        assert_eq!(one.iter().copied().collect::<Vec<_>>(), (0..=1000).collect::<Vec<_>>());
        assert_eq!((one.len(), two.len()), (1001, 1002));
        assert_eq!(two.since(999).copied().collect::<Vec<_>>(), [999, 7, 8]);
        assert_eq!(past, Arc::as_ptr(&two.chunks[3]), "shared, not copied");
        for index in 0..1010 {
            assert_eq!(one.since(index).count(), 1001_usize.saturating_sub(index), "{index}");
        }
        let expected: Vec<i32> = (0..1000).chain([7, 8]).collect();
        assert_eq!(two.into_vec(), expected, "with a shared part");
        assert_eq!(one.into_vec().len(), 1001, "all its own now");
    }

    #[test]
    fn a_shared_value_is_copied_by_the_first_change() {
        let mut one = Shared::new(vec![1]);
        let before = Arc::as_ptr(&one.0);
        one.push(2);
        assert_eq!(Arc::as_ptr(&one.0), before, "nobody shares it yet");
        let two = one.clone();
        assert_eq!(Arc::as_ptr(&one.0), Arc::as_ptr(&two.0));
        one.push(3);
        assert_eq!((&one[..], &two[..]), (&[1, 2, 3][..], &[1, 2][..]));
    }

    proptest! {
        /// Compares with a vector, with a copy kept at each step that must stay as it was.
        #[test]
        fn a_steady_list_is_a_vector(steps in prop::collection::vec((0_u8..8, 0_usize..150), 0..60)) {
            let (mut list, mut vector) = (Steady::new(), Vec::new());
            let mut kept = Vec::new();
            let mut next = 0_u32;
            for (what, n) in steps {
                kept.push((list.clone(), vector.clone()));
                match what {
                    0..=3 => for _ in 0..n {
                        list.push(next);
                        vector.push(next);
                        next += 1;
                    },
                    4 => {
                        list.truncate(n);
                        vector.truncate(n);
                    }
                    5 if n < vector.len() => {
                        *list.get_mut(n).expect("within") += 1_000;
                        vector[n] += 1_000;
                    }
                    6 if n <= vector.len() => {
                        list.insert(n, next);
                        vector.insert(n, next);
                    }
                    _ => {
                        let below = |item: &u32| *item < n as u32;
                        if vector.is_sorted() {
                            let expected = vector.partition_point(below);
                            prop_assert_eq!(list.partition_point(below), expected);
                        }
                    }
                }
                prop_assert_eq!(list.iter().copied().collect::<Vec<_>>(), vector.clone());
                prop_assert_eq!((list.first(), list.last()), (vector.first(), vector.last()));
                prop_assert_eq!((list.len(), list.is_empty()), (vector.len(), vector.is_empty()));
                prop_assert_eq!(list.get(n), vector.get(n));
                let since: Vec<u32> = list.since(n).rev().copied().collect();
                let expected: Vec<u32> = vector.iter().skip(n).rev().copied().collect();
                prop_assert_eq!(since, expected);
            }
            for (list, vector) in kept {
                prop_assert_eq!(list.iter().copied().collect::<Vec<_>>(), vector);
            }
        }
    }
}
