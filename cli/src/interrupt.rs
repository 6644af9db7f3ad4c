//! Ctrl-C, and the signal with which CI ends a job: long work stops at the next opportunity and
//! reports what it has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::output::Failure;

/// Set by the first Ctrl-C or SIGTERM from now on; the second ends the process at once, with 130.
///
/// # Errors
/// If the system refuses the handler.
pub fn watch(what_is_left: &'static str) -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = stop.clone();
    let handler = move || {
        if set.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("wavetank: stopping {what_is_left}; press Ctrl-C again to stop at once");
    };
    ctrlc::set_handler(handler).map_err(|error| {
        Failure::new("watch for Ctrl-C", error, "Run the command once per process.")
    })?;
    Ok(stop)
}
