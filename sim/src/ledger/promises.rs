//! What is promised about one partition: what was committed and acknowledged, what controllers
//! registered, where losses were admitted. When that changes, and what follows, is the ledger's.

use std::collections::BTreeMap;

use wavetank_core::types::{LeaderEpoch, NodeId, Offset, PartitionEpoch};

use super::BatchId;

/// A partition as a controller registered it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Who leads, if anyone.
    pub leader: Option<NodeId>,
    /// In which epoch.
    pub leader_epoch: LeaderEpoch,
    /// In sync.
    pub isr: Vec<NodeId>,
}

/// Where records were lost: those of smaller epochs from this offset on are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// First offset that was lost.
    pub offset: Offset,
    /// Epoch of the leader that started without it.
    pub epoch: LeaderEpoch,
    /// Faults took it, and the ledger admits the loss; otherwise it is a violation, and the lineage
    /// begins only so that the same loss is not told again and again.
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
    pub(super) committed: Vec<BatchId>,
    pub(super) acked: BTreeMap<i64, BatchId>,
    /// By offset: the epoch of the record that was acknowledged there (with whatever acks), or one of
    /// [`NO_EPOCH`] and [`SEVERAL_EPOCHS`].
    pub(super) acked_epochs: Vec<i32>,
    pub(super) registrations: BTreeMap<PartitionEpoch, Registration>,
    /// At which tick of the ledger each registration was committed.
    pub(super) ticks: BTreeMap<PartitionEpoch, u64>,
    pub(super) lineages: Vec<Lineage>,
    pub(super) admitted: u64,
    /// Of these, records that a replica outside of the ISR still held.
    pub(super) admitted_alone: u64,
    /// The topic was deleted: nothing is promised any more.
    pub(super) deleted: bool,
    /// The largest end that was ever committed, admitted losses notwithstanding.
    pub(super) furthest: i64,
    /// The newest epoch in which a leader has started.
    pub(super) led: Option<LeaderEpoch>,
    /// The epoch in which each node that ever led last began to.
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
    pub fn committed(&self) -> &[BatchId] {
        &self.committed
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

    /// How many records were in the losses that were admitted.
    pub fn admitted_records(&self) -> u64 {
        self.admitted
    }

    /// How many of these a replica held that was not in the ISR of one member from which the loss
    /// came: an ISR that shrinks to one takes the others' copies out of the promise.
    pub fn admitted_alone(&self) -> u64 {
        self.admitted_alone
    }

    /// Was its topic deleted?
    pub fn is_deleted(&self) -> bool {
        self.deleted
    }

    /// The epoch of the record that was acknowledged at this offset, with whatever acks; none if
    /// records of several epochs were, or no record.
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
        match self.committed.binary_search_by_key(&id.base, |batch| batch.base) {
            Ok(at) => self.committed[at] == *id,
            Err(_) => self.acked.get(&id.base) == Some(id),
        }
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

    /// The last registration of a node's leadership, by which it counts what it promises.
    pub(super) fn led_by(&self, leader: NodeId) -> Option<&Registration> {
        let epoch = self.leading.get(&leader)?;
        let mut registrations = self.registrations.values().rev();
        registrations.find(|known| known.leader == Some(leader) && known.leader_epoch == *epoch)
    }

    /// Since which tick a member of the ISR of that registration has been one without a break.
    pub(super) fn member_since(&self, at: PartitionEpoch, node: NodeId) -> u64 {
        let earlier = self.registrations.range(..=at).rev();
        let member = earlier.take_while(|(_, known)| known.isr.contains(&node));
        let first = member.last().map(|(epoch, _)| *epoch);
        first.and_then(|epoch| self.ticks.get(&epoch)).copied().unwrap_or(0)
    }

    /// What this node promises up to `to` counts up to here. A deposed leader that has not heard of
    /// its successor may go on promising what members of its ISR held once; behind an offset from
    /// which the successor's loss was admitted, that promise was void before it was made.
    pub(super) fn counts(&self, node: NodeId, to: Offset) -> i64 {
        let void = self.leading.get(&node).and_then(|epoch| self.void_from(*epoch));
        void.map_or(to.0, |void| void.0.min(to.0))
    }

    /// The offset from which on a node in this epoch may differ from the partition's log: the smallest
    /// offset of a loss that was found when a leader of a later epoch started.
    pub fn void_from(&self, epoch: LeaderEpoch) -> Option<Offset> {
        let later = self.lineages.iter().filter(|lineage| epoch < lineage.epoch);
        later.map(|lineage| lineage.offset).min()
    }

    /// The first of these batches, which are in order, that a successor of this leader lacked when it
    /// started, and the first such successor.
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

    /// A loss has been found from this offset on. Of the records, those in `elsewhere` are held by a
    /// replica outside of the ISR.
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
