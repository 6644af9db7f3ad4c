//! Record batches of format v2: a 16-byte prefix that the leader stamps, and a body that nobody
//! re-encodes.
//!
//! The prefix (base offset, length, partition leader epoch) lies outside the CRC, which starts with
//! the attributes; so assigning offsets and epoch leaves the body as the producer sent it. Layout:
//! Kafka's `DefaultRecordBatch`.
//!
//! This module has the batch itself, and splits a buffer into batches. Records within a batch live
//! in `record`, the checks on a producer's batch in `verify`, building batches in `build`, the
//! codecs in [`crate::compression`].

mod build;
mod record;
mod scan;
mod verify;

#[cfg(test)]
mod scan_tests;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use bytes::{BufMut, Bytes, BytesMut};

pub use crate::compression::Compression;
pub use build::BatchBuilder;
pub use record::{DECOMPRESSED_LIMIT, Record};
pub(crate) use scan::{Scan, Scanned};
pub use verify::{Inspection, Refusal, VerifiedBatch};

use crate::codec::{DecodeError, Writer};
use crate::types::{LeaderEpoch, Offset};

/// Bytes of the prefix: base offset (8), length of the rest (4), partition leader epoch (4).
pub const PREFIX_LEN: usize = 16;
/// Bytes of the whole header, prefix included; the records follow.
pub const HEADER_LEN: usize = 61;
/// The format's version, the only one that is accepted.
pub const MAGIC: i8 = 2;

/// Bytes before what the length field counts: base offset and the length itself.
pub(crate) const LENGTH_OVERHEAD: usize = 12;

// Positions of the fields within the body.
const CRC_AT: usize = 1;
const ATTRIBUTES_AT: usize = 5;
const LAST_OFFSET_DELTA_AT: usize = 7;
const BASE_TIMESTAMP_AT: usize = 11;
const MAX_TIMESTAMP_AT: usize = 19;
const PRODUCER_ID_AT: usize = 27;
const PRODUCER_EPOCH_AT: usize = 35;
const BASE_SEQUENCE_AT: usize = 37;
const COUNT_AT: usize = 41;
const RECORDS_AT: usize = 45;

/// The first byte of a batch that its CRC covers.
pub(crate) const CRC_FROM: usize = PREFIX_LEN + ATTRIBUTES_AT;

// Bits of the attributes.
const COMPRESSION_MASK: i16 = 0x07;
const LOG_APPEND_TIME_BIT: i16 = 0x08;
const TRANSACTIONAL_BIT: i16 = 0x10;
const CONTROL_BIT: i16 = 0x20;

/// A whole batch. The body starts with the magic byte, which is [`MAGIC`], and is at least
/// `HEADER_LEN - PREFIX_LEN` bytes; the last offset delta is not negative and all offsets fit. No
/// constructor makes any other batch; the CRC is not part of this guarantee
/// ([`Batch::verify_crc`]).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// From the magic byte to the end.
    pub(crate) body: Bytes,
}

