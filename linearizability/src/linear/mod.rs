//! The linearizability checker: could the concurrent operations on an object have taken effect one
//! at a time, each between its invocation and its return?
//!
//! ```
//! use wavetank_linearizability::Datum;
//! use wavetank_linearizability::linear::models::{Kv, KvCall, KvOp, KvOutput};
//! use wavetank_linearizability::linear::{self, History, Options};
//!
//! let of_x = |call| KvOp { key: "x".into(), call };
//! let mut history = History::new();
//! let put = history.invoke(1, 100, of_x(KvCall::Put(7.into())));
//! history.returned(put, 200, KvOutput::Done);
//! let get = history.invoke(2, 300, of_x(KvCall::Get));
//! history.returned(get, 400, KvOutput::Got(Datum::Nil)); // stale: the put had returned
//! let judged = linear::check(&Kv, history.operations(), &Options::default()).unwrap();
//! assert!(!judged.verdict.is_valid());
//! println!("{judged}");
//! ```
//!
//! - [`History`] records operations; [`Model`] says what the object is; [`models`] has common ones.
//! - [`check`] searches for an order, key by key. That is NP-hard: [`Options`] limit its steps, its
//!   memory and, by a callback, its time. Beyond them it says "unknown", and how far it got.
//!
//! - [`page`] draws a [`Judgement`].
//!
//! An operation that is never answered may take effect at any later time, or never. At equal times
//! invocations come before returns.

mod cache;
mod check;
mod explain;
mod memo;
mod model;
pub mod models;
mod operation;
mod page;
mod prepare;
mod search;

pub use check::{Error, Judgement, KeyJudgement, NOT_LINEARIZABLE, Options, Why, check};
pub(crate) use explain::seconds;
pub use model::{Hindsight, Model};
pub use operation::{Ending, History, Operation};
pub use page::page;
