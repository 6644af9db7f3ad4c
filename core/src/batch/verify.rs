//! The checks that a leader makes before it appends a producer's batch: Kafka's `LogValidator` and
//! `ProduceRequest.validateRecords`.

use bytes::Bytes;

use super::{Batch, DECOMPRESSED_LIMIT, LOG_APPEND_TIME_BIT, MAGIC, PREFIX_LEN, batch_size};
use crate::compression::{Compression, TOO_LARGE};
use crate::config::TopicConfig;
use crate::error_code::ErrorCode;
use crate::types::{LeaderEpoch, Offset, WallTime};

/// The first Produce version that may carry zstd (KIP-110).
const FIRST_ZSTD_PRODUCE: i16 = 7;
/// A record without a timestamp.
const NO_TIMESTAMP: i64 = -1;

/// A producer's batch that passed every check. Verifying is the only way to make one, and it is the
/// only kind of produced batch that a leader appends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerifiedBatch {
    batch: Batch,
    stamp_append_time: bool,
}

/// Why a batch is refused: Kafka's error code, and an explanation for people.
pub type Refusal = (ErrorCode, &'static str);

/// A batch may decompress to at most this many times `max.message.bytes`. Kafka has no such bound:
/// anybody with write access can make a broker, and each consumer, process a thousand bytes for
/// each byte sent.
const MOST_EXPANSION: u32 = 16;
/// ... but this much is always allowed, in bytes.
const ALWAYS_ALLOWED: u32 = 1 << 20;

/// The result of inspecting every record of a produced batch: everything that the topic's rules
/// need to know. It takes time in proportion to the decompressed bytes, and depends only on the
/// bytes and the version. So a driver that has a thread besides the broker's does it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Inspection {
    /// The smallest and the largest timestamp of the records that have one.
    timestamps: Option<(i64, i64)>,
    keyless: bool,
    /// Bytes of the records, decompressed.
    plain_bytes: usize,
}

impl Inspection {
    /// Inspects the records of one partition of a Produce request.
    ///
    /// # Errors
    /// See [`VerifiedBatch::verify_produce`].
    pub fn of(records: Option<Bytes>, api_version: i16) -> Result<Inspection, Refusal> {
        Inspection::of_batch(&the_one_batch(records.unwrap_or_default())?, api_version)
    }

    /// Like [`Inspection::of`], if neither the batch nor its decompressed records exceed `limit`
    /// bytes; otherwise `None`, after processing about that many bytes.
    pub fn within(
        records: Option<Bytes>,
        api_version: i16,
        limit: usize,
    ) -> Option<Result<Inspection, Refusal>> {
        let batch = match the_one_batch(records.unwrap_or_default()) {
            Ok(batch) => batch,
            Err(refusal) => return Some(Err(refusal)),
        };
        if batch.size_in_bytes() > limit {
            return None;
        }
        inspect(&batch, api_version, limit.min(DECOMPRESSED_LIMIT)).transpose()
    }

    fn of_batch(batch: &Batch, api_version: i16) -> Result<Inspection, Refusal> {
        let what = "the records decompress to more than 64 MiB";
        inspect(batch, api_version, DECOMPRESSED_LIMIT)?.ok_or((ErrorCode::MessageTooLarge, what))
    }

    /// Bytes of the records, decompressed.
    pub fn plain_bytes(&self) -> usize {
        self.plain_bytes
    }
}

/// `None` if the records decompress to more than `limit` bytes.
fn inspect(batch: &Batch, api_version: i16, limit: usize) -> Result<Option<Inspection>, Refusal> {
    if !batch.verify_crc() {
        return Err((ErrorCode::CorruptMessage, "the CRC of the batch is wrong"));
    }
    check_header(batch, api_version)?;
    look_at_records(batch, limit)
}

impl VerifiedBatch {
    /// Checks the batch of one partition of a Produce request, including its records (decompressed
    /// if necessary).
    ///
    /// # Errors
    /// Kafka's error code, and an explanation for people: `INVALID_RECORD` (not exactly one batch
    /// of v2, offsets or counts that do not fit, a control batch, an idempotent producer's, no key
    /// in a compacted topic), `INVALID_TXN_STATE` (a transactional batch), `CORRUPT_MESSAGE` (CRC,
    /// lengths), `MESSAGE_TOO_LARGE` (as it is, or decompressed), `UNSUPPORTED_COMPRESSION_TYPE`,
    /// `INVALID_TIMESTAMP`.
    pub fn verify_produce(
        records: Option<Bytes>,
        api_version: i16,
        config: &TopicConfig,
        now: WallTime,
    ) -> Result<VerifiedBatch, Refusal> {
        let inspect = |batch: &Batch| Inspection::of_batch(batch, api_version);
        VerifiedBatch::verify(records, inspect, config, now)
    }

    /// Like [`VerifiedBatch::verify_produce`], for records that have been inspected already:
    /// `inspection` is the result of [`Inspection::of`] for these records.
    ///
    /// # Errors
    /// See [`VerifiedBatch::verify_produce`].
    pub fn verify_inspected(
        records: Option<Bytes>,
        inspection: Result<Inspection, Refusal>,
        config: &TopicConfig,
        now: WallTime,
    ) -> Result<VerifiedBatch, Refusal> {
        VerifiedBatch::verify(records, |_| inspection, config, now)
    }

