//! The kinds of faults. Each is a module that implements [`Kind`]. One table lists them all and
//! generates the enum for plans, names, validation, dispatch and the counts in reports.
//!
//! A kind's module has its data as plans write them, its validation, its targets, what it does to
//! the world, how that ends, and how to detect that it took effect. The nemesis keeps what several
//! kinds share (processes to restart, links that several partitions block). How often a seed draws
//! a kind is in [`crate::profile`].

use super::{Cast, Link, Nemesis};
use crate::ledger::Ledger;
use crate::node::Node;
use crate::plan::{Plan, PlanError, Target};
use crate::world::World;
use serde::{Deserialize, Serialize};
use wavetank_core::types::NodeId;

pub use partition::{Groups, Shape};

macro_rules! kinds {
    ($($(#[$doc:meta])* $module:ident::$kind:ident = $name:literal, bites: $bites:literal;)*) => {
        $(mod $module;)*
        $(pub use $module::$kind;)*

        /// A fault. Durations are in microseconds. After that, or when the storm is over at the
        /// latest, the fault is undone.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum FaultKind {
            $($(#[$doc])* #[serde(rename = $name)] $kind($kind),)*
        }

        impl FaultKind {
            /// All names, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// What it means that a fault took effect: (name, "it bites when ...").
            pub const BITES: &'static [(&'static str, &'static str)] = &[$(($name, $bites)),*];

            /// The name used in plans, filters and counts.
            pub fn name(&self) -> &'static str {
                match self {
                    $(FaultKind::$kind(_) => $name,)*
                }
            }

            pub(crate) fn kind(&self) -> &dyn Kind {
                match self {
                    $(FaultKind::$kind(kind) => kind,)*
                }
            }
        }

        $(impl From<$kind> for FaultKind {
            fn from(kind: $kind) -> FaultKind {
                FaultKind::$kind(kind)
            }
        })*
    };
}

kinds! {
    /// The process is killed. Its page cache survives.
    crash::Crash = "crash", bites: "it ended a running process";
    /// The process is asked to stop. It hands over its leaderships, flushes, marks its stop as
    /// clean, and is started again. If stopping takes too long, it is killed.
    restart::Restart = "restart", bites: "the process that was asked to stop exited or was killed";
    /// The machine loses power. Only what was synced, and a drawn part of the rest, survives.
    power_loss::PowerLoss = "power_loss",
        bites: "it ended a running process, or changed what a disk held";
    /// All machines lose power at the same instant.
    power_loss_all::PowerLossAll = "power_loss_all",
        bites: "it ended a running process, or changed what a disk held, on some node";
    /// The process is killed repeatedly, so soon after each restart that it may still be
    /// recovering.
    crash_loop::CrashLoop = "crash_loop",
        bites: "it killed a process that it had restarted (the first one, if it kills only one)";
    /// Messages between some nodes are held back.
    partition::Partition = "partition", bites: "it held a message back";
    /// Messages are lost, and sent again by the transport after its timeout.
    loss::Loss = "loss", bites: "a message was lost while it lasted";
    /// All messages take longer.
    delay::Delay = "delay", bites: "it delayed a message";
    /// The node is paused, then continues as if nothing had happened (a zombie).
    pause::Pause = "pause", bites: "something waited for the paused node";
    /// The node's next sync fails and its pages are marked clean. The node stops. The operator
    /// reboots the machine (its page cache is lost) and starts the node again.
    fail_sync::FailSync = "fail_sync", bites: "a sync failed";
    /// The node's disk gets slow.
    slow_disk::SlowDisk = "slow_disk", bites: "a disk operation took longer";
    /// Records change in transit between nodes, undetected by TCP's checksum.
    damage::Damage = "damage", bites: "it flipped a bit of a batch in transit";
    /// The process is killed, and indexes of its logs are damaged at rest before it starts again.
    /// The indexes are also damaged if it has stopped by itself.
    damage_index::DamageIndex = "damage_index", bites: "an index was altered or lost";
    /// A node sends its peers what no correct node would: answers with epochs that no election
    /// reaches, truncations where logs do not diverge, or misplaced batches; requests with invalid
    /// ISRs, or with a broker epoch that never existed.
    lie::Lie = "lie", bites: "a request or an answer contained what no correct peer sends";
}

/// What each kind of fault implements.
pub(crate) trait Kind {
    /// Checks that this plan may have this fault.
    ///
    /// # Errors
    /// Names the invalid field.
    fn validate(&self, plan: &Plan) -> Result<(), PlanError>;

    /// The targets that it names. Empty if it concerns all nodes.
    fn targets(&self) -> Vec<Target>;

    /// Injects the fault.
    fn strike(&self, strike: &mut Strike<'_>) -> Struck;

    /// Undoes a lasting [`Effect`], or takes its next turn. In the latter case it returns after how
    /// many more ns to call it again.
    fn end(
        &self,
        strike: u64,
        effect: &mut Effect,
        nemesis: &mut Nemesis,
        world: &mut World<Node>,
    ) -> Option<u64>;
}

/// The context of a fault that strikes.
pub(crate) struct Strike<'a> {
    /// The strike's sequence number in the run, from 1.
    pub(super) number: u64,
    pub(super) nemesis: &'a mut Nemesis,
    pub(super) cast: &'a Cast<'a>,
    pub(super) world: &'a mut World<Node>,
    pub(super) ledger: &'a Ledger,
}

impl Strike<'_> {
    pub(super) fn node(&self, target: &Target) -> Option<NodeId> {
        self.cast.resolve(target, self.world, self.ledger)
    }

    /// The links from that node to all others, or those between all nodes. `None` if there is no
    /// such node.
    fn links_from(&self, node: Option<&Target>) -> Option<Vec<Link>> {
        let nodes: Vec<NodeId> = self.nemesis.nodes().collect();
        let from = match node {
            Some(target) => vec![self.node(target)?],
            None => nodes.clone(),
        };
        let pairs = from.iter().flat_map(|from| nodes.iter().map(move |to| (*from, *to)));
        Some(pairs.filter(|(from, to)| from != to).collect())
    }

    /// The node that a target means, if a process runs there.
    pub(super) fn running(&self, target: &Target) -> Option<NodeId> {
        self.node(target).filter(|node| self.world.is_up(*node))
    }
}

/// The immediate result of a strike.
#[derive(Clone, Debug)]
pub(crate) enum Struck {
    /// There was no node to strike. Nothing happened, and it does not count as fired.
    Nobody,
    /// It is over. `bit`: it took effect.
    Done { bit: bool },
    /// It continues.
    GoesOn(Effect),
}

/// A strike that may still take effect, or has something to undo.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    /// [`Kind::end`] is called after this many ns. `None`: never.
    pub(super) lasts: Option<u64>,
    /// It has taken effect once this gauge has moved from its earlier reading.
    pub(super) gauge: Option<(Gauge, u64)>,
    pub(super) nodes: Vec<NodeId>,
    pub(super) links: Vec<Link>,
    /// Remaining turns.
    pub(super) left: u32,
}

