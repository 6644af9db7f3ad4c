//! Truncating a log: removes the whole batch that contains the offset, and everything after it.
//!
//! The position of the cut is nearly always known from memory. Otherwise the batches before it are
//! read from the last index entry on, and the log is not ready until that is done.

use alloc::vec;
use bytes::Bytes;

use super::segment::{Entry, Index};
use super::{Damage, LogEvent, PartitionLog, Phase, segment_files};
use crate::batch::{Batch, BatchHeader, HEADER_LEN};
use crate::codec::DecodeError;
use crate::env::{Disk, FileId, FileKind, Storage};
use crate::event::ReadTag;
use crate::note::{Note, TruncationReason};
use crate::types::Offset;

/// A truncation that has to read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Truncation {
    target: Offset,
    reason: TruncationReason,
    segment: Offset,
    position: u64,
    /// `position` comes from an index entry, and the batch there has not been checked yet.
    by_index: bool,
    want: u32,
    /// The largest timestamp so far, and the last offset of the first batch with it.
    max: (i64, Offset),
}

impl Truncation {
    /// Base of the segment that is cut; earlier segments stay.
    pub(super) fn segment(&self) -> Offset {
        self.segment
    }
}

impl PartitionLog {
    /// Cuts the log at `offset`; a batch that contains it is removed as a whole. True if that is
    /// done (`log_end` is the new end, though nothing is durable yet), false if
    /// [`LogEvent::Truncated`] will follow. At or beyond the log's end, epochs that start there are
    /// removed (KAFKA-10706). Below its start, everything is removed and the log starts at
    /// `offset`.
    ///
    /// # Panics
    /// If the log is not ready.
    pub fn truncate_to(
        &mut self,
        offset: Offset,
        reason: TruncationReason,
        storage: &mut dyn Storage,
    ) -> bool {
        assert!(self.is_ready(), "{}: truncation of a log that is not ready", self.partition);
        if offset >= self.log_end {
            if self.epochs.truncate_from_end(offset) {
                self.write_epochs(offset, storage);
            }
            return true;
        }
        if offset < self.log_start() {
            self.start_anew(offset, reason, storage);
            return true;
        }
        let at = self.segments.partition_point(|segment| segment.base <= offset) - 1;
        let segment = &self.segments[at];
        if segment.base == offset {
            let max = (-1, offset);
            self.cut(at, 0, offset, max, reason, storage);
            return true;
        }
        if let Some((position, end, max)) = self.cut_in_tail(at, offset) {
            self.cut(at, position, end, max, reason, storage);
            return true;
        }
        let before = segment.index.before(offset);
        let truncation = Truncation {
            target: offset,
            reason,
            segment: segment.base,
            position: before.map_or(0, |entry| entry.position),
            by_index: before.is_some(),
            want: 0,
            max: before.map_or((-1, segment.base), |entry| (entry.max_timestamp, entry.max_offset)),
        };
        storage.note(Note::CutReads { partition: self.partition, to: offset });
        self.read_on(truncation, self.config.read_chunk_bytes, storage);
        false
    }

    /// Drops everything and starts at `offset`, for a follower whose leader's log starts beyond its
    /// end.
    ///
    /// # Panics
    /// If the log is not ready, or `offset` is not beyond its end.
    pub fn truncate_fully_and_start_at(&mut self, offset: Offset, storage: &mut dyn Storage) {
        assert!(self.is_ready(), "{}: truncation of a log that is not ready", self.partition);
        // If a checkpoint vouched for the dropped records, a crash midway would look like damage.
        assert!(offset > self.log_end, "{}: {offset} is not beyond the log's end", self.partition);
        self.start_anew(offset, TruncationReason::LeaderStartsAfter, storage);
    }

    /// The position of the cut, the new end, and the largest timestamp before it in the segment, if
    /// the tail reaches back to an index entry before the cut.
    fn cut_in_tail(&self, at: usize, offset: Offset) -> Option<(u64, Offset, (i64, Offset))> {
        let segment = &self.segments[at];
        let cut = self.tail.from(offset)?.next()?;
        let before = segment.index.before(cut.base);
        let known_from = before.map_or(segment.base, |entry| entry.last_offset.next());
        if self.tail.start()? > known_from {
            return None;
        }
        let mut max =
            before.map_or((-1, segment.base), |entry| (entry.max_timestamp, entry.max_offset));
        for entry in self.tail.iter().take_while(|entry| entry.base < cut.base) {
            if entry.base >= known_from && entry.max_timestamp > max.0 {
                max = (entry.max_timestamp, Offset(entry.next.0 - 1));
            }
        }
        Some((cut.position, cut.base, max))
    }

