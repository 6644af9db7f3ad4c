//! Snappy: raw, as librdkafka writes it, or in the chunks of Xerial's snappy-java.

use alloc::vec::Vec;

use super::{TOO_LARGE, take, take_slice};
use crate::codec::DecodeError;

const MALFORMED: DecodeError = DecodeError::Invalid("a snappy stream");

/// What a Xerial stream starts with; a version and a compatible version follow, four bytes each.
const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Plain bytes of a chunk, as snappy-java makes them.
const CHUNK: usize = 32 << 10;

pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    if !input.starts_with(&MAGIC) {
        append(input, limit, &mut out)?;
        return Ok(out);
    }
    let mut rest = take::<16>(input)?.1;
    while !rest.is_empty() {
        let (length, after) = take::<4>(rest)?;
        let length = usize::try_from(i32::from_be_bytes(length)).map_err(|_| MALFORMED)?;
        let (chunk, after) = take_slice(after, length)?;
        append(chunk, limit, &mut out)?;
        rest = after;
    }
    Ok(out)
}

fn append(raw: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let size = snap::raw::decompress_len(raw).map_err(|_| MALFORMED)?;
    if size > limit - out.len() {
        return Err(TOO_LARGE);
    }
    // A byte of snappy makes at most 64: a header alone must not reserve more than can come.
    if size > raw.len().saturating_mul(64) {
        return Err(MALFORMED);
    }
    let start = out.len();
    out.resize(start + size, 0);
    let mut decoder = snap::raw::Decoder::new();
    match decoder.decompress(raw, &mut out[start..]) {
        Ok(written) if written == size => Ok(()),
        Ok(_) | Err(_) => Err(MALFORMED),
    }
}

pub(super) fn compress(input: &[u8]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    let mut encoder = snap::raw::Encoder::new();
    for chunk in input.chunks(CHUNK) {
        let packed = encoder.compress_vec(chunk).expect("a chunk is far below snappy's 4 GiB");
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    out
}
