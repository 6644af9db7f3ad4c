//! The loss ledger: what the tank itself knows about every copy of every record, and which losses
//! are therefore legitimate.
//!
//! # What is recorded
//!
//! For each node and partition, [`ReplicaLog`] follows the disk's own stream of changes: which
//! batches are in the page cache, which are on the media, which a fault of the tank took away.
//! Nothing here comes from what a broker says about its log. The broker's notes only say *when* it
//! promised something. For each partition, [`Promises`] stores
//!
//! - the *committed* log: everything below a leader's high watermark. Consumers were served from
//!   it;
//! - what was *acknowledged* with acks=all and is not committed yet (nothing, if the rules hold);
//! - the registrations that the metadata log committed: leader, epoch, ISR. The ledger replays the
//!   committed log itself, from the quorum leader's disk. Uncommitted decisions of a deposed
//!   controller do not count;
//! - the *lineages*: the places where a loss was admitted.
//!
//! # When a loss is excused
//!
//! The promise: a committed or acknowledged record stays as long as one member of the partition's
//! last committed ISR holds it intact. It is judged where it matters, in three places:
//!
//! 1. *A leader starts.* Its log must hold all that is promised. Say it lacks batch `b`, and let
//!    `S` be the ISR of the registration before the one that made it leader. Because every member
//!    of an ISR holds what is promised, each member of `S` held `b` once. The loss is excused
//!    exactly if a fault of the tank took `b` from each of them (it is in [`ReplicaLog::lost`]), so
//!    that no member of `S` could have led without the loss. One member that still holds `b`, or
//!    one that lacks `b` without a fault (it cut `b`, or never had it), makes the loss a violation.
//! 2. *A member of the ISR cuts its log.* Cutting a promised batch is never justified: a legitimate
//!    leader holds the batch, so the logs cannot diverge before it. Once a loss has been admitted,
//!    the batch is no longer promised.
//!
//! 3. *A registration is committed.* Each member of its ISR holds what is promised at that moment,
//!    or a fault took it away. Otherwise an election could lose it, and whether one comes is luck.
//!
//! If a topic flushes each batch, "holds" in the promise means "has on its media". No fault of the
//! default budget destroys what is on the media, so no loss is excused there, not even if all nodes
//! lose power at once. The metadata log always flushes. Its promise is judged against the voters,
//! and its loss is never excused. Unclean election is never allowed, so it excuses nothing.
//!
//! Why `S` is taken when the leader starts and not when power was lost: without the eligible leader
//! replicas of KIP-966 (not built) a controller cannot know that a replica lost its tail. If all
//! members of an ISR lose power, Kafka fences them one after another and keeps the last. That one
//! may lead with losses, even if a fenced one kept its records. This is the documented limit of not
//! flushing.
//!
//! Which fault excuses which member: what a fault took from a member excuses it until the
//! controller knows its new process. A broker that has re-registered since the loss has left every
//! ISR that has another member, and can only have rejoined with everything promised. From then on
//! its loss excuses nothing (`Ledger::is_excused`). Time is counted in ticks, one for each
//! committed batch of metadata records.
//!
//! An admitted loss opens a new lineage at (partition, offset, epoch of the new leader): promises
//! from that offset on are void, and order and agreement start anew there. This includes what a
//! leader of a smaller epoch still promises later because it has not heard of the new one. Even so,
//! each member of its own ISR must have had what it promises, though the member may have cut it
//! since.
//!
//! A deposed leader may also be the first to promise a record: all members of its ISR had it; one
//! of them became leader, lost it to a fault before anyone had promised it, and led again without
//! it. The start of that successor is then judged again, as if the record had been promised before
//! it, and the lineage begins at that record.
//!
//! A loss that is *not* excused is a violation. It begins a lineage, too, so that it is not
//! reported repeatedly. That lineage is marked ([`Lineage::excused`]), and no history has it as an
//! admitted loss.
//!
//! What does not live here: the invariants that read this ([`crate::invariants`]).

mod deposed;
mod metadata;
mod promises;
mod replica;

