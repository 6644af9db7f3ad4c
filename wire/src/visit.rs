//! One description for both directions: a schema function visits a message's fields in order, and
//! [`Io`] reads or writes each.
//!
//! Reading is bounded. A count never exceeds the remaining bytes. All elements together never take
//! more memory than a fixed multiple of the frame ([`AMPLIFICATION`]), because an element of a few
//! bytes on the wire may take a hundred in memory. They never exceed the memory and the number of
//! elements that the reader allows ([`Bounds`]), because each is work for the message's handler.

use alloc::string::String;
use alloc::vec::Vec;
use bytes::Bytes;

use wavetank_core::codec::{DecodeError, Reader, Writer};
use wavetank_core::error_code::ErrorCode;
use wavetank_core::msg::MAX_REQUEST_ELEMENTS;
use wavetank_core::types::{BrokerEpoch, LeaderEpoch, NodeId, Offset, PartitionEpoch, Uuid};

/// The outcome of visiting.
pub(crate) type Visited = Result<(), DecodeError>;

/// Bytes of memory that decoded elements may take for each byte of the frame. The legitimate
/// messages that need most are lists of topics by name: at most 12, with names of two letters.
const AMPLIFICATION: usize = 16;
/// Bytes on top of that, so that small frames are never refused.
const ALLOWANCE: usize = 16 << 10;
/// The message needs more elements, or more memory for them, than the reader allows.
pub(crate) const TOO_MANY: DecodeError = DecodeError::Invalid("the number of elements");
/// Slices of at least this length are written as separate chunks, without a copy.
const CHUNK: usize = 1 << 10;

/// Limits for decoding one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of memory for elements and text.
    pub memory: usize,
    /// Elements of all its arrays together.
    pub elements: usize,
}

impl Bounds {
    /// For a request. Kafka has no such bound. The largest legitimate requests name each partition
    /// of a large broker once. A frame of the maximum size is full of records, which are slices of
    /// it.
    pub const REQUEST: Bounds = Bounds { memory: 64 << 20, elements: MAX_REQUEST_ELEMENTS };
    /// For an answer. The metadata of about a million partitions fits.
    pub const RESPONSE: Bounds = Bounds { memory: 256 << 20, elements: usize::MAX };
}

enum Direction {
    Read { reader: Reader, budget: Bounds },
    Write { writer: Writer, chunks: Vec<Bytes> },
}

/// A message being read or written.
pub(crate) struct Io {
    direction: Direction,
    version: i16,
    flexible: bool,
}

/// A tagged field of a flexible structure.
pub(crate) struct Tagged<'a> {
    /// Its tag.
    pub tag: u32,
    /// The version that introduced it. Earlier ones neither write nor know it.
    pub since: i16,
    /// Whether to write it (its value is not the default).
    pub present: bool,
    /// Its content.
    pub visit: &'a mut dyn FnMut(&mut Io) -> Visited,
}

macro_rules! fixed {
    ($($name:ident: $type:ty;)*) => {
        $(pub fn $name(&mut self, value: &mut $type) -> Visited {
            match &mut self.direction {
                Direction::Read { reader, .. } => *value = reader.$name()?,
                Direction::Write { writer, .. } => writer.$name(*value),
            }
            Ok(())
        })*
    };
}

macro_rules! newtypes {
    ($($name:ident: $type:ty as $inner:ident;)*) => {
        $(pub fn $name(&mut self, value: &mut $type) -> Visited {
            self.$inner(&mut value.0)
        })*
    };
}

impl Io {
    pub fn reader(bytes: Bytes, version: i16, flexible: bool, bounds: Bounds) -> Io {
        let memory = bytes.len().saturating_mul(AMPLIFICATION).saturating_add(ALLOWANCE);
        let budget = Bounds { memory: memory.min(bounds.memory), ..bounds };
        Io { direction: Direction::Read { reader: Reader::new(bytes), budget }, version, flexible }
    }

    pub fn writer(version: i16, flexible: bool) -> Io {
        let direction = Direction::Write { writer: Writer::new(), chunks: Vec::new() };
        Io { direction, version, flexible }
    }

    /// The bytes written.
    pub fn into_chunks(self) -> Vec<Bytes> {
        match self.direction {
            Direction::Write { writer, mut chunks } => {
                if !writer.is_empty() {
                    chunks.push(writer.finish());
                }
                chunks
            }
            Direction::Read { .. } => Vec::new(),
        }
    }

    pub fn version(&self) -> i16 {
        self.version
    }

    pub fn reads(&self) -> bool {
        matches!(self.direction, Direction::Read { .. })
    }

