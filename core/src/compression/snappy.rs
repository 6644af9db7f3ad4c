//! Snappy: raw, as librdkafka writes it, or in the chunks of Xerial's snappy-java.

use alloc::vec::Vec;
use bytes::Bytes;

use super::{TOO_LARGE, take, take_slice};
use crate::codec::DecodeError;

const MALFORMED: DecodeError = DecodeError::Invalid("a snappy stream");

/// The first bytes of a Xerial stream; a version and a compatible version follow, four bytes each.
const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
/// Bytes of the magic and the versions.
const HEADER: usize = 16;
/// Plain bytes of a chunk, as in snappy-java.
const CHUNK: usize = 32 << 10;

pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::new();
    if !input.starts_with(&MAGIC) {
        append(input, limit, &mut out)?;
        return Ok(out);
    }
    let mut rest = take::<HEADER>(input)?.1;
    while let Some((raw, after)) = chunk(rest)? {
        append(raw, limit, &mut out)?;
        rest = after;
    }
    Ok(out)
}

/// Where the chunks begin, if it is in Xerial's framing.
pub(super) fn chunks_at(input: &[u8]) -> Option<usize> {
    (input.starts_with(&MAGIC) && input.len() >= HEADER).then_some(HEADER)
}

/// The first chunk, and the rest; `None` at the end.
pub(super) fn chunk(rest: &[u8]) -> Result<Option<(&[u8], &[u8])>, DecodeError> {
    if rest.is_empty() {
        return Ok(None);
    }
    let (length, after) = take::<4>(rest)?;
    let length = usize::try_from(i32::from_be_bytes(length)).map_err(|_| MALFORMED)?;
    take_slice(after, length).map(Some)
}

/// A decompression of raw snappy in pieces: the codec's crate can only decompress all of it at
/// once.
///
/// Source: snappy's `format_description.txt`.
pub(super) struct Raw {
    input: Bytes,
    at: usize,
    /// All output so far: later elements may refer to any of it.
    out: Vec<u8>,
    size: usize,
}

impl Raw {
    pub(super) fn new(input: &Bytes, limit: usize) -> Result<Raw, DecodeError> {
        let size = snap::raw::decompress_len(input).map_err(|_| MALFORMED)?;
        if size > limit {
            return Err(TOO_LARGE);
        }
        if size > input.len().saturating_mul(64) {
            return Err(MALFORMED);
        }
        // The size is a varint.
        let at = input.iter().position(|byte| byte & 0x80 == 0).map_or(input.len(), |at| at + 1);
        Ok(Raw { input: input.clone(), at, out: Vec::with_capacity(size), size })
    }

    pub(super) fn is_done(&self) -> bool {
        self.at == self.input.len()
    }

    /// The next bytes, about `len` of them.
    pub(super) fn next(&mut self, len: usize) -> Result<Vec<u8>, DecodeError> {
        let start = self.out.len();
        while !self.is_done() && self.out.len() - start < len {
            self.element()?;
        }
        let too_short = self.is_done() && self.out.len() < self.size;
        if too_short { Err(MALFORMED) } else { Ok(self.out[start..].to_vec()) }
    }

    fn element(&mut self) -> Result<(), DecodeError> {
        let tag = self.number(1)?;
        let (kind, high) = (tag & 3, tag >> 2);
        if kind == 0 {
            let length = if high < 60 { high } else { self.number(high - 59)? };
            let (literal, _) = take_slice(&self.input[self.at..], length + 1)?;
            if literal.len() > self.size - self.out.len() {
                return Err(MALFORMED);
            }
            self.out.extend_from_slice(literal);
            self.at += length + 1;
            return Ok(());
        }
        let (length, offset) = match kind {
            1 => ((high & 7) + 4, (high >> 3) << 8 | self.number(1)?),
            2 => (high + 1, self.number(2)?),
            _ => (high + 1, self.number(4)?),
        };
        let from = self.out.len().checked_sub(offset).filter(|_| offset > 0).ok_or(MALFORMED)?;
        if length > self.size - self.out.len() {
            return Err(MALFORMED);
        }
        // The copy may overlap its own output.
        for at in from..from + length {
            self.out.push(self.out[at]);
        }
        Ok(())
    }

    /// A little-endian number of `len` bytes.
    fn number(&mut self, len: usize) -> Result<usize, DecodeError> {
        let (bytes, _) = take_slice(&self.input[self.at..], len)?;
        self.at += len;
        Ok(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }
}

fn append(raw: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecodeError> {
    let size = snap::raw::decompress_len(raw).map_err(|_| MALFORMED)?;
    if size > limit - out.len() {
        return Err(TOO_LARGE);
    }
    // A byte of snappy yields at most 64: a header alone must not reserve more than the input can
    // yield.
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
