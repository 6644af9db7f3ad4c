//! Small models of the broker's protocols: the correct version of each, which must hold, and
//! historical wrong versions, which must fail. stateright explores them exhaustively within bounds.
//!
//! - [`isr`] (M1): replication, leader epochs, truncation, ISR, high watermark; with power losses
//!   (M1P).
//! - [`alteration`] (M2): a leader's requests to change the ISR: lost, refused, resent, and late.
//! - [`votes`] (M3): the metadata quorum: votes, pull replication, written versus synced state;
//!   within the bounds of Raft's figure 8 (M3F).
//! - [`recovery`] (M7): one log on one disk: append, sync, crash, recover.
//! - [`real::replica`] (R1): the core's own replicas of a partition, explored as they ship.
//! - [`real::quorum`] (R3): the core's own quorum, explored as it ships; with two candidates and a
//!   power loss, to a fixed depth (R3C).
//!
//! A variant has the name of the zoo's flaw ([`wavetank_core::flaw::Flaw`]) where there is one.
//! [`ALL`] lists the models. [`Entry::check`] explores one of them breadth first on one thread, so
//! that a counterexample is a shortest one and is always the same.
//!
//! What does not live here: the implementation. [`real`] explores it; the other models use nothing
//! of `core` but the flaws' names. Each file states at its top, rule by rule, why its model is
//! faithful to the code. [`validation`] validates runs of the code against M1, M3 and M7, with the
//! same [`rules`].
#![warn(missing_docs)]

pub mod alteration;
mod check;
mod happening;
pub mod isr;
pub mod real;
pub mod recovery;
pub mod rules;
pub mod validation;
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
    /// What is modelled, in one line.
    pub title: &'static str,
    /// Names of the wrong variants: those of the zoo's flaws where the zoo has them.
    pub variants: &'static [&'static str],
    /// Unique states of the correct protocol, by [`Bounds`]: small, full, large. Each was counted
    /// once and is the same in each build and with any number of threads; 0 where it was never
    /// counted.
    pub states: [u64; 3],
    /// Explores the correct protocol, or the named variant.
    pub check: fn(Option<&str>, Bounds) -> Report,
    /// Serves stateright's explorer for it, until the process ends.
    pub explore: fn(Option<&str>, Bounds, SocketAddr),
}

impl Entry {
    /// The variant of this name, if the model has it.
    pub fn variant(&self, name: &str) -> Option<&'static str> {
        self.variants.iter().copied().find(|variant| *variant == name)
    }
}

/// All models.
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

/// The model with this id or name, in any case.
pub fn find(name: &str) -> Option<&'static Entry> {
    ALL.iter()
        .find(|entry| entry.id.eq_ignore_ascii_case(name) || entry.name.eq_ignore_ascii_case(name))
}
