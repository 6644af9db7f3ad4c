//! Appending, rolling and flushing.

use alloc::vec;
use bytes::Bytes;
use core::fmt;

use super::segment::NewEntries;
use super::{Mark, PartitionLog};
use crate::batch::{Batch, BatchHeader, VerifiedBatch};
use crate::env::{Disk, FileId, FileKind, Storage};
use crate::note::Note;
use crate::types::{LeaderEpoch, Offset, WallTime};

/// The result of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Appended {
    /// Offset of the batch's first record.
    pub first: Offset,
    /// The log's end after it.
    pub end: Offset,
    /// The time of the append, in ms since 1970, if the topic stamps it on records.
    pub log_append_time: Option<i64>,
    /// The largest timestamp of the batch.
    pub max_timestamp: i64,
}

/// Why a follower does not append a batch from its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendError {
    /// The batch does not continue the log.
    OutOfOrder {
        /// The log's end.
        expected: Offset,
        /// The batch's first offset.
        found: Offset,
    },
    /// The batch's CRC is wrong.
    BadCrc,
    /// The batch's leader epoch is negative or smaller than the log's last.
    EpochGoesBack {
        /// The log's last.
        ours: LeaderEpoch,
        /// The batch's.
        found: LeaderEpoch,
    },
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AppendError::OutOfOrder { expected, found } => {
                write!(f, "the batch starts at {found}, but the log ends at {expected}")
            }
            AppendError::BadCrc => f.write_str("the CRC of the batch is wrong"),
            AppendError::EpochGoesBack { ours, found } => {
                write!(f, "the batch has leader epoch {found}, but the log's last epoch is {ours}")
            }
        }
    }
}

impl core::error::Error for AppendError {}

impl PartitionLog {
    /// Appends a producer's batch, at the log's end and in the leader's epoch.
    ///
    /// # Panics
    /// If the log is not ready, or its last epoch is newer: a bug in the replica.
    pub fn append_as_leader(
        &mut self,
        batch: VerifiedBatch,
        epoch: LeaderEpoch,
        now: WallTime,
        storage: &mut dyn Storage,
    ) -> Appended {
        let batch = batch.stamped(self.log_end, epoch, now);
        self.append_built(batch, storage)
    }

    /// Appends a batch that was built at the log's end with its leader's epoch.
    ///
    /// # Panics
    /// If the log is not ready, the batch is for another offset, or the log's last epoch is newer.
    pub fn append_built(&mut self, batch: Batch, storage: &mut dyn Storage) -> Appended {
        assert!(self.is_ready(), "{}: append to a log that is not ready", self.partition);
        assert_eq!(batch.base_offset, self.log_end, "{}: append elsewhere", self.partition);
        assert!(
            batch.leader_epoch.0 >= 0 && batch.leader_epoch >= self.last_epoch(),
            "{}: append in epoch {} after {}",
            self.partition,
            batch.leader_epoch,
            self.last_epoch()
        );
        let header = BatchHeader::of(&batch);
        if self.must_roll(&header) {
            self.roll(storage);
        }
        if self.epochs.assign(batch.leader_epoch, batch.base_offset) {
            self.write_epochs(batch.base_offset, storage);
        }
        self.submit(&batch, &header, storage);
        self.log_end = batch.next_offset();
        if self.config.flush_each_batch {
            self.sync_batches(storage);
        }
        let max_timestamp = batch.max_timestamp();
        Appended {
            first: batch.base_offset,
            end: self.log_end,
            log_append_time: batch.has_log_append_time().then_some(max_timestamp),
            max_timestamp,
        }
    }

    /// Appends a batch that a follower got from its leader.
    ///
    /// # Errors
    /// If it does not continue this log; then nothing is appended.
    ///
    /// # Panics
    /// If the log is not ready.
    pub fn append_as_follower(
        &mut self,
        batch: Batch,
        storage: &mut dyn Storage,
    ) -> Result<Appended, AppendError> {
        if batch.base_offset != self.log_end {
            return Err(AppendError::OutOfOrder {
                expected: self.log_end,
                found: batch.base_offset,
            });
        }
        let (ours, found) = (self.last_epoch(), batch.leader_epoch);
        if found < ours || found.0 < 0 {
            return Err(AppendError::EpochGoesBack { ours, found });
        }
        if !batch.verify_crc() {
            return Err(AppendError::BadCrc);
        }
        Ok(self.append_built(batch, storage))
    }

