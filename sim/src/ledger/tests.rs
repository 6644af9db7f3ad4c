//! Which losses are excused, and which are not.

use super::*;
use crate::decide::{Dice, Purpose};
use crate::disk::{DiskConfig, DiskLatency, Outcome};
use wavetank_core::env::{DiskOp, FileId};
use wavetank_core::types::{DirId, PartitionId, Uuid};

/// Three replicas of one partition on real simulated disks, driven by hand.
struct Tub {
    ledger: Ledger,
    disks: BTreeMap<NodeId, SimDisk>,
    dice: Dice,
    findings: Vec<Finding>,
    lengths: BTreeMap<NodeId, u64>,
    generation: u32,
}

const PARTITION: TopicPartition = TopicPartition { topic: Uuid(5), partition: 0 };
const FILE: FileId = FileId { dir: DirId(2), kind: FileKind::Log(Offset(0)) };

impl Tub {
    fn new(flush: bool) -> Tub {
        assert_eq!(FILE.dir, DirId::of_partition(PartitionId(0)));
        let dice = Dice::new(3);
        let flushing = flush.then(|| "t".to_owned()).into_iter().collect();
        let mut tub = Tub {
            ledger: Ledger::new(vec![NodeId(1)], flushing),
            disks: BTreeMap::new(),
            dice: dice.clone(),
            findings: Vec::new(),
            lengths: BTreeMap::new(),
            generation: 0,
        };
        let instant = DiskLatency { min: 0, mean: 0 };
        for node in (1..=3).map(NodeId) {
            let config = DiskConfig {
                write: instant,
                sync: instant,
                read: instant,
                namespace: instant,
                torn: false,
            };
            let place = dice.place(Purpose::DiskLatency).with(node.0 as u64);
            let mut disk = SimDisk::new(node, place, config);
            disk.observe(true);
            tub.disks.insert(node, disk);
            let metadata = FileId { kind: FileKind::PartitionMetadata, ..FILE };
            let text = format!("version: 0\ntopic_id: {}\n", PARTITION.topic);
            tub.op(node, DiskOp::OpenDir { dir: DirId::ROOT, name: String::new() });
            tub.op(node, DiskOp::OpenDir { dir: FILE.dir, name: "t-0".into() });
            tub.op(node, DiskOp::Create { file: metadata, generation: 0 });
            let bytes = vec![text.into()];
            tub.op(node, DiskOp::Append { file: metadata, generation: 0, at: 0, bytes });
            tub.op(node, DiskOp::Create { file: FILE, generation: 0 });
            tub.op(node, DiskOp::SyncDir { dir: FILE.dir, by: FILE.kind, serial: 0 });
            tub.op(node, DiskOp::SyncDir { dir: DirId::ROOT, by: FILE.kind, serial: 0 });
        }
        tub
    }

    fn op(&mut self, node: NodeId, op: DiskOp) {
        let disk = self.disks.get_mut(&node).unwrap();
        let mut out = Outcome::default();
        disk.submit(0, op, &self.dice, &mut out);
        while let Some(job) = out.jobs.pop() {
            disk.finish(0, job, &self.dice, &mut out);
        }
        let disk = &self.disks[&node];
        self.ledger.disk(&out.changes, disk, &mut self.findings);
    }

    fn append(&mut self, nodes: &[i32], offset: i64, epoch: i32, salt: u8) -> BatchId {
        let bytes = fixture::batch(offset, 1, epoch, salt);
        for node in nodes.iter().copied().map(NodeId) {
            let at = self.lengths.get(&node).copied().unwrap_or(0);
            self.lengths.insert(node, at + bytes.len() as u64);
            let (generation, bytes) = (self.generation, vec![bytes.clone()]);
            self.op(node, DiskOp::Append { file: FILE, generation, at, bytes });
        }
        fixture::id(&bytes)
    }

    fn sync(&mut self, node: i32) {
        self.op(NodeId(node), DiskOp::Sync { file: FILE, generation: self.generation });
    }

