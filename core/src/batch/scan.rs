//! Finds the first record of a batch with a timestamp or a later one, in pieces. The scan stops at
//! that record, keeps nothing of the records before it, and may rest after any piece.

use alloc::vec::Vec;

use super::record::{MOST_OF_HEAD, head};
use super::{Batch, DECOMPRESSED_LIMIT, RECORDS_AT};
use crate::codec::DecodeError;
use crate::compression::Stream;
use crate::types::Offset;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scan {
    batch: Batch,
    wanted: i64,
    stream: Stream,
    /// Records that have not begun yet.
    left: i32,
    /// The first bytes of a record whose head goes on in the next piece.
    begun: Vec<u8>,
    /// Bytes to the next record.
    skip: usize,
}

/// The state of a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scanned {
    /// The offset and the timestamp of the first record.
    Found(Offset, i64),
    /// The batch has no such record.
    None,
    /// The budget is used up, and the scan is not finished.
    Rests,
}

impl Scan {
    /// Scans this batch, whose CRC is right.
    pub(crate) fn new(batch: Batch, wanted: i64) -> Result<Scan, DecodeError> {
        let records = batch.body.slice(RECORDS_AT..);
        let stream = Stream::new(batch.compression()?, records, DECOMPRESSED_LIMIT)?;
        let left = batch.count();
        Ok(Scan { batch, wanted, stream, left, begun: Vec::new(), skip: 0 })
    }

    /// The timestamp that is looked for.
    pub(crate) fn wanted(&self) -> i64 {
        self.wanted
    }

    /// The batch.
    pub(crate) fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Goes on while some of `budget`, in plain bytes, is left.
    pub(crate) fn run(&mut self, budget: &mut usize) -> Result<Scanned, DecodeError> {
        while *budget > 0 {
            let Some(piece) = self.stream.next()? else {
                let is_whole = self.left == 0 && self.skip == 0 && self.begun.is_empty();
                let ended = is_whole.then_some(Scanned::None);
                return ended.ok_or(DecodeError::Truncated("the records of a batch"));
            };
            *budget = budget.saturating_sub(piece.work.max(1));
            if let Some((offset, timestamp)) = self.look(&piece.bytes)? {
                return Ok(Scanned::Found(offset, timestamp));
            }
        }
        Ok(Scanned::Rests)
    }

    fn look(&mut self, mut piece: &[u8]) -> Result<Option<(Offset, i64)>, DecodeError> {
        loop {
            let skipped = self.skip.min(piece.len());
            self.skip -= skipped;
            piece = &piece[skipped..];
            if piece.is_empty() {
                return Ok(None);
            }
            if self.left == 0 {
                return Err(DecodeError::Trailing(piece.len()));
            }
            let begun = self.begun.len();
            let more = piece.len().min(MOST_OF_HEAD.saturating_sub(begun));
            let mut bytes = core::mem::take(&mut self.begun);
            bytes.extend_from_slice(&piece[..more]);
            match head(&self.batch, &bytes) {
                Ok(head) if head.timestamp >= self.wanted => {
                    return Ok(Some((head.offset, head.timestamp)));
                }
                Ok(head) => {
                    self.left -= 1;
                    self.skip = head.size - begun;
                }
                // The whole piece was taken, and is not enough.
                Err(DecodeError::Truncated(_)) if more == piece.len() => {
                    self.begun = bytes;
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }
}
