//! What is promised about one partition: what was committed and acknowledged, what controllers
//! registered, where losses were admitted. The ledger decides when that changes and what follows.

use std::collections::BTreeMap;

use wavetank_core::types::{LeaderEpoch, NodeId, Offset, PartitionEpoch};

use super::BatchId;
use crate::shared::Steady;

/// A partition as a controller registered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The leader, if there is one.
    pub leader: Option<NodeId>,
    /// Its epoch.
    pub leader_epoch: LeaderEpoch,
    /// The ISR.
    pub isr: Vec<NodeId>,
}

/// Where records were lost: those of smaller epochs, from this offset on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// First offset that was lost.
    pub offset: Offset,
    /// Epoch of the leader that started without it.
    pub epoch: LeaderEpoch,
    /// Faults caused the loss, and the ledger admits it. Otherwise it is a violation, and the
    /// lineage only keeps the same loss from being reported repeatedly.
    pub excused: bool,
}

/// The start of a leadership.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    /// The leader.
    pub(super) leader: NodeId,
    /// Its epoch.
    pub(super) epoch: LeaderEpoch,
    /// Its log end at that time.
    pub(super) end: i64,
    /// The registration with the ISR that it was elected from, if known.
    pub(super) elected_from: Option<PartitionEpoch>,
}

/// Nothing was acknowledged.
const NO_EPOCH: i32 = -1;

/// Records of several epochs were acknowledged at one offset.
const SEVERAL_EPOCHS: i32 = -2;

/// What is promised about one partition.
#[derive(Clone, Debug, Default)]
pub struct Promises {
    pub(super) committed: Steady<BatchId>,
    pub(super) acked: BTreeMap<i64, BatchId>,
    /// By offset: the epoch of the record acknowledged there (with any acks), or [`NO_EPOCH`] or
    /// [`SEVERAL_EPOCHS`].
    pub(super) acked_epochs: Vec<i32>,
    pub(super) registrations: BTreeMap<PartitionEpoch, Registration>,
    /// The ledger's tick at which each registration was committed.
    pub(super) ticks: BTreeMap<PartitionEpoch, u64>,
    pub(super) lineages: Vec<Lineage>,
    pub(super) admitted: u64,
    /// Of these, records that a replica outside a one-member ISR still held.
    pub(super) admitted_alone: u64,
    /// The topic was deleted, so nothing is promised any more.
    pub(super) deleted: bool,
    /// The largest end that was ever committed, despite admitted losses.
    pub(super) furthest: i64,
    /// The newest epoch in which a leader has started.
    pub(super) led: Option<LeaderEpoch>,
    /// The epoch in which each node last began to lead, if it ever did.
    pub(super) leading: BTreeMap<NodeId, LeaderEpoch>,
    /// The starts of leaderships that were not overtaken yet, by epoch.
    pub(super) starts: Vec<Start>,
}

impl Promises {
    /// The offset after the last committed batch.
    pub fn committed_end(&self) -> i64 {
        self.committed.last().map_or(0, BatchId::end)
    }

    /// The largest offset that any leader's high watermark ever reached.
    pub fn furthest(&self) -> Offset {
        Offset(self.furthest)
    }

    /// Committed batches, in order.
    pub fn committed(&self) -> &Steady<BatchId> {
        &self.committed
    }

    /// The committed batch that begins there.
    pub(super) fn committed_at(&self, base: i64) -> Option<&BatchId> {
        let at = self.committed.partition_point(|batch| batch.base < base);
        self.committed.get(at).filter(|batch| batch.base == base)
    }

    /// The newest registration.
    pub fn registration(&self) -> Option<&Registration> {
        self.registrations.values().next_back()
    }

    /// All registrations, by partition epoch.
    pub fn registrations(&self) -> &BTreeMap<PartitionEpoch, Registration> {
        &self.registrations
    }

    /// Where losses were found, excused or not, in order.
    pub fn lineages(&self) -> &[Lineage] {
        &self.lineages
    }

    /// Was a loss admitted?
    pub fn has_excused_loss(&self) -> bool {
        self.lineages.iter().any(|lineage| lineage.excused)
    }

    /// How many records the admitted losses contained.
    pub fn admitted_records(&self) -> u64 {
        self.admitted
    }

    /// How many of these a replica held that was not in the one-member ISR from which the loss
    /// came. When an ISR shrinks to one, the promise no longer covers the others' copies.
    pub fn admitted_alone(&self) -> u64 {
        self.admitted_alone
    }

    /// Was its topic deleted?
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// The epoch of the record acknowledged at this offset, with any acks. `None` if no record was,
    /// or records of several epochs were.
    pub fn acked_epoch(&self, offset: Offset) -> Option<LeaderEpoch> {
        let epoch = self.acked_epochs.get(usize::try_from(offset.0).ok()?)?;
        (*epoch >= 0).then_some(LeaderEpoch(*epoch))
    }

