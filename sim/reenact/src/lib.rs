//! The tank's plans on real processes: `serve` as it ships, the tank's own clients over real sockets,
//! faults by signals and by a proxy between all of them, judged by the tank's own judge.
//!
//! It is the tank's own test. The tank says what a machine does; here a machine does it. Where the
//! two verdicts on one plan differ, the broker's driver or the tank is wrong.
//!
//! - [`cast`]: what of a plan a machine can play; the rest is left out, and counted.
//! - [`config`]: a plan's node as `serve`'s configuration file.
//! - [`cluster`]: the processes. [`proxy`]: the network between them. [`clients`]: the tank's clients.
//! - [`nemesis`]: carries the faults out. [`notes`]: what the nodes say about themselves.
//! - [`observer`]: asks the nodes over Kafka's protocol how far they are.
//! - [`phases`]: from the first start to the last read. [`judge`]: what was promised, held against
//!   what clients saw and nodes noted. [`conform`]: the notes against the models.
//! - [`verdict`]: both sides, and whether they agree.
//!
//! A second here is a second, so a plan takes as long as it says. Nothing is deterministic: what a
//! plan fixes is what is asked of the machine, not what the machine does.

pub mod cast;
pub mod clients;
pub mod cluster;
pub mod config;
pub mod conform;
pub mod judge;
pub mod nemesis;
pub mod notes;
pub mod observer;
pub mod phases;
pub mod proxy;
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
    /// Where the processes' directories are made; `None` is the system's place for temporary files.
    pub workspace: Option<PathBuf>,
    /// Keep the processes' directories (data, logs, notes) even if all agree.
    pub keep: bool,
    /// Set from elsewhere to end early; the processes are killed then.
    pub interrupt: Arc<AtomicBool>,
    /// What the tank's run is held against, too; as a rule the models that [`conform`] holds the
    /// processes against.
    pub additions: Option<Additions>,
}

impl Options {
    /// With this program.
    pub fn new(program: Vec<PathBuf>) -> Options {
        let interrupt = Arc::default();
        Options { program, workspace: None, keep: false, interrupt, additions: None }
    }
}

/// Why there is no verdict.
#[derive(Debug)]
pub enum Failure {
    /// The machine did not give what was needed.
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

/// Runs a plan in the tank and on real processes, both without the faults that a machine cannot play.
/// A plan of which nothing is left then is not played, and the report says so.
///
/// # Errors
/// If the machine gives no process, port or directory, or it was interrupted.
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