use metadata::parse_partition;
use promises::Start;
pub use promises::{Lineage, Promises, Registration};
pub use replica::{BatchId, ReplicaLog};

use crate::disk::{Change, DirSlot, DiskChange, SimDisk};
use std::collections::{BTreeMap, BTreeSet};
use wavetank_core::env::{FileKind, SmallFile};
use wavetank_core::metadata::MetadataImage;
use wavetank_core::note::Note;
use wavetank_core::replica::parse_dir_name;
use wavetank_core::types::{
    LeaderEpoch, METADATA_TOPIC, NodeId, Offset, PartitionEpoch, TopicId, TopicPartition,
};

#[cfg(test)]
pub(crate) use replica::tests as fixture;

/// Something that the ledger cannot justify, or must admit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A leader started without a promised batch, and the loss is not excused.
    Lost {
        /// Which partition.
        partition: TopicPartition,
        /// The leader.
        leader: NodeId,
        /// Its epoch.
        epoch: LeaderEpoch,
        /// The first batch that it lacks and should have.
        batch: BatchId,
        /// The ISR that it was elected from.
        isr: Vec<NodeId>,
        /// Why the loss is not excused.
        because: String,
    },
    /// A member of the ISR cut a promised batch.
    Cut {
        /// Which partition.
        partition: TopicPartition,
        /// The node that cut.
        node: NodeId,
        /// The first promised batch that is gone.
        batch: BatchId,
    },
    /// A loss is excused: a new lineage begins.
    Admitted {
        /// Which partition.
        partition: TopicPartition,
        /// The first lost batch.
        batch: BatchId,
        /// Epoch of the leader that starts without it.
        epoch: LeaderEpoch,
    },
    /// A leader's log differs from what was committed, below its high watermark.
    Disagrees {
        /// Which partition.
        partition: TopicPartition,
        /// The node with that log.
        node: NodeId,
        /// What was committed.
        committed: BatchId,
        /// What the node holds there.
        holds: Option<BatchId>,
    },
    /// The record acknowledged at an offset is not the one committed there.
    Replaced {
        /// Which partition.
        partition: TopicPartition,
        /// What was acknowledged.
        acked: BatchId,
        /// What was committed in its place.
        committed: BatchId,
    },
    /// A high watermark or an acknowledgement is beyond what the node has written.
    Beyond {
        /// Which partition.
        partition: TopicPartition,
        /// The node that promised.
        node: NodeId,
        /// The offset that was promised.
        offset: Offset,
        /// Where its log ends.
        end: Offset,
    },
    /// Something was promised that a member of the ISR (or too many voters) never had.
    Missing {
        /// Which partition.
        partition: TopicPartition,
        /// The leader that promised.
        leader: NodeId,
        /// The member that lacks it.
        member: NodeId,
        /// The first such batch.
        batch: BatchId,
        /// It must be on the media, not only in the page cache.
        durably: bool,
    },
    /// A registration was committed whose ISR has a member that never had what was promised.
    Unfit {
        /// Which partition.
        partition: TopicPartition,
        /// Which registration.
        partition_epoch: PartitionEpoch,
        /// Its ISR.
        isr: Vec<NodeId>,
        /// The member that lacks it.
        member: NodeId,
        /// The first such batch.
        batch: BatchId,
        /// It must be on the media, not only in the page cache.
        durably: bool,
    },
    /// The committed metadata log does not replay.
    Unreadable {
        /// The node whose copy was read.
        node: NodeId,
        /// Which batch.
        batch: BatchId,
        /// What is wrong with it.
        why: String,
    },
}

