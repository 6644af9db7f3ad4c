//! The fingerprint of a run: a running digest of every event and effect.
//!
//! Words are absorbed in a defined order and width (`usize` as 64 bits, bytes little-endian), so
//! debug and release builds and all little-endian platforms agree. It is not cryptographic.

use std::hash::{Hash, Hasher};

use crate::decide::{absorb, absorb_four};

/// A running digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Digest {
        Digest(0x5157_4156_4554_414e)
    }
}

impl Digest {
    /// Absorbs one word.
    pub fn word(&mut self, word: u64) {
        self.0 = absorb(self.0, word);
    }

    /// The value so far.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// The digest of one value.
pub fn digest_of(value: &(impl Hash + ?Sized)) -> u64 {
    let mut digest = Digest::default();
    value.hash(&mut digest);
    digest.0
}

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Long inputs go in two lanes of 16 bytes, so that multiplications do not wait for each
        // other.
        let mut blocks = bytes.chunks_exact(32);
        for block in &mut blocks {
            let word = |at: usize| {
                u64::from_le_bytes(block[at..at + 8].try_into().expect("a block has four words"))
            };
            self.0 = absorb_four(self.0, [word(0), word(8), word(16), word(24)]);
        }
        let mut chunks = blocks.remainder().chunks_exact(8);
        for chunk in &mut chunks {
            self.word(u64::from_le_bytes(chunk.try_into().expect("chunks of eight")));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            // The length distinguishes a short tail from one padded with zeros.
            self.word(u64::from_le_bytes(last) ^ ((rest.len() as u64) << 56));
        }
    }

    fn write_u8(&mut self, i: u8) {
        self.word(u64::from(i));
    }
    fn write_u16(&mut self, i: u16) {
        self.word(u64::from(i));
    }
    fn write_u32(&mut self, i: u32) {
        self.word(u64::from(i));
    }
    fn write_u64(&mut self, i: u64) {
        self.word(i);
    }
    fn write_u128(&mut self, i: u128) {
        self.word(i as u64);
        self.word((i >> 64) as u64);
    }
    fn write_usize(&mut self, i: usize) {
        self.word(i as u64);
    }
    fn write_i8(&mut self, i: i8) {
        self.word(i as u64);
    }
    fn write_i16(&mut self, i: i16) {
        self.word(i as u64);
    }
    fn write_i32(&mut self, i: i32) {
        self.word(i as u64);
    }
    fn write_i64(&mut self, i: i64) {
        self.word(i as u64);
    }
    fn write_i128(&mut self, i: i128) {
        self.write_u128(i as u128);
    }
    fn write_isize(&mut self, i: isize) {
        self.word(i as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_width_and_length_matter() {
        assert_ne!(digest_of(&(1u64, 2u64)), digest_of(&(2u64, 1u64)));
        assert_ne!(digest_of(&[0u8; 3][..]), digest_of(&[0u8; 4][..]));
        assert_ne!(digest_of("ab"), digest_of("ba"));
        let long: Vec<u8> = (0..200).collect();
        let mut seen = std::collections::BTreeSet::from([digest_of(&long[..])]);
        for i in 0..200 {
            let mut changed = long.clone();
            changed[i] ^= 1;
            seen.insert(digest_of(&changed[..]));
            seen.insert(digest_of(&long[..i]));
        }
        assert_eq!(seen.len(), 401, "every byte counts, and so does the length");
        assert_eq!(digest_of(&1usize), digest_of(&1u64), "usize is 64 bits everywhere");
        assert_eq!(digest_of(&-1i32), digest_of(&-1i64), "sign-extended");
    }
}
