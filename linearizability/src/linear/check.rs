//! Checks key by key: the limits, the verdict, and the result for each key.

use std::collections::BTreeMap;
use std::fmt;

use super::explain;
use super::prepare::{Prepared, by_key};
use super::search::{Budget, Found, Search};
use super::{Model, Operation};
use crate::{Anomaly, Datum, OpId, Stamp, Validity, Verdict};

/// The name of the only anomaly.
pub const NOT_LINEARIZABLE: &str = "not-linearizable";

/// Configurations for each key at first; then sixteen times as many for those that need them, and
/// so on. So one hard key does not keep the others from being checked.
const FIRST_SHARE: u64 = 1 << 14;

/// Configurations for a better witness when hindsight has shown that a key is invalid.
const WITNESS: u64 = 1 << 16;

/// Limits, because checking is NP-hard. Within them verdicts are certain; beyond them they are
/// "unknown".
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How many configurations may be explored in all.
    pub steps: u64,
    /// How much memory the search may use at a time, in bytes.
    pub memory: usize,
    /// Asked from time to time whether to give up, for a time limit.
    pub stop: Option<&'a dyn Fn() -> bool>,
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Options");
        f.field("steps", &self.steps).field("memory", &self.memory);
        f.field("stop", &self.stop.is_some()).finish()
    }
}

impl Default for Options<'_> {
    /// Unlimited steps, in a gibibyte.
    fn default() -> Self {
        Options { steps: u64::MAX, memory: 1 << 30, stop: None }
    }
}

/// Why no verdict was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// [`Options::steps`] were taken.
    Steps,
    /// [`Options::memory`] was in use.
    Memory,
    /// [`Options::stop`] said so.
    Stopped,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Steps => "the step limit was reached",
            Why::Memory => "the memory limit was reached",
            Why::Stopped => "the time limit was reached",
        })
    }
}

/// The operations cannot be checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// An operation did not return after it was invoked.
    ReturnsBeforeCall {
        /// The operation.
        operation: OpId,
        /// Its process.
        process: u32,
        /// The operation in words.
        what: String,
        /// When it was invoked.
        invoked: Stamp,
        /// When it returned.
        returned: Stamp,
    },
    /// There are 2^32 operations or more.
    TooMany,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::ReturnsBeforeCall { operation, process, what, invoked, returned } => write!(
                f,
                "operation {} ({what}, by process {process}) returned at {} but was invoked at {}, \
                 which is not before: put the history in the order of its events",
                operation.0, returned.seq, invoked.seq
            ),
            Error::TooMany => f.write_str("2^32 operations or more: check them in parts"),
        }
    }
}

impl std::error::Error for Error {}

/// The result for the operations on one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyJudgement {
    /// The key.
    pub key: Datum,
    /// Whether they are linearizable.
    pub valid: Validity,
    /// Why that is unknown, if it is.
    pub why: Option<Why>,
    /// How many operations there are, not counting those that failed and reads that never returned.
    pub operations: usize,
    /// How many of those returned.
    pub returned: usize,
    /// How many of those that returned are in `order`.
    pub placed: usize,
    /// An order in which they may have taken effect; unless they are linearizable, the longest one
    /// found before the `stuck` operation.
    pub order: Vec<OpId>,
    /// Where the search got no further. In an invalid history, the operations that returned before
    /// this one can be put in order, among those in progress and with their answers; together with
    /// this one they cannot. (Only if [`Model::hindsight`] found it, and finding it without would
    /// take long, may this one still fit, but nothing after it.)
    pub stuck: Option<OpId>,
    /// Configurations explored.
    pub steps: u64,
    /// What is wrong, or how far the search got, in words; empty if the key is valid.
    pub text: String,
}

/// The checker's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict in the form of all checkers. It counts `keys`, `placed` (operations in the
    /// orders that were found), `steps`, `unknown-keys`, and [`NOT_LINEARIZABLE`] keys.
    pub verdict: Verdict,
    /// Key by key, in the order in which they occur.
    pub keys: Vec<KeyJudgement>,
}

impl Judgement {
    /// The keys that are not known to be linearizable.
    pub fn failing(&self) -> impl Iterator<Item = &KeyJudgement> {
        self.keys.iter().filter(|key| key.valid != Validity::Valid)
    }
}

