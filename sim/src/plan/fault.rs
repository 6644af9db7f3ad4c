//! Faults as a plan names them: when, and where. What there is of them, and what each does, is in
//! `crate::faults::kinds`.

use super::FaultKind;
use serde::{Deserialize, Serialize};

/// One entry of the fault schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it strikes. Each entry strikes at most once.
    pub when: When,
    /// What it does.
    pub what: FaultKind,
    /// Faults that are armed when this one has struck; their times count from there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Fault>,
}

impl Fault {
    /// A fault with nothing after it.
    pub fn new(when: When, what: impl Into<FaultKind>) -> Fault {
        Fault { when, what: what.into(), then: Vec::new() }
    }

    /// The same, with one more that follows it.
    #[must_use]
    pub fn then(mut self, next: Fault) -> Fault {
        self.then.push(next);
        self
    }

    /// This fault and all that may follow it.
    pub fn count(&self) -> usize {
        1 + self.then.iter().map(Fault::count).sum::<usize>()
    }

    /// The kinds of this fault and of all that may follow it.
    pub fn kinds(&self) -> Vec<&'static str> {
        let mut kinds: Vec<&'static str> = self.then.iter().flat_map(Fault::kinds).collect();
        kinds.insert(0, self.what.name());
        kinds
    }
}

/// When a fault strikes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// So many microseconds after the storm began (or after the fault that it follows).
    AtUs(u64),
    /// Soon after a protocol transition; deterministic, and the way to reach rare windows.
    AfterNote(AfterNote),
}

/// A trigger on a note of the core ([`wavetank_core::note::Note::name`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AfterNote {
    /// The note's name.
    pub name: String,
    /// Armed so long after the storm began (or after the fault that it follows).
    #[serde(default)]
    pub from_us: u64,
    /// The n-th such note since it was armed, from 1. Notes about the metadata log count only for
    /// names that begin with `quorum_`.
    pub count: u32,
    /// Strikes so long after the note; 0: before the next event.
    #[serde(default)]
    pub delay_us: u64,
    /// Only notes of this node count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<i32>,
    /// Only notes about this partition count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partition: Option<PartitionRef>,
}

/// A partition, by its topic's index in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionRef {
    /// Index into the plan's topics.
    pub topic: u32,
    /// Partition index.
    pub partition: i32,
}

/// A node, by id or by role; roles are resolved when the fault strikes. A fault whose target does
/// not exist then (a partition without a leader) does nothing and is not counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// That node.
    Node(i32),
    /// The partition's leader, by the newest registration that the controller made.
    LeaderOf(PartitionRef),
    /// A follower in the ISR.
    FollowerOf(PartitionRef),
    /// A replica outside the ISR, else a follower.
    LaggingOf(PartitionRef),
    /// The active controller.
    ActiveController,
    /// A voter that is not the active controller.
    OtherController,
    /// The node that emitted the triggering note; a drawn broker if there was none.
    Noted,
    /// Any broker but the one that emitted the triggering note.
    Other,
    /// A node with bytes that no sync covers; a drawn one if there is none.
    Unsynced,
}
