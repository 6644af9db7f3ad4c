//! A bench for the invariants' tests: a ledger that is fed by hand, beside an empty world.

use super::View;
use crate::decide::{Dice, Purpose};
use crate::disk::{Change, DirSlot, DiskChange, DiskConfig, Outcome, SimDisk};
use crate::ledger::fixture;
use crate::ledger::{BatchId, Finding, Ledger, Registration};
use crate::plan::Plan;
use crate::profile::Profile;
use crate::run::Node;
use crate::world::{World, WorldConfig};
use std::collections::{BTreeMap, BTreeSet};
use wavetank_core::env::{DiskOp, FileKind};
use wavetank_core::note::Note;
use wavetank_core::types::{
    DirId, LeaderEpoch, METADATA_TOPIC, NodeId, Offset, PartitionEpoch, TopicPartition, Uuid,
};

pub(crate) struct Bench {
    plan: Plan,
    ledger: Ledger,
    world: World<Node>,
    disks: BTreeMap<NodeId, SimDisk>,
    lengths: BTreeMap<NodeId, u64>,
    pub(crate) findings: Vec<Finding>,
}

impl Bench {
    pub(crate) fn new() -> Bench {
        let dice = Dice::new(1);
        let disk = |node: NodeId| {
            let place = dice.place(Purpose::DiskLatency);
            let mut disk = SimDisk::new(node, place, DiskConfig::default());
            let name = format!("{METADATA_TOPIC}-0");
            let open = DiskOp::OpenDir { dir: DirId::METADATA, name };
            disk.submit(0, open, &dice, &mut Outcome::default());
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

    pub(crate) fn view(&self) -> View<'_> {
        View { plan: &self.plan, ledger: &self.ledger, world: &self.world }
    }

    /// Some batch.
    pub(crate) fn batch(&self) -> BatchId {
        fixture::id(&fixture::batch(0, 1, 0, 9))
    }

    /// One record, written and synced, in a node's metadata log.
    pub(crate) fn append(&mut self, node: NodeId, offset: i64, epoch: i32, salt: u8) {
        let upto = self.write(node, offset, epoch, salt);
        let changes = [log_change(node, Change::Synced { upto })];
        self.ledger.disk(&changes, &self.disks[&node], &mut self.findings);
    }

    /// One record, written only. Returns the file's length.
    pub(crate) fn write(&mut self, node: NodeId, offset: i64, epoch: i32, salt: u8) -> u64 {
        let bytes = fixture::batch(offset, 1, epoch, salt);
        let at = self.lengths.get(&node).copied().unwrap_or(0);
        let upto = at + bytes.len() as u64;
        self.lengths.insert(node, upto);
        let changes = [log_change(node, Change::Appended { at, bytes: vec![bytes] })];
        self.ledger.disk(&changes, &self.disks[&node], &mut self.findings);
        upto
    }

    pub(crate) fn note(&mut self, node: NodeId, note: &Note) {
        self.ledger.note(node, note, &self.disks[&node], &mut self.findings);
    }

    /// Time passes.
    pub(crate) fn wait(&mut self, ns: u64) {
        let until = self.world.now() + ns;
        assert!(self.world.next_before(until).is_none(), "nothing happens in an empty world");
    }

    /// A partition registered with this ISR under this partition epoch.
    pub(crate) fn register(&mut self, isr: &[i32], epoch: i32) -> TopicPartition {
        let partition = TopicPartition { topic: Uuid(77), partition: 0 };
        let registration = Registration {
            leader: Some(NodeId(isr[0])),
            leader_epoch: LeaderEpoch(1),
            isr: isr.iter().copied().map(NodeId).collect(),
        };
        self.ledger.register(partition, PartitionEpoch(epoch), registration);
        partition
    }
}

fn log_change(node: NodeId, what: Change) -> DiskChange {
    DiskChange { node, dir: DirSlot(1), file: FileKind::Log(Offset(0)), what }
}