/// See the module's documentation.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    voters: Vec<NodeId>,
    /// Topics (by name) that flush each batch.
    flushing: BTreeSet<String>,
    /// Names of directories, the same on all nodes. The fields below refer to them by index.
    names: Vec<String>,
    slots: BTreeMap<(NodeId, DirSlot), u32>,
    replicas: BTreeMap<(NodeId, u32), ReplicaLog>,
    /// The directory of each partition, and the reverse.
    dirs: BTreeMap<TopicPartition, u32>,
    partitions: BTreeMap<u32, TopicPartition>,
    promises: BTreeMap<TopicPartition, Promises>,
    /// The image of the committed metadata log.
    image: MetadataImage,
    /// The metadata log did not replay, which has been reported.
    unreadable: bool,
    /// How many batches of the metadata log were replayed.
    tick: u64,
    /// The ticks at which each broker registered as a new process.
    reborn: BTreeMap<NodeId, Vec<u64>>,
    /// Every topic that was ever created, with its name.
    topics_made: BTreeMap<TopicId, String>,
    /// How often a topic of each name was removed.
    topics_removed: BTreeMap<String, u64>,
    /// The node that last became active controller, and its epoch.
    controller: Option<(LeaderEpoch, NodeId)>,
}

/// A replica of which nothing is known.
static EMPTY: ReplicaLog = ReplicaLog::EMPTY;

impl Ledger {
    /// Creates a ledger for a quorum of these voters. `flushing` are the topics that flush each
    /// batch.
    pub fn new(voters: Vec<NodeId>, flushing: BTreeSet<String>) -> Ledger {
        let mut ledger = Ledger { voters, flushing, ..Ledger::default() };
        let dir = ledger.intern(&format!("{METADATA_TOPIC}-0"));
        ledger.learn(dir, TopicPartition::METADATA);
        ledger
    }

    /// What a node holds of a partition. Empty if nothing is known.
    pub fn replica(&self, node: NodeId, partition: TopicPartition) -> &ReplicaLog {
        self.dirs.get(&partition).and_then(|dir| self.replicas.get(&(node, *dir))).unwrap_or(&EMPTY)
    }

    /// What is promised about a partition.
    pub fn promises(&self, partition: TopicPartition) -> Option<&Promises> {
        self.promises.get(&partition)
    }

    /// All partitions of which anything is known, with their promises.
    pub fn partitions(&self) -> impl Iterator<Item = (TopicPartition, &Promises)> {
        self.promises.iter().map(|(partition, promises)| (*partition, promises))
    }

    /// A partition's directory name (`<topic>-<partition>`), once a disk has shown it.
    pub fn name(&self, partition: TopicPartition) -> Option<&str> {
        self.dirs.get(&partition).map(|dir| self.names[*dir as usize].as_str())
    }

    /// The partition in the directory of that name.
    pub fn partition_named(&self, name: &str) -> Option<TopicPartition> {
        let dir = self.names.iter().position(|known| known == name)?;
        self.partitions.get(&(dir as u32)).copied()
    }

    /// The image of the committed metadata log.
    pub fn image(&self) -> &MetadataImage {
        &self.image
    }

    /// The active controller of the highest epoch so far.
    pub fn active_controller(&self) -> Option<NodeId> {
        self.controller.map(|(_, node)| node)
    }

    /// The quorum's voters.
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// Does this node have anything that no sync covers?
    pub fn has_unsynced(&self, node: NodeId) -> bool {
        self.replicas.iter().any(|((holder, _), log)| *holder == node && log.has_unsynced())
    }

    /// A partition, other than the metadata log, of which this node has records that no sync
    /// covers.
    pub fn unsynced_partition(&self, node: NodeId) -> Option<&str> {
        let metadata = self.dirs[&TopicPartition::METADATA];
        let unsynced = |((holder, dir), log): &(&(NodeId, u32), &ReplicaLog)| {
            *holder == node && *dir != metadata && log.has_unsynced()
        };
        self.replicas.iter().find(unsynced).map(|((_, dir), _)| self.names[*dir as usize].as_str())
    }

    /// Does this partition promise that acknowledged records are on the media?
    pub fn flushes(&self, partition: TopicPartition) -> bool {
        partition == TopicPartition::METADATA
            || self.name(partition).is_some_and(|name| {
                name.rsplit_once('-').is_some_and(|(topic, _)| self.flushing.contains(topic))
            })
    }

