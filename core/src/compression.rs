//! The codecs of record batches: pure functions from bytes to bytes, with bounded output.
//!
//! A broker decompresses to check producers' batches; compressing is for clients. The containers
//! (gzip's header and trailer, Xerial's chunks, LZ4 frames) are read here, because the codec crates
//! need std's I/O for them. The codecs proper come from the crates, all of them in safe or widely
//! fuzzed Rust without C; only snappy in pieces is decoded here.

mod gzip;
mod lz4;
mod snappy;
mod stream;
mod zstd;

#[cfg(test)]
mod tests;

use alloc::vec::Vec;

use crate::codec::DecodeError;

pub(crate) use stream::Stream;

/// How the records of a batch are compressed: the low three bits of its attributes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Compression {
    /// Not compressed.
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

/// Decompresses `input` to at most `limit` bytes, with no more memory than a small multiple of
/// that.
///
/// # Errors
/// If the input is not in the codec's format, or decompresses to more.
pub fn decompress(codec: Compression, input: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    match codec {
        Compression::None if input.len() <= limit => Ok(input.to_vec()),
        Compression::None => Err(TOO_LARGE),
        Compression::Gzip => gzip::decompress(input, limit),
        Compression::Snappy => snappy::decompress(input, limit),
        Compression::Lz4 => lz4::decompress(input, limit),
        Compression::Zstd => zstd::decompress(input, limit),
    }
}

/// Compresses, as Kafka's Java clients do (snappy in Xerial's framing, LZ4 in frames of independent
/// 64 KiB blocks).
pub fn compress(codec: Compression, input: &[u8]) -> Vec<u8> {
    match codec {
        Compression::None => input.to_vec(),
        Compression::Gzip => gzip::compress(input),
        Compression::Snappy => snappy::compress(input),
        Compression::Lz4 => lz4::compress(input),
        Compression::Zstd => zstd::compress(input),
    }
}

/// The limit is exceeded, by an unknown amount.
pub(crate) const TOO_LARGE: DecodeError = DecodeError::Invalid("the decompressed size");

/// The first `N` bytes, and the rest.
fn take<const N: usize>(input: &[u8]) -> Result<([u8; N], &[u8]), DecodeError> {
    match input.split_first_chunk::<N>() {
        Some((first, rest)) => Ok((*first, rest)),
        None => Err(DecodeError::Truncated("compressed records")),
    }
}

/// The first `len` bytes, and the rest.
fn take_slice(input: &[u8], len: usize) -> Result<(&[u8], &[u8]), DecodeError> {
    input.split_at_checked(len).ok_or(DecodeError::Truncated("compressed records"))
}
