//! The partition log in Kafka's on-disk format: segments, their indexes, leader epochs, recovery.
//!
//! A log is opened by name and recovers itself; from then on it appends, reads and truncates. Every
//! disk operation is a submission; completions come back through [`PartitionLog::on_disk`] as
//! watermarks in bytes, which it translates to offsets:
//!
//! `log_start <= synced_end <= written_end <= log_end`
//!
//! `log_end` is what has been submitted, `written_end` what is in the page cache, `synced_end` what
//! is durable, its directory entries included. Nothing is served beyond `written_end`.
//!
//! The log does not know who reads, who leads, what is committed and when to acknowledge
//! ([`crate::replica`], [`crate::quorum`] do). Retention, compaction and producer state are not
//! built yet. Parts: `segment` (one file and its indexes), `epochs` (KIP-101), `tail` (the newest
//! batches in memory), `append`, `read`, `lookup`, `truncate`, `recovery`, `damage` (what cannot be
//! a torn write).

mod append;
mod damage;
mod epochs;
mod lookup;
mod read;
mod recovery;
mod segment;
mod tail;
mod truncate;

#[cfg(test)]
pub(crate) mod tests;

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;

pub use append::{AppendError, Appended};
pub use damage::Damage;
pub use epochs::LeaderEpochs;
pub use lookup::{FinishedLookup, LookupPlan, RestingLookup, TimestampHit, TimestampQuery};
pub use read::{DiskRead, FinishedRead, OutOfRange, ReadLimits, ReadPlan};
pub use segment::SegmentView;

use crate::checkpoint::{AtomicFile, AtomicFileEvent, format_leader_epochs};
use crate::config::{NodeConfig, TopicConfig};
use crate::env::{Disk, FileId, FileKind, SmallFile, Storage};
use crate::event::{DiskDone, DiskError, DiskOpKind, ReadTag};
use crate::flaw::{Flaw, FlawSet};
use crate::note::Note;
use crate::types::{DirId, LeaderEpoch, Offset, TopicPartition};
use recovery::Recovery;
use segment::{Entry, Segment};
use tail::Tail;
use truncate::Truncation;

/// The part of the topic's and node's configuration that a log uses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogConfig {
    /// A segment that would grow beyond this many bytes is followed by a new one.
    pub segment_bytes: u32,
    /// An index entry is written after this many bytes of batches.
    pub index_interval_bytes: u32,
    /// Every append is followed by a sync, and only what is durable is counted.
    pub flush_each_batch: bool,
    /// Bytes of the newest batches kept in memory.
    pub tail_cache_bytes: u32,
    /// Bytes read at a time when the needed size is not known (look-ups, cuts). Recovery reads four
    /// times as much. At least 64.
    pub read_chunk_bytes: u32,
    /// Rules left out.
    pub flaws: FlawSet,
}

impl LogConfig {
    /// A topic's log on a node.
    pub fn of(topic: &TopicConfig, node: &NodeConfig) -> LogConfig {
        LogConfig {
            segment_bytes: topic.segment_bytes,
            index_interval_bytes: topic.index_interval_bytes,
            flush_each_batch: topic.flush_each_batch,
            tail_cache_bytes: node.tail_cache_bytes,
            read_chunk_bytes: node.read_chunk_bytes,
            flaws: node.flaws,
        }
    }

    /// The same node's log of a topic with this configuration.
    pub fn changed(&self, topic: &TopicConfig) -> LogConfig {
        LogConfig {
            segment_bytes: topic.segment_bytes,
            index_interval_bytes: topic.index_interval_bytes,
            flush_each_batch: topic.flush_each_batch,
            ..*self
        }
    }
}

