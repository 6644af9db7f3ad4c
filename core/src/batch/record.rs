//! Records within a batch: Kafka's `DefaultRecord`, read with every length bounded by the available
//! bytes.

use alloc::vec::Vec;
use bytes::Bytes;

use super::{Batch, RECORDS_AT};
use crate::codec::DecodeError;
use crate::compression::{self, Compression, TOO_LARGE};
use crate::types::Offset;

/// The most bytes that one batch's records may decompress to. Kafka has no such bound; without one
/// a kilobyte sent to a broker could make it allocate gigabytes.
pub const DECOMPRESSED_LIMIT: usize = 64 << 20;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its offset.
    pub offset: Offset,
    /// Milliseconds since 1970, or -1: the producer's time or the time of the append, depending on
    /// the batch.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, in order and with duplicates (KIP-82).
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// The smallest size of a record in bytes: six lengths and deltas of one byte, and its attributes.
const LEAST_RECORD: usize = 7;

impl Batch {
    /// Its records, decompressed. Their bytes share one buffer: the batch's own, or the
    /// decompressed one.
    ///
    /// # Errors
    /// If the bytes are not as many whole records as the header says, if an offset lies outside the
    /// batch or not after the previous one, or if they do not decompress to at most
    /// [`DECOMPRESSED_LIMIT`] bytes.
    pub fn records(&self) -> Result<Vec<Record>, DecodeError> {
        let plain = self.plain(DECOMPRESSED_LIMIT)?;
        let mut records = Vec::with_capacity(self.count().clamp(0, 1024) as usize);
        for view in self.walk(&plain)? {
            records.push(view?.record(&plain)?);
        }
        Ok(records)
    }

    /// The bytes of its records, decompressed; for [`Batch::walk`].
    ///
    /// # Errors
    /// [`TOO_LARGE`] if they decompress to more than `limit` bytes. If the header counts more
    /// records than fit in that many bytes, this is known before anything is decompressed.
    pub(crate) fn plain(&self, limit: usize) -> Result<Bytes, DecodeError> {
        let compressed = self.body.slice(RECORDS_AT..);
        match self.compression()? {
            Compression::None => Ok(compressed),
            _ if i64::from(self.count()) > (limit / LEAST_RECORD) as i64 => Err(TOO_LARGE),
            codec => compression::decompress(codec, &compressed, limit).map(Bytes::from),
        }
    }

    /// Its records one after the other, without a copy: `plain` is the result of [`Batch::plain`].
    ///
    /// # Errors
    /// If `plain` cannot hold as many records as the header says. The iterator ends with an error
    /// if the bytes are not whole records in order, or if more bytes follow.
    pub(crate) fn walk<'a>(&'a self, plain: &'a [u8]) -> Result<Walk<'a>, DecodeError> {
        let left = usize::try_from(self.count())
            .map_err(|_| DecodeError::Invalid("the record count of a batch"))?;
        if left > plain.len() / LEAST_RECORD {
            return Err(DecodeError::Truncated("the records of a batch"));
        }
        Ok(Walk { batch: self, rest: plain, left, last_delta: -1 })
    }
}

/// A record in place: its values, and slices of its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordView<'a> {
    pub(crate) offset: Offset,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    /// The bytes of all headers, checked to be complete.
    headers: &'a [u8],
    header_count: usize,
}

impl RecordView<'_> {
    /// The record, whose bytes are shared with `plain`, which contains them.
    fn record(&self, plain: &Bytes) -> Result<Record, DecodeError> {
        let share = |bytes: &[u8]| plain.slice_ref(bytes);
        let mut headers = Vec::with_capacity(self.header_count.min(64));
        let mut rest = self.headers;
        for _ in 0..self.header_count {
            let key = nullable(&mut rest)?.ok_or(DecodeError::Invalid("a null header key"))?;
            headers.push((share(key), nullable(&mut rest)?.map(share)));
        }
        let (key, value) = (self.key.map(share), self.value.map(share));
        Ok(Record { offset: self.offset, timestamp: self.timestamp, key, value, headers })
    }
}

/// See [`Batch::walk`].
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    batch: &'a Batch,
    rest: &'a [u8],
    left: usize,
    last_delta: i32,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<RecordView<'a>, DecodeError>;

    fn next(&mut self) -> Option<Result<RecordView<'a>, DecodeError>> {
        if self.left == 0 {
            let over = core::mem::take(&mut self.rest).len();
            return (over > 0).then_some(Err(DecodeError::Trailing(over)));
        }
        let view = self.view();
        self.left -= 1;
        if view.is_err() {
            (self.left, self.rest) = (0, &[]);
        }
        Some(view)
    }
}

