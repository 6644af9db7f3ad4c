//! What one node's disk holds of one partition, batch by batch: in the page cache, on the media, or
//! taken away by the tank.
//!
//! Fed by the disk itself ([`DiskChange`](crate::disk::DiskChange)), never by what the broker says.
//! Only headers are decoded; a batch is identified by its offsets, epoch and CRC.

use crate::disk::SimDisk;
use crate::shared::Steady;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use wavetank_core::batch::HEADER_LEN;
use wavetank_core::env::FileKind;
use wavetank_core::types::Offset;

/// A batch's identity in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId {
    /// First offset.
    pub base: i64,
    /// Last offset.
    pub last: i64,
    /// Epoch of the leader that appended it.
    pub epoch: i32,
    /// CRC of the body, as the batch carries it.
    pub crc: u32,
}

impl BatchId {
    /// The offset after it.
    pub fn end(&self) -> i64 {
        self.last + 1
    }

    /// How many offsets it takes.
    pub fn records(&self) -> u64 {
        (self.end() - self.base).unsigned_abs()
    }
}

impl std::fmt::Display for BatchId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}..{} of epoch {} (crc {:08x})", self.base, self.end(), self.epoch, self.crc)
    }
}

/// A batch in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Held {
    id: BatchId,
    /// Base offset of the segment file.
    file: i64,
    /// First byte.
    from: u64,
    /// Byte after the last.
    to: u64,
}

/// One segment file, as far as it has been parsed.
#[derive(Clone, Debug, Default)]
struct Segment {
    /// Bytes below this are on the media, except what a failed sync dropped.
    synced: u64,
    /// Byte ranges that a failed sync marked clean without writing them.
    dropped: Vec<(u64, u64)>,
    /// Where the batch being parsed begins.
    start: u64,
    /// Its header so far.
    header: Vec<u8>,
    /// Bytes of its body still to come.
    rest: u64,
}

/// One replica. Batches are ordered by offset.
#[derive(Clone, Debug, Default)]
pub struct ReplicaLog {
    segments: BTreeMap<i64, Segment>,
    held: Steady<Held>,
    /// Batches that a fault of the tank took from the page cache or the media, and the ledger's
    /// tick then.
    lost: BTreeMap<BatchId, u64>,
    /// Batches that its process cut.
    cut: BTreeSet<BatchId>,
}

impl ReplicaLog {
    /// An empty replica.
    pub(super) const EMPTY: ReplicaLog = ReplicaLog {
        segments: BTreeMap::new(),
        held: Steady::new(),
        lost: BTreeMap::new(),
        cut: BTreeSet::new(),
    };

    /// The offset after the last batch, or 0 if there is none.
    pub fn end(&self) -> i64 {
        self.held.last().map_or(0, |held| held.id.end())
    }

    /// Does it hold exactly this batch?
    pub fn holds(&self, id: &BatchId) -> bool {
        self.find(id).is_some()
    }

    /// Does it hold exactly this batch on its media, safe from a power loss?
    pub fn holds_durably(&self, id: &BatchId) -> bool {
        self.find(id).is_some_and(|held| self.is_durable(held))
    }

    fn is_durable(&self, held: &Held) -> bool {
        let Some(segment) = self.segments.get(&held.file) else { return false };
        held.to <= segment.synced
            && !segment.dropped.iter().any(|(from, to)| *from < held.to && held.from < *to)
    }

    /// Did the tank take exactly this batch away?
    pub fn lost(&self, id: &BatchId) -> bool {
        self.lost.contains_key(id)
    }

    /// The ledger's tick at which the tank took exactly this batch away, if it did.
    pub(super) fn lost_at(&self, id: &BatchId) -> Option<u64> {
        self.lost.get(id).copied()
    }

    /// Has it ever held exactly this batch: does it hold it, or did it lose or cut it?
    pub(super) fn has_held(&self, id: &BatchId) -> bool {
        self.holds(id) || self.lost(id) || self.cut.contains(id)
    }

    /// The end of its contiguous batches from its start, which is where a recovery that checks each
    /// batch ends. A partly written batch does not count.
    pub fn whole_end(&self) -> i64 {
        let mut end = self.segments.first_key_value().map_or(0, |(base, _)| *base);
        for held in self.held.iter() {
            if held.id.base != end {
                break;
            }
            end = held.id.end();
        }
        end
    }

    /// Bytes of the batches up to [`ReplicaLog::whole_end`].
    pub fn whole_bytes(&self) -> u64 {
        let end = self.whole_end();
        let whole = self.held.iter().take_while(|held| held.id.base < end);
        whole.map(|held| held.to - held.from).sum()
    }