/// What the checkpoints say about a log that is about to be opened.
///
/// They must be true of this very log (the same topic id), or be `false` and 0. Damage that
/// contradicts them is reported as [`LogEvent::Corrupt`] and nothing is cut, because it cannot be
/// the tail that a power loss tore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RecoveryHint {
    /// The last shutdown was clean: everything was synced.
    pub clean: bool,
    /// The machine has not gone down since the log was last recovered or created. Then everything
    /// that a process wrote is in the page cache, even if the process was killed; only the last
    /// write may have been cut short. Any other bad data is damage.
    pub same_boot: bool,
    /// Everything below was durable, and was below the high watermark, so that no truncation
    /// removed it: a value that [`PartitionLog::recovery_point`] returned earlier.
    pub recovery_point: Offset,
}

impl RecoveryHint {
    /// Nothing is known: everything is read again.
    pub const NONE: RecoveryHint =
        RecoveryHint { clean: false, same_boot: false, recovery_point: Offset::ZERO };
}

/// The result of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogEvent {
    /// Nothing that matters to the caller.
    None,
    /// The log is recovered and ready.
    Recovered,
    /// `written_end` or `synced_end` moved.
    Progress,
    /// A truncation that had to read is complete; the log is ready again.
    Truncated,
    /// The data on disk cannot be trusted and must not be cut: an operator must decide. The log is
    /// unusable.
    Corrupt(Damage),
    /// An operation failed. It is not retried, and the log is unusable.
    Failed(DiskOpKind, DiskError),
}

/// One partition's log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PartitionLog {
    dir: DirId,
    partition: TopicPartition,
    config: LogConfig,
    phase: Phase,
    /// Ascending by base offset; the last is the active one. Empty only before recovery.
    segments: Vec<Segment>,
    epochs: LeaderEpochs,
    epoch_file: AtomicFile,
    /// Versions of the checkpoint that are not durable yet, each with the first offset that it
    /// changed.
    epoch_changes: VecDeque<(u64, Offset)>,
    /// The last generation given to a file, or serial to a directory sync.
    generation: u32,
    /// Serial of the directory sync that completes recovery's changes to the files.
    recovery_sync: Option<u32>,
    log_end: Offset,
    written_end: Offset,
    synced_end: Offset,
    /// Ends of appends that are not known to be written, in order.
    unwritten: VecDeque<Mark>,
    /// Ends that syncs were submitted for and that are not known to be durable, in order.
    unsynced: VecDeque<Mark>,
    tail: Tail,
}

/// An end that a completion will reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Mark {
    segment: Offset,
    upto: u64,
    next: Offset,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Opening(RecoveryHint),
    Recovering(Box<Recovery>),
    Ready,
    Truncating(Truncation),
    /// Failed or corrupt.
    Unusable,
}

impl PartitionLog {
    /// Opens the log in the directory `name` (created if missing); [`LogEvent::Recovered`] follows,
    /// or the event that says why not.
    pub fn open(
        dir: DirId,
        name: &str,
        partition: TopicPartition,
        config: LogConfig,
        recovery: RecoveryHint,
        disk: &mut dyn Disk,
    ) -> PartitionLog {
        disk.open_dir(dir, name);
        let tail = Tail::new(config.tail_cache_bytes);
        let epochs = LeaderEpochs::new(config.flaws);
        PartitionLog {
            dir,
            partition,
            config,
            phase: Phase::Opening(recovery),
            segments: Vec::new(),
            epochs,
            epoch_file: AtomicFile::new(dir, SmallFile::LeaderEpochs),
            epoch_changes: VecDeque::new(),
            generation: 0,
            recovery_sync: None,
            log_end: Offset::ZERO,
            written_end: Offset::ZERO,
            synced_end: Offset::ZERO,
            unwritten: VecDeque::new(),
            unsynced: VecDeque::new(),
            tail,
        }
    }

