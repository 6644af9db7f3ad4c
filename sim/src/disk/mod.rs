//! A node's simulated disk: the page cache, the media, and how they differ.
//!
//! A file's visible content (the page cache) and its durable image are separate. How much of the
//! difference survives is decided only when a fault strikes ([`SimDisk::process_crash`] keeps the
//! page cache, [`SimDisk::power_loss`] does not). Directory entries have their own durability.
//! Operations on one directory take effect in order of submission, each after a drawn time. A sync
//! runs concurrently with later appends and reads, but later changes of names or lengths wait for
//! it.
//!
//! What does not live here: when a job runs (the world's heap asks [`SimDisk::finish`]), and what a
//! loss means (the tank's ledger reads [`DiskChange`]s).

mod extents;
mod faults;
#[cfg(test)]
mod model_tests;
mod names;
#[cfg(test)]
mod tests;

pub use extents::Extents;
use faults::needs_space;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use wavetank_core::env::{DiskOp, FileId, FileKind};
use wavetank_core::event::{DiskDone, DiskError, DiskOpKind};
use wavetank_core::types::{DirId, NodeId};

use crate::decide::{Dice, Place};
use crate::shared::Shared;

/// The unit that a disk writes atomically, in bytes.
pub const SECTOR: u64 = 512;

/// How long until an operation is tried again on a full disk, in ns.
const FULL_RETRY: u64 = 100_000_000;

/// How long an operation takes: `min` plus an exponentially distributed rest, in ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskLatency {
    /// Shortest, ns.
    pub min: u64,
    /// Mean of the added part, ns.
    pub mean: u64,
}

/// A disk's timing and failure model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskConfig {
    /// Appending to the page cache.
    pub write: DiskLatency,
    /// Making durable.
    pub sync: DiskLatency,
    /// Reading.
    pub read: DiskLatency,
    /// Creating, renaming, unlinking, truncating, listing.
    pub namespace: DiskLatency,
    /// A power loss keeps any subset of unsynced sectors (else a prefix of the unsynced bytes).
    pub torn: bool,
}

impl Default for DiskConfig {
    /// Roughly an SSD with a warm page cache.
    fn default() -> DiskConfig {
        DiskConfig {
            write: DiskLatency { min: 5_000, mean: 15_000 },
            sync: DiskLatency { min: 200_000, mean: 800_000 },
            read: DiskLatency { min: 10_000, mean: 90_000 },
            namespace: DiskLatency { min: 10_000, mean: 40_000 },
            torn: true,
        }
    }
}

/// A directory of one disk, numbered in order of first opening. 0 is the root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirSlot(pub u32);

/// What happened to a file, for the loss ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskChange {
    /// On whose disk.
    pub node: NodeId,
    /// In which directory; [`SimDisk::dir_name`] names it.
    pub dir: DirSlot,
    /// Which file ([`FileKind::CleanShutdown`] if the change is to the whole directory).
    pub file: FileKind,
    /// What.
    pub what: Change,
}

/// See [`DiskChange`]. Ranges are in bytes, half-open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The file was created, or an existing one emptied.
    Created,
    /// Bytes reached the page cache.
    Appended {
        /// Where they start.
        at: u64,
        /// The bytes.
        bytes: Vec<Bytes>,
    },
    /// The file was truncated.
    Truncated {
        /// New length.
        to: u64,
    },
    /// Bytes below this are on the media.
    Synced {
        /// The watermark.
        upto: u64,
    },
    /// A sync failed: these bytes stay readable while the page cache lives, a later sync succeeds,
    /// and a power loss loses them.
    SyncFailed {
        /// From.
        from: u64,
        /// To.
        to: u64,
    },
    /// The file has a new name in the same directory, replacing any of that name.
    Renamed {
        /// The name.
        to: FileKind,
    },
    /// The file's name is gone.
    Removed,
    /// The whole directory is gone.
    DirRemoved,
    /// The directory was renamed ([`SimDisk::dir_name`]) and no longer belongs to a replica.
    DirRenamed,
    /// The directory's names are durable.
    DirSynced,
    /// A power loss changed the content from the visible one to what the media held.
    Lost {
        /// Length before.
        before: u64,
        /// Length after. It may be larger if an unsynced truncation was lost.
        after: u64,
        /// Ranges below `after` that hold zeros instead of the bytes that were written.
        zeroed: Vec<(u64, u64)>,
    },
    /// A power loss removed the name: its creation or the rename to it had not been synced, or the
    /// directory itself was lost.
    Vanished,
    /// A power loss brought the name back, or gave it another (older) file: its unlink or
    /// replacement had not been synced.
    Reappeared {
        /// Its length.
        len: u64,
    },
    /// Bytes changed at rest, or the file was removed.
    Corrupted {
        /// From.
        from: u64,
        /// To.
        to: u64,
    },
}

