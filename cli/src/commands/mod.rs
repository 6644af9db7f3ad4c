//! One module a command: read the arguments, call the library, say what came of it.

pub mod check;
pub mod hunt;
pub mod model;
pub mod reenact;
pub mod replay;
pub mod report;
pub mod scenario;
pub mod serve;
pub mod zoo;

use std::num::NonZeroUsize;

/// As many threads as asked for, or as the machine runs at once.
fn jobs(asked: Option<NonZeroUsize>) -> usize {
    asked.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
}
