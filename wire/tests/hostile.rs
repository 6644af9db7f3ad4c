//! Whatever bytes arrive, there is no panic, no hang, and no memory use beyond a fixed multiple of
//! the frame.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use common::{body, requests, responses};
use wavetank_wire::{SUPPORTED, decode_request, decode_response, encode_request, encode_response};

/// Tracks the most bytes held at any time since the last reset.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system allocator unchanged; only counters are kept beside it.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(held, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of memory that decoding may take for each byte of a frame, and on top of that.
const FACTOR: usize = 28;
const ALLOWANCE: usize = 32 << 10;

fn within_bounds(frame: Bytes, decode: impl FnOnce(Bytes)) {
    let length = frame.len();
    let before = HELD.load(Ordering::Relaxed);
    MOST.store(before, Ordering::Relaxed);
    decode(frame);
    let taken = MOST.load(Ordering::Relaxed).saturating_sub(before);
    assert!(taken <= length * FACTOR + ALLOWANCE, "{taken} bytes for a frame of {length}");
}

struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn mutate(frame: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(3) {
        let at = dice.below(frame.len().max(1));
        match dice.below(6) {
            0 if !frame.is_empty() => frame[at] ^= 1 << dice.below(8),
            1 if !frame.is_empty() => frame[at] = dice.next() as u8,
            2 => frame.truncate(at),
            3 => {
                // A length far beyond the bytes that follow.
                let huge = [0x7f, 0xff, 0xff, 0xff];
                let end = (at + 4).min(frame.len());
                frame.splice(at..end, huge);
            }
            4 => {
                let negative = [0xff, 0xff, 0xff, 0xfe];
                let end = (at + 4).min(frame.len());
                frame.splice(at..end, negative);
            }
            _ => {
                // As a compact length: 2^31 - 1.
                frame.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x07]);
            }
        }
    }
}

/// The only test in this file, so that nothing else allocates at the same time.
#[test]
fn two_hundred_thousand_random_and_mutated_frames() {
    let mut valid_requests = Vec::new();
    let mut valid_responses = Vec::new();
    for request in requests() {
        let (min, max) = wavetank_wire::supported(request.api());
        for version in min..=max {
            valid_requests.push(body(encode_request(version, 1, "c", &request)).to_vec());
        }
    }
    for response in responses() {
        let api = response.api();
        let (min, max) = wavetank_wire::supported(api);
        for version in min..=max {
            valid_responses.push((
                api,
                version,
                body(encode_response(version, 1, &response)).to_vec(),
            ));
        }
    }
    let mut dice = Dice(1);
    let mut refused = 0;
    for round in 0..200_000 {
        match round % 4 {
            0 => {
                // A valid header, then noise.
                let (api, min, max) = SUPPORTED[dice.below(SUPPORTED.len())];
                let version = min + dice.below((max - min + 1) as usize) as i16;
                let mut frame = api.key().to_be_bytes().to_vec();
                frame.extend(version.to_be_bytes());
                frame.extend([0, 0, 0, 1, 0, 0, 0]);
                frame.extend((0..dice.below(200)).map(|_| dice.next() as u8));
                within_bounds(frame.into(), |frame| {
                    refused += i32::from(decode_request(frame).is_err())
                });
            }
            1 | 2 => {
                let mut frame = valid_requests[dice.below(valid_requests.len())].clone();
                mutate(&mut frame, &mut dice);
                within_bounds(frame.into(), |frame| {
                    refused += i32::from(decode_request(frame).is_err())
                });
            }
            _ => {
                let (api, version, mut frame) =
                    valid_responses[dice.below(valid_responses.len())].clone();
                mutate(&mut frame, &mut dice);
                within_bounds(frame.into(), |frame| {
                    refused += i32::from(decode_response(api, version, frame).is_err());
                });
            }
        }
    }
    assert!(refused > 100_000, "most of it is no message: {refused}");

    // As many elements as fit, each tiny on the wire and large in memory.
    for (prefix, element) in [
        // Metadata v9, compact: topics of one-byte names.
        (&b"\x00\x03\x00\x09\x00\x00\x00\x01\x00\x00\x00"[..], &b"\x01\x00"[..]),
        // CreateTopics v5, compact.
        (b"\x00\x13\x00\x05\x00\x00\x00\x01\x00\x00\x00", b"\x01\0\0\0\0\0\0\x01\x01\x00"),
        // The same, each with a list of one assignment: many small vectors.
        (
            b"\x00\x13\x00\x05\x00\x00\x00\x01\x00\x00\x00",
            b"\x01\0\0\0\0\0\0\x02\0\0\0\0\x01\0\x01\x00",
        ),
        // Fetch v12: topics without name and partitions, behind the fixed fields.
        (
            b"\x00\x01\x00\x0c\x00\x00\x00\x01\x00\x00\x00\
              \0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            b"\x01\x01\x00",
        ),
    ] {
        let count = 1_000_000usize;
        let mut frame = prefix.to_vec();
        let mut left = (count + 1) as u32;
        while left >= 0x80 {
            frame.push(left as u8 | 0x80);
            left >>= 7;
        }
        frame.push(left as u8);
        for _ in 0..count {
            frame.extend_from_slice(element);
        }
        within_bounds(frame.into(), |frame| {
            decode_request(frame).expect_err("too many elements, or what follows them is missing");
        });
    }
}
