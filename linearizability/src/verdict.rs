//! The result of a checker.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::OpId;

/// Whether a history keeps the promises that it was checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Validity {
    /// It keeps all of them.
    Valid,
    /// It does not keep all.
    Invalid,
    /// The checker gave up before it could tell.
    Unknown,
}

impl Serialize for Validity {
    /// `true`, `false` or `"unknown"`.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Validity::Valid => serializer.serialize_bool(true),
            Validity::Invalid => serializer.serialize_bool(false),
            Validity::Unknown => serializer.serialize_str("unknown"),
        }
    }
}

/// One thing that should not have happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Anomaly {
    /// What happened, in words.
    pub text: String,
    /// The operations that show it.
    pub ops: Vec<OpId>,
}

/// The result of a checker for a history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Whether the promises were kept.
    pub valid: Validity,
    /// How many operations were checked.
    pub operations: u64,
    /// Violations by name, of each kind at most as many as asked for. All are in `counts`.
    pub anomalies: BTreeMap<String, Vec<Anomaly>>,
    /// How often each thing happened: anomalies, and things that are not forbidden.
    pub counts: BTreeMap<String, u64>,
}

impl Verdict {
    /// Did the history keep all promises?
    pub fn is_valid(&self) -> bool {
        self.valid == Validity::Valid
    }

    /// How often something was counted; 0 for a name that never was.
    pub fn count(&self, name: &str) -> u64 {
        self.counts.get(name).copied().unwrap_or(0)
    }
}

impl fmt::Display for Verdict {
    /// One line, then one for each anomaly.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let valid = match self.valid {
            Validity::Valid => "valid",
            Validity::Invalid => "invalid",
            Validity::Unknown => "unknown",
        };
        write!(f, "{valid}: {} operations", self.operations)?;
        for (name, anomalies) in &self.anomalies {
            for anomaly in anomalies {
                write!(f, "\n{name}: {}", anomaly.text)?;
            }
            let more = self.count(name).saturating_sub(anomalies.len() as u64);
            if more > 0 {
                write!(f, "\n{name}: {more} more")?;
            }
        }
        Ok(())
    }
}
