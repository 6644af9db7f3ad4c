//! Lowe's cache: configurations from which the search found no way forward.
//!
//! A configuration is the set of operations that have been placed, and the state that they led to.
//! Operations that returned are encoded compactly: the first return that is yet to come, and which
//! of the operations open at that time are yet to be placed. Operations that never returned need
//! not be placed. So a configuration that has placed more of them than another, and is equal
//! otherwise, can do no more: it is left out as well.

use crate::hash::mix;

/// Marks an empty head, and the end of a chain.
const NONE: u32 = u32::MAX;

/// See the module.
pub(crate) struct Cache {
    /// From a hash to the newest entry with that hash; the length is a power of two.
    heads: Vec<u32>,
    next: Vec<u32>,
    /// The entries' words, `key_words` and then `used_words` each.
    words: Vec<u64>,
    key_words: usize,
    used_words: usize,
}

fn hash(key: &[u64]) -> u64 {
    key.iter().fold(0, |hash: u64, word| mix(hash.rotate_left(23) ^ *word))
}

impl Cache {
    /// For keys and sets of used operations of these lengths, in words.
    pub(crate) fn new(key_words: usize, used_words: usize) -> Cache {
        Cache { heads: vec![NONE; 256], next: vec![], words: vec![], key_words, used_words }
    }

    fn entry(&self, index: u32) -> (&[u64], &[u64]) {
        let stride = self.key_words + self.used_words;
        self.words[index as usize * stride..][..stride].split_at(self.key_words)
    }

    /// Inserts a configuration. False if it, or one that can do all that it can, was already there.
    pub(crate) fn insert(&mut self, key: &[u64], used: &[u64]) -> bool {
        let mask = self.heads.len() as u64 - 1;
        let head = (hash(key) & mask) as usize;
        let mut at = self.heads[head];
        while at != NONE {
            let (its_key, its_used) = self.entry(at);
            if its_key == key && its_used.iter().zip(used).all(|(its, this)| its & !this == 0) {
                return false;
            }
            at = self.next[at as usize];
        }
        let index = u32::try_from(self.next.len()).expect("the limit of memory is reached before");
        assert!(index < NONE, "the limit of memory is reached before");
        self.words.extend_from_slice(key);
        self.words.extend_from_slice(used);
        self.next.push(self.heads[head]);
        self.heads[head] = index;
        if self.next.len() > self.heads.len() {
            self.grow();
        }
        true
    }

    fn grow(&mut self) {
        let length = self.heads.len() * 2;
        self.heads.clear();
        self.heads.resize(length, NONE);
        for index in 0..self.next.len() {
            let head = (hash(self.entry(index as u32).0) & (length as u64 - 1)) as usize;
            self.next[index] = self.heads[head];
            self.heads[head] = index as u32;
        }
    }

    /// Memory in use.
    pub(crate) fn bytes(&self) -> usize {
        (self.heads.capacity() + self.next.capacity()) * 4 + self.words.capacity() * 8
    }

    /// The most memory that the next insertion may need, while the existing entries are copied.
    pub(crate) fn bytes_to_grow(&self) -> usize {
        let full = self.words.len() + self.key_words + self.used_words > self.words.capacity();
        if full { self.words.capacity() * 16 } else { 0 }
    }
}
