//! The process's resource limits, how they are divided, and what happens on a bug in the server.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use wavetank_core::types::Uuid;

/// Descriptors outside both budgets: standard streams, the lock, the listener, event queues,
/// directories being listed or synced, connections to peers.
const RESERVE: usize = 64;

/// Minimum descriptors with which a node starts.
const LEAST: usize = 96;

/// Maximum files kept open; more than any working set needs.
const MOST_FILES: usize = 16 << 10;

/// How the limit of open files (`RLIMIT_NOFILE`, soft) is divided. Files and connections draw on
/// the same limit, so each has a budget of its own and neither can starve the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Maximum files below the data directory that are open at a time.
    pub files: usize,
    /// Maximum connections that clients and peers may have open to this node.
    pub connections: usize,
}

impl Descriptors {
    fn of(limit: usize) -> Descriptors {
        let rest = limit.saturating_sub(RESERVE + limit / 16);
        let files = (rest / 2).clamp(16, MOST_FILES);
        Descriptors { files, connections: rest.saturating_sub(files).max(8) }
    }
}

/// The number of file descriptors that the process may have open (the soft limit).
fn file_descriptors() -> usize {
    match getrlimit(Resource::Nofile).current {
        Some(limit) => usize::try_from(limit).unwrap_or(usize::MAX),
        None => 1 << 20,
    }
}

/// The division of the current limit.
pub fn descriptors() -> Descriptors {
    Descriptors::of(file_descriptors())
}

/// Raises the soft limit of open files to the hard one. Shells hand out 1,024 for the sake of
/// programs that use `select`; this one does not.
///
/// # Errors
/// If even the hard limit is too small for a node. (Failing to raise the limit is not an error: the
/// budgets follow whatever it is.)
pub fn raise_file_descriptors() -> std::io::Result<()> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // Some kernels accept no unlimited value here; a million is as good.
        let wanted = Some(maximum.unwrap_or(1 << 20));
        if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum }) {
            tracing::warn!(%error, ?current, ?maximum, "cannot raise the limit of open files");
        }
    }
    match file_descriptors() {
        limit if limit < LEAST => Err(std::io::Error::other(format!(
            "the limit of open files is {limit}, and a node needs at least {LEAST} (ulimit -n)"
        ))),
        _ => Ok(()),
    }
}

/// Linux's boot id of the machine; zero if there is none.
pub fn boot_id() -> Uuid {
    let said = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = said.trim().chars().filter(|digit| *digit != '-').collect();
    Uuid(u128::from_str_radix(&digits, 16).unwrap_or(0))
}

/// The message for a bug in a part of the server.
pub(crate) fn bug(part: &str) -> String {
    format!(
        "wavetank: the {part} thread hit a bug (see the panic above); the process ends rather than \
         serve wrong data. Acknowledged records are recovered at the next start."
    )
}

/// Ends the process if the thread or task that holds it panics: a broker without its core, its disk
/// or its network would hang, and one that goes on after a broken assertion could do worse.
#[derive(Debug)]
pub struct AbortOnPanic(
    /// The part of the server.
    pub &'static str,
);

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            crate::logging::last_words(&bug(self.0));
            std::process::abort();
        }
    }
}

/// Spawns a task whose panic ends the process. The runtime itself would swallow the panic and go on
/// without the task.
pub(crate) fn spawn(part: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(async move {
        let _guard = AbortOnPanic(part);
        task.await;
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_connections_fit_the_limit_together() {
        for limit in [LEAST, 100, 128, 256, 1024, 4096, 65_536, 1 << 20, usize::MAX / 32] {
            let Descriptors { files, connections } = Descriptors::of(limit);
            assert!(files >= 12 && connections >= 8, "{limit}: {files} {connections}");
            assert!(files + connections + RESERVE <= limit, "{limit}: {files} {connections}");
        }
        assert_eq!(Descriptors::of(1024), Descriptors { files: 448, connections: 448 });
    }
}