    fn intern(&mut self, name: &str) -> u32 {
        if let Some(dir) = self.names.iter().position(|known| known == name) {
            return dir as u32;
        }
        self.names.push(name.to_owned());
        self.names.len() as u32 - 1
    }

    fn learn(&mut self, dir: u32, partition: TopicPartition) {
        self.partitions.insert(dir, partition);
        self.dirs.insert(partition, dir);
    }

    /// Takes in the changes of one node's disk in one event. Returns how many batches faults took,
    /// and appends what cannot be justified to `findings`.
    pub fn disk(
        &mut self,
        changes: &[DiskChange],
        disk: &SimDisk,
        findings: &mut Vec<Finding>,
    ) -> usize {
        let mut torn: Vec<(NodeId, u32)> = Vec::new();
        for change in changes {
            let key = (change.node, change.dir);
            let dir = match self.slots.get(&key) {
                Some(dir) => *dir,
                // The root, or a directory that no longer belongs to a replica.
                None if parse_dir_name(disk.dir_name(change.dir)).is_none() => continue,
                None => {
                    let dir = self.intern(disk.dir_name(change.dir));
                    self.slots.insert(key, dir);
                    dir
                }
            };
            // Index files hold no batches.
            if matches!(change.what, Change::Corrupted { .. })
                && !matches!(change.file, FileKind::Log(_))
            {
                continue;
            }
            if let Change::Lost { .. }
            | Change::Vanished
            | Change::Reappeared { .. }
            | Change::Corrupted { .. } = &change.what
            {
                if !torn.contains(&(change.node, dir)) {
                    torn.push((change.node, dir));
                }
                continue;
            }
            let cut = self.change(change, dir);
            if change.what == Change::DirRenamed {
                self.slots.remove(&key); // known by its new name from here on
            }
            if !cut.is_empty() {
                self.judge_cut(change.node, dir, cut, findings);
            }
        }
        let mut taken = 0;
        for (node, dir) in torn {
            let replica = self.replicas.entry((node, dir)).or_default();
            taken += replica.rescan(disk, &self.names[dir as usize], self.tick);
        }
        taken
    }

    /// Takes in one change by a process. Returns the batches that it cut.
    fn change(&mut self, change: &DiskChange, dir: u32) -> Vec<BatchId> {
        if let FileKind::PartitionMetadata | FileKind::Temporary(SmallFile::PartitionMetadata) =
            change.file
            && let Change::Appended { bytes, .. } = &change.what
            && let Some(partition) = parse_partition(&self.names[dir as usize], &bytes.concat())
        {
            self.learn(dir, partition);
        }
        let base = match (change.file, &change.what) {
            (FileKind::Log(base), _) => base.0,
            (_, Change::DirRemoved | Change::DirRenamed) => {
                let replica = self.replicas.get_mut(&(change.node, dir));
                return replica.map_or(Vec::new(), ReplicaLog::cleared);
            }
            _ => return Vec::new(),
        };
        let replica = self.replicas.entry((change.node, dir)).or_default();
        match &change.what {
            Change::Created => replica.created(base),
            Change::Appended { at, bytes } => {
                replica.appended(base, *at, bytes);
                Vec::new()
            }
            Change::Truncated { to } => replica.truncated(base, *to),
            Change::Synced { upto } => {
                replica.synced(base, *upto);
                Vec::new()
            }
            Change::SyncFailed { from, to } => {
                replica.sync_failed(base, *from, *to);
                Vec::new()
            }
            Change::Removed => replica.removed(base),
            Change::Renamed { .. }
            | Change::DirRemoved
            | Change::DirRenamed
            | Change::DirSynced
            | Change::Lost { .. }
            | Change::Vanished
            | Change::Reappeared { .. }
            | Change::Corrupted { .. } => Vec::new(),
        }
    }

