//! Building batches: for producers, the metadata log and tests.

use bytes::{Bytes, BytesMut};

use super::{
    ATTRIBUTES_AT, Batch, CONTROL_BIT, CRC_AT, HEADER_LEN, MAGIC, PREFIX_LEN, TRANSACTIONAL_BIT,
};
use crate::codec::Writer;
use crate::compression::{self, Compression};
use crate::types::{LeaderEpoch, Offset};

/// Collects records, then builds a [`Batch`] from them.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    records: Writer,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    flags: i16,
    compression: Compression,
}

impl BatchBuilder {
    /// An empty batch without a producer id, uncompressed.
    pub fn new() -> BatchBuilder {
        BatchBuilder {
            records: Writer::new(),
            count: 0,
            base_timestamp: -1,
            max_timestamp: -1,
            producer_id: -1,
            producer_epoch: -1,
            base_sequence: -1,
            flags: 0,
            compression: Compression::None,
        }
    }

    /// Adds a record. Timestamps are milliseconds since 1970.
    ///
    /// # Panics
    /// If the record or the batch does not fit in 2 GiB.
    pub fn push(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&[u8], Option<&[u8]>)],
    ) -> &mut BatchBuilder {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let mut record = Writer::new();
        record.i8(0);
        // Wrapping is safe: the reader's addition undoes it for every pair that fits.
        record.varlong(timestamp.wrapping_sub(self.base_timestamp));
        record.varint(self.count);
        nullable(&mut record, key);
        nullable(&mut record, value);
        record.varint(length(headers.len()));
        for (key, value) in headers {
            nullable(&mut record, Some(key));
            nullable(&mut record, *value);
        }
        let record = record.finish();
        self.records.varint(length(record.len()));
        self.records.put(&record);
        self.count += 1;
        self
    }

    /// Marks it as an idempotent producer's batch: id, epoch and the first record's sequence
    /// number.
    pub fn producer(&mut self, id: i64, epoch: i16, sequence: i32) -> &mut BatchBuilder {
        self.producer_id = id;
        self.producer_epoch = epoch;
        self.base_sequence = sequence;
        self
    }

    /// Marks its records as control records.
    pub fn control(&mut self) -> &mut BatchBuilder {
        self.flags |= CONTROL_BIT;
        self
    }

    /// Marks it as part of a transaction.
    pub fn transactional(&mut self) -> &mut BatchBuilder {
        self.flags |= TRANSACTIONAL_BIT;
        self
    }

    /// How to compress the records.
    pub fn compression(&mut self, compression: Compression) -> &mut BatchBuilder {
        self.compression = compression;
        self
    }

    /// The number of records that were added.
    pub fn count(&self) -> i32 {
        self.count
    }

    /// Bytes of the batch so far, header included, before compression.
    pub fn size_in_bytes(&self) -> usize {
        HEADER_LEN + self.records.len()
    }

    /// Builds the batch. The builder is not changed.
    ///
    /// # Panics
    /// If no record was added, or the batch is over 2 GiB.
    pub fn build(&self, base_offset: Offset, leader_epoch: LeaderEpoch) -> Batch {
        assert!(self.count > 0, "a batch has at least one record");
        let plain: Bytes = self.records.clone().finish();
        let records = match self.compression {
            Compression::None => plain,
            codec => Bytes::from(compression::compress(codec, &plain)),
        };
        let mut body = Writer::with_capacity(HEADER_LEN - PREFIX_LEN + records.len());
        body.i8(MAGIC);
        body.i32(0);
        body.i16(self.flags | self.compression.id());
        body.i32(self.count - 1);
        body.i64(self.base_timestamp);
        body.i64(self.max_timestamp);
        body.i64(self.producer_id);
        body.i16(self.producer_epoch);
        body.i32(self.base_sequence);
        body.i32(self.count);
        body.put(&records);
        assert!(i32::try_from(body.len() + PREFIX_LEN).is_ok(), "a batch is at most 2 GiB");
        let mut body = BytesMut::from(body.finish());
        let crc = crc32c::crc32c(&body[ATTRIBUTES_AT..]);
        body[CRC_AT..][..4].copy_from_slice(&crc.to_be_bytes());
        Batch { base_offset: Offset::ZERO, leader_epoch, body: body.freeze() }
            .with_prefix(base_offset, leader_epoch)
    }
}

fn length(length: usize) -> i32 {
    i32::try_from(length).expect("a record is at most 2 GiB")
}

fn nullable(to: &mut Writer, bytes: Option<&[u8]>) {
    match bytes {
        None => to.varint(-1),
        Some(bytes) => {
            to.varint(length(bytes.len()));
            to.put(bytes);
        }
    }
}
