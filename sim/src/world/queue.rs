//! The event queue: one heap of (time, order of scheduling, slab index), with payloads in a slab.
//!
//! We use our own heap because the standard one took half of the engine's time. Four children per
//! node make it flat. The next scheduled entry fills the place of the one just taken. It usually
//! follows at once (a busy host's next step, a pipe's next frame), so that the two cost one
//! sift-down.

use wavetank_core::event::TimerKey;
use wavetank_core::types::Monotonic;

use crate::disk::Job;

/// Something due.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    /// The frame at the head of a pipe arrives.
    Frame { conn: u32, up: bool },
    /// Stalled frames of a pipe are retransmitted.
    Release { conn: u32, up: bool },
    /// A request may have timed out.
    RequestTimeout { conn: u32, at: u64 },
    /// A connection may not have been established in time.
    ConnectTimeout { conn: u32 },
    /// A peer that vanished silently is given up.
    Keepalive { conn: u32 },
    /// A timer may fire.
    Timer { host: u32, incarnation: u32, key: TimerKey, deadline: Monotonic, at: u64 },
    /// A busy host is free again.
    Wake { host: u32, incarnation: u32 },
    /// A disk's job ends.
    Disk { host: u32, job: Job },
    /// A token that the driver scheduled.
    Control(u64),
}

/// Time in the upper half. Below it, the order of scheduling and, in the low [`INDEX_BITS`], the
/// slab index. So an entry has sixteen bytes and compares as two words.
type Entry = u128;

/// Bits of an entry that hold the slab's index.
const INDEX_BITS: u32 = 24;

/// Children of a node.
const WIDTH: usize = 4;

/// A heap of entries, the smallest first.
#[derive(Clone, Debug, Default)]
struct Heap {
    entries: Vec<Entry>,
    /// The first entry was taken, and nothing has filled its place yet.
    hole: bool,
}

impl Heap {
    fn push(&mut self, entry: Entry) {
        if self.hole {
            self.hole = false;
            self.sink(entry);
            return;
        }
        let mut at = self.entries.len();
        self.entries.push(entry);
        while at > 0 {
            let parent = (at - 1) / WIDTH;
            if self.entries[parent] <= entry {
                break;
            }
            self.entries[at] = self.entries[parent];
            at = parent;
        }
        self.entries[at] = entry;
    }

    /// Puts an entry at the top and sifts it down to its place.
    fn sink(&mut self, entry: Entry) {
        let entries = &mut self.entries[..];
        let mut at = 0;
        loop {
            let first = at * WIDTH + 1;
            let children = &entries[first.min(entries.len())..(first + WIDTH).min(entries.len())];
            let Some((child, least)) = children.iter().enumerate().min_by_key(|(_, key)| **key)
            else {
                break;
            };
            if entry <= *least {
                break;
            }
            entries[at] = *least;
            at = first + child;
        }
        entries[at] = entry;
    }

    fn pop(&mut self) -> Option<Entry> {
        if std::mem::take(&mut self.hole)
            && let Some(last) = self.entries.pop()
            && !self.entries.is_empty()
        {
            self.sink(last);
        }
        let first = self.entries.first().copied();
        self.hole = first.is_some();
        first
    }

    fn peek(&self) -> Option<Entry> {
        match self.hole {
            false => self.entries.first().copied(),
            true => self.entries.iter().skip(1).take(WIDTH).copied().min(),
        }
    }

    fn len(&self) -> usize {
        self.entries.len() - usize::from(self.hole)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    heap: Heap,
    slab: Vec<Option<Payload>>,
    free: Vec<u32>,
    scheduled: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, payload: Payload) {
        let order = self.reserve();
        self.push_reserved(at, order, payload);
    }

    /// Reserves the next place in the order of scheduling, for a later push.
    pub(super) fn reserve(&mut self) -> u64 {
        self.scheduled += 1;
        self.scheduled
    }

    /// [`Queue::push`] at a reserved place: among events due at the same time, it is ordered as if
    /// it had been pushed when the place was reserved.
    pub(super) fn push_reserved(&mut self, at: u64, order: u64, payload: Payload) {
        let index = match self.free.pop() {
            Some(index) => {
                self.slab[index as usize] = Some(payload);
                index
            }
            None => {
                self.slab.push(Some(payload));
                (self.slab.len() - 1) as u32
            }
        };
        assert!(index < 1 << INDEX_BITS, "more than 16 million things are scheduled");
        let low = order << INDEX_BITS | u64::from(index);
        self.heap.push(u128::from(at) << 64 | u128::from(low));
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Payload)> {
        let entry = self.heap.pop()?;
        let index = (entry as u64 & ((1 << INDEX_BITS) - 1)) as u32;
        let payload = self.slab[index as usize].take();
        self.free.push(index);
        Some(((entry >> 64) as u64, payload.expect("each entry of the heap has its payload")))
    }

    pub(super) fn peek(&self) -> Option<u64> {
        self.heap.peek().map(|entry| (entry >> 64) as u64)
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Compares with a trivial reference, with pushes and pops in any order.
        #[test]
        fn entries_come_out_in_order(steps in prop::collection::vec(0_u64..60, 0..400)) {
            let mut heap = Heap::default();
            let mut reference: Vec<Entry> = Vec::new();
            for (order, step) in steps.into_iter().enumerate() {
                if step < 35 {
                    let entry = u128::from(step) << 64 | order as u128;
                    heap.push(entry);
                    reference.push(entry);
                    reference.sort_unstable();
                } else {
                    let expected = (!reference.is_empty()).then(|| reference.remove(0));
                    prop_assert_eq!(heap.pop(), expected);
                }
                prop_assert_eq!(heap.peek(), reference.first().copied());
                prop_assert_eq!(heap.len(), reference.len());
            }
        }
    }
}