    /// The end, at most `to`, of the batches from `from` on that a power loss can take neither the
    /// content nor the file names of, in its directory `dir`.
    pub fn durable_end(&self, from: i64, to: i64, disk: &SimDisk, dir: &str) -> i64 {
        let first = self.held.partition_point(|held| held.id.end() <= from);
        let (mut end, mut named) = (from, None);
        for held in self.held.since(first) {
            let name = FileKind::Log(Offset(held.file));
            if named != Some(held.file) && disk.durable(dir, name).is_some() {
                named = Some(held.file);
            }
            if end >= to || held.id.base > end || named != Some(held.file) || !self.is_durable(held)
            {
                break;
            }
            end = held.id.end();
        }
        end.min(to)
    }

    /// The batches, in order.
    pub fn batches(&self) -> impl DoubleEndedIterator<Item = &BatchId> {
        self.held.iter().map(|held| &held.id)
    }

    /// The batches that begin in `from..to`, in order.
    pub fn between(&self, from: i64, to: i64) -> impl Iterator<Item = &BatchId> {
        let first = self.held.partition_point(|held| held.id.base < from);
        self.held.since(first).map(|held| &held.id).take_while(move |id| id.base < to)
    }

    /// The first of these batches, which are in order, that it does not hold (on its media, if
    /// `durably`). What the tank took away counts as held, unless `durably`.
    pub fn first_missing<'a>(
        &self,
        ids: impl Iterator<Item = &'a BatchId>,
        durably: bool,
    ) -> Option<BatchId> {
        let mut ids = ids.peekable();
        let first = ids.peek().map_or(0, |id| id.base);
        let mut at = self.held.partition_point(|held| held.id.base < first);
        for id in ids {
            while self.held.get(at).is_some_and(|held| held.id.base < id.base) {
                at += 1;
            }
            let held = self.held.get(at).filter(|held| held.id == *id);
            let holds = match held {
                Some(held) => !durably || self.is_durable(held),
                None => !durably && self.lost(id),
            };
            if !holds {
                return Some(*id);
            }
        }
        None
    }

    /// The bytes of a batch. Empty if it does not hold the batch.
    pub fn read(&self, id: &BatchId, disk: &SimDisk, dir: &str) -> Bytes {
        let Some(held) = self.find(id) else { return Bytes::new() };
        let file = disk.visible(dir, FileKind::Log(Offset(held.file)));
        file.map_or(Bytes::new(), |content| content.read(held.from, held.to - held.from))
    }

    /// Is any of it not on the media?
    pub fn has_unsynced(&self) -> bool {
        self.held.last().is_some_and(|held| {
            self.segments.get(&held.file).is_none_or(|segment| segment.synced < held.to)
        })
    }

    fn find(&self, id: &BatchId) -> Option<&Held> {
        let at = self.held.partition_point(|held| held.id.base < id.base);
        self.held.get(at).filter(|held| held.id == *id)
    }

    /// A segment was created, empty.
    pub(super) fn created(&mut self, file: i64) -> Vec<BatchId> {
        let cut = self.removed(file);
        self.segments.insert(file, Segment::default());
        cut
    }

    /// Bytes reached the page cache.
    pub(super) fn appended(&mut self, file: i64, at: u64, bytes: &[Bytes]) {
        let ReplicaLog { segments, held, lost, cut } = self;
        let segment = segments.entry(file).or_default();
        if segment.header.is_empty() && segment.rest == 0 {
            segment.start = at;
        }
        for part in bytes {
            let mut part = &part[..];
            while !part.is_empty() {
                if segment.rest > 0 {
                    let taken = segment.rest.min(part.len() as u64);
                    segment.rest -= taken;
                    part = &part[taken as usize..];
                } else {
                    let wanted = HEADER_LEN - segment.header.len();
                    let taken = wanted.min(part.len());
                    segment.header.extend_from_slice(&part[..taken]);
                    part = &part[taken..];
                    if segment.header.len() < HEADER_LEN {
                        continue;
                    }
                    segment.rest = size_in_header(&segment.header) - HEADER_LEN as u64;
                }
                if segment.rest == 0 && segment.header.len() == HEADER_LEN {
                    let id = id_in_header(&segment.header);
                    let to = segment.start + size_in_header(&segment.header);
                    // A batch that is written again is no longer lost.
                    lost.remove(&id);
                    cut.remove(&id);
                    held.push(Held { id, file, from: segment.start, to });
                    segment.header.clear();
                    segment.start = to;
                }
            }
        }
    }

    /// A segment was truncated. Returns the batches that were cut.
    pub(super) fn truncated(&mut self, file: i64, to: u64) -> Vec<BatchId> {
        let cut = self.drop_where(|held| held.file == file && held.to > to);
        let segment = self.segments.entry(file).or_default();
        segment.synced = segment.synced.min(to);
        for range in &mut segment.dropped {
            range.1 = range.1.min(to);
        }
        segment.dropped.retain(|(from, to)| from < to);
        segment.header.clear();
        segment.rest = 0;
        segment.start = to;
        cut
    }

    /// A segment was removed. Returns its batches.
    pub(super) fn removed(&mut self, file: i64) -> Vec<BatchId> {
        self.segments.remove(&file);
        self.drop_where(|held| held.file == file)
    }

    /// Everything was removed. Returns all batches.
    pub(super) fn cleared(&mut self) -> Vec<BatchId> {
        self.segments.clear();
        self.drop_where(|_| true)
    }

    fn drop_where(&mut self, gone: impl Fn(&Held) -> bool) -> Vec<BatchId> {
        let Some(first) = self.held.iter().position(&gone) else { return Vec::new() };
        let (cut, kept): (Vec<Held>, Vec<Held>) =
            self.held.split_off(first).into_iter().partition(&gone);
        self.held.extend(kept);
        let cut: Vec<BatchId> = cut.iter().map(|held| held.id).collect();
        self.cut.extend(&cut);
        cut
    }

    pub(super) fn synced(&mut self, file: i64, upto: u64) {
        let segment = self.segments.entry(file).or_default();
        segment.synced = segment.synced.max(upto);
    }

    pub(super) fn sync_failed(&mut self, file: i64, from: u64, to: u64) {
        self.segments.entry(file).or_default().dropped.push((from, to));
    }

    /// A fault changed the files. Reads them all again, as a recovery would. The tank took what is
    /// missing now, at this tick.
    pub(super) fn rescan(&mut self, disk: &SimDisk, dir: &str, tick: u64) -> usize {
        let before: Vec<BatchId> = self.held.iter().map(|held| held.id).collect();
        self.held.truncate(0);
        self.segments.clear();
        let mut whole = true;
        let (mut next, mut epoch) = (None, i32::MIN);
        for (kind, _) in disk.files(dir) {
            let FileKind::Log(Offset(file)) = kind else { continue };
            let Some(content) = disk.visible(dir, kind) else { continue };
            let bytes = content.to_bytes();
            let mut segment = Segment { synced: bytes.len() as u64, ..Segment::default() };
            let mut at = 0;
            while whole && let Some((id, size)) = sound_batch(&bytes[at..]) {
                // If a truncation was lost, old batches may follow new ones.
                if next.is_some_and(|next| next != id.base) || id.epoch < epoch {
                    whole = false;
                    break;
                }
                (next, epoch) = (Some(id.end()), id.epoch);
                let (from, to) = (at as u64, (at + size) as u64);
                self.held.push(Held { id, file, from, to });
                at += size;
            }
            // Nothing after a tear counts, because recovery cuts there.
            whole &= at == bytes.len();
            segment.start = at as u64;
            self.segments.insert(file, segment);
        }
        let mut taken = 0;
        for id in before {
            if !self.holds(&id) {
                self.lost.insert(id, tick);
                taken += 1;
            }
        }
        taken
    }
}