    /// Rule 2 of the module's documentation.
    fn judge_cut(
        &mut self,
        node: NodeId,
        dir: u32,
        cut: Vec<BatchId>,
        findings: &mut Vec<Finding>,
    ) {
        let Some(partition) = self.partitions.get(&dir).copied() else { return };
        let Some(promises) = self.promises.get(&partition) else { return };
        let member = if partition == TopicPartition::METADATA {
            self.voters.contains(&node)
        } else {
            promises.registration().is_some_and(|registration| registration.isr.contains(&node))
        };
        // A deleted topic's replicas are removed with everything that was promised.
        if !member || promises.deleted {
            return;
        }
        if let Some(batch) = cut.into_iter().find(|id| promises.is_promised(id)) {
            findings.push(Finding::Cut { partition, node, batch });
        }
    }

    /// Takes in one note of a node. `disk` is that node's disk.
    pub fn note(&mut self, node: NodeId, note: &Note, disk: &SimDisk, findings: &mut Vec<Finding>) {
        match note {
            Note::HighWatermark { partition, leader: true, from, to } => {
                self.judge_late_promise(node, *partition, *to, findings);
                self.commit(node, *partition, *to, findings);
                self.judge_void(node, *partition, *from, *to, findings);
            }
            Note::QuorumCommitted { to, leader: true, .. } => {
                self.commit(node, TopicPartition::METADATA, *to, findings);
                self.replay(node, *to, disk, findings);
            }
            Note::ProduceAcked { partition, acks, first, end } => {
                let log = self.replica(node, *partition);
                let ids: Vec<BatchId> = log.between(first.0, end.0).copied().collect();
                self.promises.entry(*partition).or_default().remember_epochs(&ids);
                if *acks == -1 {
                    self.judge_late_promise(node, *partition, *end, findings);
                    self.acked(node, *partition, *first, *end, findings);
                }
            }
            Note::BecameLeader { partition, epoch, .. } => {
                self.judge_leader(node, *partition, *epoch, findings);
            }
            Note::ControllerActive { epoch } => {
                self.controller = self.controller.max(Some((*epoch, node)));
            }
            Note::QuorumLeader { epoch, .. } => {
                self.judge_leader(node, TopicPartition::METADATA, *epoch, findings);
            }
            _ => {}
        }
    }

    /// A leader's high watermark reached `to`. Everything below is promised.
    fn commit(
        &mut self,
        node: NodeId,
        partition: TopicPartition,
        to: Offset,
        findings: &mut Vec<Finding>,
    ) {
        let replica = self.dirs.get(&partition).and_then(|dir| self.replicas.get(&(node, *dir)));
        let log = replica.unwrap_or(&EMPTY);
        let promises = self.promises.entry(partition).or_default();
        let end = promises.committed_end();
        if log.end() < to.0 {
            let end = Offset(log.end());
            findings.push(Finding::Beyond { partition, node, offset: to, end });
            return;
        }
        promises.furthest = promises.furthest.max(to.0);
        let to = promises.counts(node, to);
        if to <= end {
            return;
        }
        let new: Vec<BatchId> = log.between(end, to).copied().collect();
        for id in &new {
            if let Some(acked) = promises.acked.remove(&id.base)
                && acked != *id
            {
                findings.push(Finding::Replaced { partition, acked, committed: *id });
            }
        }
        let first = new.first().copied();
        promises.committed.extend(new);
        promises.acked = promises.acked.split_off(&promises.committed_end());
        if let Some(first) = first {
            self.judge_promise(node, partition, first.base, to, findings);
        }
    }

    /// Rule 3 of the module's documentation.
    fn judge_members(
        &self,
        partition: TopicPartition,
        partition_epoch: PartitionEpoch,
        findings: &mut Vec<Finding>,
    ) {
        let Some(promises) = self.promises.get(&partition) else { return };
        let Some(registration) = promises.registrations.get(&partition_epoch) else { return };
        let durably = self.flushes(partition);
        for &member in &registration.isr {
            let log = self.replica(member, partition);
            if let Some(batch) = log.first_missing(promises.promised(), durably) {
                let isr = registration.isr.clone();
                let unfit =
                    Finding::Unfit { partition, partition_epoch, isr, member, batch, durably };
                findings.push(unfit);
                return;
            }
        }
    }

