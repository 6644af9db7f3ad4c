//! gzip (RFC 1952): the member's header and trailer around a deflate stream.

use alloc::vec::Vec;
use core::ops::Range;
use miniz_oxide::inflate::{TINFLStatus, decompress_to_vec_with_limit};

use super::{TOO_LARGE, take, take_slice};
use crate::codec::DecodeError;

pub(super) const MALFORMED: DecodeError = DecodeError::Invalid("a gzip stream");

const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;
/// Flags that must be 0.
const RESERVED: u8 = 0xe0;

/// Decompresses one member, which is what Kafka's clients write.
pub(super) fn decompress(input: &[u8], limit: usize) -> Result<Vec<u8>, DecodeError> {
    let deflated = member(input)?;
    let trailer = &input[deflated.end..];
    let (crc, size) = take::<4>(trailer)?;
    let plain = decompress_to_vec_with_limit(&input[deflated], limit).map_err(|error| {
        if error.status == TINFLStatus::HasMoreOutput { TOO_LARGE } else { MALFORMED }
    })?;
    // The size is stored modulo 2^32.
    let says = (u32::from_le_bytes(crc), take::<4>(size)?.0);
    let is = (crc32(&plain), (plain.len() as u32).to_le_bytes());
    if says == is { Ok(plain) } else { Err(MALFORMED) }
}

/// The range of the deflated bytes; eight bytes of trailer follow.
pub(super) fn member(input: &[u8]) -> Result<Range<usize>, DecodeError> {
    let (header, mut rest) = take::<10>(input)?;
    let flags = header[3];
    if header[..3] != [0x1f, 0x8b, 8] || flags & RESERVED != 0 {
        return Err(MALFORMED);
    }
    if flags & FEXTRA != 0 {
        let (length, after) = take::<2>(rest)?;
        rest = take_slice(after, usize::from(u16::from_le_bytes(length)))?.1;
    }
    for flag in [FNAME, FCOMMENT] {
        if flags & flag != 0 {
            let end = rest.iter().position(|byte| *byte == 0).ok_or(MALFORMED)?;
            rest = &rest[end + 1..];
        }
    }
    if flags & FHCRC != 0 {
        rest = take::<2>(rest)?.1;
    }
    let length = rest.len().checked_sub(8).ok_or(DecodeError::Truncated("a gzip stream"))?;
    let start = input.len() - rest.len();
    Ok(start..start + length)
}

pub(super) fn compress(input: &[u8]) -> Vec<u8> {
    // No name, no time, unknown operating system: the same bytes everywhere.
    let mut out = alloc::vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
    out.extend_from_slice(&miniz_oxide::deflate::compress_to_vec(input, 6));
    out.extend_from_slice(&crc32(input).to_le_bytes());
    out.extend_from_slice(&(input.len() as u32).to_le_bytes());
    out
}

const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 { value >> 1 ^ 0xedb8_8320 } else { value >> 1 };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
};

/// The CRC of gzip and zip (not the one of Kafka's batches).
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, byte| TABLE[usize::from(crc as u8 ^ byte)] ^ crc >> 8)
}