/// Disk work that the world schedules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Job {
    /// When it ends, ns.
    pub at: u64,
    /// The disk's epoch (the period between two crashes) that the job belongs to.
    pub epoch: u32,
    /// What.
    pub kind: JobKind,
}

/// See [`Job`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobKind {
    /// The operation at the head of a directory's queue.
    Head(DirSlot),
    /// A file's sync.
    Sync(DirSlot, u32),
}

/// The results of a call on the disk. The caller reuses the value.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Jobs to schedule.
    pub jobs: Vec<Job>,
    /// Completions to deliver now, in order.
    pub done: Vec<DiskDone>,
    /// For the ledger, in order. Filled only when the disk is observed.
    pub changes: Vec<DiskChange>,
}

#[derive(Clone, Debug)]
struct Queued {
    op: DiskOp,
    /// When it was submitted, ns.
    at: u64,
}

/// A running sync. What it covers was fixed when it started.
#[derive(Clone, Debug)]
struct SyncRun {
    file: FileId,
    generation: u32,
    upto: u64,
    fails: bool,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// The visible content: the page cache over the media.
    content: Extents,
    /// The content that survives a power loss.
    durable: Extents,
    /// Up to here `durable` and `content` agree, and the kernel holds nothing dirty.
    clean: u64,
    /// The content before the first truncation that no sync has covered. A power loss may undo the
    /// truncation.
    uncut: Option<Extents>,
    /// Ranges that a failed sync marked clean without writing them.
    dropped: Vec<(u64, u64)>,
    sync: Option<SyncRun>,
    /// Another sync was requested while one was running.
    again: Option<(FileId, u32)>,
    /// How many syncs were started. Keys their draws.
    syncs: u64,
    /// The next sync fails with EIO.
    fail_next_sync: bool,
    /// An operation failed, so the rest of this incarnation's appends fail too.
    broken: Option<DiskError>,
    /// Ranges that the media cannot read any more.
    bad: Vec<(u64, u64)>,
}

#[derive(Clone, Debug)]
enum NameOp {
    Create(FileKind, u32),
    /// Old name, new name, and inode.
    Rename(FileKind, FileKind, u32),
    Unlink(FileKind),
}

#[derive(Clone, Debug)]
struct Dir {
    name: String,
    place: Place,
    exists: bool,
    /// The root's entry for it is durable.
    durable_exists: bool,
    /// Its previous name, which the next sync of the root removes for good.
    durable_name: Option<String>,
    entries: BTreeMap<FileKind, u32>,
    durable: BTreeMap<FileKind, u32>,
    /// Changes of `entries` that no directory sync has covered.
    pending: Vec<NameOp>,
    inodes: BTreeMap<u32, Shared<Inode>>,
    next_inode: u32,
    queue: VecDeque<Queued>,
    /// The head of the queue is running.
    running: bool,
    /// Syncs running besides the queue.
    syncing: u32,
    /// Operations started. Keys the draws of those that nothing else distinguishes.
    ops: u64,
}

/// The disk of one node.
#[derive(Clone, Debug)]
pub struct SimDisk {
    node: NodeId,
    place: Place,
    config: DiskConfig,
    dirs: Vec<Shared<Dir>>,
    by_name: BTreeMap<String, u32>,
    handles: BTreeMap<DirId, u32>,
    epoch: u32,
    observed: bool,
    /// Every latency is multiplied by this, in percent.
    slow_percent: u64,
    /// Nothing completes before this time, ns.
    stalled_until: u64,
    full: bool,
    lying: bool,
    fail_any_sync: bool,
    fail_any_write: bool,
    crashes: u64,
    counts: DiskCounts,
}