    /// An acks=all answer was sent.
    fn acked(
        &mut self,
        node: NodeId,
        partition: TopicPartition,
        first: Offset,
        end: Offset,
        findings: &mut Vec<Finding>,
    ) {
        let log = self.replica(node, partition);
        if log.end() < end.0 {
            let end_of_log = Offset(log.end());
            findings.push(Finding::Beyond { partition, node, offset: end, end: end_of_log });
            return;
        }
        self.judge_void(node, partition, first, end, findings);
        let end = self.promises.get(&partition).map_or(end.0, |known| known.counts(node, end));
        if end <= first.0 {
            return;
        }
        let ids: Vec<BatchId> = log.between(first.0, end).copied().collect();
        let promises = self.promises.entry(partition).or_default();
        let committed_end = promises.committed_end();
        for id in ids {
            if id.base >= committed_end {
                promises.acked.insert(id.base, id);
            } else if let Some(committed) = promises.committed_at(id.base).copied()
                && committed != id
            {
                findings.push(Finding::Replaced { partition, acked: id, committed });
            }
        }
        if end > committed_end {
            self.judge_promise(node, partition, first.0, end, findings);
        }
    }

    /// Did a fault take this batch from a member of the ISR registered at `at`, so that it cannot
    /// be expected there? Not if the member joined later as a new process. Nor if it should have
    /// left that ISR, because it re-registered while the ISR had other members.
    fn is_excused(
        &self,
        partition: TopicPartition,
        at: PartitionEpoch,
        member: NodeId,
        batch: &BatchId,
    ) -> bool {
        let Some(lost) = self.replica(member, partition).lost_at(batch) else { return false };
        let Some(promises) = self.promises.get(&partition) else { return true };
        let since = promises.member_since(at, member);
        let until = promises.ticks.get(&at).copied().unwrap_or(0);
        let others = promises.registrations[&at].isr.len() > 1;
        let none = Vec::new();
        let reborn = self.reborn.get(&member).unwrap_or(&none);
        !reborn.iter().any(|born| {
            let joined_anew = *born <= since;
            let should_have_left = others && *born <= until;
            lost < *born && (joined_anew || should_have_left)
        })
    }

    /// Why a member of the ISR registered at `at` should have a batch, if it should.
    fn why_expected(
        &self,
        partition: TopicPartition,
        at: Option<PartitionEpoch>,
        member: NodeId,
        batch: &BatchId,
    ) -> Option<String> {
        let log = self.replica(member, partition);
        if log.holds(batch) {
            Some(format!("node {member} holds it"))
        } else if !log.lost(batch) {
            Some(format!("node {member} lacks it and no fault took it"))
        } else if at.is_some_and(|at| !self.is_excused(partition, at, member, batch)) {
            Some(format!("node {member} lost it before it came into this ISR"))
        } else {
            None
        }
    }

    /// Why it is not excused that a leader that was elected from this ISR started without a batch,
    /// if it is not.
    fn why_lost(
        &self,
        partition: TopicPartition,
        at: Option<PartitionEpoch>,
        isr: &[NodeId],
        batch: &BatchId,
    ) -> Option<String> {
        if self.flushes(partition) {
            Some("it was promised to be on the media".to_owned())
        } else if isr.is_empty() {
            Some("no controller registered this leader".to_owned())
        } else {
            isr.iter().find_map(|member| self.why_expected(partition, at, *member, batch))
        }
    }