    fn cut(&mut self, node: i32, to: u64) {
        self.generation += 1;
        self.lengths.insert(NodeId(node), to);
        let generation = self.generation;
        self.op(NodeId(node), DiskOp::Truncate { file: FILE, generation, to });
    }

    fn power_loss(&mut self, node: i32) -> usize {
        let disk = self.disks.get_mut(&NodeId(node)).unwrap();
        let mut out = Outcome::default();
        disk.power_loss(&self.dice, &mut out);
        let disk = &self.disks[&NodeId(node)];
        let taken = self.ledger.disk(&out.changes, disk, &mut self.findings);
        self.op(NodeId(node), DiskOp::OpenDir { dir: FILE.dir, name: "t-0".into() });
        taken
    }

    fn note(&mut self, node: i32, note: Note) {
        let node = NodeId(node);
        self.ledger.note(node, &note, &self.disks[&node], &mut self.findings);
    }

    fn commit(&mut self, node: i32, to: i64) {
        let (from, to) = (Offset(0), Offset(to));
        self.note(node, Note::HighWatermark { partition: PARTITION, leader: true, from, to });
    }

    fn acked(&mut self, node: i32, first: i64, end: i64) {
        let (first, end) = (Offset(first), Offset(end));
        self.note(node, Note::ProduceAcked { partition: PARTITION, acks: -1, first, end });
    }

    fn register(&mut self, leader: i32, epoch: i32, isr: &[i32], partition_epoch: i32) {
        let registration = Registration {
            leader: Some(NodeId(leader)),
            leader_epoch: LeaderEpoch(epoch),
            isr: isr.iter().copied().map(NodeId).collect(),
        };
        let (epoch, findings) = (PartitionEpoch(partition_epoch), &mut self.findings);
        self.ledger.register(PARTITION, epoch, registration, findings);
    }

    fn leads(&mut self, node: i32, epoch: i32) {
        self.note(
            node,
            Note::BecameLeader {
                partition: PARTITION,
                epoch: LeaderEpoch(epoch),
                start: Offset(self.ledger.replica(NodeId(node), PARTITION).end()),
                high_watermark: Offset(0),
                isr: Vec::new(),
                partition_epoch: PartitionEpoch(1),
            },
        );
    }
}

#[test]
fn a_loss_that_a_member_of_the_isr_could_have_prevented_is_not_excused() {
    let mut tub = Tub::new(false);
    tub.register(1, 0, &[1, 2, 3], 0);
    tub.append(&[1, 2, 3], 0, 0, 7);
    tub.commit(1, 1);
    assert_eq!(tub.findings, []);
    assert_eq!(tub.power_loss(2), 1, "nothing was synced");
    tub.register(2, 1, &[2, 3], 1);
    tub.leads(2, 1);
    let [Finding::Lost { leader, because, .. }] = &tub.findings[..] else {
        panic!("{:?}", tub.findings)
    };
    assert_eq!((*leader, because.as_str()), (NodeId(2), "node 1 holds it"));
    // What follows is judged anew, but the loss does not count as admitted.
    let promises = tub.ledger.promises(PARTITION).unwrap();
    let lineage = Lineage { offset: Offset(0), epoch: LeaderEpoch(1), excused: false };
    assert_eq!((promises.lineages(), promises.admitted_records()), (&[lineage][..], 0));
    assert!(!promises.has_excused_loss());
}

#[test]
fn a_leadership_that_was_overtaken_is_not_judged() {
    let mut tub = Tub::new(false);
    tub.register(1, 0, &[1, 2, 3], 0);
    tub.register(3, 1, &[2, 3], 1);
    tub.register(2, 2, &[2, 1], 2);
    tub.leads(2, 2);
    tub.append(&[1, 2], 0, 2, 7);
    tub.commit(2, 1);
    tub.leads(3, 1);
    assert_eq!(tub.findings, []);
}

