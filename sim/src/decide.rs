//! Every random choice of a running simulation, from one place.
//!
//! A choice is keyed by what it is about (a [`Place`]: seed, [`Purpose`], link, connection, frame
//! number, …), never by how many draws came before elsewhere. So removing one message or fault
//! moves no other draw. It uses integers and fixed constants only, so a seed means the same run on
//! every platform and toolchain. What does not live here: drawing plans, which happens before a run
//! starts.

use std::collections::BTreeMap;

/// What a choice is for. The numbers are part of what a seed means: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u64)]
pub enum Purpose {
    /// A frame's latency on a link.
    FrameLatency = 1,
    /// Whether, and how often, a frame is lost and sent again.
    FrameLoss = 2,
    /// How long after a partition heals the first retransmission comes.
    Retransmission = 3,
    /// Whether a connection ends in order (FIN) or not (RST).
    Close = 4,
    /// How much of the data in flight survives a reset.
    ResetPrefix = 5,
    /// The time a step takes.
    StepCost = 6,
    /// How late a timer fires.
    TimerSlack = 7,
    /// Whether a replaced or disarmed timer still fires.
    StaleTimer = 8,
    /// How much of what the dying step sent has left the machine.
    DyingStep = 9,
    /// A machine's own draw ([`wavetank_core::env::Random`]).
    Machine = 10,
    /// How long a disk operation takes.
    DiskLatency = 11,
    /// How much of what was submitted to the disk took effect before a process crash.
    CrashPrefix = 12,
    /// What a power loss leaves.
    PowerLoss = 13,
    /// When a connection to a silent peer is given up.
    Keepalive = 14,
    /// For drivers built on the world: workloads, triggers.
    Driver = 15,
    /// A boot's id.
    Boot = 16,
    /// Whether a resumed process sees its timers or its messages first.
    Waking = 17,
    /// How much an unread socket accepts.
    SocketBuffer = 18,
    /// Whether a message's bytes change in transit, and which.
    Damage = 19,
    /// Whether an answer is a lie, and which.
    Lie = 20,
}

const P0: u64 = 0xa076_1d64_78bd_642f;
const P1: u64 = 0xe703_7ed1_a0b4_28db;

/// Multiplies to 128 bits and folds.
const fn fold(a: u64, b: u64) -> u64 {
    let wide = (a as u128) * (b as u128);
    (wide as u64) ^ ((wide >> 64) as u64)
}

/// Absorbs one word into a running state; also the step of the fingerprint.
pub(crate) const fn absorb(state: u64, word: u64) -> u64 {
    fold(state.rotate_left(23) ^ word ^ P0, P1 ^ (state | 1)).wrapping_add(word)
}

/// Absorbs four words at a time, in two parallel lanes of two.
pub(crate) const fn absorb_four(state: u64, words: [u64; 4]) -> u64 {
    let left = fold(words[0] ^ P0, words[1] ^ state);
    let right = fold(words[2] ^ P1, words[3] ^ state.rotate_left(29));
    absorb(left ^ right.rotate_left(17), words[0] ^ words[2].rotate_left(32))
}

/// Steele, Lea and Flood's finalizer (SplitMix64): every input bit reaches every output bit.
const fn finalize(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What a choice is about. Build it from [`Dice::place`] and [`Place::with`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub u64);

impl Place {
    /// This place, narrowed down by one more word.
    #[must_use]
    pub const fn with(self, word: u64) -> Place {
        Place(absorb(self.0, word))
    }

    /// This place, narrowed down by any value that hashes.
    #[must_use]
    pub fn with_value(self, value: &impl std::hash::Hash) -> Place {
        self.with(crate::digest::digest_of(value))
    }
}

/// The dice of one run. All choices pass through [`Dice::decide`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dice {
    seed: u64,
    salt: u64,
    pinned: BTreeMap<Place, u64>,
}

