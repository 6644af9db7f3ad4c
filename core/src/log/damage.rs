//! Damage: data on disk that cannot come from a write that a crash cut short.
//!
//! Recovery must distinguish a torn tail, which it cuts, from damage, which it must not cut:
//! cutting at a bad byte throws away everything after it, and other replicas may rely on that. Two
//! cases prove damage:
//!
//! - the bad data lies below the recovery point, or below the end after a clean stop: it was
//!   durable;
//! - the machine has not gone down since ([`RecoveryHint::same_boot`](super::RecoveryHint)). Then
//!   no written data is lost, and only the last write may be incomplete. A complete batch that is
//!   wrong, even in its length ([`TrueEnd`]), and a missing segment before others are damage.
//!
//! After a power loss neither case applies above the recovery point: any part of the unsynced data
//! may be there. Bad data there is cut, with a note of the offsets. The recovery point is written
//! soon after it moves (`MARK_EVERY` of the broker), so that little synced data lies above it.
//!
//! A replica that cut its log may have lost records that it acknowledged. It is then a new
//! incarnation, and a new incarnation leaves every ISR that has another member, whatever it reports
//! of its last stop (`crate::controller`, `brokers`): it neither counts nor leads by its earlier
//! records until it has fetched them again. As the last member it stays and may lead: nobody else
//! has more. (For a voter see [`Quorum::start_from`](crate::quorum::Quorum::start_from).)
//!
//! `recovery` decides what counts as damage; this module has its description and the search.

use core::fmt;

use crate::batch::{BatchHeader, CRC_FROM, MAGIC, PREFIX_LEN, crc_of};
use crate::env::FileKind;
use crate::types::Offset;

/// A log's damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Damage {
    /// The damaged file of the log.
    pub file: FileKind,
    /// The first bad byte.
    pub position: u64,
    /// The offset that should be there.
    pub offset: Offset,
    /// What is wrong, worded to follow the file's name.
    pub what: &'static str,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Damage { file, position, offset, what } = self;
        write!(f, "{} {what} (byte {position}, where offset {offset} should be)", file.name())
    }
}

/// The search for the end of a batch whose length field reaches beyond the end of the file.
///
/// Either its write was cut short, or its length is damaged. Producers choose the content of their
/// records, so whole batches further on prove nothing: they may lie within this batch. But the CRC
/// does not cover the length. If the batch really ends at the end of the file, or where a batch
/// follows that continues it, the CRC matches there, and then the length is wrong. (A producer that
/// knows its offsets can craft a batch whose beginning has the CRC of the whole. A node killed
/// while writing that batch does not start again, and nothing is lost.)
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct TrueEnd {
    /// The batch's header, as found.
    pub(super) claim: BatchHeader,
    crc: u32,
    /// The CRC of the bytes searched so far, which are those before byte `at` of the file.
    seen: u32,
    at: u64,
}

/// The bytes that identify a following batch: from its base offset to its magic byte.
const TOLD_BY: usize = PREFIX_LEN + 1;

impl TrueEnd {
    /// For the batch whose header is at the front of `bytes`, and at byte `position` of the file.
    pub(super) fn of(bytes: &[u8], position: u64) -> Option<TrueEnd> {
        let claim = BatchHeader::parse(bytes).ok()?;
        let at = position + CRC_FROM as u64;
        Some(TrueEnd { claim, crc: crc_of(bytes), seen: 0, at })
    }

    /// The byte of the file at which the search goes on.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Searches the bytes from there on; `last` if the file ends with them. Returns whether the end
    /// was found. If not, and they are not the last, the search has to go on.
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