    /// While reading: what is left of the bounds.
    pub fn bounds(&self) -> Option<Bounds> {
        match &self.direction {
            Direction::Read { budget, .. } => Some(*budget),
            Direction::Write { .. } => None,
        }
    }

    fixed! {
        i8: i8;
        i16: i16;
        u16: u16;
        i32: i32;
        i64: i64;
        bool: bool;
        uuid: Uuid;
    }

    newtypes! {
        node: NodeId as i32;
        offset: Offset as i64;
        epoch: LeaderEpoch as i32;
        partition_epoch: PartitionEpoch as i32;
        broker_epoch: BrokerEpoch as i64;
    }

    /// A field that this version has but the message does not keep: read and dropped, or written as
    /// `value`.
    pub fn ignored_i32(&mut self, mut value: i32) -> Visited {
        self.i32(&mut value)
    }

    pub fn error(&mut self, value: &mut ErrorCode) -> Visited {
        let mut code = value.code();
        self.i16(&mut code)?;
        *value = ErrorCode::from_code(code);
        Ok(())
    }

    /// Charges memory to the frame's budget. Decoded text counts, as elements do.
    fn charge(&mut self, bytes: usize) -> Visited {
        if let Direction::Read { budget, .. } = &mut self.direction {
            budget.memory = budget.memory.checked_sub(bytes).ok_or(TOO_MANY)?;
        }
        Ok(())
    }

    pub fn nullable_string(&mut self, value: &mut Option<String>) -> Visited {
        let flexible = self.flexible;
        match &mut self.direction {
            Direction::Read { reader, .. } => *value = reader.nullable_text(flexible)?,
            Direction::Write { writer, .. } => writer.nullable_string(flexible, value.as_deref()),
        }
        self.charge(value.as_ref().map_or(0, String::len))
    }

    pub fn string(&mut self, value: &mut String) -> Visited {
        let flexible = self.flexible;
        match &mut self.direction {
            Direction::Read { reader, .. } => {
                let text = reader.nullable_text(flexible)?;
                *value = text.ok_or(DecodeError::Invalid("a null string"))?;
            }
            Direction::Write { writer, .. } => writer.string(flexible, value),
        }
        self.charge(value.len())
    }

    /// Nullable bytes, written from pieces. Reading returns one slice of the frame.
    pub fn nullable_bytes(&mut self, value: &mut Option<Vec<Bytes>>) -> Visited {
        let flexible = self.flexible;
        match &mut self.direction {
            Direction::Read { reader, .. } => {
                *value = reader.nullable_bytes(flexible)?.map(|bytes| Vec::from([bytes]));
            }
            Direction::Write { writer, chunks } => {
                let length = value.as_ref().map(|pieces| pieces.iter().map(Bytes::len).sum());
                writer.array_length(flexible, length);
                for piece in value.iter().flatten() {
                    if piece.len() < CHUNK {
                        writer.put(piece);
                    } else {
                        chunks.push(core::mem::take(writer).finish());
                        chunks.push(piece.clone());
                    }
                }
            }
        }
        Ok(())
    }

    pub fn nullable_array<T>(
        &mut self,
        value: &mut Option<Vec<T>>,
        make: impl Fn() -> T,
        mut visit: impl FnMut(&mut Io, &mut T) -> Visited,
    ) -> Visited {
        let flexible = self.flexible;
        if let Direction::Write { writer, .. } = &mut self.direction {
            writer.array_length(flexible, value.as_ref().map(Vec::len));
            for element in value.iter_mut().flatten() {
                visit(self, element)?;
            }
            return Ok(());
        }
        let Some(count) = self.read_count()? else {
            *value = None;
            return Ok(());
        };
        if let Direction::Read { budget, .. } = &mut self.direction {
            budget.elements = budget.elements.checked_sub(count).ok_or(TOO_MANY)?;
        }
        let mut elements = Vec::new();
        for _ in 0..count {
            if elements.len() == elements.capacity() {
                self.grow(&mut elements, count)?;
            }
            let mut element = make();
            visit(self, &mut element)?;
            elements.push(element);
        }
        *value = Some(elements);
        Ok(())
    }

    /// Doubles the capacity, up to `count`. The vector takes the memory that was charged, and half
    /// as much again while it moves.
    fn grow<T>(&mut self, elements: &mut Vec<T>, count: usize) -> Visited {
        let more = elements.len().max(1).min(count - elements.len());
        self.charge(more.saturating_mul(core::mem::size_of::<T>()))?;
        elements.reserve_exact(more);
        Ok(())
    }