    /// Recovered, and no truncation pending: may be appended to and truncated.
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Ready
    }

    /// Bytes of memory that [`PartitionLog::drop_cache`] would free.
    pub fn cached_bytes(&self) -> u64 {
        self.tail.sheds() as u64
    }

    /// Drops the cached newest batches.
    pub fn drop_cache(&mut self) {
        self.tail.shed();
    }

    /// Whether the disk has done everything that recovery submitted. A process that ends before
    /// that leaves a tail that an earlier power loss tore.
    pub fn is_recovery_done(&self) -> bool {
        match &self.phase {
            Phase::Opening(_) | Phase::Recovering(_) | Phase::Unusable => false,
            Phase::Ready | Phase::Truncating(_) => self.recovery_sync.is_none(),
        }
    }

    /// The partition that this log belongs to.
    pub fn partition(&self) -> TopicPartition {
        self.partition
    }

    /// Its configuration.
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Applies another configuration to later appends. If it turns flushing on, batches that were
    /// appended without a flush are synced now: from now on only durable batches count, and nothing
    /// else would sync these. (A log that is not ready is synced once it is: recovery and cuts end
    /// with a sync.)
    pub fn set_config(&mut self, config: LogConfig, disk: &mut dyn Disk) {
        self.config = config;
        if self.config.flush_each_batch && self.is_ready() {
            self.sync_batches(disk);
        }
    }

    /// The first offset.
    pub fn log_start(&self) -> Offset {
        self.segments.first().map_or(Offset::ZERO, |segment| segment.base)
    }

    /// The offset that the next batch gets.
    pub fn log_end(&self) -> Offset {
        self.log_end
    }

    /// Everything below is in the page cache.
    pub fn written_end(&self) -> Offset {
        self.written_end
    }

    /// Everything below is durable.
    pub fn synced_end(&self) -> Offset {
        self.synced_end
    }

    /// The end of what this replica may count as its own: in acknowledgements, high watermarks and
    /// the fetch offsets that it sends.
    pub fn counted_end(&self) -> Offset {
        let flushes = self.config.flush_each_batch && !self.config.flaws.has(Flaw::AckBeforeFlush);
        if flushes { self.synced_end } else { self.written_end }
    }

    /// The recovery point to checkpoint: everything below is durable together with its leader
    /// epochs and indexes. It is not above the high watermark, since records above that may be cut
    /// and rewritten before the checkpoint is replaced.
    pub fn recovery_point(&self, high_watermark: Offset) -> Offset {
        // If the log was started anew, a power loss may still undo that.
        if self.segments.first().is_none_or(|first| first.entry != Entry::Durable) {
            return Offset::ZERO;
        }
        let active = self.active().base;
        // A cut that still reads to find its position goes no deeper than this.
        let cut = match &self.phase {
            Phase::Truncating(truncation) => Some(truncation.segment()),
            Phase::Opening(_) | Phase::Recovering(_) | Phase::Ready | Phase::Unusable => None,
        };
        let pending = self.segments.iter().find(|segment| {
            let is_closed = segment.base != active;
            segment.entry != Entry::Durable || (is_closed && !segment.index.is_durable())
        });
        let epochs = self.epoch_changes.iter().map(|(_, start)| *start);
        let ends = epochs.chain(pending.map(|segment| segment.base)).chain(cut);
        ends.fold(self.synced_end.min(high_watermark), Offset::min)
    }

    /// Whether everything in the log is durable, epochs and indexes included.
    /// [`PartitionLog::is_ready`] says whether recovery or a cut may still change it.
    pub fn is_flushed(&self) -> bool {
        let durable =
            |segment: &Segment| segment.entry == Entry::Durable && segment.index.is_durable();
        self.synced_end == self.log_end
            && self.epoch_changes.is_empty()
            && self.segments.iter().all(durable)
    }

    /// Where each leader epoch starts.
    pub fn epochs(&self) -> &LeaderEpochs {
        &self.epochs
    }

    /// The last leader epoch, or -1.
    pub fn last_epoch(&self) -> LeaderEpoch {
        self.epochs.latest().unwrap_or(LeaderEpoch::NONE)
    }

    /// Its segments, oldest first, for inspection.
    pub fn segments(&self) -> impl Iterator<Item = SegmentView> + '_ {
        self.segments.iter().map(|segment| segment.view(self.dir))
    }

    /// The files of its segments, for inspection.
    pub fn files(&self) -> Vec<FileId> {
        let kinds = self.segments.iter().flat_map(|segment| segment_files(segment.base));
        kinds.map(|kind| FileId { dir: self.dir, kind }).collect()
    }

    /// Starts a leader's epoch at the current end (KIP-101; recorded on becoming leader, not at the
    /// first append, KAFKA-7415).
    pub fn assign_epoch_start(&mut self, epoch: LeaderEpoch, disk: &mut dyn Disk) {
        if self.epochs.assign(epoch, self.log_end) {
            self.write_epochs(self.log_end, disk);
        }
    }

    /// Handles a completion in this log's directory. Completions for other files, and reads of
    /// fetches and look-ups, are ignored.
    pub fn on_disk(&mut self, done: &DiskDone, storage: &mut dyn Storage) -> LogEvent {
        if done.dir() != self.dir || self.phase == Phase::Unusable {
            return LogEvent::None;
        }
        match self.epoch_file.on_disk(done, storage) {
            Some(AtomicFileEvent::Loaded(bytes)) => return self.on_epochs_loaded(&bytes, storage),
            Some(AtomicFileEvent::Durable(version)) => {
                self.epoch_changes.retain(|(change, _)| *change > version);
            }
            None => {}
        }
        let synced = self.synced_end;
        let event = self.on_done(done, storage);
        if event == LogEvent::Progress && self.synced_end > synced {
            let (partition, end) = (self.partition, self.synced_end);
            storage.note(Note::LogSynced { partition, end });
        }
        event
    }

    fn on_done(&mut self, done: &DiskDone, storage: &mut dyn Storage) -> LogEvent {
        match done {
            DiskDone::Listed { files, .. } => self.on_listed(files, storage),
            DiskDone::Written { file, generation, upto } => {
                self.on_written(file.kind, *generation, *upto)
            }
            DiskDone::Synced { file, generation, upto } => {
                self.on_synced(file.kind, *generation, *upto)
            }
            DiskDone::DirSynced { by, serial, .. } => self.on_dir_synced(*by, *serial),
            DiskDone::Read { tag: ReadTag::Recovery, file, at, bytes } => {
                self.on_recovery_read(file.kind, *at, bytes, storage)
            }
            DiskDone::Read { tag: ReadTag::Truncation, file, at, bytes } => {
                self.on_truncation_read(file.kind, *at, bytes, storage)
            }
            DiskDone::Read { .. } | DiskDone::DirRenamed { .. } => LogEvent::None,
            DiskDone::Failed { file, op, error } => self.on_failed(*file, *op, *error, storage),
        }
    }

    fn on_failed(
        &mut self,
        file: FileId,
        op: DiskOpKind,
        error: DiskError,
        disk: &mut dyn Storage,
    ) -> LogEvent {
        // After a failed sync the kernel may have marked the pages clean: a second sync would then
        // succeed although the data is nowhere on disk (fsyncgate).
        let retries = op == DiskOpKind::Sync && self.config.flaws.has(Flaw::FailedSyncRetried);
        if let (true, FileKind::Log(base)) = (retries, file.kind)
            && let Some(segment) = self.segment(base)
        {
            disk.sync(file, segment.generation);
            return LogEvent::None;
        }
        self.phase = Phase::Unusable;
        LogEvent::Failed(op, error)
    }

    fn on_written(&mut self, kind: FileKind, generation: u32, upto: u64) -> LogEvent {
        let FileKind::Log(base) = kind else { return LogEvent::None };
        match self.segment_mut(base) {
            Some(segment) if segment.generation == generation => {
                segment.written = segment.written.max(upto.min(segment.size));
                self.advance()
            }
            Some(_) | None => LogEvent::None,
        }
    }

    fn on_synced(&mut self, kind: FileKind, generation: u32, upto: u64) -> LogEvent {
        let (FileKind::Log(base) | FileKind::OffsetIndex(base) | FileKind::TimeIndex(base)) = kind
        else {
            return LogEvent::None;
        };
        let Some(segment) = self.segment_mut(base) else { return LogEvent::None };
        if kind == FileKind::OffsetIndex(base) {
            segment.index.offsets.on_synced(generation, upto);
        } else if kind == FileKind::TimeIndex(base) {
            segment.index.times.on_synced(generation, upto);
        } else if segment.generation == generation {
            segment.synced = segment.synced.max(upto.min(segment.size));
            segment.written = segment.written.max(segment.synced);
            return self.advance();
        }
        LogEvent::None
    }

    fn on_dir_synced(&mut self, by: FileKind, serial: u32) -> LogEvent {
        if !matches!(by, FileKind::Log(_)) {
            return LogEvent::None;
        }
        if self.recovery_sync.is_some_and(|asked| asked <= serial) {
            self.recovery_sync = None;
        }
        // Serials grow over the whole log, and a sync covers every earlier change.
        for segment in &mut self.segments {
            if matches!(segment.entry, Entry::Pending(pending) if pending <= serial) {
                segment.entry = Entry::Durable;
            }
        }
        self.advance()
    }

    /// Advances both ends over every mark that its segment has reached, in order: neither end
    /// passes an earlier segment that is behind.
    fn advance(&mut self) -> LogEvent {
        let before = (self.written_end, self.synced_end);
        while let Some(mark) = self.unwritten.front().copied() {
            if self.segment(mark.segment).is_none_or(|segment| segment.written < mark.upto) {
                break;
            }
            self.written_end = self.written_end.max(mark.next);
            self.unwritten.pop_front();
        }
        while let Some(mark) = self.unsynced.front().copied() {
            // A file's content is not durable before its entry in the directory is.
            let durable =
                |segment: &Segment| segment.synced >= mark.upto && segment.entry == Entry::Durable;
            if !self.segment(mark.segment).is_some_and(durable) {
                break;
            }
            self.synced_end = self.synced_end.max(mark.next);
            self.unsynced.pop_front();
        }
        assert!(
            self.synced_end <= self.written_end && self.written_end <= self.log_end,
            "watermarks of {}: synced {} written {} end {}",
            self.partition,
            self.synced_end,
            self.written_end,
            self.log_end
        );
        if before == (self.written_end, self.synced_end) {
            LogEvent::None
        } else {
            LogEvent::Progress
        }
    }

    fn segment_at(&self, base: Offset) -> Option<usize> {
        self.segments.binary_search_by_key(&base, |segment| segment.base).ok()
    }

    fn segment(&self, base: Offset) -> Option<&Segment> {
        self.segment_at(base).map(|at| &self.segments[at])
    }

    fn segment_mut(&mut self, base: Offset) -> Option<&mut Segment> {
        self.segment_at(base).map(|at| &mut self.segments[at])
    }

    fn active(&self) -> &Segment {
        self.segments.last().expect("a recovered log has a segment")
    }

    fn file(&self, kind: FileKind) -> FileId {
        FileId { dir: self.dir, kind }
    }

    fn next_generation(&mut self) -> u32 {
        self.generation += 1;
        self.generation
    }

    /// Replaces the leader-epoch checkpoint; `from` is the first offset whose epoch changed.
    fn write_epochs(&mut self, from: Offset, disk: &mut dyn Disk) {
        let content = format_leader_epochs(self.epochs.iter());
        let version = self.epoch_file.write(content, disk);
        self.epoch_changes.push_back((version, from));
    }

    /// Creates the new active segment: empty files, whose directory entries are durable when
    /// `DirSynced` comes.
    fn create_segment(&mut self, base: Offset, disk: &mut dyn Disk) {
        let generation = self.next_generation();
        for kind in segment_files(base) {
            disk.create(self.file(kind), generation);
        }
        disk.sync_dir(self.dir, FileKind::Log(base), generation);
        self.segments.push(Segment::created(base, generation));
    }
}

/// The files of the segment that starts at `base`.
fn segment_files(base: Offset) -> [FileKind; 3] {
    [FileKind::Log(base), FileKind::OffsetIndex(base), FileKind::TimeIndex(base)]
}
