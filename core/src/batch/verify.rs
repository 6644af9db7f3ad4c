//! What a leader checks before it appends what a producer sent: Kafka's `LogValidator` and
//! `ProduceRequest.validateRecords`.

use bytes::Bytes;

use super::{Batch, LOG_APPEND_TIME_BIT, MAGIC, PREFIX_LEN, batch_size};
use crate::compression::Compression;
use crate::config::TopicConfig;
use crate::error_code::ErrorCode;
use crate::types::{LeaderEpoch, Offset, WallTime};

/// The first Produce version that may carry zstd (KIP-110).
const FIRST_ZSTD_PRODUCE: i16 = 7;
/// A record without a timestamp.
const NO_TIMESTAMP: i64 = -1;

/// A producer's batch that passed every check. Verifying is the only way to make one, and a leader
/// appends nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerifiedBatch {
    batch: Batch,
    stamp_append_time: bool,
}

type Refusal = (ErrorCode, &'static str);

impl VerifiedBatch {
    /// Checks the records of one partition of a Produce request, records themselves included
    /// (decompressed if need be).
    ///
    /// # Errors
    /// The code that Kafka answers, and for people what is wrong:
    /// `INVALID_RECORD` (not exactly one batch of v2, offsets or counts that do not fit, a control
    /// batch, an idempotent producer's, no key in a compacted topic), `INVALID_TXN_STATE` (a
    /// transactional batch), `CORRUPT_MESSAGE` (CRC, lengths), `MESSAGE_TOO_LARGE`,
    /// `UNSUPPORTED_COMPRESSION_TYPE`, `INVALID_TIMESTAMP`.
    pub fn verify_produce(
        records: Option<Bytes>,
        api_version: i16,
        config: &TopicConfig,
        now: WallTime,
    ) -> Result<VerifiedBatch, Refusal> {
        let batch = the_one_batch(records.unwrap_or_default())?;
        if batch.size_in_bytes() > config.max_message_bytes as usize {
            return Err((ErrorCode::MessageTooLarge, "larger than max.message.bytes"));
        }
        if !batch.verify_crc() {
            return Err((ErrorCode::CorruptMessage, "the CRC of the batch is wrong"));
        }
        check_header(&batch, api_version)?;
        let max_timestamp = check_records(&batch, config, now)?;
        // Kafka corrects a max timestamp that is not its records' (and the CRC with it).
        let corrects = !config.log_append_time && max_timestamp != batch.max_timestamp();
        let batch =
            if corrects { batch.restamped(batch.attributes(), max_timestamp) } else { batch };
        Ok(VerifiedBatch { batch, stamp_append_time: config.log_append_time })
    }

    /// The batch as the producer sent it.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The batch as the leader appends it: at its offset, in its epoch, and with the time of the
    /// append where the topic asks for it.
    pub(crate) fn stamped(
        self,
        base_offset: Offset,
        leader_epoch: LeaderEpoch,
        now: WallTime,
    ) -> Batch {
        let stamped = if self.stamp_append_time {
            self.batch.restamped(self.batch.attributes() | LOG_APPEND_TIME_BIT, now.0)
        } else {
            self.batch
        };
        stamped.with_prefix(base_offset, leader_epoch)
    }
}

fn the_one_batch(bytes: Bytes) -> Result<Batch, Refusal> {
    const ONE: Refusal = (ErrorCode::InvalidRecord, "a partition must carry exactly one batch");
    if bytes.is_empty() {
        return Err(ONE);
    }
    if bytes.get(PREFIX_LEN).is_some_and(|magic| *magic as i8 != MAGIC) {
        return Err((ErrorCode::InvalidRecord, "only batches of magic 2 are accepted"));
    }
    let size = match batch_size(&bytes) {
        Ok(Some(size)) => size,
        Ok(None) => return Err((ErrorCode::CorruptMessage, "the records end inside a header")),
        Err(_) => return Err((ErrorCode::CorruptMessage, "the batch has an impossible length")),
    };
    if bytes.len() > size {
        return Err(ONE);
    }
    Batch::parse(&bytes)
        .map_err(|_| (ErrorCode::CorruptMessage, "the batch's length or offsets are impossible"))
}

fn check_header(batch: &Batch, api_version: i16) -> Result<(), Refusal> {
    let invalid = |what| Err((ErrorCode::InvalidRecord, what));
    if batch.base_offset != Offset::ZERO {
        return invalid("the base offset of a produced batch must be 0");
    }
    if batch.count() <= 0 || batch.count() - 1 != batch.last_offset_delta() {
        return invalid("the record count does not match the offsets");
    }
    if batch.is_control() {
        return invalid("clients must not write control batches");
    }
    // What these ask for is not kept here: no transaction is open, so none could be aborted or hidden
    // from readers, and nothing remembers sequence numbers. Kafka's codes for a transaction that the
    // partition knows nothing of, and for a record that the broker does not take: no client repeats
    // either.
    if batch.is_transactional() {
        let what = "transactions are not served: leave transactional.id unset";
        return Err((ErrorCode::InvalidTxnState, what));
    }
    // The id alone makes a producer idempotent, as in Kafka: some clients send sequence 0 without one.
    if batch.producer_id() >= 0 {
        return invalid("idempotence is not served: set enable.idempotence=false");
    }
    match batch.compression() {
        Err(_) => Err((ErrorCode::UnsupportedCompressionType, "unknown compression type")),
        Ok(Compression::Zstd) if api_version < FIRST_ZSTD_PRODUCE => {
            Err((ErrorCode::UnsupportedCompressionType, "zstd needs Produce version 7"))
        }
        Ok(_) => Ok(()),
    }
}

/// The records' largest timestamp, if all is well with each.
fn check_records(batch: &Batch, config: &TopicConfig, now: WallTime) -> Result<i64, Refusal> {
    if batch.has_log_append_time() {
        let what = "a producer must not set the timestamp type to LogAppendTime";
        return Err((ErrorCode::InvalidTimestamp, what));
    }
    let records = batch.records().map_err(|_| {
        (ErrorCode::InvalidRecord, "the records do not decode, or to more than 64 MiB")
    })?;
    let mut max_timestamp = NO_TIMESTAMP;
    for (index, record) in records.iter().enumerate() {
        if record.offset != Offset(index as i64) {
            return Err((ErrorCode::InvalidRecord, "record offsets are not contiguous"));
        }
        if config.compact && record.key.is_none() {
            return Err((ErrorCode::InvalidRecord, "a compacted topic needs keys"));
        }
        max_timestamp = max_timestamp.max(record.timestamp);
        // The difference may not fit; then it is beyond any limit but the largest.
        let age = now.0.saturating_sub(record.timestamp);
        let checked = !config.log_append_time && record.timestamp != NO_TIMESTAMP;
        let too_old = age > config.timestamp_before_max_ms;
        let too_new = age.saturating_neg() > config.timestamp_after_max_ms;
        if checked && (too_old || too_new) {
            return Err((ErrorCode::InvalidTimestamp, "timestamp outside the topic's limits"));
        }
    }
    Ok(max_timestamp)
}
