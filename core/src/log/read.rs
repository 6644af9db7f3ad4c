//! Reading: a plan is answered from memory or names one disk read, whose bytes finish it.
//!
//! Reads change nothing, so any number may be in flight; a truncation makes the reads of the cut
//! file stale by its generation.

use alloc::vec::Vec;
use bytes::Bytes;

use super::PartitionLog;
use super::segment::{IndexEntry, Segment};
use crate::batch::{Batch, BatchHeader};
use crate::codec::DecodeError;
use crate::env::{Disk, FileId, FileKind};
use crate::event::ReadTag;
use crate::types::Offset;

/// Minimum number of bytes to read when the batches' sizes are not known.
const MIN_CHUNK: u32 = 4096;

/// The most bytes that a read adds for the distance from an index entry to its batch. A topic may
/// have a larger `index.interval.bytes`; the read then continues where it ended.
const MOST_SKIPPED: u32 = 1 << 20;

/// A read of one segment's file, to be submitted with [`DiskRead::submit`] and finished with
/// [`PartitionLog::finish_read`] or [`PartitionLog::finish_lookup`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DiskRead {
    /// The file.
    pub file: FileId,
    /// Position of the first byte.
    pub at: u64,
    /// Number of bytes; all of them exist, unless the file was cut since.
    pub len: u32,
    /// The file's generation when the read was planned.
    pub generation: u32,
    /// `at` comes from an index entry, and the batch there has not been checked yet.
    pub(super) by_index: bool,
}

impl DiskRead {
    /// The smallest read at its position, for a caller that has its bytes already and waits for a
    /// turn.
    pub fn turn(&self) -> DiskRead {
        DiskRead { len: self.len.min(1), ..*self }
    }

    /// Submits it.
    pub fn submit(&self, tag: ReadTag, disk: &mut dyn Disk) {
        disk.read(tag, self.file, self.at, self.len);
    }
}

/// The offset is before the log's start or beyond its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct OutOfRange;

/// What a read may return.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReadLimits {
    /// No batch that ends beyond this offset (exclusive), or beyond the written end.
    pub end: Offset,
    /// No more bytes than this, in whole batches.
    pub max_bytes: u32,
    /// The first batch even if it alone is larger than `max_bytes` (KIP-74). A fetch of many
    /// partitions may say so for one of them only, or its answer has no bound.
    pub at_least_one: bool,
}

impl ReadLimits {
    /// At least one batch, whatever its size.
    pub fn at_least_one(end: Offset, max_bytes: u32) -> ReadLimits {
        ReadLimits { end, max_bytes, at_least_one: true }
    }

    /// Whether a batch of `size` bytes may be returned as the first.
    fn admits_first(&self, size: usize) -> bool {
        self.at_least_one || size <= self.max_bytes as usize
    }
}

/// How to proceed with a read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ReadPlan {
    /// There is nothing to read below the limit.
    Empty,
    /// Everything was in memory.
    Cached(Vec<Batch>),
    /// The disk has to be read.
    Disk(DiskRead),
}

/// The result of a disk read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FinishedRead {
    /// Whole batches; none if the first does not end below the limit, or is too large.
    Batches(Vec<Batch>),
    /// The batch was not complete yet: read this next.
    More(DiskRead),
    /// The file was cut or dropped since: plan again.
    Stale,
    /// The data read is not the data that was written.
    Corrupt,
}

impl PartitionLog {
    /// Plans to read whole batches, from the one that contains `from` on.
    ///
    /// # Errors
    /// If `from` is not within the log.
    pub fn read(&self, from: Offset, limits: &ReadLimits) -> Result<ReadPlan, OutOfRange> {
        if from < self.log_start() || from > self.log_end() {
            return Err(OutOfRange);
        }
        let end = limits.end.min(self.written_end);
        if self.segments.is_empty() || from >= end {
            return Ok(ReadPlan::Empty);
        }
        Ok(self.read_tail(from, end, limits).unwrap_or_else(|| {
            let at = self.segments.partition_point(|segment| segment.base <= from) - 1;
            let segment = &self.segments[at];
            // The batch's position is not known; it is likely within an index interval.
            let skipped = self.config.index_interval_bytes.min(MOST_SKIPPED);
            let len = self.likely_len(limits.max_bytes).saturating_add(skipped);
            ReadPlan::Disk(self.plan_by_index(segment, segment.index.before(from), len))
        }))
    }

