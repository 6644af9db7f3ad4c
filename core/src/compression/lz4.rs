//! LZ4 frames (LZ4 frame format 1.6), as Kafka uses them from magic 2 on.

use alloc::vec;
use alloc::vec::Vec;
use lz4_flex::block;

use super::{TOO_LARGE, take, take_slice};
use crate::codec::DecodeError;

const MALFORMED: DecodeError = DecodeError::Invalid("an LZ4 frame");

const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
/// How far back a block may refer, in bytes.
const WINDOW: usize = 64 << 10;
/// Bytes of a block's length; the end mark is a length of 0.
const END_MARK: usize = 4;
/// A block whose length has this bit is stored uncompressed.
const STORED: u32 = 1 << 31;

// Bits of the first descriptor byte.
const VERSION_MASK: u8 = 0xc0;
const VERSION: u8 = 0x40;
const INDEPENDENT: u8 = 0x20;
const BLOCK_CHECKSUM: u8 = 0x10;
const CONTENT_SIZE: u8 = 0x08;
const CONTENT_CHECKSUM: u8 = 0x04;
const RESERVED: u8 = 0x02;
const DICTIONARY: u8 = 0x01;

/// A frame's header.
pub(super) struct Frame {
    flags: u8,
    max_block: usize,
    content_size: Option<u64>,
}

impl Frame {
    fn is_independent(&self) -> bool {
        self.flags & INDEPENDENT != 0
    }
}

pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    let (frame, mut rest) = frame(input)?;
    let mut out = Vec::new();
    let mut plain = Vec::new();
    loop {
        let window = if frame.is_independent() { 0 } else { out.len().min(WINDOW) };
        let after = block(&frame, rest, &out[out.len() - window..], &mut plain)?;
        let Some(after) = after else { break };
        rest = after;
        if plain.len() > limit - out.len() {
            return Err(TOO_LARGE);
        }
        out.extend_from_slice(&plain);
    }
    rest = &rest[END_MARK..];
    if frame.flags & CONTENT_CHECKSUM != 0 {
        let (checksum, after) = take::<4>(rest)?;
        rest = after;
        if u32::from_le_bytes(checksum) != xxh32(&out) {
            return Err(MALFORMED);
        }
    }
    let sized = frame.content_size.is_none_or(|size| size == out.len() as u64);
    if rest.is_empty() && sized { Ok(out) } else { Err(MALFORMED) }
}

/// Splits the input into the header and the blocks.
pub(super) fn frame(input: &[u8]) -> Result<(Frame, &[u8]), DecodeError> {
    let (magic, descriptor) = take::<4>(input)?;
    let ([flags, sizes], mut rest) = take::<2>(descriptor)?;
    let supported = magic == MAGIC
        && flags & VERSION_MASK == VERSION
        && flags & (RESERVED | DICTIONARY) == 0
        && sizes & 0x8f == 0;
    let max_block = match sizes >> 4 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => return Err(MALFORMED),
    };
    if !supported {
        return Err(MALFORMED);
    }
    let mut content_size = None;
    if flags & CONTENT_SIZE != 0 {
        let (size, after) = take::<8>(rest)?;
        content_size = Some(u64::from_le_bytes(size));
        rest = after;
    }
    let described = &descriptor[..descriptor.len() - rest.len()];
    let ([checksum], rest) = take::<1>(rest)?;
    if checksum != (xxh32(described) >> 8) as u8 {
        return Err(MALFORMED);
    }
    Ok((Frame { flags, max_block, content_size }, rest))
}

