//! Faults as a plan writes them: when and where. The kinds, and what each does, are in
//! `crate::faults::kinds`.

use super::FaultKind;
use serde::{Deserialize, Serialize};
use wavetank_core::env::{DiskOp, FileKind};

/// One entry of the fault schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// When it strikes. Each entry strikes at most once.
    pub when: When,
    /// What it does.
    pub what: FaultKind,
    /// Faults that are armed when this one has struck. Their times count from then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub then: Vec<Fault>,
}

impl Fault {
    /// A fault with nothing after it.
    pub fn new(when: When, what: impl Into<FaultKind>) -> Fault {
        Fault { when, what: what.into(), then: Vec::new() }
    }

    /// The same fault, with one more that follows it.
    #[must_use]
    pub fn then(mut self, next: Fault) -> Fault {
        self.then.push(next);
        self
    }

    /// The number of this fault and all that may follow it.
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
    /// This many microseconds after the storm began (or after the fault that it follows).
    AtUs(u64),
    /// Soon after a protocol transition. This is deterministic, and reaches rare windows.
    AfterNote(AfterNote),
    /// When a node has submitted something to its disk, possibly before any of it is done.
    AtDiskOp(AtDiskOp),
}

fn first() -> u32 {
    1
}

/// A trigger on a submission to a disk. The fault strikes when the submitting step is over, before
/// anything else happens. If the process exits with that step, the fault strikes before the exit
/// performs the queued operations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AtDiskOp {
    /// What is submitted.
    pub op: DiskVerb,
    /// Only operations on such a file, or on the temporary file that becomes one. A rename counts
    /// for its target, a directory's sync for the file that requests it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileRole>,
    /// Armed this long after the storm began (or after the fault that it follows).
    #[serde(default)]
    pub from_us: u64,
    /// The n-th such submission since it was armed, from 1.
    #[serde(default = "first")]
    pub count: u32,
    /// Strikes this long after it. 0: before the next event.
    #[serde(default)]
    pub delay_us: u64,
    /// Only this node's submissions count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<i32>,
}

macro_rules! names_of {
    ($(#[$doc:meta])* $name:ident: $of:ty, $value:ident => $key:expr;
     $($(#[$each:meta])* $variant:ident = $pattern:pat,)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$each])* $variant,)*
        }

        impl $name {
            /// The category of this value.
            pub fn of($value: &$of) -> $name {
                match $key {
                    $($pattern => $name::$variant,)*
                }
            }
        }
    };
}

names_of! {
    /// What a submission to a disk asks for ([`wavetank_core::env::DiskOp`]).
    DiskVerb: DiskOp, op => op;
    /// A directory is opened.
    OpenDir = DiskOp::OpenDir { .. },
    /// A file is created.
    Create = DiskOp::Create { .. },
    /// Bytes are appended.
    Append = DiskOp::Append { .. },
    /// A file is synced.
    Sync = DiskOp::Sync { .. },
    /// A file is truncated.
    Truncate = DiskOp::Truncate { .. },
    /// A file is renamed.
    Rename = DiskOp::Rename { .. },
    /// A file is removed.
    Unlink = DiskOp::Unlink { .. },
    /// A directory's entries are synced.
    SyncDir = DiskOp::SyncDir { .. },
    /// A directory is removed.
    RemoveDir = DiskOp::RemoveDir { .. },
    /// A file is read.
    Read = DiskOp::Read { .. },
    /// A directory is renamed.
    RenameDir = DiskOp::RenameDir { .. },
}

names_of! {
    /// What a file is for ([`FileKind`]), whichever segment it belongs to.
    FileRole: FileKind, kind => match kind {
        FileKind::Temporary(small) => small.kind(),
        other => *other,
    };
    /// Record batches.
    Log = FileKind::Log(_),
    /// An offset index.
    OffsetIndex = FileKind::OffsetIndex(_),
    /// A time index.
    TimeIndex = FileKind::TimeIndex(_),
    /// The leader epochs of a partition.
    LeaderEpochs = FileKind::LeaderEpochs,
    /// The topic that a partition's directory belongs to.
    PartitionMetadata = FileKind::PartitionMetadata | FileKind::Temporary(_),
    /// The vote.
    QuorumState = FileKind::QuorumState,
    /// The cluster and node that the directory belongs to.
    MetaProperties = FileKind::MetaProperties,
    /// Recovery points.
    RecoveryPoints = FileKind::RecoveryPoints,
    /// High watermarks.
    HighWatermarks = FileKind::HighWatermarks,
    /// The mark of a clean stop.
    CleanShutdown = FileKind::CleanShutdown,
    /// The boot of the machine on which the logs were last recovered.
    BootId = FileKind::BootId,
}

impl AtDiskOp {
    /// Does this submission of `node` match?
    pub fn is(&self, node: i32, op: &DiskOp) -> bool {
        let about = match op {
            DiskOp::Create { file, .. }
            | DiskOp::Append { file, .. }
            | DiskOp::Sync { file, .. }
            | DiskOp::Truncate { file, .. }
            | DiskOp::Unlink { file }
            | DiskOp::Read { file, .. } => Some(file.kind),
            DiskOp::Rename { to, .. } => Some(*to),
            DiskOp::SyncDir { by, .. } => Some(*by),
            DiskOp::OpenDir { .. } | DiskOp::RemoveDir { .. } | DiskOp::RenameDir { .. } => None,
        };
        self.op == DiskVerb::of(op)
            && self.node.is_none_or(|meant| meant == node)
            && self.file.is_none_or(|meant| about.map(|kind| FileRole::of(&kind)) == Some(meant))
    }
}

/// A trigger on a note of the core ([`wavetank_core::note::Note::name`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AfterNote {
    /// The note's name.
    pub name: String,
    /// Armed this long after the storm began (or after the fault that it follows).
    #[serde(default)]
    pub from_us: u64,
    /// The n-th such note since it was armed, from 1. Notes about the metadata log count only for
    /// names that begin with `quorum_`.
    #[serde(default = "first")]
    pub count: u32,
    /// Strikes this long after the note. 0: before the next event.
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

/// A node, by id or by role. Roles are resolved when the fault strikes. A fault whose target does
/// not exist then (a partition without a leader) does nothing and is not counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// That node.
    Node(i32),
    /// The partition's leader, by its newest registration.
    LeaderOf(PartitionRef),
    /// A follower in the ISR.
    FollowerOf(PartitionRef),
    /// A replica outside the ISR, or a follower if there is none.
    LaggingOf(PartitionRef),
    /// The active controller.
    ActiveController,
    /// A voter that is not the active controller.
    OtherController,
    /// The node that emitted the triggering note, or submitted the triggering operation to its
    /// disk. A drawn node if there was none.
    Noted,
    /// Any node but that one.
    Other,
    /// A node with bytes that no sync covers. A drawn one if there is none.
    Unsynced,
}