#[test]
fn a_loss_of_all_copies_by_faults_is_admitted_and_opens_a_lineage() {
    let mut tub = Tub::new(false);
    tub.register(1, 0, &[1, 2, 3], 0);
    tub.append(&[1, 2, 3], 0, 0, 7);
    tub.commit(1, 1);
    for node in 1..=3 {
        tub.power_loss(node);
    }
    // Recovery cuts the rest of the batch.
    tub.cut(2, 0);
    tub.register(2, 1, &[2], 1);
    tub.leads(2, 1);
    assert!(matches!(tub.findings[..], [Finding::Admitted { .. }]), "{:?}", tub.findings);
    let lineage = Lineage { offset: Offset(0), epoch: LeaderEpoch(1), excused: true };
    assert_eq!(tub.ledger.promises(PARTITION).unwrap().lineages(), [lineage]);
    assert_eq!(tub.ledger.promises(PARTITION).unwrap().admitted_records(), 1);
    // The new lineage may have other records at that offset.
    tub.findings.clear();
    tub.append(&[2], 0, 1, 8);
    tub.commit(2, 1);
    assert_eq!(tub.findings, []);
}

/// Node 1 leads epoch 0. Node 2 has all of node 1's records, loses them to a fault, and leads epoch
/// 2 without them.
fn deposed_and_unaware() -> Tub {
    let mut tub = Tub::new(false);
    tub.register(1, 0, &[1, 2], 0);
    tub.leads(1, 0);
    tub.append(&[1, 2], 0, 0, 7);
    tub.commit(1, 1);
    tub.append(&[1, 2], 1, 0, 7);
    tub.register(2, 1, &[2], 1);
    tub.power_loss(2);
    tub.cut(2, 0);
    tub.register(2, 2, &[2], 2);
    tub.leads(2, 2);
    assert!(matches!(tub.findings[..], [Finding::Admitted { .. }]), "{:?}", tub.findings);
    tub.findings.clear();
    tub
}

#[test]
fn what_a_deposed_leader_promises_behind_an_admitted_loss_is_void() {
    let mut tub = deposed_and_unaware();
    tub.commit(1, 2);
    tub.acked(1, 1, 2);
    tub.append(&[2], 0, 2, 8);
    tub.commit(2, 1);
    tub.acked(2, 0, 1);
    assert_eq!(tub.findings, []);
    assert_eq!(tub.ledger.promises(PARTITION).unwrap().committed_end(), 1);
}

/// Node 1 leads epoch 0 and is stopped before it promises what node 2 has, too. Node 2 leads epoch
/// 1 with it, loses it to a fault or cuts it, and leads epoch 2 without it.
fn successor_without(taken: bool) -> Tub {
    let mut tub = Tub::new(false);
    tub.register(1, 0, &[1, 2], 0);
    tub.leads(1, 0);
    tub.append(&[1, 2], 0, 0, 7);
    tub.register(2, 1, &[2], 1);
    tub.leads(2, 1);
    if taken {
        tub.power_loss(2);
    }
    tub.cut(2, 0);
    tub.register(2, 2, &[2], 2);
    tub.leads(2, 2);
    assert_eq!(tub.findings, [], "nothing was promised");
    tub
}

#[test]
fn what_a_deposed_leader_is_the_first_to_promise_is_void_if_a_fault_took_it_from_its_successor() {
    for successor_commits_first in [false, true] {
        let mut tub = successor_without(true);
        tub.append(&[2], 0, 2, 8);
        if successor_commits_first {
            tub.commit(2, 1);
        }
        tub.commit(1, 1);
        tub.acked(1, 0, 1);
        let [Finding::Admitted { batch, .. }] = tub.findings[..] else {
            panic!("{:?}", tub.findings)
        };
        assert_eq!((batch.base, batch.epoch), (0, 0));
        tub.commit(2, 1);
        assert_eq!(tub.findings.len(), 1, "{:?}", tub.findings);
        let promises = tub.ledger.promises(PARTITION).unwrap();
        assert_eq!(promises.committed().iter().map(|id| id.epoch).collect::<Vec<_>>(), [2]);
        assert_eq!(promises.void_from(LeaderEpoch(0)), Some(Offset(0)));
        assert_eq!(promises.admitted_records(), 1);
    }
}

