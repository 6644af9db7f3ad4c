//! Opening a log: its files are checked, completed and, where a power loss tore them, cut.
//!
//! The leader-epoch checkpoint is loaded, then the segments are walked oldest first. A segment
//! below the recovery point (or any after a clean shutdown) is trusted up to its last index entry,
//! and only the batches after that are read. Every other segment is read whole: each CRC is
//! checked, and its indexes and epochs are rebuilt. Indexes and checkpoint are hints: one that does
//! not fit is rebuilt from the batches.
//!
//! The first bad byte ends the log if a crash can have caused it. If not, it is damage, and is
//! reported instead of cut, since cutting would throw away records that other replicas may rely on
//! (a single bad block once cost whole logs: CORDS, FAST 2017). [`super::damage`] defines the
//! difference.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use bytes::Bytes;

use super::damage::{Damage, TrueEnd};
use super::segment::{Entry, Index, IndexFile, OFFSET_ENTRY, Segment, TIME_ENTRY};
use super::{LeaderEpochs, LogEvent, Mark, PartitionLog, Phase, RecoveryHint, segment_files};
use crate::batch::{Batch, BatchHeader, HEADER_LEN};
use crate::checkpoint::parse_leader_epochs;
use crate::codec::DecodeError;
use crate::env::{FileId, FileKind, SmallFile, Storage};
use crate::event::ReadTag;
use crate::flaw::Flaw;
use crate::note::{Note, TruncationReason};
use crate::types::Offset;

const DAMAGED: &str = "is damaged in a part known to be durable";
const MISSING: &str = "does not continue the log: a segment before it is missing";
const SHORT: &str = "ends before the recovery point: durable records are missing";
const NO_TAIL: &str = "is damaged: the machine has not gone down since it was written, and a \
                       process crash cannot leave this";
const NO_START: &str = "is the first segment, but the log began before it: a segment is missing";

/// A recovery under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Recovery {
    hint: RecoveryHint,
    files: Vec<Found>,
    /// The index of the file that is being walked.
    at: usize,
    /// The checkpoint cannot be trusted: every segment is read whole.
    rebuilds_epochs: bool,
    /// The epochs in the checkpoint.
    loaded: LeaderEpochs,
    stage: Stage,
    /// Bytes that were cut or dropped, and (`claimed_end`) the log end that they claimed.
    torn_bytes: u64,
    claimed_end: Offset,
    /// Segments that were read whole: their indexes have to be written.
    reindex: Vec<Offset>,
    /// Directory entries were removed.
    unlinked: bool,
    /// Some segments did not continue the log.
    gap: bool,
}

/// A segment as the directory lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Found {
    base: Offset,
    size: u64,
    offsets: Option<u64>,
    times: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// Waiting for the leader-epoch checkpoint.
    Epochs,
    /// Reading the offset index, this much of it so far.
    Offsets(Segment, u64),
    /// Reading the time index, this much of it so far.
    Times(Segment, u64),
    /// Walking over the batches.
    Scan(Scan),
    /// The bytes at the scan's position may be the beginning of a batch: searching for its end.
    Probe(Scan, TrueEnd),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Scan {
    segment: Segment,
    /// Whether it scans from the segment's start, rather than from the last index entry.
    whole: bool,
    position: u64,
    want: u32,
    /// The offset that the next batch must have; `None` at an index entry, which has the batch's
    /// last offset instead.
    expected: Option<Offset>,
}

/// The verdict on a batch in a scan.
enum Step {
    Good(Batch),
    /// This many bytes are needed to decide.
    Need(usize),
    Bad,
}

impl Recovery {
    /// Below this offset nothing can be torn.
    fn trusted_below(&self) -> Offset {
        if self.hint.clean { Offset(i64::MAX) } else { self.hint.recovery_point }
    }

    /// Whether the current segment ends below the trusted offset.
    fn is_trusted(&self) -> bool {
        let next = self.files.get(self.at + 1).map(|next| next.base);
        self.hint.clean || next.is_some_and(|next| next <= self.hint.recovery_point)
    }

