//! The kinds of faults: a module each, all of one shape ([`Kind`]), and the one table of them, from
//! which the enum of plans, names, validation, dispatch and the counts in reports follow.
//!
//! A kind's module has its data as plans write them, what a plan may say of it, whom it names, what it
//! does to the world, how that ends, and how one knows that it took effect. What several kinds share
//! (processes that come back, links that several partitions block) is kept by the nemesis; how often
//! a seed draws a kind is in [`crate::profile`].

use super::{Cast, Link, Nemesis};
use crate::ledger::Ledger;
use crate::plan::{Plan, PlanError, Target};
use crate::run::Node;
use crate::world::World;
use serde::{Deserialize, Serialize};
use wavetank_core::types::NodeId;

pub use partition::{Groups, Shape};

macro_rules! kinds {
    ($($(#[$doc:meta])* $module:ident::$kind:ident = $name:literal, bites: $bites:literal;)*) => {
        $(mod $module;)*
        $(pub use $module::$kind;)*

        /// A fault. Durations are microseconds; what it took away comes back after them, at the latest
        /// when the storm is over.
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum FaultKind {
            $($(#[$doc])* #[serde(rename = $name)] $kind($kind),)*
        }

        impl FaultKind {
            /// All names, in the order of the variants.
            pub const NAMES: &'static [&'static str] = &[$($name),*];

            /// What it means that a fault took effect: (name, "it bites when ...").
            pub const BITES: &'static [(&'static str, &'static str)] = &[$(($name, $bites)),*];

            /// The name that plans, filters and counts use.
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
    /// The process ends; its page cache stays.
    crash::Crash = "crash", bites: "it ended a running process";
    /// The process is asked to stop, hands its leaderships over, flushes, marks its stop as clean, and
    /// is started again. If that takes too long, it is killed.
    restart::Restart = "restart", bites: "the process that was asked to stop ended, or was killed";
    /// The machine ends: only what was synced, and a drawn part of the rest, stays.
    power_loss::PowerLoss = "power_loss",
        bites: "it ended a running process, or changed what a disk held";
    /// All machines end in one instant.
    power_loss_all::PowerLossAll = "power_loss_all",
        bites: "it ended a running process, or changed what a disk held, on some node";
    /// The process ends again and again, so soon after each restart that it may still recover.
    crash_loop::CrashLoop = "crash_loop",
        bites: "it ended a process that it had let start again (the first one, if it ends only one)";
    /// Messages between some nodes are held back.
    partition::Partition = "partition", bites: "it held a message back";
    /// Messages are lost, and sent again by the transport after its timeout.
    loss::Loss = "loss", bites: "a message was lost while it lasted";
    /// All messages take longer.
    delay::Delay = "delay", bites: "it delayed a message";
    /// The node does nothing, then goes on as if nothing had been (the zombie).
    pause::Pause = "pause", bites: "something waited for the node that stood still";
    /// The node's next sync fails and its pages are marked clean. The node stops; the operator
    /// reboots the machine (its page cache is gone) and starts it again.
    fail_sync::FailSync = "fail_sync", bites: "a sync failed";
    /// The node's disk gets slow.
    slow_disk::SlowDisk = "slow_disk", bites: "an operation of the disk took longer";
    /// Records change on their way between nodes, past TCP's checksum.
    damage::Damage = "damage", bites: "it flipped a bit of a batch under way";
    /// The process is killed, and indexes of its logs are damaged at rest before it starts again; also
    /// where it has stopped by itself.
    damage_index::DamageIndex = "damage_index", bites: "an index became another, or was lost";
    /// A node tells its peers what no correct one does: answers with epochs that no election reaches, cuts
    /// where nothing parts, batches out of place; requests with ISRs that are none, or with a broker
    /// epoch that never was.
    lie::Lie = "lie", bites: "a request or an answer said what no correct peer says";
}

/// What each kind says of itself.
pub(crate) trait Kind {
    /// Can this plan have it?
    ///
    /// # Errors
    /// Names the field that cannot be.
    fn validate(&self, plan: &Plan) -> Result<(), PlanError>;

    /// Whom it names; nobody where it concerns all.
    fn targets(&self) -> Vec<Target>;

    /// Does it.
    fn strike(&self, strike: &mut Strike<'_>) -> Struck;

    /// Takes back what an [`Effect`] that lasts took away, or takes its next turn: then it says after
    /// how many more ns it is asked again.
    fn end(
        &self,
        strike: u64,
        effect: &mut Effect,
        nemesis: &mut Nemesis,
        world: &mut World<Node>,
    ) -> Option<u64>;
}

/// A fault at its moment: whom and what it can reach.
pub(crate) struct Strike<'a> {
    /// The how-manieth strike of the run, from 1.
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

    /// The links from that node to all others, or those between all; `None` if there is no such node.
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

/// What came of a strike.
#[derive(Clone, Debug)]
pub(crate) enum Struck {
    /// There was nobody to strike: nothing happened, and it does not count as fired.
    Nobody,
    /// All of it has happened. Did it take effect?
    Done { bit: bool },
    /// It goes on.
    GoesOn(Effect),
}

/// A strike that may still take effect, or has something to give back.
#[derive(Clone, Debug)]
pub(crate) struct Effect {
    /// [`Kind::end`] is asked after so many ns; `None`: never.
    pub(super) lasts: Option<u64>,
    /// It has taken effect as soon as this moves from what it was.
    pub(super) gauge: Option<(Gauge, u64)>,
    pub(super) nodes: Vec<NodeId>,
    pub(super) links: Vec<Link>,
    /// Turns that are left.
    pub(super) left: u32,
}

impl Effect {
    /// Something that ends, or takes its next turn, after so many ns.
    pub(super) fn lasting(ns: u64) -> Effect {
        Effect { lasts: Some(ns), ..Effect::waiting() }
    }

    /// Something that waits for its moment without end.
    pub(super) fn waiting() -> Effect {
        Effect { lasts: None, gauge: None, nodes: Vec::new(), links: Vec::new(), left: 0 }
    }
}

/// A count that the world keeps, and that moves when a fault takes effect.
#[derive(Clone, Debug)]
pub(crate) enum Gauge {
    /// Messages that blocked links held back.
    Held(Vec<Link>),
    /// Messages that were lost, wherever.
    Lost,
    /// Messages that a spike of latency delayed.
    Delayed(Vec<Link>),
    /// Answers of which a bit was flipped.
    Damaged(Vec<Link>),
    /// Answers that said what no correct peer says.
    Lies(Vec<Link>),
    /// Events that came while the node was paused.
    Waited(NodeId),
    /// Syncs that failed.
    FailedSyncs(NodeId),
    /// Operations of a disk that took longer.
    Slowed(NodeId),
    /// Files that power losses changed.
    PowerTook(NodeId),
}

impl Gauge {
    /// The gauge and what it shows now.
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
