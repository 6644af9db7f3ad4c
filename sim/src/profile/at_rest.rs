//! Storms about data at rest: faults that aim at single disk operations, and damage to what a
//! process finds when it starts.
//!
//! All other parts of storms are in `storms`.

use super::Draw;
use super::storms::{a_node, after, at, down, moment};
use crate::plan::{
    AtDiskOp, Crash, DamageIndex, DiskVerb, ELECTION_SYNCS, Fault, FaultKind, FileRole, Plan,
    PowerLoss, Restart, Target, When,
};

/// Disk operations, and the most of each to let pass: about as many as a storm has.
const DISK_OPS: [(DiskVerb, Option<FileRole>, u64); 18] = [
    (DiskVerb::Rename, Some(FileRole::CleanShutdown), 1),
    (DiskVerb::SyncDir, Some(FileRole::CleanShutdown), 1),
    (DiskVerb::Unlink, Some(FileRole::CleanShutdown), 1),
    (DiskVerb::Rename, Some(FileRole::QuorumState), 5),
    (DiskVerb::Rename, Some(FileRole::LeaderEpochs), 8),
    (DiskVerb::Rename, Some(FileRole::RecoveryPoints), 10),
    (DiskVerb::Rename, Some(FileRole::HighWatermarks), 10),
    (DiskVerb::SyncDir, Some(FileRole::Log), 5),
    (DiskVerb::SyncDir, None, 30),
    (DiskVerb::Unlink, None, 6),
    (DiskVerb::Truncate, Some(FileRole::Log), 3),
    (DiskVerb::Create, Some(FileRole::Log), 5),
    (DiskVerb::Create, Some(FileRole::OffsetIndex), 5),
    (DiskVerb::OpenDir, None, 6),
    (DiskVerb::RenameDir, None, 2),
    (DiskVerb::RemoveDir, None, 2),
    (DiskVerb::Sync, Some(FileRole::Log), 200),
    (DiskVerb::Append, Some(FileRole::Log), 200),
];

/// A process crashes, or its machine loses power, at its n-th disk operation of a kind.
pub(super) fn aimed_at_disk(plan: &mut Plan, draw: &mut Draw) {
    for _ in 0..draw.range(1, 2) {
        let (op, file, most) = draw.pick(&DISK_OPS);
        let node = Target::Noted;
        let down_us = down(plan, draw);
        let what = match draw.chance(50) {
            true => FaultKind::Crash(Crash { node, down_us }),
            false => FaultKind::PowerLoss(PowerLoss { node, down_us }),
        };
        let from_us = moment(plan, draw) / 2;
        let count = draw.range(1, most) as u32;
        let delay_us = if draw.chance(80) { 0 } else { draw.scale(20, 5_000) };
        let node = draw.chance(40).then(|| draw.pick(&plan.cluster.nodes()));
        let aimed = AtDiskOp { op, file, from_us, count, delay_us, node };
        if file == Some(FileRole::CleanShutdown) {
            // This needs a node that stops, or that starts after a stop.
            let aimed = AtDiskOp { from_us: 0, node: None, ..aimed };
            let stop = FaultKind::Restart(Restart {
                node: a_node(plan, draw),
                patience_us: draw.scale(500_000, 20_000_000),
                down_us: down(plan, draw),
            });
            plan.faults.push(at(from_us, stop).then(Fault::new(When::AtDiskOp(aimed), what)));
        } else {
            plan.faults.push(Fault::new(When::AtDiskOp(aimed), what));
        }
    }
}

/// Power is lost between a segment roll and the sync of the old segment. Then a closed segment may
/// be torn in the middle, with a whole one after it.
pub(super) fn power_at_a_roll(plan: &mut Plan, draw: &mut Draw) {
    plan.disk.torn = true;
    // Slow syncs, so that some (for example of indexes) are done while others are not. An election
    // must fit into its timeout with some margin, or there is never a leader.
    let slow = draw.scale(20_000, 100_000);
    let longest = plan.node.election_timeout_ms * 1000 * 2 / (3 * ELECTION_SYNCS);
    plan.disk.sync_mean_us = plan.disk.sync_mean_us.max(slow.min(longest));
    let segment = draw.scale(4_000, 20_000) as u32;
    for topic in &mut plan.topics {
        topic.segment_bytes = topic.segment_bytes.min(segment);
        topic.flush_each_batch &= draw.chance(50);
        topic.index_interval_bytes = topic.index_interval_bytes.min(500);
    }
    for producer in &mut plan.workload.producers {
        producer.value_max_bytes = producer.value_max_bytes.max(500);
    }
    for _ in 0..draw.range(2, 5) {
        let (from_us, count) = (moment(plan, draw), draw.range(1, 6) as u32);
        // When the new file exists, and the old one's content is not yet on the media.
        let disk = &plan.disk;
        let soonest = 3 * disk.namespace_mean_us;
        let delay_us = draw.range(soonest, soonest + disk.sync_min_us + disk.sync_mean_us);
        let (op, file, node) = (DiskVerb::Create, Some(FileRole::Log), None);
        let aimed = AtDiskOp { op, file, from_us, count, delay_us, node };
        let (node, down_us) = (Target::Noted, down(plan, draw));
        let what = FaultKind::PowerLoss(PowerLoss { node, down_us });
        plan.faults.push(Fault::new(When::AtDiskOp(aimed), what));
    }
}

/// Indexes change at rest, after a clean stop (then they are trusted) or a crash. Most reads go to
/// the disk and use the indexes.
pub(super) fn damaged_indexes(plan: &mut Plan, draw: &mut Draw) {
    if draw.chance(70) {
        plan.node.tail_cache_bytes = 0;
    }
    for topic in &mut plan.topics {
        topic.index_interval_bytes = topic.index_interval_bytes.min(draw.scale(50, 1_000) as u32);
    }
    for _ in 0..draw.range(1, 2) {
        let node = a_node(plan, draw);
        let (down_us, permille) = (down(plan, draw), draw.pick(&[1000, 1000, 300, 100]));
        let damage = |node| FaultKind::DamageIndex(DamageIndex { node, down_us, permille });
        let when = moment(plan, draw);
        let fault = if draw.chance(70) {
            let patience_us = draw.scale(500_000, 20_000_000);
            let stop = FaultKind::Restart(Restart { node, patience_us, down_us });
            at(when, stop).then(after("shut_down", 0, 1, 0, damage(Target::Noted)))
        } else {
            at(when, damage(node))
        };
        plan.faults.push(fault);
    }
}
