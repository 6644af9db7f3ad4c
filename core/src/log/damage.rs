//! Damage: what is on disk and cannot have come from a write that a crash cut short.
//!
//! Recovery must tell a torn tail, which it cuts, from damage, which it must not: cutting at a bad byte
//! throws away all that follows, and other replicas may rely on it. What proves damage:
//!
//! - it lies below the recovery point, or below the end after a clean stop: that was durable;
//! - the machine has not gone down since ([`RecoveryHint::same_boot`](super::RecoveryHint)). Then
//!   nothing that was written is lost, and the last write alone may be the beginning of what it should
//!   be. A batch that is all there and wrong, one with whole batches after it, and a missing segment
//!   before others are damage.
//!
//! After a power loss neither holds above the recovery point: of what was not synced any part may be
//! there. What is bad there is cut, with a note of the offsets. The recovery point is written soon
//! after it moved (`MARK_EVERY` of the broker), so that little is above it which was synced.
//!
//! A replica that cut may have lost what it acknowledged. It is a new incarnation then, and a new
//! incarnation leaves every ISR that has another member, whatever it says of its last stop
//! (`crate::controller`, `brokers`): it neither counts nor leads by what it had before it has fetched
//! that again. As the last member it stays and may lead: nobody else has more. (For a voter see
//! [`Quorum::start_from`](crate::quorum::Quorum::start_from).)
//!
//! What it looks like is decided in `recovery`; here are the words and the search.

use bytes::Bytes;
use core::fmt;

use crate::batch::{Batch, BatchHeader, HEADER_LEN};
use crate::env::FileKind;
use crate::types::Offset;

/// Where a batch has its format version.
const MAGIC_AT: usize = 16;
/// The only one in these logs.
const MAGIC: u8 = 2;
/// Batches that claim to be larger are not looked into, bytes.
const LARGEST: usize = 16 << 20;

/// A log's damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Damage {
    /// In which of the log's files.
    pub file: FileKind,
    /// From which byte on.
    pub position: u64,
    /// The offset that should be there.
    pub offset: Offset,
    /// What is wrong, in words that follow the file's name.
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, position, offset, what } = self;
        write!(f, "{} {what} (byte {position}, where offset {offset} should be)", file.name())
    }
}

/// What a search for batches finds in some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// A whole one that is valid.
    Batch,
    /// What may be one starts here, but so many bytes are needed to tell.
    Need(usize, usize),
    Nothing,
}

/// Looks for a valid batch that may follow `end` in the segment of this base, at any byte from `from`
/// on. `left` is how many bytes the file has from the first of these on.
pub(super) fn find_batch(
    bytes: &Bytes,
    from: usize,
    base: Offset,
    end: Offset,
    left: u64,
) -> Sight {
    let starts = from..(bytes.len() + 1).saturating_sub(HEADER_LEN);
    for at in starts.filter(|at| bytes[at + MAGIC_AT] == MAGIC) {
        let rest = bytes.slice(at..);
        let Ok(header) = BatchHeader::parse(&rest) else { continue };
        let fits = header.base_offset >= end
            && header.last_offset - base <= i64::from(i32::MAX)
            && header.leader_epoch.0 >= 0
            && header.size <= LARGEST
            && header.size as u64 <= left - at as u64;
        if !fits {
            continue;
        }
        if rest.len() < header.size {
            return Sight::Need(at, header.size);
        }
        if Batch::parse(&rest).is_ok_and(|batch| batch.verify_crc()) {
            return Sight::Batch;
        }
    }
    Sight::Nothing
}
