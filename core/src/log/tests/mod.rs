//! The log on a small in-memory disk that can crash with or without losing its page cache.

mod damage;
mod flaws;
mod property;
mod units;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::vec;
use std::vec::Vec;

use bytes::Bytes;

use super::*;
use crate::batch::{Batch, BatchBuilder};
use crate::env::{DiskOp, Probe};
use crate::note::Note;
use crate::types::Uuid;

pub(super) const DIR: DirId = DirId(2);
pub(super) const PARTITION: TopicPartition = TopicPartition { topic: Uuid(9), partition: 0 };
/// Small, so that small files tear in the middle.
const SECTOR: usize = 64;

/// Random numbers for the disk's choices.
#[derive(Clone, Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, bound: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mixed = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        (mixed >> 33) % bound.max(1)
    }

    pub(super) fn coin(&mut self) -> bool {
        self.roll(2) == 0
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    cache: Vec<u8>,
    durable: Vec<u8>,
}

/// One directory on a disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct TestDisk {
    inodes: Vec<Inode>,
    names: BTreeMap<FileKind, usize>,
    durable_names: BTreeMap<FileKind, usize>,
    pub(crate) queue: VecDeque<DiskOp>,
    pub(crate) done: VecDeque<DiskDone>,
    pub(super) notes: Vec<Note>,
    /// The next sync of a log file fails, and its pages are marked clean anyway.
    pub(super) fails_sync: bool,
    lost: BTreeSet<usize>,
}

impl Disk for TestDisk {
    fn submit(&mut self, op: DiskOp) {
        self.queue.push_back(op);
    }
}

impl Probe for TestDisk {
    fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}

impl TestDisk {
    pub(super) fn content(&mut self, kind: FileKind) -> &mut Vec<u8> {
        let inode = self.names[&kind];
        &mut self.inodes[inode].cache
    }

    pub(super) fn files(&self) -> Vec<FileKind> {
        self.names.keys().copied().collect()
    }

    pub(super) fn remove(&mut self, kind: FileKind) {
        self.names.remove(&kind);
    }

    pub(super) fn put(&mut self, kind: FileKind, content: &[u8]) {
        self.inodes.push(Inode { cache: content.to_vec(), durable: content.to_vec() });
        self.names.insert(kind, self.inodes.len() - 1);
        self.durable_names.insert(kind, self.inodes.len() - 1);
    }

    /// Executes one operation; its completions are queued.
    pub(crate) fn execute(&mut self) -> bool {
        let Some(op) = self.queue.pop_front() else { return false };
        match op {
            DiskOp::OpenDir { dir, .. } => {
                let files = self
                    .names
                    .iter()
                    .map(|(kind, inode)| (*kind, self.inodes[*inode].cache.len() as u64))
                    .collect();
                self.done.push_back(DiskDone::Listed { dir, files, dirs: vec![], strangers: 0 });
            }
            DiskOp::Create { file, .. } => {
                self.inodes.push(Inode::default());
                self.names.insert(file.kind, self.inodes.len() - 1);
            }
            DiskOp::Append { file, generation, at, bytes } => {
                let content = self.content(file.kind);
                assert_eq!(content.len() as u64, at, "append to {file:?} elsewhere");
                bytes.iter().for_each(|part| content.extend_from_slice(part));
                let upto = content.len() as u64;
                self.done.push_back(DiskDone::Written { file, generation, upto });
            }
            DiskOp::Sync { file, generation } => {
                // The file may have been removed since; then syncing it does nothing.
                let Some(inode) = self.names.get(&file.kind).copied() else { return true };
                if matches!(file.kind, FileKind::Log(_)) && core::mem::take(&mut self.fails_sync) {
                    self.lost.insert(inode);
                    let (op, error) = (DiskOpKind::Sync, DiskError::Io);
                    self.done.push_back(DiskDone::Failed { file, op, error });
                    return true;
                }
                let upto = self.inodes[inode].cache.len() as u64;
                if !self.lost.contains(&inode) {
                    self.inodes[inode].durable = self.inodes[inode].cache.clone();
                }
                self.done.push_back(DiskDone::Synced { file, generation, upto });
            }
            DiskOp::Truncate { file, to, .. } => {
                let content = self.content(file.kind);
                assert!(to <= content.len() as u64, "truncation of {file:?} lengthens it");
                content.truncate(to as usize);
            }
            DiskOp::Rename { from, to, .. } => {
                let inode = self.names.remove(&from).expect("renaming what is there");
                self.names.insert(to, inode);
            }
            DiskOp::Unlink { file } => {
                self.names.remove(&file.kind);
            }
            DiskOp::SyncDir { dir, by, serial } => {
                self.durable_names = self.names.clone();
                self.done.push_back(DiskDone::DirSynced { dir, by, serial });
            }
            DiskOp::RenameDir { dir, .. } => self.done.push_back(DiskDone::DirRenamed { dir }),
            DiskOp::RemoveDir { .. } => self.names.clear(),
            DiskOp::Read { tag, file, at, len } => {
                let bytes = self.slice(file, at, len);
                self.done.push_back(DiskDone::Read { tag, file, at, bytes });
            }
        }
        true
    }