    fn read_count(&mut self) -> Result<Option<usize>, DecodeError> {
        let flexible = self.flexible;
        let Direction::Read { reader, .. } = &mut self.direction else { return Ok(None) };
        let count = if flexible {
            i64::from(reader.unsigned_varint()?) - 1
        } else {
            i64::from(reader.i32()?)
        };
        let Ok(count) = usize::try_from(count) else { return Ok(None) };
        if count > reader.remaining() {
            return Err(DecodeError::Truncated("an array"));
        }
        Ok(Some(count))
    }

    /// An array. Reading a null array is an error.
    pub fn array<T>(
        &mut self,
        value: &mut Vec<T>,
        make: impl Fn() -> T,
        visit: impl FnMut(&mut Io, &mut T) -> Visited,
    ) -> Visited {
        let mut some = Some(core::mem::take(value));
        self.nullable_array(&mut some, make, visit)?;
        *value = some.ok_or(DecodeError::Invalid("a null array"))?;
        Ok(())
    }

    pub fn i32s(&mut self, value: &mut Vec<i32>) -> Visited {
        self.array(value, || 0, |io, one| io.i32(one))
    }

    pub fn nodes(&mut self, value: &mut Vec<NodeId>) -> Visited {
        self.array(value, || NodeId::NONE, |io, one| io.node(one))
    }

    pub fn uuids(&mut self, value: &mut Vec<Uuid>) -> Visited {
        self.array(value, || Uuid::ZERO, |io, one| io.uuid(one))
    }

    /// The end of a structure without tagged fields that we know.
    pub fn end(&mut self) -> Visited {
        self.tagged(&mut [])
    }

    /// The end of a structure: its tagged fields, in ascending order. Does nothing in a version
    /// that is not flexible. Unknown tags are skipped.
    pub fn tagged(&mut self, fields: &mut [Tagged<'_>]) -> Visited {
        if !self.flexible {
            return Ok(());
        }
        let (version, flexible) = (self.version, self.flexible);
        match &mut self.direction {
            Direction::Write { writer, .. } => {
                let mut encoded = Vec::new();
                let wanted = |field: &&mut Tagged<'_>| field.present && field.since <= version;
                for field in fields.iter_mut().filter(wanted) {
                    let mut inner = Io::writer(version, flexible);
                    (field.visit)(&mut inner)?;
                    let chunks = inner.into_chunks();
                    let mut whole = Writer::new();
                    chunks.iter().for_each(|chunk| whole.put(chunk));
                    encoded.push((field.tag, whole.finish()));
                }
                writer.tagged_fields(&encoded);
                Ok(())
            }
            Direction::Read { reader, budget } => reader.tagged_fields(|tag, inner| {
                let known = |field: &&mut Tagged<'_>| field.tag == tag && field.since <= version;
                let Some(field) = fields.iter_mut().find(known) else { return Ok(()) };
                let direction = Direction::Read { reader: inner, budget: *budget };
                let mut io = Io { direction, version, flexible };
                (field.visit)(&mut io)?;
                if let Direction::Read { budget: left, .. } = io.direction {
                    *budget = left;
                }
                Ok(())
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_for_elements_has_a_ceiling() {
        let bounds = Bounds { memory: 1 << 20, elements: 10 };
        let frame = Bytes::from(alloc::vec![0; (1 << 20) / AMPLIFICATION + 1]);
        let mut io = Io::reader(frame, 0, false, bounds);
        assert_eq!(io.charge(1 << 20), Ok(()));
        assert_eq!(io.charge(1), Err(TOO_MANY));
        let mut small = Io::reader(Bytes::from_static(&[0; 10]), 0, false, bounds);
        assert_eq!(small.charge(10 * AMPLIFICATION + ALLOWANCE), Ok(()));
        assert_eq!(small.charge(1), Err(TOO_MANY));
    }

    #[test]
    fn elements_are_counted_over_all_arrays() {
        let bounds = Bounds { memory: 1 << 20, elements: 10 };
        let mut frame = Vec::new();
        for count in [4, 6, 1] {
            frame.extend_from_slice(&i32::to_be_bytes(count));
            frame.extend_from_slice(&alloc::vec![0; 4 * count as usize]);
        }
        let mut io = Io::reader(Bytes::from(frame), 0, false, bounds);
        let mut array = Vec::new();
        assert_eq!(io.i32s(&mut array), Ok(()));
        assert_eq!(io.i32s(&mut array), Ok(()));
        assert_eq!(io.i32s(&mut array), Err(TOO_MANY));
    }
}
