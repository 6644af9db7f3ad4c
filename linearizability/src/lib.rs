//! Histories and their checkers; knows nothing of brokers.
//!
//! A history is what clients saw: which process asked for what, when, and what came back. Check
//! one:
//!
//! ```
//! use wavetank_linearizability::{Acks, History, Polled, Value, log};
//!
//! let mut history = History::new();
//! let orders = history.partition("orders-0");
//! let send = history.send(1, 100, orders, Value::number(7), Acks::All);
//! history.acknowledge(send, 200, Some(0), None); // acknowledged at offset 0 …
//! let other = history.send(1, 300, orders, Value::number(8), Acks::All);
//! history.acknowledge(other, 400, Some(1), None);
//! history.assign(2, 450, &[(orders, Some(0))]);
//! history.poll(2, 500, &[Polled { partition: orders, offset: 1, epoch: 0, value: Value::number(8) }]);
//! let verdict = log::check(&history, &log::Options::default()).unwrap();
//! assert!(!verdict.is_valid()); // … and gone: a reader from 0 on got only offset 1
//! println!("{}", verdict.anomalies["lost-write"][0].text);
//! ```
//!
//! - [`History`] records operations; [`json`] reads and writes them as JSON lines, [`mod@read`]
//!   reads histories of any kind from these or from Jepsen's EDN.
//! - [`log::check`] checks the sends and polls of partitioned logs as in Kafka.
//! - [`linear`] checks operations on one object, [`txn`] transactions on lists and logs.
//! - [`Verdict`] says what was found, in words, with the operations that show it.
//!
//! What does not live here: how a history came about, and what a simulator knows beyond it (it
//! checks replicas itself). The losses that a checker must admit are part of the history
//! ([`Loss`]).
#![warn(missing_docs)]

mod datum;
mod hash;
mod history;
pub mod json;
pub mod linear;
pub mod log;
pub mod page;
pub mod read;
mod read_error;
pub mod txn;
mod verdict;

pub use datum::Datum;
pub use history::{
    Acks, Action, Change, Group, History, Loss, OpId, Operation, Outcome, Partition, Polled,
    Position, Stamp, Value,
};
pub use read_error::ReadError;
pub use verdict::{Anomaly, Validity, Verdict};
