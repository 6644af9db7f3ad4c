//! Decompressing in pieces, for callers that may stop early, or may not work for long at a time.
//!
//! Only for data that was checked when it was written: checksums within are not verified again.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;
use bytes::Bytes;
use core::fmt;
use core::hash::{Hash, Hasher};
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZFlush, MZStatus};

use super::snappy::Raw;
use super::{Compression, TOO_LARGE, gzip, lz4, snappy, zstd};
use crate::codec::DecodeError;

/// Bytes of a piece, if the format leaves a choice. An LZ4 block has at most 4 MiB.
pub(super) const PIECE: usize = 64 << 10;

/// Some of the plain bytes.
#[derive(Debug)]
pub(crate) struct Piece {
    /// May be empty, even if more follow.
    pub(crate) bytes: Bytes,
    /// The work that it took, in bytes of output.
    pub(crate) work: usize,
}

/// A decompression in progress. Its position defines its state: the decoder's state follows from
/// that.
pub(crate) struct Stream {
    codec: Compression,
    input: Bytes,
    limit: usize,
    /// Pieces taken, and the bytes in them.
    taken: u64,
    made: usize,
    /// Position in the input.
    at: usize,
    decoder: Decoder,
}

enum Decoder {
    Plain,
    /// With the end of the deflated bytes.
    Gzip(Box<InflateState>, usize),
    Snappy(Option<Raw>),
    /// With the bytes that the next block may refer to.
    Lz4(lz4::Frame, Vec<u8>),
    Zstd(Box<zstd::Frames>),
    End,
}

impl Stream {
    /// Decompresses at most `limit` plain bytes from `input`.
    ///
    /// # Errors
    /// If its header is not in the codec's format.
    pub(crate) fn new(
        codec: Compression,
        input: Bytes,
        limit: usize,
    ) -> Result<Stream, DecodeError> {
        let (at, decoder) = match codec {
            Compression::None => (0, Decoder::Plain),
            Compression::Gzip => {
                let member = gzip::member(&input)?;
                let state = InflateState::new_boxed(DataFormat::Raw);
                (member.start, Decoder::Gzip(state, member.end))
            }
            Compression::Snappy => match snappy::chunks_at(&input) {
                Some(at) => (at, Decoder::Snappy(None)),
                None => {
                    let raw = Raw::new(&input, limit)?;
                    (input.len(), Decoder::Snappy(Some(raw)))
                }
            },
            Compression::Lz4 => {
                let (frame, rest) = lz4::frame(&input)?;
                (input.len() - rest.len(), Decoder::Lz4(frame, Vec::new()))
            }
            Compression::Zstd => (0, Decoder::Zstd(Box::new(zstd::Frames::new(limit)))),
        };
        Ok(Stream { codec, input, limit, taken: 0, made: 0, at, decoder })
    }

    /// The next piece; `None` at the end.
    ///
    /// # Errors
    /// If the input is malformed, or the output exceeds the limit.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, DecodeError> {
        let piece = self.advance()?;
        self.taken += 1;
        self.made += piece.as_ref().map_or(0, |piece| piece.bytes.len());
        if self.made > self.limit { Err(TOO_LARGE) } else { Ok(piece) }
    }

    fn advance(&mut self) -> Result<Option<Piece>, DecodeError> {
        let (input, at) = (&self.input, &mut self.at);
        let made = |bytes: Vec<u8>| Piece { work: bytes.len(), bytes: Bytes::from(bytes) };
        match &mut self.decoder {
            Decoder::Plain => {
                let bytes = input.slice(*at..input.len().min(*at + PIECE));
                *at += bytes.len();
                Ok((!bytes.is_empty()).then(|| Piece { work: bytes.len(), bytes }))
            }
            Decoder::Gzip(state, end) => {
                let mut bytes = vec![0; PIECE];
                let result = inflate(state, &input[*at..*end], &mut bytes, MZFlush::None);
                *at += result.bytes_consumed;
                bytes.truncate(result.bytes_written);
                match result.status {
                    Ok(MZStatus::StreamEnd) => self.decoder = Decoder::End,
                    Ok(MZStatus::Ok) if result.bytes_consumed + result.bytes_written > 0 => {}
                    Ok(_) | Err(_) => return Err(gzip::MALFORMED),
                }
                Ok(Some(made(bytes)))
            }
            Decoder::Snappy(raw) => {
                if raw.as_ref().is_none_or(Raw::is_done) {
                    *raw = match snappy::chunk(&input[*at..])? {
                        None => return Ok(None),
                        Some((chunk, rest)) => {
                            *at = input.len() - rest.len();
                            Some(Raw::new(&input.slice_ref(chunk), self.limit)?)
                        }
                    };
                }
                raw.as_mut().map(|raw| raw.next(PIECE).map(made)).transpose()
            }
            Decoder::Lz4(frame, window) => {
                let mut bytes = Vec::new();
                match lz4::block(frame, &input[*at..], window, &mut bytes)? {
                    None => {
                        self.decoder = Decoder::End;
                        Ok(None)
                    }
                    Some(rest) => {
                        *at = input.len() - rest.len();
                        lz4::slide(frame, window, &bytes);
                        Ok(Some(made(bytes)))
                    }
                }
            }
            Decoder::Zstd(frames) => {
                let mut rest = &input[*at..];
                let piece = frames.next(&mut rest, PIECE)?;
                *at = input.len() - rest.len();
                Ok(piece.map(|(bytes, work)| Piece { bytes: Bytes::from(bytes), work }))
            }
            Decoder::End => Ok(None),
        }
    }
}

impl Clone for Stream {
    /// Decompresses again, from the start to the same position.
    fn clone(&self) -> Stream {
        let again = || {
            let mut stream = Stream::new(self.codec, self.input.clone(), self.limit)?;
            while stream.taken < self.taken {
                stream.next()?;
            }
            Ok::<Stream, DecodeError>(stream)
        };
        again().expect("it came here once")
    }
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stream { codec, input, limit, taken, made, at, decoder: _ } = self;
        let mut all = f.debug_struct("Stream");
        all.field("codec", codec).field("input", &input.len()).field("limit", limit);
        all.field("taken", taken).field("made", made).field("at", at).finish()
    }
}

impl PartialEq for Stream {
    fn eq(&self, other: &Stream) -> bool {
        let of = |stream: &Stream| (stream.codec, stream.limit, stream.taken);
        of(self) == of(other) && self.input == other.input
    }
}

impl Eq for Stream {}

impl Hash for Stream {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.codec, &self.input, self.limit, self.taken).hash(state);
    }
}
