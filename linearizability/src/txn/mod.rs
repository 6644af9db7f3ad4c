//! The transaction checker: what transactions appended to lists or logs and what they read there.
//!
//! ```
//! use wavetank_linearizability::txn::{self, History, Mop, Options};
//!
//! let mut history = History::new();
//! let (x, y) = (history.key("x"), history.key("y"));
//! let (one, two) = (history.element(1), history.element(2));
//! let read = |key| Mop::Read { key, list: Some(&[]) };
//! let to_x = [read(y), Mop::Append { key: x, element: one }];
//! let to_y = [read(x), Mop::Append { key: y, element: two }];
//! let first = history.begin(1, 100, &to_x);
//! let second = history.begin(2, 200, &to_y); // at the same time
//! history.commit(first, 300, &to_x);
//! history.commit(second, 400, &to_y);
//! let judged = txn::check(&history, &Options::default()).unwrap();
//! assert_eq!(judged.verdict.count("G2-item"), 1); // write skew: each missed what the other wrote
//! println!("{}", judged.verdict);
//! ```
//!
//! - [`History`] records transactions; [`Mop`] is one of their steps.
//! - [`check`] infers which depends on which, as [Elle](https://github.com/jepsen-io/elle) does,
//!   and finds [`Kind`]s of anomalies; [`Options`] say which are allowed, by [`Level`].
//! - [`page`] draws a [`Judgement`].
//!
//! | edge | from | to | known by |
//! |---|---|---|---|
//! | ww | the writer of a version | the writer of the next | the longest read of a list; a log's offsets |
//! | wr | the writer of a version | its reader | the last element of a list; the records of a poll |
//! | rw | the reader of a version | the writer of the next | both; for polls only if [`Options::polls_see_end`] |
//! | process | a transaction | the next one of its process | |
//! | realtime | one that ended | one that began later | |
//!
//! A transaction of unknown outcome counts as committed if what it wrote was read; its own reads
//! prove nothing. An append that was certainly committed and that nobody read came after all that
//! was read of that list. A process runs one transaction at a time.

mod check;
mod cycles;
mod explain;
mod graph;
mod history;
mod infer;
mod kind;
mod page;
mod report;
mod versions;

pub use check::{Cycle, Dependency, Error, Judgement, Link, Options, check};
pub use history::{Element, History, Key, Mop, Transaction};
pub use kind::{Kind, Level, Order, Shape};
pub use page::page;