    /// Whether the current segment's epochs are checked against the checkpoint, rather than added
    /// to it.
    fn verifies_epochs(&self) -> bool {
        self.is_trusted() && !self.rebuilds_epochs
    }
}

impl PartitionLog {
    /// Bytes of a segment that are read at a time.
    fn chunk(&self) -> u32 {
        self.config.read_chunk_bytes.saturating_mul(4)
    }

    /// Bytes of an index that are read at a time: whole entries of either kind.
    fn index_chunk(&self) -> u32 {
        let both = (OFFSET_ENTRY * TIME_ENTRY) as u32;
        both * (self.config.read_chunk_bytes / 16).clamp(1, 1 << 16)
    }

    pub(super) fn on_listed(
        &mut self,
        files: &[(FileKind, u64)],
        storage: &mut dyn Storage,
    ) -> LogEvent {
        let Phase::Opening(hint) = self.phase else { return LogEvent::None };
        let sizes: BTreeMap<FileKind, u64> = files.iter().copied().collect();
        let size_of = |kind: FileKind| sizes.get(&kind).copied();
        let mut found = Vec::new();
        let (mut has_epochs, mut unlinked) = (false, false);
        for (kind, size) in files.iter().copied() {
            match kind {
                FileKind::Log(base) => found.push(Found {
                    base,
                    size,
                    offsets: size_of(FileKind::OffsetIndex(base)),
                    times: size_of(FileKind::TimeIndex(base)),
                }),
                FileKind::OffsetIndex(base) | FileKind::TimeIndex(base)
                    if size_of(FileKind::Log(base)).is_none() =>
                {
                    storage.unlink(self.file(kind));
                    unlinked = true;
                }
                FileKind::Temporary(SmallFile::LeaderEpochs) => {
                    storage.unlink(self.file(kind));
                    unlinked = true;
                }
                FileKind::LeaderEpochs => has_epochs = true,
                FileKind::OffsetIndex(_)
                | FileKind::TimeIndex(_)
                | FileKind::PartitionMetadata
                | FileKind::QuorumState
                | FileKind::MetaProperties
                | FileKind::RecoveryPoints
                | FileKind::HighWatermarks
                | FileKind::CleanShutdown
                | FileKind::BootId
                | FileKind::Temporary(_) => {}
            }
        }
        found.sort_unstable_by_key(|found| found.base);
        let recovery = Recovery {
            hint,
            files: found,
            at: 0,
            // Without a checkpoint, the only epochs are those of the batches.
            rebuilds_epochs: !has_epochs,
            loaded: self.epochs.clone(),
            stage: Stage::Epochs,
            torn_bytes: 0,
            claimed_end: Offset::ZERO,
            reindex: Vec::new(),
            unlinked,
            gap: false,
        };
        if has_epochs {
            self.epoch_file.read(storage);
            self.phase = Phase::Recovering(recovery.into());
            LogEvent::None
        } else {
            self.walk(recovery, storage)
        }
    }

    pub(super) fn on_epochs_loaded(
        &mut self,
        bytes: &Bytes,
        storage: &mut dyn Storage,
    ) -> LogEvent {
        let Some(mut recovery) = self.take_recovery() else { return LogEvent::None };
        match parse_leader_epochs(bytes) {
            Ok(entries) => {
                self.epochs.load(entries);
                recovery.loaded = self.epochs.clone();
            }
            // The hint cannot be read: the epochs come from the batches.
            Err(_) => recovery.rebuilds_epochs = true,
        }
        self.walk(recovery, storage)
    }

    fn take_recovery(&mut self) -> Option<Recovery> {
        if !matches!(self.phase, Phase::Recovering(_)) {
            return None;
        }
        match core::mem::replace(&mut self.phase, Phase::Unusable) {
            Phase::Recovering(recovery) => Some(*recovery),
            Phase::Opening(_) | Phase::Ready | Phase::Truncating(_) | Phase::Unusable => None,
        }
    }

    /// Walks the segments from the first.
    fn walk(&mut self, mut recovery: Recovery, storage: &mut dyn Storage) -> LogEvent {
        self.segments.clear();
        self.tail.clear();
        recovery.at = 0;
        recovery.reindex.clear();
        if recovery.rebuilds_epochs {
            self.epochs.clear();
        }
        if let Some(first) = recovery.files.first() {
            self.log_end = first.base;
        }
        self.walk_on(recovery, storage)
    }