impl fmt::Display for Judgement {
    /// The verdict, and how far the search got where it gave up.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.verdict.fmt(f)?;
        let unknown = self.keys.iter().filter(|key| key.valid == Validity::Unknown);
        unknown.into_iter().try_for_each(|key| write!(f, "\nunknown: {}", key.text))
    }
}

/// Checks whether the operations are linearizable.
///
/// # Errors
/// If an operation returned before it was invoked, or there are too many to count.
pub fn check<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Output>],
    options: &Options<'_>,
) -> Result<Judgement, Error> {
    let keys = by_key(model, operations)?;
    let mut found: Vec<Option<Found>> = keys.iter().map(|_| None).collect();
    let mut sizes = vec![(0, 0); keys.len()];
    let (mut left, mut share) = (options.steps, FIRST_SHARE);
    loop {
        let mut again = false;
        for (index, (_, ids)) in keys.iter().enumerate() {
            if found[index].as_ref().is_some_and(|found| found.why != Some(Why::Steps)) {
                continue;
            }
            let prepared = Prepared::new(model, operations, ids);
            sizes[index] = (prepared.len(), prepared.returned.len());
            let steps = share.min(left);
            let budget = Budget { steps, memory: options.memory, stop: options.stop };
            let of_key: Vec<_> = ids.iter().map(|id| &operations[id.0 as usize]).collect();
            let hindsight = model.hindsight(&of_key);
            let mut result = Search::new(model, hindsight.as_ref(), &prepared).run(&budget);
            left -= result.steps;
            if hindsight.is_some() && result.valid == Validity::Invalid {
                // Without hindsight, the search ends where a person would first see what is wrong.
                let budget = Budget { steps: left.min(WITNESS), ..budget };
                let plain = Search::new(model, None, &prepared).run(&budget);
                left -= plain.steps;
                if plain.valid == Validity::Invalid {
                    result = plain;
                }
            }
            again |= result.why == Some(Why::Steps);
            found[index] = Some(result);
        }
        if !again || left == 0 {
            break;
        }
        share = share.saturating_mul(16);
    }
    let judged = keys.into_iter().zip(found).zip(sizes);
    let keys = judged
        .map(|(((key, _), found), size)| {
            let found = found.expect("each key was searched");
            judgement(model, operations, key, size, found)
        })
        .collect();
    Ok(judge(keys, operations.len() as u64))
}

fn judgement<M: Model>(
    model: &M,
    operations: &[Operation<M::Op, M::Output>],
    key: Datum,
    (count, returned): (usize, usize),
    found: Found,
) -> KeyJudgement {
    let Found { valid, why, order, placed, stuck, steps } = found;
    let text = String::new();
    let mut judged = KeyJudgement {
        key,
        valid,
        why,
        operations: count,
        returned,
        placed,
        order,
        stuck,
        steps,
        text,
    };
    judged.text = explain::text(model, operations, &judged);
    judged
}

fn judge(keys: Vec<KeyJudgement>, operations: u64) -> Judgement {
    let mut counts = BTreeMap::new();
    let mut anomalies: BTreeMap<String, Vec<Anomaly>> = BTreeMap::new();
    let mut count = |name: &str, by: u64| *counts.entry(name.to_owned()).or_insert(0) += by;
    for key in &keys {
        count("keys", 1);
        count("placed", key.placed as u64);
        count("steps", key.steps);
        match key.valid {
            Validity::Valid => {}
            Validity::Unknown => count("unknown-keys", 1),
            Validity::Invalid => {
                count(NOT_LINEARIZABLE, 1);
                let ops = key.stuck.into_iter().chain(key.order.last().copied()).collect();
                let anomaly = Anomaly { text: key.text.clone(), ops };
                anomalies.entry(NOT_LINEARIZABLE.to_owned()).or_default().push(anomaly);
            }
        }
    }
    let any = |valid| keys.iter().any(|key| key.valid == valid);
    let valid = match (any(Validity::Invalid), any(Validity::Unknown)) {
        (true, _) => Validity::Invalid,
        (false, true) => Validity::Unknown,
        (false, false) => Validity::Valid,
    };
    Judgement { verdict: Verdict { valid, operations, anomalies, counts }, keys }
}