impl Batch {
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut array = [0; N];
        array.copy_from_slice(&self.body[at..at + N]);
        array
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        self.base_offset + i64::from(self.last_offset_delta())
    }

    /// The offset that the batch after this one starts with.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().next()
    }

    /// Bytes of the whole batch, prefix included.
    pub fn size_in_bytes(&self) -> usize {
        PREFIX_LEN + self.body.len()
    }

    /// The format's version; always [`MAGIC`].
    pub fn magic(&self) -> i8 {
        self.body[0] as i8
    }

    /// The CRC-32C that the batch carries; see [`Batch::verify_crc`].
    pub fn crc(&self) -> u32 {
        u32::from_be_bytes(self.array(CRC_AT))
    }

    /// The attribute bits.
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(self.array(ATTRIBUTES_AT))
    }

    /// How the records are compressed.
    ///
    /// # Errors
    /// If the attributes name a codec that Kafka does not have.
    pub fn compression(&self) -> Result<Compression, DecodeError> {
        Compression::from_id(self.attributes() & COMPRESSION_MASK)
            .ok_or(DecodeError::Invalid("the compression type"))
    }

    /// Whether its records are control records (transaction markers, leader changes).
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL_BIT != 0
    }

    /// Whether it is part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL_BIT != 0
    }

    /// Whether the records' timestamps are the time of the append, which is the max timestamp.
    pub fn has_log_append_time(&self) -> bool {
        self.attributes() & LOG_APPEND_TIME_BIT != 0
    }

    /// Last offset minus base offset; never negative.
    pub fn last_offset_delta(&self) -> i32 {
        i32::from_be_bytes(self.array(LAST_OFFSET_DELTA_AT))
    }

    /// The base that the records' timestamps are relative to, in ms since 1970.
    pub fn base_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.array(BASE_TIMESTAMP_AT))
    }

    /// The largest timestamp of its records, in ms since 1970.
    pub fn max_timestamp(&self) -> i64 {
        i64::from_be_bytes(self.array(MAX_TIMESTAMP_AT))
    }

    /// The idempotent producer's id, or -1.
    pub fn producer_id(&self) -> i64 {
        i64::from_be_bytes(self.array(PRODUCER_ID_AT))
    }

    /// The idempotent producer's epoch, or -1.
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(self.array(PRODUCER_EPOCH_AT))
    }

    /// Sequence number of the first record, or -1.
    pub fn base_sequence(&self) -> i32 {
        i32::from_be_bytes(self.array(BASE_SEQUENCE_AT))
    }

    /// The number of records according to the header. Not verified, and smaller than the last
    /// offset delta + 1 if the log was compacted.
    pub fn count(&self) -> i32 {
        i32::from_be_bytes(self.array(COUNT_AT))
    }

    /// From the magic byte to the end.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Base offset, length, leader epoch, as on disk and on the wire.
    pub fn prefix_bytes(&self) -> [u8; PREFIX_LEN] {
        let mut prefix = [0; PREFIX_LEN];
        prefix[..8].copy_from_slice(&self.base_offset.0.to_be_bytes());
        // A body came from a buffer whose length field was an i32, or from a builder that checked.
        let length = (self.body.len() + 4) as u32;
        prefix[8..12].copy_from_slice(&length.to_be_bytes());
        prefix[12..].copy_from_slice(&self.leader_epoch.0.to_be_bytes());
        prefix
    }

    /// Whether the CRC matches the bytes from the attributes on.
    pub fn verify_crc(&self) -> bool {
        self.crc() == crc32c::crc32c(&self.body[ATTRIBUTES_AT..])
    }

    /// Writes the whole batch.
    pub fn encode(&self, to: &mut Writer) {
        to.put(&self.prefix_bytes());
        to.put(&self.body);
    }

    /// The whole batch in one piece, as a Produce request carries it.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.size_in_bytes());
        bytes.put_slice(&self.prefix_bytes());
        bytes.put_slice(&self.body);
        bytes.freeze()
    }

    /// The same body with another base offset and leader epoch.
    ///
    /// # Panics
    /// If the batch's offsets would not fit in 63 bits: no log comes near that.
    pub fn with_prefix(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Batch {
        let batch = Batch { base_offset, leader_epoch, body: self.body.clone() };
        assert!(
            offsets_fit(base_offset.0, batch.last_offset_delta()),
            "offset {base_offset} is too large for a batch"
        );
        batch
    }

    /// The same batch with its own copy of the body, so that keeping it does not pin the buffer (a
    /// request, a read of a megabyte) that it is part of.
    pub fn detached(&self) -> Batch {
        Batch { body: Bytes::copy_from_slice(&self.body), ..*self }
    }

    /// Parses the first batch of `bytes`, and ignores any bytes after it.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if the bytes end inside it, [`DecodeError::Invalid`] if its
    /// length, magic or offsets are impossible.
    pub fn parse(bytes: &Bytes) -> Result<Batch, DecodeError> {
        let header = BatchHeader::parse(bytes)?;
        if bytes.len() < header.size {
            return Err(DecodeError::Truncated("a batch"));
        }
        let body = bytes.slice(PREFIX_LEN..header.size);
        Ok(Batch { base_offset: header.base_offset, leader_epoch: header.leader_epoch, body })
    }

    /// The body with other attributes and max timestamp, and the CRC that goes with them.
    fn restamped(&self, attributes: i16, max_timestamp: i64) -> Batch {
        let mut body = BytesMut::from(&self.body[..]);
        body[ATTRIBUTES_AT..][..2].copy_from_slice(&attributes.to_be_bytes());
        body[MAX_TIMESTAMP_AT..][..8].copy_from_slice(&max_timestamp.to_be_bytes());
        let crc = crc32c::crc32c(&body[ATTRIBUTES_AT..]);
        body[CRC_AT..][..4].copy_from_slice(&crc.to_be_bytes());
        Batch { body: body.freeze(), ..*self }
    }
}

