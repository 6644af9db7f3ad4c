//! Kafka's wire protocol: bytes to and from the messages of `wavetank-core`, pure and bounded.
//!
//! This is our own codec rather than the crate `kafka-protocol`, which knows every API. That crate
//! reserves memory for whatever length a peer claims (a 12-byte Produce body makes the process
//! request hundreds of gigabytes and abort), collapses record headers with equal keys, re-encodes
//! batches that a broker must pass on byte for byte, distinguishes unsupported versions from
//! malformed bytes only by message text, and needs std. A broker that must survive its clients
//! needs bounds in each read, and the simulator needs a codec small enough to run on every message.
//!
//! - `schema` describes each message once. The same description reads and writes it in every
//!   version (`visit`), so that the two cannot drift apart.
//! - [`frame`] handles what goes over a connection: length, header, body.
//! - Records are passed on as slices of the received frame, and are sent as separate chunks.
//! - Whatever arrives, decoding takes at most 28 bytes of memory for each byte of the frame (16 for
//!   elements and text, half as much again while a vector moves, and batches, of 61 bytes at least)
//!   plus 32 KiB. A request never takes more than 100,000 elements and 96 MiB for them
//!   ([`Bounds`]). `tests/hostile.rs` checks this.
//! - `tests/layouts.txt` pins the bytes of every version. `ci/crosscheck` compares them with those
//!   of `kafka-protocol`, which is generated from Kafka's own schemas.
//!
//! What does not live here: sockets (`wavetank-server`), record batches (`wavetank_core::batch`),
//! and what a message means.
#![no_std]
#![warn(missing_docs)]

extern crate alloc;

#[cfg(test)]
extern crate std;

pub mod frame;
mod schema;
pub mod versions;
mod visit;

pub use frame::{
    RequestFrame, WireError, decode_request, decode_request_within, decode_response,
    encode_request, encode_response, unsupported_api_versions,
};
pub use versions::{SUPPORTED, highest, supported};
pub use visit::Bounds;
