//! The outside world: tokio, sockets and files under the core's state machines.
//!
//! [`TokioEnv`] implements the core's `Env` over the real world, [`Reactor`] is the loop that
//! drives a machine with it, and [`serve`] runs a whole node. There is no protocol rule here:
//! `wavetank-core` makes all decisions, and `wavetank-wire` turns bytes into values.

mod backlog;
mod config;
mod disk;
mod doors;
mod env;
mod error;
mod identity;
mod limits;
mod logging;
mod net;
mod note_log;
mod notes;
mod reactor;
mod serve;
mod throttle;
mod timers;

pub use backlog::Backlog;
pub use config::{DEFAULT_LISTEN, ServerConfig};
pub use disk::{DataDir, DiskPool};
pub use env::{NoteHook, TokioEnv};
pub use error::ServeError;
pub use limits::raise_file_descriptors;
pub use logging::init_logging;
pub use net::{
    Door, Identity, NetCommand, NetHandle, NetLimits, NetThread, start as start_network,
    start_on as start_network_on,
};
pub use note_log::{NotedAt, monotonic_ns};
pub use reactor::{Machine, Reactor};
pub use serve::{DEFAULT_DATA, ServeOptions, Server, on_stop_signal, serve, serve_without};
