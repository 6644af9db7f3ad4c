//! zstd frames (RFC 8878).

use alloc::vec::Vec;
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use ruzstd::io::Read;

use super::TOO_LARGE;
use crate::codec::DecodeError;

const MALFORMED: DecodeError = DecodeError::Invalid("a zstd frame");

/// The largest window that is reserved, unless the limit is larger. Clients' levels use at most 8
/// MiB (which RFC 8878 asks every decoder to support).
const MAX_WINDOW: u64 = 8 << 20;

/// Maximum output of a block, in bytes.
const MOST_OF_BLOCK: usize = 128 << 10;

/// The minimum cost of a frame, in bytes of output: its header alone makes the decoder set up its
/// tables and its window.
const FRAME_COST: usize = 64 << 10;

/// Decompresses one frame after the other.
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
            // A block yields at most 128 KiB, so the limit is noticed in time.
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

/// A decompression of frames in progress.
pub(super) struct Frames {
    decoder: FrameDecoder,
    limit: usize,
    spent: usize,
}

impl Frames {
    pub(super) fn new(limit: usize) -> Frames {
        let mut decoder = FrameDecoder::new();
        decoder.set_max_window_size(MAX_WINDOW.max(limit as u64));
        Frames { decoder, limit, spent: 0 }
    }

    /// The next bytes, at most `len`, and the work that they took. They may be empty: a decoder
    /// keeps a window of its output until the frame ends. `None` at the end.
    pub(super) fn next(
        &mut self,
        rest: &mut &[u8],
        len: usize,
    ) -> Result<Option<(Vec<u8>, usize)>, DecodeError> {
        let mut bytes = alloc::vec![0; len];
        let read = self.decoder.read(&mut bytes).map_err(|_| MALFORMED)?;
        bytes.truncate(read);
        if read > 0 {
            return Ok(Some((bytes, read)));
        }
        if self.decoder.is_finished() {
            if rest.is_empty() && self.spent > 0 {
                return Ok(None);
            }
            self.spent += FRAME_COST;
            if self.spent > self.limit.max(FRAME_COST) {
                return Err(TOO_LARGE);
            }
            self.decoder.reset(&mut *rest).map_err(|_| MALFORMED)?;
        } else {
            self.decoder
                .decode_blocks(&mut *rest, BlockDecodingStrategy::UptoBlocks(1))
                .map_err(|_| MALFORMED)?;
        }
        Ok(Some((bytes, MOST_OF_BLOCK)))
    }
}

pub(super) fn compress(input: &[u8]) -> Vec<u8> {
    compress_to_vec(input, CompressionLevel::Fastest)
}