    /// Begins with the next segment, or finishes.
    fn walk_on(&mut self, recovery: Recovery, storage: &mut dyn Storage) -> LogEvent {
        let Some(found) = recovery.files.get(recovery.at).copied() else {
            return self.finish_recovery(recovery, storage);
        };
        if found.base != self.log_end {
            return self.drop_rest(recovery, storage);
        }
        let mut segment = Segment {
            size: found.size,
            written: found.size,
            generation: 0,
            ..Segment::created(found.base, 0)
        };
        let trusted = recovery.verifies_epochs();
        match (found.offsets, found.times) {
            (Some(offsets), Some(times)) if trusted => {
                segment.index.offsets = IndexFile::found(offsets);
                segment.index.times = IndexFile::found(times);
                self.read_index(recovery, segment, true, 0, storage)
            }
            (Some(_) | None, _) => self.scan_whole(recovery, segment, storage),
        }
    }

    fn read_index(
        &mut self,
        mut recovery: Recovery,
        segment: Segment,
        offsets: bool,
        at: u64,
        storage: &mut dyn Storage,
    ) -> LogEvent {
        let (kind, size) = if offsets {
            (FileKind::OffsetIndex(segment.base), segment.index.offsets.size)
        } else {
            (FileKind::TimeIndex(segment.base), segment.index.times.size)
        };
        if at >= size {
            return if offsets {
                self.read_index(recovery, segment, false, 0, storage)
            } else {
                self.scan_from_index(recovery, segment, storage)
            };
        }
        storage.read(ReadTag::Recovery, self.file(kind), at, self.index_chunk());
        recovery.stage =
            if offsets { Stage::Offsets(segment, at) } else { Stage::Times(segment, at) };
        self.phase = Phase::Recovering(recovery.into());
        LogEvent::None
    }

    fn scan_whole(
        &mut self,
        mut recovery: Recovery,
        segment: Segment,
        storage: &mut dyn Storage,
    ) -> LogEvent {
        let base = segment.base;
        let segment = Segment { index: Index::new(base, 0), ..segment };
        // The epochs of an untrusted segment come from its batches.
        if !recovery.is_trusted() && !recovery.rebuilds_epochs {
            self.epochs.truncate_from_end(base);
        }
        recovery.reindex.push(base);
        let scan = Scan { segment, whole: true, position: 0, want: 0, expected: Some(base) };
        self.scan_on(recovery, scan, HEADER_LEN, storage)
    }

    fn scan_from_index(
        &mut self,
        recovery: Recovery,
        mut segment: Segment,
        storage: &mut dyn Storage,
    ) -> LogEvent {
        if !segment.index.loaded() {
            return self.scan_whole(recovery, segment, storage);
        }
        let last = segment.index.last_entry;
        let scan = Scan {
            position: last.map_or(0, |(_, position)| position),
            expected: last.is_none().then_some(segment.base),
            segment,
            whole: false,
            want: 0,
        };
        self.scan_on(recovery, scan, HEADER_LEN, storage)
    }

    /// Reads on at the scan's position, at least `need` bytes if they are there.
    fn scan_on(
        &mut self,
        mut recovery: Recovery,
        mut scan: Scan,
        need: usize,
        storage: &mut dyn Storage,
    ) -> LogEvent {
        let left = scan.segment.size - scan.position;
        if left == 0 {
            return self.end_segment(recovery, scan, storage);
        }
        if left < need as u64 && scan.expected.is_none() {
            return self.scan_whole(recovery, scan.segment, storage);
        }
        if left < need as u64 {
            return self.bad_byte(recovery, scan, &Bytes::new(), storage);
        }
        let len = u32::try_from(need).unwrap_or(u32::MAX).max(self.chunk());
        scan.want = u32::try_from(left).unwrap_or(u32::MAX).min(len);
        let file = self.file(FileKind::Log(scan.segment.base));
        storage.read(ReadTag::Recovery, file, scan.position, scan.want);
        recovery.stage = Stage::Scan(scan);
        self.phase = Phase::Recovering(recovery.into());
        LogEvent::None
    }