    pub(super) fn slice(&mut self, file: FileId, at: u64, len: u32) -> Bytes {
        let content = self.content(file.kind);
        let start = (at as usize).min(content.len());
        let end = (start + len as usize).min(content.len());
        Bytes::copy_from_slice(&content[start..end])
    }

    /// The process dies: submitted operations are done, in order, up to some point.
    pub(super) fn crash(&mut self, dice: &mut Dice) {
        let executed = dice.roll(self.queue.len() as u64 + 1);
        for _ in 0..executed {
            self.execute();
        }
        self.queue.clear();
        self.done.clear();
        self.notes.clear();
    }

    /// The machine dies: any subset of the unsynced sectors and names survives.
    pub(super) fn lose_power(&mut self, dice: &mut Dice) {
        self.crash(dice);
        let mut names = self.durable_names.clone();
        let kinds: BTreeSet<FileKind> =
            self.names.keys().chain(self.durable_names.keys()).copied().collect();
        for kind in kinds {
            if dice.coin() {
                match self.names.get(&kind) {
                    Some(inode) => names.insert(kind, *inode),
                    None => names.remove(&kind),
                };
            }
        }
        for inode in &mut self.inodes {
            if inode.cache != inode.durable {
                inode.cache = torn(&inode.cache, &inode.durable, dice);
            }
            inode.durable = inode.cache.clone();
        }
        self.names = names.clone();
        self.durable_names = names;
        self.lost.clear();
    }
}

fn torn(cache: &[u8], durable: &[u8], dice: &mut Dice) -> Vec<u8> {
    let (short, long) =
        (cache.len().min(durable.len()) as u64, cache.len().max(durable.len()) as u64);
    let len = match dice.roll(3) {
        0 => cache.len(),
        1 => durable.len(),
        _ => (short + dice.roll(long - short + 1)) as usize,
    };
    // A file that was only appended to keeps its durable part; a cut one may keep either length.
    let mut out = vec![0; len];
    for (at, sector) in out.chunks_mut(SECTOR).enumerate() {
        let start = at * SECTOR;
        let from = if dice.coin() { [cache, durable] } else { [durable, cache] };
        for (i, byte) in sector.iter_mut().enumerate() {
            *byte = match from[0].get(start + i) {
                Some(byte) => *byte,
                None if from[0].len() > start => 0,
                None => from[1].get(start + i).copied().unwrap_or(0),
            };
        }
    }
    // Bytes below the common prefix are the same in both and cannot be lost.
    let same = cache.iter().zip(durable).take_while(|(a, b)| a == b).count().min(len);
    out[..same].copy_from_slice(&cache[..same]);
    out
}

pub(super) fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 1000,
        index_interval_bytes: 200,
        flush_each_batch: false,
        tail_cache_bytes: 0,
        read_chunk_bytes: 64 << 10,
        flaws: FlawSet::NONE,
    }
}

/// A log with its disk.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) log: PartitionLog,
    pub(super) disk: TestDisk,
    pub(super) events: Vec<LogEvent>,
}

impl Node {
    /// Opens the log on this disk and runs until nothing is left to do.
    pub(super) fn open(mut disk: TestDisk, config: LogConfig, hint: RecoveryHint) -> Node {
        let log = PartitionLog::open(DIR, "t-0", PARTITION, config, hint, &mut disk);
        let mut node = Node { log, disk, events: vec![] };
        node.run();
        node
    }

    pub(super) fn new(config: LogConfig) -> Node {
        let node = Node::open(TestDisk::default(), config, RecoveryHint::NONE);
        assert!(node.log.is_ready());
        node
    }

    /// Delivers one completion.
    pub(super) fn deliver(&mut self) -> bool {
        let Some(done) = self.disk.done.pop_front() else { return false };
        let event = self.log.on_disk(&done, &mut self.disk);
        if event != LogEvent::None {
            self.events.push(event);
        }
        true
    }

    /// Executes and delivers everything.
    pub(super) fn run(&mut self) {
        while self.deliver() || self.disk.execute() {}
    }

