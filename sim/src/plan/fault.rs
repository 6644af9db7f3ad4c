//! Faults as a plan names them: what, where, when. Carried out by [`crate::faults`].

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
    pub fn new(when: When, what: FaultKind) -> Fault {
        Fault { when, what, then: Vec::new() }
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

/// Sets of nodes; nodes in different sets cannot reach each other.
pub type Groups = Vec<Vec<i32>>;

/// Who is cut off from whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// The target from all other nodes.
    Isolate(Target),
    /// Explicit groups; a node that is in none is cut off from all.
    Groups(Groups),
    /// Two halves, drawn, that only the target can reach.
    Bridge(Target),
    /// Two nodes from each other.
    Pair(Target, Target),
    /// Each node reaches only its neighbours by id.
    Ring,
}

/// A fault. Durations are microseconds; what it took away comes back after them, at the latest when
/// the storm is over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum FaultKind {
    /// The process ends; its page cache stays.
    Crash {
        /// Which node.
        node: Target,
        /// Until the restart.
        down_us: u64,
    },
    /// The process is asked to stop, hands its leaderships over, flushes, marks its stop as clean, and
    /// is started again. If that takes too long, it is killed.
    Restart {
        /// Which node.
        node: Target,
        /// How long it may take to stop.
        patience_us: u64,
        /// From its end to the start.
        down_us: u64,
    },
    /// The machine ends: only what was synced, and a drawn part of the rest, stays.
    PowerLoss {
        /// Which node.
        node: Target,
        /// Until the restart.
        down_us: u64,
    },
    /// All machines end in one instant.
    PowerLossAll {
        /// Until the first restart.
        down_us: u64,
        /// Most time between the first and the last restart; each node's is drawn.
        stagger_us: u64,
    },
    /// The process ends again and again, so soon after each restart that it may still recover.
    CrashLoop {
        /// Which node.
        node: Target,
        /// How often.
        times: u32,
        /// Until each restart.
        down_us: u64,
        /// From each restart to the next end.
        up_us: u64,
    },
    /// Messages between some nodes are held back.
    Partition {
        /// Who from whom.
        shape: Shape,
        /// Only messages towards the target (or to a later group from an earlier one) are held.
        #[serde(default)]
        one_way: bool,
        /// Clients cannot reach isolated nodes either.
        #[serde(default)]
        clients_too: bool,
        /// For how long.
        for_us: u64,
    },
    /// Messages are lost, and sent again by the transport after its timeout.
    Loss {
        /// Of 1000 messages, so many.
        permille: u32,
        /// For how long.
        for_us: u64,
    },
    /// All messages take longer.
    Delay {
        /// Extra time; each message draws its own, half as much to half as much again.
        extra_us: u64,
        /// Only those from and to this node.
        node: Option<Target>,
        /// For how long.
        for_us: u64,
    },
    /// The node does nothing, then goes on as if nothing had been (the zombie).
    Pause {
        /// Which node.
        node: Target,
        /// For how long.
        for_us: u64,
    },
    /// The node's next sync fails and its pages are marked clean. The node stops; the operator
    /// reboots the machine (its page cache is gone) and starts it again.
    FailSync {
        /// Which node.
        node: Target,
        /// From the failure to the restart.
        down_us: u64,
    },
    /// The node's disk gets slow.
    SlowDisk {
        /// Which node.
        node: Target,
        /// Every operation takes so many times as long.
        factor: u32,
        /// For how long.
        for_us: u64,
    },
}

impl FaultKind {
    /// All names, in the order of the variants.
    pub const NAMES: [&'static str; 11] = [
        "crash",
        "restart",
        "power_loss",
        "power_loss_all",
        "crash_loop",
        "partition",
        "loss",
        "delay",
        "pause",
        "fail_sync",
        "slow_disk",
    ];

    /// The name that plans, filters and counts use.
    pub fn name(&self) -> &'static str {
        match self {
            FaultKind::Crash { .. } => "crash",
            FaultKind::Restart { .. } => "restart",
            FaultKind::PowerLoss { .. } => "power_loss",
            FaultKind::PowerLossAll { .. } => "power_loss_all",
            FaultKind::CrashLoop { .. } => "crash_loop",
            FaultKind::Partition { .. } => "partition",
            FaultKind::Loss { .. } => "loss",
            FaultKind::Delay { .. } => "delay",
            FaultKind::Pause { .. } => "pause",
            FaultKind::FailSync { .. } => "fail_sync",
            FaultKind::SlowDisk { .. } => "slow_disk",
        }
    }
}