    pub(super) fn on_recovery_read(
        &mut self,
        kind: FileKind,
        at: u64,
        bytes: &Bytes,
        storage: &mut dyn Storage,
    ) -> LogEvent {
        let Phase::Recovering(recovery) = &self.phase else { return LogEvent::None };
        let asked = match &recovery.stage {
            Stage::Epochs => false,
            Stage::Offsets(segment, so_far) => {
                kind == FileKind::OffsetIndex(segment.base) && at == *so_far
            }
            Stage::Times(segment, so_far) => {
                kind == FileKind::TimeIndex(segment.base) && at == *so_far
            }
            Stage::Scan(scan) => kind == FileKind::Log(scan.segment.base) && at == scan.position,
            Stage::Probe(scan, end) => kind == FileKind::Log(scan.segment.base) && at == end.at(),
        };
        if !asked {
            return LogEvent::None;
        }
        let Some(mut recovery) = self.take_recovery() else { return LogEvent::None };
        match core::mem::replace(&mut recovery.stage, Stage::Epochs) {
            Stage::Epochs => LogEvent::None,
            Stage::Offsets(mut segment, at) => {
                let size = segment.size;
                if bytes.is_empty() || !segment.index.load_offsets(bytes, size) {
                    return self.scan_whole(recovery, segment, storage);
                }
                self.read_index(recovery, segment, true, at + bytes.len() as u64, storage)
            }
            Stage::Times(mut segment, at) => {
                if bytes.is_empty() || !segment.index.load_times(bytes) {
                    return self.scan_whole(recovery, segment, storage);
                }
                self.read_index(recovery, segment, false, at + bytes.len() as u64, storage)
            }
            Stage::Scan(scan) => self.scan(recovery, scan, bytes, storage),
            Stage::Probe(scan, begins) => {
                self.on_probe_read(recovery, scan, begins, bytes, storage)
            }
        }
    }

    fn scan(
        &mut self,
        mut recovery: Recovery,
        mut scan: Scan,
        bytes: &Bytes,
        storage: &mut dyn Storage,
    ) -> LogEvent {
        let mut rest = bytes.clone();
        let short = bytes.len() < scan.want as usize;
        loop {
            match self.judge(&recovery, &scan, &rest) {
                Step::Good(batch) => {
                    if !self.accept(&mut recovery, &mut scan, &batch) {
                        // The checkpoint contradicts the batches.
                        recovery.rebuilds_epochs = true;
                        return self.walk(recovery, storage);
                    }
                    rest = rest.slice(batch.size_in_bytes()..);
                }
                Step::Need(need) if !short => return self.scan_on(recovery, scan, need, storage),
                // A short read: the file is shorter than the directory listed.
                Step::Need(_) | Step::Bad if scan.expected.is_none() => {
                    // Either the index entry that the scan began at is wrong, or the batch: scan
                    // the whole segment.
                    return self.scan_whole(recovery, scan.segment, storage);
                }
                Step::Need(_) | Step::Bad => {
                    return self.bad_byte(recovery, scan, &rest, storage);
                }
            }
        }
    }

    /// Whether a batch that continues the log starts here.
    fn judge(&self, recovery: &Recovery, scan: &Scan, rest: &Bytes) -> Step {
        let header = match BatchHeader::parse(rest) {
            Ok(header) => header,
            Err(DecodeError::Truncated(_)) => return Step::Need(HEADER_LEN),
            Err(DecodeError::Invalid(_) | DecodeError::Trailing(_)) => return Step::Bad,
        };
        let in_place = match (scan.expected, scan.segment.index.last_entry) {
            (Some(expected), _) => header.base_offset == expected,
            (None, Some((last_offset, _))) => header.last_offset == last_offset,
            (None, None) => false,
        };
        let left = scan.segment.size - scan.position;
        // The CRC does not cover segment, offset and epoch: they must fit too.
        let fits = header.base_offset >= scan.segment.base
            && header.last_offset - scan.segment.base <= i64::from(i32::MAX)
            && i32::try_from(scan.position).is_ok()
            && header.leader_epoch.0 >= 0
            && (recovery.verifies_epochs() || header.leader_epoch >= self.last_epoch())
            && header.size as u64 <= left;
        if !in_place || !fits {
            return Step::Bad;
        }
        if rest.len() < header.size {
            return Step::Need(header.size);
        }
        match Batch::parse(rest) {
            Ok(batch) if batch.verify_crc() || self.config.flaws.has(Flaw::TornTailAccepted) => {
                Step::Good(batch)
            }
            Ok(_) | Err(_) => Step::Bad,
        }
    }

