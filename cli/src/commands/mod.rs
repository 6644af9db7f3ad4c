//! One module for each command: reads the arguments, calls the library, prints the result.

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

/// The number of threads: as requested, or as many as the machine runs in parallel.
fn jobs(asked: Option<NonZeroUsize>) -> usize {
    asked.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
}