    /// Bytes that a fetch finds from the batch that contains `from` on, below `limit` (exclusive),
    /// as Kafka counts them for `fetch.min.bytes`. A batch that `max_bytes` cuts counts up to the
    /// cut, the first one counts whole, and data that goes on in a later segment satisfies any
    /// minimum (`usize::MAX`). If `from` is too far back for the exact number, the result is too
    /// high rather than too low.
    ///
    /// [`PartitionLog::read`] returns whole batches of one segment. These alone may never reach the
    /// minimum, so a fetch must not wait for that.
    pub fn available(&self, from: Offset, limit: Offset, max_bytes: u32) -> usize {
        let end = limit.min(self.written_end);
        if self.segments.is_empty() || from < self.log_start() || from >= end {
            return 0;
        }
        let Some(run) = self.tail.run(from, end) else {
            let at = self.segments.partition_point(|segment| segment.base <= from) - 1;
            let segment = &self.segments[at];
            if self.segments.get(at + 1).is_some_and(|next| next.base < end) {
                return usize::MAX;
            }
            let position = segment.index.before(from).map_or(0, |entry| entry.position);
            let left = segment.written.saturating_sub(position);
            return usize::try_from(left).unwrap_or(usize::MAX);
        };
        let Some((first, last, goes_on)) = run else { return 0 };
        let max_bytes = max_bytes as usize;
        let before_last = (last.position - first.position) as usize;
        // A fetch with room left after the segment's last batch but one reaches the next segment.
        if goes_on && (before_last == 0 || before_last < max_bytes) {
            return usize::MAX;
        }
        (before_last + last.size).min(first.size.max(max_bytes))
    }

    /// Reads from the tail: its batches, or their exact position. `None` if the tail starts later.
    fn read_tail(&self, from: Offset, end: Offset, limits: &ReadLimits) -> Option<ReadPlan> {
        let mut entries = self.tail.from(from)?;
        let first = entries.next()?;
        if first.next > end || !limits.admits_first(first.size) {
            return Some(ReadPlan::Empty);
        }
        let mut bytes = first.size;
        let max_bytes = limits.max_bytes as usize;
        let fits = |size: usize, bytes: &mut usize| {
            *bytes = bytes.saturating_add(size);
            *bytes <= max_bytes
        };
        if let Some(batch) = first.batch() {
            let mut batches = alloc::vec![batch.clone()];
            for entry in entries.take_while(|entry| entry.next <= end) {
                let Some(batch) = entry.batch().filter(|_| fits(entry.size, &mut bytes)) else {
                    break;
                };
                batches.push(batch.clone());
            }
            return Some(ReadPlan::Cached(batches));
        }
        let mut len = first.size;
        for entry in entries.take_while(|entry| entry.next <= end) {
            if entry.segment != first.segment || !fits(entry.size, &mut bytes) {
                break;
            }
            len = bytes;
        }
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        Some(ReadPlan::Disk(self.plan(self.segment(first.segment)?, first.position, len)))
    }

    /// A read of at most `len` bytes of the segment's written part.
    pub(super) fn plan(&self, segment: &Segment, at: u64, len: u32) -> DiskRead {
        let left = segment.written.saturating_sub(at);
        DiskRead {
            file: self.file(FileKind::Log(segment.base)),
            at,
            len: u32::try_from(left).unwrap_or(u32::MAX).min(len),
            generation: segment.generation,
            by_index: false,
        }
    }

    fn likely_len(&self, max_bytes: u32) -> u32 {
        max_bytes.max(MIN_CHUNK.min(self.config.read_chunk_bytes))
    }

    /// Like [`PartitionLog::plan`], from the position in an index entry, or from the segment's
    /// start.
    pub(super) fn plan_by_index(
        &self,
        segment: &Segment,
        entry: Option<&IndexEntry>,
        len: u32,
    ) -> DiskRead {
        match entry {
            Some(entry) => DiskRead { by_index: true, ..self.plan(segment, entry.position, len) },
            None => self.plan(segment, 0, len),
        }
    }

    /// An index is a hint: recovery checks only the last entry of an index that it found on disk.
    /// If the batch at the position is not the entry's batch, returns a read from the segment's
    /// start.
    pub(super) fn unless_index_holds(
        &self,
        segment: &Segment,
        plan: &DiskRead,
        bytes: &Bytes,
    ) -> Option<DiskRead> {
        let holds = !plan.by_index
            || BatchHeader::parse(bytes)
                .is_ok_and(|header| segment.index.has(header.last_offset, plan.at));
        (!holds).then(|| self.plan(segment, 0, self.config.read_chunk_bytes.max(plan.len)))
    }

    /// The segment that a read was planned in, if it has not been cut or dropped since.
    pub(super) fn planned_in(&self, plan: &DiskRead) -> Option<&Segment> {
        let FileKind::Log(base) = plan.file.kind else { return None };
        self.segment(base).filter(|segment| segment.generation == plan.generation)
    }

    /// Whether a planned read may still be submitted: its segment exists and was not truncated.
    pub fn may_read(&self, plan: &DiskRead) -> bool {
        self.planned_in(plan).is_some()
    }