    /// All members of the ISR, or a majority of the voters, must hold what is promised.
    fn judge_promise(
        &self,
        leader: NodeId,
        partition: TopicPartition,
        from: i64,
        to: i64,
        findings: &mut Vec<Finding>,
    ) {
        let durably = self.flushes(partition);
        let registered =
            self.promises.get(&partition).and_then(|known| known.registrations.last_key_value());
        let excused = |member: NodeId, id: &BatchId| match registered {
            Some((at, _)) => self.is_excused(partition, *at, member, id),
            None => self.replica(member, partition).lost(id),
        };
        let lacks = |member: NodeId| {
            let log = self.replica(member, partition);
            self.replica(leader, partition)
                .between(from, to)
                .find(|id| {
                    let held = if durably { log.holds_durably(id) } else { log.holds(id) };
                    !held && (durably || !excused(member, id))
                })
                .copied()
        };
        if partition == TopicPartition::METADATA {
            let lacking: Vec<(NodeId, BatchId)> =
                self.voters.iter().filter_map(|voter| Some((*voter, lacks(*voter)?))).collect();
            if (self.voters.len() - lacking.len()) * 2 <= self.voters.len() {
                let (member, batch) = lacking[0];
                findings.push(Finding::Missing { partition, leader, member, batch, durably });
            }
            return;
        }
        let Some((_, registration)) = registered else { return };
        if self.promises.get(&partition).is_some_and(Promises::is_deleted) {
            return;
        }
        for &member in &registration.isr {
            if let Some(batch) = lacks(member) {
                findings.push(Finding::Missing { partition, leader, member, batch, durably });
                return;
            }
        }
    }

    /// Rule 1 of the module's documentation.
    fn judge_leader(
        &mut self,
        leader: NodeId,
        partition: TopicPartition,
        epoch: LeaderEpoch,
        findings: &mut Vec<Finding>,
    ) {
        let known = self.promises.entry(partition).or_default();
        known.leading.insert(leader, epoch);
        // A node with stale metadata may begin a leadership that has long been superseded. It need
        // not hold what is promised, and can promise nothing.
        if known.led.is_some_and(|led| epoch < led) {
            return;
        }
        known.led = Some(epoch);
        let end = self.replica(leader, partition).end();
        let Some(promises) = self.promises.get_mut(&partition) else { return };
        let elected_from = promises.electorate(leader, epoch).map(|(at, _)| at);
        promises.starts.push(Start { leader, epoch, end, elected_from });
        let Some(promises) = self.promises.get(&partition) else { return };
        let log = self.replica(leader, partition);
        let electorate = promises.electorate(leader, epoch);
        let at = electorate.map(|(at, _)| at);
        let isr = if partition == TopicPartition::METADATA {
            self.voters.clone()
        } else {
            electorate.map_or(Vec::new(), |(_, registration)| registration.isr.clone())
        };
        let missing: Vec<BatchId> =
            promises.promised().filter(|id| !log.holds(id)).copied().collect();
        let Some(first) = missing.first().copied() else { return };
        let mut excused = true;
        for batch in missing {
            let because = self.why_lost(partition, at, &isr, &batch);
            if let Some(because) = because {
                let isr = isr.clone();
                findings.push(Finding::Lost { partition, leader, epoch, batch, isr, because });
                // Report it once. What follows is judged against this leader's log.
                excused = false;
                break;
            }
        }
        if excused {
            findings.push(Finding::Admitted { partition, batch: first, epoch });
        }
        let dir = self.dirs.get(&partition).copied();
        let replicas = &self.replicas;
        let elsewhere = |id: &BatchId| {
            isr.len() == 1
                && replicas.iter().any(|((node, of), log)| {
                    Some(*of) == dir && !isr.contains(node) && log.holds(id)
                })
        };
        let promises = self.promises.entry(partition).or_default();
        promises.void(first.base, epoch, excused, elsewhere);
    }

    /// Does a node's log agree with what was committed between `from` and `to`? Called when a node
    /// notes that it knows `to` to be committed.
    pub fn agrees(
        &self,
        node: NodeId,
        partition: TopicPartition,
        from: Offset,
        to: Offset,
    ) -> Result<(), Finding> {
        let Some(promises) = self.promises.get(&partition) else { return Ok(()) };
        // Its directory may belong to another topic of that name by now.
        if promises.deleted {
            return Ok(());
        }
        let log = self.replica(node, partition);
        let first = promises.committed.partition_point(|batch| batch.end() <= from.0);
        for committed in promises.committed.since(first) {
            if committed.base >= to.0 {
                break;
            }
            if !log.holds(committed) {
                let holds = log.between(committed.base, committed.end()).next().copied();
                return Err(Finding::Disagrees { partition, node, committed: *committed, holds });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