/// The faults of a disk since it was created.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Syncs that failed.
    pub failed_syncs: u64,
    /// Operations and syncs that started while the disk was slow.
    pub slowed: u64,
    /// Files that a power loss changed, removed, or brought back.
    pub lost: u64,
}

impl SimDisk {
    /// An empty disk, its draws keyed by `place`.
    pub fn new(node: NodeId, place: Place, config: DiskConfig) -> SimDisk {
        let mut disk = SimDisk {
            node,
            place,
            config,
            dirs: Vec::new(),
            by_name: BTreeMap::new(),
            handles: BTreeMap::new(),
            epoch: 0,
            observed: false,
            slow_percent: 100,
            stalled_until: 0,
            full: false,
            lying: false,
            fail_any_sync: false,
            fail_any_write: false,
            crashes: 0,
            counts: DiskCounts::default(),
        };
        let root = disk.slot("");
        disk.dirs[root as usize].exists = true;
        disk.dirs[root as usize].durable_exists = true;
        disk
    }

    fn slot(&mut self, name: &str) -> u32 {
        if let Some(slot) = self.by_name.get(name) {
            return *slot;
        }
        let slot = self.dirs.len() as u32;
        self.dirs.push(Shared::new(Dir {
            name: name.to_owned(),
            place: self.place.with_value(&name),
            exists: false,
            durable_exists: false,
            durable_name: None,
            entries: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
            inodes: BTreeMap::new(),
            next_inode: 0,
            queue: VecDeque::new(),
            running: false,
            syncing: 0,
            ops: 0,
        }));
        self.by_name.insert(name.to_owned(), slot);
        slot
    }

    /// Takes one operation at time `at` (not before now). Adds its results to `out`.
    ///
    /// # Panics
    /// If the machine uses a directory that it has not opened, opens one under two ids, or appends
    /// anywhere but at the end. That is a bug of the machine.
    pub fn submit(&mut self, at: u64, op: DiskOp, dice: &Dice, out: &mut Outcome) {
        let slot = match &op {
            DiskOp::OpenDir { dir, name } => {
                let slot = self.slot(name);
                let holder =
                    self.handles.iter().find(|(other, held)| **held == slot && *other != dir);
                assert!(holder.is_none(), "{}: {name:?} is opened anew as {dir}", self.node);
                self.handles.insert(*dir, slot);
                slot
            }
            DiskOp::Create { file, .. }
            | DiskOp::Append { file, .. }
            | DiskOp::Sync { file, .. }
            | DiskOp::Truncate { file, .. }
            | DiskOp::Unlink { file }
            | DiskOp::Read { file, .. } => self.handle(file.dir),
            DiskOp::Rename { dir, .. } | DiskOp::SyncDir { dir, .. } => self.handle(*dir),
            DiskOp::RenameDir { dir, .. } => {
                let slot = self.handle(*dir);
                assert_ne!(slot, 0, "{}: the log directory itself has no other name", self.node);
                slot
            }
            DiskOp::RemoveDir { dir } => {
                let slot = self.handle(*dir);
                assert_ne!(slot, 0, "{}: the log directory itself is never removed", self.node);
                self.handles.remove(dir);
                slot
            }
        };
        self.dirs[slot as usize].queue.push_back(Queued { op, at });
        self.pump(slot, at, dice, out);
    }

    fn handle(&self, dir: DirId) -> u32 {
        match self.handles.get(&dir) {
            Some(slot) => *slot,
            None => panic!("{}: operation in directory {dir}, which is not open", self.node),
        }
    }

    /// Starts whatever can start in a directory at time `now`.
    fn pump(&mut self, slot: u32, now: u64, dice: &Dice, out: &mut Outcome) {
        loop {
            let dir = &mut *self.dirs[slot as usize];
            if dir.running {
                return;
            }
            let Some(head) = dir.queue.front() else { return };
            let start = now.max(head.at);
            let waits_for_syncs = match &head.op {
                DiskOp::Append { .. } | DiskOp::Read { .. } | DiskOp::OpenDir { .. } => false,
                DiskOp::Sync { .. } => {
                    let Some(Queued { op: DiskOp::Sync { file, generation }, .. }) =
                        dir.queue.pop_front()
                    else {
                        unreachable!("the head is a sync");
                    };
                    self.start_sync(slot, file, generation, start, dice, out);
                    continue;
                }
                DiskOp::Create { .. }
                | DiskOp::Truncate { .. }
                | DiskOp::Rename { .. }
                | DiskOp::Unlink { .. }
                | DiskOp::SyncDir { .. }
                | DiskOp::RenameDir { .. }
                | DiskOp::RemoveDir { .. } => true,
            };
            if waits_for_syncs && dir.syncing > 0 {
                return;
            }
            dir.running = true;
            dir.ops += 1;
            self.counts.slowed += u64::from(self.slow_percent > 100);
            let (latency, place) = self.latency_of(slot);
            let at = self.when(start, latency, place, dice);
            let kind = JobKind::Head(DirSlot(slot));
            out.jobs.push(Job { at, epoch: self.epoch, kind });
            return;
        }
    }

