//! Checks transactions: puts the parts together.

use std::collections::BTreeSet;
use std::fmt;

use super::cycles::Hunt;
use super::explain;
use super::graph::Graph;
use super::history::History;
use super::infer::Inference;
use super::kind::{Kind, Level, Order};
use super::report::Report;
use super::versions::Table;
use crate::{Datum, OpId, Verdict};

/// What is promised, and how much is reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Allowed anomalies: they are counted, and are no violations.
    pub allowed: BTreeSet<Kind>,
    /// Does a poll return all that is in the log from its position on? Then it depends on what it
    /// did not see (rw edges); else what it did not see proves nothing.
    pub polls_see_end: bool,
    /// How many anomalies of each kind are described; all are counted, cycles once for each
    /// strongly connected component.
    pub witnesses: usize,
    /// How many edges the search for cycles in components may visit: components are found in linear
    /// time, but finding the kinds of cycles in a large one may take quadratic time. Beyond this
    /// limit a history that is not known to be invalid is "unknown".
    pub work: u64,
}

impl Options {
    /// For this level; ten witnesses, 1,000,000,000 edges.
    pub fn of(level: Level) -> Options {
        Options {
            allowed: level.allowed(),
            polls_see_end: false,
            witnesses: 10,
            work: 1_000_000_000,
        }
    }
}

impl Default for Options {
    /// Strictly serializable.
    fn default() -> Options {
        Options::of(Level::StrictSerializable)
    }
}

/// The transactions cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// One element was appended to one key twice.
    AppendedTwice {
        /// The key.
        key: Datum,
        /// The element.
        element: Datum,
        /// The transactions that appended it.
        transactions: [OpId; 2],
    },
    /// A key is used as a list and as a log.
    ListAndLog {
        /// The key.
        key: Datum,
        /// A transaction that appended to it or read it.
        list: OpId,
        /// A transaction that sent to it or polled it.
        log: OpId,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::AppendedTwice { key, element, transactions: [first, second] } => write!(
                f,
                "{element} was appended to {key} twice (operations {} and {}): elements must be \
                 unique within a key, so that each read matches one append",
                first.0, second.0
            ),
            Error::ListAndLog { key, list, log } => write!(
                f,
                "{key} is a list for operation {} (append, read) and a log for operation {} (send, \
                 poll): give the two different keys",
                list.0, log.0
            ),
        }
    }
}

impl std::error::Error for Error {}

/// Why one transaction is before another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependency {
    /// It wrote an earlier version.
    WriteWrite,
    /// It wrote what the other read.
    WriteRead,
    /// It read an earlier version than the other wrote.
    ReadWrite,
    /// Its process ran the other later.
    Process,
    /// It ended before the other began.
    RealTime,
}

impl Dependency {
    /// `ww`, `wr`, `rw`, `process`, `realtime`.
    pub fn name(self) -> &'static str {
        match self {
            Dependency::WriteWrite => "ww",
            Dependency::WriteRead => "wr",
            Dependency::ReadWrite => "rw",
            Dependency::Process => "process",
            Dependency::RealTime => "realtime",
        }
    }
}

/// A step in a cycle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The earlier transaction.
    pub from: OpId,
    /// The later transaction.
    pub to: OpId,
    /// Why one is before the other.
    pub dependency: Dependency,
    /// The same in words.
    pub because: String,
}

/// Transactions that would each be before itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cycle {
    /// Its kind.
    pub kind: Kind,
    /// The steps; the last leads to where the first began.
    pub links: Vec<Link>,
    /// The whole cycle in words.
    pub text: String,
}

/// The checker's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict in the form of all checkers.
    pub verdict: Verdict,
    /// The cycles that are described in it, and those that are allowed.
    pub cycles: Vec<Cycle>,
}

/// Checks transactions.
///
/// # Errors
/// If an element was appended to a key twice, or a key is used as a list and as a log.
pub fn check(history: &History, options: &Options) -> Result<Judgement, Error> {
    let mut report = Report::new(options.witnesses);
    let table = Table::new(history, &mut report)?;
    let forbids = |order| Kind::cycles(order).any(|kind| !options.allowed.contains(&kind));
    let (process, realtime) = (forbids(Order::Process), forbids(Order::Realtime));
    let mut inference = Inference::new(history, &table, &mut report);
    inference.writes();
    inference.reads(options);
    inference.orders(process || realtime, realtime);
    let graph = Graph::new(inference.nodes as usize, &inference.edges);
    drop(std::mem::take(&mut inference.edges));
    let count = history.transactions().len();
    let mut hunt = Hunt::new(&graph, count as u32, options.work);
    let mut cycles: Vec<Cycle> = Vec::new();
    for component in graph.components() {
        for (kind, steps) in hunt.component(&component) {
            report.add(kind, || {
                let cycle = explain::cycle(history, &table, kind, &steps);
                let told = (cycle.text.clone(), cycle.links.iter().map(|link| link.from).collect());
                cycles.push(cycle);
                told
            });
        }
    }
    let doubt = hunt.work == 0;
    let verdict = report.verdict(count as u64, &options.allowed, doubt);
    Ok(Judgement { verdict, cycles })
}
