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

use wavetank_zoo::validation::Models;

/// The number of threads: as requested, or as many as the machine runs in parallel.
fn jobs(asked: Option<NonZeroUsize>) -> usize {
    asked.or_else(|| std::thread::available_parallelism().ok()).map_or(1, NonZeroUsize::get)
}

/// The arguments that replay with the same models.
fn validate_arguments(models: Option<&Models>) -> Vec<String> {
    models.map_or_else(Vec::new, |models| vec!["--validate".to_owned(), models.ids().join(",")])
}