impl Dice {
    /// The dice of this seed.
    pub fn new(seed: u64) -> Dice {
        Dice { seed, salt: 0, pinned: BTreeMap::new() }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Uses other dice from here on: a branch of a run with the same prefix. Salt 0 is the run
    /// itself.
    pub fn branch(&mut self, salt: u64) {
        self.salt = if salt == 0 { 0 } else { finalize(salt) };
    }

    /// Fixes one choice. A value out of bounds is clamped to the largest in bounds.
    pub fn pin(&mut self, place: Place, value: u64) {
        self.pinned.insert(place, value);
    }

    /// The root place of choices for a purpose.
    pub fn place(&self, purpose: Purpose) -> Place {
        Place(absorb(absorb(P0, self.seed), purpose as u64))
    }

    /// The only source of randomness: a number below `bound`, which is at least 1. `u64::MAX`
    /// stands for "any 64 bits".
    pub fn decide(&self, place: Place, bound: u64) -> u64 {
        assert!(bound > 0, "a choice needs at least one outcome");
        if !self.pinned.is_empty()
            && let Some(value) = self.pinned.get(&place)
        {
            return (*value).min(bound - 1);
        }
        let raw = finalize(place.0 ^ self.salt);
        if bound == u64::MAX {
            return raw;
        }
        ((u128::from(raw) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn range(&self, place: Place, low: u64, high: u64) -> u64 {
        assert!(low <= high, "an empty range: {low} to {high}");
        match (high - low).checked_add(1) {
            Some(bound) => low + self.decide(place, bound),
            None => self.decide(place, u64::MAX),
        }
    }

    /// True in `share` out of `of` cases: 0 means never, `of` means always.
    pub fn ratio(&self, place: Place, share: u64, of: u64) -> bool {
        share > 0 && self.decide(place, of) < share
    }

    /// An exponentially distributed number with this mean, in integer arithmetic (the logarithm is
    /// piecewise linear, within 9 % of a halving). At most 44 times the mean.
    pub fn exponential(&self, place: Place, mean: u64) -> u64 {
        if mean == 0 {
            return 0;
        }
        let raw = self.decide(place, u64::MAX) | 1;
        let zeros = raw.leading_zeros();
        // 1 - (mantissa - 1), as a fraction of 2^32: how far below the next power of two.
        let mantissa = ((raw << zeros) << 1) >> 32;
        let halvings = (u64::from(zeros) << 32) + ((1 << 32) - mantissa);
        // ln 2 as a fraction of 2^32; the product needs 128 bits.
        const LN_2: u128 = 2_977_044_472;
        ((u128::from(halvings) * LN_2 * u128::from(mean)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_fixed_for_ever() {
        // These numbers define what seeds mean. If this fails, every published seed has changed.
        let dice = Dice::new(42);
        let place = dice.place(Purpose::FrameLatency).with(7).with(3);
        assert_eq!(dice.decide(place, u64::MAX), 13_038_238_923_418_464_544);
        assert_eq!(dice.decide(place, 1000), 706);
        assert_eq!(dice.exponential(place, 1_000_000), 406_455);
    }

    #[test]
    fn another_word_is_another_choice() {
        let dice = Dice::new(1);
        let base = dice.place(Purpose::StepCost);
        let mut seen = std::collections::BTreeSet::new();
        for a in 0..100 {
            for b in 0..100 {
                seen.insert(dice.decide(base.with(a).with(b), u64::MAX));
            }
        }
        assert_eq!(seen.len(), 10_000);
        assert_ne!(base.with(1).with(2), base.with(2).with(1));
        assert_ne!(Dice::new(2).place(Purpose::StepCost), base);
    }

    #[test]
    fn uniform_and_exponential_have_their_means() {
        let dice = Dice::new(9);
        let base = dice.place(Purpose::Driver);
        let (mut uniform, mut exponential, mut hits) = (0u64, 0u64, 0u64);
        for i in 0..100_000 {
            uniform += dice.range(base.with(i), 100, 300);
            exponential += dice.exponential(base.with(i), 1_000);
            hits += u64::from(dice.ratio(base.with(i), 1, 10));
        }
        assert!((199..=201).contains(&(uniform / 100_000)), "{uniform}");
        assert!((950..=1_060).contains(&(exponential / 100_000)), "{exponential}");
        assert!((9_700..=10_300).contains(&hits), "{hits}");
    }

    #[test]
    fn bounds_hold_and_pins_win() {
        let mut dice = Dice::new(3);
        let place = dice.place(Purpose::Driver);
        for i in 0..1000 {
            assert!(dice.decide(place.with(i), 3) < 3);
            assert_eq!(dice.decide(place.with(i), 1), 0);
        }
        assert!(!dice.ratio(place, 0, 10));
        assert!(dice.ratio(place, 10, 10));
        assert_eq!(dice.range(place, 0, u64::MAX), dice.decide(place, u64::MAX));
        dice.pin(place, 2);
        assert_eq!(dice.decide(place, 3), 2);
        assert_eq!(dice.decide(place, 2), 1, "a pin out of bounds is the largest in bounds");
        let before = dice.decide(place.with(1), u64::MAX);
        dice.branch(5);
        assert_ne!(dice.decide(place.with(1), u64::MAX), before);
        dice.branch(0);
        assert_eq!(dice.decide(place.with(1), u64::MAX), before);
    }
}