    pub(super) fn remember_epochs(&mut self, ids: &[BatchId]) {
        for id in ids {
            let (from, to) = (id.base as usize, id.end() as usize);
            if self.acked_epochs.len() < to {
                self.acked_epochs.resize(to, NO_EPOCH);
            }
            for epoch in &mut self.acked_epochs[from..to] {
                *epoch = match *epoch {
                    NO_EPOCH => id.epoch,
                    known if known == id.epoch => known,
                    _ => SEVERAL_EPOCHS,
                };
            }
        }
    }

    /// Everything that must stay, in order.
    pub(super) fn promised(&self) -> impl Iterator<Item = &BatchId> {
        let all = self.committed.iter().chain(self.acked.values());
        all.filter(|_| !self.deleted)
    }

    /// Is this batch promised?
    pub(super) fn is_promised(&self, id: &BatchId) -> bool {
        if self.deleted {
            return false;
        }
        self.committed_at(id.base).or_else(|| self.acked.get(&id.base)) == Some(id)
    }

    /// The registration with the ISR from which the leader of this epoch was elected.
    pub(super) fn electorate(
        &self,
        leader: NodeId,
        epoch: LeaderEpoch,
    ) -> Option<(PartitionEpoch, &Registration)> {
        let mut before = None;
        for (at, registration) in &self.registrations {
            if registration.leader == Some(leader) && registration.leader_epoch == epoch {
                return before;
            }
            before = Some((*at, registration));
        }
        None
    }

    /// The last registration of a node's leadership. Its promises count by that ISR.
    pub(super) fn led_by(&self, leader: NodeId) -> Option<&Registration> {
        let epoch = self.leading.get(&leader)?;
        let mut registrations = self.registrations.values().rev();
        registrations.find(|known| known.leader == Some(leader) && known.leader_epoch == *epoch)
    }

    /// The tick since which a member of that registration's ISR has been one without a break.
    pub(super) fn member_since(&self, at: PartitionEpoch, node: NodeId) -> u64 {
        let earlier = self.registrations.range(..=at).rev();
        let member = earlier.take_while(|(_, known)| known.isr.contains(&node));
        let first = member.last().map(|(epoch, _)| *epoch);
        first.and_then(|epoch| self.ticks.get(&epoch)).copied().unwrap_or(0)
    }

    /// How far this node's promises up to `to` count. A deposed leader that has not heard of its
    /// successor may keep promising what members of its ISR once held. From the offset of the
    /// successor's loss on, that promise was void before it was made.
    pub(super) fn counts(&self, node: NodeId, to: Offset) -> i64 {
        let void = self.leading.get(&node).and_then(|epoch| self.void_from(*epoch));
        void.map_or(to.0, |void| void.0.min(to.0))
    }

    /// The offset from which the log of a node that still leads or follows in this epoch is no
    /// longer the partition's log: the smallest offset of a loss found when a later leader started.
    pub fn void_from(&self, epoch: LeaderEpoch) -> Option<Offset> {
        let later = self.lineages.iter().filter(|lineage| epoch < lineage.epoch);
        later.map(|lineage| lineage.offset).min()
    }

    /// The first of these batches, which are in order, that a successor of this leader lacked when
    /// it started, and the first such successor.
    pub(super) fn lacked_by_successor<'a>(
        &self,
        leader: NodeId,
        promised: impl Iterator<Item = &'a BatchId>,
    ) -> Option<(BatchId, Start)> {
        let epoch = self.leading.get(&leader)?;
        let successors = self.starts.iter().filter(|start| start.epoch > *epoch);
        let shortest = successors.clone().map(|start| start.end).min()?;
        let batch = promised.into_iter().find(|batch| batch.base >= shortest)?;
        let start = successors.into_iter().find(|start| start.end <= batch.base)?;
        Some((*batch, *start))
    }

    /// A loss was found from this offset on. `elsewhere`: a replica outside the one-member ISR
    /// holds the batch.
    pub(super) fn void(
        &mut self,
        offset: i64,
        epoch: LeaderEpoch,
        excused: bool,
        elsewhere: impl Fn(&BatchId) -> bool,
    ) {
        let keep = self.committed.partition_point(|batch| batch.base < offset);
        let gone = self.committed.split_off(keep);
        let acked = self.acked.split_off(&offset);
        let all = || gone.iter().chain(acked.values());
        let records = all().map(BatchId::records).sum();
        if excused {
            let alone = all().filter(|id| elsewhere(id));
            self.admitted_alone += alone.map(BatchId::records).sum::<u64>();
        }
        self.begin_lineage(offset, epoch, excused, records);
    }

    /// From this offset on, the log of earlier epochs is void, and these records with it.
    pub(super) fn begin_lineage(
        &mut self,
        offset: i64,
        epoch: LeaderEpoch,
        excused: bool,
        records: u64,
    ) {
        if excused {
            self.admitted += records;
        }
        self.lineages.push(Lineage { offset: Offset(offset), epoch, excused });
    }
}