impl<'a> Walk<'a> {
    fn view(&mut self) -> Result<RecordView<'a>, DecodeError> {
        let length = usize::try_from(varint(&mut self.rest)?)
            .map_err(|_| DecodeError::Invalid("the length of a record"))?;
        let mut rest = take(&mut self.rest, length)?;
        // Record attributes: unused in v2.
        take(&mut rest, 1)?;
        let timestamp_delta = varlong(&mut rest)?;
        let delta = varint(&mut rest)?;
        if !(0..=self.batch.last_offset_delta()).contains(&delta) {
            return Err(DecodeError::Invalid("the offset of a record"));
        }
        if delta <= self.last_delta {
            return Err(DecodeError::Invalid("the order of record offsets"));
        }
        self.last_delta = delta;
        let timestamp = timestamp_of(self.batch, timestamp_delta)?;
        let key = nullable(&mut rest)?;
        let value = nullable(&mut rest)?;
        let header_count = usize::try_from(varint(&mut rest)?)
            .map_err(|_| DecodeError::Invalid("the header count of a record"))?;
        // The smallest header takes two bytes.
        if header_count > rest.len() / 2 {
            return Err(DecodeError::Truncated("the headers of a record"));
        }
        let headers = rest;
        for _ in 0..header_count {
            nullable(&mut rest)?.ok_or(DecodeError::Invalid("a null header key"))?;
            nullable(&mut rest)?;
        }
        if !rest.is_empty() {
            return Err(DecodeError::Trailing(rest.len()));
        }
        let offset = self.batch.base_offset + i64::from(delta);
        Ok(RecordView { offset, timestamp, key, value, headers, header_count })
    }
}

/// The fields in the first bytes of a record.
pub(super) struct Head {
    pub(super) offset: Offset,
    pub(super) timestamp: i64,
    /// Bytes of the whole record.
    pub(super) size: usize,
}

/// Bytes that are enough for [`head`]: its length, attributes, and two deltas.
pub(super) const MOST_OF_HEAD: usize = 5 + 1 + 10 + 5;

/// The head of the record that `bytes` begin with. The rest of the record is not inspected.
pub(super) fn head(batch: &Batch, mut bytes: &[u8]) -> Result<Head, DecodeError> {
    let all = bytes.len();
    let length = usize::try_from(varint(&mut bytes)?)
        .map_err(|_| DecodeError::Invalid("the length of a record"))?;
    let size = all - bytes.len() + length;
    take(&mut bytes, 1)?;
    let timestamp_delta = varlong(&mut bytes)?;
    let delta = varint(&mut bytes)?;
    if all - bytes.len() > size {
        return Err(DecodeError::Invalid("the length of a record"));
    }
    if !(0..=batch.last_offset_delta()).contains(&delta) {
        return Err(DecodeError::Invalid("the offset of a record"));
    }
    let timestamp = timestamp_of(batch, timestamp_delta)?;
    Ok(Head { offset: batch.base_offset + i64::from(delta), timestamp, size })
}

fn timestamp_of(batch: &Batch, delta: i64) -> Result<i64, DecodeError> {
    if batch.has_log_append_time() {
        return Ok(batch.max_timestamp());
    }
    let timestamp = batch.base_timestamp().checked_add(delta);
    timestamp.ok_or(DecodeError::Invalid("the timestamp of a record"))
}

fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], DecodeError> {
    let (taken, rest) = bytes.split_at_checked(len).ok_or(DecodeError::Truncated("a record"))?;
    *bytes = rest;
    Ok(taken)
}

/// An unsigned varint of at most `most` bytes.
fn unsigned(bytes: &mut &[u8], most: usize) -> Result<u64, DecodeError> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(most).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            // A value that does not fit is refused: the last of ten bytes has one bit, the last of
            // five has four.
            let spare = if most == 5 { 4 } else { 1 };
            if at + 1 == most && *byte >= 1 << spare {
                break;
            }
            *bytes = &bytes[at + 1..];
            return Ok(value);
        }
    }
    let what = "a varint in a record";
    Err(if bytes.len() < most { DecodeError::Truncated(what) } else { DecodeError::Invalid(what) })
}

/// VARINT (zigzag).
fn varint(bytes: &mut &[u8]) -> Result<i32, DecodeError> {
    let raw = unsigned(bytes, 5)? as u32;
    Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// VARLONG (zigzag).
fn varlong(bytes: &mut &[u8]) -> Result<i64, DecodeError> {
    let raw = unsigned(bytes, 10)?;
    Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

/// Any negative length is null (`DefaultRecord.readFrom`).
fn nullable<'a>(bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, DecodeError> {
    match usize::try_from(varint(bytes)?) {
        Ok(length) => take(bytes, length).map(Some),
        Err(_) => Ok(None),
    }
}
