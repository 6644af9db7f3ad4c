//! The invariants, one file each, with source and reason.
//!
//! An invariant sees everything that happens ([`Seen`]) and returns what is wrong. It keeps a small
//! state of its own and looks the rest up in the [`View`]. Its kind says who could observe the same
//! violation: a client from its own history, the tank's ledger from what it knows of the disks, or
//! only a white-box observer.

mod acked_by_min_isr;
mod acked_is_synced;
mod acked_stays;
mod answers;
mod appended_as_led;
mod clean_mark;
mod clean_start;
mod committed_cut;
mod corrupt_read;
mod election_safety;
mod ends_monotonic;
mod ends_settled;
mod epochs_monotonic;
mod exchange;
mod high_watermark;
mod isr_by_registration;
mod isr_holds_promised;
mod living_stay;
mod log_matching;
mod majority;
mod metadata_log;
mod promise_is_replicated;
mod read_refused;
mod recovered;
mod stops_in_time;
mod time_lookup;
mod topics_as_asked;

pub use acked_by_min_isr::AckedByMinIsr;
pub use acked_is_synced::AckedIsSynced;
pub use acked_stays::AckedStays;
pub use answers::Answers;
pub use appended_as_led::AppendedAsLed;
pub use clean_mark::CleanMark;
pub use clean_start::CleanStart;
pub use committed_cut::CommittedCut;
pub use corrupt_read::CorruptRead;
pub use election_safety::ElectionSafety;
pub use ends_monotonic::EndsMonotonic;
pub use ends_settled::EndsSettled;
pub use epochs_monotonic::EpochsMonotonic;
pub use exchange::check as check_answer;
pub use high_watermark::HighWatermark;
pub use isr_by_registration::IsrByRegistration;
pub use isr_holds_promised::IsrHoldsPromised;
pub use living_stay::LivingStay;
pub use log_matching::LogMatching;
pub use majority::Majority;
pub use metadata_log::MetadataLog;
pub use promise_is_replicated::PromiseIsReplicated;
pub use read_refused::ReadRefused;
pub use recovered::Recovered;
pub use stops_in_time::StopsInTime;
pub use time_lookup::{LARGEST, TimeLookup};
pub use topics_as_asked::TopicsAsAsked;

use crate::ledger::{Finding, Ledger};
use crate::node::Node;
use crate::plan::Plan;
use crate::workload::Record;
use crate::world::World;
use dyn_clone::DynClone;
use serde::Serialize;
use std::fmt;
use wavetank_core::note::Note;
use wavetank_core::types::{NodeId, TopicPartition};

/// Who could observe the violation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A client, from its history.
    Client,
    /// The tank, from what it knows of the disks and of what was promised.
    Ledger,
    /// Only a white-box observer.
    WhiteBox,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Client => "client",
            Kind::Ledger => "ledger",
            Kind::WhiteBox => "white-box",
        })
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// The invariant's name.
    pub invariant: String,
    /// Who could observe the violation.
    pub kind: Kind,
    /// What happened, and where.
    pub message: String,
    /// When, microseconds of virtual time.
    pub at_us: u64,
}

/// Something that happened.
#[derive(Clone, Copy, Debug)]
pub enum Seen<'a> {
    /// A node noted a transition.
    Note(NodeId, &'a Note),
    /// The ledger found something unjustified, or admitted a loss.
    Finding(&'a Finding),
    /// A process started on a node.
    Started(NodeId),
    /// A fault of this kind ([`crate::plan::FaultKind::name`]) struck these nodes. No nodes means
    /// all.
    Fault(&'static str, &'a [NodeId]),
    /// A client did or learned something.
    Client(&'a Record),
    /// A node gave an answer that [`check_answer`] does not accept, or accepted a lie, and why.
    OddAnswer(NodeId, &'a str),
}

/// What an invariant can look up.
#[derive(Clone, Copy)]
pub struct View<'a> {
    /// The run's plan.
    pub plan: &'a Plan,
    /// What the tank knows of the disks, and what was promised.
    pub ledger: &'a Ledger,
    /// The world, with the machines in it.
    pub world: &'a World<Node>,
    /// Since when no fault has been in force (on a process, a link, a disk's speed), ns of virtual
    /// time. `None` while one is. A node that was asked to stop does not count until it is gone.
    pub calm_since: Option<u64>,
}

impl View<'_> {
    /// Is a cut of a node's partition still on its way to the disk? Until it is done, the ledger
    /// has the old content.
    pub fn is_cutting(&self, node: NodeId, partition: TopicPartition) -> bool {
        let known = self.world.nodes().any(|host| host == node);
        let name = self.ledger.name(partition);
        known && name.is_some_and(|name| self.world.disk(node).is_changing(name))
    }

    /// A partition's readable name.
    pub fn name(&self, partition: TopicPartition) -> String {
        match self.ledger.name(partition) {
            Some(name) => name.to_owned(),
            None => partition.to_string(),
        }
    }
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").finish_non_exhaustive()
    }
}

/// A property of all runs. `#[derive(Clone, Debug)]` makes it one that can be copied with its run.
pub trait Invariant: DynClone + fmt::Debug + Send + Sync {
    /// A stable name.
    fn name(&self) -> &'static str;

    /// Who could observe the violation.
    fn kind(&self) -> Kind;

    /// Called for everything that happens, in order.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    fn see(&mut self, seen: Seen<'_>, view: &View<'_>) -> Result<(), String>;

    /// Called once, after the final read. `history` is everything that clients did and learned.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    fn at_end(&mut self, _history: &[Record], _view: &View<'_>) -> Result<(), String> {
        Ok(())
    }
}

dyn_clone::clone_trait_object!(Invariant);

/// The built-in invariants that are checked after each event.
pub fn all() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<ElectionSafety>::default(),
        Box::<Majority>::default(),
        Box::<EpochsMonotonic>::default(),
        Box::<LogMatching>::default(),
        Box::<AppendedAsLed>::default(),
        Box::new(AckedStays),
        Box::new(PromiseIsReplicated),
        Box::new(IsrHoldsPromised),
        Box::<HighWatermark>::default(),
        Box::<IsrByRegistration>::default(),
        Box::new(MetadataLog),
        Box::new(CleanMark),
        Box::<CleanStart>::default(),
        Box::<Recovered>::default(),
        Box::new(ReadRefused),
        Box::new(CommittedCut),
        Box::new(CorruptRead),
        Box::<LivingStay>::default(),
        Box::<StopsInTime>::default(),
        Box::<AckedByMinIsr>::default(),
        Box::<AckedIsSynced>::default(),
        Box::<EndsSettled>::default(),
        Box::<EndsMonotonic>::default(),
        Box::new(TimeLookup),
        Box::<TopicsAsAsked>::default(),
        Box::new(Answers),
    ]
}

/// The invariants that need no knowledge of the disks or the metadata log. The notes of nodes and
/// the records of clients are enough, in the tank or elsewhere.
pub fn by_notes_and_history() -> Vec<Box<dyn Invariant>> {
    vec![
        Box::<ElectionSafety>::default(),
        Box::<EpochsMonotonic>::default(),
        Box::<AckedIsSynced>::default(),
        Box::new(CorruptRead),
        Box::<EndsMonotonic>::default(),
        Box::new(TimeLookup),
    ]
}

#[cfg(test)]
mod fixture;