    /// The timing of the operation at the head of a queue, and the place of its draw.
    fn latency_of(&self, slot: u32) -> (DiskLatency, Place) {
        let dir = &self.dirs[slot as usize];
        let head = dir.queue.front().expect("asked for the head of a queue that has one");
        let by_name = (self.config.namespace, dir.place.with(3).with(dir.ops));
        match &head.op {
            DiskOp::Append { file, generation, at, .. } => {
                let place = dir.place.with(1).with_value(&file.kind);
                (self.config.write, place.with(u64::from(*generation)).with(*at))
            }
            DiskOp::Read { file, at, .. } => {
                let place = dir.place.with(2).with_value(&file.kind);
                (self.config.read, place.with(*at).with(dir.ops))
            }
            DiskOp::SyncDir { .. } => (self.config.sync, dir.place.with(4).with(dir.ops)),
            DiskOp::OpenDir { .. }
            | DiskOp::Create { .. }
            | DiskOp::Sync { .. }
            | DiskOp::Truncate { .. }
            | DiskOp::Rename { .. }
            | DiskOp::Unlink { .. }
            | DiskOp::RenameDir { .. }
            | DiskOp::RemoveDir { .. } => by_name,
        }
    }

    fn when(&self, start: u64, latency: DiskLatency, place: Place, dice: &Dice) -> u64 {
        let drawn = latency.min + dice.exponential(place, latency.mean);
        let slowed = u128::from(drawn) * u128::from(self.slow_percent) / 100;
        let slowed = u64::try_from(slowed).unwrap_or(u64::MAX);
        start.saturating_add(slowed).max(self.stalled_until)
    }

    fn start_sync(
        &mut self,
        slot: u32,
        file: FileId,
        generation: u32,
        start: u64,
        dice: &Dice,
        out: &mut Outcome,
    ) {
        let dir = &mut *self.dirs[slot as usize];
        let Some(id) = dir.entries.get(&file.kind).copied() else {
            let (op, error) = (DiskOpKind::Sync, DiskError::Refused);
            out.done.push(DiskDone::Failed { file, op, error });
            return;
        };
        let inode = &mut **dir.inodes.get_mut(&id).expect("entries name inodes that exist");
        if inode.sync.is_some() {
            if inode.again.is_none() {
                dir.syncing += 1;
            }
            inode.again = Some((file, generation));
            return;
        }
        dir.syncing += 1;
        inode.syncs += 1;
        let fails = inode.fail_next_sync || self.fail_any_sync;
        inode.fail_next_sync = false;
        self.fail_any_sync = false;
        inode.sync = Some(SyncRun { file, generation, upto: inode.content.len(), fails });
        self.counts.slowed += u64::from(self.slow_percent > 100);
        let place = dir.place.with(5).with_value(&file.kind).with(inode.syncs);
        let at = self.when(start, self.config.sync, place, dice);
        let kind = JobKind::Sync(DirSlot(slot), id);
        out.jobs.push(Job { at, epoch: self.epoch, kind });
    }

