//! One segment: a `.log` file and its two indexes, Kafka's `LogSegment`, `OffsetIndex`,
//! `TimeIndex`.
//!
//! Index entries are written to the files as Kafka writes them. In memory they are joined into one
//! sparse list of bounded length, from which the files can be rewritten. The log does the disk
//! operations; this module has the values and their bytes.

use alloc::vec::Vec;

use crate::batch::BatchHeader;
use crate::env::{FileId, FileKind};
use crate::types::{DirId, Offset};

/// Maximum number of entries kept in memory per segment. When it is reached, every second entry is
/// dropped: look-ups read a little more, and memory stays bounded however large segments are.
const MAX_ENTRIES: usize = 4096;

/// Bytes of an entry of the offset index: relative last offset, position.
pub(super) const OFFSET_ENTRY: usize = 8;
/// Bytes of an entry of the time index: timestamp, relative offset.
pub(super) const TIME_ENTRY: usize = 12;

/// A segment as [`PartitionLog::segments`](super::PartitionLog::segments) shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SegmentView {
    /// Its `.log` file.
    pub file: FileId,
    /// Its first offset.
    pub base: Offset,
    /// Bytes of the `.log` file, submitted ones included.
    pub size: u64,
    /// The `.log` file's generation.
    pub generation: u32,
}

/// Whether a file's directory entry survives a power loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Entry {
    /// Not until the directory sync with this serial has completed.
    Pending(u32),
    Durable,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Segment {
    pub(super) base: Offset,
    /// Bytes of the log file, submitted ones included.
    pub(super) size: u64,
    pub(super) generation: u32,
    /// Bytes of this generation that are in the page cache.
    pub(super) written: u64,
    /// Bytes of this generation that are durable.
    pub(super) synced: u64,
    pub(super) entry: Entry,
    pub(super) index: Index,
}

impl Segment {
    /// A segment whose files were just created in this generation.
    pub(super) fn created(base: Offset, generation: u32) -> Segment {
        Segment {
            base,
            size: 0,
            generation,
            written: 0,
            synced: 0,
            entry: Entry::Pending(generation),
            index: Index::new(base, generation),
        }
    }

    pub(super) fn view(&self, dir: DirId) -> SegmentView {
        let file = FileId { dir, kind: FileKind::Log(self.base) };
        SegmentView { file, base: self.base, size: self.size, generation: self.generation }
    }
}

/// A point of the sparse index: a batch, and the largest timestamp up to and including it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct IndexEntry {
    pub(super) last_offset: Offset,
    pub(super) position: u64,
    pub(super) max_timestamp: i64,
    /// Last offset of the first batch with that timestamp.
    pub(super) max_offset: Offset,
}

/// An index file's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct IndexFile {
    pub(super) generation: u32,
    pub(super) size: u64,
    /// Bytes of this generation that are durable; `None` until its first sync.
    synced: Option<u64>,
    /// Its size when a sync was last requested.
    asked: Option<u64>,
}

impl IndexFile {
    pub(super) fn on_synced(&mut self, generation: u32, upto: u64) {
        if generation == self.generation {
            self.synced = self.synced.max(Some(upto.min(self.size)));
        }
    }

    /// Replaced by new content.
    pub(super) fn replace(&mut self, generation: u32, size: u64) {
        *self = IndexFile { generation, size, synced: None, asked: None };
    }

    /// A file found on disk, and durable.
    pub(super) fn found(size: u64) -> IndexFile {
        IndexFile { generation: 0, size, synced: Some(size), asked: None }
    }

    pub(super) fn is_durable(&self) -> bool {
        self.synced == Some(self.size)
    }

    /// Whether the file needs a sync that was not requested yet. If so, marks it as requested.
    pub(super) fn ask_sync(&mut self) -> bool {
        let asks = !self.is_durable() && self.asked != Some(self.size);
        if asks {
            self.asked = Some(self.size);
        }
        asks
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Index {
    base: Offset,
    pub(super) entries: Vec<IndexEntry>,
    /// One in this many new entries is kept in memory; a power of two.
    stride: u32,
    /// Entries left out since the last one that was kept.
    left_out: u32,
    /// Bytes of batches since the last entry in the file, its own batch included.
    since_entry: u64,
    /// The last entry of the offset index's file: last offset and position of its batch.
    pub(super) last_entry: Option<(Offset, u64)>,
    /// The segment's largest timestamp, or -1.
    pub(super) max_timestamp: i64,
    /// Last offset of the first batch with that timestamp.
    pub(super) max_offset: Offset,
    /// The last timestamp in the time index, or -1.
    last_time: i64,
    /// During loading: the last time entry at or before the last offset entry.
    before_scan: (i64, Offset),
    pub(super) offsets: IndexFile,
    pub(super) times: IndexFile,
}

/// What an append adds to the index files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NewEntries {
    pub(super) offset: [u8; OFFSET_ENTRY],
    pub(super) time: Option<[u8; TIME_ENTRY]>,
}

impl Index {
    pub(super) fn new(base: Offset, generation: u32) -> Index {
        let file = IndexFile { generation, size: 0, synced: None, asked: None };
        Index {
            base,
            entries: Vec::new(),
            stride: 1,
            left_out: 0,
            since_entry: 0,
            last_entry: None,
            max_timestamp: -1,
            max_offset: base,
            last_time: -1,
            before_scan: (-1, base),
            offsets: file,
            times: file,
        }
    }