    fn read_on(&mut self, mut truncation: Truncation, len: u32, disk: &mut dyn Disk) {
        let size = self.segment(truncation.segment).map_or(0, |segment| segment.size);
        let left = size - truncation.position;
        truncation.want = u32::try_from(left).unwrap_or(u32::MAX).min(len);
        let file = self.file(FileKind::Log(truncation.segment));
        disk.read(ReadTag::Truncation, file, truncation.position, truncation.want);
        self.phase = Phase::Truncating(truncation);
    }

    pub(super) fn on_truncation_read(
        &mut self,
        kind: FileKind,
        at: u64,
        bytes: &Bytes,
        storage: &mut dyn Storage,
    ) -> LogEvent {
        let Phase::Truncating(truncation) = &self.phase else { return LogEvent::None };
        let asked = kind == FileKind::Log(truncation.segment) && at == truncation.position;
        if !asked || (bytes.len() as u64) > u64::from(truncation.want) {
            return LogEvent::None;
        }
        let mut truncation = truncation.clone();
        if truncation.by_index && !self.is_by_index(&truncation, bytes) {
            // The index is wrong: read from the segment's start.
            (truncation.position, truncation.max) = (0, (-1, truncation.segment));
            truncation.by_index = false;
            self.read_on(truncation, self.config.read_chunk_bytes, storage);
            return LogEvent::None;
        }
        truncation.by_index = false;
        let mut rest = bytes.clone();
        loop {
            match BatchHeader::parse(&rest) {
                Ok(header) if header.last_offset >= truncation.target => {
                    let Some(at) = self.segment_at(truncation.segment) else {
                        return self.cannot_cut(&truncation, "is missing, but had to be truncated");
                    };
                    if header.base_offset > truncation.target {
                        return self.cannot_cut(
                            &truncation,
                            "lacks a batch before the truncation \
                                                             point",
                        );
                    }
                    self.phase = Phase::Ready;
                    let (position, end) = (truncation.position, header.base_offset);
                    self.cut(at, position, end, truncation.max, truncation.reason, storage);
                    return LogEvent::Truncated;
                }
                Ok(header) if rest.len() >= header.size => {
                    let batch = Batch::parse(&rest);
                    if !batch.is_ok_and(|batch| batch.verify_crc()) {
                        return self.cannot_cut(
                            &truncation,
                            "is damaged before the truncation \
                                                             point",
                        );
                    }
                    if header.max_timestamp > truncation.max.0 {
                        truncation.max = (header.max_timestamp, header.last_offset);
                    }
                    truncation.position += header.size as u64;
                    rest = rest.slice(header.size..);
                }
                Ok(header) => {
                    return self.read_more(truncation, bytes.len(), header.size, storage);
                }
                Err(DecodeError::Truncated(_)) => {
                    return self.read_more(truncation, bytes.len(), HEADER_LEN, storage);
                }
                Err(DecodeError::Invalid(_) | DecodeError::Trailing(_)) => {
                    return self.cannot_cut(&truncation, "is damaged before the truncation point");
                }
            }
        }
    }

    /// Whether the batch that was read is the index entry's batch.
    fn is_by_index(&self, truncation: &Truncation, bytes: &Bytes) -> bool {
        let segment = self.segment(truncation.segment);
        let header = BatchHeader::parse(bytes);
        segment.zip(header.ok()).is_some_and(|(segment, header)| {
            segment.index.has(header.last_offset, truncation.position)
        })
    }

    fn read_more(
        &mut self,
        truncation: Truncation,
        got: usize,
        need: usize,
        disk: &mut dyn Storage,
    ) -> LogEvent {
        let size = self.segment(truncation.segment).map_or(0, |segment| segment.size);
        let left = size.saturating_sub(truncation.position);
        // Fewer bytes than requested, or too few left to request: the file is not what it should
        // be.
        if got < truncation.want as usize || left < need as u64 {
            return self.cannot_cut(&truncation, "ends before the truncation point");
        }
        let len = u32::try_from(need).unwrap_or(u32::MAX).max(self.config.read_chunk_bytes);
        self.read_on(truncation, len, disk);
        LogEvent::None
    }

