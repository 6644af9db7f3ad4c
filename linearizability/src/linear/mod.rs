//! The judge of linearizability: could the operations on an object, concurrent as they were, have
//! taken effect one at a time, each between its invocation and its return?
//!
//! [`History`] records operations; [`Model`] says what the object is; [`models`] has common ones.

mod model;
pub mod models;
mod operation;

pub use model::Model;
pub use operation::{Ending, History, Operation};