    /// Evaluates the bytes of a planned read; the other arguments as in [`PartitionLog::read`].
    /// Every CRC is checked. Batches before a damaged one are returned; the damage is reported to
    /// the read that starts at it.
    pub fn finish_read(
        &self,
        from: Offset,
        limits: &ReadLimits,
        plan: &DiskRead,
        bytes: Bytes,
    ) -> FinishedRead {
        let Some(segment) = self.planned_in(plan) else { return FinishedRead::Stale };
        if let Some(again) = self.unless_index_holds(segment, plan, &bytes) {
            return FinishedRead::More(again);
        }
        let end = limits.end.min(self.written_end);
        let mut walk = Walk::new(segment.base, *plan, bytes);
        let (mut batches, mut total) = (Vec::new(), 0usize);
        loop {
            match walk.next() {
                Found::Header(header) if header.last_offset < from => walk.skip(&header),
                Found::Header(header) if header.base_offset > from && batches.is_empty() => {
                    return FinishedRead::Corrupt;
                }
                Found::Header(header) if header.last_offset >= end && !batches.is_empty() => break,
                // Its header is not verified. If it is damaged, the next read that starts here and
                // may return it finds out.
                Found::Header(header)
                    if batches.is_empty() && !limits.admits_first(header.size) =>
                {
                    break;
                }
                Found::Header(header) => {
                    total = total.saturating_add(header.size);
                    if !batches.is_empty() && total > limits.max_bytes as usize {
                        break;
                    }
                    match walk.batch(&header) {
                        // Only now is it known that the header is right.
                        Some(Ok(batch)) if batch.last_offset() >= end => break,
                        Some(Ok(batch)) => batches.push(batch),
                        Some(Err(_)) if batches.is_empty() => return FinishedRead::Corrupt,
                        Some(Err(_)) => break,
                        None if batches.is_empty() => {
                            return self.more(segment, &walk, header.size);
                        }
                        None => break,
                    }
                }
                Found::Cut if batches.is_empty() => {
                    let len = self.likely_len(limits.max_bytes) as usize;
                    return self.more(segment, &walk, len);
                }
                Found::Cut => break,
                Found::Nonsense if batches.is_empty() => return FinishedRead::Corrupt,
                Found::Nonsense => break,
            }
        }
        FinishedRead::Batches(batches)
    }

    fn more(&self, segment: &Segment, walk: &Walk, len: usize) -> FinishedRead {
        match self.read_on_from(segment, walk, len) {
            Some(more) => FinishedRead::More(more),
            None => FinishedRead::Corrupt,
        }
    }

    /// The read that follows a walk; `None` if it would bring nothing new, which means that the
    /// file is not as it was written.
    pub(super) fn read_on_from(
        &self,
        segment: &Segment,
        walk: &Walk,
        len: usize,
    ) -> Option<DiskRead> {
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        let more = self.plan(segment, walk.position(), len);
        let asks_for_new = more.at > walk.plan.at || more.len > walk.plan.len;
        (walk.is_complete() && more.len > 0 && asks_for_new).then_some(more)
    }
}

/// A walk over the batches in a read's bytes.
pub(super) struct Walk {
    plan: DiskRead,
    segment: Offset,
    bytes: Bytes,
    at: usize,
    expected: Option<Offset>,
}

pub(super) enum Found {
    /// A batch begins here; it may be incomplete.
    Header(BatchHeader),
    /// The bytes end before or within a header.
    Cut,
    /// No batch of this log begins here.
    Nonsense,
}

impl Walk {
    pub(super) fn new(segment: Offset, plan: DiskRead, bytes: Bytes) -> Walk {
        Walk { plan, segment, bytes, at: 0, expected: None }
    }

    /// Whether all requested bytes were there.
    pub(super) fn is_complete(&self) -> bool {
        self.bytes.len() >= self.plan.len as usize
    }

    /// Its position in the file.
    pub(super) fn position(&self) -> u64 {
        self.plan.at + self.at as u64
    }

    fn rest(&self) -> Bytes {
        self.bytes.slice(self.at.min(self.bytes.len())..)
    }

    pub(super) fn next(&self) -> Found {
        match BatchHeader::parse(&self.rest()) {
            Ok(header) => {
                let in_place = self.expected.is_none_or(|offset| offset == header.base_offset);
                if in_place && header.base_offset >= self.segment {
                    Found::Header(header)
                } else {
                    Found::Nonsense
                }
            }
            Err(DecodeError::Truncated(_)) => Found::Cut,
            Err(DecodeError::Invalid(_) | DecodeError::Trailing(_)) => Found::Nonsense,
        }
    }

    pub(super) fn skip(&mut self, header: &BatchHeader) {
        self.at += header.size;
        self.expected = Some(header.last_offset.next());
    }

    /// The batch that begins here, if all of it is there; an error if its CRC is wrong.
    pub(super) fn batch(&mut self, header: &BatchHeader) -> Option<Result<Batch, DecodeError>> {
        let rest = self.rest();
        if rest.len() < header.size {
            return None;
        }
        self.skip(header);
        Some(Batch::parse(&rest).and_then(|batch| {
            if batch.verify_crc() { Ok(batch) } else { Err(DecodeError::Invalid("a CRC")) }
        }))
    }
}
