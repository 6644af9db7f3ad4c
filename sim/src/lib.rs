//! The tank: virtual time, network, disks, faults, workloads, invariants; hunting.
//!
//! At the bottom lie three things that know nothing of brokers: [`decide`] (every random choice of
//! a run, keyed by what it is about), [`world`] (one heap of events over hosts, connections, timers
//! and disks) and [`disk`] (what survives a crash and what does not). [`conformance`] holds the
//! cases that say what the seam promises, for the tank's world and the real one alike.

pub mod conformance;
pub mod decide;
pub mod digest;
pub mod disk;
pub mod world;