    pub(super) fn reopen(self, hint: RecoveryHint) -> Node {
        let config = self.log.config().clone();
        self.reopen_with(config, hint)
    }

    pub(super) fn reopen_with(self, config: LogConfig, hint: RecoveryHint) -> Node {
        let Node { mut disk, .. } = self;
        disk.queue.clear();
        disk.done.clear();
        disk.notes.clear();
        Node::open(disk, config, hint)
    }

    /// A batch at the log's end: `count` records with values of `size` bytes.
    pub(super) fn batch(&self, epoch: i32, count: usize, size: usize, timestamp: i64) -> Batch {
        let mut builder = BatchBuilder::new();
        for index in 0..count {
            let value = vec![(self.log.log_end().0 + index as i64) as u8; size];
            builder.push(timestamp + index as i64, None, Some(&value), &[]);
        }
        builder.build(self.log.log_end(), LeaderEpoch(epoch))
    }

    pub(super) fn append(&mut self, epoch: i32, count: usize, size: usize, time: i64) -> Batch {
        let batch = self.batch(epoch, count, size, time);
        self.log.append_built(batch.clone(), &mut self.disk);
        batch
    }

    /// Reads as a fetch does; `None` if out of range. Panics on corruption.
    pub(super) fn read(&mut self, from: i64, limit: i64, max: u32) -> Option<Vec<Batch>> {
        match self.try_read(from, limit, max) {
            Ok(batches) => batches,
            Err(()) => panic!("corrupt read at {from}"),
        }
    }

    pub(super) fn try_read(
        &mut self,
        from: i64,
        limit: i64,
        max: u32,
    ) -> Result<Option<Vec<Batch>>, ()> {
        self.try_read_within(from, limit, max, true)
    }

    /// Like `try_read`; `at_least_one`: also a first batch that is larger than `max`.
    pub(super) fn try_read_within(
        &mut self,
        from: i64,
        limit: i64,
        max: u32,
        at_least_one: bool,
    ) -> Result<Option<Vec<Batch>>, ()> {
        let (from, limit) = (Offset(from), Offset(limit));
        // Earlier submissions take effect before a read that is submitted now.
        while self.disk.execute() {}
        let limits = ReadLimits { end: limit, max_bytes: max, at_least_one };
        match self.log.read(from, &limits) {
            Err(OutOfRange) => Ok(None),
            Ok(ReadPlan::Empty) => Ok(Some(vec![])),
            Ok(ReadPlan::Cached(batches)) => Ok(Some(batches)),
            Ok(ReadPlan::Disk(mut plan)) => loop {
                let bytes = self.disk.slice(plan.file, plan.at, plan.len);
                match self.log.finish_read(from, &limits, &plan, bytes) {
                    FinishedRead::Batches(batches) => return Ok(Some(batches)),
                    FinishedRead::More(more) => plan = more,
                    FinishedRead::Stale => panic!("nothing was cut meanwhile"),
                    FinishedRead::Corrupt => return Err(()),
                }
            },
        }
    }

    /// Every batch, one read after the other.
    pub(super) fn read_all(&mut self) -> Vec<Batch> {
        let end = self.log.written_end();
        let mut all: Vec<Batch> = vec![];
        let mut from = self.log.log_start();
        while from < end {
            let batches = self.read(from.0, end.0, 1).expect("within the log");
            assert!(!batches.is_empty(), "progress at {from}");
            from = batches.last().map_or(end, Batch::next_offset);
            all.extend(batches);
        }
        all
    }

    pub(super) fn lookup(&mut self, query: TimestampQuery, limit: i64) -> Option<TimestampHit> {
        while self.disk.execute() {}
        let limit = Offset(limit);
        match self.log.lookup_timestamp(query, limit) {
            LookupPlan::Found(hit) => hit,
            LookupPlan::Disk(mut query, mut plan) => loop {
                let bytes = self.disk.slice(plan.file, plan.at, plan.len);
                let mut finished = self.log.finish_lookup(query, limit, &plan, bytes);
                while let FinishedLookup::Rests(resting, plan) = finished {
                    assert_eq!(plan.turn().len, 1);
                    finished = self.log.resume_lookup(limit, &plan, resting);
                }
                match finished {
                    FinishedLookup::Found(hit) => return hit,
                    FinishedLookup::More(next, more) => (query, plan) = (next, more),
                    FinishedLookup::Rests(..) => unreachable!("it went on"),
                    FinishedLookup::Stale => panic!("nothing was cut meanwhile"),
                    FinishedLookup::Corrupt => panic!("corrupt look-up"),
                }
            },
        }
    }
}
