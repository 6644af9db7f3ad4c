//! Plays the tank's plans on real processes: `serve` as it ships, the tank's own clients over real
//! sockets, faults by signals and by a proxy between all of them, judged by the tank's own judge.
//!
//! This tests the tank itself. The tank simulates a machine; here a real machine runs the plan. If
//! the two verdicts on one plan differ, the broker's driver or the tank is wrong.
//!
//! - [`cast`]: reduces a plan to what a machine can play; the rest is left out, and counted.
//! - [`config`]: a plan's node as `serve`'s configuration file.
//! - [`cluster`]: the processes. [`proxy`]: the network between them. [`clients`]: the tank's
//!   clients.
//! - [`nemesis`]: carries the faults out. [`notes`]: what the nodes say about themselves.
//! - [`observer`]: asks the nodes over Kafka's protocol how far they are.
//! - [`phases`]: from the first start to the last read. [`judge`]: checks what clients saw and
//!   nodes noted against what was promised. [`validation`]: validates the notes against the models.
//! - [`verdict`]: both sides, and whether they agree.
//!
//! Time is real time, so a plan takes as long as it says. Nothing is deterministic: a plan fixes
//! what is asked of the machine, not what the machine does.

pub mod cast;
pub mod clients;
pub mod cluster;
pub mod config;
pub mod judge;
pub mod nemesis;
pub mod notes;
pub mod observer;
pub mod phases;
pub mod proxy;
pub mod validation;
pub mod verdict;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use wavetank_sim::hunt::Additions;
use wavetank_sim::plan::Plan;

pub use verdict::{Report, Side};

/// How to reenact.
#[derive(Clone)]
pub struct Options {
    /// The program that serves, and its first arguments; `--data`, `--config` and `--notes` follow.
    pub program: Vec<PathBuf>,
    /// Where the processes' directories are made. `None` is the system's temporary directory.
    pub workspace: Option<PathBuf>,
    /// Keep the processes' directories (data, logs, notes) even if both sides agree.
    pub keep: bool,
    /// Set this from elsewhere to end early. The processes are killed then.
    pub interrupt: Arc<AtomicBool>,
    /// Additional checks of the tank's run; usually the models that [`validation`] checks the
    /// processes against.
    pub additions: Option<Additions>,
}

impl Options {
    /// The default options for this program.
    pub fn new(program: Vec<PathBuf>) -> Options {
        let interrupt = Arc::default();
        Options { program, workspace: None, keep: false, interrupt, additions: None }
    }
}

/// Why there is no verdict.
#[derive(Debug)]
pub enum Failure {
    /// The machine did not provide what was needed.
    Environment {
        /// What was attempted.
        attempted: String,
        /// Why it failed.
        why: io::Error,
    },
    /// [`Options::interrupt`] was set.
    Interrupted,
}

impl Failure {
    /// For `map_err`.
    pub(crate) fn to(attempted: impl Into<String>) -> impl FnOnce(io::Error) -> Failure {
        let attempted = attempted.into();
        move |why| Failure::Environment { attempted, why }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Environment { attempted, why } => write!(f, "cannot {attempted}: {why}"),
            Failure::Interrupted => f.write_str("interrupted; the processes were killed"),
        }
    }
}

impl std::error::Error for Failure {}

/// Runs a plan in the tank and on real processes, both without the faults that a machine cannot
/// play. If no fault is left, the plan is not played, and the report says so.
///
/// # Errors
/// If the machine provides no process, port or directory, or the run was interrupted.
pub fn reenact(plan: &Plan, options: &Options) -> Result<Report, Failure> {
    let cast = cast::Cast::of(plan);
    if let Some(why) = cast.emptiness() {
        return Ok(Report::empty(plan, cast, why));
    }
    let tank = verdict::tank(&cast.plan, options.additions.as_ref());
    let mut played = phases::play(&cast.plan, options)?;
    let report = Report::new(plan, cast, tank, &played);
    if options.keep || !report.agrees() || report.is_violated() {
        played.keep();
    }
    Ok(Report { logs: played.kept().map(PathBuf::from), ..report })
}