    /// Adds a batch at `position`: records its timestamp, and creates entries every `interval`
    /// bytes (Kafka's `LogSegment.append`).
    pub(super) fn add(
        &mut self,
        header: &BatchHeader,
        position: u64,
        interval: u32,
    ) -> Option<NewEntries> {
        if header.max_timestamp > self.max_timestamp {
            self.max_timestamp = header.max_timestamp;
            self.max_offset = header.last_offset;
        }
        let due = self.since_entry > u64::from(interval);
        if due {
            self.since_entry = 0;
        }
        self.since_entry += header.size as u64;
        if !due {
            return None;
        }
        self.last_entry = Some((header.last_offset, position));
        self.keep(IndexEntry {
            last_offset: header.last_offset,
            position,
            max_timestamp: self.max_timestamp,
            max_offset: self.max_offset,
        });
        Some(NewEntries {
            offset: offset_entry(self.base, header.last_offset, position),
            time: self.time_entry(),
        })
    }

    /// Whether both files are durable.
    pub(super) fn is_durable(&self) -> bool {
        self.offsets.is_durable() && self.times.is_durable()
    }

    /// The time index's next entry, if the largest timestamp is not in it yet.
    pub(super) fn time_entry(&mut self) -> Option<[u8; TIME_ENTRY]> {
        if self.max_timestamp <= self.last_time {
            return None;
        }
        self.last_time = self.max_timestamp;
        Some(time_entry(self.base, self.max_timestamp, self.max_offset))
    }

    fn keep(&mut self, entry: IndexEntry) {
        if self.left_out + 1 < self.stride {
            self.left_out += 1;
            return;
        }
        self.left_out = 0;
        self.entries.push(entry);
        if self.entries.len() >= MAX_ENTRIES {
            let mut keep = false;
            self.entries.retain(|_| {
                keep = !keep;
                keep
            });
            self.stride *= 2;
        }
    }

    /// Drops the batches from `end` on, which starts at `position`. `max` is the largest timestamp
    /// of the remaining batches, with its offset.
    pub(super) fn truncate(&mut self, end: Offset, position: u64, max: (i64, Offset)) {
        let keep = self.entries.partition_point(|entry| entry.last_offset < end);
        self.entries.truncate(keep);
        self.left_out = 0;
        self.last_entry = self.entries.last().map(|entry| (entry.last_offset, entry.position));
        self.since_entry = position - self.last_entry.map_or(0, |(_, position)| position);
        (self.max_timestamp, self.max_offset) = max;
    }

    /// The whole content of both files, from the entries in memory.
    pub(super) fn files_anew(&mut self) -> (Vec<u8>, Vec<u8>) {
        let (mut offsets, mut times) = (Vec::new(), Vec::new());
        self.last_time = -1;
        for entry in &self.entries {
            offsets.extend_from_slice(&offset_entry(self.base, entry.last_offset, entry.position));
            if entry.max_timestamp > self.last_time {
                self.last_time = entry.max_timestamp;
                let time = time_entry(self.base, entry.max_timestamp, entry.max_offset);
                times.extend_from_slice(&time);
            }
        }
        (offsets, times)
    }

    /// The last entry whose batch lies before `offset`: all batches up to and including it end
    /// before `offset`.
    pub(super) fn before(&self, offset: Offset) -> Option<&IndexEntry> {
        let after = self.entries.partition_point(|entry| entry.last_offset < offset);
        after.checked_sub(1).map(|at| &self.entries[at])
    }

    /// An entry before `offset` up to which all timestamps are smaller than the largest one known
    /// before `offset`, by the reasoning of [`Index::before_time`].
    pub(super) fn before_largest(&self, offset: Offset) -> Option<&IndexEntry> {
        let largest = self.before(offset)?.max_timestamp;
        let first = self.entries.partition_point(|entry| entry.max_timestamp < largest);
        first.checked_sub(1).map(|at| &self.entries[at])
    }

    /// Whether there is an entry for this position, for the batch that ends with this offset.
    pub(super) fn has(&self, last_offset: Offset, position: u64) -> bool {
        let at = self.entries.partition_point(|entry| entry.position < position);
        self.entries
            .get(at)
            .is_some_and(|entry| (entry.last_offset, entry.position) == (last_offset, position))
    }

