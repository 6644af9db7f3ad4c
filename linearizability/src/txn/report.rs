//! Anomalies as they are found: all counted, the first of each kind kept.

use std::collections::{BTreeMap, BTreeSet};

use super::kind::Kind;
use crate::{Anomaly, OpId, Validity, Verdict};

/// See the module.
#[derive(Debug)]
pub(crate) struct Report {
    witnesses: usize,
    counts: BTreeMap<Kind, u64>,
    kept: BTreeMap<Kind, Vec<Anomaly>>,
}

impl Report {
    /// Keeps up to `witnesses` of each kind.
    pub(crate) fn new(witnesses: usize) -> Report {
        Report { witnesses, counts: BTreeMap::new(), kept: BTreeMap::new() }
    }

    /// Adds an anomaly; `describe` is called only if it is kept.
    pub(crate) fn add(&mut self, kind: Kind, describe: impl FnOnce() -> (String, Vec<OpId>)) {
        *self.counts.entry(kind).or_insert(0) += 1;
        let kept = self.kept.entry(kind).or_default();
        if kept.len() < self.witnesses {
            let (text, ops) = describe();
            kept.push(Anomaly { text, ops });
        }
    }

    /// The verdict on all that was found, by what is allowed. `doubt`: something may have been
    /// missed.
    pub(crate) fn verdict(self, operations: u64, allowed: &BTreeSet<Kind>, doubt: bool) -> Verdict {
        let forbidden = |kind: &Kind| !allowed.contains(kind);
        let valid = match (self.counts.keys().any(forbidden), doubt) {
            (true, _) => Validity::Invalid,
            (false, true) => Validity::Unknown,
            (false, false) => Validity::Valid,
        };
        let named = |(kind, anomalies): (Kind, _)| (kind.name().to_owned(), anomalies);
        let anomalies = self.kept.into_iter().filter(|(kind, _)| forbidden(kind));
        let counts = self.counts.into_iter().map(|(kind, count)| (kind.name().to_owned(), count));
        Verdict {
            valid,
            operations,
            anomalies: anomalies.map(named).collect(),
            counts: counts.collect(),
        }
    }
}
