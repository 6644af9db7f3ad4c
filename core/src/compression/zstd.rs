//! zstd frames (RFC 8878).

use alloc::vec::Vec;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::TOO_LARGE;
use crate::codec::DecodeError;

const MALFORMED: DecodeError = DecodeError::Invalid("a zstd frame");

/// The largest window that is reserved; clients' levels use at most 8 MiB (what RFC 8878 asks every
/// decoder to support).
const MAX_WINDOW: u64 = 8 << 20;

/// What a frame costs at least, in bytes of output: its header alone makes the decoder set up its
/// tables and its window.
const FRAME_COST: usize = 64 << 10;

/// One frame after the other.
pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    let mut rest = input;
    let mut out = Vec::new();
    let mut decoder = FrameDecoder::new();
    decoder.set_max_window_size(MAX_WINDOW.max(limit as u64));
    let mut spent = 0;
    loop {
        spent += FRAME_COST;
        if spent > limit.max(FRAME_COST) {
            return Err(TOO_LARGE);
        }
        decoder.reset(&mut rest).map_err(|_| MALFORMED)?;
        while !decoder.is_finished() {
            // A block makes at most 128 KiB, so the limit is noticed in time.
            decoder
                .decode_blocks(&mut rest, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(|_| MALFORMED)?;
            let plain = decoder.collect().unwrap_or_default();
            if plain.len() > limit - out.len() {
                return Err(TOO_LARGE);
            }
            out.extend_from_slice(&plain);
        }
        if rest.is_empty() {
            return Ok(out);
        }
    }
}

pub(super) fn compress(input: &[u8]) -> Vec<u8> {
    compress_to_vec(input, CompressionLevel::Fastest)
}
