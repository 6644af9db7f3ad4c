//! Round trips, other implementations' bytes, bounds, and input in none of the formats.

use super::*;
use proptest::prelude::*;
use std::vec;

const CODECS: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
const LIMIT: usize = 1 << 20;

fn text(len: usize) -> Vec<u8> {
    b"the same storm as often as they like, ".iter().copied().cycle().take(len).collect()
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..len).map(|_| next()).collect()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

#[test]
fn round_trips() {
    for codec in CODECS {
        for len in [0, 1, 100, 65_535, 65_536, 65_537, 200_000] {
            for plain in [text(len), noise(len)] {
                let packed = compress(codec, &plain);
                assert_eq!(decompress(codec, &packed, len), Ok(plain), "{codec:?} {len}");
                assert!(len != 200_000 || packed.len() < 201_000, "{codec:?}");
            }
        }
        assert!(compress(codec, &text(200_000)).len() < 20_000, "{codec:?} compresses");
    }
}

#[test]
fn output_is_bounded() {
    for codec in CODECS {
        let packed = compress(codec, &text(1000));
        assert_eq!(decompress(codec, &packed, 999), Err(TOO_LARGE), "{codec:?}");
        // A decompression bomb: a small input that yields far more than the limit.
        let bomb = compress(codec, &vec![0; 30 << 20]);
        assert_eq!(decompress(codec, &bomb, LIMIT), Err(TOO_LARGE), "{codec:?}");
    }
    assert_eq!(decompress(Compression::None, b"four", 3), Err(TOO_LARGE));
}

#[test]
fn frames_cost_more_than_they_hold() {
    let empty = compress(Compression::Zstd, &[]);
    assert!(decompress(Compression::Zstd, &empty.repeat(16), LIMIT).is_ok());
    // A megabyte of these would set up a hundred thousand decoders for nothing.
    let many = empty.repeat(17);
    assert_eq!(decompress(Compression::Zstd, &many, LIMIT), Err(TOO_LARGE));
}

#[test]
fn known_checksums() {
    assert_eq!(gzip::crc32(b"123456789"), 0xcbf4_3926);
    assert_eq!(lz4::xxh32(b""), 0x02cc_5d05);
    assert_eq!(lz4::xxh32(b"abc"), 0x32d1_53ff);
    assert_eq!(lz4::xxh32(b"Nobody inspects the spammish repetition"), 0xe229_3b2f);
}

#[test]
fn reads_what_others_wrote() {
    let plain = b"wavetank wavetank wavetank".to_vec();
    for (codec, packed) in [
        // python's gzip, zstd 1.5, lz4 1.9, snappy by hand: raw and in Xerial's framing.
        (Compression::Gzip, "1f8b0800000000000203 2b4f2c4b2d49cccb5628 4767000077ec8146 1a000000"),
        (Compression::Zstd, "28b52ffd04587d0000487761766574616e6b2001009ccb117122d128"),
        (
            Compression::Lz4,
            "04224d186440a712000000987761766574616e6b200900506574616e6b00000000f10542b2",
        ),
        (Compression::Snappy, "1a 20 7761766574616e6b20 42 0900"),
        (
            Compression::Snappy,
            "82534e4150505900 00000001 00000001 0000000e 1a 20 7761766574616e6b20 42 0900",
        ),
    ] {
        assert_eq!(decompress(codec, &hex(packed), LIMIT), Ok(plain.clone()), "{codec:?}");
    }
    // gzip with a name, a comment, an extra field and a header checksum.
    let mut named = hex("1f8b081e0000000002030200 6161 6e00 6300 0000");
    named.extend_from_slice(&hex("2b4f2c4b2d49cccb56284767000077ec81461a000000"));
    assert_eq!(decompress(Compression::Gzip, &named, LIMIT), Ok(plain));
}

#[test]
fn lz4_blocks_may_refer_to_earlier_ones() {
    // `lz4 -BD -B4 -BX`: 64 KiB blocks that continue each other, each with a checksum.
    let packed = hex(include_str!("lz4_linked.hex"));
    assert_eq!(decompress(Compression::Lz4, &packed, LIMIT), Ok(b"wavetank ".repeat(20_000)));
}
#[test]
fn damage_never_panics() {
    for codec in CODECS {
        for plain in [text(3000), noise(300)] {
            let packed = compress(codec, &plain);
            for cut in 0..packed.len() {
                if let Ok(out) = decompress(codec, &packed[..cut], LIMIT) {
                    assert!(plain.starts_with(&out), "{codec:?} cut at {cut}");
                }
            }
            for at in 0..packed.len() {
                for bit in 0..8 {
                    let mut flipped = packed.clone();
                    flipped[at] ^= 1 << bit;
                    let _ = decompress(codec, &flipped, LIMIT);
                }
            }
        }
    }
}

fn codec() -> impl Strategy<Value = Compression> {
    prop::sample::select(CODECS.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_round_trip(
        codec in codec(),
        plain in prop::collection::vec(any::<u8>(), 0..5000),
        repeat in 1usize..20,
    ) {
        let plain = plain.repeat(repeat);
        let packed = compress(codec, &plain);
        prop_assert_eq!(decompress(codec, &packed, plain.len()), Ok(plain));
    }

    #[test]
    fn nonsense_never_panics(
        codec in codec(),
        plain in prop::collection::vec(0u8..4, 0..400),
        changes in prop::collection::vec((any::<u16>(), any::<u8>()), 0..12),
        keep in any::<u16>(),
    ) {
        let mut bytes = compress(codec, &plain);
        for (at, value) in changes {
            let len = bytes.len();
            bytes[usize::from(at) % len] = value;
        }
        bytes.truncate(bytes.len() - usize::from(keep) % 8);
        if let Ok(out) = decompress(codec, &bytes, LIMIT) {
            prop_assert!(out.len() <= LIMIT);
        }
        // And with only the magic right.
        let head = bytes.len().min(4);
        bytes.splice(head.., plain.iter().map(|byte| byte.wrapping_mul(83)));
        let _ = decompress(codec, &bytes, LIMIT);
    }
}
