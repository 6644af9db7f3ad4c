//! The codecs of record batches: pure functions from bytes to bytes, output bounded.

use alloc::vec::Vec;

use crate::codec::DecodeError;

/// How the records of a batch are compressed: the low three bits of its attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Not.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, raw or in Xerial's framing.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878 (KIP-110).
    Zstd,
}

impl Compression {
    /// All of them.
    pub const ALL: [Compression; 5] = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// From the attribute bits.
    pub fn from_id(id: i16) -> Option<Compression> {
        Compression::ALL.into_iter().find(|codec| codec.id() == id)
    }

    /// The attribute bits.
    pub fn id(self) -> i16 {
        match self {
            Compression::None => 0,
            Compression::Gzip => 1,
            Compression::Snappy => 2,
            Compression::Lz4 => 3,
            Compression::Zstd => 4,
        }
    }

    /// Kafka's name for it (`compression.type`).
    pub fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
        }
    }
}

/// What `input` decompresses to, at most `limit` bytes.
///
/// # Errors
/// If it is not in the codec's format, or longer.
pub fn decompress(codec: Compression, input: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    match codec {
        Compression::None if input.len() <= limit => Ok(input.to_vec()),
        Compression::None => Err(DecodeError::Invalid("the decompressed size")),
        Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd => {
            Err(DecodeError::Invalid("the compression type (not built yet)"))
        }
    }
}

/// Compresses.
pub fn compress(codec: Compression, input: &[u8]) -> Vec<u8> {
    match codec {
        Compression::None => input.to_vec(),
        Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd => {
            unreachable!("no client compresses before the codecs are here")
        }
    }
}
