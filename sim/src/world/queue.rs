//! What is to happen: one heap of (time, order of scheduling, slab index), payloads in a slab.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use wavetank_core::event::TimerKey;
use wavetank_core::types::Monotonic;

use super::network::Frame;
use crate::disk::Job;

/// Something due.
#[derive(Clone, Debug)]
pub(super) enum Payload {
    /// A frame arrives.
    Frame { conn: u32, up: bool, number: u64, frame: Frame },
    /// What stalled in a pipe is sent again.
    Release { conn: u32, up: bool },
    /// Perhaps a request has waited too long.
    RequestTimeout { conn: u32, at: u64 },
    /// Perhaps a connection was not established in time.
    ConnectTimeout { conn: u32 },
    /// A peer that went silently is given up.
    Keepalive { conn: u32 },
    /// Perhaps a timer fires.
    Timer { host: u32, incarnation: u32, key: TimerKey, deadline: Monotonic, at: u64 },
    /// A busy host is free again.
    Wake { host: u32, incarnation: u32 },
    /// A disk's job ends.
    Disk { host: u32, job: Job },
    /// The driver asked to be told.
    Control(u64),
}

/// Time in the upper half; below it the order of scheduling and, in the low [`INDEX_BITS`], the
/// slab's index: one comparison of two words, sixteen bytes an entry.
type Entry = u128;

/// Bits of an entry that hold the slab's index.
const INDEX_BITS: u32 = 24;

#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Entry>>,
    slab: Vec<Option<Payload>>,
    free: Vec<u32>,
    scheduled: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, payload: Payload) {
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
        let low = self.scheduled << INDEX_BITS | u64::from(index);
        self.heap.push(Reverse(u128::from(at) << 64 | u128::from(low)));
        self.scheduled += 1;
    }

    pub(super) fn pop(&mut self) -> Option<(u64, Payload)> {
        let Reverse(entry) = self.heap.pop()?;
        let index = (entry as u64 & ((1 << INDEX_BITS) - 1)) as u32;
        let payload = self.slab[index as usize].take();
        self.free.push(index);
        Some(((entry >> 64) as u64, payload.expect("each entry of the heap has its payload")))
    }

    pub(super) fn peek(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse(entry)| (entry >> 64) as u64)
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}
