//! Kafka's wire protocol: bytes to and from the messages of `wavetank-core`, pure and bounded.
//!
//! A codec of our own rather than the crate `kafka-protocol`, which knows every API: that crate
//! reserves memory for whatever length a peer claims (a 12-byte Produce body makes the process ask
//! for hundreds of gigabytes and abort), collapses record headers with equal keys, re-encodes
//! batches that a broker must pass on byte for byte, tells unsupported versions and malformed bytes
//! apart only by prose, and needs std. A broker that is to survive its clients needs bounds in each
//! read, and the simulator needs the codec to be small enough to run on every message.
//!
//! - `schema` describes each message once; the same description reads and writes it in every
//!   version (`visit`), so that the two cannot drift apart.
//! - [`frame`] is what goes over a connection: length, header, body.
//! - Records pass through as slices of the frame they came in, and leave as chunks of their own.
//! - Whatever arrives, decoding takes at most 28 bytes of memory for each byte of the frame (16 for
//!   elements and text, half as much again while a vector moves, and batches, of 61 bytes at
//!   least) and 32 KiB; a request never more than 100,000 elements and 96 MiB for them
//!   ([`Bounds`]). `tests/hostile.rs` holds it to that.
//! - `tests/layouts.txt` pins the bytes of every version; `ci/crosscheck` compares them with those
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