    /// An entry up to which all timestamps are smaller than `timestamp`.
    ///
    /// An entry's own timestamp is not enough: its offset index may have been written with another
    /// interval than the time index, and then it knows only the largest timestamp up to some place
    /// before it. But the next timestamp recorded after an entry was a new largest one, so
    /// everything up to that entry is smaller than it.
    pub(super) fn before_time(&self, timestamp: i64) -> Option<&IndexEntry> {
        let smaller = |than: i64| self.entries.partition_point(|entry| entry.max_timestamp < than);
        let noted = self.entries[smaller(timestamp).checked_sub(1)?].max_timestamp;
        smaller(noted).checked_sub(1).map(|at| &self.entries[at])
    }

    /// Loads a part of the offset index's file. False if it is invalid: entries must be ascending,
    /// and lie within `size` bytes of log.
    pub(super) fn load_offsets(&mut self, bytes: &[u8], size: u64) -> bool {
        if !bytes.len().is_multiple_of(OFFSET_ENTRY) {
            return false;
        }
        for raw in bytes.chunks_exact(OFFSET_ENTRY) {
            let relative = i32::from_be_bytes([raw[0], raw[1], raw[2], raw[3]]);
            let position = i32::from_be_bytes([raw[4], raw[5], raw[6], raw[7]]);
            let (Ok(relative), Ok(position)) = (u32::try_from(relative), u64::try_from(position))
            else {
                return false;
            };
            let last_offset = self.base + i64::from(relative);
            let grows =
                self.last_entry.is_none_or(|last| last_offset > last.0 && position > last.1);
            if !grows || position >= size {
                return false;
            }
            self.last_entry = Some((last_offset, position));
            let (max_timestamp, max_offset) = (-1, self.base);
            self.keep(IndexEntry { last_offset, position, max_timestamp, max_offset });
        }
        true
    }

    /// Loads a part of the time index's file, after the offset index. False if it is invalid.
    pub(super) fn load_times(&mut self, bytes: &[u8]) -> bool {
        if !bytes.len().is_multiple_of(TIME_ENTRY) {
            return false;
        }
        for raw in bytes.chunks_exact(TIME_ENTRY) {
            let (time, relative) = raw.split_at(8);
            let mut array = [0; 8];
            array.copy_from_slice(time);
            let timestamp = i64::from_be_bytes(array);
            let relative = i32::from_be_bytes([relative[0], relative[1], relative[2], relative[3]]);
            let offset = self.base + i64::from(relative);
            if relative < 0 || timestamp <= self.last_time {
                return false;
            }
            self.last_time = timestamp;
            if self.last_entry.is_some_and(|(last, _)| offset <= last) {
                self.before_scan = (timestamp, offset);
            }
            // The largest timestamp so far counts from its batch on.
            let from = self.entries.partition_point(|entry| entry.last_offset < offset);
            if let Some(entry) = self.entries.get_mut(from) {
                (entry.max_timestamp, entry.max_offset) = (timestamp, offset);
            }
        }
        true
    }

    /// Called after both files were loaded: gives every entry the largest timestamp up to it. (Each
    /// time entry was recorded at the first offset entry that it covers.) The batches beyond the
    /// last entry are read and added later. So the time index's last timestamp, which in a closed
    /// segment is the largest of all, does not count here.
    ///
    /// False if no timestamp up to the last entry is known: the time index does not belong to these
    /// entries.
    pub(super) fn loaded(&mut self) -> bool {
        (self.max_timestamp, self.max_offset) = self.before_scan;
        let mut max = (-1, self.base);
        for entry in &mut self.entries {
            if entry.max_timestamp > max.0 {
                max = (entry.max_timestamp, entry.max_offset);
            }
            (entry.max_timestamp, entry.max_offset) = max;
        }
        self.last_entry.is_none() || self.before_scan.0 >= 0
    }
}

fn offset_entry(base: Offset, last_offset: Offset, position: u64) -> [u8; OFFSET_ENTRY] {
    let mut entry = [0; OFFSET_ENTRY];
    entry[..4].copy_from_slice(&relative(base, last_offset).to_be_bytes());
    let position = i32::try_from(position).expect("a batch starts within the first 2 GiB");
    entry[4..].copy_from_slice(&position.to_be_bytes());
    entry
}

fn time_entry(base: Offset, timestamp: i64, offset: Offset) -> [u8; TIME_ENTRY] {
    let mut entry = [0; TIME_ENTRY];
    entry[..8].copy_from_slice(&timestamp.to_be_bytes());
    entry[8..].copy_from_slice(&relative(base, offset).to_be_bytes());
    entry
}

fn relative(base: Offset, offset: Offset) -> i32 {
    i32::try_from(offset - base).expect("a segment rolls before its offsets exceed an i32")
}