#[test]
fn what_a_deposed_leader_is_the_first_to_promise_stays_if_no_fault_took_it() {
    let mut tub = successor_without(false);
    tub.append(&[2], 0, 2, 8);
    tub.acked(1, 0, 1);
    let [Finding::Lost { leader, epoch, because, .. }] = &tub.findings[..] else {
        panic!("{:?}", tub.findings)
    };
    assert_eq!((*leader, *epoch), (NodeId(2), LeaderEpoch(2)));
    assert_eq!(because, "node 2 lacks it and no fault took it");
}

#[test]
fn what_the_new_leader_promises_counts() {
    let mut tub = deposed_and_unaware();
    tub.append(&[2], 0, 2, 8);
    tub.commit(2, 1);
    tub.cut(2, 0);
    assert!(matches!(tub.findings[..], [Finding::Cut { .. }]), "{:?}", tub.findings);
}

#[test]
fn where_batches_are_flushed_nothing_is_excused() {
    let mut tub = Tub::new(true);
    tub.register(1, 0, &[1, 2, 3], 0);
    tub.append(&[1, 2, 3], 0, 0, 7);
    tub.commit(1, 1);
    assert!(
        matches!(tub.findings[..], [Finding::Missing { durably: true, .. }]),
        "{:?}",
        tub.findings
    );
    tub.findings.clear();
    for node in 1..=3 {
        tub.power_loss(node);
    }
    tub.register(2, 1, &[2], 1);
    tub.leads(2, 1);
    let [Finding::Unfit { durably: true, .. }, Finding::Lost { .. }] = tub.findings[..] else {
        panic!("{:?}", tub.findings)
    };
}

#[test]
fn what_was_flushed_survives_the_loss_of_all_power() {
    let mut tub = Tub::new(true);
    tub.register(1, 0, &[1, 2], 0);
    tub.append(&[1, 2], 0, 0, 7);
    tub.sync(1);
    tub.sync(2);
    tub.commit(1, 1);
    tub.acked(1, 0, 1);
    for node in 1..=2 {
        assert_eq!(tub.power_loss(node), 0);
    }
    tub.register(2, 1, &[2], 1);
    tub.leads(2, 1);
    assert_eq!(tub.findings, []);
}

#[test]
fn a_record_that_a_member_never_had_is_not_excused_by_faults_elsewhere() {
    let mut tub = Tub::new(false);
    tub.register(1, 0, &[1, 2], 0);
    tub.append(&[1], 0, 0, 7);
    tub.acked(1, 0, 1);
    assert!(matches!(tub.findings[..], [Finding::Missing { durably: false, .. }]));
    tub.findings.clear();
    tub.power_loss(1);
    tub.register(2, 1, &[2], 1);
    tub.leads(2, 1);
    let [Finding::Unfit { member, .. }, Finding::Lost { because, .. }] = &tub.findings[..] else {
        panic!("{:?}", tub.findings)
    };
    assert_eq!(*member, NodeId(2));
    assert_eq!(because, "node 2 lacks it and no fault took it");
}

#[test]
fn a_cut_of_what_was_promised_is_found_at_once_within_the_isr_only() {
    let mut tub = Tub::new(false);
    tub.register(1, 0, &[1, 2], 0);
    tub.append(&[1, 2, 3], 0, 0, 7);
    tub.commit(1, 1);
    tub.cut(3, 0);
    assert_eq!(tub.findings, [], "3 is not in the ISR");
    tub.append(&[2], 1, 0, 8);
    let first = fixture::batch(0, 1, 0, 7).len() as u64;
    tub.cut(2, first);
    assert_eq!(tub.findings, [], "what was cut had not been promised");
    tub.cut(2, 0);
    assert!(matches!(tub.findings[..], [Finding::Cut { node: NodeId(2), .. }]));
}

#[test]
fn what_was_acknowledged_must_be_what_is_committed() {
    let mut tub = Tub::new(false);
    tub.register(1, 0, &[1], 0);
    tub.append(&[1], 0, 0, 7);
    tub.acked(1, 0, 1);
    tub.append(&[2], 0, 1, 8);
    tub.commit(2, 1);
    assert!(
        tub.findings.iter().any(|finding| matches!(finding, Finding::Replaced { .. })),
        "{:?}",
        tub.findings
    );
}