    /// Ends a job at its time. Adds completions, further jobs and changes to `out`.
    pub fn finish(&mut self, now: u64, job: Job, dice: &Dice, out: &mut Outcome) {
        if job.epoch != self.epoch {
            return;
        }
        if now < self.stalled_until {
            out.jobs.push(Job { at: self.stalled_until, ..job });
            return;
        }
        let slot = match job.kind {
            JobKind::Head(slot) => {
                let dir = &mut *self.dirs[slot.0 as usize];
                // An operation that does not fit has not failed. It waits until it fits, and so
                // does all behind it.
                if self.full && dir.queue.front().is_some_and(|head| needs_space(&head.op)) {
                    out.jobs.push(Job { at: now + FULL_RETRY, ..job });
                    return;
                }
                let head = dir.queue.pop_front().expect("a running head is in the queue");
                dir.running = false;
                self.apply(slot.0, head.op, out);
                slot.0
            }
            JobKind::Sync(slot, inode) => {
                self.finish_sync(slot.0, inode, out);
                let dir = &mut *self.dirs[slot.0 as usize];
                let again = dir.inodes.get_mut(&inode).and_then(|i| i.again.take());
                dir.syncing -= 1;
                if let Some((file, generation)) = again {
                    dir.syncing -= 1;
                    self.start_sync(slot.0, file, generation, now, dice, out);
                }
                slot.0
            }
        };
        self.pump(slot, now, dice, out);
    }

    fn finish_sync(&mut self, slot: u32, id: u32, out: &mut Outcome) {
        let dir = &mut *self.dirs[slot as usize];
        let inode = dir.inodes.get_mut(&id).expect("changes of names wait for syncs");
        let run = inode.sync.take().expect("the job belongs to a running sync");
        let kind = run.file.kind;
        if run.fails {
            self.counts.failed_syncs += 1;
            let from = inode.clean;
            inode.sync_failed(run.upto);
            let (op, error) = (DiskOpKind::Sync, DiskError::Io);
            out.done.push(DiskDone::Failed { file: run.file, op, error });
            if from < run.upto {
                self.changed(slot, kind, || Change::SyncFailed { from, to: run.upto }, out);
            }
            return;
        }
        let (file, generation, upto) = (run.file, run.generation, run.upto);
        out.done.push(DiskDone::Synced { file, generation, upto });
        if !self.lying {
            inode.synced(upto);
            self.changed(slot, kind, || Change::Synced { upto }, out);
        }
    }

    fn changed(&self, slot: u32, file: FileKind, what: impl FnOnce() -> Change, out: &mut Outcome) {
        if self.observed {
            let dir = DirSlot(slot);
            out.changes.push(DiskChange { node: self.node, dir, file, what: what() });
        }
    }

    /// Applies one operation.
    fn apply(&mut self, slot: u32, op: DiskOp, out: &mut Outcome) {
        match op {
            DiskOp::OpenDir { dir, .. } => self.apply_open(slot, dir, out),
            DiskOp::Create { file, .. } => {
                self.dirs[slot as usize].create(file.kind);
                self.changed(slot, file.kind, || Change::Created, out);
            }
            DiskOp::Append { file, generation, at, bytes } => {
                self.apply_append(slot, file, generation, at, bytes, out);
            }
            // Syncs leave the queue when they start. After a crash, a sync that had not started
            // has no effect.
            DiskOp::Sync { .. } => {}
            DiskOp::Truncate { file, to, .. } => {
                let Some(inode) = self.dirs[slot as usize].inode(file.kind) else {
                    fail(file, DiskOpKind::Truncate, DiskError::Refused, out);
                    return;
                };
                assert!(to <= inode.content.len(), "{file:?} is truncated to more than it holds");
                inode.truncate(to);
                self.changed(slot, file.kind, || Change::Truncated { to }, out);
            }
            DiskOp::Rename { dir, from, to } => {
                let entries = &mut *self.dirs[slot as usize];
                let Some(id) = entries.entries.remove(&from) else {
                    let file = FileId { dir, kind: from };
                    fail(file, DiskOpKind::Namespace, DiskError::Refused, out);
                    return;
                };
                entries.entries.insert(to, id);
                entries.pending.push(NameOp::Rename(from, to, id));
                self.changed(slot, from, || Change::Renamed { to }, out);
            }
            DiskOp::Unlink { file } => {
                let dir = &mut *self.dirs[slot as usize];
                if dir.entries.remove(&file.kind).is_some() {
                    dir.pending.push(NameOp::Unlink(file.kind));
                    self.changed(slot, file.kind, || Change::Removed, out);
                }
            }
            DiskOp::SyncDir { dir, by, serial } => {
                out.done.push(DiskDone::DirSynced { dir, by, serial });
                self.dir_synced(slot);
                self.changed(slot, FileKind::CleanShutdown, || Change::DirSynced, out);
            }
            DiskOp::RenameDir { dir, name } => self.apply_rename_dir(slot, dir, name, out),
            DiskOp::RemoveDir { .. } => {
                self.dirs[slot as usize].remove();
                self.changed(slot, FileKind::CleanShutdown, || Change::DirRemoved, out);
            }
            DiskOp::Read { tag, file, at, len } => {
                let Some(inode) = self.dirs[slot as usize].inode(file.kind) else {
                    fail(file, DiskOpKind::Read, DiskError::Refused, out);
                    return;
                };
                let end = at + u64::from(len);
                if inode.bad.iter().any(|(from, to)| *from < end && at < *to) {
                    fail(file, DiskOpKind::Read, DiskError::Io, out);
                    return;
                }
                let bytes = inode.content.read(at, u64::from(len));
                out.done.push(DiskDone::Read { tag, file, at, bytes });
            }
        }
    }