    /// Accepts a batch. False if the checkpoint has another epoch for it.
    fn accept(&mut self, recovery: &mut Recovery, scan: &mut Scan, batch: &Batch) -> bool {
        let header = BatchHeader::of(batch);
        if recovery.verifies_epochs() {
            if self.epochs.epoch_of(header.base_offset) != Some(header.leader_epoch) {
                return false;
            }
        } else {
            self.epochs.assign(header.leader_epoch, header.base_offset);
        }
        // After a clean stop the file has all entries of the interval that it was written with. The
        // topic's configured interval is not known yet, and an index of any interval is valid.
        let as_it_is = recovery.hint.clean && !scan.whole;
        let interval = if as_it_is { u32::MAX } else { self.config.index_interval_bytes };
        let new_entries = scan.segment.index.add(&header, scan.position, interval);
        if new_entries.is_some() && !scan.whole {
            // The file lacks entries: it is rewritten from memory.
            scan.whole = true;
            recovery.reindex.push(scan.segment.base);
        }
        self.tail.push_found(&header, scan.segment.base, scan.position);
        scan.position += header.size as u64;
        scan.expected = Some(header.last_offset.next());
        true
    }

    /// The segment was walked to its end.
    fn end_segment(
        &mut self,
        mut recovery: Recovery,
        scan: Scan,
        storage: &mut dyn Storage,
    ) -> LogEvent {
        self.log_end = scan.expected.unwrap_or(scan.segment.base);
        self.segments.push(scan.segment);
        recovery.at += 1;
        self.walk_on(recovery, storage)
    }

    /// The bytes at the scan's position, `rest`, are not a batch that continues the log.
    fn bad_byte(
        &mut self,
        recovery: Recovery,
        scan: Scan,
        rest: &Bytes,
        storage: &mut dyn Storage,
    ) -> LogEvent {
        let end = scan.expected.unwrap_or(scan.segment.base);
        let (base, position) = (scan.segment.base, scan.position);
        let left = scan.segment.size - position;
        if end < recovery.trusted_below() {
            return self.refuse(end, FileKind::Log(base), position, DAMAGED, storage);
        }
        let begins = TrueEnd::of(rest, position);
        if !recovery.hint.same_boot {
            return self.cut_torn(recovery, scan, begins.map(|begins| begins.claim), storage);
        }
        // A write that was cut short: the beginning of a batch, and nothing after it.
        let is_last = recovery.files[recovery.at + 1..].iter().all(|found| found.size == 0);
        match begins {
            Some(begins)
                if is_last
                    && begins.claim.base_offset == end
                    && begins.claim.size as u64 > left =>
            {
                self.probe(recovery, scan, begins, storage)
            }
            None if is_last && left < HEADER_LEN as u64 => {
                self.cut_torn(recovery, scan, None, storage)
            }
            Some(_) | None => self.refuse(end, FileKind::Log(base), position, NO_TAIL, storage),
        }
    }

    /// Reads on in the search for the end of the bad batch.
    fn probe(
        &mut self,
        mut recovery: Recovery,
        mut scan: Scan,
        begins: TrueEnd,
        storage: &mut dyn Storage,
    ) -> LogEvent {
        let left = scan.segment.size.saturating_sub(begins.at());
        scan.want = u32::try_from(left).unwrap_or(u32::MAX).min(self.chunk());
        let file = self.file(FileKind::Log(scan.segment.base));
        storage.read(ReadTag::Recovery, file, begins.at(), scan.want);
        recovery.stage = Stage::Probe(scan, begins);
        self.phase = Phase::Recovering(recovery.into());
        LogEvent::None
    }

