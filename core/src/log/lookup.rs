//! Finding records by timestamp, for ListOffsets.
//!
//! The same shape as reading: a look-up is answered at once or names one disk read.

use bytes::Bytes;

use super::PartitionLog;
use super::read::{DiskRead, Found, Walk};
use super::segment::Segment;
use crate::batch::{Batch, DECOMPRESSED_LIMIT, HEADER_LEN};
use crate::codec::DecodeError;
use crate::types::{LeaderEpoch, Offset};

/// Bytes read at a time.
const CHUNK: u32 = 64 << 10;

/// What is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimestampQuery {
    /// The first record with this timestamp (ms since 1970) or a later one.
    AtOrAfter(i64),
    /// The first record with the largest timestamp (KIP-734).
    Max,
}

/// A record that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimestampHit {
    /// Its offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: i64,
    /// The leader epoch of its batch.
    pub leader_epoch: LeaderEpoch,
}

/// How a look-up goes on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LookupPlan {
    /// This record, or none.
    Found(Option<TimestampHit>),
    /// The disk has to be read.
    Disk(DiskRead),
}

/// What a disk read gave.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FinishedLookup {
    /// This record, or none.
    Found(Option<TimestampHit>),
    /// Read this next.
    More(DiskRead),
    /// The file was cut or dropped since: plan again.
    Stale,
    /// What was read is not what was written.
    Corrupt,
}

impl PartitionLog {
    /// Plans to find a record in the batches that end at or below `limit` (exclusive).
    pub fn lookup_timestamp(&self, query: TimestampQuery, limit: Offset) -> LookupPlan {
        let end = limit.min(self.written_end);
        let plan = match query {
            TimestampQuery::AtOrAfter(timestamp) => {
                self.plan_from(timestamp, self.log_start(), end)
            }
            TimestampQuery::Max => self.plan_max(end),
        };
        plan.map_or(LookupPlan::Found(None), LookupPlan::Disk)
    }

    /// What the bytes of a planned read give; `query` and `limit` as they were.
    pub fn finish_lookup(
        &self,
        query: TimestampQuery,
        limit: Offset,
        plan: &DiskRead,
        bytes: Bytes,
    ) -> FinishedLookup {
        let Some(segment) = self.planned_in(plan) else { return FinishedLookup::Stale };
        if let Some(again) = self.unless_index_holds(segment, plan, &bytes) {
            return FinishedLookup::More(again);
        }
        let end = limit.min(self.written_end);
        let wanted = match query {
            TimestampQuery::AtOrAfter(timestamp) => timestamp,
            // The candidate may have changed since; then the search begins again.
            TimestampQuery::Max => match self.max_below(end) {
                None => return FinishedLookup::Found(None),
                Some((base, _, _)) if base != segment.base => return FinishedLookup::Stale,
                Some((_, timestamp, _)) => timestamp,
            },
        };
        let mut walk = Walk::new(segment.base, *plan, bytes);
        loop {
            match walk.next() {
                Found::Header(header) if header.last_offset >= end => {
                    return FinishedLookup::Found(None);
                }
                Found::Header(header) if header.max_timestamp < wanted => walk.skip(&header),
                Found::Header(header) => match walk.batch(&header) {
                    None => return self.more_lookup(segment, &walk, header.size),
                    Some(batch) => match batch.and_then(|batch| first_from(&batch, wanted)) {
                        Ok(Some(hit)) => return FinishedLookup::Found(Some(hit)),
                        // The header promised more than its records hold.
                        Ok(None) => {}
                        Err(_) => return FinishedLookup::Corrupt,
                    },
                },
                Found::Cut if walk.position() + HEADER_LEN as u64 > segment.written => {
                    let next = self.segments.partition_point(|other| other.base <= segment.base);
                    let next = self.segments.get(next).map_or(end, |next| next.base);
                    return match self.plan_from(wanted, next, end) {
                        Some(more) => FinishedLookup::More(more),
                        None => FinishedLookup::Found(None),
                    };
                }
                Found::Cut => return self.more_lookup(segment, &walk, CHUNK as usize),
                Found::Nonsense => return FinishedLookup::Corrupt,
            }
        }
    }

    fn more_lookup(&self, segment: &Segment, walk: &Walk, len: usize) -> FinishedLookup {
        match self.read_on_from(segment, walk, len.max(CHUNK as usize)) {
            Some(more) => FinishedLookup::More(more),
            None => FinishedLookup::Corrupt,
        }
    }

    /// Where to look for `timestamp` in the segments from `from` on.
    fn plan_from(&self, timestamp: i64, from: Offset, end: Offset) -> Option<DiskRead> {
        let first = self.segments.partition_point(|segment| segment.base < from);
        let mut segments = self.segments[first..].iter().take_while(|segment| segment.base < end);
        let segment = segments.find(|segment| segment.index.max_timestamp >= timestamp)?;
        let before = segment.index.before_time(timestamp);
        Some(self.plan_by_index(segment, before, CHUNK)).filter(|plan| plan.len > 0)
    }

    fn plan_max(&self, end: Offset) -> Option<DiskRead> {
        let (base, timestamp, _) = self.max_below(end)?;
        let segment = self.segment(base)?;
        let before = segment.index.before_time(timestamp);
        Some(self.plan_by_index(segment, before, CHUNK)).filter(|plan| plan.len > 0)
    }

    /// The largest timestamp below `end`: its segment, itself, and the last offset of its batch.
    /// Where a segment's largest lies beyond `end`, what is known of the part below counts: the
    /// time index and the tail.
    fn max_below(&self, end: Offset) -> Option<(Offset, i64, Offset)> {
        let mut best: Option<(Offset, i64, Offset)> = None;
        let mut offer = |segment: Offset, timestamp: i64, offset: Offset| {
            let first = best.is_none_or(|(_, largest, _)| timestamp > largest);
            if timestamp >= 0 && offset < end && first {
                best = Some((segment, timestamp, offset));
            }
        };
        for segment in &self.segments {
            let index = &segment.index;
            if index.max_offset < end {
                offer(segment.base, index.max_timestamp, index.max_offset);
                continue;
            }
            let known = index.entries.iter().rev().find(|entry| entry.max_offset < end);
            if let Some(entry) = known {
                offer(segment.base, entry.max_timestamp, entry.max_offset);
            }
            for entry in self.tail.iter().filter(|entry| entry.segment == segment.base) {
                offer(segment.base, entry.max_timestamp, Offset(entry.next.0 - 1));
            }
        }
        best
    }
}

/// The first record of the batch with `timestamp` or a later one.
fn first_from(batch: &Batch, timestamp: i64) -> Result<Option<TimestampHit>, DecodeError> {
    let plain = batch.plain(DECOMPRESSED_LIMIT)?;
    for record in batch.walk(&plain)? {
        let record = record?;
        if record.timestamp >= timestamp {
            let (offset, timestamp) = (record.offset, record.timestamp);
            return Ok(Some(TimestampHit { offset, timestamp, leader_epoch: batch.leader_epoch }));
        }
    }
    Ok(None)
}
