//! Record batches of format v2: a 16-byte prefix that the leader stamps, and a body that nobody
//! re-encodes.
//!
//! The prefix (base offset, length, partition leader epoch) lies outside the CRC, which starts with
//! the attributes; so assigning offsets and epoch leaves the body as the producer sent it. Layout:
//! Kafka's `DefaultRecordBatch`.

use bytes::Bytes;

use crate::types::{LeaderEpoch, Offset};

/// Bytes of the prefix: base offset (8), length of the rest (4), partition leader epoch (4).
pub const PREFIX_LEN: usize = 16;
/// Bytes of the whole header, prefix included; the records follow.
pub const HEADER_LEN: usize = 61;

/// A whole batch. The body starts with the magic byte and is at least `HEADER_LEN - PREFIX_LEN`
/// bytes: no constructor makes a shorter one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Batch {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Epoch of the leader that appended it.
    pub leader_epoch: LeaderEpoch,
    /// From the magic byte to the end.
    pub(crate) body: Bytes,
}