    fn apply_open(&mut self, slot: u32, id: DirId, out: &mut Outcome) {
        if self.create_dir(slot) {
            self.root_synced(); // a directory created by the open is durable when the open answers
        }
        let dir = &self.dirs[slot as usize];
        let length = |inode: &u32| dir.inodes[inode].content.len();
        let files = dir.entries.iter().map(|(kind, inode)| (*kind, length(inode))).collect();
        let dirs = if slot == 0 { self.dir_names() } else { Vec::new() };
        out.done.push(DiskDone::Listed { dir: id, files, dirs, strangers: 0 });
    }

    fn apply_append(
        &mut self,
        slot: u32,
        file: FileId,
        generation: u32,
        at: u64,
        bytes: Vec<Bytes>,
        out: &mut Outcome,
    ) {
        let Some(inode) = self.dirs[slot as usize].inode(file.kind) else {
            fail(file, DiskOpKind::Append, DiskError::Refused, out);
            return;
        };
        if self.fail_any_write {
            self.fail_any_write = false;
            inode.broken = Some(DiskError::Io);
        }
        if let Some(error) = inode.broken {
            fail(file, DiskOpKind::Append, error, out);
            return;
        }
        let end = inode.content.len();
        assert_eq!(at, end, "{}: append to {file:?} is not at its end", self.node);
        for part in &bytes {
            inode.content.push(part.clone());
        }
        let upto = inode.content.len();
        out.done.push(DiskDone::Written { file, generation, upto });
        self.changed(slot, file.kind, || Change::Appended { at, bytes }, out);
    }

    /// Makes the names durable.
    fn dir_synced(&mut self, slot: u32) {
        if self.lying {
            return;
        }
        if slot == 0 {
            self.root_synced();
        }
        let dir = &mut *self.dirs[slot as usize];
        if !dir.pending.is_empty() {
            dir.pending.clear();
            dir.durable.clone_from(&dir.entries);
            dir.forget_nameless();
        }
    }
}

fn fail(file: FileId, op: DiskOpKind, error: DiskError, out: &mut Outcome) {
    out.done.push(DiskDone::Failed { file, op, error });
}

impl Inode {
    /// Everything below `upto` is on the media (except what a failed sync dropped), and so is each
    /// truncation.
    fn synced(&mut self, upto: u64) {
        self.uncut = None;
        self.durable.truncate(self.clean);
        if self.clean < upto {
            self.durable.extend_from(&self.content, self.clean, upto);
            self.clean = upto;
        }
    }

    /// The dirty bytes below `upto` are marked clean without having been written.
    fn sync_failed(&mut self, upto: u64) {
        if self.clean < upto {
            self.uncut = None;
            self.dropped.push((self.clean, upto));
            self.durable.truncate(self.clean);
            self.durable.push_zeros(upto - self.clean);
            self.clean = upto;
        }
    }

    fn truncate(&mut self, to: u64) {
        if to < self.content.len() && self.uncut.is_none() {
            self.uncut = Some(self.content.clone());
        }
        self.content.truncate(to);
        self.clean = self.clean.min(to);
        for ranges in [&mut self.dropped, &mut self.bad] {
            for range in ranges.iter_mut() {
                range.1 = range.1.min(to);
            }
            ranges.retain(|(from, to)| from < to);
        }
    }
}
