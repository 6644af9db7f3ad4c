//! Damage: what is on disk and cannot have come from a write that a crash cut short.
//!
//! Recovery must tell a torn tail, which it cuts, from damage, which it must not: cutting at a bad byte
//! throws away all that follows, and other replicas may rely on it. What proves damage:
//!
//! - it lies below the recovery point, or below the end after a clean stop: that was durable;
//! - the machine has not gone down since ([`RecoveryHint::same_boot`](super::RecoveryHint)). Then
//!   nothing that was written is lost, and the last write alone may be the beginning of what it should
//!   be. A batch that is all there and wrong, also in its length ([`TrueEnd`]), and a missing segment
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

use core::fmt;

use crate::batch::{BatchHeader, CRC_FROM, MAGIC, PREFIX_LEN, crc_of};
use crate::env::FileKind;
use crate::types::Offset;

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

/// The search for the end of a batch whose length says that it goes on beyond the file.
///
/// Either the write of it was cut short, or its length is damaged. A producer chooses what is in its
/// records, so whole batches that lie further on prove nothing: they may lie within it. But the CRC
/// does not cover the length. If the batch ends where the file does, or where one follows that
/// continues it, its CRC says so, and then the length is what is wrong. (A producer that knows its
/// offsets can make a batch whose beginning has the CRC of the whole. A node that was killed while
/// it wrote that one does not start, and nothing is lost.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TrueEnd {
    /// What the header says of it.
    pub(super) claim: BatchHeader,
    crc: u32,
    /// The CRC of what was looked at, which is what lies before byte `at` of the file.
    seen: u32,
    at: u64,
}

/// What tells a batch that follows: its base offset, and the magic at its place.
const TOLD_BY: usize = PREFIX_LEN + 1;

impl TrueEnd {
    /// Of the batch whose header is at the front of `bytes`, and at byte `position` of the file.
    pub(super) fn of(bytes: &[u8], position: u64) -> Option<TrueEnd> {
        let claim = BatchHeader::parse(bytes).ok()?;
        let at = position + CRC_FROM as u64;
        Some(TrueEnd { claim, crc: crc_of(bytes), seen: 0, at })
    }

    /// From which byte of the file on it looks next.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Looks at the bytes from there on. `last`: the file ends with them. Whether the end is found;
    /// if not, and they are not the last, it has to look on.
    pub(super) fn look(&mut self, bytes: &[u8], last: bool) -> bool {
        let next = self.claim.last_offset.next().0.to_be_bytes();
        let mut done = 0;
        for (start, told_by) in bytes.windows(TOLD_BY).enumerate() {
            if told_by[PREFIX_LEN] == MAGIC as u8 && told_by.starts_with(&next) {
                self.seen = crc32c::crc32c_append(self.seen, &bytes[done..start]);
                done = start;
                if self.seen == self.crc {
                    return true;
                }
            }
        }
        let upto = if last { bytes.len() } else { (bytes.len() + 1).saturating_sub(TOLD_BY) };
        self.seen = crc32c::crc32c_append(self.seen, &bytes[done..upto.max(done)]);
        self.at += upto as u64;
        last && self.seen == self.crc
    }
}
