//! Why the server did not start, or why it ended: what was attempted, why it failed, what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

use wavetank_core::event::{DiskError, DiskOpKind};

/// An end that is not a graceful stop.
#[derive(Debug)]
pub enum ServeError {
    /// The configuration file cannot be read.
    ConfigUnreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The configuration has something that cannot be used. The text names the file, line and key,
    /// and says what would be right.
    Config(String),
    /// The data directory cannot be used.
    DataDir {
        /// Which.
        path: PathBuf,
        /// What was attempted.
        what: &'static str,
        /// Why it failed.
        error: io::Error,
    },
    /// Another process uses the data directory.
    DataDirLocked {
        /// Which.
        path: PathBuf,
        /// The other process, if it is known.
        holder: Option<u32>,
    },
    /// The file for the core's notes cannot be written.
    Notes {
        /// Which.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The address cannot be listened on.
    Listen {
        /// Which.
        address: String,
        /// Why.
        error: io::Error,
    },
    /// The operating system gives no thread or no event queue.
    Start(io::Error),
    /// A disk operation failed while serving.
    Disk {
        /// The data directory.
        path: PathBuf,
        /// The operation.
        op: DiskOpKind,
        /// Why.
        error: DiskError,
    },
    /// The contents of the data directory are not this node's, or cannot be trusted.
    Refused {
        /// The data directory.
        path: PathBuf,
        /// The core's reason.
        reason: String,
    },
    /// A graceful stop took too long. Acknowledged records are recovered at the next start.
    StopTimedOut,
}

impl ServeError {
    /// The process's exit code: 2 for usage and environment, 1 for a failure while serving.
    pub fn exit_code(&self) -> u8 {
        match self {
            ServeError::ConfigUnreadable { .. }
            | ServeError::Config(_)
            | ServeError::DataDir { .. }
            | ServeError::DataDirLocked { .. }
            | ServeError::Notes { .. }
            | ServeError::Listen { .. }
            | ServeError::Start(_)
            | ServeError::Refused { .. } => 2,
            ServeError::Disk { .. } | ServeError::StopTimedOut => 1,
        }
    }
}

impl fmt::Display for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServeError::ConfigUnreadable { path, error } => write!(
                f,
                "cannot read the configuration file {}: {error}. Give a readable TOML file with \
                 --config, or none for a single node with everything embedded",
                path.display()
            ),
            ServeError::Config(text) => f.write_str(text),
            ServeError::DataDir { path, what, error } => write!(
                f,
                "cannot {what} the data directory {}: {error}. Name a directory that this user may \
                 create and write, with --data or log.dirs",
                path.display()
            ),
            ServeError::DataDirLocked { path, holder } => {
                write!(f, "the data directory {} is in use by another process", path.display())?;
                if let Some(pid) = holder {
                    write!(f, " (process {pid})")?;
                }
                f.write_str(
                    ". Stop that one first, or name another directory with --data or log.dirs",
                )
            }
            ServeError::Notes { path, error } => write!(
                f,
                "cannot write notes to {}: {error}. Name another file with --notes",
                path.display()
            ),
            ServeError::Listen { address, error } => {
                write!(f, "cannot listen on {address}: {error}. {}", listen_advice(error))
            }
            ServeError::Start(error) => write!(
                f,
                "the operating system refused a thread, socket or timer: {error}. Check this \
                 user's limits (ulimit -a)"
            ),
            ServeError::Disk { path, op, error } => {
                write!(
                    f,
                    "the data directory {} failed while serving ({op:?}: {error:?}; the log names \
                     the file and the cause), and a failed write is never retried. ",
                    path.display()
                )?;
                f.write_str(disk_advice(*error))
            }
            ServeError::Refused { path, reason } => write!(
                f,
                "the node will not start on the data directory {}: {reason}. No record was \
                 removed. Check that the directory belongs to this node and cluster",
                path.display()
            ),
            ServeError::StopTimedOut => write!(
                f,
                "the graceful stop timed out, and the process ends without it: {STOP_WAITS_FOR}. \
                 Acknowledged records are recovered at the next start"
            ),
        }
    }
}

/// What a stop may be waiting for.
pub(crate) const STOP_WAITS_FOR: &str = "it waits for its disk (see above for warnings of a full \
    or slow one) or for other nodes to take over what it leads";

/// What to do about a data directory that failed.
fn disk_advice(error: DiskError) -> &'static str {
    match error {
        DiskError::Full => {
            "Free space on the device (or raise the file size limit, ulimit -f), then start the \
             node again"
        }
        DiskError::Io => {
            "Check the device. If it is broken, restore the directory from a backup of this node on \
             a good one. A node that is not a voter may start with an empty directory instead \
             (--format); it copies its partitions from the other replicas"
        }
        DiskError::Refused => {
            "Check that the directory is still there, its owner, permissions and mount, then start \
             again"
        }
    }
}

/// What to do about an address that cannot be listened on.
fn listen_advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "Another process has the port; stop it, or give another address with --listen or \
             listeners (port 0 takes any free one)"
        }
        io::ErrorKind::AddrNotAvailable => {
            "No interface of this machine has that address; see --listen or listeners"
        }
        io::ErrorKind::PermissionDenied => {
            "Ports below 1024 need privileges; give another with --listen or listeners"
        }
        _ => "Give another address with --listen or listeners",
    }
}

impl std::error::Error for ServeError {}
