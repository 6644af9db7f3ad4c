//! Small models of the broker's protocols: the right one of each, which must hold, and the wrong ones
//! that history knows, which must fail. Explored to the end, within bounds, by stateright.
//!
//! - [`isr`] (M1): replication, leader epochs, truncation, ISR, high watermark; with power losses (M1P).
//! - [`alteration`] (M2): a leader's requests for another ISR: lost, refused, sent again, and late.
//! - [`votes`] (M3): the metadata quorum: votes, pull replication, what is written and what is synced;
//!   in the bounds of Raft's figure 8 (M3F).
//! - [`recovery`] (M7): one log on one disk: append, sync, crash, recover.
//! - [`real::replica`] (R1): the core's own replicas of a partition, explored as they ship.
//! - [`real::quorum`] (R3): the core's own quorum, explored as it ships; with two candidates and a power
//!   loss so many steps deep (R3C).
//!
//! A variant carries the name of the zoo's flaw ([`wavetank_core::flaw::Flaw`]) where there is one.
//! [`ALL`] lists the models; [`Entry::check`] explores one of them, breadth first on one thread, so
//! that a counterexample is a shortest one and is always the same.
//!
//! What does not live here: the implementation. [`real`] explores it; the other models use nothing of
//! `core` but the flaws' names, and that they are true to the code is a claim that each file makes
//! rule by rule, at its top. [`conform`] holds runs of the code against M1, M3 and M7, by the same
//! [`rules`].
#![warn(missing_docs)]

pub mod alteration;
mod check;
pub mod conform;
mod happening;
pub mod isr;
pub mod real;
pub mod recovery;
pub mod rules;
pub mod votes;

pub use check::{Bounds, Control, Report, Step, explore, run, run_to};
pub use happening::{Happening, Happens};

use std::net::SocketAddr;

/// A model with its variants.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The short name, `M1`.
    pub id: &'static str,
    /// The name that commands use.
    pub name: &'static str,
    /// What is modelled, in a line.
    pub title: &'static str,
    /// Names of the wrong variants; those of the zoo's flaws where the zoo has them.
    pub variants: &'static [&'static str],
    /// Different states of the right protocol, by [`Bounds`]: small, full, large. Counted once, and
    /// the same ever since, in each build and with any number of threads; 0 where nobody waited.
    pub states: [u64; 3],
    /// Explores it: the right protocol, or the named variant.
    pub check: fn(Option<&str>, Bounds) -> Report,
    /// Serves stateright's explorer for it, for ever.
    pub explore: fn(Option<&str>, Bounds, SocketAddr),
}

/// All of them.
pub const ALL: [Entry; 9] = [
    isr::ENTRY,
    isr::LOSSY,
    alteration::ENTRY,
    votes::ENTRY,
    votes::FIGURE_8,
    recovery::ENTRY,
    real::replica::ENTRY,
    real::quorum::ENTRY,
    real::quorum::CONTESTED,
];

/// The model of that id or name, in any case.
pub fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter()
        .find(|entry| entry.id.eq_ignore_ascii_case(name) || entry.name.eq_ignore_ascii_case(name))
}
