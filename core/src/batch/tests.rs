//! Golden bytes, and each check on a produced batch firing.

use super::*;
use crate::config::TopicConfig;
use crate::error_code::ErrorCode;
use crate::types::WallTime;
use std::vec;

const NOW: WallTime = WallTime(1_000_000);

fn three() -> BatchBuilder {
    let mut builder = BatchBuilder::new();
    builder.push(1_000_000, Some(b"k"), Some(b"v"), &[(b"h", None), (b"h", Some(b"2"))]);
    builder.push(1_000_005, None, None, &[]);
    builder.push(999_990, Some(b""), Some(b"last"), &[]);
    builder
}

fn verify(batch: &Batch, config: &TopicConfig) -> Result<VerifiedBatch, ErrorCode> {
    VerifiedBatch::verify_produce(Some(batch.to_bytes()), 9, config, NOW).map_err(|(code, _)| code)
}

/// The batch with body bytes replaced and the CRC corrected.
fn forged(batch: &Batch, at: usize, bytes: &[u8]) -> Batch {
    let mut body = batch.body.to_vec();
    body[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&body[ATTRIBUTES_AT..]);
    body[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    Batch { body: Bytes::from(body), ..*batch }
}

#[test]
fn golden_bytes() {
    let mut builder = BatchBuilder::new();
    builder.producer(7, 1, 3).push(1000, Some(b"k"), Some(b"v"), &[]);
    let batch = builder.build(Offset(5), LeaderEpoch(2));
    #[rustfmt::skip]
    let expected: &[u8] = &[
        0, 0, 0, 0, 0, 0, 0, 5, // base offset
        0, 0, 0, 58, // length of what follows
        0, 0, 0, 2, // leader epoch
        2, // magic
        0, 0, 0, 0, // CRC, filled in below
        0, 0, // attributes
        0, 0, 0, 0, // last offset delta
        0, 0, 0, 0, 0, 0, 3, 232, // base timestamp
        0, 0, 0, 0, 0, 0, 3, 232, // max timestamp
        0, 0, 0, 0, 0, 0, 0, 7, // producer id
        0, 1, // producer epoch
        0, 0, 0, 3, // base sequence
        0, 0, 0, 1, // count
        16, // record: length 8
        0, 0, 0, // attributes, timestamp delta, offset delta
        2, b'k', 2, b'v', 0, // key, value, headers
    ];
    let mut expected = expected.to_vec();
    let crc = crc32c::crc32c(&expected[21..]);
    expected[17..21].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(batch.to_bytes(), expected);
    assert_eq!(batch.size_in_bytes(), expected.len());
}

#[test]
fn crc_is_castagnoli() {
    // The check value of CRC-32C.
    assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
}

#[test]
fn records_come_back_in_order_with_duplicate_headers() {
    let batch = three().build(Offset(10), LeaderEpoch(0));
    assert!(batch.verify_crc());
    let records = batch.records().unwrap();
    assert_eq!(records.len(), 3);
    assert_eq!(records[0].offset, Offset(10));
    assert_eq!(
        records[0].headers,
        vec![
            (Bytes::from_static(b"h"), None),
            (Bytes::from_static(b"h"), Some(Bytes::from_static(b"2")))
        ]
    );
    assert_eq!((records[1].timestamp, records[1].key.clone()), (1_000_005, None));
    assert_eq!((records[2].timestamp, records[2].offset), (999_990, Offset(12)));
    assert_eq!(records[2].key, Some(Bytes::new()));
    assert_eq!(batch.max_timestamp(), 1_000_005);
    assert_eq!(batch.next_offset(), Offset(13));
}

#[test]
fn split_drops_a_cut_batch_and_refuses_nonsense() {
    let one = three().build(Offset(0), LeaderEpoch(0));
    let two = three().build(Offset(3), LeaderEpoch(1));
    let mut writer = Writer::new();
    one.encode(&mut writer);
    two.encode(&mut writer);
    let both = writer.finish();
    assert_eq!(split(both.clone()).unwrap(), vec![one.clone(), two.clone()]);
    for cut in one.size_in_bytes()..both.len() {
        assert_eq!(split(both.slice(..cut)).unwrap(), vec![one.clone()], "cut at {cut}");
    }
    let mut short = both.to_vec();
    short[8..12].copy_from_slice(&48i32.to_be_bytes());
    assert_eq!(
        split(Bytes::from(short)),
        Err(DecodeError::Invalid("the length of a batch")),
        "a length that no header fits in"
    );
    let mut old = both.to_vec();
    old[16] = 1;
    assert!(split(Bytes::from(old)).is_err(), "magic 1");
    let mut negative = both.to_vec();
    negative[0] = 0x80;
    assert!(split(Bytes::from(negative)).is_err(), "negative base offset");
    let mut huge = both.to_vec();
    huge[..8].copy_from_slice(&i64::MAX.to_be_bytes());
    assert!(split(Bytes::from(huge)).is_err(), "offsets that do not fit");
}

#[test]
fn a_detached_batch_is_equal() {
    let batch = three().build(Offset(4), LeaderEpoch(1));
    assert_eq!(batch.detached(), batch);
}

#[test]
fn a_good_batch_passes_and_is_stamped() {
    let config = TopicConfig::default();
    let sent = three().build(Offset::ZERO, LeaderEpoch(-1));
    let stamped =
        verify(&sent, &config).unwrap().stamped(Offset(40), LeaderEpoch(3), WallTime(2_000_000));
    assert_eq!((stamped.base_offset, stamped.leader_epoch), (Offset(40), LeaderEpoch(3)));
    assert_eq!(stamped.body, sent.body, "nothing within the CRC changed");

    let config = TopicConfig { log_append_time: true, ..config };
    let stamped =
        verify(&sent, &config).unwrap().stamped(Offset(40), LeaderEpoch(3), WallTime(2_000_000));
    assert!(stamped.has_log_append_time() && stamped.verify_crc());
    assert_eq!(stamped.max_timestamp(), 2_000_000);
    assert!(stamped.records().unwrap().iter().all(|r| r.timestamp == 2_000_000));
}

#[test]
fn a_wrong_max_timestamp_is_corrected() {
    let sent = three().build(Offset::ZERO, LeaderEpoch(-1));
    let lying = forged(&sent, MAX_TIMESTAMP_AT, &5i64.to_be_bytes());
    let verified = verify(&lying, &TopicConfig::default()).unwrap();
    assert_eq!(verified.batch().max_timestamp(), 1_000_005);
    assert!(verified.batch().verify_crc());
}

#[test]
fn each_check_fires() {
    let config = TopicConfig::default();
    let good = three().build(Offset::ZERO, LeaderEpoch(-1));
    let produce = |bytes: Option<Bytes>, version| {
        VerifiedBatch::verify_produce(bytes, version, &config, NOW).unwrap_err().0
    };
    assert_eq!(produce(None, 9), ErrorCode::InvalidRecord);
    assert_eq!(produce(Some(Bytes::new()), 9), ErrorCode::InvalidRecord);
    let mut twice = good.to_bytes().to_vec();
    twice.extend_from_slice(&good.to_bytes());
    assert_eq!(produce(Some(Bytes::from(twice)), 9), ErrorCode::InvalidRecord);
    for cut in 1..good.size_in_bytes() {
        assert_eq!(produce(Some(good.to_bytes().slice(..cut)), 9), ErrorCode::CorruptMessage);
    }
    let mut old = good.to_bytes().to_vec();
    old[16] = 1;
    assert_eq!(produce(Some(Bytes::from(old)), 9), ErrorCode::InvalidRecord);

    let check = |batch: &Batch, config: &TopicConfig| verify(batch, config).unwrap_err();
    let flipped = Batch {
        body: {
            let mut body = good.body.to_vec();
            *body.last_mut().unwrap() ^= 1;
            body.into()
        },
        ..good
    };
    assert_eq!(check(&flipped, &config), ErrorCode::CorruptMessage);
    let moved = good.with_prefix(Offset(1), LeaderEpoch(0));
    assert_eq!(check(&moved, &config), ErrorCode::InvalidRecord);
    for (at, value) in [(COUNT_AT, 2i32), (COUNT_AT, 0), (COUNT_AT, -1), (LAST_OFFSET_DELTA_AT, 7)]
    {
        let forged = forged(&good, at, &value.to_be_bytes());
        assert_eq!(check(&forged, &config), ErrorCode::InvalidRecord, "{value} at {at}");
    }
    let control = three().control().build(Offset::ZERO, LeaderEpoch(-1));
    assert_eq!(check(&control, &config), ErrorCode::InvalidRecord);
    for sequence in [-1, 0, 9] {
        let idempotent = three().producer(5, 0, sequence).build(Offset::ZERO, LeaderEpoch(-1));
        assert_eq!(check(&idempotent, &config), ErrorCode::InvalidRecord);
    }
    for (id, transactional) in [(5, true), (-1, true)] {
        let bits = if transactional { TRANSACTIONAL_BIT } else { 0 };
        let marked = three().producer(id, 0, 0).build(Offset::ZERO, LeaderEpoch(-1));
        let marked = forged(&marked, ATTRIBUTES_AT, &bits.to_be_bytes());
        assert_eq!(check(&marked, &config), ErrorCode::InvalidTxnState);
    }
    // kafkajs and Sarama send these without idempotence.
    let plain = three().producer(-1, 0, 0).build(Offset::ZERO, LeaderEpoch(-1));
    assert!(verify(&plain, &config).is_ok());
    let unknown = forged(&good, ATTRIBUTES_AT, &5i16.to_be_bytes());
    assert_eq!(check(&unknown, &config), ErrorCode::UnsupportedCompressionType);
    let zstd = forged(&good, ATTRIBUTES_AT, &4i16.to_be_bytes());
    assert_eq!(produce(Some(zstd.to_bytes()), 6), ErrorCode::UnsupportedCompressionType);
    assert_eq!(produce(Some(zstd.to_bytes()), 7), ErrorCode::InvalidRecord, "not really zstd");
    let stamped = forged(&good, ATTRIBUTES_AT, &LOG_APPEND_TIME_BIT.to_be_bytes());
    assert_eq!(check(&stamped, &config), ErrorCode::InvalidTimestamp);
    // The length of the last record is one less than it should be.
    let at = good.body.len() - 11;
    assert_eq!(good.body[at], 20, "the length of the last record");
    assert_eq!(check(&forged(&good, at, &[18]), &config), ErrorCode::InvalidRecord);

    let small = TopicConfig { max_message_bytes: 80, ..config.clone() };
    assert_eq!(check(&good, &small), ErrorCode::MessageTooLarge);
    let compact = TopicConfig { compact: true, ..config.clone() };
    assert_eq!(check(&good, &compact), ErrorCode::InvalidRecord);
    let early = TopicConfig { timestamp_before_max_ms: 9, ..config.clone() };
    assert_eq!(check(&good, &early), ErrorCode::InvalidTimestamp);
    let late = TopicConfig { timestamp_after_max_ms: 4, ..config.clone() };
    assert_eq!(check(&good, &late), ErrorCode::InvalidTimestamp);
    let stamping = TopicConfig { log_append_time: true, ..late };
    assert!(verify(&good, &stamping).is_ok(), "the producer's time does not matter then");
}

#[test]
fn mutated_batches_never_panic() {
    let good = three().build(Offset::ZERO, LeaderEpoch(-1));
    for at in 0..good.body.len() {
        for bit in 0..8 {
            let mutated = forged(&good, at, &[good.body[at] ^ 1 << bit]);
            // With the CRC corrected, every batch that passes must decode.
            if let Ok(verified) = verify(&mutated, &TopicConfig::default()) {
                assert!(verified.batch().records().is_ok());
            }
        }
    }
}

#[test]
fn every_codec_in_a_batch() {
    let plain = three().build(Offset(7), LeaderEpoch(1));
    for codec in Compression::ALL {
        let batch = three().compression(codec).build(Offset(7), LeaderEpoch(1));
        assert_eq!(batch.compression(), Ok(codec));
        assert_eq!(batch.records(), plain.records(), "{codec:?}");
        let sent = three().compression(codec).build(Offset::ZERO, LeaderEpoch(-1));
        let verified = verify(&sent, &TopicConfig::default());
        assert_eq!(verified.unwrap().batch(), &sent, "{codec:?} is kept as it is");
        // The records within are checked, too.
        let compact = TopicConfig { compact: true, ..TopicConfig::default() };
        assert_eq!(verify(&sent, &compact), Err(ErrorCode::InvalidRecord), "{codec:?}");
    }
}

#[test]
fn a_batch_that_decompresses_to_too_much_is_refused() {
    let config = TopicConfig { timestamp_before_max_ms: i64::MAX, ..TopicConfig::default() };
    let of_zeros = |len: usize| {
        let mut builder = BatchBuilder::new();
        builder.compression(Compression::Lz4).push(0, None, Some(&vec![0; len]), &[]);
        builder.build(Offset::ZERO, LeaderEpoch(-1))
    };
    let bomb = of_zeros(DECOMPRESSED_LIMIT);
    assert!(bomb.size_in_bytes() < 1 << 20);
    assert_eq!(bomb.records(), Err(DecodeError::Invalid("the decompressed size")));
    assert_eq!(verify(&bomb, &config), Err(ErrorCode::MessageTooLarge));
    // Sixteen times max.message.bytes, whatever it compresses to.
    let most = config.max_message_bytes as usize * 16;
    assert_eq!(verify(&of_zeros(most), &config), Err(ErrorCode::MessageTooLarge));
    assert!(verify(&of_zeros(most - 100), &config).is_ok());
    // A mebibyte is always allowed; this limit holds only for compressed batches.
    let small = TopicConfig { max_message_bytes: 60_000, ..config.clone() };
    assert!(verify(&of_zeros(1_000_000), &small).is_ok());
    assert_eq!(verify(&of_zeros(1 << 20), &small), Err(ErrorCode::MessageTooLarge));
}

#[test]
fn more_records_than_fit_are_refused_before_anything_is_decompressed() {
    let good = three().compression(Compression::Gzip).build(Offset::ZERO, LeaderEpoch(-1));
    let count = (DECOMPRESSED_LIMIT / 7 + 1) as i32;
    let forged_count = |batch: &Batch, count: i32| {
        let batch = forged(batch, LAST_OFFSET_DELTA_AT, &(count - 1).to_be_bytes());
        forged(&batch, COUNT_AT, &count.to_be_bytes())
    };
    // These bytes are not a gzip stream; the count is refused before that is noticed.
    let nonsense = forged(&good, RECORDS_AT, &[0; 8]);
    let config = TopicConfig::default();
    assert_eq!(verify(&forged_count(&nonsense, count), &config), Err(ErrorCode::MessageTooLarge));
    assert_eq!(verify(&forged_count(&nonsense, 3), &config), Err(ErrorCode::InvalidRecord));
    assert_eq!(verify(&forged_count(&good, 1000), &config), Err(ErrorCode::InvalidRecord));
}

#[test]
fn who_looks_at_the_records_makes_no_difference() {
    let config = TopicConfig::default();
    for codec in Compression::ALL {
        let good = three().compression(codec).build(Offset::ZERO, LeaderEpoch(-1));
        for at in 0..good.body.len() {
            let batch = if at == 0 { good.clone() } else { forged(&good, at, &[!good.body[at]]) };
            let bytes = Some(batch.to_bytes());
            let inspection = Inspection::of(bytes.clone(), 9);
            let there = VerifiedBatch::verify_inspected(bytes.clone(), inspection, &config, NOW);
            assert_eq!(
                there,
                VerifiedBatch::verify_produce(bytes, 9, &config, NOW),
                "{codec:?} {at}"
            );
        }
    }
}

#[test]
fn any_negative_length_is_null_as_kafka_reads_it() {
    let mut builder = BatchBuilder::new();
    builder.push(1_000_000, None, None, &[]);
    let batch = builder.build(Offset::ZERO, LeaderEpoch(-1));
    // Length, attributes, two deltas, then the key's and the value's length, zigzag: -1 is 1.
    assert_eq!(batch.body[RECORDS_AT..], [12, 0, 0, 0, 1, 1, 0]);
    let records = forged(&batch, RECORDS_AT + 4, &[3, 5]).records().expect("a record");
    assert_eq!((&records[0].key, &records[0].value), (&None, &None));
}
