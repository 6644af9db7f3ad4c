//! Finding records by timestamp, for ListOffsets.
//!
//! Works like reading: a look-up is answered at once or names one disk read. A batch may decompress
//! to many megabytes. So after [`GLANCE`] bytes the look-up rests, and goes on when another read,
//! of one byte, has taken its turn behind other work.

use bytes::Bytes;

use super::PartitionLog;
use super::read::{DiskRead, Found, Walk};
use super::segment::Segment;
use crate::batch::{HEADER_LEN, Scan, Scanned};
use crate::types::{LeaderEpoch, Offset};

/// Decompressed bytes that a look-up goes through at a time: some milliseconds.
const GLANCE: usize = 512 << 10;

/// What to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimestampQuery {
    /// The first record with this timestamp (ms since 1970) or a later one.
    AtOrAfter(i64),
    /// The first record with the largest timestamp (KIP-734); the value is the largest one seen so
    /// far. Queries start as [`TimestampQuery::LARGEST`].
    Largest(i64),
}

impl TimestampQuery {
    /// The largest timestamp, with none seen yet.
    pub const LARGEST: TimestampQuery = TimestampQuery::Largest(-1);
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

/// How to proceed with a look-up.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LookupPlan {
    /// This record, or none.
    Found(Option<TimestampHit>),
    /// The disk has to be read, and then searched for this.
    Disk(TimestampQuery, DiskRead),
}

/// The result of a disk read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FinishedLookup {
    /// This record, or none.
    Found(Option<TimestampHit>),
    /// Read this next, and look for this.
    More(TimestampQuery, DiskRead),
    /// The look-up rests. The plan reads the whole batch, for a caller that begins again. To go on,
    /// read one byte of it ([`DiskRead::turn`]) and then call [`PartitionLog::resume_lookup`].
    Rests(RestingLookup, DiskRead),
    /// The file was cut or dropped since: plan again.
    Stale,
    /// The data read is not the data that was written.
    Corrupt,
}

/// A look-up within a batch, with the part that has been decompressed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RestingLookup(Scan);

impl PartitionLog {
    /// Plans to find a record in the batches that end at or below `limit` (exclusive).
    pub fn lookup_timestamp(&self, query: TimestampQuery, limit: Offset) -> LookupPlan {
        let end = limit.min(self.written_end);
        match query {
            TimestampQuery::AtOrAfter(timestamp) => self.plan_first(timestamp, end),
            TimestampQuery::Largest(_) => match self.plan_unknown(end) {
                Some(read) => LookupPlan::Disk(query, read),
                None => self.plan_largest(-1, end),
            },
        }
    }

    /// Evaluates the bytes of a planned read, with the `query` of the plan and the same `limit`.
    pub fn finish_lookup(
        &self,
        query: TimestampQuery,
        limit: Offset,
        plan: &DiskRead,
        bytes: Bytes,
    ) -> FinishedLookup {
        let Some(segment) = self.planned_in(plan) else { return FinishedLookup::Stale };
        if let Some(again) = self.unless_index_holds(segment, plan, &bytes) {
            return FinishedLookup::More(query, again);
        }
        let end = limit.min(self.written_end);
        let walk = Walk::new(segment.base, *plan, bytes);
        match query {
            TimestampQuery::AtOrAfter(timestamp) => self.find_first(timestamp, end, segment, walk),
            TimestampQuery::Largest(seen) => self.find_largest(seen, end, segment, walk),
        }
    }

    /// Goes on with a look-up that rests, with the `plan` that came with it and the same `limit`.
    pub fn resume_lookup(
        &self,
        limit: Offset,
        plan: &DiskRead,
        resting: RestingLookup,
    ) -> FinishedLookup {
        let Some(segment) = self.planned_in(plan) else { return FinishedLookup::Stale };
        let (wanted, mut budget) = (resting.0.wanted(), GLANCE);
        if let Some(finished) = rest_or_find(resting.0, plan, &mut budget) {
            return finished;
        }
        // No record is as late as the header promised: goes on after the batch.
        let at = plan.at + u64::from(plan.len);
        let nothing = DiskRead { at, len: 0, ..*plan };
        let walk = Walk::new(segment.base, nothing, Bytes::new());
        self.find_first(wanted, limit.min(self.written_end), segment, walk)
    }

    fn find_first(
        &self,
        wanted: i64,
        end: Offset,
        segment: &Segment,
        mut walk: Walk,
    ) -> FinishedLookup {
        let query = TimestampQuery::AtOrAfter(wanted);
        let mut budget = GLANCE;
        loop {
            match walk.next() {
                Found::Header(header) if header.last_offset >= end => {
                    return FinishedLookup::Found(None);
                }
                Found::Header(header) if header.max_timestamp < wanted => walk.skip(&header),
                Found::Header(header) => {
                    let len = u32::try_from(header.size).unwrap_or(u32::MAX);
                    let plan = self.plan(segment, walk.position(), len);
                    match walk.batch(&header) {
                        None => return self.more_lookup(query, segment, &walk, header.size),
                        Some(batch) => match batch.and_then(|batch| Scan::new(batch, wanted)) {
                            Ok(scan) => {
                                if let Some(finished) = rest_or_find(scan, &plan, &mut budget) {
                                    return finished;
                                }
                                // No record is as late as the header promised.
                            }
                            Err(_) => return FinishedLookup::Corrupt,
                        },
                    }
                }
                Found::Cut if walk.position() + HEADER_LEN as u64 > segment.written => {
                    let next = self.segments.partition_point(|other| other.base <= segment.base);
                    let next = self.segments.get(next).map_or(end, |next| next.base);
                    return match self.plan_from(wanted, next, end) {
                        Some(more) => FinishedLookup::More(query, more),
                        None => FinishedLookup::Found(None),
                    };
                }
                Found::Cut => return self.more_lookup(query, segment, &walk, 0),
                Found::Nonsense => return FinishedLookup::Corrupt,
            }
        }
    }

