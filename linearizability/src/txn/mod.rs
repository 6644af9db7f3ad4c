//! The judge of transactions: what they appended to lists or logs and what they read there.
//!
//! [`History`] records them.

mod history;

pub use history::{Element, History, Key, Mop, Transaction};