    fn verify(
        records: Option<Bytes>,
        inspect: impl FnOnce(&Batch) -> Result<Inspection, Refusal>,
        config: &TopicConfig,
        now: WallTime,
    ) -> Result<VerifiedBatch, Refusal> {
        let batch = the_one_batch(records.unwrap_or_default())?;
        if batch.size_in_bytes() > config.max_message_bytes as usize {
            return Err((ErrorCode::MessageTooLarge, "larger than max.message.bytes"));
        }
        let inspection = inspect(&batch)?;
        check_topic(&batch, &inspection, config, now)?;
        let max_timestamp = inspection.timestamps.map_or(NO_TIMESTAMP, |(_, latest)| latest);
        let max_timestamp = max_timestamp.max(NO_TIMESTAMP);
        // Kafka corrects a max timestamp that does not match the records (and the CRC with it).
        let corrects = !config.log_append_time && max_timestamp != batch.max_timestamp();
        let batch =
            if corrects { batch.restamped(batch.attributes(), max_timestamp) } else { batch };
        Ok(VerifiedBatch { batch, stamp_append_time: config.log_append_time })
    }

    /// The producer's batch, with its max timestamp corrected if necessary.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The batch as the leader appends it: at its offset, in its epoch, and with the time of the
    /// append if the topic asks for it.
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
        Err(_) => return Err((ErrorCode::CorruptMessage, "the batch has an invalid length")),
    };
    if bytes.len() > size {
        return Err(ONE);
    }
    Batch::parse(&bytes)
        .map_err(|_| (ErrorCode::CorruptMessage, "the batch's length or offsets are invalid"))
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
    // Transactions and idempotence are not supported here: no transaction is open, so none could be
    // aborted or hidden from readers, and nothing remembers sequence numbers. The codes are Kafka's
    // for a transaction that is unknown to the partition, and for a record that the broker does not
    // accept: no client retries on either.
    if batch.is_transactional() {
        let what = "transactions are not supported: leave transactional.id unset";
        return Err((ErrorCode::InvalidTxnState, what));
    }
    // Only the id makes a producer idempotent, as in Kafka: some clients send sequence 0 without an
    // id.
    if batch.producer_id() >= 0 {
        return invalid("idempotence is not supported: set enable.idempotence=false");
    }
    match batch.compression() {
        Err(_) => Err((ErrorCode::UnsupportedCompressionType, "unknown compression type")),
        Ok(Compression::Zstd) if api_version < FIRST_ZSTD_PRODUCE => {
            Err((ErrorCode::UnsupportedCompressionType, "zstd needs Produce version 7"))
        }
        Ok(_) => Ok(()),
    }
}

/// Reads each record once, and keeps none.
fn look_at_records(batch: &Batch, limit: usize) -> Result<Option<Inspection>, Refusal> {
    if batch.has_log_append_time() {
        let what = "a producer must not set the timestamp type to LogAppendTime";
        return Err((ErrorCode::InvalidTimestamp, what));
    }
    let refusal = |_| (ErrorCode::InvalidRecord, "the records cannot be decoded");
    let plain = match batch.plain(limit) {
        Err(TOO_LARGE) => return Ok(None),
        plain => plain.map_err(refusal)?,
    };
    let (mut timestamps, mut keyless) = (None, false);
    for (index, record) in batch.walk(&plain).map_err(refusal)?.enumerate() {
        let record = record.map_err(refusal)?;
        if record.offset != Offset(index as i64) {
            return Err((ErrorCode::InvalidRecord, "record offsets are not contiguous"));
        }
        keyless |= record.key.is_none();
        let at = record.timestamp;
        if at != NO_TIMESTAMP {
            let (first, last) = timestamps.unwrap_or((at, at));
            timestamps = Some((at.min(first), at.max(last)));
        }
    }
    Ok(Some(Inspection { timestamps, keyless, plain_bytes: plain.len() }))
}

/// The checks that depend on the topic.
fn check_topic(
    batch: &Batch,
    inspection: &Inspection,
    config: &TopicConfig,
    now: WallTime,
) -> Result<(), Refusal> {
    let most = config.max_message_bytes.saturating_mul(MOST_EXPANSION).max(ALWAYS_ALLOWED);
    let compressed = batch.compression() != Ok(Compression::None);
    if compressed && inspection.plain_bytes > most as usize {
        let what = "the records decompress to more than 16 times max.message.bytes";
        return Err((ErrorCode::MessageTooLarge, what));
    }
    if config.compact && inspection.keyless {
        return Err((ErrorCode::InvalidRecord, "records of a compacted topic need keys"));
    }
    if let Some((earliest, latest)) = inspection.timestamps
        && !config.log_append_time
    {
        // The difference may overflow; then it exceeds any limit but the largest.
        let too_old = now.0.saturating_sub(earliest) > config.timestamp_before_max_ms;
        let too_new = latest.saturating_sub(now.0) > config.timestamp_after_max_ms;
        if too_old || too_new {
            return Err((ErrorCode::InvalidTimestamp, "timestamp outside the topic's limits"));
        }
    }
    Ok(())
}
