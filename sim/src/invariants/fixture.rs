//! A bench for the invariants' tests: a ledger that is fed by hand, and an empty world.

use super::View;
use crate::decide::{Dice, Purpose};
use crate::disk::{Change, DirSlot, DiskChange, DiskConfig, Outcome, SimDisk};
use crate::ledger::fixture;
use crate::ledger::{BatchId, Finding, Ledger, Registration};
use crate::node::Node;
use crate::plan::Plan;
use crate::profile::Profile;
use crate::world::{World, WorldConfig};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use wavetank_core::env::{DiskOp, FileKind};
use wavetank_core::note::Note;
use wavetank_core::types::{
    DirId, LeaderEpoch, METADATA_TOPIC, NodeId, Offset, PartitionEpoch, TopicPartition, Uuid,
};

/// Where every node keeps the metadata log.
pub(crate) const METADATA: DirSlot = DirSlot(1);

/// Where every node keeps the partition `events-0`.
pub(crate) const EVENTS: DirSlot = DirSlot(2);

/// The partition `events-0`.
const PARTITION: TopicPartition = TopicPartition { topic: Uuid(77), partition: 0 };

pub(crate) struct Bench {
    plan: Plan,
    ledger: Ledger,
    world: World<Node>,
    disks: BTreeMap<NodeId, SimDisk>,
    lengths: BTreeMap<(NodeId, DirSlot), u64>,
    pub(crate) findings: Vec<Finding>,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let dice = Dice::new(1);
        let disk = |node: NodeId| {
            let place = dice.place(Purpose::DiskLatency);
            let mut disk = SimDisk::new(node, place, DiskConfig::default());
            let data = DirId(DirId::METADATA.0 + 1);
            for (dir, topic) in [(DirId::METADATA, METADATA_TOPIC), (data, "events")] {
                let open = DiskOp::OpenDir { dir, name: format!("{topic}-0") };
                disk.submit(0, open, &dice, &mut Outcome::default());
            }
            disk
        };
        Bench {
            plan: Profile::Calm.draw(1),
            ledger: Ledger::new((1..=3).map(NodeId).collect(), BTreeSet::new()),
            world: World::new(1, WorldConfig::default()),
            disks: (1..=3).map(|node| (NodeId(node), disk(NodeId(node)))).collect(),
            lengths: BTreeMap::new(),
            findings: Vec::new(),
        }
    }

    pub(crate) fn plan_mut(&mut self) -> &mut Plan {
        &mut self.plan
    }

    pub(crate) fn view(&self) -> View<'_> {
        View { plan: &self.plan, ledger: &self.ledger, world: &self.world, calm_since: Some(0) }
    }

    /// Lets this much time pass, ns.
    pub(crate) fn wait(&mut self, time: u64) {
        let until = self.world.now() + time;
        assert!(self.world.next_before(until).is_none(), "nobody is there to do anything");
    }

    /// An arbitrary batch.
    pub(crate) fn batch(&self) -> BatchId {
        fixture::id(&fixture::batch(0, 1, 0, 9))
    }

    /// Appends one record to a node's metadata log and syncs it.
    pub(crate) fn append(&mut self, node: NodeId, offset: i64, epoch: i32, salt: u8) {
        self.write(node, METADATA, fixture::batch(offset, 1, epoch, salt));
        self.sync(node, METADATA);
    }

    /// Writes a batch at the end of a log, without a sync.
    pub(crate) fn write(&mut self, node: NodeId, dir: DirSlot, bytes: Bytes) {
        let length = self.lengths.entry((node, dir)).or_default();
        let at = *length;
        *length += bytes.len() as u64;
        self.change(node, dir, Change::Appended { at, bytes: vec![bytes] });
    }

    /// Syncs a log.
    pub(crate) fn sync(&mut self, node: NodeId, dir: DirSlot) {
        let upto = self.lengths[&(node, dir)];
        self.change(node, dir, Change::Synced { upto });
    }

    /// The tank removes a log.
    pub(crate) fn lose(&mut self, node: NodeId, dir: DirSlot) {
        self.lengths.insert((node, dir), 0);
        self.change(node, dir, Change::Vanished);
    }

    fn change(&mut self, node: NodeId, dir: DirSlot, what: Change) {
        let changes = [DiskChange { node, dir, file: FileKind::Log(Offset(0)), what }];
        self.ledger.disk(&changes, &self.disks[&node], &mut self.findings);
    }

    pub(crate) fn note(&mut self, node: NodeId, note: &Note) {
        self.ledger.note(node, note, &self.disks[&node], &mut self.findings);
    }

    /// Gives these nodes a directory of the data partition.
    pub(crate) fn host(&mut self, nodes: &[i32]) -> TopicPartition {
        let text = format!("version: 0\ntopic_id: {}\n", PARTITION.topic);
        for node in nodes.iter().copied().map(NodeId) {
            let what = Change::Appended { at: 0, bytes: vec![text.clone().into()] };
            let file = FileKind::PartitionMetadata;
            let changes = [DiskChange { node, dir: EVENTS, file, what }];
            self.ledger.disk(&changes, &self.disks[&node], &mut self.findings);
        }
        PARTITION
    }

    /// Registers the data partition with this ISR and partition epoch. The ISR's first member
    /// leads.
    pub(crate) fn register(&mut self, isr: &[i32], epoch: i32) -> TopicPartition {
        self.register_leader(isr[0], 1, isr, epoch)
    }

    /// Registers the data partition with this leader, leader epoch, ISR and partition epoch.
    pub(crate) fn register_leader(
        &mut self,
        leader: i32,
        leader_epoch: i32,
        isr: &[i32],
        epoch: i32,
    ) -> TopicPartition {
        let partition = PARTITION;
        let registration = Registration {
            leader: Some(NodeId(leader)),
            leader_epoch: LeaderEpoch(leader_epoch),
            isr: isr.iter().copied().map(NodeId).collect(),
        };
        let findings = &mut self.findings;
        self.ledger.register(partition, PartitionEpoch(epoch), registration, findings);
        partition
    }
}