/// The fields of a batch's first [`HEADER_LEN`] bytes that are needed to walk over a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Offset of the last record.
    pub last_offset: Offset,
    /// Epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// Bytes of the whole batch, at least [`HEADER_LEN`].
    pub size: usize,
    /// The largest timestamp of its records.
    pub max_timestamp: i64,
}

impl BatchHeader {
    /// The header of a whole batch.
    pub fn of(batch: &Batch) -> BatchHeader {
        BatchHeader {
            base_offset: batch.base_offset,
            last_offset: batch.last_offset(),
            leader_epoch: batch.leader_epoch,
            size: batch.size_in_bytes(),
            max_timestamp: batch.max_timestamp(),
        }
    }

    /// Reads the header at the front of `bytes`; the records need not be there.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`] if fewer than [`HEADER_LEN`] bytes are there (but an impossible
    /// length or magic is reported as soon as its bytes are there), [`DecodeError::Invalid`] if its
    /// length, magic or offsets are impossible.
    pub fn parse(bytes: &[u8]) -> Result<BatchHeader, DecodeError> {
        let Some(size) = batch_size(bytes)? else {
            return Err(DecodeError::Truncated("a batch header"));
        };
        if bytes.get(PREFIX_LEN).is_some_and(|magic| *magic as i8 != MAGIC) {
            return Err(DecodeError::Invalid("the magic of a batch"));
        }
        if bytes.len() < HEADER_LEN {
            return Err(DecodeError::Truncated("a batch header"));
        }
        let base_offset = i64::from_be_bytes(array(bytes, 0));
        let last_offset_delta = i32::from_be_bytes(array(bytes, PREFIX_LEN + LAST_OFFSET_DELTA_AT));
        if !offsets_fit(base_offset, last_offset_delta) {
            return Err(DecodeError::Invalid("the offsets of a batch"));
        }
        Ok(BatchHeader {
            base_offset: Offset(base_offset),
            last_offset: Offset(base_offset + i64::from(last_offset_delta)),
            leader_epoch: LeaderEpoch(i32::from_be_bytes(array(bytes, 12))),
            size,
            max_timestamp: i64::from_be_bytes(array(bytes, PREFIX_LEN + MAX_TIMESTAMP_AT)),
        })
    }
}

/// The CRC in the header at the front of `bytes`, which are at least [`HEADER_LEN`].
pub(crate) fn crc_of(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(array(bytes, PREFIX_LEN + CRC_AT))
}

/// Size in bytes of the batch that `bytes` starts with, by its length field; `None` if that field
/// is incomplete.
///
/// # Errors
/// If no batch can have that length.
pub fn batch_size(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    if bytes.len() < LENGTH_OVERHEAD {
        return Ok(None);
    }
    let length = i32::from_be_bytes(array(bytes, 8));
    match usize::try_from(length) {
        Ok(length) if length >= HEADER_LEN - LENGTH_OVERHEAD => Ok(Some(length + LENGTH_OVERHEAD)),
        Ok(_) | Err(_) => Err(DecodeError::Invalid("the length of a batch")),
    }
}

/// The batches of a fetch answer or of a part of a segment. An incomplete last batch is dropped, as
/// Kafka's consumers do: brokers may cut an answer at any byte.
///
/// # Errors
/// If a batch's length, magic or offsets are impossible. The caller checks the CRCs.
pub fn split(mut bytes: Bytes) -> Result<Vec<Batch>, DecodeError> {
    let mut batches = Vec::new();
    while let Some(size) = batch_size(&bytes)? {
        if bytes.len() < size {
            break;
        }
        batches.push(Batch::parse(&bytes)?);
        bytes = bytes.slice(size..);
    }
    Ok(batches)
}

/// Whether a batch can have these offsets, and be followed by another one.
fn offsets_fit(base_offset: i64, last_offset_delta: i32) -> bool {
    base_offset >= 0
        && last_offset_delta >= 0
        && base_offset.checked_add(i64::from(last_offset_delta) + 1).is_some()
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut array = [0; N];
    array.copy_from_slice(&bytes[at..at + N]);
    array
}
