//! Bounded primitives of Kafka's formats: fixed integers, varints, strings, arrays, tagged fields.
//!
//! `wavetank-wire` builds the messages on them, [`crate::metadata`] the records of the metadata
//! log, [`crate::batch`] the records of a batch. No read allocates more than the bytes present
//! justify: a count is checked against the remaining bytes before anything is reserved.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::{BufMut, Bytes, BytesMut};
use core::fmt;

use crate::types::Uuid;

/// Why bytes do not decode to a value of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DecodeError {
    /// The bytes end inside the named thing.
    Truncated(&'static str),
    /// The named thing has a value that the format does not allow.
    Invalid(&'static str),
    /// This many bytes are left over at the end.
    Trailing(usize),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Truncated(what) => write!(f, "the data ends inside {what}"),
            DecodeError::Invalid(what) => write!(f, "{what} is invalid"),
            DecodeError::Trailing(count) => write!(f, "{count} trailing bytes"),
        }
    }
}

impl core::error::Error for DecodeError {}

/// Reads a buffer front to back. Byte fields are slices of the buffer, not copies.
#[derive(Clone, Debug)]
pub struct Reader {
    bytes: Bytes,
}

macro_rules! fixed {
    ($($(#[$doc:meta])* $name:ident -> $type:ty;)*) => {
        $($(#[$doc])*
        ///
        /// # Errors
        /// If the bytes end before it.
        pub fn $name(&mut self) -> Result<$type, DecodeError> {
            const SIZE: usize = core::mem::size_of::<$type>();
            let array: [u8; SIZE] = self
                .bytes
                .get(..SIZE)
                .and_then(|slice| slice.try_into().ok())
                .ok_or(DecodeError::Truncated(stringify!($type)))?;
            bytes::Buf::advance(&mut self.bytes, SIZE);
            Ok(<$type>::from_be_bytes(array))
        })*
    };
}

impl Reader {
    /// Reads `bytes`.
    pub fn new(bytes: Bytes) -> Reader {
        Reader { bytes }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// The remaining bytes.
    pub fn rest(self) -> Bytes {
        self.bytes
    }

    /// # Errors
    /// If bytes are left over.
    pub fn finish(&self) -> Result<(), DecodeError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.bytes.len())) }
    }

    fixed! {
        /// INT8.
        i8 -> i8;
        /// An unsigned byte.
        u8 -> u8;
        /// INT16.
        i16 -> i16;
        /// UINT16.
        u16 -> u16;
        /// INT32.
        i32 -> i32;
        /// UINT32.
        u32 -> u32;
        /// INT64.
        i64 -> i64;
    }

    /// BOOLEAN: any byte but 0 is true, as Kafka reads it.
    ///
    /// # Errors
    /// If the bytes end before it.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        Ok(self.u8()? != 0)
    }

    /// UUID.
    ///
    /// # Errors
    /// If the bytes end before it.
    pub fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        let high = self.i64()? as u64;
        let low = self.i64()? as u64;
        Ok(Uuid(u128::from(high) << 64 | u128::from(low)))
    }

    /// UNSIGNED_VARINT, at most five bytes.
    ///
    /// # Errors
    /// If the bytes end before it or it is longer.
    pub fn unsigned_varint(&mut self) -> Result<u32, DecodeError> {
        let mut value: u32 = 0;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8()?;
            if shift == 28 && byte > 0x0f {
                return Err(DecodeError::Invalid("varint"));
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Invalid("varint"))
    }

    /// UNSIGNED_VARLONG, at most ten bytes.
    ///
    /// # Errors
    /// If the bytes end before it or it is longer.
    pub fn unsigned_varlong(&mut self) -> Result<u64, DecodeError> {
        let mut value: u64 = 0;
        for shift in (0..70).step_by(7) {
            let byte = self.u8()?;
            if shift == 63 && byte > 1 {
                return Err(DecodeError::Invalid("varlong"));
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Invalid("varlong"))
    }

    /// VARINT (zigzag), as records use.
    ///
    /// # Errors
    /// As [`Reader::unsigned_varint`].
    pub fn varint(&mut self) -> Result<i32, DecodeError> {
        let raw = self.unsigned_varint()?;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    /// VARLONG (zigzag), as records use.
    ///
    /// # Errors
    /// As [`Reader::unsigned_varlong`].
    pub fn varlong(&mut self) -> Result<i64, DecodeError> {
        let raw = self.unsigned_varlong()?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// Exactly `len` bytes, sharing the buffer.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        if len > self.bytes.len() {
            return Err(DecodeError::Truncated("bytes"));
        }
        Ok(self.bytes.split_to(len))
    }

    /// The length of a nullable value: compact (a varint of length + 1), or 4 bytes if `wide`, else
    /// 2.
    fn length(&mut self, flexible: bool, wide: bool) -> Result<Option<usize>, DecodeError> {
        let signed = if flexible {
            i64::from(self.unsigned_varint()?) - 1
        } else if wide {
            i64::from(self.i32()?)
        } else {
            i64::from(self.i16()?)
        };
        // Kafka's generated readers treat every negative length as null, not only -1.
        Ok(usize::try_from(signed).ok())
    }

    /// NULLABLE_STRING or COMPACT_NULLABLE_STRING.
    ///
    /// # Errors
    /// If the bytes end inside, or it is not UTF-8.
    pub fn nullable_string(&mut self, flexible: bool) -> Result<Option<String>, DecodeError> {
        let Some(length) = self.length(flexible, false)? else { return Ok(None) };
        let bytes = self.take(length)?;
        let text = core::str::from_utf8(&bytes).map_err(|_| DecodeError::Invalid("a string"))?;
        Ok(Some(String::from(text)))
    }

    /// As [`Reader::nullable_string`], but invalid UTF-8 becomes U+FFFD, as in a Java peer. Used
    /// for text from peers, which may choose any names.
    ///
    /// # Errors
    /// If the bytes end inside.
    pub fn nullable_text(&mut self, flexible: bool) -> Result<Option<String>, DecodeError> {
        let Some(length) = self.length(flexible, false)? else { return Ok(None) };
        let bytes = self.take(length)?;
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// STRING or COMPACT_STRING.
    ///
    /// # Errors
    /// As [`Reader::nullable_string`], and if it is null.
    pub fn string(&mut self, flexible: bool) -> Result<String, DecodeError> {
        self.nullable_string(flexible)?.ok_or(DecodeError::Invalid("a null string"))
    }

    /// NULLABLE_BYTES, COMPACT_NULLABLE_BYTES or (COMPACT_)RECORDS, sharing the buffer.
    ///
    /// # Errors
    /// If the bytes end inside.
    pub fn nullable_bytes(&mut self, flexible: bool) -> Result<Option<Bytes>, DecodeError> {
        match self.length(flexible, true)? {
            None => Ok(None),
            Some(length) => self.take(length).map(Some),
        }
    }

    /// ARRAY or COMPACT_ARRAY, nullable. An element takes at least one byte, so a count larger than
    /// what remains is refused before anything is reserved.
    ///
    /// # Errors
    /// If the count is impossible, or if an element cannot be read.
    pub fn nullable_array<T>(
        &mut self,
        flexible: bool,
        mut element: impl FnMut(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.length(flexible, true)? else { return Ok(None) };
        if count > self.remaining() {
            return Err(DecodeError::Truncated("an array"));
        }
        // Elements are larger in memory than on the wire, so grow with those actually read.
        let mut elements = Vec::with_capacity(count.min(64));
        for _ in 0..count {
            elements.push(element(self)?);
        }
        Ok(Some(elements))
    }

    /// ARRAY or COMPACT_ARRAY.
    ///
    /// # Errors
    /// As [`Reader::nullable_array`], and if it is null.
    pub fn array<T>(
        &mut self,
        flexible: bool,
        element: impl FnMut(&mut Reader) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.nullable_array(flexible, element)?.ok_or(DecodeError::Invalid("a null array"))
    }

    /// The tagged fields at the end of a flexible structure. `field` gets each tag and its bytes,
    /// and should ignore unknown tags. Only writers must order the tags; like Kafka's readers, this
    /// one does not check.
    ///
    /// # Errors
    /// If the bytes end inside.
    pub fn tagged_fields(
        &mut self,
        mut field: impl FnMut(u32, Reader) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.unsigned_varint()?;
        for _ in 0..count {
            let tag = self.unsigned_varint()?;
            let size = self.unsigned_varint()? as usize;
            field(tag, Reader::new(self.take(size)?))?;
        }
        Ok(())
    }

    /// Skips the tagged fields of a structure for which no tags are known.
    ///
    /// # Errors
    /// As [`Reader::tagged_fields`].
    pub fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        self.tagged_fields(|_, _| Ok(()))
    }
}

/// Writes the same primitives.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: BytesMut,
}