/// Size of the whole batch, at least that of the header.
fn size_in_header(header: &[u8]) -> u64 {
    let length = i32::from_be_bytes(header[8..12].try_into().expect("four bytes"));
    u64::try_from(length).unwrap_or(0).saturating_add(12).max(HEADER_LEN as u64)
}

fn id_in_header(header: &[u8]) -> BatchId {
    let base = i64::from_be_bytes(header[..8].try_into().expect("eight bytes"));
    let epoch = i32::from_be_bytes(header[12..16].try_into().expect("four bytes"));
    let crc = u32::from_be_bytes(header[17..21].try_into().expect("four bytes"));
    let delta = i32::from_be_bytes(header[23..27].try_into().expect("four bytes"));
    BatchId { base, last: base.saturating_add(i64::from(delta)), epoch, crc }
}

/// The first batch and its size, if it is whole and its CRC is valid.
fn sound_batch(bytes: &[u8]) -> Option<(BatchId, usize)> {
    let header = bytes.get(..HEADER_LEN)?;
    let size = usize::try_from(size_in_header(header)).ok()?;
    let batch = bytes.get(..size)?;
    let id = id_in_header(header);
    let sound = header[16] == 2 && id.last >= id.base && crc32c::crc32c(&batch[21..]) == id.crc;
    sound.then_some((id, size))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use wavetank_core::env::{DiskOp, FileId};
    use wavetank_core::types::{DirId, NodeId};

    /// A batch of `count` records that differ by `salt`.
    pub(crate) fn batch(base: i64, count: i32, epoch: i32, salt: u8) -> Bytes {
        let mut bytes = vec![salt; HEADER_LEN + 40];
        let length = (bytes.len() - 12) as i32;
        bytes[..8].copy_from_slice(&base.to_be_bytes());
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        bytes[12..16].copy_from_slice(&epoch.to_be_bytes());
        bytes[16] = 2;
        bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes.into()
    }

    pub(crate) fn id(bytes: &[u8]) -> BatchId {
        sound_batch(bytes).expect("a sound batch").0
    }

    #[test]
    fn batches_are_found_however_the_bytes_are_cut() {
        let (a, b) = (batch(0, 3, 0, 1), batch(3, 1, 0, 2));
        let all: Vec<u8> = a.iter().chain(b.iter()).copied().collect();
        for step in [1, 7, 61, 100, 1000] {
            let mut log = ReplicaLog::default();
            let mut at = 0;
            for part in all.chunks(step) {
                log.appended(0, at, &[Bytes::copy_from_slice(part)]);
                at += part.len() as u64;
            }
            assert_eq!(log.batches().copied().collect::<Vec<_>>(), [id(&a), id(&b)]);
            assert_eq!(log.end(), 4);
            assert_eq!(log.between(1, 9).count(), 1);
        }
    }

    #[test]
    fn only_what_was_synced_is_durable() {
        let (a, b) = (batch(0, 1, 0, 1), batch(1, 1, 0, 2));
        let mut log = ReplicaLog::default();
        log.appended(0, 0, &[a.clone(), b.clone()]);
        assert!(log.holds(&id(&a)) && !log.holds_durably(&id(&a)) && log.has_unsynced());
        log.synced(0, a.len() as u64);
        assert!(log.holds_durably(&id(&a)) && !log.holds_durably(&id(&b)));
        log.sync_failed(0, a.len() as u64, (a.len() + b.len()) as u64);
        log.synced(0, (a.len() + b.len()) as u64);
        assert!(!log.holds_durably(&id(&b)), "the pages were dropped");
    }

    #[test]
    fn whole_batches_end_at_the_first_gap() {
        let (a, b, c) = (batch(0, 3, 0, 1), batch(3, 1, 0, 2), batch(7, 1, 0, 3));
        let mut log = ReplicaLog::default();
        assert_eq!(log.whole_end(), 0);
        log.appended(0, 0, &[a.clone(), b.slice(..b.len() - 1)]);
        assert_eq!(log.whole_end(), 3, "of the second a byte is missing");
        log.appended(0, (a.len() + b.len()) as u64 - 1, &[b.slice(b.len() - 1..)]);
        log.appended(7, 0, &[c]);
        assert_eq!((log.whole_end(), log.end()), (4, 8), "between 4 and 7 there is nothing");
        log.removed(0);
        log.created(9);
        log.removed(7);
        assert_eq!(log.whole_end(), 9, "a log that starts anew");
    }

    #[test]
    fn a_log_is_durable_up_to_the_first_batch_that_is_not() {
        let dice = crate::decide::Dice::new(1);
        let place = dice.place(crate::decide::Purpose::DiskLatency);
        let mut disk = SimDisk::new(NodeId(1), place, crate::disk::DiskConfig::default());
        let (a, b, c) = (batch(0, 3, 0, 1), batch(3, 1, 0, 2), batch(4, 1, 0, 3));
        let mut log = ReplicaLog::default();
        log.appended(0, 0, &[a.clone(), b.clone(), c]);
        log.synced(0, (a.len() + b.len()) as u64);
        assert_eq!(log.durable_end(0, 9, &disk, "events-0"), 0, "its file has no name");
        let (dir, kind) = (DirId(2), FileKind::Log(Offset(0)));
        let mut out = crate::disk::Outcome::default();
        for op in [
            DiskOp::OpenDir { dir, name: "events-0".to_owned() },
            DiskOp::Create { file: FileId { dir, kind }, generation: 0 },
            DiskOp::SyncDir { dir, by: kind, serial: 0 },
        ] {
            disk.submit(0, op, &dice, &mut out);
        }
        disk.process_exit(&dice, &mut out);
        let durable = |from: i64, to: i64| log.durable_end(from, to, &disk, "events-0");
        assert_eq!([durable(0, 9), durable(0, 3), durable(3, 9), durable(4, 9)], [4, 3, 4, 4]);
    }

    #[test]
    fn a_cut_takes_what_it_touches() {
        let (a, b) = (batch(0, 1, 0, 1), batch(1, 1, 0, 2));
        let mut log = ReplicaLog::default();
        log.appended(0, 0, &[a.clone(), b.clone()]);
        assert_eq!(log.truncated(0, a.len() as u64 + 5), [id(&b)]);
        assert!(!log.holds(&id(&b)) && !log.lost(&id(&b)), "the broker cut it, not the tank");
        let c = batch(1, 1, 1, 3);
        log.truncated(0, a.len() as u64);
        log.appended(0, a.len() as u64, std::slice::from_ref(&c));
        assert!(log.holds(&id(&c)));
    }
}