    /// Reads the headers up to `end`, and then looks for the first record with the largest
    /// timestamp.
    fn find_largest(
        &self,
        mut seen: i64,
        end: Offset,
        segment: &Segment,
        mut walk: Walk,
    ) -> FinishedLookup {
        loop {
            match walk.next() {
                Found::Header(header) if header.last_offset < end => {
                    seen = seen.max(header.max_timestamp);
                    walk.skip(&header);
                }
                Found::Cut if walk.position() + HEADER_LEN as u64 <= segment.written => {
                    let query = TimestampQuery::Largest(seen);
                    return self.more_lookup(query, segment, &walk, 0);
                }
                Found::Header(_) | Found::Cut => {
                    return match self.plan_largest(seen, end) {
                        LookupPlan::Found(found) => FinishedLookup::Found(found),
                        LookupPlan::Disk(query, read) => FinishedLookup::More(query, read),
                    };
                }
                Found::Nonsense => return FinishedLookup::Corrupt,
            }
        }
    }

    fn more_lookup(
        &self,
        query: TimestampQuery,
        segment: &Segment,
        walk: &Walk,
        len: usize,
    ) -> FinishedLookup {
        let len = len.max(self.config.read_chunk_bytes as usize);
        match self.read_on_from(segment, walk, len) {
            Some(more) => FinishedLookup::More(query, more),
            None => FinishedLookup::Corrupt,
        }
    }

    /// Where to start the search for the first record at `timestamp` or later.
    fn plan_first(&self, timestamp: i64, end: Offset) -> LookupPlan {
        match self.plan_from(timestamp, self.log_start(), end) {
            Some(read) => LookupPlan::Disk(TimestampQuery::AtOrAfter(timestamp), read),
            None => LookupPlan::Found(None),
        }
    }

    /// Where to look for `timestamp` in the segments from `from` on.
    fn plan_from(&self, timestamp: i64, from: Offset, end: Offset) -> Option<DiskRead> {
        let first = self.segments.partition_point(|segment| segment.base < from);
        let mut segments = self.segments[first..].iter().take_while(|segment| segment.base < end);
        let segment = segments.find(|segment| segment.index.max_timestamp >= timestamp)?;
        let before = segment.index.before_time(timestamp);
        Some(self.plan_by_index(segment, before, self.config.read_chunk_bytes))
            .filter(|plan| plan.len > 0)
    }

    /// Where to look for the first record with the largest timestamp: the known one, or the one
    /// `seen` in the part that was not known.
    fn plan_largest(&self, seen: i64, end: Offset) -> LookupPlan {
        match self.largest_known(end).max(seen) {
            // Records without timestamps have no largest one.
            ..0 => LookupPlan::Found(None),
            largest => self.plan_first(largest, end),
        }
    }

    /// The last segment below `end`, if its largest timestamp lies at or beyond `end`.
    fn divided(&self, end: Offset) -> Option<&Segment> {
        let below = self.segments.partition_point(|segment| segment.base < end);
        let last = &self.segments[below.checked_sub(1)?];
        (last.index.max_offset >= end).then_some(last)
    }

    /// The largest timestamp below `end`, as far as known from indexes and the newest batches; -1
    /// if they have none.
    fn largest_known(&self, end: Offset) -> i64 {
        let divided = self.divided(end);
        let whole = self.segments.iter().take_while(|segment| segment.base < end);
        let whole = whole.filter(|segment| segment.index.max_offset < end);
        let whole = whole.map(|segment| segment.index.max_timestamp).max();
        let of_entry = divided.and_then(|segment| segment.index.before(end));
        let below = self.tail.iter().filter(|entry| {
            entry.next <= end && divided.is_some_and(|segment| segment.base == entry.segment)
        });
        let of_tail = below.map(|entry| entry.max_timestamp).max();
        let of_entry = of_entry.map(|entry| entry.max_timestamp);
        whole.max(of_entry).max(of_tail).unwrap_or(-1)
    }

    /// The read that is needed to know the largest timestamp below `end`: the batches between an
    /// index entry before it and the newest batches.
    fn plan_unknown(&self, end: Offset) -> Option<DiskRead> {
        let segment = self.divided(end)?;
        let entry = segment.index.before_largest(end);
        let known_to = entry.map_or(segment.base, |entry| entry.last_offset.next());
        let tail = self.tail.iter().next().map(|entry| entry.base);
        let unknown = tail.is_none_or(|tail| tail > known_to) && known_to < end;
        let plan =
            unknown.then(|| self.plan_by_index(segment, entry, self.config.read_chunk_bytes))?;
        (plan.len > 0).then_some(plan)
    }
}

/// The record found in the batch, which is at `plan`, or that the look-up rests; `None` if the
/// batch has no matching record.
fn rest_or_find(mut scan: Scan, plan: &DiskRead, budget: &mut usize) -> Option<FinishedLookup> {
    match scan.run(budget) {
        Ok(Scanned::Found(offset, timestamp)) => {
            let leader_epoch = scan.batch().leader_epoch;
            let hit = TimestampHit { offset, timestamp, leader_epoch };
            Some(FinishedLookup::Found(Some(hit)))
        }
        Ok(Scanned::None) => None,
        Ok(Scanned::Rests) => Some(FinishedLookup::Rests(RestingLookup(scan), *plan)),
        Err(_) => Some(FinishedLookup::Corrupt),
    }
}