    fn submit(&mut self, batch: &Batch, header: &BatchHeader, disk: &mut dyn Storage) {
        let interval = self.config.index_interval_bytes;
        let dir = self.dir;
        let segment = self.segments.last_mut().expect("a recovered log has a segment");
        let (base, at) = (segment.base, segment.size);
        let new_entries = segment.index.add(header, at, interval);
        segment.size += header.size as u64;
        let (size, generation) = (segment.size, segment.generation);
        let file = FileId { dir, kind: FileKind::Log(base) };
        let bytes = vec![Bytes::copy_from_slice(&batch.prefix_bytes()), batch.body().clone()];
        disk.append(file, generation, at, bytes);
        if let Some(entries) = new_entries {
            self.append_entries(&entries, disk);
        }
        self.tail.push(batch, base, at);
        let next = batch.next_offset();
        self.unwritten.push_back(Mark { segment: base, upto: size, next });
    }

    fn append_entries(&mut self, entries: &NewEntries, disk: &mut dyn Storage) {
        self.append_to_index(true, &entries.offset, disk);
        if let Some(time) = &entries.time {
            self.append_to_index(false, time, disk);
        }
    }

    /// Appends to the offset index or else the time index of the active segment.
    pub(super) fn append_to_index(&mut self, offsets: bool, bytes: &[u8], disk: &mut dyn Disk) {
        if bytes.is_empty() {
            return;
        }
        let dir = self.dir;
        let segment = self.segments.last_mut().expect("a recovered log has a segment");
        let base = segment.base;
        let (file, kind) = if offsets {
            (&mut segment.index.offsets, FileKind::OffsetIndex(base))
        } else {
            (&mut segment.index.times, FileKind::TimeIndex(base))
        };
        let at = file.size;
        file.size += bytes.len() as u64;
        let id = FileId { dir, kind };
        disk.append(id, file.generation, at, vec![Bytes::copy_from_slice(bytes)]);
    }

    fn must_roll(&self, header: &BatchHeader) -> bool {
        let active = self.active();
        let full = active.size + header.size as u64 > u64::from(self.config.segment_bytes);
        let far = header.last_offset - active.base > i64::from(i32::MAX);
        active.size > 0 && (full || far)
    }

    /// Closes the active segment and starts another. The old one is synced, with its indexes, so
    /// that recovery need not read it again.
    fn roll(&mut self, storage: &mut dyn Storage) {
        let time = self.segments.last_mut().and_then(|segment| segment.index.time_entry());
        if let Some(time) = time {
            self.append_to_index(false, &time, storage);
        }
        self.flush(storage);
        self.create_segment(self.log_end, storage);
        storage.note(Note::Rolled { partition: self.partition, base: self.log_end });
    }

    /// Submits what makes everything durable ([`PartitionLog::is_flushed`]): syncs of the active
    /// segment, unless a sync up to its end is in flight, and of its indexes. Earlier segments were
    /// synced when they were closed. A log that is not ready is still changing; it is flushed when
    /// it is ready.
    pub fn flush(&mut self, disk: &mut dyn Disk) {
        if !self.is_ready() {
            return;
        }
        self.sync_batches(disk);
        self.sync_indexes(disk);
    }

    pub(super) fn sync_batches(&mut self, disk: &mut dyn Disk) {
        let under_way = self.unsynced.back().is_some_and(|mark| mark.next == self.log_end);
        if self.synced_end < self.log_end && !under_way {
            self.sync_active(disk);
        }
    }

    fn sync_indexes(&mut self, disk: &mut dyn Disk) {
        let dir = self.dir;
        let segment = self.segments.last_mut().expect("a recovered log has a segment");
        for (kind, file) in [
            (FileKind::OffsetIndex(segment.base), &mut segment.index.offsets),
            (FileKind::TimeIndex(segment.base), &mut segment.index.times),
        ] {
            if file.ask_sync() {
                disk.sync(FileId { dir, kind }, file.generation);
            }
        }
    }

    /// Syncs the active segment.
    pub(super) fn sync_active(&mut self, disk: &mut dyn Disk) {
        let active = self.active();
        let mark = Mark { segment: active.base, upto: active.size, next: self.log_end };
        disk.sync(self.file(FileKind::Log(active.base)), active.generation);
        self.unsynced.push_back(mark);
    }
}
