//! The tank: virtual time, network, disks, faults, workloads, invariants; hunting.
//!
//! At the bottom lie three things that know nothing of brokers: [`decide`] (every random choice of
//! a run, keyed by what it is about), [`world`] (one heap of events over hosts, connections, timers
//! and disks) and [`disk`] (what survives a crash and what does not). [`conformance`] holds the
//! cases that say what the seam promises, for the tank's world and the real one alike.
//!
//! Above them a run: a [`plan`] (drawn by a [`profile`], or written by hand) says everything that a
//! [`run`] is decided by. While it goes, the [`ledger`] keeps what the tank knows of all copies of
//! all records, the [`invariants`] watch, and the [`marks`] tell whether the run got anywhere.
//! [`hunt`] runs many (and its [`gates`] say whether they tested anything), [`replay`] one again, [`zoo`] proves that planted bugs are found.

pub mod conformance;
pub mod decide;
pub mod digest;
pub mod disk;
mod encoded;
mod faults;
pub mod gates;
pub mod history;
pub mod hunt;
pub mod invariants;
pub mod ledger;
pub mod marks;
mod phases;
pub mod plan;
pub mod profile;
pub mod replay;
pub mod run;
pub mod trace;
pub mod workload;
pub mod world;
pub mod zoo;

pub use faults::partition_of;
