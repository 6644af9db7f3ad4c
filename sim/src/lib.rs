//! The tank: virtual time, network, disks, faults, workloads, invariants; hunting.
//!
//! The lowest layer knows nothing of brokers: [`decide`] (every random choice of a run, keyed by
//! what it is about), [`world`] (one heap of events over hosts, connections, timers and disks) and
//! [`disk`] (what survives a crash and what does not). [`contract`] has the contract tests of
//! the seam, for the tank's world and the real one alike.
//!
//! Above that layer is a run. A [`plan`] (drawn by a [`profile`], or written by hand) determines a
//! [`run`] completely. During the run, the [`ledger`] tracks what the tank knows of all copies of
//! all records, the [`invariants`] check each event, and the [`marks`] show which states the run
//! reached. [`hunt`] runs many plans (and its [`gates`] say whether they tested anything),
//! [`replay`] runs one again, and the crate `wavetank-zoo` proves that planted
//! bugs are found.

pub mod contract;
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
pub mod node;
pub mod outcome;
pub mod plan;
pub mod profile;
pub mod replay;
pub mod run;
pub mod shared;
pub mod tank;
pub mod trace;
pub mod workload;
pub mod world;

pub use faults::partition_of;