    pub(super) fn corrupt(&mut self, damage: Damage) -> LogEvent {
        self.phase = Phase::Unusable;
        LogEvent::Corrupt(damage)
    }

    /// The batches before the cut are not as they were written.
    fn cannot_cut(&mut self, truncation: &Truncation, what: &'static str) -> LogEvent {
        let (file, position) = (FileKind::Log(truncation.segment), truncation.position);
        self.corrupt(Damage { file, position, offset: truncation.target, what })
    }

    /// Cuts segment `at` to `position` bytes, where the batch at `end` started, and drops later
    /// ones.
    fn cut(
        &mut self,
        at: usize,
        position: u64,
        end: Offset,
        max: (i64, Offset),
        reason: TruncationReason,
        storage: &mut dyn Storage,
    ) {
        let from = self.log_end;
        let dropped = self.segments.split_off(at + 1);
        // Newest first: a process that ends in between leaves a log without a gap.
        for segment in dropped.iter().rev() {
            for kind in segment_files(segment.base) {
                storage.unlink(self.file(kind));
            }
        }
        let generation = self.next_generation();
        let dir = self.dir;
        let segment = self.segments.last_mut().expect("the segment that is cut stays");
        let base = segment.base;
        let file = FileId { dir, kind: FileKind::Log(base) };
        storage.truncate(file, generation, position);
        segment.generation = generation;
        segment.size = position;
        segment.written = segment.written.min(position);
        segment.synced = segment.synced.min(position);
        // Later appends count as durable only when the dropped files cannot come back.
        segment.entry = Entry::Pending(generation);
        segment.index.truncate(end, position, max);
        self.write_indexes_anew(storage);
        storage.sync_dir(dir, FileKind::Log(base), generation);
        self.tail.truncate(end);
        self.log_end = end;
        self.written_end = self.written_end.min(end);
        self.synced_end = self.synced_end.min(end);
        self.unwritten.retain(|mark| mark.next <= end);
        self.unsynced.retain(|mark| mark.next <= end && mark.segment != base);
        // Completions of the old generation are stale from now on, also for the part that was kept;
        // the completion of this sync covers it.
        self.sync_active(storage);
        if self.epochs.truncate_from_end(end) {
            self.write_epochs(end, storage);
        }
        storage.note(Note::Truncated { partition: self.partition, from, to: end, reason });
    }

    /// Rewrites both index files of the active segment from memory.
    pub(super) fn write_indexes_anew(&mut self, disk: &mut dyn Storage) {
        let generation = self.next_generation();
        let dir = self.dir;
        let segment = self.segments.last_mut().expect("a recovered log has a segment");
        let base = segment.base;
        let (offsets, times) = segment.index.files_anew();
        let index: &mut Index = &mut segment.index;
        for (kind, file, content) in [
            (FileKind::OffsetIndex(base), &mut index.offsets, offsets),
            (FileKind::TimeIndex(base), &mut index.times, times),
        ] {
            let id = FileId { dir, kind };
            disk.create(id, generation);
            file.replace(generation, content.len() as u64);
            if !content.is_empty() {
                disk.append(id, generation, 0, vec![Bytes::from(content)]);
            }
        }
    }

    fn start_anew(&mut self, offset: Offset, reason: TruncationReason, storage: &mut dyn Storage) {
        let from = self.log_end;
        let dropped = core::mem::take(&mut self.segments);
        self.tail.clear();
        self.unwritten.clear();
        self.unsynced.clear();
        (self.log_end, self.written_end, self.synced_end) = (offset, offset, offset);
        // The new segment is durable before the old ones are removed, oldest first: a crash leaves
        // a log without a gap, or one that ends before the new segment.
        self.create_segment(offset, storage);
        for segment in dropped.iter().filter(|segment| segment.base != offset) {
            for kind in segment_files(segment.base) {
                storage.unlink(self.file(kind));
            }
            let serial = self.next_generation();
            storage.sync_dir(self.dir, FileKind::Log(offset), serial);
            self.segments[0].entry = Entry::Pending(serial);
        }
        if !self.epochs.is_empty() {
            self.epochs.clear();
            self.write_epochs(Offset::ZERO, storage);
        }
        storage.note(Note::Truncated { partition: self.partition, from, to: offset, reason });
    }
}