    fn on_probe_read(
        &mut self,
        recovery: Recovery,
        scan: Scan,
        mut begins: TrueEnd,
        bytes: &Bytes,
        storage: &mut dyn Storage,
    ) -> LogEvent {
        // The file may be shorter than the directory listed.
        let read = begins.at() + bytes.len() as u64;
        let last = read >= scan.segment.size || bytes.len() < scan.want as usize;
        if begins.look(bytes, last) {
            let end = scan.expected.unwrap_or(scan.segment.base);
            let file = FileKind::Log(scan.segment.base);
            return self.refuse(end, file, scan.position, NO_TAIL, storage);
        }
        if last {
            return self.cut_torn(recovery, scan, Some(begins.claim), storage);
        }
        self.probe(recovery, scan, begins, storage)
    }

    /// The log ends at the scan's position: the torn rest is cut off.
    fn cut_torn(
        &mut self,
        mut recovery: Recovery,
        scan: Scan,
        claim: Option<BatchHeader>,
        storage: &mut dyn Storage,
    ) -> LogEvent {
        let end = scan.expected.unwrap_or(scan.segment.base);
        let Scan { mut segment, position, .. } = scan;
        recovery.torn_bytes += segment.size - position;
        if let Some(claim) = claim.filter(|claim| claim.base_offset == end) {
            recovery.claimed_end = claim.last_offset.next();
        }
        segment.generation = self.next_generation();
        (segment.size, segment.written) = (position, position);
        storage.truncate(self.file(FileKind::Log(segment.base)), segment.generation, position);
        self.log_end = end;
        self.segments.push(segment);
        recovery.at += 1;
        self.drop_rest(recovery, storage)
    }

    /// The log ends at `end`, and the rest is not a tail that a power loss tore: reports damage.
    fn refuse(
        &mut self,
        end: Offset,
        file: FileKind,
        position: u64,
        what: &'static str,
        storage: &mut dyn Storage,
    ) -> LogEvent {
        storage.note(Note::LogRefused { partition: self.partition, end });
        self.corrupt(Damage { file, position, offset: end, what })
    }

    /// The remaining segments do not continue the log: they are dropped.
    fn drop_rest(&mut self, mut recovery: Recovery, storage: &mut dyn Storage) -> LogEvent {
        let rest = recovery.files.split_off(recovery.at);
        // When a log is started anew, its new segment, which is empty, is created before the old
        // ones are removed.
        let lost = recovery.hint.same_boot && rest.iter().any(|found| found.size > 0);
        if let Some(next) = rest.first()
            && (lost || self.log_end < recovery.trusted_below())
        {
            return self.refuse(self.log_end, FileKind::Log(next.base), 0, MISSING, storage);
        }
        recovery.gap = !rest.is_empty();
        for found in rest {
            recovery.torn_bytes += found.size;
            recovery.claimed_end = recovery.claimed_end.max(found.base);
            recovery.unlinked = true;
            for kind in segment_files(found.base) {
                storage.unlink(self.file(kind));
            }
        }
        self.finish_recovery(recovery, storage)
    }

    /// Whether the log began before its first segment; the epochs show where it began. (While a log
    /// is started anew, its old segments are removed oldest first, which leaves a gap before the
    /// new one.)
    fn lacks_its_start(&self, recovery: &Recovery) -> bool {
        let start = self.log_start();
        let known = recovery.hint.clean || recovery.hint.recovery_point >= start;
        let began = recovery.loaded.iter().next().map(|(_, began)| began);
        known && !recovery.rebuilds_epochs && !recovery.gap && began.is_some_and(|at| at < start)
    }