/// Decompresses one block into `plain`, replacing its content, and returns the input after the
/// block; `None` at the end mark.
pub(super) fn block<'a>(
    frame: &Frame,
    rest: &'a [u8],
    dictionary: &[u8],
    plain: &mut Vec<u8>,
) -> Result<Option<&'a [u8]>, DecodeError> {
    let (size, rest) = take::<END_MARK>(rest)?;
    let size = u32::from_le_bytes(size);
    if size == 0 {
        return Ok(None);
    }
    let (packed, mut rest) = take_slice(rest, (size & !STORED) as usize)?;
    if frame.flags & BLOCK_CHECKSUM != 0 {
        let (checksum, after) = take::<4>(rest)?;
        rest = after;
        if u32::from_le_bytes(checksum) != xxh32(packed) {
            return Err(MALFORMED);
        }
    }
    if size & STORED != 0 {
        if packed.len() > frame.max_block {
            return Err(MALFORMED);
        }
        plain.clear();
        plain.extend_from_slice(packed);
        return Ok(Some(rest));
    }
    // Each byte of a block yields at most 255: no more than that is reserved.
    plain.resize(frame.max_block.min(packed.len().saturating_mul(255)), 0);
    let written =
        block::decompress_into_with_dict(packed, plain, dictionary).map_err(|_| MALFORMED)?;
    plain.truncate(written);
    Ok(Some(rest))
}

/// Slides the window over the new block, to what the next block may refer to.
pub(super) fn slide(frame: &Frame, window: &mut Vec<u8>, plain: &[u8]) {
    if frame.is_independent() {
        return;
    }
    let new = &plain[plain.len() - plain.len().min(WINDOW)..];
    let over = (window.len() + new.len()).saturating_sub(WINDOW);
    window.drain(..over);
    window.extend_from_slice(new);
}

pub(super) fn compress(input: &[u8]) -> Vec<u8> {
    // Independent blocks of at most 64 KiB, without checksums: the batch has its own.
    let descriptor = [VERSION | INDEPENDENT, 4 << 4];
    let mut out = vec![];
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&descriptor);
    out.push((xxh32(&descriptor) >> 8) as u8);
    for chunk in input.chunks(64 << 10) {
        let packed = block::compress(chunk);
        let (bytes, flag) =
            if packed.len() < chunk.len() { (&packed[..], 0) } else { (chunk, STORED) };
        out.extend_from_slice(&(bytes.len() as u32 | flag).to_le_bytes());
        out.extend_from_slice(bytes);
    }
    out.extend_from_slice(&[0; 4]);
    out
}

const PRIME: [u32; 5] = [0x9e37_79b1, 0x85eb_ca77, 0xc2b2_ae3d, 0x27d4_eb2f, 0x1656_67b1];

/// xxHash with 32 bits and seed 0, the checksum of the frame format.
pub(super) fn xxh32(bytes: &[u8]) -> u32 {
    let round = |lane: u32, word: u32| {
        lane.wrapping_add(word.wrapping_mul(PRIME[1])).rotate_left(13).wrapping_mul(PRIME[0])
    };
    let mut lanes = [PRIME[0].wrapping_add(PRIME[1]), PRIME[1], 0, 0u32.wrapping_sub(PRIME[0])];
    let (stripes, tail) = bytes.as_chunks::<16>();
    for stripe in stripes {
        let (words, _) = stripe.as_chunks::<4>();
        for (lane, word) in lanes.iter_mut().zip(words) {
            *lane = round(*lane, u32::from_le_bytes(*word));
        }
    }
    let mut hash = if stripes.is_empty() {
        PRIME[4]
    } else {
        [1, 7, 12, 18]
            .into_iter()
            .zip(lanes)
            .fold(0u32, |sum, (by, lane)| sum.wrapping_add(lane.rotate_left(by)))
    };
    hash = hash.wrapping_add(bytes.len() as u32);
    let (words, tail) = tail.as_chunks::<4>();
    for word in words {
        hash = hash.wrapping_add(u32::from_le_bytes(*word).wrapping_mul(PRIME[2]));
        hash = hash.rotate_left(17).wrapping_mul(PRIME[3]);
    }
    for byte in tail {
        hash = hash.wrapping_add(u32::from(*byte).wrapping_mul(PRIME[4]));
        hash = hash.rotate_left(11).wrapping_mul(PRIME[0]);
    }
    hash = (hash ^ hash >> 15).wrapping_mul(PRIME[1]);
    hash = (hash ^ hash >> 13).wrapping_mul(PRIME[2]);
    hash ^ hash >> 16
}