#[test]
fn a_promise_beyond_the_log_is_found() {
    let mut tub = Tub::new(false);
    tub.register(1, 0, &[1], 0);
    tub.append(&[1], 0, 0, 7);
    tub.commit(1, 2);
    assert!(matches!(tub.findings[..], [Finding::Beyond { .. }]));
}

#[test]
fn who_is_registered_holds_what_is_promised() {
    let mut tub = Tub::new(false);
    tub.register(1, 0, &[1, 2], 0);
    tub.append(&[1, 2], 0, 0, 7);
    tub.commit(1, 1);
    tub.register(1, 0, &[2, 1], 1);
    assert_eq!(tub.findings, []);
    // A member that never had it, after an expansion; and one that has cut it, with the ISR
    // unchanged.
    tub.register(1, 0, &[1, 2, 3], 2);
    assert!(
        matches!(tub.findings[..], [Finding::Unfit { member: NodeId(3), durably: false, .. }]),
        "{:?}",
        tub.findings
    );
    tub.cut(2, 0);
    tub.findings.clear();
    tub.register(1, 0, &[1, 2], 3);
    assert!(
        matches!(tub.findings[..], [Finding::Unfit { member: NodeId(2), .. }]),
        "{:?}",
        tub.findings
    );
}

/// Node 2 loses a record, restarts as a new process without it, and joins the ISR.
#[test]
fn a_loss_from_before_a_member_joined_excuses_nothing() {
    let mut tub = Tub::new(false);
    tub.register(1, 0, &[1, 2], 0);
    tub.leads(1, 0);
    tub.append(&[1, 2], 0, 0, 7);
    tub.power_loss(2);
    tub.cut(2, 0);
    tub.commit(1, 1);
    assert_eq!(tub.findings, [], "the controller does not know yet");
    tub.ledger.reborn(NodeId(2));
    tub.register(1, 0, &[1], 1);
    tub.register(1, 0, &[1, 2], 2);
    assert_eq!(tub.power_loss(1), 1);
    tub.register(2, 1, &[2], 3);
    tub.leads(2, 1);
    let [Finding::Lost { because, .. }] = &tub.findings[..] else { panic!("{:?}", tub.findings) };
    assert_eq!(because, "node 2 lost it before it came into this ISR");
}

/// The same, but the member never left.
#[test]
fn a_lossy_member_that_should_have_left_is_not_excused() {
    for leaves in [false, true] {
        let mut tub = Tub::new(false);
        tub.register(1, 0, &[1, 2], 0);
        tub.leads(1, 0);
        tub.append(&[1, 2], 0, 0, 7);
        tub.power_loss(2);
        tub.cut(2, 0);
        tub.ledger.reborn(NodeId(2));
        let isr: &[i32] = if leaves { &[1] } else { &[1, 2] };
        tub.register(1, 0, isr, 1);
        tub.commit(1, 1);
        assert_eq!(tub.findings.is_empty(), leaves, "{:?}", tub.findings);
    }
}

#[test]
fn a_void_promise_of_what_a_member_never_had_is_found() {
    let mut tub = deposed_and_unaware();
    tub.append(&[1], 2, 0, 7);
    tub.commit(1, 3);
    let [Finding::Missing { member, .. }] = &tub.findings[..] else { panic!("{:?}", tub.findings) };
    assert_eq!(*member, NodeId(2));
}

#[test]
fn a_loss_that_only_an_isr_of_one_excuses_is_counted_apart() {
    let mut tub = Tub::new(false);
    tub.register(1, 0, &[1], 0);
    tub.append(&[1, 2], 0, 0, 7);
    tub.commit(1, 1);
    tub.power_loss(1);
    tub.cut(1, 0);
    tub.register(1, 1, &[1], 1);
    tub.leads(1, 1);
    assert!(matches!(tub.findings[..], [Finding::Admitted { .. }]), "{:?}", tub.findings);
    let promises = tub.ledger.promises(PARTITION).unwrap();
    assert_eq!((promises.admitted_records(), promises.admitted_alone()), (1, 1));
}