impl Writer {
    /// Writes into a fresh buffer.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Writes into a fresh buffer of this capacity.
    pub fn with_capacity(capacity: usize) -> Writer {
        Writer { bytes: BytesMut::with_capacity(capacity) }
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing has been written yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The bytes written.
    pub fn finish(self) -> Bytes {
        self.bytes.freeze()
    }

    /// The bytes written so far, to patch lengths and checksums.
    #[allow(clippy::should_implement_trait)]
    pub fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// INT8.
    pub fn i8(&mut self, value: i8) {
        self.bytes.put_i8(value);
    }
    /// An unsigned byte.
    pub fn u8(&mut self, value: u8) {
        self.bytes.put_u8(value);
    }
    /// INT16.
    pub fn i16(&mut self, value: i16) {
        self.bytes.put_i16(value);
    }
    /// UINT16.
    pub fn u16(&mut self, value: u16) {
        self.bytes.put_u16(value);
    }
    /// INT32.
    pub fn i32(&mut self, value: i32) {
        self.bytes.put_i32(value);
    }
    /// UINT32.
    pub fn u32(&mut self, value: u32) {
        self.bytes.put_u32(value);
    }
    /// INT64.
    pub fn i64(&mut self, value: i64) {
        self.bytes.put_i64(value);
    }
    /// BOOLEAN.
    pub fn bool(&mut self, value: bool) {
        self.bytes.put_u8(u8::from(value));
    }
    /// UUID.
    pub fn uuid(&mut self, value: Uuid) {
        self.bytes.put_u128(value.0);
    }
    /// Bytes as they are.
    pub fn put(&mut self, value: &[u8]) {
        self.bytes.put_slice(value);
    }

    /// UNSIGNED_VARINT.
    pub fn unsigned_varint(&mut self, value: u32) {
        self.unsigned_varlong(u64::from(value));
    }

    /// UNSIGNED_VARLONG.
    pub fn unsigned_varlong(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.bytes.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.put_u8(value as u8);
    }

    /// VARINT (zigzag).
    pub fn varint(&mut self, value: i32) {
        self.unsigned_varint((value << 1 ^ value >> 31) as u32);
    }

    /// VARLONG (zigzag).
    pub fn varlong(&mut self, value: i64) {
        self.unsigned_varlong((value << 1 ^ value >> 63) as u64);
    }

    fn length(&mut self, flexible: bool, wide: bool, length: Option<usize>) {
        let signed = length.map_or(-1, |l| i32::try_from(l).expect("no message is over 2 GiB"));
        if flexible {
            self.unsigned_varint((signed + 1) as u32);
        } else if wide {
            self.i32(signed);
        } else {
            self.i16(i16::try_from(signed).expect("strings of classic versions are under 32 KiB"));
        }
    }

    /// NULLABLE_STRING or COMPACT_NULLABLE_STRING. A classic string is cut to 32,767 bytes (at a
    /// character boundary), the most that its length field can hold.
    pub fn nullable_string(&mut self, flexible: bool, value: Option<&str>) {
        let value = value.map(|text| {
            let mut end = text.len();
            if !flexible && end > i16::MAX as usize {
                end = i16::MAX as usize;
                while !text.is_char_boundary(end) {
                    end -= 1;
                }
            }
            &text[..end]
        });
        self.length(flexible, false, value.map(str::len));
        if let Some(text) = value {
            self.put(text.as_bytes());
        }
    }

    /// STRING or COMPACT_STRING.
    pub fn string(&mut self, flexible: bool, value: &str) {
        self.nullable_string(flexible, Some(value));
    }

    /// NULLABLE_BYTES, COMPACT_NULLABLE_BYTES or (COMPACT_)RECORDS.
    pub fn nullable_bytes(&mut self, flexible: bool, value: Option<&[u8]>) {
        self.length(flexible, true, value.map(<[u8]>::len));
        if let Some(bytes) = value {
            self.put(bytes);
        }
    }

    /// The count before the elements of an ARRAY or COMPACT_ARRAY; `None` is a null array.
    pub fn array_length(&mut self, flexible: bool, length: Option<usize>) {
        self.length(flexible, true, length);
    }

    /// ARRAY or COMPACT_ARRAY.
    pub fn array<T>(
        &mut self,
        flexible: bool,
        elements: &[T],
        mut element: impl FnMut(&mut Writer, &T),
    ) {
        self.array_length(flexible, Some(elements.len()));
        for one in elements {
            element(self, one);
        }
    }

    /// Tagged fields, ascending by tag.
    pub fn tagged_fields(&mut self, fields: &[(u32, Bytes)]) {
        self.unsigned_varint(fields.len() as u32);
        for (tag, bytes) in fields {
            self.unsigned_varint(*tag);
            self.unsigned_varint(bytes.len() as u32);
            self.put(bytes);
        }
    }
}
