//! Records within a batch: Kafka's `DefaultRecord`, read with every length bounded by what is there.

use alloc::vec::Vec;
use bytes::Bytes;

use super::{Batch, RECORDS_AT};
use crate::codec::{DecodeError, Reader};
use crate::compression::{self, Compression};
use crate::types::Offset;

/// Most bytes that one batch's records may decompress to. Kafka has no such bound; without one a
/// kilobyte sent to a broker could make it allocate gigabytes.
pub const DECOMPRESSED_LIMIT: usize = 64 << 20;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Its offset.
    pub offset: Offset,
    /// Milliseconds since 1970, or -1: the producer's, or the time of the append, as the batch says.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Its headers, in order and with duplicates (KIP-82).
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

impl Batch {
    /// Its records, decompressed. Their bytes share one buffer: the batch's own, or the
    /// decompressed one.
    ///
    /// # Errors
    /// If the bytes are not as many whole records as the header says, an offset lies outside the
    /// batch or not after the one before, or they do not decompress to at most
    /// [`DECOMPRESSED_LIMIT`] bytes.
    pub fn records(&self) -> Result<Vec<Record>, DecodeError> {
        let compressed = self.body.slice(RECORDS_AT..);
        let plain = match self.compression()? {
            Compression::None => compressed,
            codec => Bytes::from(compression::decompress(codec, &compressed, DECOMPRESSED_LIMIT)?),
        };
        let mut reader = Reader::new(plain);
        let count = usize::try_from(self.count())
            .map_err(|_| DecodeError::Invalid("the record count of a batch"))?;
        // The smallest record takes seven bytes; more than fit are refused before they are reserved.
        if count > reader.remaining() / 7 {
            return Err(DecodeError::Truncated("the records of a batch"));
        }
        let mut records: Vec<Record> = Vec::with_capacity(count.min(1024));
        for _ in 0..count {
            let record = self.record(&mut reader)?;
            if records.last().is_some_and(|last| record.offset <= last.offset) {
                return Err(DecodeError::Invalid("the order of record offsets"));
            }
            records.push(record);
        }
        reader.finish()?;
        Ok(records)
    }

    fn record(&self, reader: &mut Reader) -> Result<Record, DecodeError> {
        let length = usize::try_from(reader.varint()?)
            .map_err(|_| DecodeError::Invalid("the length of a record"))?;
        let mut reader = Reader::new(reader.take(length)?);
        // Record attributes: unused in v2.
        reader.i8()?;
        let timestamp_delta = reader.varlong()?;
        let offset_delta = reader.varint()?;
        if !(0..=self.last_offset_delta()).contains(&offset_delta) {
            return Err(DecodeError::Invalid("the offset of a record"));
        }
        let timestamp = if self.has_log_append_time() {
            self.max_timestamp()
        } else {
            self.base_timestamp()
                .checked_add(timestamp_delta)
                .ok_or(DecodeError::Invalid("the timestamp of a record"))?
        };
        let key = nullable(&mut reader)?;
        let value = nullable(&mut reader)?;
        let header_count = usize::try_from(reader.varint()?)
            .map_err(|_| DecodeError::Invalid("the header count of a record"))?;
        // The smallest header takes two bytes.
        if header_count > reader.remaining() / 2 {
            return Err(DecodeError::Truncated("the headers of a record"));
        }
        let mut headers = Vec::with_capacity(header_count.min(64));
        for _ in 0..header_count {
            let key = nullable(&mut reader)?.ok_or(DecodeError::Invalid("a null header key"))?;
            headers.push((key, nullable(&mut reader)?));
        }
        reader.finish()?;
        let offset = self.base_offset + i64::from(offset_delta);
        Ok(Record { offset, timestamp, key, value, headers })
    }
}

fn nullable(reader: &mut Reader) -> Result<Option<Bytes>, DecodeError> {
    // Any negative length is null (`DefaultRecord.readFrom`).
    match usize::try_from(reader.varint()?) {
        Ok(length) => reader.take(length).map(Some),
        Err(_) => Ok(None),
    }
}