    fn finish_recovery(&mut self, recovery: Recovery, storage: &mut dyn Storage) -> LogEvent {
        if self.log_end < recovery.hint.recovery_point {
            let (file, at) =
                self.segments.last().map_or((FileKind::Log(self.log_end), 0), |last| {
                    (FileKind::Log(last.base), last.size)
                });
            return self.refuse(self.log_end, file, at, SHORT, storage);
        }
        if self.lacks_its_start(&recovery) {
            let start = self.log_start();
            return self.refuse(start, FileKind::Log(start), 0, NO_START, storage);
        }
        self.phase = Phase::Ready;
        self.written_end = self.log_end;
        if self.segments.is_empty() {
            self.create_segment(self.log_end, storage);
            self.synced_end = self.log_end;
        } else {
            self.write_missing_indexes(&recovery, storage);
            self.sync_recovered(&recovery, storage);
        }
        self.epochs.truncate_from_start(self.log_start());
        self.epochs.truncate_from_end(self.log_end);
        // After a crash even a checkpoint with the same content may not be durable.
        let known_durable = recovery.hint.clean || self.epochs.is_empty();
        if self.epochs != recovery.loaded || !known_durable {
            self.write_epochs(self.log_start(), storage);
        }
        let (partition, log_start, log_end) = (self.partition, self.log_start(), self.log_end);
        let torn_bytes = recovery.torn_bytes;
        if torn_bytes > 0 {
            let from = recovery.claimed_end.max(log_end);
            let reason = TruncationReason::TornTail;
            storage.note(Note::Truncated { partition, from, to: log_end, reason });
        }
        // A segment without records has its index at once, or was stopped before it had one.
        let has_records = |base: &&Offset| self.segment(**base).is_some_and(|it| it.size > 0);
        let reindexed = recovery.reindex.iter().filter(has_records).count() as u32;
        let epochs = self.epochs.iter().collect();
        storage.note(Note::Recovered {
            partition,
            log_start,
            log_end,
            torn_bytes,
            reindexed,
            epochs,
        });
        LogEvent::Recovered
    }

    /// Writes the indexes that segments are missing.
    fn write_missing_indexes(&mut self, recovery: &Recovery, storage: &mut dyn Storage) {
        for base in &recovery.reindex {
            let closed = *base != self.active().base;
            let generation = self.next_generation();
            let Some(at) = self.segment_at(*base) else { continue };
            let dir = self.dir;
            let index = &mut self.segments[at].index;
            let (offsets, mut times) = index.files_anew();
            if closed && let Some(last) = index.time_entry() {
                times.extend_from_slice(&last);
            }
            for (kind, file, content) in [
                (FileKind::OffsetIndex(*base), &mut index.offsets, offsets),
                (FileKind::TimeIndex(*base), &mut index.times, times),
            ] {
                let id = FileId { dir, kind };
                storage.create(id, generation);
                file.replace(generation, content.len() as u64);
                if !content.is_empty() {
                    storage.append(id, generation, 0, alloc::vec![Bytes::from(content)]);
                }
                if closed {
                    storage.sync(id, generation);
                }
            }
        }
    }

    /// Data that recovery accepted may be only in the page cache: it is synced before it counts as
    /// durable, and so are the directory's entries.
    fn sync_recovered(&mut self, recovery: &Recovery, storage: &mut dyn Storage) {
        let trusted = recovery.trusted_below().min(self.log_end).max(self.log_start());
        self.synced_end = trusted;
        let ends: Vec<Offset> = (1..=self.segments.len())
            .map(|next| self.segments.get(next).map_or(self.log_end, |segment| segment.base))
            .collect();
        let serial = self.next_generation();
        let mut pending = false;
        for (at, end) in ends.into_iter().enumerate() {
            let last = at + 1 == self.segments.len();
            let segment = &mut self.segments[at];
            // After a crash even unlinked files may come back.
            let entries_durable = !last || (recovery.hint.clean && !recovery.unlinked);
            let untouched = segment.generation == 0 && !recovery.reindex.contains(&segment.base);
            if end <= trusted && entries_durable && untouched {
                segment.synced = segment.size;
                segment.entry = Entry::Durable;
                continue;
            }
            segment.entry = Entry::Pending(serial);
            pending = true;
            let (base, generation) = (segment.base, segment.generation);
            let mark = Mark { segment: base, upto: segment.size, next: end };
            storage.sync(self.file(FileKind::Log(base)), generation);
            self.unsynced.push_back(mark);
        }
        if pending {
            self.recovery_sync = Some(serial);
            storage.sync_dir(self.dir, FileKind::Log(self.active().base), serial);
        }
    }
}
