//! A file's content as a list of shared extents: cloning copies neither the list nor the bytes.

use crate::shared::Steady;
use bytes::{Bytes, BytesMut};

/// The content of a file.
#[derive(Clone, Debug, Default)]
pub struct Extents {
    /// (offset of the first byte, bytes), ascending, without gaps or empty parts.
    parts: Steady<(u64, Bytes)>,
    len: u64,
}

impl PartialEq for Extents {
    fn eq(&self, other: &Extents) -> bool {
        self.len == other.len && self.to_bytes() == other.to_bytes()
    }
}

impl Eq for Extents {}

impl Extents {
    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Is the content empty?
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends.
    pub fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            let at = self.len;
            self.len += bytes.len() as u64;
            self.parts.push((at, bytes));
        }
    }

    /// Appends zeros.
    pub fn push_zeros(&mut self, count: u64) {
        let count = usize::try_from(count).expect("a simulated file fits in memory");
        self.push(Bytes::from(vec![0; count]));
    }

    /// Truncates to `to` bytes. A no-op if the content is not longer.
    pub fn truncate(&mut self, to: u64) {
        if to >= self.len {
            return;
        }
        let keep = self.parts.partition_point(|(at, _)| *at < to);
        self.parts.truncate(keep);
        if let Some((at, bytes)) = self.parts.last_mut() {
            bytes.truncate((to - *at) as usize);
        }
        self.len = to;
    }

    /// Up to `len` bytes from `at`; fewer only at the end.
    pub fn read(&self, at: u64, len: u64) -> Bytes {
        let end = at.saturating_add(len).min(self.len);
        if at >= end {
            return Bytes::new();
        }
        let first = self.parts.partition_point(|(start, _)| *start <= at) - 1;
        let (start, bytes) = &self.parts[first];
        if end <= start + bytes.len() as u64 {
            return bytes.slice((at - start) as usize..(end - start) as usize);
        }
        let mut out = BytesMut::with_capacity((end - at) as usize);
        for (start, bytes) in self.parts.since(first) {
            if *start >= end {
                break;
            }
            let from = at.saturating_sub(*start) as usize;
            let to = (end - start).min(bytes.len() as u64) as usize;
            out.extend_from_slice(&bytes[from..to]);
        }
        out.freeze()
    }

    /// Everything.
    pub fn to_bytes(&self) -> Bytes {
        self.read(0, self.len)
    }

    /// Appends `other[from..to]`, sharing its bytes.
    pub fn extend_from(&mut self, other: &Extents, from: u64, to: u64) {
        let to = to.min(other.len);
        if from >= to {
            return;
        }
        let first = other.parts.partition_point(|(start, _)| *start <= from) - 1;
        for (start, bytes) in other.parts.since(first) {
            if *start >= to {
                break;
            }
            let low = from.saturating_sub(*start) as usize;
            let high = (to - start).min(bytes.len() as u64) as usize;
            self.push(bytes.slice(low..high));
        }
    }

    /// Replaces bytes in place. Bytes beyond the end are ignored.
    pub fn overwrite(&mut self, at: u64, bytes: &[u8]) {
        let end = at.saturating_add(bytes.len() as u64).min(self.len);
        if at >= end {
            return;
        }
        let mut patched = Extents::default();
        patched.extend_from(self, 0, at);
        patched.push(Bytes::copy_from_slice(&bytes[..(end - at) as usize]));
        patched.extend_from(self, end, self.len);
        *self = patched;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&'static str]) -> Extents {
        let mut extents = Extents::default();
        for part in parts {
            extents.push(Bytes::from_static(part.as_bytes()));
        }
        extents
    }

    #[test]
    fn reads_across_parts_and_stops_at_the_end() {
        let file = of(&["abc", "", "defg", "h"]);
        assert_eq!(file.len(), 8);
        for at in 0..10 {
            for len in 0..10 {
                let all = b"abcdefgh";
                let low = (at as usize).min(8);
                let high = (low + len as usize).min(8);
                assert_eq!(&file.read(at, len)[..], &all[low..high], "{at} {len}");
            }
        }
    }

    #[test]
    fn truncates_extends_and_overwrites() {
        for to in 0..9 {
            let mut file = of(&["abc", "defg", "h"]);
            file.truncate(to);
            assert_eq!(file.to_bytes(), &b"abcdefgh"[..to.min(8) as usize]);
            file.push(Bytes::from_static(b"XY"));
            assert_eq!(file.read(to, 2), "XY".as_bytes()[..(2.min(file.len() - to)) as usize]);
        }
        let mut file = of(&["abc", "defg"]);
        file.overwrite(2, b"__");
        assert_eq!(file.to_bytes(), "ab__efg");
        file.overwrite(6, b"!!");
        assert_eq!(file.to_bytes(), "ab__ef!", "the length stays");
        file.overwrite(7, b"!");
        assert_eq!(file.len(), 7);
        let mut copy = Extents::default();
        copy.extend_from(&file, 1, 5);
        assert_eq!(copy.to_bytes(), "b__e");
        copy.push_zeros(2);
        assert_eq!(copy.to_bytes(), "b__e\0\0");
    }
}