impl Effect {
    /// An effect that ends, or takes its next turn, after `ns`.
    pub(super) fn lasting(ns: u64) -> Effect {
        Effect { lasts: Some(ns), ..Effect::waiting() }
    }

    /// An effect that waits for its moment indefinitely.
    pub(super) fn waiting() -> Effect {
        Effect { lasts: None, gauge: None, nodes: Vec::new(), links: Vec::new(), left: 0 }
    }
}

/// A counter that the world keeps and that increases when a fault takes effect.
#[derive(Clone, Debug)]
pub(crate) enum Gauge {
    /// Messages that blocked links held back.
    Held(Vec<Link>),
    /// Messages that were lost, on any link.
    Lost,
    /// Messages that a latency spike delayed.
    Delayed(Vec<Link>),
    /// Answers in which a bit was flipped.
    Damaged(Vec<Link>),
    /// Messages that said what no correct peer says.
    Lies(Vec<Link>),
    /// Events that arrived while the node was paused.
    Waited(NodeId),
    /// Syncs that failed.
    FailedSyncs(NodeId),
    /// Disk operations that took longer.
    Slowed(NodeId),
    /// Files that power losses changed.
    PowerTook(NodeId),
}

impl Gauge {
    /// The gauge and its current reading.
    pub(super) fn watched(self, world: &World<Node>) -> Option<(Gauge, u64)> {
        let before = self.read(world);
        Some((self, before))
    }

    pub(super) fn read(&self, world: &World<Node>) -> u64 {
        let count = |link: &Link| world.link_counts(link.0, link.1);
        match self {
            Gauge::Held(links) => links.iter().map(|link| count(link).held).sum(),
            Gauge::Delayed(links) => links.iter().map(|link| count(link).delayed).sum(),
            Gauge::Damaged(links) => links.iter().map(|link| count(link).damaged).sum(),
            Gauge::Lies(links) => links.iter().map(|link| count(link).lies).sum(),
            Gauge::Lost => {
                let nodes: Vec<NodeId> = world.nodes().collect();
                let links = nodes.iter().flat_map(|from| nodes.iter().map(move |to| (*from, *to)));
                links.map(|link| count(&link).lost).sum()
            }
            Gauge::Waited(node) => world.held_by_pauses(*node),
            Gauge::FailedSyncs(node) => world.disk(*node).counts().failed_syncs,
            Gauge::Slowed(node) => world.disk(*node).counts().slowed,
            Gauge::PowerTook(node) => world.disk(*node).counts().lost,
        }
    }
}
